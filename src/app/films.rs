//! What films are finished with, as the configuration names it: looked at before anything is promised to anybody.

use std::path::{Path, PathBuf};

use framewright_engine::Error;
use framewright_engine::interpolate::Interpolator;
use framewright_engine::ops::Ops;
use framewright_engine::upscale::Upscaler;

use super::compute;
use crate::config::{Config, ConfigError, VideoEncoder};
use crate::domain::DeviceName;
use crate::execution::film::{FilmTools, NetworkFile};
use crate::media::video::{EncoderPreference, gpu_encoder_opens};

/// The tools of films. A file of weights that is named and is not such a network's is refused by its key, and so are kernels that this
/// processor has not, where a network needs them. Weights are read once, for their hash.
pub fn film_tools(config: &Config) -> Result<FilmTools, ConfigError> {
    interpolation_network(config)?;
    upscaling_network(config)?;
    kernels_are_there(config)?;
    let video = &config.video;
    let look_at = |key: &str, path: &Option<PathBuf>| {
        let Some(path) = path else { return Ok(None) };
        let looked = NetworkFile::look_at(path);
        looked.map(Some).map_err(|source| refused(key, path, &Error::File { path: path.clone(), source }))
    };
    Ok(FilmTools {
        interpolation_model: look_at("video.interpolation_model", &video.interpolation_model)?,
        upscaling_model: look_at("video.upscaling_model", &video.upscaling_model)?,
        precision: compute::processor_precision(config),
        kernels: compute::kernels(config),
        encoder: encoder(config),
    })
}

/// What encodes films. By itself a server looks for NVENC only if it has been given a GPU, and once: a film that is tried again is not
/// encoded by something else.
pub fn encoder(config: &Config) -> EncoderPreference {
    match config.video.encoder {
        VideoEncoder::Hardware => EncoderPreference::Hardware,
        VideoEncoder::Auto if has_gpu(config) && gpu_encoder_opens() => EncoderPreference::Auto,
        VideoEncoder::Auto | VideoEncoder::Software => EncoderPreference::Software,
    }
}

fn has_gpu(config: &Config) -> bool {
    config.devices.iter().any(|device| matches!(device, DeviceName::Cuda(_)))
}

/// Fails when a network is named and this processor has not the kernels that are asked for, which would show only in the first scene.
pub fn kernels_are_there(config: &Config) -> Result<(), ConfigError> {
    if config.video.interpolation_model.is_none() && config.video.upscaling_model.is_none() {
        return Ok(());
    }
    let found = Ops::cpu(compute::processor_precision(config), compute::kernels(config));
    found.map(drop).map_err(|error| ConfigError::setting("FRAMEWRIGHT_CPU_KERNELS", error.to_string()))
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
    let interpolation = if installed.rife.is_some() { "RIFE" } else { "FFmpeg's filter" };
    let scaling = if installed.realesrgan.is_some() { "Real-ESRGAN" } else { "Lanczos" };
    let encoder = match tools.encoder {
        EncoderPreference::Auto | EncoderPreference::Hardware => "NVENC",
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
    use framewright_engine::ops::KernelPath;

    use super::*;
    use crate::config::{ComputeConfig, CpuKernels, Environment, Flags, VideoConfig};
    use crate::domain::{InstalledNetworks, NetworkIdentity, Sha256Digest};

    const FLOWNET: &[u8] = include_bytes!("../../crates/engine/tests/fixtures/interpolate/saved/flownet.pkl");
    const COMPACT: &[u8] = include_bytes!("../../crates/engine/tests/fixtures/upscale/saved/compact.pth");

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
        let installed = tools(both).unwrap().installed();
        for (found, bytes) in [(installed.rife, FLOWNET), (installed.realesrgan, COMPACT)] {
            let expected = NetworkIdentity { sha256: Sha256Digest::of(bytes).to_string(), precision: "f32".to_owned() };
            assert_eq!(found, Some(expected));
        }

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
    fn the_encoder_is_what_was_chosen_and_by_itself_what_opens_beside_a_gpu() {
        let chosen = |encoder, device| {
            let config = Config::load(&Flags::default(), Environment::default()).unwrap();
            let video = VideoConfig { encoder, ..VideoConfig::default() };
            super::encoder(&Config { video, devices: vec![device], ..config })
        };
        for device in [DeviceName::Cpu, DeviceName::Fake, DeviceName::Cuda(0)] {
            assert_eq!(chosen(VideoEncoder::Software, device), EncoderPreference::Software);
            assert_eq!(chosen(VideoEncoder::Hardware, device), EncoderPreference::Hardware);
        }
        for device in [DeviceName::Cpu, DeviceName::Fake] {
            assert_eq!(chosen(VideoEncoder::Auto, device), EncoderPreference::Software, "no GPU is its own");
        }
        let expected = if gpu_encoder_opens() { EncoderPreference::Auto } else { EncoderPreference::Software };
        assert_eq!(chosen(VideoEncoder::Auto, DeviceName::Cuda(0)), expected);
    }

    #[test]
    fn kernels_that_the_processor_has_not_are_refused_where_a_network_needs_them() {
        let available = KernelPath::available();
        let all = [
            (CpuKernels::AmxBf16, KernelPath::AmxBf16),
            (CpuKernels::Avx512Bf16, KernelPath::Avx512Bf16),
            (CpuKernels::Avx512, KernelPath::Avx512),
            (CpuKernels::Gemm, KernelPath::Gemm),
        ];
        let rife = VideoConfig { interpolation_model: Some(fixture("interpolate/saved/flownet.pkl")), ..VideoConfig::default() };
        for (kernels, path) in all {
            let config = Config::load(&Flags::default(), Environment::default()).unwrap();
            let compute = ComputeConfig { cpu_kernels: Some(kernels), ..config.compute };
            let plain = Config { compute, ..config };
            kernels_are_there(&plain).unwrap();
            let refused = film_tools(&Config { video: rife.clone(), ..plain }).map_err(|error| error.to_string());
            match (available.contains(&path), refused) {
                (true, Ok(tools)) => assert_eq!(tools.kernels, Some(path)),
                (false, Err(refused)) => assert!(refused.starts_with("FRAMEWRIGHT_CPU_KERNELS: "), "{refused}"),
                (_, refused) => panic!("{path:?}: {refused:?}"),
            }
        }
    }
}
