//! A clip on its way: one step machine, and the frames that are finished.

use std::rc::Rc;
use std::time::Instant;

use framewright_engine::latent::Latent;
use framewright_engine::ops::{Interrupt, Ops};
use framewright_engine::pipelines::svd::{ClipConditioning, Generation, SvdModel, VideoRequest};
use framewright_engine::pipelines::{Outputs, Row, StepMachine, Want};

use super::chunk::decode_chunk;
use crate::models::description::checkpoint_sampler;
use crate::models::need::Need;
use crate::preview;
use crate::task::{Failure, FailureClass, Picture, PictureFile, Report, RunFacts, Task, TaskNumber, TaskOutput, resized_warning};
use crate::work::cadence::Unsaved;
use crate::work::{Kept, WorkDirectory};
use crate::workshop::Workshop;
use crate::workshop::evaluation::evaluate_together;

/// One task.
pub(super) struct Run {
    pub(super) number: TaskNumber,
    pub(super) task: Task,
    pub(super) facts: RunFacts,
    model: Rc<SvdModel>,
    request: VideoRequest,
    machine: Generation,
    /// The finished frames, from the first on.
    frames: Vec<PictureFile>,
    /// Frames that are decoded together: fewer than was asked for, once memory had no room for so many.
    most_frames: usize,
    work: WorkDirectory,
    unsaved: Unsaved,
    failure: Option<Failure>,
}

impl Run {
    /// Encodes the initial picture and sets up the machine, or goes on from what an earlier attempt kept.
    pub(super) fn begin(
        number: TaskNumber,
        task: &Task,
        request: &VideoRequest,
        model: &Rc<SvdModel>,
        ops: &Ops,
        interrupt: &Interrupt,
    ) -> Result<Self, Failure> {
        let order = &task.order;
        let begun = Instant::now();
        let facts = RunFacts {
            device: ops.description(),
            precision: ops.precision().name().to_owned(),
            sampler: checkpoint_sampler(&order.model.directory),
            noise: "torch-cpu-mt19937".to_owned(),
            batched_with: 1,
            ..RunFacts::default()
        };
        let picture = &request.init_image;
        let work = WorkDirectory::new(&order.work_directory, &facts.device, &order.model, &order.request, Some(picture));
        let mut run = Self {
            number,
            task: task.clone(),
            facts,
            model: Rc::clone(model),
            request: request.clone(),
            machine: model.begin(request, interrupt)?,
            frames: Vec::new(),
            most_frames: request.decode_chunk_size.max(1),
            work,
            unsaved: Unsaved::default(),
            failure: None,
        };
        let (width, height) = run.size();
        if (picture.width, picture.height) != (request.width, request.height) {
            run.facts.warnings.push(resized_warning("init_image", (picture.width, picture.height), (width, height)));
        }
        if let Some(state) = run.work.read_clip() {
            match run.machine.resume(&state) {
                Ok(()) => run.resumed(),
                Err(error) => tracing::info!(%error, "A checkpoint is of no use: {error}"),
            }
        }
        run.facts.timings.encode_seconds = begun.elapsed().as_secs_f64();
        Ok(run)
    }

    /// Finds the frames that the machine has given already; all are decoded again when one is not there.
    fn resumed(&mut self) {
        self.facts.resumed_steps = self.machine.progress().0 as u32;
        let (width, height) = self.size();
        let mut any_in_pieces = false;
        for index in 0..self.machine.frames_handed_out() as u32 {
            let Some(Kept::Finished { file, tiled }) = self.work.read(index, width, height) else {
                self.machine.decode_again();
                self.frames.clear();
                return;
            };
            any_in_pieces |= tiled;
            self.frames.push(file);
        }
        if any_in_pieces {
            self.facts.warnings.push(pieces_warning(self.request.decode_chunk_size));
        }
    }

    fn size(&self) -> (u32, u32) {
        self.task.order.request.size()
    }

    fn need(&self, ops: &Ops) -> Need {
        Need::of_clip(self.model.info(), &self.request, ops)
    }

    /// Does what the machine wants next: one evaluation, or one chunk of frames.
    pub(super) fn advance(&mut self, workshop: &mut Workshop, report: &mut dyn FnMut(TaskNumber, Report)) {
        if self.has_ended() {
            return;
        }
        let done = match self.machine.want() {
            Want::Evaluate { rows } => self.evaluate(rows, workshop, report),
            Want::Decode { latent } => self.decode(&latent, workshop),
            Want::Done => Err(Failure::new(FailureClass::Internal, "the pipeline ended before its last frame")),
        };
        if let Err(failure) = done {
            self.failure = Some(workshop.with_numbers(failure, self.need(&workshop.ops)));
        }
    }

    /// One evaluation: reports, a preview, and a checkpoint when it is time.
    fn evaluate(
        &mut self,
        rows: Vec<Row<ClipConditioning>>,
        workshop: &mut Workshop,
        report: &mut dyn FnMut(TaskNumber, Report),
    ) -> Result<(), Failure> {
        let info = self.model.info();
        let most_rows = workshop.rows_that_fit(rows.len(), |rows| info.evaluation_bytes(&self.request, rows, &workshop.ops));
        let interrupt = workshop.enter(std::slice::from_ref(&self.task.interrupt));
        let begun = Instant::now();
        let outputs = evaluate_together(&*self.model, &[rows], most_rows, &interrupt, || workshop.relieve());
        for output in outputs {
            self.machine.give(Outputs::Evaluated(output?))?;
        }
        let seconds = begun.elapsed().as_secs_f64();
        self.facts.timings.denoise_seconds += seconds;
        let (step, steps) = self.machine.progress();
        let (shown, all) = (step as u32, steps as u32);
        report(self.number, Report::Evaluated { step: shown, steps: all, seconds, tasks: 1 });
        if self.task.previews.is_on()
            && preview::is_due(step, steps)
            && let Some(predicted) = self.machine.predicted()
            && let Some(png) = preview::png(&self.model.preview(predicted))
        {
            report(self.number, Report::Preview { index: 0, step: shown, steps: all, png });
        }
        if self.unsaved.evaluated(seconds, workshop.write_cost) {
            self.save(workshop);
        }
        Ok(())
    }

    /// Decodes and keeps a chunk of frames: whole where memory has room for it, else in pieces, whose frames agree a little less.
    fn decode(&mut self, latent: &Latent, workshop: &mut Workshop) -> Result<(), Failure> {
        let begun = Instant::now();
        let interrupt = workshop.enter(std::slice::from_ref(&self.task.interrupt));
        self.most_frames = self.frames_that_fit(self.most_frames.min(latent.frames), workshop);
        let decode = |piece: &Latent| self.model.decode(piece, &interrupt);
        let decoded = decode_chunk(latent, &mut self.most_frames, decode, || workshop.relieve())?;
        let in_pieces = self.most_frames < latent.frames;
        let warning = pieces_warning(self.request.decode_chunk_size);
        if in_pieces && !self.facts.warnings.contains(&warning) {
            self.facts.warnings.push(warning);
        }
        self.machine.give(Outputs::Decoded(decoded))?;
        for frame in self.machine.take_frames() {
            let kept = self.work.keep_picture(self.frames.len() as u32, &frame.to_rgb(), in_pieces);
            self.frames.push(kept.map_err(|error| {
                let directory = self.task.order.work_directory.display();
                Failure::new(FailureClass::StorageFailed, format!("cannot keep a finished frame in {directory}: {error}"))
            })?);
        }
        // Always: what was decoded took longer than this does.
        self.save(workshop);
        self.facts.timings.decode_seconds += begun.elapsed().as_secs_f64();
        Ok(())
    }

    /// How many of `wanted` frames are decoded together: what is idle makes room for them first.
    fn frames_that_fit(&self, wanted: usize, workshop: &mut Workshop) -> usize {
        let ops = workshop.ops.clone();
        let bytes_of = |frames| {
            let request = VideoRequest { decode_chunk_size: frames, ..self.request.clone() };
            self.model.info().memory_estimate(&request, &ops).least_activations_bytes
        };
        let needed = bytes_of(wanted);
        // Where an evaluation takes more than any number of frames, it was there.
        if needed == bytes_of(1) || workshop.make_room(needed, None).is_ok() {
            wanted
        } else {
            workshop.as_many_as_fit(wanted, bytes_of)
        }
    }

    fn save(&mut self, workshop: &mut Workshop) {
        let begun = Instant::now();
        if let Err(error) = self.work.keep_clip(&self.machine.checkpoint()) {
            // The task goes on: it would only have to begin anew if it were killed.
            tracing::warn!(%error, "Cannot write a checkpoint: {error}");
        }
        workshop.write_cost.measured(begun.elapsed().as_secs_f64());
        self.unsaved.saved();
    }

    /// Whether there is nothing more to do.
    pub(super) fn has_ended(&self) -> bool {
        self.failure.is_some() || self.frames.len() == self.request.num_frames
    }

    /// How it ended.
    pub(super) fn into_outcome(self) -> Result<TaskOutput, Failure> {
        match self.failure {
            Some(failure) => Err(failure),
            None => Ok(TaskOutput { pictures: self.frames.into_iter().map(Picture::File).collect(), facts: self.facts }),
        }
    }
}

fn pieces_warning(asked: usize) -> String {
    format!("fewer than decode_chunk_size {asked} frames were decoded together: too little memory was free")
}
