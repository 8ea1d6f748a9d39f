//! How fast models have been, to tell how long a job will take.

use std::collections::HashMap;

use parking_lot::Mutex;

use crate::domain::{ImageRequest, ModelId};

/// Weight of the newest measurement in the moving average.
const NEWEST_WEIGHT: f64 = 0.3;

/// The size of a request in evaluations · megapixels; a guided evaluation counts twice (two rows).
pub fn work(request: &ImageRequest) -> f64 {
    let megapixels = f64::from(request.width) * f64::from(request.height) / 1e6;
    let rows = if request.guidance_scale > 1.0 { 2.0 } else { 1.0 };
    let begun_late = if request.init_image.is_some() { f64::from(request.strength.clamp(0.0, 1.0)) } else { 1.0 };
    f64::from(request.num_inference_steps) * begun_late * rows * f64::from(request.num_images) * megapixels
}

/// An exponential moving average of the seconds per unit of [`work`], for each model.
#[derive(Debug, Default)]
pub struct SpeedEstimates {
    seconds_per_unit: Mutex<HashMap<ModelId, f64>>,
}

impl SpeedEstimates {
    /// Takes a measurement.
    pub fn observe(&self, model: &ModelId, work: f64, seconds: f64) {
        let measured = seconds / work;
        if !measured.is_finite() || measured <= 0.0 {
            return;
        }
        self.seconds_per_unit
            .lock()
            .entry(model.clone())
            .and_modify(|average| *average += NEWEST_WEIGHT * (measured - *average))
            .or_insert(measured);
    }

    /// Seconds until a new job of `work` on `model` would be done, behind `waiting` on `devices` devices; `None` before the model has
    /// been measured. Waiting work of models that have not been measured is taken to run like this one.
    pub fn estimate(&self, model: &ModelId, work: f64, waiting: &[(ModelId, f64)], devices: usize) -> Option<f64> {
        let seconds_per_unit = self.seconds_per_unit.lock();
        let own = *seconds_per_unit.get(model)?;
        let waiting_seconds: f64 =
            waiting.iter().map(|(model, work)| work * seconds_per_unit.get(model).copied().unwrap_or(own)).sum();
        Some(waiting_seconds / devices.max(1) as f64 + work * own)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn estimates_follow_measurements_and_include_the_queue() {
        let speeds = SpeedEstimates::default();
        let (a, b): (ModelId, ModelId) = ("a".parse().unwrap(), "b".parse().unwrap());
        assert_eq!(speeds.estimate(&a, 10.0, &[], 1), None);
        speeds.observe(&a, 10.0, 20.0);
        assert_eq!(speeds.estimate(&a, 5.0, &[], 1), Some(10.0));
        assert_eq!(speeds.estimate(&a, 5.0, &[(a.clone(), 5.0), (b.clone(), 5.0)], 2), Some(20.0));
        speeds.observe(&a, 10.0, 30.0);
        let now = speeds.estimate(&a, 1.0, &[], 1).unwrap();
        assert!((now - 2.3).abs() < 1e-9, "{now}");
        for nonsense in [(0.0, 1.0), (1.0, 0.0), (1.0, f64::NAN)] {
            speeds.observe(&b, nonsense.0, nonsense.1);
        }
        assert_eq!(speeds.estimate(&b, 1.0, &[], 1), None);
    }
}
