//! When a delivery is sent, and sent again, and whose is next. Pure: time and chance are passed in.

use std::collections::HashMap;
use std::time::Duration;

use super::store::{Due, DueBounds};
use crate::domain::{DeliveryId, UserId};

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
/// Those of one user.
pub const MOST_PER_USER: usize = 8;
/// Those to one host, whoever's.
pub const MOST_PER_HOST: usize = 16;
/// Those of one user to one host: a receiver that hangs keeps neither its owner's others waiting nor anybody else's.
pub const MOST_PER_USER_AND_HOST: usize = 4;

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

/// How many deliveries are under way, by user and host; never more than [`MOST_AT_A_TIME`].
#[derive(Clone, Debug, Default)]
pub(super) struct UnderWay {
    counts: HashMap<(UserId, String), usize>,
}

impl UnderWay {
    fn count(&self, is_counted: impl Fn(&UserId, &str) -> bool) -> usize {
        self.counts.iter().filter(|((user, host), _)| is_counted(user, host)).map(|(_, count)| count).sum()
    }

    fn free(&self) -> usize {
        MOST_AT_A_TIME.saturating_sub(self.count(|_, _| true))
    }

    fn of_user(&self, user: &UserId) -> usize {
        self.count(|of, _| of == user)
    }

    fn of_host(&self, host: &str) -> usize {
        self.count(|_, to| to == host)
    }

    /// Whether a user may have one more under way. The fewer places are left, the fewer a user may have already, so that there is one for
    /// whoever has none.
    fn user_has_place(&self, user: &UserId) -> bool {
        let count = self.of_user(user);
        count < MOST_PER_USER && count < self.free()
    }

    fn has_place(&self, user: &UserId, host: &str) -> bool {
        let of_both = self.count(|of, to| of == user && to == host);
        self.user_has_place(user) && self.of_host(host) < MOST_PER_HOST && of_both < MOST_PER_USER_AND_HOST
    }

    /// One begins.
    pub(super) fn begin(&mut self, user: UserId, host: String) {
        *self.counts.entry((user, host)).or_default() += 1;
    }

    /// One has ended.
    pub(super) fn end(&mut self, user: &UserId, host: &str) {
        let key = (user.clone(), host.to_owned());
        if let Some(count) = self.counts.get_mut(&key) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.counts.remove(&key);
            }
        }
    }

    /// What may be due for those who have a place; none where nobody has.
    pub(super) fn bounds(&self) -> Option<DueBounds> {
        let hosts = self.counts.keys().map(|(_, host)| host).filter(|host| self.of_host(host) >= MOST_PER_HOST);
        let users = self.counts.keys().map(|(user, _)| user).filter(|user| !self.user_has_place(user));
        (self.free() > 0).then(|| DueBounds {
            per_user_and_host: MOST_PER_USER_AND_HOST,
            per_user: MOST_PER_USER,
            limit: 2 * MOST_AT_A_TIME,
            except_hosts: hosts.cloned().collect(),
            except_users: users.cloned().collect(),
        })
    }
}

/// Those of `due`, which is in the order in which they should go, that may go now: first those of users who have the fewest under way.
pub(super) fn choose(mut due: Vec<Due>, under_way: &UnderWay) -> Vec<DeliveryId> {
    let (mut under_way, mut chosen) = (under_way.clone(), Vec::new());
    loop {
        let may_go = due.iter().enumerate().filter(|(_, due)| under_way.has_place(&due.user, &due.host));
        let next = may_go.min_by_key(|(position, due)| (under_way.of_user(&due.user), *position));
        let Some((position, _)) = next else { return chosen };
        let Due { id, user, host } = due.remove(position);
        under_way.begin(user, host);
        chosen.push(id);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

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

    fn due(user: &str, host: &str) -> Due {
        let id = DeliveryId { job: JobId::generate(), event: CallbackEvent::Completed };
        Due { id, user: user.parse().unwrap(), host: host.to_owned() }
    }

    fn under_way(counts: &[(&str, &str, usize)]) -> UnderWay {
        let mut under_way = UnderWay::default();
        for (user, host, count) in counts {
            (0..*count).for_each(|_| under_way.begin(user.parse().unwrap(), (*host).to_owned()));
        }
        under_way
    }

    /// How many of each user, and to which host, are chosen of twenty that wait for each of these.
    fn chosen(waiting: &[(&str, &str)], under_way: &UnderWay) -> Vec<usize> {
        let queue: Vec<Due> = waiting.iter().flat_map(|(user, host)| (0..20).map(|_| due(user, host))).collect();
        let ids: Vec<DeliveryId> = queue.iter().map(|due| due.id).collect();
        let chosen = choose(queue, under_way);
        ids.chunks(20).map(|of_one| of_one.iter().filter(|id| chosen.contains(*id)).count()).collect()
    }

    #[rstest]
    #[case::one_host(&[("a", "dead"), ("a", "well")], &[], &[4, 4])]
    #[case::one_user(&[("a", "w"), ("a", "x"), ("a", "y")], &[], &[4, 4, 0])]
    #[case::the_same_host(&[("a", "dead"), ("b", "dead")], &[("a", "dead", 4)], &[0, 4])]
    #[case::a_host_of_many(&[("e", "dead"), ("e", "well")], &[("a", "dead", 4), ("b", "dead", 4), ("c", "dead", 4), ("d", "dead", 4)], &[0, 4])]
    #[case::few_are_left(&[("d", "x"), ("e", "x"), ("f", "x"), ("g", "x")], &[("a", "w", 8), ("b", "w", 8), ("c", "y", 8)], &[2, 2, 2, 1])]
    #[case::the_last(&[("a", "x"), ("b", "x")], &[("a", "w", 8), ("c", "w", 8), ("d", "y", 8), ("e", "y", 7)], &[0, 1])]
    #[case::none(&[("f", "x")], &[("a", "w", 8), ("c", "w", 8), ("d", "y", 8), ("e", "y", 8)], &[0])]
    fn users_and_hosts_have_their_shares(
        #[case] waiting: &[(&str, &str)],
        #[case] before: &[(&str, &str, usize)],
        #[case] expected: &[usize],
    ) {
        let before = under_way(before);
        assert_eq!(chosen(waiting, &before), expected);
        assert_eq!(before.bounds().is_some(), before.free() > 0);
    }

    #[test]
    fn who_has_no_place_is_not_looked_for() {
        let mut under_way =
            under_way(&[("a", "w", 4), ("a", "x", 4), ("b", "w", 4), ("c", "w", 4), ("d", "w", 4), ("e", "y", 3)]);
        let bounds = under_way.bounds().unwrap();
        let users: Vec<&str> = bounds.except_users.iter().map(UserId::as_str).collect();
        assert!(users.iter().all(|user| *user == "a") && !users.is_empty(), "{users:?}");
        assert!(bounds.except_hosts.iter().all(|host| host == "w") && !bounds.except_hosts.is_empty());
        under_way.end(&"a".parse().unwrap(), "w");
        under_way.end(&"nobody".parse().unwrap(), "w");
        let bounds = under_way.bounds().unwrap();
        assert_eq!((bounds.except_users, bounds.except_hosts), (vec![], vec![]));
    }

    proptest! {
        #[test]
        fn no_bound_is_passed_and_nobody_is_left_without(
            waiting in prop::collection::vec((0_u8..12, 0_u8..6), 0..64),
            before in prop::collection::vec((0_u8..12, 0_u8..6), 0..40),
        ) {
            let name = |number: u8| char::from(b'a' + number).to_string();
            let mut running = UnderWay::default();
            for (user, host) in before {
                let (user, host): (UserId, String) = (name(user).parse().unwrap(), name(host));
                if running.has_place(&user, &host) {
                    running.begin(user, host);
                }
            }
            let queue: Vec<Due> = waiting.iter().map(|(user, host)| due(&name(*user), &name(*host))).collect();
            let of: HashMap<DeliveryId, (UserId, String)> =
                queue.iter().map(|due| (due.id, (due.user.clone(), due.host.clone()))).collect();
            let had_place = running.free() > 0 && queue.iter().any(|due| running.of_user(&due.user) == 0 && running.of_host(&due.host) < MOST_PER_HOST);
            let chosen = choose(queue, &running);
            prop_assert!(!had_place || !chosen.is_empty(), "whoever has none under way gets a place while there is one");
            for id in chosen {
                let (user, host) = of[&id].clone();
                running.begin(user, host);
            }
            prop_assert!(running.count(|_, _| true) <= MOST_AT_A_TIME);
            for ((user, host), count) in &running.counts {
                prop_assert!(*count <= MOST_PER_USER_AND_HOST);
                prop_assert!(running.of_user(user) <= MOST_PER_USER && running.of_host(host) <= MOST_PER_HOST);
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
