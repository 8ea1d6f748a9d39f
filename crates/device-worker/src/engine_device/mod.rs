//! The real device: runs models of every family with the engine.

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::fmt;

use framewright_engine::ops::{Interrupt, Ops};
use framewright_engine::weights::packed::PackedCache;

use crate::device::{BatchDevice, Ended, LoadedModel, in_use};
use crate::models::description::Family;
use crate::models::shelf::{Model, Shelf};
use crate::pulse::Pulse;
use crate::sdxl::Pictures;
use crate::svd::{self, Clips};
use crate::task::{Failure, FailureClass, ModelFiles, Report, Request, Task, TaskNumber};
pub use crate::workshop::FreeBytes;
use crate::workshop::Workshop;

/// Habits of a device.
#[derive(Clone, Debug)]
pub struct EngineOptions {
    /// Unload a model when its last task has ended.
    pub unload_after_task: bool,
    /// Rows of an evaluation at most.
    pub max_batch_rows: usize,
    /// Where packed weights lie; absent: not shared.
    pub packed: Option<PackedCache>,
}

/// A device with its operations, its models and its tasks.
pub struct EngineDevice {
    workshop: Workshop,
    unload_after_task: bool,
    pictures: Pictures,
    clips: Clips,
    /// Tasks for which there is no room beside those that run. They are tried again alone, so nothing is refused for its company.
    waiting: VecDeque<(TaskNumber, Task)>,
}

impl fmt::Debug for EngineDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EngineDevice").field("workshop", &self.workshop).finish_non_exhaustive()
    }
}

impl EngineDevice {
    /// A device without a model. What needs more memory than `free_bytes` says is refused.
    pub fn new(ops: Ops, free_bytes: FreeBytes, options: EngineOptions, pulse: Pulse) -> Self {
        let shelf = Shelf::new(options.packed);
        Self {
            workshop: Workshop::new(ops, shelf, free_bytes, options.max_batch_rows, pulse),
            unload_after_task: options.unload_after_task,
            pictures: Pictures::default(),
            clips: Clips::default(),
            waiting: VecDeque::new(),
        }
    }

    fn running(&self) -> usize {
        self.pictures.len() + self.clips.len()
    }

    fn try_begin(&mut self, number: TaskNumber, task: &Task, report: &mut dyn FnMut(TaskNumber, Report)) -> Result<(), Failure> {
        let (order, workshop) = (&task.order, &mut self.workshop);
        Family::of(&order.model.directory).check(&order.model, &order.request)?;
        let begins = match &order.request {
            Request::Pictures(request) => {
                workshop.admit(&order.model, Pictures::need(task, request, workshop)?)?;
                Begins::Pictures(request)
            }
            Request::Clip(request) => {
                let request = svd::engine_request(request, order.read_first_frame()?);
                workshop.admit(&order.model, Clips::need(task, &request, workshop)?)?;
                Begins::Clip(Box::new(request))
            }
        };
        let (model, load_seconds) = workshop.ensure(&order.model, &task.interrupt)?;
        if let Some(seconds) = load_seconds {
            report(number, Report::ModelLoaded { seconds });
        }
        let seconds = load_seconds.unwrap_or(0.0);
        match (begins, &model) {
            (Begins::Pictures(request), Model::Sdxl(model)) => {
                self.pictures.begin(number, task, request, (model, seconds), workshop)
            }
            (Begins::Clip(request), Model::Svd(model)) => self.clips.begin(number, task, &request, (model, seconds), workshop),
            // Its files were changed while it was loaded.
            _ => {
                Err(Failure::new(FailureClass::ModelUnavailable, format!("model '{}' is another than it was", order.model.name)))
            }
        }
    }

    /// Begins tasks that waited for room, once nothing runs: each as far as there is room for it.
    fn begin_waiting(&mut self, report: &mut dyn FnMut(TaskNumber, Report), ended: &mut Vec<Ended>) {
        while self.running() == 0
            && let Some((number, task)) = self.waiting.pop_front()
        {
            if let Err(failure) = self.try_begin(number, &task, report) {
                ended.push((number, Err(failure)));
            }
        }
    }

    fn end_cancelled(&mut self, ended: &mut Vec<Ended>) {
        let waiting: Vec<_> = self.waiting.iter().filter(|(_, task)| task.interrupt.is_cancelled()).map(|task| task.0).collect();
        self.waiting.retain(|(_, task)| !task.interrupt.is_cancelled());
        let cancelled = waiting.into_iter().chain(self.pictures.take_cancelled()).chain(self.clips.take_cancelled());
        ended.extend(cancelled.map(|number| (number, Err(Failure::Cancelled))));
    }
}

/// A request that fits, in the words of whoever runs it.
enum Begins<'a> {
    Pictures(&'a crate::task::ImageRequest),
    Clip(Box<framewright_engine::pipelines::svd::VideoRequest>),
}

impl BatchDevice for EngineDevice {
    fn description(&self) -> String {
        self.workshop.ops.description()
    }

    fn begin(&mut self, number: TaskNumber, task: Task, report: &mut dyn FnMut(TaskNumber, Report)) -> Result<(), Failure> {
        for model in &task.order.unload {
            // One in use stays; whoever ordered it sees that in what is loaded.
            let _ = self.unload(model);
        }
        match self.try_begin(number, &task, report) {
            Err(failure) if failure.is_out_of_memory() && self.running() > 0 => {
                self.waiting.push_back((number, task));
                Ok(())
            }
            begun => begun,
        }
    }

    fn advance(&mut self, report: &mut dyn FnMut(TaskNumber, Report)) -> Vec<Ended> {
        let mut ended = Vec::new();
        self.end_cancelled(&mut ended);
        self.begin_waiting(report, &mut ended);
        self.pictures.advance(&mut self.workshop, report);
        self.clips.advance(&mut self.workshop, report);
        let mut models = Vec::new();
        for (number, model, outcome) in self.pictures.take_ended().chain(self.clips.take_ended()) {
            models.push(model);
            ended.push((number, outcome));
        }
        self.workshop.shelf.drop_stale();
        if self.unload_after_task {
            for model in models {
                // Another task may use it.
                let _ = self.unload(&model);
            }
        }
        ended
    }

    fn active(&self) -> usize {
        self.running() + self.waiting.len()
    }

    fn load(&mut self, model: &ModelFiles) -> Result<(), Failure> {
        self.workshop.admit_weights(model)?;
        self.workshop.ensure(model, &Interrupt::default()).map(drop)
    }

    fn unload(&mut self, model: &str) -> Result<(), Failure> {
        if !self.workshop.shelf.unload(model) {
            return Err(in_use(model));
        }
        if self.running() == 0 {
            self.workshop.ops.release_scratch();
        }
        Ok(())
    }

    fn loaded(&self) -> Vec<LoadedModel> {
        self.workshop.shelf.loaded()
    }
}
