//! How far the tasks of a job are together.

use std::collections::BTreeMap;

use parking_lot::Mutex;

use crate::domain::Progress;

/// The progress of a job of which tasks run here: what is finished, and what runs, in the plan's units.
#[derive(Debug)]
pub(super) struct JobProgress {
    stage: u32,
    total: u32,
    /// Steps done, by position.
    done: Mutex<BTreeMap<u32, u32>>,
}

impl JobProgress {
    /// Nothing done of the `total` of a stage.
    pub(super) fn new(stage: u32, total: u32) -> Self {
        Self { stage, total, done: Mutex::default() }
    }

    /// Whether it is of this stage, and of so many units in all.
    pub(super) const fn is_of(&self, stage: u32, total: u32) -> bool {
        self.stage == stage && self.total == total
    }

    /// Takes a task's progress, of `steps` units in all; gives the job's. A job of one task counts as its device does.
    pub(super) fn set(&self, position: u32, steps: u32, progress: Progress) -> Progress {
        let mut done = self.done.lock();
        let own = if progress.steps == 0 { 0 } else { u64::from(steps) * u64::from(progress.step) / u64::from(progress.steps) };
        done.insert(position, own.min(u64::from(steps)) as u32);
        if steps == self.total {
            return progress;
        }
        Progress { step: done.values().fold(0, |sum: u32, steps| sum.saturating_add(*steps)), steps: self.total }
    }

    /// The job's progress when nothing new has come.
    pub(super) fn get(&self) -> Progress {
        let done = self.done.lock();
        Progress { step: done.values().fold(0, |sum: u32, steps| sum.saturating_add(*steps)), steps: self.total }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_add_up_and_a_lone_one_counts_as_it_does() {
        let film = JobProgress::new(0, 50);
        let whole = Progress { step: 1, steps: 1 };
        film.set(0, 20, whole);
        assert_eq!(film.set(1, 8, Progress { step: 3, steps: 8 }), Progress { step: 23, steps: 50 });
        assert_eq!(film.set(1, 8, Progress { step: 4, steps: 8 }), Progress { step: 24, steps: 50 });
        assert_eq!(film.set(2, 8, Progress { step: 9, steps: 0 }), Progress { step: 24, steps: 50 });
        assert_eq!(film.get(), Progress { step: 24, steps: 50 });
        let picture = JobProgress::new(0, 20);
        let twice = Progress { step: 13, steps: 40 };
        assert_eq!(picture.set(0, 20, twice), twice, "a sampler with two evaluations a step");
    }
}
