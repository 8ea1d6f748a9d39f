//! How fast models have been, to tell how long jobs will take.

use std::collections::HashMap;

use parking_lot::Mutex;

use crate::domain::{BatchKey, ModelId};

/// Device seconds that a unit of a [task's work](crate::domain::plan::PlannedTask::work) is taken to cost before anything was measured.
pub const UNMEASURED_SECONDS_PER_WORK: f64 = 1.0;

/// Weight of the newest measurement in a moving average.
const NEWEST_WEIGHT: f64 = 0.3;

/// Exponential moving averages of what was measured: device seconds per unit of work, by batch key, and seconds that loading took,
/// by model. Attention grows faster than the picture, so sizes are kept apart; a size that was never measured borrows from the model's
/// others.
#[derive(Debug, Default)]
pub struct SpeedEstimates {
    averages: Mutex<Averages>,
}

#[derive(Debug, Default)]
struct Averages {
    work: HashMap<BatchKey, f64>,
    /// Over all sizes.
    models: HashMap<ModelId, f64>,
    loads: HashMap<ModelId, f64>,
}

impl SpeedEstimates {
    /// Takes a measurement of a run: device seconds, shared evaluations divided among those that shared them.
    pub fn observe_work(&self, batch: &BatchKey, work: f64, device_seconds: f64) {
        let measured = device_seconds / work;
        if !measured.is_finite() || measured <= 0.0 {
            return;
        }
        let mut averages = self.averages.lock();
        average(&mut averages.work, batch, measured);
        average(&mut averages.models, &batch.model, measured);
    }

    /// Takes a measurement of a load.
    pub fn observe_load(&self, model: &ModelId, seconds: f64) {
        if seconds.is_finite() && seconds >= 0.0 {
            average(&mut self.averages.lock().loads, model, seconds);
        }
    }

    /// Device seconds per unit of work; `None` before the model has been measured.
    pub fn seconds_per_work(&self, batch: &BatchKey) -> Option<f64> {
        let averages = self.averages.lock();
        averages.work.get(batch).or_else(|| averages.models.get(&batch.model)).copied()
    }

    /// Seconds that loading the model takes; `None` before it has been loaded.
    pub fn load_seconds(&self, model: &ModelId) -> Option<f64> {
        self.averages.lock().loads.get(model).copied()
    }
}

fn average<K: Clone + Eq + std::hash::Hash>(averages: &mut HashMap<K, f64>, key: &K, measured: f64) {
    match averages.get_mut(key) {
        Some(average) => *average += NEWEST_WEIGHT * (measured - *average),
        None => {
            averages.insert(key.clone(), measured);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn estimates_follow_measurements_and_other_sizes_borrow() {
        let speeds = SpeedEstimates::default();
        let key = |model: &str, width| BatchKey { model: model.parse().unwrap(), width, height: 512 };
        let (small, large, other) = (key("a", 512), key("a", 1024), key("b", 512));
        assert_eq!(speeds.seconds_per_work(&small), None);
        speeds.observe_work(&small, 10.0, 20.0);
        assert_eq!(speeds.seconds_per_work(&small), Some(2.0));
        assert_eq!(speeds.seconds_per_work(&large), Some(2.0), "borrowed");
        assert_eq!(speeds.seconds_per_work(&other), None);
        speeds.observe_work(&large, 10.0, 40.0);
        assert_eq!(speeds.seconds_per_work(&large), Some(4.0));
        assert_eq!(speeds.seconds_per_work(&small), Some(2.0));
        speeds.observe_work(&small, 10.0, 30.0);
        assert!((speeds.seconds_per_work(&small).unwrap() - 2.3).abs() < 1e-9);
        for nonsense in [(0.0, 1.0), (1.0, 0.0), (1.0, f64::NAN)] {
            speeds.observe_work(&other, nonsense.0, nonsense.1);
        }
        assert_eq!(speeds.seconds_per_work(&other), None);
        speeds.observe_load(&other.model, 4.0);
        speeds.observe_load(&other.model, f64::INFINITY);
        assert_eq!((speeds.load_seconds(&other.model), speeds.load_seconds(&small.model)), (Some(4.0), None));
    }
}
