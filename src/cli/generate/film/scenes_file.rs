//! `--scenes`: a film of several scenes in YAML.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::read_picture;
use crate::cli::failure::{Failure, Outcome};
use crate::config::parse_yaml;
use crate::models::film_parameters::{SceneParameters, TransitionParameters};

/// Longest file, bytes.
const MOST_BYTES: u64 = 4 << 20;

/// How the film shall be; flags go before it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct VideoConfig {
    pub(super) fps: Option<f64>,
    pub(super) resolution: Option<String>,
    pub(super) width: Option<i64>,
    pub(super) height: Option<i64>,
    pub(super) upscale: Option<String>,
    pub(super) interpolation: Option<String>,
    pub(super) codec: Option<String>,
    /// Relative to the file.
    pub(super) audio: Option<PathBuf>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Document {
    video_config: VideoConfig,
    scenes: Vec<SceneEntry>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct SceneEntry {
    id: Option<String>,
    prompt: Option<String>,
    negative_prompt: Option<String>,
    duration: Option<f64>,
    /// Relative to the file.
    image: Option<PathBuf>,
    seed: Option<u64>,
    camera: Option<String>,
    transition: Option<TransitionEntry>,
}

#[derive(Debug, Deserialize)]
#[serde(
    untagged,
    expecting = "must be a word (cut, crossfade, fade) or an object with 'type' and, if need be, 'duration' in seconds"
)]
enum TransitionEntry {
    Name(String),
    Timed {
        #[serde(rename = "type")]
        kind: String,
        duration: Option<f64>,
    },
}

/// What a file of scenes says.
#[derive(Debug)]
pub(super) struct ScenesFile {
    /// The scenes, in order.
    pub(super) scenes: Vec<SceneParameters>,
    /// The bytes of each scene's picture, for those that name one.
    pub(super) images: Vec<Option<Vec<u8>>>,
    /// How the film shall be.
    pub(super) config: VideoConfig,
}

/// Reads a file of scenes and the pictures that it names.
pub(super) fn read(path: &Path) -> Outcome<ScenesFile> {
    let refuse = |problem: String| Failure::input("--scenes", format!("{}: {problem}", path.display()));
    let metadata = std::fs::metadata(path).map_err(|error| refuse(error.to_string()))?;
    if !metadata.is_file() || metadata.len() > MOST_BYTES {
        return Err(refuse(format!("must be a file of at most {MOST_BYTES} bytes")));
    }
    let text = std::fs::read_to_string(path).map_err(|error| refuse(error.to_string()))?;
    let document: Document = parse_yaml(path, &text).map_err(|error| Failure::input("--scenes", error))?;
    let home = path.parent().unwrap_or(Path::new(""));
    let mut config = document.video_config;
    config.audio = config.audio.map(|audio| home.join(audio));
    let (mut scenes, mut images) = (Vec::new(), Vec::new());
    for entry in document.scenes {
        let image = entry.image.map(|image| read_picture("--scenes", &home.join(image))).transpose()?;
        let (image_size, bytes) = image.unzip();
        let transition = entry.transition.map(|transition| match transition {
            TransitionEntry::Name(kind) => TransitionParameters { kind, duration: None },
            TransitionEntry::Timed { kind, duration } => TransitionParameters { kind, duration },
        });
        images.push(bytes);
        scenes.push(SceneParameters {
            id: entry.id,
            prompt: entry.prompt,
            negative_prompt: entry.negative_prompt,
            duration: entry.duration,
            image_size,
            seed: entry.seed.map(i128::from),
            camera: entry.camera,
            transition,
        });
    }
    Ok(ScenesFile { scenes, images, config })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &str) -> Outcome<ScenesFile> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("scenes.yaml");
        std::fs::write(&path, text).unwrap();
        read(&path)
    }

    #[test]
    fn scenes_are_read() {
        let text = "video_config: { fps: 24, resolution: 720P }\nscenes:\n  - { id: a, prompt: a red circle, duration: 2, \
                    transition: crossfade }\n  - { prompt: b, duration: 1.5, camera: Zoom in, transition: { type: fade, duration: 1 } }\n";
        let ScenesFile { scenes, images, config } = read_text(text).unwrap();
        assert_eq!((scenes.len(), images, config.fps), (2, vec![None, None], Some(24.0)));
        assert_eq!(scenes[1].transition, Some(TransitionParameters { kind: "fade".to_owned(), duration: Some(1.0) }));
        assert_eq!((scenes[0].id.as_deref(), scenes[1].camera.as_deref()), (Some("a"), Some("Zoom in")));
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        let message = read_text("scenes:\n  - { prompt: a, lenght: 2 }\n").unwrap_err().message();
        assert!(
            message.starts_with("error: --scenes: ") && message.contains("scenes.yaml:2:") && message.contains("lenght"),
            "{message}"
        );
        let message = read_text("scenes:\n  - { image: absent.png }\n").unwrap_err().message();
        assert!(message.contains("absent.png"), "{message}");
        assert!(read(Path::new("absent.yaml")).unwrap_err().message().contains("absent.yaml"));
    }
}
