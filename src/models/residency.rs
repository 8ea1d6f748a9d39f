//! Which loaded models make room for another. Pure.

use crate::domain::{ModelId, UnixMs};

/// Something that takes room in a tier under a cap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resident {
    /// Which model.
    pub model: ModelId,
    /// What it takes.
    pub bytes: u64,
    /// When it was last used.
    pub last_used: UnixMs,
    /// In use, or held by somebody's wish: it stays.
    pub pinned: bool,
}

/// There is not enough that may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{needed_bytes} bytes are needed and {available_bytes} can be had")]
pub struct Shortfall {
    /// What is needed.
    pub needed_bytes: u64,
    /// What could be had by evicting everything that may go.
    pub available_bytes: u64,
}

/// The models to evict so that `needed_bytes` more fit under `cap_bytes`: the least recently used first (the larger, then the name, among
/// equals), never a pinned one, and none that need not go.
///
/// What goes is a smallest set in this sense: putting any one of them back would make it too much. So a small old model stays where a larger
/// one, used later, has to go anyway and makes room enough.
pub fn choose_evictions(residents: &[Resident], needed_bytes: u64, cap_bytes: u64) -> Result<Vec<ModelId>, Shortfall> {
    // 128 bits: sums of lies about memory do not overflow.
    let total = |pick: &dyn Fn(&&Resident) -> bool| {
        residents.iter().filter(pick).map(|resident| u128::from(resident.bytes)).sum::<u128>()
    };
    let (needed, cap, held) = (u128::from(needed_bytes), u128::from(cap_bytes), total(&|_| true));
    let mut excess = (held + needed).saturating_sub(cap);
    if excess > total(&|resident| !resident.pinned) {
        let available = cap.saturating_sub(total(&|resident| resident.pinned));
        return Err(Shortfall { needed_bytes, available_bytes: u64::try_from(available).unwrap_or(u64::MAX) });
    }
    let mut candidates: Vec<&Resident> = residents.iter().filter(|resident| !resident.pinned && resident.bytes > 0).collect();
    candidates.sort_by(|a, b| (a.last_used, b.bytes, &a.model).cmp(&(b.last_used, a.bytes, &b.model)));
    let mut chosen = Vec::new();
    for candidate in candidates {
        if excess == 0 {
            break;
        }
        excess = excess.saturating_sub(u128::from(candidate.bytes));
        chosen.push(candidate);
    }
    // The last one may have made room for several: the most recently used of those that need not go come back first.
    let freed: u128 = chosen.iter().map(|resident| u128::from(resident.bytes)).sum();
    let mut spare = freed.saturating_sub((held + needed).saturating_sub(cap));
    let mut keep: Vec<bool> = chosen
        .iter()
        .rev()
        .map(|resident| {
            let returns = u128::from(resident.bytes) <= spare;
            spare -= if returns { u128::from(resident.bytes) } else { 0 };
            returns
        })
        .collect();
    keep.reverse();
    Ok(chosen.into_iter().zip(keep).filter(|(_, keep)| !keep).map(|(resident, _)| resident.model.clone()).collect())
}

/// The models that nobody has used for `idle_ms`, pinned ones aside.
pub fn idle(residents: &[Resident], idle_ms: i64, now: UnixMs) -> Vec<ModelId> {
    residents
        .iter()
        .filter(|resident| !resident.pinned && now.0.saturating_sub(resident.last_used.0) >= idle_ms)
        .map(|resident| resident.model.clone())
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn resident(name: &str, bytes: u64, last_used: i64, pinned: bool) -> Resident {
        Resident { model: name.parse().unwrap(), bytes, last_used: UnixMs(last_used), pinned }
    }

    fn names(models: &[ModelId]) -> Vec<&str> {
        models.iter().map(ModelId::as_str).collect()
    }

    #[test]
    fn the_least_recently_used_goes_first() {
        let residents =
            [resident("a", 4, 3, false), resident("b", 4, 1, false), resident("c", 4, 2, false), resident("d", 4, 0, true)];
        for (needed, expected) in [(0, vec![]), (1, vec!["b"]), (4, vec!["b"]), (5, vec!["b", "c"]), (12, vec!["b", "c", "a"])] {
            assert_eq!(names(&choose_evictions(&residents, needed, 16).unwrap()), expected, "{needed}");
        }
        let shortfall = choose_evictions(&residents, 13, 16).unwrap_err();
        assert_eq!(shortfall, Shortfall { needed_bytes: 13, available_bytes: 12 });
    }

    #[test]
    fn a_small_old_model_stays_where_a_large_one_goes_anyway() {
        let residents = [resident("small", 1, 0, false), resident("large", 10, 1, false)];
        assert_eq!(names(&choose_evictions(&residents, 9, 11).unwrap()), ["large"]);
    }

    #[test]
    fn lies_about_memory_do_no_harm() {
        let residents = [resident("a", u64::MAX, 0, false), resident("b", u64::MAX, 1, true)];
        assert_eq!(choose_evictions(&residents, u64::MAX, u64::MAX).unwrap_err().available_bytes, 0);
        assert_eq!(names(&choose_evictions(&residents, 0, u64::MAX).unwrap()), ["a"]);
    }

    #[test]
    fn idle_models_are_those_unused_for_long() {
        let residents = [resident("a", 1, 0, false), resident("b", 1, 0, true), resident("c", 1, 60, false)];
        assert_eq!(names(&idle(&residents, 50, UnixMs(100))), ["a"]);
        assert!(idle(&residents, 50, UnixMs(i64::MIN)).is_empty());
    }

    proptest! {
        #[test]
        fn what_goes_is_enough_and_not_too_much(
            models in prop::collection::vec((0_u64..50, 0_i64..5, any::<bool>()), 0..12),
            needed in 0_u64..200,
            cap in 0_u64..200,
        ) {
            let residents: Vec<Resident> =
                models.iter().enumerate().map(|(i, &(bytes, used, pinned))| resident(&format!("m{i}"), bytes, used, pinned)).collect();
            let sum = |pick: &dyn Fn(&Resident) -> bool| {
                residents.iter().filter(|resident| pick(resident)).map(|resident| resident.bytes).sum::<u64>()
            };
            match choose_evictions(&residents, needed, cap) {
                Ok(evicted) => {
                    let held = sum(&|resident| !evicted.contains(&resident.model));
                    prop_assert!(held + needed <= cap);
                    for resident in residents.iter().filter(|resident| evicted.contains(&resident.model)) {
                        prop_assert!(!resident.pinned);
                        prop_assert!(held + resident.bytes + needed > cap, "{} need not go", resident.model);
                    }
                }
                Err(shortfall) => {
                    let pinned = sum(&|resident| resident.pinned);
                    prop_assert!(pinned + needed > cap);
                    prop_assert_eq!(shortfall, Shortfall { needed_bytes: needed, available_bytes: cap.saturating_sub(pinned) });
                }
            }
        }
    }
}
