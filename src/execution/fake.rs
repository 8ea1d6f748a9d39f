//! Steering fake devices from tests. Over HTTP, words in the prompt do the same: see [`framewright_device_worker::fake::words`].

use framewright_device_worker::Failure;
use framewright_device_worker::fake::{FakeSetup, Planned, Words};

use super::translate::failure_class;
use crate::domain::ErrorCode;

/// What a fake device does wrong in its next task, after `after_steps` evaluations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FakeFailure {
    /// Fails with an error of this class.
    Fail {
        /// When.
        after_steps: u32,
        /// How.
        code: ErrorCode,
    },
    /// Takes its worker along.
    Panic {
        /// When.
        after_steps: u32,
    },
    /// Makes no progress until it is interrupted.
    Hang {
        /// When.
        after_steps: u32,
    },
}

/// Pace, memory and planned failures of fake devices. Clones steer the same devices; plans reach those in threads of this process
/// alone.
#[derive(Clone, Debug)]
pub struct FakeControl {
    /// How long an evaluation takes, milliseconds.
    pub step_ms: u64,
    /// How long loading a model takes, milliseconds.
    pub load_ms: u64,
    /// The memory that models share; absent: without end.
    pub memory_bytes: Option<u64>,
    planned: Planned,
}

impl Default for FakeControl {
    fn default() -> Self {
        Self::new(20)
    }
}

impl FakeControl {
    /// Devices that take this long a step.
    pub fn new(step_ms: u64) -> Self {
        Self { step_ms, load_ms: 0, memory_bytes: None, planned: Planned::default() }
    }

    /// Plans a failure; each task takes one, in order.
    #[expect(clippy::needless_pass_by_value, reason = "a plan is handed over")]
    pub fn plan(&self, failure: FakeFailure) {
        self.planned.push(match failure {
            FakeFailure::Fail { after_steps, code } => {
                let failure = Failure::new(failure_class(code), "the fake device was told to fail");
                Words { fail_at: Some((after_steps, failure)), ..Words::default() }
            }
            FakeFailure::Panic { after_steps } => Words { crash_at: Some(after_steps), ..Words::default() },
            FakeFailure::Hang { after_steps } => Words { stuck_at: Some(after_steps), ..Words::default() },
        });
    }

    /// The part that a device needs.
    pub(super) fn setup(&self) -> FakeSetup {
        FakeSetup { step_ms: self.step_ms, load_ms: self.load_ms, memory_bytes: self.memory_bytes, planned: self.planned.clone() }
    }
}
