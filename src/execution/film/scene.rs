//! A scene: its clips at the film's frame rate and size, seen by a moving camera.

use std::path::PathBuf;

use serde_json::json;

use super::clip::Chain;
use super::error::FilmError;
use super::networks::{Betweens, Enlarger, Studio};
use super::{FilmTask, FilmTools, HostProgress};
use crate::domain::camera::{CameraPath, CameraScript};
use crate::domain::film::Interpolation;
use crate::domain::{Artifact, FilmRequest, FrameRate, JobResult, Spent, VideoFacts};
use crate::execution::results::{Attempt, THUMBNAIL_SIDE, file_sha256, scene_codec};
use crate::media::camera;
use crate::media::video::{
    self, Between, FilmMetadata, Fit, Frame, MediaError, RateConversion, SourceTiming, VideoSettings, VideoWriter,
};
use crate::storage::{ArtifactStorage, thumbnail_key};

/// Quality of a stored scene: what is encoded once more must lose nothing that shows.
const SCENE_QUALITY: u8 = 92;
/// Most pixels of frames that are enlarged before others are made between them: RIFE takes some 400 bytes a pixel.
const MOST_ENLARGED_PIXELS: u64 = 1 << 22;

/// Whether the source is enlarged, rather than the frames that are made of it. The network that enlarges costs most by far, so it is shown
/// the fewer frames, as long as what is made between them fits into memory.
fn enlarges_source(film: &FilmRequest, source_frames: u32, made: u32) -> bool {
    source_frames <= made && u64::from(film.width) * u64::from(film.height) <= MOST_ENLARGED_PIXELS
}

/// Makes a scene of the clips that the tasks before have left. Memory: a dozen frames, the weights of the networks that it needs, and what
/// one of these takes to compute: before another one's turn its activations go back to the system, but for two frames' features.
pub(super) fn make(
    index: usize,
    task: &FilmTask<'_>,
    attempt: &Attempt,
    storage: &ArtifactStorage,
    tools: &FilmTools,
    progress: &HostProgress<'_>,
) -> Result<(JobResult, Spent), FilmError> {
    let film = task.film;
    let scene = film.scenes.get(index).ok_or(FilmError::Missing("the scene"))?;
    let clips: Vec<&Artifact> = task.inputs().filter_map(|result| result.artifacts.first()).collect();
    let paths = clips.iter().map(|clip| storage.local_path(&clip.key)).collect::<Result<Vec<PathBuf>, _>>()?;
    if paths.is_empty() {
        return Err(FilmError::Missing("the scene's clip"));
    }
    let (made, source_frames) = (film.frames_made(index), film.source_frames(index));
    let script = scene.camera.as_deref().map(CameraScript::from_field).transpose();
    let script = script.map_err(|error| MediaError::Setting { field: "camera", reason: error.to_string() })?;
    let of = |script| CameraPath::new(script, u64::from(made), film.frame_rate, film.width, film.height, scene.seed);
    let camera = script.as_ref().map(of);

    let key = attempt.key(0);
    let draft = storage.draft(&key)?;
    let codec = scene_codec(film);
    let settings = VideoSettings { quality: SCENE_QUALITY, ..VideoSettings::new(film.width, film.height, film.frame_rate) }
        .with_codec(codec);
    let mut writer = VideoWriter::create(&draft, &settings, &FilmMetadata::default())?;
    let is_interrupted = || progress.is_interrupted();
    let studio = Studio::new(film, tools, progress.interrupt);
    let enlarger = || Enlarger::new(&studio);
    let is_early = enlarges_source(film, source_frames, made);
    let mut early = (film.is_enlarged() && is_early).then(enlarger);
    let mut late = (film.is_enlarged() && !is_early).then(enlarger);
    let mut source_size = None;
    let mut source = Chain::new(&paths).map(|frame| {
        let frame = frame?;
        source_size.get_or_insert((frame.width(), frame.height()));
        let Some(enlarger) = &mut early else { return Ok(frame) };
        Ok(video::resize(&enlarger.enlarge(frame)?, film.width, film.height, Fit::Fill)?)
    });
    let mut emit = |frame: Frame| {
        let frame = match &mut late {
            Some(enlarger) => enlarger.enlarge(frame)?,
            None => frame,
        };
        let sized = video::resize(&frame, film.width, film.height, Fit::Fill)?;
        let seen = match &camera {
            Some(path) => camera::render(&sized, &path.pose(writer.frames()))?,
            None => sized,
        };
        writer.push(&seen)?;
        (progress.told)(writer.frames() as u32, made);
        Ok::<(), FilmError>(())
    };
    let conversion = RateConversion {
        source_frames: u64::from(source_frames),
        frames: u64::from(made),
        timing: SourceTiming::At { from: FrameRate::new(film.clips.fps, 1).unwrap_or(FrameRate::FILM), to: film.frame_rate },
        motion: true,
    };
    let mut betweens = Betweens::new(&studio);
    let interpolation = match film.interpolation {
        Interpolation::None => {
            for _ in 0..made {
                if is_interrupted() {
                    return Err(FilmError::Interrupted);
                }
                emit(source.next().ok_or(FilmError::Missing("a frame of the scene's clip"))??)?;
            }
            "none"
        }
        Interpolation::MotionCompensated => video::interpolate(&mut source, &conversion, &mut emit, &is_interrupted)?.name(),
        Interpolation::Rife => {
            let mut make = |between: &Between<'_>| betweens.make(between);
            match video::interpolate_by(&mut source, &conversion, &mut make, &mut emit, &is_interrupted)? {
                0 => "none",
                _ => "rife",
            }
        }
    };
    let enlarged = early.or(late);
    let written = writer.finish()?;
    let thumbnail = video::thumbnail(&draft, u64::from(scene.frames) / 2, THUMBNAIL_SIDE, &is_interrupted)?;
    let sha256 = file_sha256(&draft).map_err(FilmError::Frame)?;
    storage.keep(&key)?;
    storage.put_together(&[(thumbnail_key(&key).as_str(), &thumbnail)])?;

    let is_resized = source_size != Some((film.width, film.height));
    let manifest = json!({
        "frames": written.frames,
        "clips": clips.len(),
        "source_frames": source_frames,
        "interpolation": interpolation,
        "interpolation_network": betweens.facts(),
        "scaling": match &enlarged {
            Some(_) => "real_esrgan",
            None if is_resized => "lanczos",
            None => "none",
        },
        "scaling_network": enlarged.as_ref().map(Enlarger::facts),
        "camera": scene.camera.as_ref().map(|commands| json!({ "commands": commands, "made_by": "virtual camera over the finished frames" })),
    });
    let spent = Spent { storage_bytes: (written.bytes + thumbnail.len() as u64) as i64, ..Spent::default() };
    let artifact = Artifact {
        thumbnail_key: thumbnail_key(&key),
        media_type: codec.media_type().to_owned(),
        width: film.width,
        height: film.height,
        bytes: written.bytes,
        sha256,
        seed: scene.seed,
        video: Some(VideoFacts {
            frames: written.frames,
            frame_rate: film.frame_rate,
            duration_ms: (film.frame_rate.seconds_of(written.frames) * 1000.0).round() as i64,
            codec: codec.name().to_owned(),
            sprite_sheet_key: None,
        }),
        key,
    };
    Ok((JobResult { artifacts: vec![artifact], manifest }, spent))
}

#[cfg(test)]
#[path = "scene_tests.rs"]
mod tests;
