//! `video:` — what films are finished with.

use std::path::PathBuf;

use serde::Deserialize;

use super::ConfigError;

/// What films are finished with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VideoConfig {
    /// Weights of RIFE, which makes frames between frames; without: FFmpeg's motion-compensated filter.
    pub interpolation_model: Option<PathBuf>,
    /// Weights of Real-ESRGAN, which enlarges; without: Lanczos.
    pub upscaling_model: Option<PathBuf>,
    /// What encodes films.
    pub encoder: VideoEncoder,
}

/// What encodes films of H.264 and H.265; the other codecs are always the processor's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum VideoEncoder {
    /// NVENC if the pool has a GPU and it opens when the server starts, and the processor for films that it refuses.
    #[default]
    Auto,
    /// The processor: files do not depend on the machine.
    Software,
    /// NVENC, and the processor, with a warning in the result, for films that it refuses.
    Hardware,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct VideoSection {
    interpolation_model: Option<PathBuf>,
    upscaling_model: Option<PathBuf>,
    encoder: VideoEncoder,
}

impl VideoSection {
    /// Whether the files hold what they should is for whoever opens them.
    pub(super) fn resolve(self) -> Result<VideoConfig, ConfigError> {
        let Self { interpolation_model, upscaling_model, encoder } = self;
        for (key, path) in [("video.interpolation_model", &interpolation_model), ("video.upscaling_model", &upscaling_model)] {
            if path.as_ref().is_some_and(|path| path.as_os_str().is_empty()) {
                return Err(ConfigError::setting(key, "is empty; name a file of weights, or leave it out"));
            }
        }
        Ok(VideoConfig { interpolation_model, upscaling_model, encoder })
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn resolve(yaml: &str) -> Result<VideoConfig, String> {
        let section: VideoSection = super::super::yaml::parse(Path::new("x"), yaml).map_err(|error| error.to_string())?;
        section.resolve().map_err(|error| error.to_string())
    }

    #[test]
    fn files_are_named_and_the_encoder_is_chosen() {
        assert_eq!(resolve("{}"), Ok(VideoConfig::default()));
        let written = "interpolation_model: w/flownet.pkl\nupscaling_model: w/x4plus.pth\nencoder: software";
        let expected = VideoConfig {
            interpolation_model: Some("w/flownet.pkl".into()),
            upscaling_model: Some("w/x4plus.pth".into()),
            encoder: VideoEncoder::Software,
        };
        assert_eq!(resolve(written), Ok(expected));
        assert_eq!(resolve("encoder: hardware").map(|config| config.encoder), Ok(VideoEncoder::Hardware));
        for (yaml, words) in [
            ("upscaling_model: ''", "video.upscaling_model: is empty"),
            ("encoder: nvenc", "nvenc"),
            ("interpolation: rife", "interpolation"),
        ] {
            let message = resolve(yaml).unwrap_err();
            assert!(message.contains(words), "{message}");
        }
    }
}
