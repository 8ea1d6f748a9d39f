//! What films are finished with, besides FFmpeg's filters.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use framewright_engine::interpolate::Interpolator;
use framewright_engine::ops::{Interrupt, KernelPath, Ops, Precision};
use framewright_engine::upscale::Upscaler;
use serde_json::{Value, json};

use super::error::FilmError;
use crate::domain::{InstalledNetworks, NetworkIdentity};
use crate::execution::results::file_sha256;
use crate::media::video::EncoderPreference;

/// What films are finished with. Networks run on the server's own processor, like all that needs no device; their weights are small (RIFE 20
/// MB, Real-ESRGAN 5 to 67 MB), so each scene that needs them reads them anew and nothing stays in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilmTools {
    /// RIFE's weights; without them nothing is interpolated by RIFE.
    pub interpolation_model: Option<NetworkFile>,
    /// Real-ESRGAN's weights; without them nothing is enlarged by Real-ESRGAN.
    pub upscaling_model: Option<NetworkFile>,
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

/// A file of weights, and what it held when it was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkFile {
    path: PathBuf,
    /// SHA-256 of its bytes, hexadecimal.
    sha256: String,
}

impl NetworkFile {
    /// Reads the file once, in pieces. Blocking. Fails as reading does.
    pub fn look_at(path: &Path) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), sha256: file_sha256(path)? })
    }
}

impl FilmTools {
    /// What requests may ask for.
    pub fn installed(&self) -> InstalledNetworks {
        let identity = |file: &Option<NetworkFile>| file.as_ref().map(|file| self.identity(file));
        InstalledNetworks { rife: identity(&self.interpolation_model), realesrgan: identity(&self.upscaling_model) }
    }

    fn identity(&self, file: &NetworkFile) -> NetworkIdentity {
        NetworkIdentity { sha256: file.sha256.clone(), precision: self.precision.name().to_owned() }
    }

    /// Reads the network that makes frames between frames. Another one than `wanted` is refused.
    pub(super) fn interpolator(
        &self,
        wanted: Option<&NetworkIdentity>,
        interrupt: &Interrupt,
    ) -> Result<Opened<Interpolator>, FilmError> {
        let missing = FilmError::NotConfigured { network: "RIFE", key: "video.interpolation_model" };
        let file = self.interpolation_model.as_ref().ok_or(missing)?;
        self.open("RIFE", file, wanted, |path, ops| {
            let network = Interpolator::open(path, ops, interrupt)?;
            let description = network.description();
            Ok((network, description))
        })
    }

    /// Reads the network that enlarges. Another one than `wanted` is refused.
    pub(super) fn upscaler(
        &self,
        wanted: Option<&NetworkIdentity>,
        interrupt: &Interrupt,
    ) -> Result<Opened<Upscaler>, FilmError> {
        let missing = FilmError::NotConfigured { network: "Real-ESRGAN", key: "video.upscaling_model" };
        let file = self.upscaling_model.as_ref().ok_or(missing)?;
        self.open("Real-ESRGAN", file, wanted, |path, ops| {
            let network = Upscaler::open(path, ops, interrupt)?;
            let description = network.description();
            Ok((network, description))
        })
    }

    fn open<N>(
        &self,
        name: &'static str,
        file: &NetworkFile,
        wanted: Option<&NetworkIdentity>,
        open: impl FnOnce(&Path, &Ops) -> framewright_engine::Result<(N, String)>,
    ) -> Result<Opened<N>, FilmError> {
        if wanted.is_some_and(|wanted| *wanted != self.identity(file)) {
            return Err(FilmError::OtherNetwork { network: name });
        }
        let path = &*file.path;
        let unreadable = |source| FilmError::network(name, framewright_engine::Error::File { path: path.to_owned(), source });
        // What is read must be what was looked at when the server started: keys of tasks and results name that.
        let before = stamp(path).map_err(unreadable)?;
        if file_sha256(path).map_err(unreadable)? != file.sha256 {
            return Err(FilmError::Replaced { network: name });
        }
        let opened = Ops::cpu(self.precision, self.kernels).and_then(|ops| Ok((open(path, &ops)?, ops)));
        let ((network, description), ops) = opened.map_err(|error| FilmError::network(name, error))?;
        if stamp(path).map_err(unreadable)? != before {
            return Err(FilmError::Replaced { network: name });
        }
        let facts = json!({
            "network": description,
            "file": path.file_name().map(|name| name.to_string_lossy()),
            "sha256": file.sha256,
            "device": ops.description(),
        });
        Ok(Opened { network, ops, facts })
    }
}

/// What changes when a file is replaced or written to: where it lies, its length, and when that was.
fn stamp(path: &Path) -> io::Result<(u64, u64, u64, i64, i64)> {
    let found = std::fs::metadata(path)?;
    Ok((found.dev(), found.ino(), found.len(), found.mtime(), found.mtime_nsec()))
}

/// A network, and what a result says of it.
pub(super) struct Opened<N> {
    pub(super) network: N,
    /// What it computes with.
    pub(super) ops: Ops,
    pub(super) facts: Value,
}
