//! A device worker: owns one device, its memory and its models, and runs the tasks that a server sends it.
//!
//! Reading order: [`task`] (what a device is asked and answers) → [`device`] (the trait, and how one is opened) → [`worker`] (the loop
//! that takes commands between two evaluations) → [`sdxl`] and [`fake`] (the devices) → [`process`] (the loop as a program of its own,
//! which a server supervises).
//!
//! Invariants:
//! - one thread owns the device; whoever else wants something sends a command, sets an [`Interrupt`](framewright_engine::ops::Interrupt), or
//!   reads the [`pulse`];
//! - tasks of one model and size share evaluations, and join and leave between two of them; on the CPU a picture's bits do not tell;
//! - an error is the task's own: a shared evaluation that fails is tried again for each of its tasks alone;
//! - nothing here knows of HTTP, databases or users.

pub mod device;
pub mod fake;
pub mod process;
pub mod pulse;
pub mod sdxl;
pub mod task;
pub mod vitals;
pub mod work;
pub mod worker;

mod preview;

/// The version, and numbers for the sources of the engine and of this package. Server and worker are of one build, and what a task keeps
/// is good for the same build alone.
pub fn build() -> String {
    format!("{}.{}", framewright_engine::BUILD, env!("FRAMEWRIGHT_SOURCES"))
}

pub use device::{BatchDevice, DeviceKind, DeviceOptions, LoadedModel, open};
pub use pulse::Pulse;
pub use task::{
    Failure, FailureClass, ImageOutput, ImageRequest, ImageTask, ModelFiles, Picture, PictureFile, PreviewSwitch, Report,
    RunFacts, TaskNumber, TaskOrder, Timings,
};
