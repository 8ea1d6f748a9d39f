//! One worker per device.

use std::fs::{self, File, OpenOptions, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
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
        let begun = Instant::now();
        loop {
            let file = open(path).map_err(failed)?;
            match file.try_lock() {
                // Somebody may have removed the file meanwhile: then it is the lock of nothing.
                Ok(()) if has_name(&file, path).map_err(failed)? => return Ok(Self { _file: file }),
                Ok(()) => {}
                Err(TryLockError::WouldBlock) if begun.elapsed() < Duration::from_millis(wait_ms) => thread::sleep(LOOK_INTERVAL),
                Err(TryLockError::WouldBlock) => return Err(LockError::Taken { device, path: path.to_owned() }),
                Err(TryLockError::Error(source)) => return Err(failed(source)),
            }
        }
    }
}

/// The file, made if need be. One that is there is only read: the lock needs no more, and it may be another user's.
fn open(path: &Path) -> io::Result<File> {
    loop {
        match fs::symlink_metadata(path) {
            // Opening a pipe would wait for its other end.
            Ok(found) if !found.is_file() => return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no file")),
            Ok(_) => match File::open(path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                opened => return opened,
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => match create(path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                created => return created,
            },
            Err(error) => return Err(error),
        }
    }
}

/// A new file, which every user may lock.
fn create(path: &Path) -> io::Result<File> {
    const FOR_ALL: u32 = 0o666;
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    let file = OpenOptions::new().create_new(true).write(true).open(path)?;
    // Whatever the mask for new files says.
    file.set_permissions(Permissions::from_mode(FOR_ALL))?;
    Ok(file)
}

/// Whether an open file is the one at `path`.
fn has_name(file: &File, path: &Path) -> io::Result<bool> {
    let held = file.metadata()?;
    match fs::symlink_metadata(path) {
        Ok(named) => Ok((named.dev(), named.ino()) == (held.dev(), held.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
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

    #[test]
    fn a_lock_is_for_every_user_and_needs_no_right_to_write() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("cuda.lock");
        drop(Lock::take(&path, DeviceKind::Cuda(0), 0).unwrap());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o666);
        // As another user would find it who may not write it.
        fs::set_permissions(&path, Permissions::from_mode(0o444)).unwrap();
        let _held = Lock::take(&path, DeviceKind::Cuda(0), 0).unwrap();
        assert!(matches!(Lock::take(&path, DeviceKind::Cuda(0), 0), Err(LockError::Taken { .. })));
    }

    #[test]
    fn the_lock_of_a_removed_file_is_none() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("cuda.lock");
        let removed = open(&path).unwrap();
        assert!(has_name(&removed, &path).unwrap());
        fs::remove_file(&path).unwrap();
        assert!(!has_name(&removed, &path).unwrap());
        let _held = Lock::take(&path, DeviceKind::Cuda(0), 0).unwrap();
        assert!(!has_name(&removed, &path).unwrap(), "another file of the name");
    }

    #[test]
    fn what_is_no_file_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let message = Lock::take(directory.path(), DeviceKind::Cpu, 0).unwrap_err().to_string();
        assert!(message.contains("it is no file"), "{message}");
    }
}
