//! How long a provider's models took lately. Pure.

use std::collections::{BTreeMap, VecDeque};

/// Tasks of a model that are looked at.
const MOST_KEPT: usize = 32;
/// Models that are kept: names come from the settings and from tables.
const MOST_MODELS: usize = 1000;

/// The last durations, by model.
#[derive(Clone, Debug, Default)]
pub struct Latencies(BTreeMap<String, VecDeque<u64>>);

impl Latencies {
    /// A task of this model gave its results after so many milliseconds.
    pub fn record(&mut self, model: &str, ms: u64) {
        if !self.0.contains_key(model) && self.0.len() >= MOST_MODELS {
            return;
        }
        let kept = self.0.entry(model.to_owned()).or_default();
        if kept.len() >= MOST_KEPT {
            kept.pop_front();
        }
        kept.push_back(ms);
    }

    /// The median, milliseconds.
    pub fn median_ms(&self, model: &str) -> Option<u64> {
        let mut sorted: Vec<u64> = self.0.get(model)?.iter().copied().collect();
        sorted.sort_unstable();
        sorted.get(sorted.len() / 2).copied()
    }

    /// The medians of all models.
    pub fn medians_ms(&self) -> BTreeMap<String, u64> {
        self.0.keys().filter_map(|model| Some((model.clone(), self.median_ms(model)?))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_the_last_ones_counts() {
        let mut latencies = Latencies::default();
        assert_eq!(latencies.median_ms("a"), None);
        for ms in [5, 1, 9] {
            latencies.record("a", ms);
        }
        latencies.record("b", 7);
        assert_eq!(latencies.median_ms("a"), Some(5));
        for _ in 0..MOST_KEPT {
            latencies.record("a", 100);
        }
        assert_eq!(latencies.medians_ms(), BTreeMap::from([("a".to_owned(), 100), ("b".to_owned(), 7)]));
    }
}
