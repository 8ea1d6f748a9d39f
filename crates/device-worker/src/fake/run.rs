//! A task on a fake device.

use std::sync::Arc;
use std::time::Instant;

use framewright_engine::vision::RgbPicture;

use super::motion::{first_frame, frame};
use super::pattern::pattern;
use super::words::Words;
use crate::preview;
use crate::task::{
    ClipRequest, Failure, FailureClass, ImageRequest, Picture, Report, Request, RunFacts, Task, TaskNumber, TaskOutput, Timings,
};
use crate::work::cadence::{Unsaved, WriteCost};
use crate::work::{Kept, WorkDirectory};

/// Longer side of a picture, pixels: real, and small.
const PICTURE_SIDE: u32 = 32;
/// Longer side of a clip's frame, pixels: enough for what encodes them.
const FRAME_SIDE: u32 = 64;
/// Longer side of a picture's preview, pixels.
const PREVIEW_SIDE: u32 = 16;

/// One task.
pub(super) struct Run {
    pub(super) number: TaskNumber,
    pub(super) task: Task,
    pub(super) words: Words,
    /// It takes part in the evaluation under way: it was there when that began.
    pub(super) is_evaluated: bool,
    /// Evaluations of each picture, or of the clip, done.
    pub(super) done: u32,
    work: WorkDirectory,
    /// What a clip begins with, small.
    first_frame: Option<RgbPicture>,
    resumed: u32,
    batched_with: u32,
    load_seconds: f64,
    begun: Instant,
    unsaved: Unsaved,
}

impl Run {
    /// Goes on from what an earlier attempt kept. `load_seconds`: what loading the model took, if it was loaded for this task.
    pub(super) fn begin(number: TaskNumber, task: Task, words: Words, load_seconds: Option<f64>) -> Result<Self, Failure> {
        let order = &task.order;
        let (work, first_frame) = match &order.request {
            Request::Pictures(_) => (WorkDirectory::new(&order.work_directory, "fake", &order.model, &order.request, None), None),
            Request::Clip(request) => {
                let picture = order.read_first_frame()?;
                let work = WorkDirectory::new(&order.work_directory, "fake", &order.model, &order.request, Some(&picture));
                (work, Some(first_frame(&picture, request.width, request.height, FRAME_SIDE)))
            }
        };
        let resumed = resumed_step(&work, &order.request).filter(|step| *step <= order.request.steps()).unwrap_or(0);
        Ok(Self {
            number,
            words,
            work,
            first_frame,
            is_evaluated: false,
            done: resumed,
            resumed,
            batched_with: 1,
            load_seconds: load_seconds.unwrap_or(0.0),
            begun: Instant::now(),
            unsaved: Unsaved::default(),
            task,
        })
    }

    /// Whether the evaluation under way brings it on.
    pub(super) fn moves(&self) -> bool {
        self.is_evaluated && !self.words.is_stuck(self.done)
    }

    /// Whether all evaluations are done.
    pub(super) fn is_finished(&self) -> bool {
        self.done >= self.task.order.request.steps()
    }

    /// One evaluation of every picture, or of the clip, which took `seconds` and was shared by `tasks`.
    pub(super) fn advance(&mut self, seconds: f64, tasks: u32, cost: &mut WriteCost, report: &mut dyn FnMut(TaskNumber, Report)) {
        let request = &self.task.order.request;
        self.done += 1;
        self.batched_with = self.batched_with.max(tasks);
        let (step, steps) = (self.done * request.samplings(), request.steps() * request.samplings());
        report(self.number, Report::Evaluated { step, steps, seconds, tasks });
        if self.task.previews.is_on() && preview::is_due(self.done as usize, request.steps() as usize) {
            for (index, picture) in (0..).zip(self.previews()) {
                if let Some(png) = preview::png(&picture) {
                    report(self.number, Report::Preview { index, step, steps, png });
                }
            }
        }
        if !self.is_finished() && self.unsaved.evaluated(seconds, *cost) {
            let begun = Instant::now();
            let state = self.done.to_le_bytes();
            let kept = match &self.task.order.request {
                Request::Pictures(_) => self.work.keep_machine(0, &state),
                Request::Clip(_) => self.work.keep_clip(&state),
            };
            match kept {
                Ok(()) => cost.measured(begun.elapsed().as_secs_f64()),
                Err(error) => tracing::warn!(%error, "Cannot write a checkpoint: {error}"),
            }
            self.unsaved.saved();
        }
    }

    /// Of every picture, or of the middle of the clip.
    fn previews(&self) -> Vec<RgbPicture> {
        match &self.task.order.request {
            Request::Pictures(request) => test_pictures(request, PREVIEW_SIDE).collect(),
            Request::Clip(request) => {
                self.first_frame.iter().map(|first| frame(first, request.num_frames / 2, request)).collect()
            }
        }
    }

    /// What it was to make; a clip's frames in its directory, each written as soon as it is there.
    pub(super) fn output(self) -> Result<TaskOutput, Failure> {
        let request = &self.task.order.request;
        let (pictures, sampler, warning) = match request {
            Request::Pictures(request) => (
                test_pictures(request, PICTURE_SIDE).map(|picture| Picture::Pixels(Arc::new(picture))).collect(),
                request.sampler.clone(),
                "made by a fake device: a small test pattern, not the model's picture",
            ),
            Request::Clip(request) => {
                (self.frames(request)?, None, "made by a fake device: a small picture that is moved, not the model's clip")
            }
        };
        let facts = RunFacts {
            device: "fake".to_owned(),
            precision: "none".to_owned(),
            sampler: sampler.unwrap_or_else(|| "euler".to_owned()),
            noise: "none".to_owned(),
            timings: Timings {
                load_seconds: self.load_seconds,
                denoise_seconds: self.begun.elapsed().as_secs_f64(),
                ..Timings::default()
            },
            resumed_steps: self.resumed * request.samplings(),
            batched_with: self.batched_with,
            warnings: vec![warning.to_owned()],
        };
        Ok(TaskOutput { pictures, facts })
    }

    fn frames(&self, request: &ClipRequest) -> Result<Vec<Picture>, Failure> {
        let Some(first) = &self.first_frame else { return Ok(Vec::new()) };
        let unwritable = |error| {
            let directory = self.task.order.work_directory.display();
            Failure::new(FailureClass::StorageFailed, format!("cannot keep a finished frame in {directory}: {error}"))
        };
        let kept = |index| self.work.keep_picture(index, &frame(first, index, request), false).map(Picture::File);
        (0..request.num_frames).map(|index| kept(index).map_err(unwritable)).collect()
    }
}

fn test_pictures(request: &ImageRequest, most: u32) -> impl Iterator<Item = RgbPicture> {
    (0..request.num_images)
        .map(move |index| pattern(request.width, request.height, most, request.seed.wrapping_add(u64::from(index))))
}

fn resumed_step(work: &WorkDirectory, request: &Request) -> Option<u32> {
    let bytes = match request {
        Request::Pictures(_) => match work.read(0, 0, 0)? {
            Kept::Machine(bytes) => bytes,
            Kept::Finished { .. } => return None,
        },
        Request::Clip(_) => work.read_clip()?,
    };
    Some(u32::from_le_bytes(bytes.try_into().ok()?))
}
