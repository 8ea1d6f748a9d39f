//! Pictures made without a server, by the same device code that its workers run.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::anyhow;
use framewright_engine::vision::RgbPicture;

use super::files::{FinishedPicture, OutputFile};
use super::progress::ProgressDisplay;
use super::{ImageArguments, InitImage, Sources, parameters, refused, report};
use crate::app::compute;
use crate::cli::failure::{Failure, OrFail, Outcome};
use crate::cli::models::FoundModel;
use crate::cli::stop;
use crate::config::Config;
use crate::domain::{Clock, DeviceName, ErrorCode, ImageRequest, ModelKind, PreviewDemand, SystemClock, TaskId};
use crate::execution::results::encode_pictures;
use crate::execution::{
    DeviceTask, Executor, ExecutorHealth, ExecutorOptions, Report, TaskEvent, TaskFailure, TaskOutput, WorkerKind, open_executors,
};
use crate::media::encode::PngText;
use crate::models::parameters::resolve_image_request;
use crate::models::{IdentityCache, files_fingerprint};

/// Checks the request, loads the model, makes the pictures and writes the files.
pub(super) fn generate(
    config: &Config,
    arguments: &ImageArguments,
    sources: Sources,
    output: &OutputFile,
    out: &mut (dyn Write + Send),
) -> Outcome {
    let model = crate::cli::models::find_among_all(config, "--model", &arguments.model)?;
    if model.description.kind != ModelKind::Image {
        return Err(Failure::input("--model", format!("'{}' makes films, not pictures; see 'generate video'", arguments.model)));
    }
    let mut request = resolve_image_request(parameters(arguments, &sources), &model.description, getrandom::u64().or_fail()?)
        .map_err(|error| refused(&error))?;
    let name = |path: &Option<PathBuf>| path.as_deref().and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned());
    (request.init_image, request.mask) = (name(&arguments.init_image), name(&arguments.mask));

    let work = WorkDirectory::make()?;
    let made = run(config, &model, &request, sources, &work.0)?;
    write_pictures(&made, &request, &model, output, out)
}

/// Makes the pictures: on the CPU in this process, on CUDA in a worker process. The work directory holds what the device leaves.
fn run(
    config: &Config,
    model: &FoundModel,
    request: &ImageRequest,
    sources: Sources,
    work_directory: &Path,
) -> Outcome<TaskOutput> {
    let runtime = crate::cli::runtime()?;
    let interrupt = stop::on_signal(&runtime)?;
    let task = DeviceTask {
        id: TaskId::generate(),
        unload: Vec::new(),
        work_directory: work_directory.to_owned(),
        work: request.clone().into(),
        model_directory: model.directory.clone(),
        model_fingerprint: files_fingerprint(&model.directory),
        init_image: sources.init_image.map(|image| Arc::new(picture(image))),
        mask: sources.mask.map(|mask| Arc::new(picture(mask))),
        interrupt,
        previews: PreviewDemand::default(),
    };
    let progress = ProgressDisplay::start("loading the model");
    runtime.block_on(async {
        let executor = first_executor(config)?;
        let made = attend(&*executor, task, &progress).await;
        executor.shut_down().await;
        made
    })
}

/// The first configured device: on the CPU in this process, on CUDA in a worker process.
pub(super) fn first_executor(config: &Config) -> Outcome<Arc<dyn Executor>> {
    let device = *config.devices.first().ok_or_else(|| Failure::Other(anyhow!("no device is configured")))?;
    let workers = if matches!(device, DeviceName::Cuda(_)) { WorkerKind::Process } else { WorkerKind::Thread };
    // A single picture leaves no weights behind: what is called `data` here may be somebody's own.
    let options = ExecutorOptions { workers, packed_directory: None, ..compute::executor_options(config) };
    let executor = open_executors(&[device], &options).or_fail()?.pop();
    executor.ok_or_else(|| Failure::Other(anyhow!("no device is configured")))
}

/// Runs a task to its end.
pub(super) async fn attend(executor: &dyn Executor, task: DeviceTask, progress: &ProgressDisplay) -> Outcome<TaskOutput> {
    let mut status = executor.status();
    let opened = status.wait_for(|status| status.health != ExecutorHealth::Starting).await.or_fail()?.health.clone();
    if let ExecutorHealth::Restarting { reason, .. } = opened {
        return Err(Failure::Other(anyhow!("{}: {reason}", executor.name())));
    }
    let mut events = executor.start(task).or_fail()?;
    while let Some(event) = events.recv().await {
        match event {
            TaskEvent::Report(Report::Evaluated { progress: at, .. }) => progress.steps(at.step.into(), at.steps.into()),
            TaskEvent::Report(_) => {}
            TaskEvent::Ended(ended) => return ended.map_err(failed),
        }
    }
    Err(Failure::Other(anyhow!("{} ended without a result", executor.name())))
}

fn failed(failure: TaskFailure) -> Failure {
    match failure {
        // What the engine refuses about the request or the model's files is the user's input; everything else is not.
        TaskFailure::Failed(error) if error.code == ErrorCode::InvalidRequest => Failure::Input(error.message),
        TaskFailure::Failed(error) if error.code == ErrorCode::ModelUnavailable => Failure::input("--model", error.message),
        other => Failure::Other(other.into()),
    }
}

fn write_pictures(
    made: &TaskOutput,
    request: &ImageRequest,
    model: &FoundModel,
    output: &OutputFile,
    out: &mut (dyn Write + Send),
) -> Outcome {
    let pngs = if output.takes("image/png") {
        // The manifest names the weights by their hashes, so they are read once more.
        let identity = IdentityCache::default().identify(&model.directory).or_fail()?;
        encode_pictures(made, request, &identity, SystemClock.now()).or_fail()?
    } else {
        Vec::new()
    };
    for (index, picture) in made.pictures.iter().enumerate() {
        let path = if let Some(encoded) = pngs.get(index) {
            output.write_bytes(index, &encoded.png)?
        } else {
            let picture = picture.clone().read().or_fail()?;
            let finished = FinishedPicture { width: picture.width as u32, height: picture.height as u32, rgb: &picture.bytes };
            output.write_picture(index, finished, &PngText::default())?
        };
        report(out, &path, request.seed.wrapping_add(index as u64))?;
    }
    for warning in &made.facts.warnings {
        writeln!(out, "note: {warning}").or_fail()?;
    }
    Ok(())
}

/// A directory for the time of one run; removed with everything in it.
pub(in crate::cli) struct WorkDirectory(pub(in crate::cli) PathBuf);

impl WorkDirectory {
    /// Makes one.
    pub(in crate::cli) fn make() -> Outcome<Self> {
        let path = std::env::temp_dir().join(format!("framewright-{}-{:016x}", std::process::id(), getrandom::u64().or_fail()?));
        std::fs::create_dir(&path).or_fail()?;
        Ok(Self(path))
    }

    /// Leaves it there.
    pub(in crate::cli) fn keep(mut self) -> PathBuf {
        std::mem::take(&mut self.0)
    }
}

impl Drop for WorkDirectory {
    fn drop(&mut self) {
        // What stays behind lies in the directory for temporary files.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn picture(image: InitImage) -> RgbPicture {
    let pixels = image.pixels;
    RgbPicture { height: pixels.height as usize, width: pixels.width as usize, bytes: pixels.rgb }
}
