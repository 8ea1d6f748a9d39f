//! A device on a thread of this process: for tests, for debugging, and for making a picture without a server.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use framewright_device_worker::device::{BatchDevice, OpenError};
use framewright_device_worker::fake::Stage;
use framewright_device_worker::vitals::Meter;
use framewright_device_worker::worker::{self, Command, Event};
use framewright_device_worker::{self as device_worker, ModelFiles, PreviewSwitch, Pulse};
use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};

use super::options::{DeviceError, ExecutorOptions, device_kind};
use super::tasks::{Nonsense, TaskTable};
use super::{DeviceTask, Executor, ExecutorHealth, ExecutorStatus, ExecutorUnavailable, TaskEvent, TaskFailure, translate};
use crate::domain::{DeviceName, ModelId};

/// How often memory and utilisation are looked at while there are events.
const VITALS_INTERVAL: Duration = Duration::from_secs(1);

/// One OS thread that owns a device. A panic of the device ends the tasks on it, as the death of a process would, and the device is
/// opened anew.
#[derive(Debug)]
pub struct ThreadExecutor {
    name: String,
    table: Arc<TaskTable>,
    status: watch::Receiver<ExecutorStatus>,
    commands: Mutex<Option<Sender<Command>>>,
}

impl ThreadExecutor {
    /// Starts the thread and waits until it has opened its device.
    pub fn open(name: &str, device: DeviceName, options: &ExecutorOptions) -> Result<Self, DeviceError> {
        if matches!(device, DeviceName::Cuda(_)) {
            return Err(DeviceError::NotInThreads(device));
        }
        let table = Arc::new(TaskTable::new(options.max_batch));
        let (status, status_receiver) = watch::channel(ExecutorStatus::starting());
        let (commands, receiver) = channel();
        let (opened, opening) = sync_channel(1);
        let kind = device_kind(device);
        let options = options.device_options();
        let fake_memory = (device == DeviceName::Fake).then_some(options.fake.memory_bytes).flatten();
        let open = move |pulse: &Pulse| device_worker::open(kind, &options, pulse.clone(), Stage::Thread);
        let worker =
            Worker { table: Arc::clone(&table), status, receiver, meter: Meter::new(kind), fake_memory, vitals_read: None };
        let start_error = |source| DeviceError::Start { device: name.to_owned(), source };
        thread::Builder::new().name(format!("device {name}")).spawn(move || worker.run(open, &opened)).map_err(start_error)?;
        opening.recv().unwrap_or_else(|_| Err(start_error(std::io::Error::other("it panicked"))))?;
        Ok(Self { name: name.to_owned(), table, status: status_receiver, commands: Mutex::new(Some(commands)) })
    }

    fn send(&self, command: Command) -> bool {
        self.commands.lock().as_ref().is_some_and(|commands| commands.send(command).is_ok())
    }

    async fn ask(&self, command: impl FnOnce(u64) -> Command) -> Result<(), TaskFailure> {
        let gone = || TaskFailure::WorkerLost { reason: ExecutorUnavailable::Gone.to_string(), companions: 0 };
        let (ticket, answer) = self.table.ticket().ok_or_else(gone)?;
        if !self.send(command(ticket)) {
            return Err(gone());
        }
        answer.await.unwrap_or_else(|_| Err(gone()))
    }
}

#[async_trait::async_trait]
impl Executor for ThreadExecutor {
    fn name(&self) -> &str {
        &self.name
    }

    fn status(&self) -> watch::Receiver<ExecutorStatus> {
        self.status.clone()
    }

    fn start(&self, task: DeviceTask) -> Result<mpsc::Receiver<TaskEvent>, ExecutorUnavailable> {
        let (number, events) = self.table.add(&task)?;
        let order = translate::order(&task);
        let previews = task.previews.clone();
        let task =
            device_worker::Task { order, interrupt: task.interrupt, previews: PreviewSwitch::new(move || previews.exists()) };
        if self.send(Command::Run(number, Box::new(task))) { Ok(events) } else { Err(ExecutorUnavailable::Gone) }
    }

    async fn load(&self, model: &ModelId, directory: &Path, fingerprint: u64) -> Result<(), TaskFailure> {
        let model = ModelFiles { name: model.to_string(), directory: directory.to_owned(), fingerprint };
        self.ask(|ticket| Command::Load { ticket, model }).await
    }

    async fn unload(&self, model: &ModelId) -> Result<(), TaskFailure> {
        let model = model.to_string();
        self.ask(|ticket| Command::Unload { ticket, model }).await
    }

    async fn shut_down(&self) {
        self.commands.lock().take();
        self.table.lose_all("it was shut down");
    }
}

impl Drop for ThreadExecutor {
    /// The thread ends with its command channel, after the evaluation that it is in.
    fn drop(&mut self) {
        self.table.lose_all("it was shut down");
    }
}

/// The thread's side.
struct Worker {
    table: Arc<TaskTable>,
    status: watch::Sender<ExecutorStatus>,
    receiver: Receiver<Command>,
    meter: Meter,
    fake_memory: Option<u64>,
    vitals_read: Option<Instant>,
}

impl Worker {
    fn run(
        mut self,
        open: impl Fn(&Pulse) -> Result<Box<dyn BatchDevice>, OpenError>,
        opened: &std::sync::mpsc::SyncSender<Result<(), DeviceError>>,
    ) {
        let pulse = Pulse::default();
        let mut device = match open(&pulse) {
            Ok(device) => device,
            Err(error) => {
                let _ = opened.send(Err(error.into()));
                return;
            }
        };
        self.ready(device.description());
        let _ = opened.send(Ok(()));
        loop {
            let served = catch_unwind(AssertUnwindSafe(|| {
                let Self { receiver, .. } = &self;
                // The loop borrows the receiver while events need the rest.
                let (table, status) = (&self.table, &self.status);
                let mut vitals = Vitals { meter: &self.meter, fake_memory: self.fake_memory, read: self.vitals_read };
                worker::serve(&mut *device, receiver, &mut |event| {
                    tell(table, status, event);
                    vitals.refresh(status);
                });
            }));
            let Err(panic) = served else { break };
            let message = panic_message(&*panic);
            tracing::error!(message, "A device worker was lost: it panicked: {message}");
            // Nobody knows what stands in the message.
            self.table.lose_all("it panicked");
            // Commands for tasks that have ended.
            while self.receiver.try_recv().is_ok() {}
            // What it was in the middle of is unknown; a fresh one is safe.
            device = match open(&pulse) {
                Ok(device) => device,
                Err(error) => {
                    tracing::error!(%error, "A device does not open again: {error}");
                    break;
                }
            };
            self.status.send_modify(|status| {
                status.restarts += 1;
                status.loaded.clear();
            });
            self.ready(device.description());
        }
        self.table.lose_all("it was shut down");
        self.status.send_modify(|status| status.health = ExecutorHealth::Stopped);
    }

    fn ready(&mut self, description: String) {
        // First, because whoever sees that the device is ready may send it a task at once.
        self.table.accept(true);
        self.status.send_modify(|status| {
            status.health = ExecutorHealth::Ready;
            status.description = description;
        });
        Vitals { meter: &self.meter, fake_memory: self.fake_memory, read: None }.refresh(&self.status);
        self.vitals_read = Some(Instant::now());
    }
}

fn tell(table: &TaskTable, status: &watch::Sender<ExecutorStatus>, event: Event) {
    match event {
        Event::Report(number, report) => log_nonsense(table.report(number, report)),
        Event::Ended(number, result) => log_nonsense(table.end(number, result)),
        Event::Answered { ticket, result } => table.answer(ticket, result),
        Event::Loaded(models) => status.send_modify(|status| status.loaded = translate::loaded(models)),
    }
}

/// A thread is not to be killed; it may also speak of a task that was lost meanwhile.
fn log_nonsense(heard: Result<(), Nonsense>) {
    if let Err(nonsense) = heard {
        tracing::debug!("A device worker: {nonsense}");
    }
}

/// Memory and utilisation, looked at not too often.
struct Vitals<'a> {
    meter: &'a Meter,
    fake_memory: Option<u64>,
    read: Option<Instant>,
}

impl Vitals<'_> {
    fn refresh(&mut self, status: &watch::Sender<ExecutorStatus>) {
        if self.read.is_some_and(|read| read.elapsed() < VITALS_INTERVAL) {
            return;
        }
        self.read = Some(Instant::now());
        let vitals = self.meter.read();
        let fake_memory = self.fake_memory;
        status.send_modify(|status| {
            status.memory = vitals.memory.map(translate::memory);
            if let Some(total_bytes) = fake_memory {
                let taken: u64 = status.loaded.iter().map(|model| model.weights_bytes).sum();
                status.memory = Some(super::DeviceMemory { total_bytes, free_bytes: total_bytes.saturating_sub(taken) });
            }
            status.utilization = vitals.utilization;
        });
    }
}

fn panic_message(panic: &(dyn Any + Send)) -> &str {
    panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}
