//! Which of a provider's keys is next. Pure: time is passed in.
//!
//! Keys take turns. One that has as many tasks as it may have is passed over, and so is one that rests or is disabled, and, for a model that
//! its account may not use, one that rests for that model. A key that the settings no longer have stays as long as tasks hold it, and is given
//! to no others.

use crate::domain::{AccountKeyId, Sha256Digest, UnixMs};
use crate::providers::{FailureClass, KeyConsequence};

/// A key, as the settings have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyFacts {
    /// Its name.
    pub id: AccountKeyId,
    /// Most tasks at once; absent: no bound.
    pub max_concurrent: Option<u32>,
    /// The hash of the key, by which a changed key is told from the old one.
    pub fingerprint: Sha256Digest,
}

/// Whether a key is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyHealth {
    /// It is.
    Ready,
    /// It rests until then, because of a failure of this class.
    Resting {
        /// Until when.
        until: UnixMs,
        /// Why.
        class: FailureClass,
    },
    /// It is disabled until it is changed, or somebody enables it, because of a failure of this class.
    Disabled {
        /// Why.
        class: FailureClass,
    },
    /// An administrator disabled it.
    SwitchedOff,
}

/// A model that a key is not used for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelRest {
    /// The model, as the provider calls it.
    pub model: String,
    /// Until when.
    pub until: UnixMs,
    /// Why.
    pub class: FailureClass,
}

/// A key and how it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyState {
    /// The key.
    pub facts: KeyFacts,
    /// Whether it is used.
    pub health: KeyHealth,
    /// The models that it is not used for, each once; some of these rests may have ended.
    model_rests: Vec<ModelRest>,
    /// Tasks that hold it.
    pub out: u32,
    /// Whether the settings have it; if not, it is only there for the tasks that hold it.
    is_current: bool,
}

impl KeyState {
    fn has_place(&self) -> bool {
        self.facts.max_concurrent.is_none_or(|most| self.out < most)
    }

    /// Until when it rests; none: it is used for the model now. `Err`: nobody waits for it, since it is not used before somebody does something,
    /// or is not for this model.
    fn rests_until(&self, model: Option<&str>, now: UnixMs) -> Result<Option<UnixMs>, ()> {
        if model.is_some_and(|model| self.model_rests(now).any(|rest| rest.model == model)) {
            return Err(());
        }
        match self.health {
            KeyHealth::Ready => Ok(None),
            KeyHealth::Resting { until, .. } => Ok(Some(until).filter(|until| *until > now)),
            KeyHealth::Disabled { .. } | KeyHealth::SwitchedOff => Err(()),
        }
    }

    /// The models that it is not used for at this time.
    pub fn model_rests(&self, now: UnixMs) -> impl Iterator<Item = &ModelRest> {
        self.model_rests.iter().filter(move |rest| rest.until > now)
    }
}

/// Whether another task has room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// Yes.
    Now,
    /// When a task ends, or at this time at the latest, where one is given.
    Later(Option<UnixMs>),
    /// Not before somebody does something: every key is disabled or may not be used for the model, or there is none.
    Never,
}

/// A provider's keys.
#[derive(Clone, Debug, Default)]
pub struct KeyRing {
    keys: Vec<KeyState>,
    /// Where the next look begins.
    next: usize,
}

impl KeyRing {
    /// Takes the settings' keys. One that is the same as before stays as it is; one that was changed is ready.
    pub fn replace(&mut self, facts: Vec<KeyFacts>) {
        let mut before = std::mem::take(&mut self.keys);
        for facts in facts {
            let known = before.iter().position(|state| state.facts.id == facts.id).map(|position| before.remove(position));
            let (out, health, model_rests) = match known {
                Some(state) if state.facts.fingerprint == facts.fingerprint => (state.out, state.health, state.model_rests),
                Some(state) => (state.out, KeyHealth::Ready, Vec::new()),
                None => (0, KeyHealth::Ready, Vec::new()),
            };
            self.keys.push(KeyState { facts, health, model_rests, out, is_current: true });
        }
        let held = before.into_iter().filter(|state| state.out > 0);
        self.keys.extend(held.map(|state| KeyState { is_current: false, ..state }));
    }

    /// Takes the next key that is ready for a model, has a place and is none of `except`.
    pub fn take(&mut self, model: &str, now: UnixMs, except: &[AccountKeyId]) -> Option<AccountKeyId> {
        let count = self.keys.len();
        let position = (0..count).map(|step| (self.next + step) % count).find(|position| {
            let state = &self.keys[*position];
            let is_ready = state.is_current && state.rests_until(Some(model), now) == Ok(None);
            is_ready && state.has_place() && !except.contains(&state.facts.id)
        })?;
        self.next = (position + 1) % count;
        let state = &mut self.keys[position];
        state.health = KeyHealth::Ready;
        state.out += 1;
        Some(state.facts.id.clone())
    }

    /// Takes this key for a task that it made before, whatever its health, and though it may have no place: the task runs already. `false`
    /// where there is no such key.
    pub fn hold(&mut self, id: &AccountKeyId) -> bool {
        let state = self.keys.iter_mut().find(|state| state.facts.id == *id);
        state.map(|state| state.out += 1).is_some()
    }

    /// Gives a key back.
    pub fn give_back(&mut self, id: &AccountKeyId) {
        if let Some(state) = self.keys.iter_mut().find(|state| state.facts.id == *id) {
            state.out = state.out.saturating_sub(1);
        }
        self.keys.retain(|state| state.is_current || state.out > 0);
    }

    /// What a failure with a model does to a key. A rest is as long as the provider asks for, if it does.
    pub fn suffer(&mut self, id: &AccountKeyId, model: &str, class: FailureClass, retry_after_seconds: Option<u32>, now: UnixMs) {
        let Some(state) = self.keys.iter_mut().find(|state| state.facts.id == *id) else { return };
        let rest_end = |seconds: u32| {
            let seconds = retry_after_seconds.map_or(seconds, |asked| asked.max(1));
            UnixMs(now.0.saturating_add(i64::from(seconds) * 1000))
        };
        match (class.action().key, state.health) {
            (KeyConsequence::Keep, _)
            | (_, KeyHealth::SwitchedOff)
            | (KeyConsequence::Rest { .. }, KeyHealth::Disabled { .. }) => {}
            (KeyConsequence::Disable, _) => state.health = KeyHealth::Disabled { class },
            (KeyConsequence::RestForModel { seconds }, _) => {
                let until = rest_end(seconds);
                let before = state.model_rests.iter().find(|rest| rest.model == model).map(|rest| rest.until);
                if before.is_none_or(|before| before < until) {
                    // Those that have ended go, so that there are never more than models that were asked for lately.
                    state.model_rests.retain(|rest| rest.until > now && rest.model != model);
                    state.model_rests.push(ModelRest { model: model.to_owned(), until, class });
                }
            }
            (KeyConsequence::Rest { seconds }, health) => {
                let until = rest_end(seconds);
                let is_longer = !matches!(health, KeyHealth::Resting { until: other, .. } if other > until);
                if is_longer {
                    state.health = KeyHealth::Resting { until, class };
                }
            }
        }
    }

    /// An administrator's word. `false` where there is no such key.
    pub fn switch(&mut self, id: &AccountKeyId, is_on: bool) -> bool {
        let state = self.keys.iter_mut().find(|state| state.facts.id == *id && state.is_current);
        let switched = state.map(|state| {
            state.health = if is_on { KeyHealth::Ready } else { KeyHealth::SwitchedOff };
            state.model_rests.clear();
        });
        switched.is_some()
    }

    /// Whether another task of a model, or of any that no key rests for, has room, among keys that are none of `except`.
    pub fn room(&self, model: Option<&str>, now: UnixMs, except: &[AccountKeyId]) -> Room {
        let mut room = Room::Never;
        for state in self.keys.iter().filter(|state| state.is_current && !except.contains(&state.facts.id)) {
            match state.rests_until(model, now) {
                Err(()) => {}
                Ok(Some(until)) => {
                    room = match room {
                        Room::Later(Some(other)) if other <= until => room,
                        Room::Now => return Room::Now,
                        Room::Later(_) | Room::Never => Room::Later(Some(until)),
                    };
                }
                Ok(None) if state.has_place() => return Room::Now,
                Ok(None) => {
                    if room == Room::Never {
                        room = Room::Later(None);
                    }
                }
            }
        }
        room
    }

    /// Whether a key can be used at this time, though it may have no place.
    pub fn has_ready(&self, now: UnixMs) -> bool {
        self.keys.iter().any(|state| state.is_current && state.rests_until(None, now) == Ok(None))
    }

    /// The keys that the settings have.
    pub fn states(&self) -> impl Iterator<Item = &KeyState> {
        self.keys.iter().filter(|state| state.is_current)
    }

    /// Tasks that hold keys.
    pub fn out(&self) -> u32 {
        self.keys.iter().map(|state| state.out).sum()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id(name: &str) -> AccountKeyId {
        name.parse().unwrap()
    }

    fn facts(name: &str, most: Option<u32>) -> KeyFacts {
        KeyFacts { id: id(name), max_concurrent: most, fingerprint: Sha256Digest::of(name.as_bytes()) }
    }

    fn ring(keys: &[(&str, Option<u32>)]) -> KeyRing {
        let mut ring = KeyRing::default();
        ring.replace(keys.iter().map(|(name, most)| facts(name, *most)).collect());
        ring
    }

    fn taken(ring: &mut KeyRing, now: i64) -> String {
        ring.take("film", UnixMs(now), &[]).map_or_else(|| "none".to_owned(), |id| id.to_string())
    }

    #[test]
    fn keys_take_turns_as_long_as_they_have_places() {
        let mut ring = ring(&[("a", Some(1)), ("b", Some(2)), ("c", None)]);
        let order: Vec<String> = (0..6).map(|_| taken(&mut ring, 0)).collect();
        assert_eq!(order, ["a", "b", "c", "b", "c", "c"]);
        ring.give_back(&id("a"));
        assert_eq!(taken(&mut ring, 0), "a");
        assert_eq!(ring.take("film", UnixMs(0), &[id("c")]), None, "the others have no places");
        assert_eq!(ring.room(None, UnixMs(0), &[id("c")]), Room::Later(None));
    }

    #[test]
    fn what_a_failure_does_to_a_key() {
        use FailureClass::{Authentication, Billing, InvalidRequest, Moderation, Quota, RateLimit, Transient};
        for (class, retry_after, rest_ms) in [
            (Authentication, None, None),
            (Billing, Some(5), None),
            (RateLimit, None, Some(45_000)),
            (RateLimit, Some(5), Some(5000)),
            (RateLimit, Some(0), Some(1000)),
            (Quota, None, Some(3_600_000)),
            (Transient, Some(60), Some(0)),
            (InvalidRequest, None, Some(0)),
            (Moderation, None, Some(0)),
        ] {
            let mut ring = ring(&[("a", None)]);
            ring.suffer(&id("a"), "film", class, retry_after, UnixMs(1000));
            let ready_from = [0, 1000, 5000, 45_000, 3_600_000]
                .into_iter()
                .find(|after| ring.room(None, UnixMs(1000 + after), &[]) == Room::Now);
            assert_eq!(ready_from, rest_ms, "{class:?}");
            match rest_ms {
                None => assert_eq!(ring.room(None, UnixMs(i64::MAX), &[]), Room::Never),
                Some(0) => {}
                Some(ms) => assert_eq!(ring.room(None, UnixMs(1000), &[]), Room::Later(Some(UnixMs(1000 + ms)))),
            }
        }
    }

    #[test]
    fn a_longer_rest_is_not_made_shorter_and_a_disabled_key_does_not_come_back_by_resting() {
        let mut ring = ring(&[("a", None)]);
        ring.suffer(&id("a"), "film", FailureClass::Quota, None, UnixMs(0));
        ring.suffer(&id("a"), "film", FailureClass::RateLimit, None, UnixMs(0));
        assert_eq!(ring.room(None, UnixMs(0), &[]), Room::Later(Some(UnixMs(3_600_000))));
        ring.suffer(&id("a"), "film", FailureClass::Authentication, None, UnixMs(0));
        ring.suffer(&id("a"), "film", FailureClass::RateLimit, None, UnixMs(0));
        assert_eq!(ring.room(None, UnixMs(i64::MAX), &[]), Room::Never);
        assert!(ring.switch(&id("a"), true));
        assert_eq!(taken(&mut ring, 0), "a");
        ring.switch(&id("a"), false);
        ring.suffer(&id("a"), "film", FailureClass::Authentication, None, UnixMs(0));
        assert_eq!(ring.states().next().unwrap().health, KeyHealth::SwitchedOff, "the administrator's word stays");
        assert!(!ring.switch(&id("b"), true));
    }

    #[test]
    fn a_changed_key_is_ready_and_a_removed_one_finishes_its_tasks() {
        let mut ring = ring(&[("a", Some(1)), ("b", Some(1))]);
        ring.suffer(&id("a"), "film", FailureClass::Authentication, None, UnixMs(0));
        assert_eq!(taken(&mut ring, 0), "b");
        ring.replace(vec![facts("a", Some(1))]);
        assert_eq!(ring.room(None, UnixMs(0), &[]), Room::Never, "the same key is still disabled");
        assert_eq!(ring.out(), 1, "a task still holds the removed one");
        ring.replace(vec![KeyFacts { fingerprint: Sha256Digest::of(b"new"), ..facts("a", Some(1)) }]);
        assert_eq!(taken(&mut ring, 0), "a");
        assert_eq!(taken(&mut ring, 0), "none");
        assert!(ring.hold(&id("b")), "its task goes on");
        ring.give_back(&id("b"));
        ring.give_back(&id("b"));
        assert!(!ring.hold(&id("b")), "nobody holds it any more");
        // One that comes back knows who holds it.
        let mut ring = self::ring(&[("a", Some(1))]);
        ring.take("film", UnixMs(0), &[]);
        ring.replace(vec![]);
        ring.replace(vec![facts("a", Some(1))]);
        assert_eq!(taken(&mut ring, 0), "none");
    }

    /// What the key suffered with `film`; its state; from when on it is used for `film`; whether it is for another model.
    type Row = (&'static [(FailureClass, Option<u32>)], KeyHealth, Option<i64>, Room);

    #[test]
    fn a_model_that_an_account_may_not_use_rests_with_its_key_and_others_go_on() {
        use FailureClass::{Authentication, Permission, Quota, RateLimit};
        const HOUR_MS: i64 = 3_600_000;
        let rows: [Row; 6] = [
            (&[(Permission, None)], KeyHealth::Ready, Some(HOUR_MS), Room::Now),
            (&[(Permission, Some(5))], KeyHealth::Ready, Some(5000), Room::Now),
            (&[(Permission, None), (Permission, Some(5))], KeyHealth::Ready, Some(HOUR_MS), Room::Now),
            (
                &[(Permission, None), (RateLimit, None)],
                KeyHealth::Resting { until: UnixMs(45_000), class: RateLimit },
                Some(HOUR_MS),
                Room::Later(Some(UnixMs(45_000))),
            ),
            (
                &[(Permission, Some(5)), (Quota, None)],
                KeyHealth::Resting { until: UnixMs(HOUR_MS), class: Quota },
                Some(HOUR_MS),
                Room::Later(Some(UnixMs(HOUR_MS))),
            ),
            (&[(Permission, None), (Authentication, None)], KeyHealth::Disabled { class: Authentication }, None, Room::Never),
        ];
        for (suffered, health, used_from_ms, of_other) in rows {
            let mut ring = ring(&[("a", None)]);
            for (class, retry_after) in suffered {
                ring.suffer(&id("a"), "film", *class, *retry_after, UnixMs(0));
            }
            assert_eq!(ring.states().next().unwrap().health, health, "{suffered:?}");
            let rooms = (ring.room(Some("film"), UnixMs(0), &[]), ring.room(Some("other"), UnixMs(0), &[]));
            assert_eq!(rooms, (Room::Never, of_other), "{suffered:?}");
            let is_used = |ms: i64| ring.room(Some("film"), UnixMs(ms), &[]) == Room::Now;
            let later = used_from_ms.unwrap_or(i64::MAX);
            assert_eq!((is_used(later - 1), is_used(later)), (false, used_from_ms.is_some()), "{suffered:?}");
            assert_eq!(ring.room(None, UnixMs(0), &[]), of_other, "{suffered:?}");
            assert_eq!(ring.take("film", UnixMs(0), &[]), None, "{suffered:?}");
            assert_eq!(ring.take("other", UnixMs(0), &[]).is_some(), of_other == Room::Now, "{suffered:?}");
        }
        // The rest ends, is not counted for ever, and goes with an administrator's word.
        let mut ring = ring(&[("a", None)]);
        let models = |ring: &KeyRing, now| -> Vec<String> {
            ring.states().flat_map(|state| state.model_rests(UnixMs(now))).map(|rest| rest.model.clone()).collect()
        };
        ring.suffer(&id("a"), "film", Permission, None, UnixMs(0));
        assert_eq!((models(&ring, 0), models(&ring, HOUR_MS)), (vec!["film".to_owned()], vec![]));
        assert!(ring.take("film", UnixMs(HOUR_MS), &[]).is_some());
        ring.suffer(&id("a"), "other", Permission, None, UnixMs(HOUR_MS));
        assert_eq!(ring.keys[0].model_rests.len(), 1);
        ring.replace(vec![facts("a", Some(1))]);
        assert_eq!(models(&ring, HOUR_MS), ["other"], "the same key");
        assert!(ring.switch(&id("a"), true));
        assert_eq!(models(&ring, HOUR_MS), Vec::<String>::new());
        ring.suffer(&id("a"), "other", Permission, None, UnixMs(HOUR_MS));
        ring.replace(vec![KeyFacts { fingerprint: Sha256Digest::of(b"new"), ..facts("a", None) }]);
        assert_eq!(models(&ring, HOUR_MS), Vec::<String>::new(), "another key");
    }

    #[test]
    fn the_earliest_end_of_a_rest_is_told() {
        let mut ring = ring(&[("a", None), ("b", None), ("c", Some(1))]);
        ring.suffer(&id("a"), "film", FailureClass::Quota, None, UnixMs(0));
        ring.suffer(&id("b"), "film", FailureClass::RateLimit, None, UnixMs(0));
        assert_eq!(ring.room(None, UnixMs(0), &[]), Room::Now);
        assert_eq!(taken(&mut ring, 0), "c");
        assert_eq!(ring.room(None, UnixMs(0), &[]), Room::Later(Some(UnixMs(45_000))));
        assert!(ring.has_ready(UnixMs(0)), "that one is merely busy");
        ring.suffer(&id("c"), "film", FailureClass::Billing, None, UnixMs(0));
        assert!(!ring.has_ready(UnixMs(44_999)) && ring.has_ready(UnixMs(45_000)));
        assert_eq!(taken(&mut ring, 45_000), "b");
        assert_eq!(KeyRing::default().room(None, UnixMs(0), &[]), Room::Never);
    }

    #[derive(Clone, Debug)]
    enum Step {
        Take,
        GiveBack(usize),
        Suffer(usize, FailureClass),
        Replace(Vec<Option<u32>>),
        Wait(i64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => Just(Step::Take),
            2 => (0..8_usize).prop_map(Step::GiveBack),
            1 => (0..4_usize, prop::sample::select(FailureClass::ALL.to_vec())).prop_map(|(key, class)| Step::Suffer(key, class)),
            1 => prop::collection::vec(prop::option::of(0..4_u32), 0..4).prop_map(Step::Replace),
            1 => (0..4_000_000_i64).prop_map(Step::Wait),
        ]
    }

    proptest! {
        #[test]
        fn no_key_ever_has_more_tasks_than_it_may_have(steps in prop::collection::vec(step(), 0..80)) {
            let names = ["a", "b", "c", "d"];
            let mut limits = vec![Some(1), Some(2), None, Some(0)];
            let of = |limits: &[Option<u32>]| names.iter().zip(limits).map(|(name, most)| facts(name, *most)).collect::<Vec<_>>();
            let mut ring = KeyRing::default();
            ring.replace(of(&limits));
            let (mut held, mut now): (Vec<AccountKeyId>, i64) = (Vec::new(), 0);
            for step in steps {
                match step {
                    Step::Take => {
                        let had_room = ring.room(Some("film"), UnixMs(now), &[]) == Room::Now;
                        let taken = ring.take("film", UnixMs(now), &[]);
                        prop_assert_eq!(taken.is_some(), had_room);
                        if let Some(taken) = taken {
                            let position = names.iter().position(|name| *name == taken.as_str()).unwrap();
                            let out = held.iter().filter(|held| **held == taken).count() as u32;
                            prop_assert!(limits[position].is_none_or(|most| out < most));
                            held.push(taken);
                        }
                    }
                    Step::GiveBack(index) if index < held.len() => ring.give_back(&held.swap_remove(index)),
                    Step::GiveBack(_) => {}
                    Step::Suffer(key, class) => ring.suffer(&id(names[key]), "film", class, None, UnixMs(now)),
                    Step::Replace(new) => {
                        limits = new;
                        ring.replace(of(&limits));
                    }
                    Step::Wait(ms) => now += ms,
                }
                prop_assert_eq!(ring.out() as usize, held.len());
            }
        }
    }
}
