//! The order in which a route's targets are tried for one request. Pure.

use std::cmp::Ordering;

use super::Strategy;

/// A target that can fulfil a request, as far as the order depends on it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidate {
    /// Whether it takes requests at the moment; those that do not are tried last.
    pub is_ready: bool,
    /// What it will probably cost, millionths of the currency.
    pub cost_micros: i64,
    /// How long it will probably take, seconds; none where nothing is known.
    pub seconds: Option<f64>,
    /// How often it is first, relative to the others.
    pub weight: u32,
}

/// Indices of the candidates in the order in which they are tried. `turn` counts the requests; `random` is uniform. Among equals the order of
/// the list counts.
pub fn order(strategy: Strategy, candidates: &[Candidate], turn: u64, random: u64) -> Vec<usize> {
    let mut indices: Vec<usize> = (0..candidates.len()).collect();
    let ready = candidates.iter().filter(|candidate| candidate.is_ready).count();
    // Those that cannot be reached take no turn.
    indices.sort_by_key(|index| !candidates[*index].is_ready);
    let taking_part = if ready == 0 { candidates.len() } else { ready };
    let (first, _) = indices.split_at_mut(taking_part);
    match strategy {
        Strategy::Fallback => {}
        Strategy::Cheapest => first.sort_by_key(|index| candidates[*index].cost_micros),
        Strategy::Fastest => first.sort_by(|a, b| by_seconds(candidates[*a].seconds, candidates[*b].seconds)),
        Strategy::RoundRobin => {
            let places = first.len().max(1) as u64;
            first.rotate_left((turn % places) as usize);
        }
        Strategy::Weighted => {
            let total: u64 = first.iter().map(|index| u64::from(candidates[*index].weight)).sum();
            if total > 0 {
                let mut left = random % total;
                let chosen = first.iter().position(|index| {
                    let weight = u64::from(candidates[*index].weight);
                    let is_here = left < weight;
                    left = left.saturating_sub(weight);
                    is_here
                });
                // The others follow as they are listed.
                if let Some(chosen) = chosen {
                    first[..=chosen].rotate_right(1);
                }
            }
        }
    }
    indices
}

/// Of what nothing is known is tried before what is slow: else nothing would ever be known of it.
fn by_seconds(a: Option<f64>, b: Option<f64>) -> Ordering {
    match (a, b) {
        (Some(a), Some(b)) => a.total_cmp(&b),
        (None, Some(_)) => Ordering::Less,
        (Some(_), None) => Ordering::Greater,
        (None, None) => Ordering::Equal,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop_assert_eq, proptest};
    use rstest::rstest;

    use super::*;

    fn candidate(cost_micros: i64, seconds: Option<f64>, weight: u32) -> Candidate {
        Candidate { is_ready: true, cost_micros, seconds, weight }
    }

    fn three() -> [Candidate; 3] {
        [candidate(30, Some(9.0), 1), candidate(10, Some(20.0), 0), candidate(20, None, 3)]
    }

    #[rstest]
    #[case(Strategy::Fallback, 5, 0, &[0, 1, 2])]
    #[case(Strategy::Cheapest, 5, 0, &[1, 2, 0])]
    #[case(Strategy::Fastest, 5, 0, &[2, 0, 1])]
    #[case(Strategy::RoundRobin, 0, 0, &[0, 1, 2])]
    #[case(Strategy::RoundRobin, 4, 0, &[1, 2, 0])]
    #[case(Strategy::Weighted, 0, 0, &[0, 1, 2])]
    #[case(Strategy::Weighted, 0, 1, &[2, 0, 1])]
    #[case(Strategy::Weighted, 0, 7, &[2, 0, 1])]
    fn each_strategy_has_its_order(
        #[case] strategy: Strategy,
        #[case] turn: u64,
        #[case] random: u64,
        #[case] expected: &[usize],
    ) {
        assert_eq!(order(strategy, &three(), turn, random), expected);
    }

    #[test]
    fn who_takes_nothing_is_tried_last_and_has_no_turn() {
        let mut candidates = three();
        candidates[0].is_ready = false;
        for strategy in Strategy::ALL {
            for turn in 0..4 {
                assert_eq!(order(strategy, &candidates, turn, turn).pop(), Some(0), "{strategy:?}");
            }
        }
        assert_eq!(order(Strategy::RoundRobin, &candidates, 1, 0), [2, 1, 0]);
        let none = candidates.map(|candidate| Candidate { is_ready: false, ..candidate });
        assert_eq!(order(Strategy::Cheapest, &none, 0, 0), [1, 2, 0]);
    }

    proptest! {
        #[test]
        fn everybody_is_tried_once(
            strategy in 0..5_usize,
            candidates in proptest::collection::vec((any::<bool>(), any::<i64>(), proptest::option::of(any::<f64>()), any::<u32>()), 0..9),
            turn in any::<u64>(),
            random in any::<u64>(),
        ) {
            let candidates: Vec<Candidate> = candidates
                .into_iter()
                .map(|(is_ready, cost_micros, seconds, weight)| Candidate { is_ready, cost_micros, seconds, weight })
                .collect();
            let mut tried = order(Strategy::ALL[strategy], &candidates, turn, random);
            tried.sort_unstable();
            prop_assert_eq!(tried, (0..candidates.len()).collect::<Vec<_>>());
        }
    }
}
