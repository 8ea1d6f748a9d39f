//! The film: its scenes joined, encoded, with sound and with a manifest.

use std::path::Path;

use super::error::FilmError;
use super::manifest::manifest;
use super::{FilmTask, HostProgress};
use crate::domain::film::Transition;
use crate::domain::{Artifact, JobResult, Spent, UnixMs, VideoCodec, VideoFacts};
use crate::execution::results::{Attempt, THUMBNAIL_SIDE, file_sha256};
use crate::media::video::{self, EncoderPreference, FilmMetadata, MediaError, SceneClip, StillFormat, VideoSettings};
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
    encoder: EncoderPreference,
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
    let interrupted = || progress.is_interrupted();
    let written = encoded(encoder, |encoder| {
        let settings = VideoSettings { encoder, ..settings.clone() };
        let parts = video::Film { scenes: &scenes, settings: &settings, audio: audio.as_deref(), metadata: &metadata };
        video::assemble(&draft, &parts, &mut |done, _| (progress.told)(done as u32, total), &interrupted)
    })?;

    let (file, at) = shown(&draft, film.codec, &scenes, film.frames() / 2);
    let thumbnail = video::thumbnail(file, at, THUMBNAIL_SIDE, &interrupted)?;
    // A scene that is not all of the film would make a sheet that is not the film's.
    let sheet = match file {
        file if file == draft || scenes.len() == 1 => Some(sheet(file, &interrupted)?),
        _ => None,
    };
    let sha256 = file_sha256(&draft).map_err(FilmError::Frame)?;
    storage.keep(&key)?;
    let (thumbnail_key, sheet_key) = (thumbnail_key(&key), sheet.is_some().then(|| sprite_sheet_key(&key)));
    let mut pictures: Vec<(&str, &[u8])> = vec![(&thumbnail_key, &thumbnail)];
    if let (Some(key), Some(sheet)) = (&sheet_key, &sheet) {
        pictures.push((key, sheet));
    }
    storage.put_together(&pictures)?;

    document["film"] = serde_json::json!({
        "encoder": written.encoder,
        "audio_encoder": written.audio_encoder,
        "codec": film.codec,
        "frames": written.frames,
        "frame_rate": film.frame_rate,
        "width": film.width,
        "height": film.height,
    });
    if let Some(warning) = refusal(encoder, film.codec, written.encoder)
        && let Some(warnings) = document["warnings"].as_array_mut()
    {
        warnings.push(warning.into());
    }
    let duration_ms = film.duration_ms();
    let small = thumbnail.len() + sheet.map_or(0, |sheet| sheet.len());
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
            sprite_sheet_key: sheet_key,
        }),
        key,
    };
    Ok((JobResult { artifacts: vec![artifact], manifest: document }, spent))
}

/// What `encode` gives. Where nobody minds which encoder it is, one that fails on the way, as a GPU's may that runs out of memory or of
/// sessions, is followed by the processor's, once.
fn encoded<T>(
    preference: EncoderPreference,
    mut encode: impl FnMut(EncoderPreference) -> Result<T, MediaError>,
) -> Result<T, MediaError> {
    match encode(preference) {
        Err(error @ MediaError::Failed { .. }) if preference == EncoderPreference::Auto => {
            tracing::warn!(%error, "A film is encoded once more, by the processor: {error}");
            encode(EncoderPreference::Software)
        }
        encoded => encoded,
    }
}

/// What is to be said of a film that the GPU should have encoded and did not.
fn refusal(preference: EncoderPreference, codec: VideoCodec, used: &str) -> Option<String> {
    let has_gpu_encoder = matches!(codec, VideoCodec::H264 | VideoCodec::H265);
    (preference == EncoderPreference::Hardware && has_gpu_encoder && !used.ends_with("_nvenc"))
        .then(|| format!("the film was encoded by {used} on the processor: the GPU's encoder did not open"))
}

/// Where frame `at` of the film can be seen, and which frame it is there. FFmpeg writes animated WebP and does not read it: then it is seen
/// in the scene that it belongs to.
fn shown<'a>(film: &'a Path, codec: VideoCodec, scenes: &'a [SceneClip], at: u64) -> (&'a Path, u64) {
    if codec != VideoCodec::WebP {
        return (film, at);
    }
    let mut before = 0;
    for scene in scenes {
        if at < before + scene.frames {
            return (&scene.path, at - before);
        }
        before += scene.frames;
    }
    (film, at)
}

/// A JPEG of small pictures of a film.
pub(in crate::execution) fn sheet(film: &Path, interrupted: &dyn Fn() -> bool) -> Result<Vec<u8>, MediaError> {
    let (columns, rows, tile) = SHEET;
    let sheet = video::sprite_sheet(film, columns, rows, tile, interrupted)?;
    video::encode_still(&sheet.sheet, StillFormat::Jpeg { quality: SHEET_QUALITY })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_encoder_that_was_not_used_is_mentioned() {
        let [hardware, software] = [EncoderPreference::Hardware, EncoderPreference::Software];
        assert_eq!(refusal(EncoderPreference::Auto, VideoCodec::H264, "libx264"), None, "nobody minds");
        assert_eq!(refusal(software, VideoCodec::H264, "libx264"), None);
        assert_eq!(refusal(hardware, VideoCodec::H264, "h264_nvenc"), None);
        assert_eq!(refusal(hardware, VideoCodec::Gif, "gif"), None, "no GPU has one");
        let refused = refusal(hardware, VideoCodec::H265, "libx265").unwrap();
        assert!(refused.contains("libx265 on the processor"), "{refused}");
    }

    #[test]
    fn the_processor_takes_over_once_where_nobody_minds() {
        use EncoderPreference::{Auto, Hardware, Software};
        let failed = || MediaError::Failed { doing: "encoding", reason: "out of memory".to_owned() };
        let full = || MediaError::StorageFull { file: "film.mp4".to_owned() };
        for (preference, error, expected) in [
            (Auto, failed as fn() -> MediaError, vec![Auto, Software]),
            (Auto, full, vec![Auto]),
            (Auto, || MediaError::Interrupted, vec![Auto]),
            (Hardware, failed, vec![Hardware]),
            (Software, failed, vec![Software]),
        ] {
            let mut asked = Vec::new();
            let outcome = encoded(preference, |encoder| {
                asked.push(encoder);
                if encoder == Software && preference == Auto { Ok(()) } else { Err(error()) }
            });
            assert_eq!((outcome.is_ok(), &asked), (expected.len() == 2, &expected), "{preference:?}, {}", error());
        }
        assert!(matches!(encoded(Auto, |_| Err::<(), _>(failed())), Err(MediaError::Failed { .. })));
        assert_eq!(encoded(Auto, Ok).unwrap(), Auto);
    }

    #[test]
    fn a_frame_is_seen_where_it_can_be_read() {
        let scene = |name: &str, frames| SceneClip { path: name.into(), frames, transition: video::Transition::Cut };
        let scenes = [scene("a", 10), scene("b", 20)];
        let film = Path::new("film");
        assert_eq!(shown(film, VideoCodec::H264, &scenes, 15), (film, 15));
        assert_eq!(shown(film, VideoCodec::WebP, &scenes, 9), (Path::new("a"), 9));
        assert_eq!(shown(film, VideoCodec::WebP, &scenes, 15), (Path::new("b"), 5));
    }
}
