//! A device on its own thread.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::{self, JoinHandle};

use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::device::{DeviceError, ExecutorOptions, ImageDevice, open_device};
use super::{Executor, ExecutorUnavailable, ImageTask, TaskEvent, TaskFailure};
use crate::domain::{DeviceName, ErrorCode};

/// Events that wait for the server before reports are dropped.
const BUFFERED_EVENTS: usize = 64;

type Command = (ImageTask, mpsc::Sender<TaskEvent>);

/// One OS thread that owns a device and its loaded model, and runs one task at a time. A panic of the device is caught and becomes the
/// task's failure; the thread goes on with the model unloaded.
#[derive(Debug)]
pub struct DeviceWorker {
    name: String,
    busy: Arc<AtomicBool>,
    commands: Mutex<Option<SyncSender<Command>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl DeviceWorker {
    /// Starts a thread that opens its device with `open` (so that the device need not be `Send`), and waits until it has. Blocks for
    /// as long as the device takes to open.
    pub fn spawn(
        name: &str,
        open: impl FnOnce() -> Result<Box<dyn ImageDevice>, DeviceError> + Send + 'static,
    ) -> Result<Self, DeviceError> {
        // One place is enough: `busy` lets the next command in only after the thread has taken the one before.
        let (commands, receiver) = sync_channel::<Command>(1);
        let busy = Arc::new(AtomicBool::new(false));
        let (opened, opening) = sync_channel(1);
        let thread_error = |source| DeviceError::Thread { device: name.to_owned(), source };
        let thread_busy = busy.clone();
        let thread = thread::Builder::new()
            .name(format!("device {name}"))
            .spawn(move || match open() {
                Ok(device) => {
                    // Dropped before the loop: its absence is how the waiting side would learn of a panic in `open`.
                    let _ = opened.send(Ok(()));
                    drop(opened);
                    serve(device, &receiver, &thread_busy);
                }
                Err(error) => {
                    let _ = opened.send(Err(error));
                }
            })
            .map_err(thread_error)?;
        opening.recv().unwrap_or_else(|_| Err(thread_error(std::io::Error::other("it panicked"))))?;
        Ok(Self { name: name.to_owned(), busy, commands: Mutex::new(Some(commands)), thread: Mutex::new(Some(thread)) })
    }

    /// Starts a worker for each device of a list; the second of a name is called `name#2`.
    pub fn open_all(names: &[DeviceName], options: &ExecutorOptions) -> Result<Vec<Arc<dyn Executor>>, DeviceError> {
        let mut executors: Vec<Arc<dyn Executor>> = Vec::with_capacity(names.len());
        for (index, &name) in names.iter().enumerate() {
            let earlier = names[..index].iter().filter(|other| **other == name).count();
            let label = if earlier == 0 { name.to_string() } else { format!("{name}#{}", earlier + 1) };
            let options = options.clone();
            executors.push(Arc::new(Self::spawn(&label, move || open_device(name, &options))?));
        }
        Ok(executors)
    }
}

impl Executor for DeviceWorker {
    fn name(&self) -> &str {
        &self.name
    }

    fn start(&self, task: ImageTask) -> Result<mpsc::Receiver<TaskEvent>, ExecutorUnavailable> {
        let commands = self.commands.lock();
        if self.busy.swap(true, Ordering::AcqRel) {
            return Err(ExecutorUnavailable::Busy);
        }
        let (events, receiver) = mpsc::channel(BUFFERED_EVENTS);
        match commands.as_ref().ok_or(ExecutorUnavailable::Gone)?.try_send((task, events)) {
            Ok(()) => Ok(receiver),
            Err(TrySendError::Full(_)) => Err(ExecutorUnavailable::Busy),
            Err(TrySendError::Disconnected(_)) => Err(ExecutorUnavailable::Gone),
        }
    }
}

impl Drop for DeviceWorker {
    /// Ends the thread. One that is still in a task, although whoever drops a worker has interrupted it, is left behind.
    fn drop(&mut self) {
        self.commands.lock().take();
        if self.busy.load(Ordering::Acquire) {
            tracing::error!(device = %self.name, "Device {} does not come back", self.name);
        } else if let Some(thread) = self.thread.lock().take()
            && thread.join().is_err()
        {
            tracing::error!(device = %self.name, "The worker of device {} had panicked", self.name);
        }
    }
}

/// The thread's loop: until the command channel closes.
fn serve(mut device: Box<dyn ImageDevice>, commands: &Receiver<Command>, busy: &AtomicBool) {
    while let Ok((task, events)) = commands.recv() {
        let mut report = |report| {
            // A full channel drops the report: the device does not wait for slow watchers.
            let _ = events.try_send(TaskEvent::Report(report));
        };
        let ended = catch_unwind(AssertUnwindSafe(|| device.run(&task, &mut report))).unwrap_or_else(|panic| {
            let message = panic_message(&*panic);
            tracing::error!(model.id = %task.request.model, message, "A device worker panicked: {message}");
            // What it was in the middle of is unknown; a fresh load is safe.
            if catch_unwind(AssertUnwindSafe(|| device.unload())).is_err() {
                tracing::error!("A device worker panicked again while it unloaded its model");
            }
            Err(TaskFailure::new(ErrorCode::DeviceFailed, "the device worker panicked; the log has the cause"))
        });
        // Before the end is told, so that whoever hears of it may start the next task.
        busy.store(false, Ordering::Release);
        // The server has gone when this fails, and so has the use for the result.
        let _ = events.blocking_send(TaskEvent::Ended(ended));
    }
}

fn panic_message(panic: &(dyn Any + Send)) -> &str {
    panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}

#[cfg(test)]
mod tests {
    use framewright_engine::ops::Interrupt;

    use super::*;
    use crate::domain::{ImageRequest, JobError, PreviewDemand};
    use crate::execution::{FakeControl, FakeFailure, ImageOutput, Report};

    fn task() -> ImageTask {
        ImageTask {
            request: ImageRequest {
                model: "m".parse().unwrap(),
                prompt: "p".to_owned(),
                negative_prompt: None,
                width: 16,
                height: 8,
                num_inference_steps: 3,
                guidance_scale: 5.0,
                seed: u64::MAX,
                sampler: None,
                num_images: 2,
                init_image: None,
                strength: 1.0,
            },
            model_directory: "m".into(),
            init_image: None,
            interrupt: Interrupt::default(),
            previews: PreviewDemand::default(),
        }
    }

    fn worker(control: &FakeControl) -> Arc<dyn Executor> {
        let options = ExecutorOptions { fake: control.clone(), ..ExecutorOptions::default() };
        DeviceWorker::open_all(&[DeviceName::Fake], &options).unwrap().pop().unwrap()
    }

    async fn run(worker: &Arc<dyn Executor>, task: ImageTask) -> (Vec<Report>, Result<ImageOutput, TaskFailure>) {
        let mut events = worker.start(task).unwrap();
        let mut reports = Vec::new();
        loop {
            match events.recv().await.unwrap() {
                TaskEvent::Report(report) => reports.push(report),
                TaskEvent::Ended(ended) => return (reports, ended),
            }
        }
    }

    #[tokio::test]
    async fn pictures_come_out_with_progress_and_previews_on_request() {
        let worker = worker(&FakeControl::new(0));
        let (reports, ended) = run(&worker, task()).await;
        let output = ended.unwrap();
        assert_eq!(reports.len(), 6);
        assert!(matches!(reports[5], Report::Evaluated { progress, .. } if (progress.step, progress.steps) == (6, 6)));
        assert_eq!(output.pictures.len(), 2);
        assert_eq!(output.pictures[0].bytes.len(), 16 * 8 * 3);
        assert_ne!(output.pictures[0], output.pictures[1], "the second seed wraps to 0");

        let watched = task();
        let _wish = watched.previews.wish();
        let (reports, _) = run(&worker, watched).await;
        let previews: Vec<u32> = reports
            .iter()
            .filter_map(|report| if let Report::Preview { index, .. } = report { Some(*index) } else { None })
            .collect();
        assert_eq!(previews, [0, 0, 0, 1, 1, 1]);
    }

    #[tokio::test]
    async fn failures_panics_and_interrupts_end_the_task_and_not_the_worker() {
        let control = FakeControl::new(0);
        let worker = worker(&control);
        control.plan(FakeFailure::Fail { after_steps: 1, code: ErrorCode::OutOfMemory });
        control.plan(FakeFailure::Panic { after_steps: 2 });
        control.plan(FakeFailure::Hang { after_steps: 0 });
        let code = |ended: Result<ImageOutput, TaskFailure>| match ended {
            Err(TaskFailure::Failed(JobError { code, .. })) => code,
            other => panic!("{other:?}"),
        };
        assert_eq!(code(run(&worker, task()).await.1), ErrorCode::OutOfMemory);
        assert_eq!(code(run(&worker, task()).await.1), ErrorCode::DeviceFailed);
        let hanging = task();
        let mut events = worker.start(hanging.clone()).unwrap();
        assert_eq!(worker.start(task()).unwrap_err(), ExecutorUnavailable::Busy);
        hanging.interrupt.cancel();
        assert!(matches!(events.recv().await, Some(TaskEvent::Ended(Err(TaskFailure::Cancelled)))));
        assert!(run(&worker, task()).await.1.is_ok());
    }

    #[test]
    fn a_device_that_does_not_open_is_an_error() {
        let refuse = || Err(DeviceError::NoCuda(DeviceName::Cuda(0)));
        assert!(matches!(DeviceWorker::spawn("x", refuse), Err(DeviceError::NoCuda(_))));
        assert!(matches!(DeviceWorker::spawn("x", || panic!("no")), Err(DeviceError::Thread { .. })));
    }
}
