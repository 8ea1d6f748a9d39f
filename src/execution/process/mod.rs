//! A device in a process of its own, supervised: a crash, a poisoned CUDA context or a kill for memory never takes the server.

mod child;
mod supervisor;
mod watch;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use framewright_device_worker::process::message::{PROTOCOL, Start, ToWorker};
use framewright_device_worker::work::write_renamed;
use framewright_device_worker::{ModelFiles, Picture, PictureFile, TaskOrder};
use framewright_engine::vision::RgbPicture;
use tokio::sync::{mpsc, watch as watching};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use self::child::Program;
use self::supervisor::Supervisor;
use super::options::{DeviceError, ExecutorOptions, device_kind};
use super::tasks::TaskTable;
use super::{DeviceTask, Executor, ExecutorStatus, ExecutorUnavailable, TaskEvent, TaskFailure, translate};
use crate::domain::{DeviceName, ErrorCode, ModelId};

/// The program that runs CUDA devices.
const CUDA_PROGRAM: &str = "framewright-device-worker";
/// How long a new worker waits for its dead predecessor to let go of the device, milliseconds.
const LOCK_WAIT_MS: u64 = 5000;
/// A worker shows life at least this often, and four times while its silence is judged.
const HEARTBEAT: Duration = Duration::from_secs(1);

/// A device whose worker process is kept running. Dropped without [`Executor::shut_down`], it kills the process.
#[derive(Debug)]
pub struct ProcessExecutor {
    name: String,
    table: Arc<TaskTable>,
    status: watching::Receiver<ExecutorStatus>,
    orders: mpsc::UnboundedSender<ToWorker>,
    tracker: TaskTracker,
    stop: CancellationToken,
    _stop_when_dropped: DropGuard,
}

impl ProcessExecutor {
    /// Starts a worker process; its device opens in the background, as [`Executor::status`] shows. Must be called within a runtime.
    pub fn open(name: &str, device: DeviceName, options: &ExecutorOptions) -> Result<Self, DeviceError> {
        let start = Start {
            protocol: PROTOCOL,
            device: device_kind(device),
            options: options.device_options(),
            lock_path: lock_path(name, device, &options.run_directory),
            lock_wait_ms: LOCK_WAIT_MS,
            heartbeat_ms: (options.silence / 4).min(options.stall / 4).min(HEARTBEAT).as_millis() as u64,
        };
        let table = Arc::new(TaskTable::new(options.max_batch));
        let (status, status_receiver) = watching::channel(ExecutorStatus::starting());
        let (orders, order_receiver) = mpsc::unbounded_channel();
        let (tracker, stop) = (TaskTracker::new(), CancellationToken::new());
        let supervisor = Supervisor {
            name: name.to_owned(),
            program: program(name, device, options)?,
            start,
            stall: options.stall,
            silence: options.silence,
            table: Arc::clone(&table),
            status,
            orders: order_receiver,
            stop: stop.clone(),
        };
        tracker.spawn(supervisor.run());
        Ok(Self {
            name: name.to_owned(),
            table,
            status: status_receiver,
            orders,
            tracker,
            _stop_when_dropped: stop.clone().drop_guard(),
            stop,
        })
    }

    async fn ask(&self, message: impl FnOnce(u64) -> ToWorker) -> Result<(), TaskFailure> {
        let gone = || TaskFailure::WorkerLost { reason: ExecutorUnavailable::Gone.to_string(), companions: 0 };
        let (ticket, answer) = self.table.ticket().ok_or_else(gone)?;
        if self.orders.send(message(ticket)).is_err() {
            return Err(gone());
        }
        answer.await.unwrap_or_else(|_| Err(gone()))
    }
}

#[async_trait::async_trait]
impl Executor for ProcessExecutor {
    fn name(&self) -> &str {
        &self.name
    }

    fn status(&self) -> watching::Receiver<ExecutorStatus> {
        self.status.clone()
    }

    fn start(&self, task: DeviceTask) -> Result<mpsc::Receiver<TaskEvent>, ExecutorUnavailable> {
        let (number, events) = self.table.add(&task)?;
        let mut order = translate::order(&task);
        (order.init_image, order.mask) = (None, None);
        let previews = task.previews.exists();
        let send = move |orders: &mpsc::UnboundedSender<ToWorker>, order| {
            orders.send(ToWorker::Run { number, order: Box::new(order), previews }).is_ok()
        };
        if task.init_image.is_none() && task.mask.is_none() {
            return if send(&self.orders, order) { Ok(events) } else { Err(ExecutorUnavailable::Gone) };
        }
        // Pictures go by file, written off the asynchronous threads.
        let (orders, table) = (self.orders.clone(), Arc::clone(&self.table));
        self.tracker.spawn_blocking(move || match keep_pictures(&mut order, task.init_image.as_deref(), task.mask.as_deref()) {
            Ok(()) => {
                // Whoever takes no more orders has ended every task.
                let _ = send(&orders, order);
            }
            Err(error) => {
                let message = format!("cannot keep the pictures to begin with in {}: {error}", order.work_directory.display());
                let class = translate::failure_class(ErrorCode::StorageFailed);
                // The task may have been lost meanwhile.
                let _ = table.end(number, Err(framewright_device_worker::Failure::new(class, message)));
            }
        });
        Ok(events)
    }

    async fn load(&self, model: &ModelId, directory: &Path, fingerprint: u64) -> Result<(), TaskFailure> {
        let model = ModelFiles { name: model.to_string(), directory: directory.to_owned(), fingerprint };
        self.ask(|ticket| ToWorker::Load { ticket, model }).await
    }

    async fn unload(&self, model: &ModelId) -> Result<(), TaskFailure> {
        let model = model.to_string();
        self.ask(|ticket| ToWorker::Unload { ticket, model }).await
    }

    async fn shut_down(&self) {
        self.stop.cancel();
        self.tracker.close();
        self.tracker.wait().await;
    }
}

/// Writes the pictures that an order begins with into its directory, and has it name them.
fn keep_pictures(order: &mut TaskOrder, init_image: Option<&RgbPicture>, mask: Option<&RgbPicture>) -> std::io::Result<()> {
    let keep = |name: &str, picture: Option<&RgbPicture>| {
        let file = picture.map(|picture| keep_picture(&order.work_directory, name, picture)).transpose()?;
        Ok::<_, std::io::Error>(file.map(Picture::File))
    };
    (order.init_image, order.mask) = (keep("init-image.rgb", init_image)?, keep("mask.rgb", mask)?);
    Ok(())
}

fn keep_picture(directory: &Path, name: &str, picture: &RgbPicture) -> std::io::Result<PictureFile> {
    std::fs::create_dir_all(directory)?;
    let path = directory.join(name);
    write_renamed(&path, &picture.bytes)?;
    Ok(PictureFile { path, width: picture.width as u32, height: picture.height as u32 })
}

/// The worker program of CUDA devices if it lies beside this one.
fn cuda_program() -> Option<PathBuf> {
    let beside = std::env::current_exe().ok()?.with_file_name(CUDA_PROGRAM);
    beside.is_file().then_some(beside)
}

fn program(name: &str, device: DeviceName, options: &ExecutorOptions) -> Result<Program, DeviceError> {
    let kind = ["--device".to_owned(), device.to_string()];
    if matches!(device, DeviceName::Cuda(_)) {
        let path = cuda_program().unwrap_or_else(|| PathBuf::from(CUDA_PROGRAM));
        return Ok(Program { path, arguments: kind.into() });
    }
    let path = match &options.program {
        Some(path) if path.is_file() => path.clone(),
        Some(path) => return Err(DeviceError::Program { device: name.to_owned(), path: path.clone() }),
        None => std::env::current_exe().map_err(|source| DeviceError::Start { device: name.to_owned(), source })?,
    };
    Ok(Program { path, arguments: ["device-worker".to_owned()].into_iter().chain(kind).collect() })
}

/// A GPU is one for the whole machine; a processor has room for the workers of several servers.
fn lock_path(name: &str, device: DeviceName, run_directory: &Path) -> PathBuf {
    match device {
        DeviceName::Cuda(index) => machine_lock_directory().join(format!("framewright-cuda-{index}.lock")),
        DeviceName::Cpu | DeviceName::Fake => run_directory.join(format!("{}.lock", name.replace('#', "-"))),
    }
}

/// A directory where every user of the machine finds and may make locks: the same one, whoever asks and whatever `TMPDIR` says.
fn machine_lock_directory() -> PathBuf {
    const WRITABLE_FOR_ALL: u32 = 0o002;
    let usual = PathBuf::from("/run/lock");
    let is_for_all = |directory: &Path| {
        directory.metadata().is_ok_and(|found| found.is_dir() && found.permissions().mode() & WRITABLE_FOR_ALL != 0)
    };
    if is_for_all(&usual) { usual } else { PathBuf::from("/tmp") }
}
