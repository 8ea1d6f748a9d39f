//! What films are finished with, besides FFmpeg's filters.

use std::path::{Path, PathBuf};

use framewright_engine::interpolate::Interpolator;
use framewright_engine::ops::{Interrupt, KernelPath, Ops, Precision};
use framewright_engine::upscale::Upscaler;
use serde_json::{Value, json};

use super::error::FilmError;
use crate::execution::results::file_sha256;
use crate::media::video::EncoderPreference;
use crate::models::film_parameters::InstalledNetworks;

/// What films are finished with. Networks run on the server's own processor, like all that needs no device; their weights are small (RIFE 20
/// MB, Real-ESRGAN 5 to 67 MB), so each scene that needs them reads them anew and nothing stays in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilmTools {
    /// A file of RIFE's weights; without it nothing is interpolated by RIFE.
    pub interpolation_model: Option<PathBuf>,
    /// A file of Real-ESRGAN's weights; without it nothing is enlarged by Real-ESRGAN.
    pub upscaling_model: Option<PathBuf>,
    /// Precision of the networks.
    pub precision: Precision,
    /// A family of kernels instead of the fastest one.
    pub kernels: Option<KernelPath>,
    /// What encodes the film. Scenes are always encoded by the processor.
    pub encoder: EncoderPreference,
}

impl Default for FilmTools {
    fn default() -> Self {
        Self {
            interpolation_model: None,
            upscaling_model: None,
            precision: Precision::F32,
            kernels: None,
            encoder: EncoderPreference::Software,
        }
    }
}

impl FilmTools {
    /// What requests may ask for.
    pub fn installed(&self) -> InstalledNetworks {
        InstalledNetworks { rife: self.interpolation_model.is_some(), realesrgan: self.upscaling_model.is_some() }
    }

    /// Reads the network that makes frames between frames.
    pub(super) fn interpolator(&self, interrupt: &Interrupt) -> Result<Opened<Interpolator>, FilmError> {
        let missing = FilmError::NotConfigured { network: "RIFE", key: "video.interpolation_model" };
        let path = self.interpolation_model.as_deref().ok_or(missing)?;
        self.open("RIFE", path, |ops| {
            let network = Interpolator::open(path, ops, interrupt)?;
            let description = network.description();
            Ok((network, description))
        })
    }

    /// Reads the network that enlarges.
    pub(super) fn upscaler(&self, interrupt: &Interrupt) -> Result<Opened<Upscaler>, FilmError> {
        let missing = FilmError::NotConfigured { network: "Real-ESRGAN", key: "video.upscaling_model" };
        let path = self.upscaling_model.as_deref().ok_or(missing)?;
        self.open("Real-ESRGAN", path, |ops| {
            let network = Upscaler::open(path, ops, interrupt)?;
            let description = network.description();
            Ok((network, description))
        })
    }

    fn open<N>(
        &self,
        name: &'static str,
        path: &Path,
        open: impl FnOnce(&Ops) -> framewright_engine::Result<(N, String)>,
    ) -> Result<Opened<N>, FilmError> {
        let opened = Ops::cpu(self.precision, self.kernels).and_then(|ops| open(&ops));
        let (network, description) = opened.map_err(|error| FilmError::network(name, error))?;
        let facts = json!({
            "network": description,
            "file": path.file_name().map(|name| name.to_string_lossy()),
            "sha256": file_sha256(path).ok(),
            "precision": self.precision.name(),
        });
        Ok(Opened { network, facts })
    }
}

/// A network, and what a result says of it.
pub(super) struct Opened<N> {
    pub(super) network: N,
    pub(super) facts: Value,
}
