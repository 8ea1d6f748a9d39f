//! The tasks on a device, and who hears of them.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use framewright_device_worker as worker;
use framewright_device_worker::{Failure, TaskNumber};
use framewright_engine::ops::Interrupt;
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

use super::{ExecutorUnavailable, ImageTask, TaskEvent, TaskFailure, translate};
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
    /// What the worker knows.
    told: Told,
}

#[derive(Debug, Default)]
struct Told {
    cancelled: Option<Instant>,
    previews: bool,
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
    pub(super) fn add(&self, task: &ImageTask) -> Result<(TaskNumber, mpsc::Receiver<TaskEvent>), ExecutorUnavailable> {
        let mut state = self.state.lock();
        if !state.accepting {
            return Err(ExecutorUnavailable::Gone);
        }
        let key = BatchKey::of(&task.request);
        let fits = state.tasks.values().next().is_none_or(|other| other.key == key);
        if !fits || state.tasks.len() >= self.most {
            return Err(ExecutorUnavailable::Busy);
        }
        let (events, receiver) = mpsc::channel(BUFFERED_EVENTS);
        let Ok(end) = events.clone().try_reserve_owned() else { return Err(ExecutorUnavailable::Gone) };
        let number = TaskNumber(state.next_number);
        state.next_number += 1;
        let told = Told { cancelled: None, previews: task.previews.exists() };
        let (interrupt, previews) = (task.interrupt.clone(), task.previews.clone());
        state.tasks.insert(number, Entry { key, events, end, interrupt, previews, told });
        Ok((number, receiver))
    }

    /// Whether a task has been taken and not ended.
    pub(super) fn has(&self, number: TaskNumber) -> bool {
        self.state.lock().tasks.contains_key(&number)
    }

    /// Whether any has, or an answer is waited for.
    pub(super) fn is_active(&self) -> bool {
        let state = self.state.lock();
        !state.tasks.is_empty() || !state.answers.is_empty()
    }

    /// Passes a report on, if there is room. `false`: there is no such task.
    pub(super) fn report(&self, number: TaskNumber, report: worker::Report) -> bool {
        let state = self.state.lock();
        let Some(entry) = state.tasks.get(&number) else { return false };
        // A full channel drops it: a device does not wait for slow watchers.
        let _ = entry.events.try_send(TaskEvent::Report(translate::report(report)));
        true
    }

    /// Tells a task's end. `false`: there is no such task.
    pub(super) fn end(&self, number: TaskNumber, result: Result<worker::ImageOutput, Failure>) -> bool {
        // Out of the table first, so that whoever hears of the end may start the next task.
        let Some(entry) = self.state.lock().tasks.remove(&number) else { return false };
        entry.end.send(TaskEvent::Ended(translate::ended(result)));
        true
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

    /// What has changed of the tasks since the last call.
    pub(super) fn changes(&self, now: Instant) -> Vec<Change> {
        let mut changes = Vec::new();
        for (&number, entry) in &mut self.state.lock().tasks {
            if entry.told.cancelled.is_none() && entry.interrupt.is_cancelled() {
                entry.told.cancelled = Some(now);
                changes.push(Change::Cancelled(number));
            }
            let previews = entry.previews.exists();
            if entry.told.previews != previews {
                entry.told.previews = previews;
                changes.push(Change::Previews(number, previews));
            }
        }
        changes
    }

    /// Whether a task goes on although it was cancelled this long ago.
    pub(super) fn ignores_cancel(&self, now: Instant, limit: Duration) -> bool {
        let state = self.state.lock();
        state.tasks.values().any(|entry| entry.told.cancelled.is_some_and(|since| now.duration_since(since) >= limit))
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
