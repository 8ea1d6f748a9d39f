//! The film: its scenes joined, encoded, with sound and with a manifest.

use super::error::FilmError;
use super::manifest::manifest;
use super::{FilmTask, HostProgress};
use crate::domain::film::Transition;
use crate::domain::{Artifact, JobResult, Spent, UnixMs, VideoFacts};
use crate::execution::results::{Attempt, THUMBNAIL_SIDE, file_sha256};
use crate::media::video::{self, FilmMetadata, SceneClip, StillFormat, VideoSettings};
use crate::storage::{ArtifactStorage, sprite_sheet_key, thumbnail_key};

/// Small pictures on a sheet, across and down, and the width of each in pixels.
const SHEET: (u32, u32, u32) = (5, 5, 160);
/// Of the sheet's JPEG, 1 to 100.
const SHEET_QUALITY: u8 = 85;
/// Characters of a title.
const MOST_TITLE: usize = 200;

/// Makes the film of the scenes that the tasks before have left.
pub(super) fn make(
    task: &FilmTask<'_>,
    attempt: &Attempt,
    storage: &ArtifactStorage,
    now: UnixMs,
    progress: &HostProgress<'_>,
) -> Result<(JobResult, Spent), FilmError> {
    let film = task.film;
    let made: Vec<&Artifact> = task.inputs().filter_map(|result| result.artifacts.first()).collect();
    if made.len() != film.scenes.len() {
        return Err(FilmError::Missing("a scene"));
    }
    let last = film.scenes.len().saturating_sub(1);
    let scene = |(index, artifact): (usize, &&Artifact)| {
        let scene = &film.scenes[index];
        let transition = match scene.transition {
            _ if index == last => video::Transition::Cut,
            Transition::Cut => video::Transition::Cut,
            Transition::Crossfade { frames } => video::Transition::Crossfade { frames },
            Transition::Fade { frames } => video::Transition::Fade { frames },
        };
        Ok(SceneClip { path: storage.local_path(&artifact.key)?, frames: u64::from(scene.frames), transition })
    };
    let scenes = made.iter().enumerate().map(scene).collect::<Result<Vec<_>, FilmError>>()?;
    let audio = film.audio.as_ref().map(|audio| storage.local_path(&audio.key)).transpose()?;
    let settings = VideoSettings::new(film.width, film.height, film.frame_rate).with_codec(film.codec);
    let mut document = manifest(task, now);
    let metadata = FilmMetadata {
        title: film.scenes.first().map(|scene| scene.prompt.chars().take(MOST_TITLE).collect()),
        comment: Some(document.to_string()),
    };
    let key = attempt.key(0);
    let draft = storage.draft(&key)?;
    let total = u32::try_from(film.frames()).unwrap_or(u32::MAX);
    let parts = video::Film { scenes: &scenes, settings: &settings, audio: audio.as_deref(), metadata: &metadata };
    let interrupted = || progress.is_interrupted();
    let written = video::assemble(&draft, &parts, &mut |done, _| (progress.told)(done as u32, total), &interrupted)?;

    let thumbnail = video::thumbnail(&draft, film.frames() / 2, THUMBNAIL_SIDE, &interrupted)?;
    let (columns, rows, tile) = SHEET;
    let sheet = video::sprite_sheet(&draft, columns, rows, tile, &interrupted)?;
    let sheet = video::encode_still(&sheet.sheet, StillFormat::Jpeg { quality: SHEET_QUALITY })?;
    let sha256 = file_sha256(&draft).map_err(FilmError::Frame)?;
    storage.keep(&key)?;
    let (thumbnail_key, sheet_key) = (thumbnail_key(&key), sprite_sheet_key(&key));
    storage.put_together(&[(thumbnail_key.as_str(), &thumbnail), (sheet_key.as_str(), &sheet)])?;

    document["film"] = serde_json::json!({
        "encoder": written.encoder,
        "audio_encoder": written.audio_encoder,
        "codec": film.codec,
        "frames": written.frames,
        "frame_rate": film.frame_rate,
        "width": film.width,
        "height": film.height,
    });
    let duration_ms = film.duration_ms();
    let small = thumbnail.len() + sheet.len();
    let spent =
        Spent { videos: 1, video_ms: duration_ms, storage_bytes: (written.bytes + small as u64) as i64, ..Spent::default() };
    let artifact = Artifact {
        thumbnail_key,
        media_type: film.codec.media_type().to_owned(),
        width: film.width,
        height: film.height,
        bytes: written.bytes,
        sha256,
        seed: film.scenes.first().map_or(0, |scene| scene.seed),
        video: Some(VideoFacts {
            frames: written.frames,
            frame_rate: film.frame_rate,
            duration_ms,
            codec: film.codec.name().to_owned(),
            sprite_sheet_key: Some(sheet_key),
        }),
        key,
    };
    Ok((JobResult { artifacts: vec![artifact], manifest: document }, spent))
}
