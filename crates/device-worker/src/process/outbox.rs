//! What waits to be written to the server. The device never waits for a slow reader, and memory is bounded: reports may be dropped,
//! results never.

use std::io::Write;
use std::mem;

use parking_lot::{Condvar, Mutex};

use super::frame;
use super::message::ToServer;
use crate::task::Report;

/// How far back a newer report of the same task replaces an older one.
const LOOK_BACK: usize = 64;
/// Previews that wait at most; the next ones are dropped.
const MOST_PREVIEWS: usize = 32;

/// Messages on their way out.
#[derive(Default)]
pub(super) struct Outbox {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    waiting: Vec<ToServer>,
    previews: usize,
    /// Bytes that are no frame shall go out.
    spoilt: bool,
    /// The writer is in the middle of a frame.
    writing: bool,
    /// Nobody reads any more.
    closed: bool,
    /// What the models take that were loaded last.
    loaded_bytes: u64,
}

impl Outbox {
    /// Puts a message at the end.
    pub(super) fn push(&self, message: ToServer) {
        let mut state = self.state.lock();
        if state.closed {
            return;
        }
        match &message {
            ToServer::Report { number, report: Report::Evaluated { .. } } => {
                let newer = state.waiting.iter_mut().rev().take(LOOK_BACK).find(
                    |waiting| matches!(waiting, ToServer::Report { number: other, report: Report::Evaluated { .. } } if other == number),
                );
                if let Some(older) = newer {
                    *older = message;
                    return;
                }
            }
            ToServer::Report { report: Report::Preview { .. }, .. } => {
                if state.previews == MOST_PREVIEWS {
                    return;
                }
                state.previews += 1;
            }
            ToServer::Beat { .. } => state.waiting.retain(|waiting| !matches!(waiting, ToServer::Beat { .. })),
            ToServer::Loaded { models } => state.loaded_bytes = models.iter().map(|model| model.weights_bytes).sum(),
            _ => {}
        }
        state.waiting.push(message);
        self.changed.notify_all();
    }

    /// What the models that are loaded take.
    pub(super) fn loaded_bytes(&self) -> u64 {
        self.state.lock().loaded_bytes
    }

    /// Has bytes written that are no frame.
    pub(super) fn spoil(&self) {
        self.state.lock().spoilt = true;
        self.changed.notify_all();
    }

    /// Waits until everything is written, or nobody reads.
    pub(super) fn flush(&self) {
        let mut state = self.state.lock();
        while !state.closed && (state.writing || !state.waiting.is_empty()) {
            self.changed.wait(&mut state);
        }
    }

    /// Writes until nobody reads.
    pub(super) fn write_to(&self, mut stream: impl Write) {
        loop {
            let (messages, spoilt) = {
                let mut state = self.state.lock();
                state.writing = false;
                self.changed.notify_all();
                while state.waiting.is_empty() && !state.spoilt {
                    self.changed.wait(&mut state);
                }
                state.writing = true;
                state.previews = 0;
                (mem::take(&mut state.waiting), mem::take(&mut state.spoilt))
            };
            let mut written = if spoilt { stream.write_all(&[0xff; 64]) } else { Ok(()) };
            for bytes in frames(&messages) {
                written = written.and_then(|()| stream.write_all(&bytes));
            }
            if written.is_err() {
                let mut state = self.state.lock();
                state.closed = true;
                self.changed.notify_all();
                return;
            }
        }
    }
}

/// One frame, or where that would be too long one for each message that has room in one.
fn frames(messages: &[ToServer]) -> Vec<Vec<u8>> {
    match frame::encode(messages) {
        Ok(frame) => vec![frame],
        Err(_) => messages
            .iter()
            .filter_map(|message| {
                let frame = frame::encode(std::slice::from_ref(message));
                frame.inspect_err(|error| tracing::error!(%error, "A message is lost: {error}")).ok()
            })
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::{Failure, TaskNumber};
    use crate::vitals::Vitals;

    fn evaluated(number: u64, step: u32) -> ToServer {
        let report = Report::Evaluated { step, steps: 9, seconds: 0.0, tasks: 1 };
        ToServer::Report { number: TaskNumber(number), report }
    }

    #[test]
    fn newer_reports_replace_older_ones_and_results_stay() {
        let outbox = Outbox::default();
        let preview = || Report::Preview { index: 0, step: 1, steps: 9, png: vec![0] };
        let ended = |number| ToServer::Ended { number: TaskNumber(number), result: Err(Failure::Cancelled) };
        for step in 1..=5 {
            outbox.push(evaluated(1, step));
            outbox.push(evaluated(2, step));
            outbox.push(ToServer::Beat { ticks: step.into(), vitals: Vitals::default() });
        }
        for _ in 0..100 {
            outbox.push(ToServer::Report { number: TaskNumber(1), report: preview() });
        }
        for number in 0..100 {
            outbox.push(ended(number));
        }
        let waiting = mem::take(&mut outbox.state.lock().waiting);
        assert_eq!(waiting[..2], [evaluated(1, 5), evaluated(2, 5)]);
        let count = |kind: fn(&ToServer) -> bool| waiting.iter().filter(|message| kind(message)).count();
        assert_eq!(count(|message| matches!(message, ToServer::Beat { ticks: 5, .. })), 1);
        assert_eq!(count(|message| matches!(message, ToServer::Beat { .. })), 1);
        assert_eq!(count(|message| matches!(message, ToServer::Report { .. })), 2 + MOST_PREVIEWS);
        assert_eq!(count(|message| matches!(message, ToServer::Ended { .. })), 100);
    }
}
