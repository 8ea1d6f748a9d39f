//! Films made without a server: the tasks of the plan one after the other, by the same code that a server runs.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use anyhow::anyhow;
use framewright_engine::ops::Interrupt;
use framewright_engine::vision::RgbPicture;

use super::super::local::{WorkDirectory, attend, first_executor};
use super::super::own_job::job;
use super::super::progress::ProgressDisplay;
use super::output::FilmFile;
use super::{Order, VideoArguments};
use crate::app::films::film_tools;
use crate::cli::failure::{Failure, OrFail, Outcome};
use crate::cli::models::{self, FoundModel};
use crate::config::Config;
use crate::domain::film::InputFile;
use crate::domain::plan::{PlannedTask, TaskRole, plan};
use crate::domain::{Clock, FilmRequest, JobRequest, JobResult, ModelKind, PreviewDemand, SystemClock, TaskId};
use crate::execution::film::{self, FilmTask, FilmTools, FirstPicture, HostProgress, first_picture};
use crate::execution::results::{Attempt, clip_manifest, encode_pictures, manifest, store_pictures};
use crate::execution::{DeviceTask, DeviceWork, Executor, TaskOutput};
use crate::media::decode::decode_image;
use crate::media::encode::{PngText, encode_png};
use crate::models::film_parameters::resolve_film_request;
use crate::models::{IdentityCache, ModelIdentity, files_fingerprint};
use crate::storage::ArtifactStorage;

/// Checks the request, loads the models, makes the film and writes the file.
pub(super) fn generate(
    config: &Config,
    arguments: &VideoArguments,
    order: Order,
    output: &FilmFile,
    out: &mut (dyn Write + Send),
) -> Outcome {
    let model = models::find_among_all(config, "--model", &arguments.model)?;
    let needs_keyframes = order.parameters.scenes.iter().any(|scene| scene.image_size.is_none());
    let named = arguments.image_model.as_deref();
    // One that is named is looked for even where nothing needs it.
    let image_model = if needs_keyframes || named.is_some() { image_model(config, named)? } else { None };
    let tools = film_tools(config)?;
    let Order { parameters, images, audio } = order;
    let film = resolve_film_request(
        parameters,
        &model.description,
        image_model.as_ref().map(|model| &model.description),
        &tools.installed(),
        getrandom::u64().or_fail()?,
    )
    .map_err(|error| arguments.refused(&error))?;
    output.check(film.codec)?;

    let directory = WorkDirectory::make()?;
    let storage = ArtifactStorage::local(&directory.0.join("storage")).or_fail()?;
    let film = with_files(film, &storage, images, audio)?;
    let (work, frames) = (&*directory.0, arguments.frames_dir.as_deref());
    let made = Studio { config, model, image_model, storage, tools, work, frames }.make(film, output)?;
    report(&made, output, out)
}

/// The model of first pictures: the one that is named, else the configured one, else the only one.
fn image_model(config: &Config, named: Option<&str>) -> Outcome<Option<FoundModel>> {
    let (flag, name) = match (named, &config.models.default_image) {
        (Some(named), _) => ("--image-model", named.to_owned()),
        (None, Some(id)) => ("defaults.image", id.to_string()),
        (None, None) => match models::catalog(config)?.default_model(ModelKind::Image) {
            Some(description) => ("--image-model", description.id.to_string()),
            None => return Ok(None),
        },
    };
    let found = models::find(config, flag, &name)?;
    if found.description.kind == ModelKind::Image {
        return Ok(Some(found));
    }
    Err(Failure::input(flag, format!("'{name}' makes films, not pictures")))
}

/// Puts the files that came with the request where its tasks find them.
fn with_files(
    mut film: FilmRequest,
    storage: &ArtifactStorage,
    images: Vec<Option<Vec<u8>>>,
    audio: Option<Vec<u8>>,
) -> Outcome<FilmRequest> {
    let put = |key: String, bytes: &[u8]| {
        storage.put_together(&[(&key, bytes)]).or_fail()?;
        Ok::<_, Failure>(InputFile { sha256: crate::domain::Sha256Digest::of(bytes).to_string(), key })
    };
    for (index, (scene, image)) in film.scenes.iter_mut().zip(images).enumerate() {
        let Some(file) = image else { continue };
        let picture = decode_image(&file).or_fail()?;
        let png = encode_png(picture.width, picture.height, &picture.rgb, &PngText::default()).or_fail()?;
        scene.init_image = Some(put(format!("inputs/{index}.png"), &png)?);
    }
    if let Some(audio) = audio {
        film.audio = Some(put("inputs/audio.bin".to_owned(), &audio)?);
    }
    Ok(film)
}

fn report(result: &JobResult, output: &FilmFile, out: &mut dyn Write) -> Outcome {
    let film = result.artifacts.first().ok_or_else(|| Failure::Other(anyhow!("the film has no file")))?;
    let frames = film.video.as_ref().map_or(0, |video| video.frames);
    writeln!(out, "{} ({frames} frames, seed {})", output.path().display(), film.seed).or_fail()?;
    super::super::notes(&result.manifest, out)
}

/// Everything that tasks need.
struct Studio<'a> {
    config: &'a Config,
    model: FoundModel,
    image_model: Option<FoundModel>,
    storage: ArtifactStorage,
    tools: FilmTools,
    work: &'a Path,
    frames: Option<&'a Path>,
}

impl Studio<'_> {
    /// Makes all tasks in their order; gives what the last one left.
    fn make(&self, film: FilmRequest, output: &FilmFile) -> Outcome<JobResult> {
        let request = JobRequest::from(film);
        let JobRequest::Film(film) = &request else { return Err(Failure::Other(anyhow!("not a film"))) };
        let plan = plan(&request);
        let job = job(&request);
        let mut finished: BTreeMap<u32, JobResult> = BTreeMap::new();
        let progress = ProgressDisplay::start("loading the model");
        let mut frames_written = 0;
        let runtime = crate::cli::runtime()?;
        let interrupt = crate::cli::stop::on_signal(&runtime)?;
        runtime.block_on(async {
            let executor = first_executor(self.config)?;
            for (position, planned) in plan.iter().enumerate() {
                if interrupt.is_cancelled() {
                    return Err(Failure::Other(anyhow!("stopped")));
                }
                let position = position as u32;
                progress.task(&title(film, planned.role));
                let task = FilmTask { film, plan: &plan, position, finished: &finished };
                let attempt = Attempt::new(&job, position, 1);
                let result = if let Some(work) = work_of(film, planned.role) {
                    let made = self.on_device(&*executor, &task, planned, work.clone(), &interrupt, &progress).await?;
                    if let (Some(directory), TaskRole::Clip { clip, .. }) = (self.frames, planned.role) {
                        frames_written = write_frames(directory, &made, clip > 0, frames_written)?;
                    }
                    self.keep(&attempt, work, made)?
                } else {
                    let told = |done: u32, of: u32| progress.steps(done.into(), of.into());
                    let host = HostProgress { interrupt: &interrupt, told: &told };
                    film::make(&task, &attempt, &self.storage, &self.tools, SystemClock.now(), &host).or_fail()?.0
                };
                finished.insert(position, result);
            }
            executor.shut_down().await;
            Ok::<_, Failure>(())
        })?;
        let result = finished.pop_last().map(|(_, result)| result);
        let result = result.ok_or_else(|| Failure::Other(anyhow!("the film has no tasks")))?;
        if let Some(film) = result.artifacts.first() {
            output.take(&self.storage.local_path(&film.key).or_fail()?)?;
        }
        Ok(result)
    }

    async fn on_device(
        &self,
        executor: &dyn Executor,
        task: &FilmTask<'_>,
        planned: &PlannedTask,
        work: DeviceWork,
        interrupt: &Interrupt,
        progress: &ProgressDisplay,
    ) -> Outcome<TaskOutput> {
        let model = self.model_of(&work)?;
        let init_image = match first_picture(task, planned.role) {
            None => None,
            Some(FirstPicture::Picture(key)) => {
                let bytes = std::fs::read(self.storage.local_path(&key).or_fail()?).or_fail()?;
                let picture = decode_image(&bytes).or_fail()?;
                let (width, height) = (picture.width as usize, picture.height as usize);
                Some(Arc::new(RgbPicture { height, width, bytes: picture.rgb }))
            }
            Some(FirstPicture::LastFrameOf(key)) => {
                Some(Arc::new(film::last_frame(&self.storage.local_path(&key).or_fail()?).or_fail()?))
            }
        };
        let task = DeviceTask {
            id: TaskId::generate(),
            unload: Vec::new(),
            work_directory: self.work.join(format!("task-{}", task.position)),
            work,
            model_directory: model.directory.clone(),
            model_fingerprint: files_fingerprint(&model.directory),
            init_image,
            mask: None,
            interrupt: interrupt.clone(),
            previews: PreviewDemand::default(),
        };
        attend(executor, task, progress).await
    }

    fn model_of(&self, work: &DeviceWork) -> Outcome<&FoundModel> {
        match work {
            DeviceWork::Clip(_) => Ok(&self.model),
            DeviceWork::Pictures(_) => {
                self.image_model.as_ref().ok_or_else(|| Failure::Other(anyhow!("there is no model for the first picture")))
            }
        }
    }

    /// Stores what a device has made, as a server does.
    fn keep(&self, attempt: &Attempt, work: DeviceWork, made: TaskOutput) -> Outcome<JobResult> {
        let identity = self.identity(&work)?;
        let now = SystemClock.now();
        match work {
            DeviceWork::Pictures(request) => {
                let pictures = encode_pictures(&made, &request, &identity, now).or_fail()?;
                let artifacts = store_pictures(&self.storage, attempt, &pictures).or_fail()?;
                Ok(JobResult { artifacts, manifest: manifest(&request, request.seed, &identity, &made.facts, now) })
            }
            DeviceWork::Clip(request) => {
                let manifest = clip_manifest(&request, &identity, &made.facts, now);
                let artifact = film::store_clip(&self.storage, attempt, &request, made.pictures).or_fail()?;
                Ok(JobResult { artifacts: vec![artifact], manifest })
            }
        }
    }

    fn identity(&self, work: &DeviceWork) -> Outcome<ModelIdentity> {
        let directory = &self.model_of(work)?.directory;
        if directory.is_file() {
            return Ok(ModelIdentity::default());
        }
        IdentityCache::default().identify(directory).or_fail()
    }
}

fn work_of(film: &FilmRequest, role: TaskRole) -> Option<DeviceWork> {
    match role {
        TaskRole::Keyframe { scene } => film.keyframe(scene).map(DeviceWork::Pictures),
        TaskRole::Clip { scene, clip } => Some(DeviceWork::Clip(film.clip(scene, clip))),
        TaskRole::Pictures | TaskRole::Scene { .. } | TaskRole::Film | TaskRole::Remote => None,
    }
}

fn title(film: &FilmRequest, role: TaskRole) -> String {
    let of = film.scenes.len();
    match role {
        TaskRole::Keyframe { scene } => format!("scene {} of {of}: first picture", scene + 1),
        TaskRole::Clip { scene, clip } => format!("scene {} of {of}: clip {} of {}", scene + 1, clip + 1, film.clips_of(scene)),
        TaskRole::Scene { scene } => format!("scene {} of {of}: encoding", scene + 1),
        TaskRole::Pictures | TaskRole::Film | TaskRole::Remote => "joining the scenes".to_owned(),
    }
}

/// Writes frames as they left the decoder; the first frame of a clip that goes on is the last one of the clip before. Gives the number of
/// the next file.
fn write_frames(directory: &Path, made: &TaskOutput, goes_on: bool, mut number: usize) -> Outcome<usize> {
    for picture in made.pictures.iter().skip(usize::from(goes_on)) {
        let picture = picture.clone().read().or_fail()?;
        let png = encode_png(picture.width as u32, picture.height as u32, &picture.bytes, &PngText::default()).or_fail()?;
        std::fs::write(directory.join(format!("{number:04}.png")), png).or_fail()?;
        number += 1;
    }
    Ok(number)
}
