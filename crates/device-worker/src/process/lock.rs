//! One worker per device.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use crate::device::DeviceKind;

/// How often to look whether the device is free.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// Why a device cannot be had.
#[derive(Debug, thiserror::Error)]
pub(super) enum LockError {
    #[error("{device} is in use by another framewright worker ({path} is locked)")]
    Taken { device: DeviceKind, path: PathBuf },
    #[error("cannot lock {path}: {source}")]
    Io { path: PathBuf, source: io::Error },
}

/// Held as long as the device is open; goes with the process, however that ends.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

impl Lock {
    /// Waits up to `wait_ms` for another worker that is about to end.
    pub(super) fn take(path: &Path, device: DeviceKind, wait_ms: u64) -> Result<Self, LockError> {
        let failed = |source| LockError::Io { path: path.to_owned(), source };
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(failed)?;
        }
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(path).map_err(failed)?;
        let begun = Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Self { _file: file }),
                Err(TryLockError::WouldBlock) if begun.elapsed() < Duration::from_millis(wait_ms) => thread::sleep(LOOK_INTERVAL),
                Err(TryLockError::WouldBlock) => return Err(LockError::Taken { device, path: path.to_owned() }),
                Err(TryLockError::Error(source)) => return Err(failed(source)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_has_one_worker() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("run/cpu.lock");
        let first = Lock::take(&path, DeviceKind::Cpu, 0).unwrap();
        let message = Lock::take(&path, DeviceKind::Cpu, 30).unwrap_err().to_string();
        assert!(message.starts_with("cpu is in use by another framewright worker"), "{message}");
        drop(first);
        Lock::take(&path, DeviceKind::Cpu, 0).unwrap();
    }
}
