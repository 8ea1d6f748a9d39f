//! A device that computes nothing: for tests of everything around devices, and of load.
//!
//! It runs tasks in batches like the real one, keeps and resumes checkpoints, takes as long and as much memory as it is told, and does
//! wrong what the prompt says ([`words`]), or what was [planned](Planned), since a clip has no prompt.

mod motion;
mod pattern;
mod run;
pub mod words;

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use framewright_engine::ops::Interrupt;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::device::{BatchDevice, Ended, LoadedModel};
use crate::pulse::Pulse;
use crate::task::{Failure, FailureClass, ModelFiles, Report, Request, Task, TaskNumber};
use crate::work::cadence::WriteCost;
use run::Run;
pub use words::Words;

/// How often a pausing device looks whether it shall stop.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);

/// Pace and memory of a fake device.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FakeSetup {
    /// How long an evaluation takes, however many tasks share it.
    pub step_ms: u64,
    /// How long loading a model takes.
    pub load_ms: u64,
    /// The memory that models share; a model takes what its weight files do. Absent: without end.
    pub memory_bytes: Option<u64>,
    /// What tasks shall do wrong whatever their prompts say: one entry a task, in order. Not sent to other processes.
    #[serde(skip)]
    pub planned: Planned,
}

impl Default for FakeSetup {
    fn default() -> Self {
        Self { step_ms: 20, load_ms: 0, memory_bytes: None, planned: Planned::default() }
    }
}

/// What the next tasks shall do wrong. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Planned(Arc<Mutex<VecDeque<Words>>>);

impl Planned {
    /// For the task after those planned already.
    pub fn push(&self, words: Words) {
        self.0.lock().push_back(words);
    }

    fn take(&self) -> Option<Words> {
        self.0.lock().pop_front()
    }
}

impl PartialEq for Planned {
    fn eq(&self, other: &Self) -> bool {
        *self.0.lock() == *other.0.lock()
    }
}

/// What a fake device can break besides its tasks.
#[derive(Clone)]
pub enum Stage {
    /// A thread of somebody's process: crashes are panics, and there is no stream to spoil.
    Thread,
    /// A process of its own.
    Process(Arc<dyn Saboteur>),
}

/// Breaks a worker process on order.
pub trait Saboteur: Send + Sync {
    /// Writes bytes to the server that are no frame.
    fn write_garbage(&self);
    /// Reports memory that no machine has from now on.
    fn lie_about_memory(&self);
}

/// The device.
pub struct FakeDevice {
    setup: FakeSetup,
    stage: Stage,
    pulse: Pulse,
    models: Vec<Resident>,
    tasks: Vec<Run>,
    /// When the evaluation under way began.
    step_begun: Option<Instant>,
    uses: u64,
    write_cost: WriteCost,
}

struct Resident {
    files: ModelFiles,
    weights_bytes: u64,
    last_used: u64,
}

impl FakeDevice {
    /// A device without a model.
    pub fn new(setup: FakeSetup, pulse: Pulse, stage: Stage) -> Self {
        Self {
            setup,
            stage,
            pulse,
            models: Vec::new(),
            tasks: Vec::new(),
            step_begun: None,
            uses: 0,
            write_cost: WriteCost::default(),
        }
    }

    fn is_used(&self, model: &ModelFiles) -> bool {
        self.tasks.iter().any(|run| run.task.order.model == *model)
    }

    /// Loads a model if it is not; the seconds that it took.
    fn ensure(&mut self, files: &ModelFiles, interrupt: &Interrupt) -> Result<Option<f64>, Failure> {
        self.uses += 1;
        if let Some(known) = self.models.iter_mut().find(|known| known.files == *files) {
            known.last_used = self.uses;
            return Ok(None);
        }
        let begun = Instant::now();
        let in_use: Vec<bool> = self.models.iter().map(|known| self.is_used(&known.files)).collect();
        let mut in_use = in_use.into_iter();
        // Files that have changed are another model of the same name.
        self.models.retain(|known| in_use.next().unwrap_or(true) || known.files.name != files.name);
        let weights_bytes = weight_bytes(&files.directory);
        self.make_room(weights_bytes)?;
        let interrupt = self.pulse.enter(std::slice::from_ref(interrupt));
        pause(Duration::from_millis(self.setup.load_ms), &interrupt)?;
        self.models.push(Resident { files: files.clone(), weights_bytes, last_used: self.uses });
        Ok(Some(begun.elapsed().as_secs_f64()))
    }

    fn make_room(&mut self, needed_bytes: u64) -> Result<(), Failure> {
        let Some(memory_bytes) = self.setup.memory_bytes else { return Ok(()) };
        loop {
            let taken: u64 = self.models.iter().map(|known| known.weights_bytes).sum();
            if taken.saturating_add(needed_bytes) <= memory_bytes {
                return Ok(());
            }
            let idle = self.models.iter().enumerate().filter(|(_, known)| !self.is_used(&known.files));
            let Some((oldest, _)) = idle.min_by_key(|(_, known)| known.last_used) else {
                return Err(out_of_memory(needed_bytes, memory_bytes.saturating_sub(taken)));
            };
            self.models.remove(oldest);
        }
    }

    /// Does wrong what is due before the next evaluation of a task.
    fn misbehave(&self, position: usize) -> Result<(), Failure> {
        let Run { words, done, .. } = &self.tasks[position];
        let is_now = |at: Option<u32>| at == Some(*done);
        if words.lies_about_memory
            && let Stage::Process(saboteur) = &self.stage
        {
            saboteur.lie_about_memory();
        }
        if is_now(words.garbage_at) {
            match &self.stage {
                Stage::Process(saboteur) => saboteur.write_garbage(),
                Stage::Thread => crash("the fake device was told to write garbage, and has no stream to write it to"),
            }
        }
        if is_now(words.crash_at) {
            match &self.stage {
                Stage::Process(_) => std::process::abort(),
                Stage::Thread => crash("the fake device was told to crash"),
            }
        }
        if is_now(words.hang_at) {
            loop {
                std::thread::park();
            }
        }
        match &words.fail_at {
            Some((at, failure)) if at == done => Err(failure.clone()),
            _ => Ok(()),
        }
    }

    /// Tasks that have been interrupted, and those that go wrong now.
    fn end_early(&mut self, ended: &mut Vec<Ended>) {
        let mut position = 0;
        while position < self.tasks.len() {
            let outcome = if self.tasks[position].task.interrupt.is_cancelled() {
                Err(Failure::Cancelled)
            } else if self.step_begun.is_none() {
                self.tasks[position].is_evaluated = true;
                self.misbehave(position)
            } else {
                Ok(())
            };
            match outcome {
                Ok(()) => position += 1,
                Err(failure) => ended.push((self.tasks.remove(position).number, Err(failure))),
            }
        }
    }

    /// Whether the evaluation under way has taken as long as it should.
    fn step_is_over(&mut self) -> Option<f64> {
        let step_ms = self.tasks.iter().map(|run| run.words.step_ms.unwrap_or(self.setup.step_ms)).max().unwrap_or(0);
        let begun = *self.step_begun.get_or_insert_with(Instant::now);
        let left = Duration::from_millis(step_ms).saturating_sub(begun.elapsed());
        if !left.is_zero() {
            std::thread::sleep(left.min(LOOK_INTERVAL));
            if left > LOOK_INTERVAL {
                return None;
            }
        }
        self.step_begun = None;
        Some(begun.elapsed().as_secs_f64())
    }
}

impl BatchDevice for FakeDevice {
    fn description(&self) -> String {
        "fake".to_owned()
    }

    fn begin(&mut self, number: TaskNumber, task: Task, report: &mut dyn FnMut(TaskNumber, Report)) -> Result<(), Failure> {
        for model in &task.order.unload {
            // One in use stays; whoever ordered it sees that in what is loaded.
            let _ = self.unload(model);
        }
        let words = self.setup.planned.take().unwrap_or_else(|| match &task.order.request {
            Request::Pictures(request) => Words::of(&request.prompt),
            Request::Clip(_) => Words::default(),
        });
        if words.out_of_memory {
            return Err(out_of_memory(u64::MAX, self.setup.memory_bytes.unwrap_or(0)));
        }
        let load_seconds = self.ensure(&task.order.model, &task.interrupt)?;
        if let Some(seconds) = load_seconds {
            report(number, Report::ModelLoaded { seconds });
        }
        self.tasks.push(Run::begin(number, task, words, load_seconds)?);
        Ok(())
    }

    fn advance(&mut self, report: &mut dyn FnMut(TaskNumber, Report)) -> Vec<Ended> {
        let mut ended = Vec::new();
        self.end_early(&mut ended);
        let Some(seconds) = self.step_is_over() else { return ended };
        // Progress, as a watchdog sees it.
        self.pulse.enter(&[]);
        let moving = self.tasks.iter().filter(|run| run.moves()).count() as u32;
        if moving == 0 {
            std::thread::sleep(LOOK_INTERVAL);
        }
        for run in &mut self.tasks {
            if run.moves() {
                run.advance(seconds, moving, &mut self.write_cost, report);
            }
        }
        let finished = self.tasks.extract_if(.., |run| run.is_finished());
        ended.extend(finished.map(|run| (run.number, run.output())));
        ended
    }

    fn active(&self) -> usize {
        self.tasks.len()
    }

    fn load(&mut self, model: &ModelFiles) -> Result<(), Failure> {
        self.ensure(model, &Interrupt::default()).map(drop)
    }

    fn unload(&mut self, model: &str) -> Result<(), Failure> {
        if self.tasks.iter().any(|run| run.task.order.model.name == model) {
            return Err(crate::device::in_use(model));
        }
        self.models.retain(|known| known.files.name != model);
        Ok(())
    }

    fn loaded(&self) -> Vec<LoadedModel> {
        let loaded = |known: &Resident| LoadedModel { name: known.files.name.clone(), weights_bytes: known.weights_bytes };
        self.models.iter().map(loaded).collect()
    }
}

/// Sleeps in slices, so that an interrupt is heard and a watchdog sees life.
fn pause(duration: Duration, interrupt: &Interrupt) -> Result<(), Failure> {
    let begun = Instant::now();
    while let Some(left) = duration.checked_sub(begun.elapsed()).filter(|left| !left.is_zero()) {
        interrupt.check()?;
        std::thread::sleep(left.min(LOOK_INTERVAL));
    }
    Ok(())
}

fn out_of_memory(needed_bytes: u64, free_bytes: u64) -> Failure {
    let gigabytes = |bytes: u64| bytes as f64 / 1e9;
    Failure::new(
        FailureClass::OutOfMemory,
        format!(
            "the fake device has too little memory: {:.2} GB needed, {:.2} GB free",
            gigabytes(needed_bytes),
            gigabytes(free_bytes)
        ),
    )
}

/// What the weight files of a model take; 0 where there are none.
fn weight_bytes(directory: &Path) -> u64 {
    if let Ok(file) = directory.metadata()
        && file.is_file()
    {
        return file.len();
    }
    let files = |directory: &Path| std::fs::read_dir(directory).into_iter().flatten().flatten();
    files(directory)
        .flat_map(|component| files(&component.path()).collect::<Vec<_>>())
        .filter(|file| file.path().extension().is_some_and(|extension| extension == "safetensors"))
        .filter_map(|file| file.metadata().ok())
        .map(|metadata| metadata.len())
        .sum()
}

#[expect(clippy::panic, reason = "it is told to: how an owner of devices survives a panic can be tried")]
fn crash(message: &str) -> ! {
    panic!("{message}")
}

#[cfg(test)]
mod tests;
