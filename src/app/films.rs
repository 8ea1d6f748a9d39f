//! What films are finished with, as the configuration names it: looked at before anything is promised to anybody.

use std::path::Path;

use framewright_engine::Error;
use framewright_engine::interpolate::Interpolator;
use framewright_engine::upscale::Upscaler;

use super::compute;
use crate::config::{Config, ConfigError, VideoEncoder};
use crate::execution::film::FilmTools;
use crate::media::video::{EncoderPreference, gpu_encoder_opens};

/// The tools of films. A file of weights that is named and is not such a network's is refused by its key; only its header is read.
pub fn film_tools(config: &Config) -> Result<FilmTools, ConfigError> {
    interpolation_network(config)?;
    upscaling_network(config)?;
    let video = &config.video;
    Ok(FilmTools {
        interpolation_model: video.interpolation_model.clone(),
        upscaling_model: video.upscaling_model.clone(),
        precision: compute::processor_precision(config),
        kernels: compute::kernels(config),
        encoder: match video.encoder {
            VideoEncoder::Hardware => EncoderPreference::Hardware,
            // Decided once, so that a film that is tried again is not encoded by something else.
            VideoEncoder::Auto if gpu_encoder_opens() => EncoderPreference::Hardware,
            VideoEncoder::Auto | VideoEncoder::Software => EncoderPreference::Software,
        },
    })
}

/// A few words on the network of `video.interpolation_model`, if there is one.
pub fn interpolation_network(config: &Config) -> Result<Option<String>, ConfigError> {
    let Some(path) = &config.video.interpolation_model else { return Ok(None) };
    let found = Interpolator::inspect(path).map_err(|error| refused("video.interpolation_model", path, &error))?;
    Ok(Some(found.description()))
}

/// A few words on the network of `video.upscaling_model`, if there is one.
pub fn upscaling_network(config: &Config) -> Result<Option<String>, ConfigError> {
    let Some(path) = &config.video.upscaling_model else { return Ok(None) };
    let found = Upscaler::inspect(path).map_err(|error| refused("video.upscaling_model", path, &error))?;
    Ok(Some(found.description()))
}

/// Tells the log what films are finished with.
pub(super) fn announce(config: &Config, tools: &FilmTools) {
    let installed = tools.installed();
    let interpolation = if installed.rife { "RIFE" } else { "FFmpeg's filter" };
    let scaling = if installed.realesrgan { "Real-ESRGAN" } else { "Lanczos" };
    let encoder = match tools.encoder {
        EncoderPreference::Hardware => "NVENC",
        EncoderPreference::Software => "the processor",
    };
    tracing::info!("Films are interpolated by {interpolation}, enlarged by {scaling}, and encoded by {encoder}");
    if config.video.encoder == VideoEncoder::Hardware && !gpu_encoder_opens() {
        tracing::warn!("video.encoder: NVENC does not open on this machine; films are encoded by the processor, and say so");
    }
}

fn refused(key: &str, path: &Path, error: &Error) -> ConfigError {
    match error {
        // These name the file.
        Error::File { .. } | Error::Malformed { .. } => ConfigError::setting(key, error.to_string()),
        Error::Checkpoint { reason, .. } => ConfigError::setting(key, format!("{}: {reason}", path.display())),
        other => ConfigError::setting(key, format!("{}: {other}", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::config::{Environment, Flags, VideoConfig};
    use crate::models::film_parameters::InstalledNetworks;

    fn fixture(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("crates/engine/tests/fixtures").join(name)
    }

    fn tools(video: VideoConfig) -> Result<FilmTools, String> {
        let config = Config::load(&Flags::default(), Environment::default()).unwrap();
        film_tools(&Config { video, ..config }).map_err(|error| error.to_string())
    }

    #[test]
    fn networks_are_there_when_their_files_are_theirs() {
        let software = VideoConfig { encoder: VideoEncoder::Software, ..VideoConfig::default() };
        assert_eq!(tools(software.clone()).unwrap().installed(), InstalledNetworks::default());
        let (rife, esrgan) = (fixture("interpolate/saved/flownet.pkl"), fixture("upscale/saved/compact.pth"));
        let both =
            VideoConfig { interpolation_model: Some(rife.clone()), upscaling_model: Some(esrgan.clone()), ..software.clone() };
        assert_eq!(tools(both).unwrap().installed(), InstalledNetworks { rife: true, realesrgan: true });

        let directory = tempfile::tempdir().unwrap();
        let lie = directory.path().join("lie.pkl");
        // A safetensors header that is said to be longer than the file.
        std::fs::write(&lie, [0xff, 0xff, 0xff, 0x7f, 0, 0, 0, 0, b'{', b'}']).unwrap();
        for (interpolation_model, upscaling_model, words) in [
            (Some(esrgan), None, ["video.interpolation_model: ", "compact.pth: block0.conv0.1.0.weight is missing"]),
            (None, Some(rife), ["video.upscaling_model: ", "flownet.pkl: neither RRDBNet"]),
            (Some("nowhere/flownet.pkl".into()), None, ["video.interpolation_model: cannot read nowhere/flownet.pkl", ""]),
            (Some(directory.path().to_owned()), None, ["video.interpolation_model: ", "not a file"]),
            (None, Some(lie), ["video.upscaling_model: ", "lie.pkl"]),
        ] {
            let refused = tools(VideoConfig { interpolation_model, upscaling_model, ..software.clone() }).unwrap_err();
            assert!(words.iter().all(|word| refused.contains(word)) && !refused.contains('\n'), "{refused}");
        }
    }

    #[test]
    fn the_encoder_is_what_was_chosen_and_by_itself_what_opens() {
        let encoder = |encoder| tools(VideoConfig { encoder, ..VideoConfig::default() }).unwrap().encoder;
        assert_eq!(encoder(VideoEncoder::Software), EncoderPreference::Software);
        assert_eq!(encoder(VideoEncoder::Hardware), EncoderPreference::Hardware);
        let expected = if gpu_encoder_opens() { EncoderPreference::Hardware } else { EncoderPreference::Software };
        assert_eq!(encoder(VideoEncoder::Auto), expected);
    }
}
