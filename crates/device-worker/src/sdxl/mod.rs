//! The real device: runs SDXL with the engine, several tasks at a time.

mod admission;
mod evaluation;
mod models;
mod run;
mod sampler_name;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::fmt;
use std::rc::Rc;
use std::time::Instant;

use framewright_engine::ops::{Interrupt, Ops};
use framewright_engine::pipelines::sdxl::SdxlModel;
use framewright_engine::weights::packed::PackedCache;

use crate::device::{BatchDevice, Ended, LoadedModel, in_use};
use crate::pulse::Pulse;
use crate::task::{Failure, ImageTask, ModelFiles, Report, TaskNumber};
use crate::work::cadence::WriteCost;
use models::Shelf;
use run::{Outcome, Run};

/// Habits of a device.
#[derive(Clone, Debug)]
pub struct SdxlOptions {
    /// Unload a model when its last task has ended.
    pub unload_after_task: bool,
    /// Rows of an evaluation at most.
    pub max_batch_rows: usize,
    /// Where packed weights lie; absent: not shared.
    pub packed: Option<PackedCache>,
}

/// Bytes of memory that are free on the device; `None` where that is not known.
pub type FreeBytes = Box<dyn Fn() -> Option<u64>>;

/// A device with its operations, its models and its tasks.
pub struct SdxlDevice {
    ops: Ops,
    free_bytes: FreeBytes,
    options: SdxlOptions,
    pulse: Pulse,
    shelf: Shelf,
    running: Vec<Run>,
    /// Tasks for which there is no room beside those that run. They are tried again alone, so nothing is refused for its company.
    waiting: VecDeque<(TaskNumber, ImageTask)>,
    write_cost: WriteCost,
}

impl fmt::Debug for SdxlDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SdxlDevice").field("ops", &self.ops).field("options", &self.options).finish_non_exhaustive()
    }
}

impl SdxlDevice {
    /// A device without a model. What needs more memory than `free_bytes` says is refused.
    pub fn new(ops: Ops, free_bytes: FreeBytes, options: SdxlOptions, pulse: Pulse) -> Self {
        let shelf = Shelf::new(options.packed.clone());
        Self {
            ops,
            free_bytes,
            options,
            pulse,
            shelf,
            running: Vec::new(),
            waiting: VecDeque::new(),
            write_cost: WriteCost::default(),
        }
    }

    fn try_begin(
        &mut self,
        number: TaskNumber,
        task: &ImageTask,
        report: &mut dyn FnMut(TaskNumber, Report),
    ) -> Result<Run, Failure> {
        let request = run::engine_request(&task.order.request, 0, None);
        self.admit(&task.order.model, &request)?;
        let (model, load_seconds) = self.ensure(&task.order.model, &task.interrupt)?;
        if let Some(seconds) = load_seconds {
            report(number, Report::ModelLoaded { seconds });
        }
        let interrupt = self.pulse.enter(std::slice::from_ref(&task.interrupt));
        let mut begun = Run::begin(number, task, &model, &self.ops, &interrupt);
        if begun.as_ref().is_err_and(Failure::is_out_of_memory) {
            self.relieve();
            begun = Run::begin(number, task, &model, &self.ops, &interrupt);
        }
        let mut run = begun.map_err(|failure| self.with_numbers(failure, model.info(), &request))?;
        run.facts.timings.load_seconds = load_seconds.unwrap_or(0.0);
        Ok(run)
    }

    /// The model, loaded, and the seconds that it took to load it if it was not.
    fn ensure(&mut self, files: &ModelFiles, interrupt: &Interrupt) -> Result<(Rc<SdxlModel>, Option<f64>), Failure> {
        if let Some(model) = self.shelf.get(files) {
            return Ok((model, None));
        }
        let begun = Instant::now();
        let interrupt = self.pulse.enter(std::slice::from_ref(interrupt));
        let mut loaded = self.shelf.load(files, &self.ops, &interrupt);
        if loaded.as_ref().is_err_and(crate::task::is_out_of_memory) {
            self.relieve();
            loaded = self.shelf.load(files, &self.ops, &interrupt);
        }
        Ok((loaded?, Some(begun.elapsed().as_secs_f64())))
    }

    /// Begins tasks that waited for room, once nothing runs: each as far as there is room for it.
    fn begin_waiting(&mut self, report: &mut dyn FnMut(TaskNumber, Report), ended: &mut Vec<Ended>) {
        while self.running.is_empty()
            && let Some((number, task)) = self.waiting.pop_front()
        {
            match self.try_begin(number, &task, report) {
                Ok(run) => self.running.push(run),
                Err(failure) => ended.push((number, Err(failure))),
            }
        }
    }

    fn end_cancelled(&mut self, ended: &mut Vec<Ended>) {
        let cancelled = self.waiting.iter().filter(|(_, task)| task.interrupt.is_cancelled());
        ended.extend(cancelled.map(|(number, _)| (*number, Err(Failure::Cancelled))));
        self.waiting.retain(|(_, task)| !task.interrupt.is_cancelled());
        let cancelled = self.running.extract_if(.., |run| run.task.interrupt.is_cancelled());
        ended.extend(cancelled.map(|run| (run.number, Err(Failure::Cancelled))));
    }

    /// The tasks that share evaluations: positions of those with one model and one size.
    fn groups(&self) -> Vec<Vec<usize>> {
        let mut groups: Vec<Vec<usize>> = Vec::new();
        for (position, run) in self.running.iter().enumerate() {
            match groups.iter_mut().find(|group| self.running[group[0]].shares_with(run)) {
                Some(group) => group.push(position),
                None => groups.push(vec![position]),
            }
        }
        groups
    }

    /// Decodes the pictures of a task that are sampled.
    fn decode(&mut self, position: usize) {
        let interrupt = self.pulse.enter(std::slice::from_ref(&self.running[position].task.interrupt));
        let free = (self.free_bytes)().unwrap_or(u64::MAX);
        let run = &mut self.running[position];
        let Err(failure) = run.decode(free, &interrupt) else { return };
        let failure = if failure.is_out_of_memory() {
            self.relieve();
            // In tiles, whatever memory is said to be free.
            self.running[position].decode(0, &interrupt).err()
        } else {
            Some(failure)
        };
        if let Some(failure) = failure {
            let run = &self.running[position];
            let failure = self.with_numbers(failure, run.model.info(), &run::engine_request(&run.task.order.request, 0, None));
            self.running[position].fail(failure);
        }
    }
}

impl BatchDevice for SdxlDevice {
    fn description(&self) -> String {
        self.ops.description()
    }

    fn begin(&mut self, number: TaskNumber, task: ImageTask, report: &mut dyn FnMut(TaskNumber, Report)) -> Result<(), Failure> {
        for model in &task.order.unload {
            // One in use stays; whoever ordered it sees that in what is loaded.
            let _ = self.unload(model);
        }
        match self.try_begin(number, &task, report) {
            Ok(run) => self.running.push(run),
            Err(failure) if failure.is_out_of_memory() && !self.running.is_empty() => self.waiting.push_back((number, task)),
            Err(failure) => return Err(failure),
        }
        Ok(())
    }

    fn advance(&mut self, report: &mut dyn FnMut(TaskNumber, Report)) -> Vec<Ended> {
        let mut ended = Vec::new();
        self.end_cancelled(&mut ended);
        self.begin_waiting(report, &mut ended);
        for group in self.groups() {
            self.evaluate(&group, report);
        }
        for position in 0..self.running.len() {
            if !self.running[position].has_ended() {
                self.decode(position);
            }
        }
        let mut models = Vec::new();
        for run in self.running.extract_if(.., |run| run.has_ended()) {
            models.push(run.task.order.model.name.clone());
            let number = run.number;
            let outcome = match run.into_outcome() {
                Outcome::Done(output) => Ok(output),
                Outcome::Failed(failure) => Err(failure),
            };
            ended.push((number, outcome));
        }
        self.shelf.drop_stale();
        if self.options.unload_after_task {
            for model in models {
                // Another task may use it.
                let _ = self.unload(&model);
            }
        }
        ended
    }

    fn active(&self) -> usize {
        self.running.len() + self.waiting.len()
    }

    fn load(&mut self, model: &ModelFiles) -> Result<(), Failure> {
        self.admit_weights(model)?;
        self.ensure(model, &Interrupt::default()).map(drop)
    }

    fn unload(&mut self, model: &str) -> Result<(), Failure> {
        if !self.shelf.unload(model) {
            return Err(in_use(model));
        }
        if self.running.is_empty() {
            self.ops.release_scratch();
        }
        Ok(())
    }

    fn loaded(&self) -> Vec<LoadedModel> {
        self.shelf.loaded()
    }
}
