//! The tasks on a device, and who hears of them.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use framewright_device_worker as worker;
use framewright_device_worker::{Failure, TaskNumber};
use framewright_engine::ops::Interrupt;
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

use super::{DeviceTask, ExecutorUnavailable, TaskEvent, TaskFailure, translate};
use crate::domain::{BatchKey, PreviewDemand};

/// Events that wait for the server before reports are dropped; the end has a place of its own.
const BUFFERED_EVENTS: usize = 64;

/// The tasks on one device, from when they are taken until their end is told.
#[derive(Debug)]
pub(super) struct TaskTable {
    most: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    accepting: bool,
    next_number: u64,
    tasks: BTreeMap<TaskNumber, Entry>,
    answers: HashMap<u64, oneshot::Sender<Result<(), TaskFailure>>>,
}

#[derive(Debug)]
struct Entry {
    key: BatchKey,
    events: mpsc::Sender<TaskEvent>,
    /// The place of the end, which is never dropped.
    end: mpsc::OwnedPermit<TaskEvent>,
    interrupt: Interrupt,
    previews: PreviewDemand,
    asked: Asked,
    /// What the worker knows; nothing of a task whose order has not been sent.
    told: Option<Told>,
}

/// What the pictures of a task must be like.
#[derive(Debug)]
struct Asked {
    pictures: usize,
    width: u32,
    height: u32,
    work_directory: PathBuf,
}

impl Asked {
    /// What is wrong with an output, if anything is.
    fn objection(&self, output: &worker::TaskOutput) -> Option<String> {
        let found = output.pictures.len();
        if found != self.pictures {
            return Some(format!("it gave {found} pictures where {} were asked for", self.pictures));
        }
        output.pictures.iter().find_map(|picture| {
            let (width, height) = match picture {
                worker::Picture::Pixels(pixels) => (pixels.width as u64, pixels.height as u64),
                worker::Picture::File(file) => (file.width.into(), file.height.into()),
            };
            let fits = (1..=u64::from(self.width)).contains(&width) && (1..=u64::from(self.height)).contains(&height);
            if !fits {
                return Some(format!("it gave a picture of {width}x{height} where {}x{} was asked for", self.width, self.height));
            }
            match picture {
                worker::Picture::File(file) if !self.holds(&file.path) => {
                    Some("it gave a file outside the task's directory for a picture".to_owned())
                }
                _ => None,
            }
        })
    }

    /// Whether a path names a file right in the task's directory.
    fn holds(&self, path: &Path) -> bool {
        path.parent() == Some(&self.work_directory) && path.file_name().is_some()
    }
}

#[derive(Debug, Default)]
struct Told {
    cancelled: Option<Instant>,
    previews: bool,
}

/// Something that no sound worker says: why it is given up.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("it spoke nonsense: {0}")]
pub(super) struct Nonsense(String);

impl Nonsense {
    fn unknown_task(what: &str, number: TaskNumber) -> Self {
        Self(format!("{what} of task {}, which it does not have", number.0))
    }
}

/// What a worker must be told of a task that runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Cancelled(TaskNumber),
    Previews(TaskNumber, bool),
}

impl TaskTable {
    /// A table for at most `most` tasks; it takes none yet.
    pub(super) fn new(most: usize) -> Self {
        Self { most: most.max(1), state: Mutex::default() }
    }

    /// Whether tasks are taken from now on.
    pub(super) fn accept(&self, accepting: bool) {
        self.state.lock().accepting = accepting;
    }

    /// Takes a task. Tasks that run together are of one model and size.
    pub(super) fn add(&self, task: &DeviceTask) -> Result<(TaskNumber, mpsc::Receiver<TaskEvent>), ExecutorUnavailable> {
        let mut state = self.state.lock();
        if !state.accepting {
            return Err(ExecutorUnavailable::Gone);
        }
        let key = task.work.batch_key();
        let fits = state.tasks.values().next().is_none_or(|other| other.key == key);
        if !fits || state.tasks.len() >= self.most {
            return Err(ExecutorUnavailable::Busy);
        }
        let (events, receiver) = mpsc::channel(BUFFERED_EVENTS);
        let Ok(end) = events.clone().try_reserve_owned() else { return Err(ExecutorUnavailable::Gone) };
        let number = TaskNumber(state.next_number);
        state.next_number += 1;
        let asked = Asked {
            pictures: task.work.pictures() as usize,
            width: key.width,
            height: key.height,
            work_directory: task.work_directory.clone(),
        };
        let (interrupt, previews) = (task.interrupt.clone(), task.previews.clone());
        state.tasks.insert(number, Entry { key, events, end, interrupt, previews, asked, told: None });
        Ok((number, receiver))
    }

    /// A task's order is about to be sent: from now on the worker is told of changes. Whether previews are wanted now; `None` when the
    /// order must not be sent, because the task has ended, or ends here: it was cancelled before the worker heard of it.
    pub(super) fn send_off(&self, number: TaskNumber) -> Option<bool> {
        let mut state = self.state.lock();
        let entry = state.tasks.get_mut(&number)?;
        if !entry.interrupt.is_cancelled() {
            let previews = entry.previews.exists();
            entry.told = Some(Told { cancelled: None, previews });
            return Some(previews);
        }
        let entry = state.tasks.remove(&number)?;
        drop(state);
        entry.end.send(TaskEvent::Ended(Err(TaskFailure::Cancelled)));
        None
    }

    /// Whether the worker has something to do: a task that was sent, or a command whose answer is waited for.
    pub(super) fn is_active(&self) -> bool {
        let state = self.state.lock();
        state.tasks.values().any(|entry| entry.told.is_some()) || !state.answers.is_empty()
    }

    /// Passes a report on, if there is room.
    pub(super) fn report(&self, number: TaskNumber, report: worker::Report) -> Result<(), Nonsense> {
        let state = self.state.lock();
        let entry = state.tasks.get(&number).ok_or_else(|| Nonsense::unknown_task("a report", number))?;
        // A full channel drops it: a device does not wait for slow watchers.
        let _ = entry.events.try_send(TaskEvent::Report(translate::report(report)));
        Ok(())
    }

    /// Tells a task's end. Pictures that cannot be what was asked for are not passed on: the task ends as one whose worker was lost, and
    /// nobody pays for its company.
    pub(super) fn end(&self, number: TaskNumber, result: Result<worker::TaskOutput, Failure>) -> Result<(), Nonsense> {
        // Out of the table first, so that whoever hears of the end may start the next task.
        let entry = self.state.lock().tasks.remove(&number).ok_or_else(|| Nonsense::unknown_task("the end", number))?;
        let nonsense = result.as_ref().ok().and_then(|output| entry.asked.objection(output)).map(Nonsense);
        let ended = match &nonsense {
            Some(nonsense) => Err(TaskFailure::WorkerLost { reason: nonsense.to_string(), companions: 0 }),
            None => translate::ended(result),
        };
        entry.end.send(TaskEvent::Ended(ended));
        nonsense.map_or(Ok(()), Err)
    }

    /// The worker has gone: ends everything that was on it. Who had been cancelled has what he wanted.
    pub(super) fn lose_all(&self, reason: &str) {
        let (tasks, answers) = {
            let mut state = self.state.lock();
            state.accepting = false;
            (std::mem::take(&mut state.tasks), std::mem::take(&mut state.answers))
        };
        let companions = (tasks.len() as u32).saturating_sub(1);
        for entry in tasks.into_values() {
            let failure = if entry.interrupt.is_cancelled() {
                TaskFailure::Cancelled
            } else {
                TaskFailure::WorkerLost { reason: reason.to_owned(), companions }
            };
            entry.end.send(TaskEvent::Ended(Err(failure)));
        }
        for answer in answers.into_values() {
            let _ = answer.send(Err(TaskFailure::WorkerLost { reason: reason.to_owned(), companions }));
        }
    }

    /// What has changed, since the last call, of the tasks that were sent.
    pub(super) fn changes(&self, now: Instant) -> Vec<Change> {
        let mut changes = Vec::new();
        for (&number, entry) in &mut self.state.lock().tasks {
            let Some(told) = &mut entry.told else { continue };
            if told.cancelled.is_none() && entry.interrupt.is_cancelled() {
                told.cancelled = Some(now);
                changes.push(Change::Cancelled(number));
            }
            let previews = entry.previews.exists();
            if told.previews != previews {
                told.previews = previews;
                changes.push(Change::Previews(number, previews));
            }
        }
        changes
    }

    /// Whether a task goes on although it was cancelled this long ago.
    pub(super) fn ignores_cancel(&self, now: Instant, limit: Duration) -> bool {
        let cancelled = |entry: &Entry| entry.told.as_ref().and_then(|told| told.cancelled);
        self.state.lock().tasks.values().filter_map(cancelled).any(|since| now.duration_since(since) >= limit)
    }

    /// A ticket for a command, and where its answer comes; `None` when there is no worker.
    pub(super) fn ticket(&self) -> Option<(u64, oneshot::Receiver<Result<(), TaskFailure>>)> {
        let mut state = self.state.lock();
        if !state.accepting {
            return None;
        }
        let (sender, receiver) = oneshot::channel();
        let ticket = state.next_number;
        state.next_number += 1;
        state.answers.insert(ticket, sender);
        Some((ticket, receiver))
    }

    /// An answer has come.
    pub(super) fn answer(&self, ticket: u64, result: Result<(), Failure>) {
        if let Some(answer) = self.state.lock().answers.remove(&ticket) {
            let _ = answer.send(result.map_err(translate::failure));
        }
    }
}
