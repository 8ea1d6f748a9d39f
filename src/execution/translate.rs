//! Between the server's words and a worker's.

use std::sync::Arc;

use framewright_device_worker as worker;
use framewright_device_worker::vitals::Memory;
use framewright_device_worker::{Failure, FailureClass};

use super::{
    DeviceMemory, DeviceTask, DeviceWork, FinishedPicture, LoadedModel, Report, RunFacts, TaskFailure, TaskOutput, Timings,
};
use crate::domain::film::ClipRequest;
use crate::domain::{ErrorCode, Progress};

/// A task as a worker knows it. The initial picture and its mask stay in memory.
pub(super) fn order(task: &DeviceTask) -> worker::TaskOrder {
    worker::TaskOrder {
        request: request(&task.work),
        model: worker::ModelFiles {
            name: task.work.model().to_string(),
            directory: task.model_directory.clone(),
            fingerprint: task.model_fingerprint,
        },
        unload: task.unload.iter().map(ToString::to_string).collect(),
        init_image: task.init_image.clone().map(worker::Picture::Pixels),
        mask: task.mask.clone().map(worker::Picture::Pixels),
        work_directory: task.work_directory.clone(),
    }
}

fn request(work: &DeviceWork) -> worker::Request {
    match work {
        DeviceWork::Pictures(request) => worker::Request::Pictures(worker::ImageRequest {
            prompt: request.prompt.clone(),
            negative_prompt: request.negative_prompt.clone(),
            width: request.width,
            height: request.height,
            num_inference_steps: request.num_inference_steps,
            guidance_scale: request.guidance_scale,
            seed: request.seed,
            sampler: request.sampler.clone(),
            num_images: request.num_images,
            strength: request.strength,
        }),
        DeviceWork::Clip(ClipRequest { seed, settings, .. }) => worker::Request::Clip(worker::ClipRequest {
            width: settings.width,
            height: settings.height,
            num_frames: settings.num_frames,
            num_inference_steps: settings.num_inference_steps,
            min_guidance_scale: settings.min_guidance_scale,
            max_guidance_scale: settings.max_guidance_scale,
            fps: settings.fps,
            motion_bucket_id: settings.motion_bucket_id,
            noise_aug_strength: settings.noise_aug_strength,
            decode_chunk_size: settings.decode_chunk_size,
            seed: *seed,
        }),
    }
}

pub(super) fn report(report: worker::Report) -> Report {
    match report {
        worker::Report::ModelLoaded { seconds } => Report::ModelLoaded { seconds },
        worker::Report::Evaluated { step, steps, seconds, tasks } => {
            Report::Evaluated { progress: Progress { step, steps }, seconds, tasks }
        }
        worker::Report::Preview { index, step, steps, png } => {
            Report::Preview { index, progress: Progress { step, steps }, png: png.into() }
        }
    }
}

/// How a task ended, as the server knows it.
pub(super) fn ended(result: Result<worker::TaskOutput, Failure>) -> Result<TaskOutput, TaskFailure> {
    let worker::TaskOutput { pictures, facts } = result.map_err(failure)?;
    let picture = |picture| match picture {
        worker::Picture::Pixels(picture) => FinishedPicture::Pixels(Arc::unwrap_or_clone(picture)),
        worker::Picture::File(worker::PictureFile { path, width, height }) => FinishedPicture::File { path, width, height },
    };
    let worker::Timings { load_seconds, encode_seconds, denoise_seconds, decode_seconds } = facts.timings;
    Ok(TaskOutput {
        pictures: pictures.into_iter().map(picture).collect(),
        facts: RunFacts {
            device: facts.device,
            precision: facts.precision,
            sampler: facts.sampler,
            noise: facts.noise,
            timings: Timings { load_seconds, encode_seconds, denoise_seconds, decode_seconds },
            resumed_steps: facts.resumed_steps,
            batched_with: facts.batched_with,
            warnings: facts.warnings,
        },
    })
}

pub(super) fn failure(failure: Failure) -> TaskFailure {
    match failure {
        Failure::Cancelled => TaskFailure::Cancelled,
        Failure::Failed { class, message } => TaskFailure::new(error_code(class), message),
    }
}

fn error_code(class: FailureClass) -> ErrorCode {
    match class {
        FailureClass::ModelUnavailable => ErrorCode::ModelUnavailable,
        FailureClass::OutOfMemory => ErrorCode::OutOfMemory,
        FailureClass::DeviceFailed => ErrorCode::DeviceFailed,
        FailureClass::InvalidRequest => ErrorCode::InvalidRequest,
        FailureClass::StorageFailed => ErrorCode::StorageFailed,
        FailureClass::Internal => ErrorCode::Internal,
    }
}

/// The class of a code; those that only a server gives are internal.
pub(super) fn failure_class(code: ErrorCode) -> FailureClass {
    match code {
        ErrorCode::ModelUnavailable => FailureClass::ModelUnavailable,
        ErrorCode::OutOfMemory => FailureClass::OutOfMemory,
        ErrorCode::DeviceFailed => FailureClass::DeviceFailed,
        ErrorCode::InvalidRequest => FailureClass::InvalidRequest,
        ErrorCode::StorageFailed => FailureClass::StorageFailed,
        ErrorCode::WorkerLost
        | ErrorCode::Stalled
        | ErrorCode::QuotaExceeded
        | ErrorCode::ProviderRefused
        | ErrorCode::ModerationBlocked
        | ErrorCode::ProviderUnavailable
        | ErrorCode::OutcomeUnknown
        | ErrorCode::ProviderFailed
        | ErrorCode::TimedOut
        | ErrorCode::Internal => FailureClass::Internal,
    }
}

/// Models by names that a worker was given; one that it was not given is left out.
pub(super) fn loaded(models: Vec<worker::LoadedModel>) -> Vec<LoadedModel> {
    let loaded =
        |model: worker::LoadedModel| Some(LoadedModel { model: model.name.parse().ok()?, weights_bytes: model.weights_bytes });
    models.into_iter().filter_map(loaded).collect()
}

pub(super) fn memory(memory: Memory) -> DeviceMemory {
    DeviceMemory { total_bytes: memory.total_bytes, free_bytes: memory.free_bytes }
}
