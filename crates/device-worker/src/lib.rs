//! A device worker: owns one device, its memory and its models, and runs the tasks that a server sends it.
//!
//! Reading order: [`task`] (what a device is asked and answers) → [`device`] (the trait, and how one is opened) → [`worker`] (the loop
//! that takes commands between two evaluations) → [`engine_device`] and [`fake`] (the devices; the real one runs pictures by `sdxl` and
//! clips by `svd`, with the models and the memory of its `workshop`) → [`process`] (the loop as a program of its own, which a server
//! supervises).
//!
//! Invariants:
//! - one thread owns the device; whoever else wants something sends a command, sets an [`Interrupt`](framewright_engine::ops::Interrupt), or
//!   reads the [`pulse`];
//! - picture tasks of one model and size share evaluations, and join and leave between two of them; clips take turns; on the CPU the bits
//!   of neither tell;
//! - an error is the task's own: a shared evaluation that fails is tried again for each of its tasks alone;
//! - nothing here knows of HTTP, databases or users.

pub mod device;
pub mod engine_device;
pub mod fake;
pub mod process;
pub mod pulse;
pub mod task;
pub mod vitals;
pub mod work;
pub mod worker;

mod models;
mod preview;
mod sdxl;
mod svd;
mod workshop;

/// The version, and numbers for the sources of the engine and of this package. Server and worker are of one build, and what a task keeps
/// is good for the same build alone.
pub fn build() -> String {
    format!("{}.{}", framewright_engine::BUILD, env!("FRAMEWRIGHT_SOURCES"))
}

pub use device::{BatchDevice, DeviceKind, DeviceOptions, LoadedModel, open};
pub use pulse::Pulse;
pub use task::{
    ClipRequest, Failure, FailureClass, ImageRequest, ModelFiles, Picture, PictureFile, PreviewSwitch, Report, Request, RunFacts,
    Task, TaskNumber, TaskOrder, TaskOutput, Timings,
};
