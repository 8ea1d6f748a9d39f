//! When a checkpoint is worth its time. Pure.

/// Evaluations that a killed task repeats at most, where an evaluation takes longer than writing a checkpoint.
const MOST_REPEATED: u32 = 3;
/// Else a checkpoint is due when this many times what writing it takes has passed: it costs at most 2 %.
const WORK_PER_WRITE: f64 = 50.0;
/// What writing a checkpoint is thought to take before one was written, seconds.
const UNMEASURED_SECONDS: f64 = 0.002;

/// Whether to write a checkpoint, `evaluations` after the last one (or the start) and `seconds` of work later.
pub fn is_due(evaluations: u32, seconds: f64, write_seconds: f64) -> bool {
    if evaluations == 0 {
        return false;
    }
    let evaluation_seconds = seconds / f64::from(evaluations);
    seconds >= WORK_PER_WRITE * write_seconds || (evaluations >= MOST_REPEATED && evaluation_seconds >= write_seconds)
}

/// What writing checkpoints takes on this machine, as measured; shared by the tasks of a device.
#[derive(Clone, Copy, Debug)]
pub struct WriteCost {
    seconds: f64,
}

impl Default for WriteCost {
    fn default() -> Self {
        Self { seconds: UNMEASURED_SECONDS }
    }
}

impl WriteCost {
    /// One checkpoint took this long.
    pub fn measured(&mut self, seconds: f64) {
        // Half of what was known stays: one slow write must not stop the next ones.
        self.seconds = f64::midpoint(self.seconds, seconds);
    }

    /// Seconds.
    pub fn seconds(self) -> f64 {
        self.seconds
    }
}

/// Work of one task since its last checkpoint.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unsaved {
    evaluations: u32,
    seconds: f64,
}

impl Unsaved {
    /// One more evaluation, of this many seconds; whether it is time to write.
    pub fn evaluated(&mut self, seconds: f64, cost: WriteCost) -> bool {
        self.evaluations += 1;
        self.seconds += seconds;
        is_due(self.evaluations, self.seconds, cost.seconds())
    }

    /// A checkpoint was written.
    pub fn saved(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn slow_evaluations_are_kept_every_third_and_very_slow_ones_each() {
        for (evaluations, seconds, write_seconds, due) in [
            (0, 1e9, 0.0, false),
            (1, 0.02, 0.001, false),
            (2, 0.04, 0.001, false),
            (3, 0.06, 0.001, true),
            (1, 0.05, 0.001, true),
            (3, 0.003, 0.002, false),
            (50, 0.05, 0.002, false),
            (100, 0.1, 0.002, true),
        ] {
            assert_eq!(is_due(evaluations, seconds, write_seconds), due, "{evaluations} {seconds} {write_seconds}");
        }
    }

    proptest! {
        #[test]
        fn a_kill_repeats_little_or_little_time(step in 1e-6..10.0_f64, write in 1e-6..1.0_f64) {
            let mut cost = WriteCost::default();
            for _ in 0..64 { cost.measured(write); }
            let (mut unsaved, mut since) = (Unsaved::default(), 0_u32);
            for _ in 0..500 {
                since += 1;
                if unsaved.evaluated(step, cost) { unsaved.saved(); since = 0; }
                prop_assert!(since < 3 || step < cost.seconds() || f64::from(since) * step <= 50.0 * cost.seconds() + step);
                if step >= cost.seconds() * 1.001 { prop_assert!(since < 3); }
            }
        }
    }
}
