//! A worker as a process of its own.
//!
//! Standard input is one end of a socket pair: the framed protocol in both directions ([`message`], [`frame`]). Standard output and
//! error are free for whatever libraries print; the server logs them. Threads: the main one owns the device, one reads commands, one
//! writes events, one says every now and then that all of them live. When the stream ends, so does the process, whatever it is in the
//! middle of: the server has gone, or does not want it any more.

pub mod frame;
mod lock;
pub mod message;
mod outbox;

use std::collections::HashMap;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::Duration;

use framewright_engine::ops::Interrupt;
use parking_lot::Mutex;

use crate::device::{self, DeviceKind};
use crate::fake::{Saboteur, Stage};
use crate::pulse::Pulse;
use crate::task::{PreviewSwitch, Task, TaskNumber};
use crate::vitals::{Memory, Meter, Vitals};
use crate::worker::{self, Command, Event};
use frame::FrameError;
use message::{PROTOCOL, Start, ToServer, ToWorker};
use outbox::Outbox;

/// Why a worker process ends early.
#[derive(Debug, thiserror::Error)]
enum ProcessError {
    #[error("this program is started by framewright itself: its standard input must be a socket ({0})")]
    Stream(io::Error),
    #[error("the server says nothing sensible: {0}")]
    Frame(#[from] FrameError),
    #[error("the server speaks version {found} of the protocol and this worker {PROTOCOL}: they come from different builds")]
    Protocol { found: u32 },
    #[error("the server's first word is not how to start")]
    NotStarted,
    #[error(transparent)]
    Lock(#[from] lock::LockError),
    #[error(transparent)]
    Device(#[from] device::OpenError),
    #[error("cannot start a thread: {0}")]
    Thread(io::Error),
}

/// Runs a worker on standard input until that closes. For the `main` of a program.
pub fn run() -> ExitCode {
    // Fails when somebody has set a subscriber already, which is as good.
    let _ = tracing_subscriber::fmt()
        .with_writer(io::stderr)
        .with_ansi(false)
        .without_time()
        .with_env_filter(tracing_subscriber::EnvFilter::new("info"))
        .try_init();
    match work() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn work() -> Result<(), ProcessError> {
    let stream = io::stdin().as_fd().try_clone_to_owned().map(UnixStream::from).map_err(ProcessError::Stream)?;
    stream.peer_addr().map_err(ProcessError::Stream)?;
    let mut reader = io::BufReader::new(stream.try_clone().map_err(ProcessError::Stream)?);
    let Some(first) = frame::read::<ToWorker>(&mut reader)? else { return Ok(()) };
    let mut first = first.into_iter();
    let Some(ToWorker::Start(start)) = first.next() else { return Err(ProcessError::NotStarted) };
    if start.protocol != PROTOCOL {
        return Err(ProcessError::Protocol { found: start.protocol });
    }

    let outbox = Arc::new(Outbox::default());
    let pulse = Pulse::default();
    let (commands, receiver) = channel();
    let ear = Ear { commands, tasks: Tasks::default(), pulse: pulse.clone() };
    let (writing, ear_tasks) = (Arc::clone(&outbox), ear.tasks.clone());
    spawn("write events", move || writing.write_to(stream))?;
    let rest: Vec<ToWorker> = first.collect();
    spawn("read commands", move || ear.listen(reader, rest))?;

    let sabotage = Arc::new(Sabotage { outbox: Arc::clone(&outbox), lies: AtomicBool::new(false) });
    // Before the device is there: waiting for it and opening it may take longer than silence is borne.
    let (beating, beat_pulse, heart) = (Arc::clone(&outbox), pulse.clone(), Heart::new(&start, Arc::clone(&sabotage)));
    spawn("heartbeat", move || heart.beat(&beating, &beat_pulse))?;

    let opened = lock::Lock::take(&start.lock_path, start.device, start.lock_wait_ms)
        .map_err(ProcessError::from)
        .and_then(|lock| Ok((lock, device::open(start.device, &start.options, pulse, Stage::Process(sabotage))?)));
    let (_lock, mut device) = match opened {
        Ok(opened) => opened,
        Err(error) => {
            outbox.push(ToServer::Refused { reason: error.to_string() });
            outbox.flush();
            return Err(error);
        }
    };
    outbox.push(ToServer::Hello { protocol: PROTOCOL, version: crate::build(), description: device.description() });

    worker::serve(&mut *device, &receiver, &mut |event| {
        outbox.push(match event {
            Event::Report(number, report) => ToServer::Report { number, report },
            Event::Ended(number, result) => {
                ear_tasks.remove(number);
                ToServer::Ended { number, result }
            }
            Event::Answered { ticket, result } => ToServer::Answered { ticket, result },
            Event::Loaded(models) => ToServer::Loaded { models },
        });
    });
    Ok(())
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<(), ProcessError> {
    thread::Builder::new().name(name.to_owned()).spawn(work).map(drop).map_err(ProcessError::Thread)
}

/// The tasks on the device, for those who change them while they run.
#[derive(Clone, Default)]
struct Tasks(Arc<Mutex<HashMap<TaskNumber, Levers>>>);

struct Levers {
    interrupt: Interrupt,
    previews: Arc<AtomicBool>,
}

impl Tasks {
    fn remove(&self, number: TaskNumber) {
        self.0.lock().remove(&number);
    }
}

/// Hears the server.
struct Ear {
    commands: Sender<Command>,
    tasks: Tasks,
    pulse: Pulse,
}

impl Ear {
    /// Until the stream ends, and the process with it.
    fn listen(self, mut reader: impl io::Read, first: Vec<ToWorker>) {
        let mut messages = first;
        loop {
            for message in messages {
                if !self.obey(message) {
                    exit(0);
                }
            }
            messages = match frame::read(&mut reader) {
                Ok(Some(messages)) => messages,
                Ok(None) => exit(0),
                Err(error) => {
                    tracing::error!("the server says nothing sensible: {error}");
                    exit(1);
                }
            };
        }
    }

    /// Whether to go on.
    fn obey(&self, message: ToWorker) -> bool {
        let command = match message {
            ToWorker::Start(_) | ToWorker::Stop => return false,
            ToWorker::Cancel { number } => {
                if let Some(levers) = self.tasks.0.lock().get(&number) {
                    levers.interrupt.cancel();
                }
                self.pulse.settle();
                return true;
            }
            ToWorker::Previews { number, wanted } => {
                if let Some(levers) = self.tasks.0.lock().get(&number) {
                    levers.previews.store(wanted, Ordering::Relaxed);
                }
                return true;
            }
            ToWorker::Run { number, order, previews } => {
                let wanted = Arc::new(AtomicBool::new(previews));
                let interrupt = Interrupt::default();
                self.tasks.0.lock().insert(number, Levers { interrupt: interrupt.clone(), previews: Arc::clone(&wanted) });
                let previews = PreviewSwitch::new(move || wanted.load(Ordering::Relaxed));
                Command::Run(number, Box::new(Task { order: *order, interrupt, previews }))
            }
            ToWorker::Load { ticket, model } => Command::Load { ticket, model },
            ToWorker::Unload { ticket, model } => Command::Unload { ticket, model },
        };
        self.commands.send(command).is_ok()
    }
}

/// The one end of the process from a thread that is not the main one.
#[expect(clippy::disallowed_methods, reason = "the stream is closed: what the device is in the middle of is for nobody")]
fn exit(status: i32) -> ! {
    std::process::exit(status)
}

/// Says that the process lives.
struct Heart {
    interval: Duration,
    kind: DeviceKind,
    fake_memory_bytes: Option<u64>,
    sabotage: Arc<Sabotage>,
}

impl Heart {
    fn new(start: &Start, sabotage: Arc<Sabotage>) -> Self {
        Self {
            interval: Duration::from_millis(start.heartbeat_ms.max(1)),
            kind: start.device,
            fake_memory_bytes: start.options.fake.memory_bytes,
            sabotage,
        }
    }

    fn beat(&self, outbox: &Outbox, pulse: &Pulse) {
        // Life first: a driver may need seconds until it measures anything.
        outbox.push(ToServer::Beat { ticks: pulse.ticks(), vitals: Vitals::default() });
        let meter = Meter::new(self.kind);
        loop {
            // Who cancelled a task may have looked before its work was entered.
            pulse.settle();
            outbox.push(ToServer::Beat { ticks: pulse.ticks(), vitals: self.vitals(&meter, outbox) });
            thread::sleep(self.interval);
        }
    }

    fn vitals(&self, meter: &Meter, outbox: &Outbox) -> Vitals {
        let mut vitals = meter.read();
        if self.kind == DeviceKind::Fake {
            let taken = outbox.loaded_bytes();
            let memory = |total_bytes: u64| Memory { total_bytes, free_bytes: total_bytes.saturating_sub(taken) };
            vitals.memory = self.fake_memory_bytes.map(memory);
        }
        if self.sabotage.lies.load(Ordering::Relaxed) {
            vitals.memory = Some(Memory { total_bytes: u64::MAX, free_bytes: u64::MAX });
        }
        vitals
    }
}

/// What a fake device may break of its process.
struct Sabotage {
    outbox: Arc<Outbox>,
    lies: AtomicBool,
}

impl Saboteur for Sabotage {
    fn write_garbage(&self) {
        self.outbox.spoil();
    }

    fn lie_about_memory(&self) {
        self.lies.store(true, Ordering::Relaxed);
    }
}
