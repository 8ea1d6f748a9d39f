//! Keeps a worker process running, and says what became of it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use framewright_device_worker::process::message::{PROTOCOL, Start, ToServer, ToWorker};
use tokio::sync::{mpsc, watch};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::child::{Program, WorkerProcess};
use super::watch::{BackOff, Watchdog, exit_in_words, is_possible};
use crate::execution::tasks::{Change, TaskTable};
use crate::execution::{ExecutorHealth, ExecutorStatus, translate};

/// How often tasks are looked at: whether one was cancelled, or somebody wants previews.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);
/// How long a worker may take to end when it is told to.
const STOP: Duration = Duration::from_secs(2);

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
enum Ending {
    /// It was told to stop.
    Stopped,
    /// It ended, or cannot be started; with what is known.
    Died(String),
    /// It has to be killed, for this reason.
    Condemned(String),
}

impl Supervisor {
    /// Until [`Self::stop`].
    pub(super) async fn run(mut self) {
        let mut back_off = BackOff::default();
        while let Some(reason) = self.run_once(&mut back_off).await {
            self.table.lose_all(&reason);
            let pause = back_off.died();
            tracing::error!(
                device = %self.name, reason, pause_ms = pause.as_millis() as u64,
                "The worker of {} was lost: {reason}; the next one starts in {pause:?}", self.name
            );
            self.status.send_modify(|status| {
                status.health = ExecutorHealth::Restarting { reason, deaths: back_off.deaths() };
                status.loaded.clear();
                status.utilization = None;
            });
            tokio::select! {
                () = self.stop.cancelled() => break,
                () = sleep(pause) => {}
            }
            self.status.send_modify(|status| status.restarts += 1);
        }
        self.table.lose_all("it was shut down");
        self.status.send_modify(|status| {
            status.health = ExecutorHealth::Stopped;
            status.loaded.clear();
        });
    }

    /// Runs one process; `None` when it was told to stop, else why it is no longer there.
    async fn run_once(&mut self, back_off: &mut BackOff) -> Option<String> {
        let mut process = match WorkerProcess::start(&self.program, &self.name) {
            Ok(process) => process,
            Err(error) => return Some(format!("cannot start {}: {error}", self.program.path.display())),
        };
        process.send(ToWorker::Start(Box::new(self.start.clone())));
        let ending = self.attend(&mut process, back_off).await;
        self.table.accept(false);
        match ending {
            Ending::Stopped => {
                process.send(ToWorker::Stop);
                if timeout(STOP, process.child.wait()).await.is_err() {
                    let _ = process.child.kill().await;
                }
                None
            }
            Ending::Condemned(reason) => {
                let _ = process.child.kill().await;
                Some(reason)
            }
            Ending::Died(reason) => {
                // The stream ends a moment before the process; one that only closes its stream does not stay.
                let status = match timeout(STOP, process.child.wait()).await {
                    Ok(Ok(status)) => exit_in_words(status),
                    _ => "it closed its stream".to_owned(),
                };
                let _ = process.child.kill().await;
                let said = process.last_line().await.map(|line| format!("; it last said: {line}")).unwrap_or_default();
                Some(if reason.is_empty() { format!("{status}{said}") } else { reason })
            }
        }
    }

    async fn attend(&mut self, process: &mut WorkerProcess, back_off: &mut BackOff) -> Ending {
        let mut watchdog = Watchdog::new(Instant::now(), self.stall, self.silence);
        let mut look = interval(LOOK_INTERVAL);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                // What has come is read before silence is judged: this process may have slept itself.
                biased;
                () = self.stop.cancelled() => return Ending::Stopped,
                frame = process.frames.next() => match frame {
                    Ok(Some(messages)) => {
                        watchdog.heard(Instant::now());
                        for message in messages {
                            if let Err(ending) = self.hear(message, &mut watchdog, back_off) {
                                return ending;
                            }
                        }
                    }
                    Ok(None) => return Ending::Died(String::new()),
                    Err(error) => return Ending::Condemned(format!("it spoke nonsense: {error}")),
                },
                order = self.orders.recv() => match order {
                    // A task whose picture took long to write may have been lost meanwhile.
                    Some(ToWorker::Run { number, .. }) if !self.table.has(number) => {}
                    Some(order) => process.send(order),
                    None => return Ending::Stopped,
                },
                _ = look.tick() => {
                    let now = Instant::now();
                    for change in self.table.changes(now) {
                        process.send(match change {
                            Change::Cancelled(number) => ToWorker::Cancel { number },
                            Change::Previews(number, wanted) => ToWorker::Previews { number, wanted },
                        });
                    }
                    if let Some(reason) = watchdog.verdict(now, self.table.is_active()) {
                        return Ending::Condemned(reason);
                    }
                    if self.table.ignores_cancel(now, self.stall) {
                        return Ending::Condemned(format!("it did not end a cancelled task within {} s", self.stall.as_secs_f64()));
                    }
                }
            }
        }
    }

    /// Takes what a worker says.
    fn hear(&self, message: ToServer, watchdog: &mut Watchdog, back_off: &mut BackOff) -> Result<(), Ending> {
        let unknown = |what: &str, number: u64| {
            Err(Ending::Condemned(format!("it spoke nonsense: {what} of task {number}, which it does not have")))
        };
        match message {
            ToServer::Hello { protocol, version, description } => {
                if protocol != PROTOCOL {
                    let reason =
                        format!("it is of another build ({version}, protocol {protocol}; this server speaks {PROTOCOL})");
                    return Err(Ending::Condemned(reason));
                }
                tracing::info!(device = %self.name, description, "Device {} is ready: {description}", self.name);
                self.status.send_modify(|status| {
                    status.health = ExecutorHealth::Ready;
                    status.description = description;
                });
                self.table.accept(true);
            }
            ToServer::Refused { reason } => return Err(Ending::Died(reason)),
            ToServer::Beat { ticks, vitals } => {
                watchdog.ticks(Instant::now(), ticks);
                if let Some(memory) = vitals.memory.filter(|memory| !is_possible(*memory)) {
                    let reason =
                        format!("it reports impossible memory: {} of {} bytes free", memory.free_bytes, memory.total_bytes);
                    return Err(Ending::Condemned(reason));
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
            ToServer::Report { number, report } => {
                if !self.table.report(number, report) {
                    return unknown("a report", number.0);
                }
            }
            ToServer::Ended { number, result } => {
                let succeeded = result.is_ok();
                if !self.table.end(number, result) {
                    return unknown("the end", number.0);
                }
                if succeeded {
                    back_off.succeeded();
                }
            }
            ToServer::Answered { ticket, result } => self.table.answer(ticket, result),
        }
        Ok(())
    }
}
