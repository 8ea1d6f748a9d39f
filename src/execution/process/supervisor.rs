//! Keeps a worker process running, and says what became of it.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use framewright_device_worker::process::frame::FrameError;
use framewright_device_worker::process::message::{PROTOCOL, Start, ToServer, ToWorker};
use framewright_device_worker::vitals::Memory;
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::child::{Program, WorkerProcess};
use super::watch::{BackOff, Watchdog, exit_in_words, is_possible};
use crate::execution::tasks::{Change, Nonsense, TaskTable};
use crate::execution::{ExecutorHealth, ExecutorStatus, translate};

/// How often tasks are looked at: whether one was cancelled, or somebody wants previews.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);
/// How long a worker may take to end when it is told to.
const STOP: Duration = Duration::from_secs(2);
/// How often the log says that a killed process is still there.
const COMPLAINT_INTERVAL: Duration = Duration::from_secs(30);
/// Why tasks end with the supervisor.
const SHUT_DOWN: &str = "it was shut down";

/// Keeps one device's worker process running until it is told to stop.
pub(super) struct Supervisor {
    pub(super) name: String,
    pub(super) program: Program,
    pub(super) start: Start,
    pub(super) stall: Duration,
    pub(super) silence: Duration,
    pub(super) table: Arc<TaskTable>,
    pub(super) status: watch::Sender<ExecutorStatus>,
    pub(super) orders: mpsc::UnboundedReceiver<ToWorker>,
    pub(super) stop: CancellationToken,
}

/// Why a process is no longer there.
#[derive(Debug)]
enum Ending {
    /// It was told to stop.
    Stopped,
    /// Its stream has ended; how the process did will be known soon.
    Died,
    /// It has to be killed.
    Condemned(Loss),
}

/// What was wrong with a worker.
#[derive(Debug)]
struct Loss {
    /// For those whose tasks were on it.
    reason: String,
    /// What it said itself: for the log and the administrators, because nobody knows what stands in it.
    words: Option<String>,
}

impl Loss {
    fn of(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), words: None }
    }

    fn in_words(&self) -> String {
        match &self.words {
            Some(words) => format!("{}; it last said: {words}", self.reason),
            None => self.reason.clone(),
        }
    }
}

impl From<Loss> for Ending {
    fn from(loss: Loss) -> Self {
        Self::Condemned(loss)
    }
}

impl From<Nonsense> for Ending {
    fn from(nonsense: Nonsense) -> Self {
        Self::Condemned(Loss::of(nonsense.to_string()))
    }
}

impl From<FrameError> for Ending {
    fn from(error: FrameError) -> Self {
        Self::Condemned(match error {
            FrameError::Length(_) => Loss::of(format!("it spoke nonsense: {error}")),
            FrameError::Stream(_) => Loss::of(format!("its stream broke: {error}")),
            // The error repeats what could not be read.
            FrameError::Content(error) => {
                Loss { reason: "it spoke nonsense: a frame that cannot be read".to_owned(), words: Some(error.to_string()) }
            }
        })
    }
}

impl Supervisor {
    /// Until [`Self::stop`].
    pub(super) async fn run(mut self) {
        let mut back_off = BackOff::default();
        while let Some(loss) = self.run_once(&mut back_off).await {
            let (reason, pause) = (loss.in_words(), back_off.died());
            tracing::error!(
                device = %self.name, reason, pause_ms = pause.as_millis() as u64,
                "The worker of {} was lost: {reason}; the next one starts in {pause:?}", self.name
            );
            self.show_lost(reason, back_off.deaths());
            tokio::select! {
                () = self.stop.cancelled() => break,
                () = sleep(pause) => {}
            }
            self.status.send_modify(|status| status.restarts += 1);
        }
        self.table.lose_all(SHUT_DOWN);
        self.status.send_modify(|status| {
            status.health = ExecutorHealth::Stopped;
            status.loaded.clear();
        });
    }

    /// Nothing is planned from now on for a device that was ready.
    fn withdraw(&self, reason: &str, deaths: u32) {
        self.table.accept(false);
        if self.status.borrow().health == ExecutorHealth::Ready {
            self.show_lost(reason.to_owned(), deaths);
        }
    }

    fn show_lost(&self, reason: String, deaths: u32) {
        self.status.send_modify(|status| {
            status.health = ExecutorHealth::Restarting { reason, deaths };
            status.loaded.clear();
            status.utilization = None;
        });
    }

    /// Runs one process; `None` when it was told to stop, else why it is no longer there. Whoever had a task on it has been told before
    /// its end is waited for, however long the system takes.
    async fn run_once(&mut self, back_off: &mut BackOff) -> Option<Loss> {
        let mut process = match WorkerProcess::start(&self.program, &self.name) {
            Ok(process) => process,
            Err(error) => return Some(Loss::of(format!("cannot start {}: {error}", self.program.path.display()))),
        };
        process.send(ToWorker::Start(Box::new(self.start.clone())));
        let Err(ending) = self.attend(&mut process, back_off).await;
        let deaths = back_off.deaths() + 1;
        let mut loss = match ending {
            Ending::Stopped => {
                self.table.lose_all(SHUT_DOWN);
                process.send(ToWorker::Stop);
                if timeout(STOP, process.child.wait()).await.is_err() {
                    process.kill();
                    self.reap(&mut process).await;
                }
                return None;
            }
            Ending::Condemned(loss) => {
                process.kill();
                loss
            }
            Ending::Died => {
                self.withdraw("its stream has ended", deaths);
                // The stream ends a moment before the process; one that only closes its stream does not stay.
                let status = timeout(STOP, process.child.wait()).await;
                process.kill();
                Loss::of(match status {
                    Ok(Ok(status)) => exit_in_words(status),
                    _ => "it closed its stream".to_owned(),
                })
            }
        };
        self.withdraw(&loss.in_words(), deaths);
        self.table.lose_all(&loss.reason);
        if self.reap(&mut process).await && loss.words.is_none() {
            loss.words = process.last_line().await;
        }
        Some(loss)
    }

    /// Waits until a killed process has ended; `false` when the supervisor shall not wait for that.
    async fn reap(&self, process: &mut WorkerProcess) -> bool {
        let pid = process.child.id();
        let complain = || {
            tracing::error!(device = %self.name, pid, "The worker of {} was killed and has not ended yet", self.name);
        };
        ended_before_stop(process.child.wait(), &self.stop, complain).await
    }

    async fn attend(&mut self, process: &mut WorkerProcess, back_off: &mut BackOff) -> Result<Infallible, Ending> {
        let mut watchdog = Watchdog::new(Instant::now(), self.stall, self.silence);
        let mut next_look = pin!(sleep(Duration::ZERO));
        loop {
            tokio::select! {
                // What has come is read before silence is judged: this process may have slept itself.
                biased;
                () = self.stop.cancelled() => return Err(Ending::Stopped),
                frame = process.frames.next() => {
                    watchdog.heard(Instant::now());
                    for message in frame?.ok_or(Ending::Died)? {
                        self.hear(message, &mut watchdog, back_off)?;
                    }
                }
                order = self.orders.recv() => self.forward(order.ok_or(Ending::Stopped)?, process),
                () = &mut next_look => {}
            }
            // However much there is to read: a worker that never stops talking is told and judged what any other is.
            let now = Instant::now();
            if now >= next_look.deadline().into_std() {
                next_look.as_mut().reset((now + LOOK_INTERVAL).into());
                while let Ok(order) = self.orders.try_recv() {
                    self.forward(order, process);
                }
                self.look(process, &mut watchdog, now)?;
            }
        }
    }

    fn forward(&self, order: ToWorker, process: &WorkerProcess) {
        process.send(match order {
            ToWorker::Run { number, order, .. } => match self.table.send_off(number) {
                Some(previews) => ToWorker::Run { number, order, previews },
                None => return,
            },
            order => order,
        });
    }

    /// Tells the worker what has changed of its tasks, and judges it.
    fn look(&self, process: &WorkerProcess, watchdog: &mut Watchdog, now: Instant) -> Result<(), Ending> {
        for change in self.table.changes(now) {
            process.send(match change {
                Change::Cancelled(number) => ToWorker::Cancel { number },
                Change::Previews(number, wanted) => ToWorker::Previews { number, wanted },
            });
        }
        if let Some(reason) = watchdog.verdict(now, self.table.is_active()) {
            return Err(Loss::of(reason).into());
        }
        if self.table.ignores_cancel(now, self.stall) {
            return Err(Loss::of(format!("it did not end a cancelled task within {} s", self.stall.as_secs_f64())).into());
        }
        Ok(())
    }

    /// Takes what a worker says.
    fn hear(&self, message: ToServer, watchdog: &mut Watchdog, back_off: &mut BackOff) -> Result<(), Ending> {
        match message {
            ToServer::Hello { protocol, version, description } => {
                let build = framewright_device_worker::build();
                if protocol != PROTOCOL || version != build {
                    let words =
                        format!("protocol {protocol}, build {version}; this server has protocol {PROTOCOL}, build {build}");
                    return Err(Loss { reason: "it is of another build".to_owned(), words: Some(words) }.into());
                }
                tracing::info!(device = %self.name, description, "Device {} is ready: {description}", self.name);
                watchdog.opened();
                // First, because whoever sees that the device is ready may send it a task at once.
                self.table.accept(true);
                self.status.send_modify(|status| {
                    status.health = ExecutorHealth::Ready;
                    status.description = description;
                });
            }
            ToServer::Refused { reason } => {
                return Err(Loss { reason: "its device does not open".to_owned(), words: Some(reason) }.into());
            }
            ToServer::Beat { ticks, vitals } => {
                watchdog.ticks(Instant::now(), ticks);
                if let Some(memory) = vitals.memory.filter(|memory| !is_possible(*memory)) {
                    let Memory { free_bytes, total_bytes } = memory;
                    return Err(
                        Loss::of(format!("it reports impossible memory: {free_bytes} of {total_bytes} bytes free")).into()
                    );
                }
                self.status.send_if_modified(|status| {
                    let seen = (vitals.memory.map(translate::memory), vitals.utilization);
                    let changed = (status.memory, status.utilization) != seen;
                    (status.memory, status.utilization) = seen;
                    changed
                });
            }
            ToServer::Loaded { models } => {
                self.status.send_modify(|status| status.loaded = translate::loaded(models));
            }
            ToServer::Report { number, report } => self.table.report(number, report)?,
            ToServer::Ended { number, result } => {
                let succeeded = result.is_ok();
                self.table.end(number, result)?;
                if succeeded {
                    back_off.succeeded();
                }
            }
            ToServer::Answered { ticket, result } => self.table.answer(ticket, result),
        }
        Ok(())
    }
}

/// Waits for the end of a killed process, which may take as long as the disk or the driver that it hangs in: a second worker would only
/// meet it on the device. `false` when the supervisor shall stop, which does not wait so long.
async fn ended_before_stop(end: impl Future, stop: &CancellationToken, complain: impl Fn()) -> bool {
    let mut end = pin!(end);
    let given_up = async {
        stop.cancelled().await;
        sleep(STOP).await;
    };
    let mut given_up = pin!(given_up);
    loop {
        tokio::select! {
            biased;
            _ = &mut end => return true,
            () = &mut given_up => return false,
            () = sleep(COMPLAINT_INTERVAL) => complain(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::future::{pending, ready};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_process_that_cannot_be_ended_holds_up_its_device_and_not_the_shut_down() {
        let (stop, complaints) = (CancellationToken::new(), Cell::new(0));
        let complain = || complaints.set(complaints.get() + 1);
        assert!(ended_before_stop(ready(()), &stop, complain).await);
        assert_eq!(complaints.get(), 0);
        let waiting = timeout(Duration::from_secs(100), ended_before_stop(pending::<()>(), &stop, complain)).await;
        assert!(waiting.is_err(), "no other worker is started");
        assert_eq!(complaints.get(), 3);
        stop.cancel();
        let begun = tokio::time::Instant::now();
        assert!(!ended_before_stop(pending::<()>(), &stop, complain).await);
        assert!(begun.elapsed() < 2 * STOP);
    }
}
