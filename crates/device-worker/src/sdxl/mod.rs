//! Tasks that make pictures with SDXL: those of one model and size share evaluations.

mod run;

use std::rc::Rc;
use std::time::Instant;

use framewright_engine::ops::Interrupt;
use framewright_engine::pipelines::sdxl::{ModelInfo, SdxlModel};

use crate::models::need::Need;
use crate::task::{Failure, ImageRequest, Report, Task, TaskNumber, TaskOutput};
use crate::workshop::Workshop;
use crate::workshop::evaluation::evaluate_together;
use run::{Run, Sources, engine_request};

/// The picture tasks of a device.
#[derive(Default)]
pub(crate) struct Pictures {
    runs: Vec<Run>,
}

impl Pictures {
    /// Tasks that have begun and not ended.
    pub(crate) fn len(&self) -> usize {
        self.runs.len()
    }

    /// What a request to a model needs, by its files.
    pub(crate) fn need(task: &Task, request: &ImageRequest, workshop: &Workshop) -> Result<Need, Failure> {
        let info = ModelInfo::read(&task.order.model.directory)?;
        Ok(Need::of_picture(&info, &engine_request(request, 0, Sources::of_any(&task.order)), &workshop.ops))
    }

    /// Begins a task. `load_seconds`: what loading its model took.
    pub(crate) fn begin(
        &mut self,
        number: TaskNumber,
        task: &Task,
        request: &ImageRequest,
        (model, load_seconds): (&Rc<SdxlModel>, f64),
        workshop: &mut Workshop,
    ) -> Result<(), Failure> {
        let interrupt = workshop.enter(std::slice::from_ref(&task.interrupt));
        let begun = workshop.with_relief(|workshop| Run::begin(number, task, request, model, &workshop.ops, &interrupt));
        let mut run = begun.map_err(|failure| {
            let need = Need::of_picture(model.info(), &engine_request(request, 0, Sources::of_any(&task.order)), &workshop.ops);
            workshop.with_numbers(failure, need)
        })?;
        run.facts.timings.load_seconds = load_seconds;
        self.runs.push(run);
        Ok(())
    }

    /// Takes every task one evaluation on, and decodes what is sampled.
    pub(crate) fn advance(&mut self, workshop: &mut Workshop, report: &mut dyn FnMut(TaskNumber, Report)) {
        for group in self.groups() {
            self.evaluate(&group, workshop, report);
        }
        for run in self.runs.iter_mut().filter(|run| !run.has_ended()) {
            decode(run, workshop);
        }
    }

    /// The tasks that share evaluations: positions of those with one model and one size.
    fn groups(&self) -> Vec<Vec<usize>> {
        let mut groups: Vec<Vec<usize>> = Vec::new();
        for (position, run) in self.runs.iter().enumerate() {
            match groups.iter_mut().find(|group| self.runs[group[0]].shares_with(run)) {
                Some(group) => group.push(position),
                None => groups.push(vec![position]),
            }
        }
        groups
    }

    /// Takes the pictures of some tasks, which are of one model and size, one evaluation on.
    fn evaluate(&mut self, group: &[usize], workshop: &mut Workshop, report: &mut dyn FnMut(TaskNumber, Report)) {
        let mut places = Vec::new();
        let mut demands = Vec::new();
        for &position in group {
            for (picture, rows) in self.runs[position].wanted_rows() {
                places.push((position, picture));
                demands.push(rows);
            }
        }
        let Some(&(first, _)) = places.first() else { return };
        let mut members: Vec<usize> = places.iter().map(|(position, _)| *position).collect();
        members.dedup();
        let interrupts: Vec<Interrupt> = members.iter().map(|&position| self.runs[position].task.interrupt.clone()).collect();

        let model = Rc::clone(&self.runs[first].model);
        let (width, height) = self.runs[first].size();
        let bytes_of = |rows| model.info().evaluation_bytes(width as usize, height as usize, rows, &workshop.ops);
        let most_rows = workshop.rows_that_fit(demands.iter().map(Vec::len).sum(), bytes_of);
        let interrupt = workshop.enter(&interrupts);
        let begun = Instant::now();
        let outputs = evaluate_together(&*model, &demands, most_rows, &interrupt, || workshop.relieve());
        let seconds = begun.elapsed().as_secs_f64();
        for ((position, picture), output) in places.into_iter().zip(outputs) {
            self.runs[position].give(picture, output);
        }
        let tasks = members.len() as u32;
        for position in members {
            let run = &mut self.runs[position];
            if let Some(failure) = run.take_failure() {
                let need = run.need(&workshop.ops);
                run.fail(workshop.with_numbers(failure, need));
            } else {
                run.evaluated(seconds, tasks, &mut workshop.write_cost, report);
            }
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

/// Decodes the pictures of a task that are sampled.
fn decode(run: &mut Run, workshop: &mut Workshop) {
    let interrupt = workshop.enter(std::slice::from_ref(&run.task.interrupt));
    let Err(failure) = run.decode(workshop.free_bytes(), &interrupt) else { return };
    let failure = if failure.is_out_of_memory() {
        workshop.relieve();
        // In tiles, whatever memory is said to be free.
        run.decode(0, &interrupt).err()
    } else {
        Some(failure)
    };
    if let Some(failure) = failure {
        let need = run.need(&workshop.ops);
        run.fail(workshop.with_numbers(failure, need));
    }
}
