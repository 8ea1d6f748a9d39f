//! Tasks that make clips with Stable Video Diffusion: several take turns, one evaluation or one chunk of frames each.

mod chunk;
mod run;

use std::rc::Rc;
use std::sync::Arc;

use framewright_engine::pipelines::svd::{SvdModel, VideoModelInfo, VideoRequest};
use framewright_engine::vision::RgbPicture;

use crate::models::need::Need;
use crate::task::{ClipRequest, Failure, Report, Task, TaskNumber, TaskOutput};
use crate::workshop::Workshop;
use run::Run;

/// The clip tasks of a device.
#[derive(Default)]
pub(crate) struct Clips {
    runs: Vec<Run>,
}

impl Clips {
    /// Tasks that have begun and not ended.
    pub(crate) fn len(&self) -> usize {
        self.runs.len()
    }

    /// What a request to a model needs, by its files.
    pub(crate) fn need(task: &Task, request: &VideoRequest, workshop: &Workshop) -> Result<Need, Failure> {
        let info = VideoModelInfo::read(&task.order.model.directory)?;
        info.check(request)?;
        Ok(Need::of_clip(&info, request, &workshop.ops))
    }

    /// Begins a task. `load_seconds`: what loading its model took.
    pub(crate) fn begin(
        &mut self,
        number: TaskNumber,
        task: &Task,
        request: &VideoRequest,
        (model, load_seconds): (&Rc<SvdModel>, f64),
        workshop: &mut Workshop,
    ) -> Result<(), Failure> {
        let interrupt = workshop.enter(std::slice::from_ref(&task.interrupt));
        let begun = workshop.with_relief(|workshop| Run::begin(number, task, request, model, &workshop.ops, &interrupt));
        let mut run =
            begun.map_err(|failure| workshop.with_numbers(failure, Need::of_clip(model.info(), request, &workshop.ops)))?;
        run.facts.timings.load_seconds = load_seconds;
        self.runs.push(run);
        Ok(())
    }

    /// Takes every task on by one evaluation or one chunk of frames.
    pub(crate) fn advance(&mut self, workshop: &mut Workshop, report: &mut dyn FnMut(TaskNumber, Report)) {
        for run in &mut self.runs {
            run.advance(workshop, report);
        }
    }

    /// Takes out the tasks that were interrupted.
    pub(crate) fn take_cancelled(&mut self) -> impl Iterator<Item = TaskNumber> {
        self.runs.extract_if(.., |run| run.task.interrupt.is_cancelled()).map(|run| run.number)
    }

    /// Takes out the tasks that have ended, with the names of their models.
    pub(crate) fn take_ended(&mut self) -> impl Iterator<Item = (TaskNumber, String, Result<TaskOutput, Failure>)> {
        let ended = self.runs.extract_if(.., |run| run.has_ended());
        ended.map(|run| (run.number, run.task.order.model.name.clone(), run.into_outcome()))
    }
}

/// A request in the engine's words.
pub(crate) fn engine_request(request: &ClipRequest, init_image: Arc<RgbPicture>) -> VideoRequest {
    VideoRequest {
        init_image,
        width: request.width as usize,
        height: request.height as usize,
        num_frames: request.num_frames as usize,
        num_inference_steps: request.num_inference_steps as usize,
        min_guidance_scale: request.min_guidance_scale,
        max_guidance_scale: request.max_guidance_scale,
        fps: request.fps as usize,
        motion_bucket_id: request.motion_bucket_id as usize,
        noise_aug_strength: request.noise_aug_strength,
        decode_chunk_size: request.decode_chunk_size as usize,
        seed: request.seed,
    }
}
