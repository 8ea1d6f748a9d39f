//! The words between a server and its worker processes.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::device::{DeviceKind, DeviceOptions, LoadedModel};
use crate::task::{Failure, ModelFiles, Report, TaskNumber, TaskOrder, TaskOutput};
use crate::vitals::Vitals;

/// Changes with the words. Both sides come from one build; a worker that was not replaced with its server says so.
pub const PROTOCOL: u32 = 3;

/// How a worker starts: the server's first message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Start {
    /// [`PROTOCOL`].
    pub protocol: u32,
    /// Which device.
    pub device: DeviceKind,
    /// How it computes.
    pub options: DeviceOptions,
    /// The file that is locked as long as the device is open.
    pub lock_path: PathBuf,
    /// How long to wait for another worker to let go of the device, milliseconds.
    pub lock_wait_ms: u64,
    /// How often to show life, milliseconds.
    pub heartbeat_ms: u64,
}

/// From the server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ToWorker {
    /// The first message, and only that.
    Start(Box<Start>),
    /// Run a task.
    Run {
        /// Its number from now on.
        number: TaskNumber,
        /// What to do.
        order: Box<TaskOrder>,
        /// Whether anybody wants previews.
        previews: bool,
    },
    /// Interrupt a task; one that has ended is no mistake.
    Cancel {
        /// Which.
        number: TaskNumber,
    },
    /// Whether anybody wants previews of a task has changed.
    Previews {
        /// Which.
        number: TaskNumber,
        /// The answer now.
        wanted: bool,
    },
    /// Load a model.
    Load {
        /// For the answer.
        ticket: u64,
        /// Which.
        model: ModelFiles,
    },
    /// Give back a model's memory.
    Unload {
        /// For the answer.
        ticket: u64,
        /// Which.
        model: String,
    },
    /// End at once.
    Stop,
}

/// From the worker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ToServer {
    /// The device is open.
    Hello {
        /// [`PROTOCOL`].
        protocol: u32,
        /// The worker's [build](crate::build).
        version: String,
        /// What the device is.
        description: String,
    },
    /// The device cannot be opened; the worker ends.
    Refused {
        /// Why.
        reason: String,
    },
    /// The process lives.
    Beat {
        /// Rises while the device's thread makes progress.
        ticks: u64,
        /// Memory and utilisation.
        vitals: Vitals,
    },
    /// Other models are loaded than before.
    Loaded {
        /// All of them.
        models: Vec<LoadedModel>,
    },
    /// A task is on its way.
    Report {
        /// Which.
        number: TaskNumber,
        /// How far.
        report: Report,
    },
    /// A task has ended.
    Ended {
        /// Which.
        number: TaskNumber,
        /// How.
        result: Result<TaskOutput, Failure>,
    },
    /// A command was carried out.
    Answered {
        /// The command's.
        ticket: u64,
        /// How it went.
        result: Result<(), Failure>,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::{ClipRequest, Picture, PictureFile, RunFacts};

    #[test]
    fn a_clip_and_its_frames_survive_the_way_between_processes() {
        let file = |name: &str| PictureFile { path: name.into(), width: 64, height: 36 };
        let clip = ClipRequest {
            width: 64,
            height: 36,
            num_frames: 2,
            num_inference_steps: 20,
            min_guidance_scale: 1.0,
            max_guidance_scale: 3.1,
            fps: 7,
            motion_bucket_id: 127,
            noise_aug_strength: 0.02,
            decode_chunk_size: 8,
            seed: u64::MAX,
        };
        let order = TaskOrder {
            request: clip.into(),
            model: ModelFiles { name: "svd".to_owned(), directory: "svd.safetensors".into(), fingerprint: 1 },
            unload: Vec::new(),
            init_image: Some(Picture::File(file("w/init-image.rgb"))),
            mask: None,
            work_directory: "w".into(),
        };
        let run = ToWorker::Run { number: TaskNumber(1), order: Box::new(order), previews: true };
        let text = serde_json::to_string(&run).unwrap();
        assert_eq!(serde_json::from_str::<ToWorker>(&text).unwrap(), run);
        assert!(serde_json::from_str::<ToWorker>(&text.replace("noise_aug_strength", "noise")).is_err());

        let pictures = vec![Picture::File(file("w/picture-0.rgb")), Picture::File(file("w/picture-1.rgb"))];
        let ended = ToServer::Ended { number: TaskNumber(1), result: Ok(TaskOutput { pictures, facts: RunFacts::default() }) };
        let text = serde_json::to_string(&ended).unwrap();
        assert_eq!(serde_json::from_str::<ToServer>(&text).unwrap(), ended);
    }
}
