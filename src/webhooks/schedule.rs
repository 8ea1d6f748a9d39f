//! When a delivery is sent, and sent again. Pure: time and chance are passed in.

use std::collections::HashMap;
use std::time::Duration;

use super::store::Due;
use crate::domain::DeliveryId;

/// Pauses between the tries of a delivery; after the last one it is given up.
pub const PAUSES: [Duration; 6] = [
    Duration::from_secs(5),
    Duration::from_secs(30),
    Duration::from_mins(2),
    Duration::from_mins(10),
    Duration::from_hours(1),
    Duration::from_hours(6),
];
/// The longest pause that a receiver's `Retry-After` is followed to.
pub const MAX_RETRY_AFTER: Duration = Duration::from_hours(24);
/// The part of a pause that chance may add, so that those who failed together do not come again together.
const SPREAD: f64 = 0.1;
/// The receiver has gone for good.
const GONE: u16 = 410;

/// Deliveries that are under way at a time.
pub const MOST_AT_A_TIME: usize = 32;
/// Those to one host: a receiver that hangs keeps no others waiting.
pub const MOST_PER_HOST: usize = 4;

/// What became of a try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tried {
    /// An answer.
    Answered {
        /// The HTTP status.
        status: u16,
        /// The pause that the receiver asks for.
        retry_after: Option<Duration>,
    },
    /// No answer: not reached, not in time, broken off.
    Unanswered,
    /// The link is not called by this server, or what it should tell cannot be read: it would be the same again.
    Refused,
}

/// What follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It has arrived.
    Delivered,
    /// Once more, after a pause.
    Again(Duration),
    /// No more.
    GivenUp,
}

/// What follows from the try number `tries` (from 1). `chance` is in 0 to 1.
pub fn verdict(tries: u32, tried: Tried, chance: f64) -> Verdict {
    let retry_after = match tried {
        Tried::Answered { status, .. } if (200..300).contains(&status) => return Verdict::Delivered,
        Tried::Refused | Tried::Answered { status: GONE, .. } => return Verdict::GivenUp,
        Tried::Answered { retry_after, .. } => retry_after.unwrap_or_default().min(MAX_RETRY_AFTER),
        Tried::Unanswered => Duration::ZERO,
    };
    let place = usize::try_from(tries.saturating_sub(1)).unwrap_or(usize::MAX);
    let Some(pause) = PAUSES.get(place) else { return Verdict::GivenUp };
    let chance = if chance.is_nan() { 1.0 } else { chance.clamp(0.0, 1.0) };
    Verdict::Again(pause.mul_f64(1.0 + SPREAD * chance).max(retry_after))
}

/// Those of `due`, which is in the order in which they should go, that may go now, while `running` are under way by host.
pub(super) fn choose(due: Vec<Due>, running: &HashMap<String, usize>) -> Vec<DeliveryId> {
    let mut by_host = running.clone();
    let mut room = MOST_AT_A_TIME.saturating_sub(running.values().sum());
    let mut chosen = Vec::new();
    for Due { id, host } in due {
        let of_host = by_host.entry(host).or_default();
        if room > 0 && *of_host < MOST_PER_HOST {
            *of_host += 1;
            room -= 1;
            chosen.push(id);
        }
    }
    chosen
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::{CallbackEvent, JobId};

    const fn answered(status: u16) -> Tried {
        Tried::Answered { status, retry_after: None }
    }

    fn seconds(verdict: Verdict) -> Option<u64> {
        match verdict {
            Verdict::Again(pause) => Some(pause.as_secs()),
            Verdict::Delivered | Verdict::GivenUp => None,
        }
    }

    #[test]
    fn what_an_answer_means() {
        use Verdict::{Again, Delivered, GivenUp};
        let first = Again(PAUSES[0]);
        for (tried, expected) in [
            (answered(200), Delivered),
            (answered(202), Delivered),
            (answered(204), Delivered),
            (answered(299), Delivered),
            (answered(199), first),
            (answered(302), first),
            (answered(400), first),
            (answered(404), first),
            (answered(410), GivenUp),
            (answered(429), first),
            (answered(500), first),
            (answered(503), first),
            (Tried::Unanswered, first),
            (Tried::Refused, GivenUp),
        ] {
            assert_eq!(verdict(1, tried, 0.0), expected, "{tried:?}");
        }
    }

    #[test]
    fn pauses_grow_and_end() {
        let pauses = |chance: f64| (1..=8).map(|tries| seconds(verdict(tries, answered(500), chance))).collect::<Vec<_>>();
        assert_eq!(pauses(0.0), [Some(5), Some(30), Some(120), Some(600), Some(3600), Some(21600), None, None]);
        assert_eq!(pauses(1.0), [Some(5), Some(33), Some(132), Some(660), Some(3960), Some(23760), None, None]);
        assert_eq!(verdict(0, answered(500), 0.0), Verdict::Again(PAUSES[0]));
        assert_eq!(verdict(u32::MAX, answered(500), 0.0), Verdict::GivenUp);
    }

    #[test]
    fn receivers_may_ask_for_longer_pauses_but_not_for_ever() {
        let asked = |tries, asked_seconds| {
            let retry_after = Some(Duration::from_secs(asked_seconds));
            seconds(verdict(tries, Tried::Answered { status: 503, retry_after }, 0.0))
        };
        assert_eq!(asked(1, 1), Some(5), "never sooner than we would");
        assert_eq!(asked(1, 90), Some(90));
        assert_eq!(asked(6, 90), Some(21600));
        assert_eq!(asked(1, u64::MAX), Some(86400));
        assert_eq!(asked(7, 1), None);
    }

    fn due(host: &str) -> Due {
        Due { id: DeliveryId { job: JobId::generate(), event: CallbackEvent::Completed }, host: host.to_owned() }
    }

    #[test]
    fn a_host_takes_no_more_than_its_share() {
        let queue: Vec<Due> = (0..40).map(|_| due("slow")).chain([due("quick")]).collect();
        let quick = queue[40].id;
        let chosen = choose(queue.clone(), &HashMap::new());
        assert_eq!(chosen.len(), MOST_PER_HOST + 1);
        assert_eq!(chosen.last(), Some(&quick));
        let busy = HashMap::from([("slow".to_owned(), MOST_PER_HOST)]);
        assert_eq!(choose(queue, &busy), [quick]);
    }

    proptest! {
        #[test]
        fn no_bound_is_passed(
            hosts in prop::collection::vec(0_u8..20, 0..200), running in prop::collection::hash_map("[a-t]", 0_usize..6, 0..20),
        ) {
            let before: usize = running.values().sum();
            let queue: Vec<Due> = hosts.iter().map(|host| due(&char::from(b'a' + host).to_string())).collect();
            let names: HashMap<DeliveryId, String> = queue.iter().map(|due| (due.id, due.host.clone())).collect();
            let chosen = choose(queue, &running);
            prop_assert!(chosen.is_empty() || before + chosen.len() <= MOST_AT_A_TIME);
            for (host, count) in chosen.iter().fold(HashMap::<&str, usize>::new(), |mut counts, id| {
                *counts.entry(&names[id]).or_default() += 1;
                counts
            }) {
                prop_assert!(count + running.get(host).copied().unwrap_or(0) <= MOST_PER_HOST);
            }
        }

        #[test]
        fn every_delivery_ends(tries in 1_u32..100, status in 0_u16..1000, chance in any::<f64>(), asked in prop::option::of(any::<u64>())) {
            let tried = Tried::Answered { status, retry_after: asked.map(Duration::from_secs) };
            if let Verdict::Again(pause) = verdict(tries, tried, chance) {
                prop_assert!((tries as usize) <= PAUSES.len() && pause >= PAUSES[0] && pause <= MAX_RETRY_AFTER);
            }
        }
    }
}
