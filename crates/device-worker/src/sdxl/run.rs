//! A task on its way: a step machine for each of its pictures.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use framewright_engine::latent::Latent;
use framewright_engine::ops::{Interrupt, Ops};
use framewright_engine::pipelines::sdxl::{Generation, ImageRequest as EngineRequest, SdxlModel};
use framewright_engine::pipelines::{Outputs, Row, StepMachine, Want};
use framewright_engine::vision::resize::{resize_lanczos, resize_lanczos_grey};
use framewright_engine::vision::{GreyPicture, RgbPicture};

use crate::models::description::checkpoint_sampler;
use crate::models::need::Need;
use crate::preview;
use crate::task::{
    Failure, FailureClass, ImageRequest, Picture, PictureFile, Report, RunFacts, Task, TaskNumber, TaskOrder, TaskOutput,
    resized_warning,
};
use crate::work::cadence::{Unsaved, WriteCost};
use crate::work::{Kept, WorkDirectory};

/// One task.
pub(super) struct Run {
    pub(super) number: TaskNumber,
    pub(super) task: Task,
    pub(super) model: Rc<SdxlModel>,
    pub(super) facts: RunFacts,
    request: ImageRequest,
    pictures: Vec<Canvas>,
    /// Evaluations that each picture takes.
    evaluations: usize,
    work: WorkDirectory,
    unsaved: Unsaved,
    failure: Option<Failure>,
}

/// A picture, on its way or there.
enum Canvas {
    Growing(Box<Generation>),
    Finished(PictureFile),
}

impl Run {
    /// Encodes prompts and sets up the machines, or goes on from what an earlier attempt kept.
    pub(super) fn begin(
        number: TaskNumber,
        task: &Task,
        request: &ImageRequest,
        model: &Rc<SdxlModel>,
        ops: &Ops,
        interrupt: &Interrupt,
    ) -> Result<Self, Failure> {
        let order = &task.order;
        let begun = Instant::now();
        let sampler = request.sampler.clone().unwrap_or_else(|| checkpoint_sampler(&order.model.directory));
        let mut facts = RunFacts {
            device: ops.description(),
            precision: ops.precision().name().to_owned(),
            sampler,
            noise: "torch-cpu-mt19937".to_owned(),
            batched_with: 1,
            ..RunFacts::default()
        };
        let sources = Sources {
            init_image: fitted_init_image(order, request, &mut facts.warnings)?,
            mask: fitted_mask(order, request, &mut facts.warnings)?,
        };
        let picture = sources.init_image.as_deref();
        let work = WorkDirectory::new(&order.work_directory, &facts.device, &order.model, &order.request, picture)
            .with_mask(sources.mask.as_deref());
        let mut pictures = Vec::with_capacity(request.num_images as usize);
        let mut evaluations = 0;
        for index in 0..request.num_images {
            let mut machine = model.begin(&engine_request(request, index, sources.clone()), interrupt)?;
            if index == 0 && machine.truncated_tokens() > 0 {
                facts.warnings.push(format!("prompt truncated by {} tokens", machine.truncated_tokens()));
            }
            evaluations = machine.progress().1;
            pictures.push(match work.read(index, request.width, request.height) {
                Some(Kept::Finished { file, tiled }) => {
                    facts.resumed_steps += evaluations as u32;
                    if tiled {
                        facts.warnings.push(tiled_warning(index));
                    }
                    Canvas::Finished(file)
                }
                Some(Kept::Machine(state)) => {
                    match machine.resume(&state) {
                        Ok(()) => facts.resumed_steps += machine.progress().0 as u32,
                        Err(error) => tracing::info!(%error, "A checkpoint is of no use: {error}"),
                    }
                    Canvas::Growing(Box::new(machine))
                }
                None => Canvas::Growing(Box::new(machine)),
            });
        }
        facts.timings.encode_seconds = begun.elapsed().as_secs_f64();
        Ok(Self {
            number,
            task: task.clone(),
            model: Rc::clone(model),
            facts,
            request: request.clone(),
            pictures,
            evaluations,
            work,
            unsaved: Unsaved::default(),
            failure: None,
        })
    }

    /// Whether rows of both may be evaluated together.
    pub(super) fn shares_with(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.model, &other.model) && self.size() == other.size()
    }

    /// Width and height.
    pub(super) fn size(&self) -> (u32, u32) {
        (self.request.width, self.request.height)
    }

    /// The memory that it needs.
    pub(super) fn need(&self, ops: &Ops) -> Need {
        Need::of_picture(self.model.info(), &engine_request(&self.request, 0, Sources::of_any(&self.task.order)), ops)
    }

    /// The rows that its pictures want evaluated, with the pictures' indices.
    pub(super) fn wanted_rows(&self) -> Vec<(usize, Vec<Row>)> {
        let wanted = |(index, canvas): (usize, &Canvas)| match canvas {
            Canvas::Growing(machine) => match machine.want() {
                Want::Evaluate { rows } => Some((index, rows)),
                Want::Decode { .. } | Want::Done => None,
            },
            Canvas::Finished(_) => None,
        };
        self.pictures.iter().enumerate().filter_map(wanted).collect()
    }

    /// Gives a picture the outputs of its rows. An error is the task's.
    pub(super) fn give(&mut self, picture: usize, outputs: framewright_engine::Result<Vec<Latent>>) {
        let Some(Canvas::Growing(machine)) = self.pictures.get_mut(picture) else { return };
        if let Err(error) = outputs.and_then(|outputs| machine.give(Outputs::Evaluated(outputs))) {
            self.fail(error.into());
        }
    }

    /// An evaluation of its pictures was done: reports, previews, and a checkpoint when it is time.
    pub(super) fn evaluated(
        &mut self,
        seconds: f64,
        tasks: u32,
        cost: &mut WriteCost,
        report: &mut dyn FnMut(TaskNumber, Report),
    ) {
        self.facts.timings.denoise_seconds += seconds;
        self.facts.batched_with = self.facts.batched_with.max(tasks);
        let (step, steps) = self.progress();
        report(self.number, Report::Evaluated { step, steps, seconds, tasks });
        if self.task.previews.is_on() {
            for (index, canvas) in self.pictures.iter().enumerate() {
                let Canvas::Growing(machine) = canvas else { continue };
                let (done, all) = machine.progress();
                if preview::is_due(done, all)
                    && let Some(predicted) = machine.predicted()
                    && let Some(png) = preview::png(&self.model.preview(predicted))
                {
                    report(self.number, Report::Preview { index: index as u32, step, steps, png });
                }
            }
        }
        if self.unsaved.evaluated(seconds, *cost) {
            self.save(cost);
        }
    }

    fn save(&mut self, cost: &mut WriteCost) {
        let begun = Instant::now();
        for (index, canvas) in self.pictures.iter().enumerate() {
            if let Canvas::Growing(machine) = canvas
                && let Err(error) = self.work.keep_machine(index as u32, &machine.checkpoint())
            {
                // The task goes on: it would only have to begin anew if it were killed.
                tracing::warn!(%error, "Cannot write a checkpoint: {error}");
            }
        }
        cost.measured(begun.elapsed().as_secs_f64());
        self.unsaved.saved();
    }

    /// Evaluations done and in all, over all pictures.
    fn progress(&self) -> (u32, u32) {
        let done = |canvas: &Canvas| match canvas {
            Canvas::Growing(machine) => machine.progress().0,
            Canvas::Finished(_) => self.evaluations,
        };
        let step: usize = self.pictures.iter().map(done).sum();
        (step as u32, (self.evaluations * self.pictures.len()) as u32)
    }

    /// Decodes and keeps the pictures that are sampled, whole where `free_bytes` allow it. After an error, the rest can be tried again.
    pub(super) fn decode(&mut self, free_bytes: u64, interrupt: &Interrupt) -> Result<(), Failure> {
        for index in 0..self.pictures.len() {
            let Canvas::Growing(machine) = &mut self.pictures[index] else { continue };
            let Want::Decode { latent } = machine.want() else { continue };
            let begun = Instant::now();
            let decoded = self.model.decode_within(&latent, free_bytes, interrupt)?;
            if decoded.tiled {
                self.facts.warnings.push(tiled_warning(index as u32));
            }
            let kept = self.work.keep_picture(index as u32, &decoded.picture.to_rgb(), decoded.tiled);
            let file = kept.map_err(|error| {
                let directory = self.task.order.work_directory.display();
                Failure::new(FailureClass::StorageFailed, format!("cannot keep the finished picture in {directory}: {error}"))
            })?;
            self.pictures[index] = Canvas::Finished(file);
            self.facts.timings.decode_seconds += begun.elapsed().as_secs_f64();
        }
        Ok(())
    }

    /// Ends the task with a failure, unless it has one.
    pub(super) fn fail(&mut self, failure: Failure) {
        self.failure.get_or_insert(failure);
    }

    /// The failure, to be put back by [`Self::fail`] with more to say.
    pub(super) fn take_failure(&mut self) -> Option<Failure> {
        self.failure.take()
    }

    /// Whether there is nothing more to do.
    pub(super) fn has_ended(&self) -> bool {
        self.failure.is_some() || self.pictures.iter().all(|canvas| matches!(canvas, Canvas::Finished(_)))
    }

    /// How it ended.
    pub(super) fn into_outcome(self) -> Result<TaskOutput, Failure> {
        if let Some(failure) = self.failure {
            return Err(failure);
        }
        let finished = |canvas| match canvas {
            Canvas::Finished(file) => Some(Picture::File(file)),
            Canvas::Growing(_) => None,
        };
        Ok(TaskOutput { pictures: self.pictures.into_iter().filter_map(finished).collect(), facts: self.facts })
    }
}

fn tiled_warning(index: u32) -> String {
    format!("picture {index} was decoded in tiles: too little memory was free for whole layers")
}

/// The initial picture at the request's size.
fn fitted_init_image(
    order: &TaskOrder,
    request: &ImageRequest,
    warnings: &mut Vec<String>,
) -> Result<Option<Arc<RgbPicture>>, Failure> {
    let Some(picture) = order.read_init_image()? else { return Ok(None) };
    let (width, height) = (request.width as usize, request.height as usize);
    if (picture.width, picture.height) == (width, height) {
        return Ok(Some(picture));
    }
    warnings.push(resized_warning("init_image", (picture.width, picture.height), (request.width, request.height)));
    Ok(Some(Arc::new(resize_lanczos(&picture, height, width))))
}

/// The mask at the request's size.
fn fitted_mask(
    order: &TaskOrder,
    request: &ImageRequest,
    warnings: &mut Vec<String>,
) -> Result<Option<Arc<GreyPicture>>, Failure> {
    let Some(mask) = order.read_mask()? else { return Ok(None) };
    let (width, height) = (request.width as usize, request.height as usize);
    if (mask.width, mask.height) == (width, height) {
        return Ok(Some(Arc::new(mask)));
    }
    warnings.push(resized_warning("mask", (mask.width, mask.height), (request.width, request.height)));
    Ok(Some(Arc::new(resize_lanczos_grey(&mask, height, width))))
}

/// The pictures that a request begins with.
#[derive(Clone, Debug, Default)]
pub(super) struct Sources {
    init_image: Option<Arc<RgbPicture>>,
    mask: Option<Arc<GreyPicture>>,
}

impl Sources {
    /// Stand-ins for those of an order: memory depends on whether there are any, and not on what they show.
    pub(super) fn of_any(order: &TaskOrder) -> Self {
        let pixel = |_| Arc::new(RgbPicture { height: 1, width: 1, bytes: vec![0; 3] });
        Self {
            init_image: order.init_image.as_ref().map(pixel),
            mask: order.mask.as_ref().map(pixel).map(|mask| mask.luminance().into()),
        }
    }
}

/// The part of a request that makes picture `index`.
pub(super) fn engine_request(request: &ImageRequest, index: u32, sources: Sources) -> EngineRequest {
    EngineRequest {
        prompt: request.prompt.clone(),
        negative_prompt: request.negative_prompt.clone(),
        width: request.width as usize,
        height: request.height as usize,
        num_inference_steps: request.num_inference_steps as usize,
        guidance_scale: request.guidance_scale,
        guidance_rescale: 0.0,
        sampler: request.sampler.clone(),
        seed: request.seed.wrapping_add(u64::from(index)),
        init_image: sources.init_image,
        strength: request.strength,
        mask: sources.mask,
    }
}
