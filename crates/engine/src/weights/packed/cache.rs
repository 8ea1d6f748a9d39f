//! The directory of packed weights.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, FileTimes, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::file::read_identity;
use super::{Identity, Packed, PackedFile, PackedWriter};
use crate::error::{Error, Result};
use crate::ops::Interrupt;

/// How often a process that waits for another to pack looks again, and at its interrupt.
const LOOK: Duration = Duration::from_millis(20);
/// Endings of the files that stand beside `NAME.packed`: its lock, and what is being written.
const LOCK: &str = "lock";
const UNFINISHED: &str = "unfinished";
const PACKED: &str = "packed";

/// A directory of packed weights. It must be this user's alone and on a disk of this machine. Cheap to clone.
#[derive(Clone, Debug)]
pub struct PackedCache {
    directory: PathBuf,
    most_file_bytes: u64,
}

/// How a model's weights were loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackedUse {
    /// Bytes of the file that is mapped; 0 when none is.
    pub bytes: u64,
    /// Whether the file had to be made first.
    pub packed_now: bool,
    /// Whether the weights are shared. If not, the model has loaded all the same, in memory of its own.
    pub shared: bool,
    /// Why they are not shared: one line.
    pub reason: Option<String>,
}

/// A file of the cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackedListing {
    /// Where it lies.
    pub path: PathBuf,
    /// What it takes on the disk.
    pub bytes: u64,
    /// When a model was last loaded from it (the file's modification time, which loading sets).
    pub last_used: SystemTime,
    /// The directory of the model that it was packed from, without links; `None` when the file is damaged.
    pub model: Option<PathBuf>,
    /// `false` when it is certain that it is good for nothing: it is damaged, the model's files have changed, or another build packed
    /// it. A model whose files cannot be looked at has not changed.
    pub current: bool,
}

impl PackedUse {
    /// Weights in memory of their own, and why.
    pub(crate) fn owned(reason: impl Into<String>) -> Self {
        Self { bytes: 0, packed_now: false, shared: false, reason: Some(reason.into()) }
    }
}

/// What became of an attempt to share.
enum Attempt<T> {
    Shared(T, PackedUse),
    Refused(String),
}

impl PackedCache {
    /// The cache in `directory`, which is made, for this user alone, when something is packed.
    pub fn new(directory: PathBuf) -> Self {
        Self { directory, most_file_bytes: u64::MAX }
    }

    /// Nothing is packed into a file of more than `bytes`: such a model is loaded into memory of its own.
    #[must_use]
    pub fn with_most_file_bytes(self, bytes: u64) -> Self {
        Self { most_file_bytes: bytes, ..self }
    }

    /// The directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Every file of packed weights, in the order of names. Reads what each was packed from, and looks whether that has changed.
    pub fn list(&self) -> io::Result<Vec<PackedListing>> {
        let mut listed = Vec::new();
        for path in self.files(PACKED)? {
            // Gone meanwhile, or no file at all.
            let Some(metadata) = fs::metadata(&path).ok().filter(fs::Metadata::is_file) else { continue };
            let identity = read_identity(&path);
            listed.push(PackedListing {
                bytes: metadata.len(),
                last_used: metadata.modified()?,
                current: identity.as_ref().is_some_and(|identity| !identity.is_outdated()),
                model: identity.map(|identity| identity.directory().to_owned()),
                path,
            });
        }
        Ok(listed)
    }

    /// Removes what processes left behind that were killed while they packed: unfinished files and locks that nobody holds. How many
    /// unfinished files there were.
    pub fn remove_leftovers(&self) -> io::Result<usize> {
        let mut removed = 0;
        for unfinished in self.files(UNFINISHED)? {
            // Whoever writes it holds the lock.
            if let Some(_lock) = Lock::try_take(&unfinished.with_extension(LOCK))? {
                removed += usize::from(fs::remove_file(&unfinished).is_ok());
            }
        }
        for path in self.files(LOCK)? {
            if !path.with_extension(PACKED).exists()
                && let Some(_lock) = Lock::try_take(&path)?
            {
                fs::remove_file(&path)?;
            }
        }
        Ok(removed)
    }

    /// Builds a model on the file of `identity`, which is packed first if need be. `build` makes the model: on a mapped file; into a
    /// file (the result has no weights and is dropped); or, when there can be no file, with weights of its own.
    pub(crate) fn share<T>(
        &self,
        identity: &Identity,
        interrupt: &Interrupt,
        mut build: impl FnMut(Option<Packed<'_>>) -> Result<T>,
    ) -> Result<(T, PackedUse)> {
        interrupt.check()?;
        match self.attempt(identity, interrupt, &mut build)? {
            Attempt::Shared(model, packed_use) => Ok((model, packed_use)),
            Attempt::Refused(reason) => {
                let reason = format!("the packed weights cannot be kept in {}: {reason}", self.directory.display());
                Ok((build(None)?, PackedUse::owned(reason)))
            }
        }
    }

    fn attempt<T>(
        &self,
        identity: &Identity,
        interrupt: &Interrupt,
        build: &mut impl FnMut(Option<Packed<'_>>) -> Result<T>,
    ) -> Result<Attempt<T>> {
        if identity.directory().to_str().is_none() {
            return Ok(Attempt::Refused("the path of the model is not UTF-8".to_owned()));
        }
        let target = self.directory.join(identity.file_name());
        // Without the lock: whoever packs gives the file its name last.
        if let Some((model, bytes)) = on_map(&target, identity, build)? {
            return Ok(Attempt::Shared(model, PackedUse { bytes, packed_now: false, shared: true, reason: None }));
        }
        let taken = make_directory(&self.directory).and_then(|()| Lock::wait(&target.with_extension(LOCK), interrupt));
        let _lock = match taken {
            Ok(Some(lock)) => lock,
            Ok(None) => return Err(Error::Cancelled),
            Err(error) => return Ok(Attempt::Refused(error.to_string())),
        };
        // Another process may have packed while this one waited.
        if let Some((model, bytes)) = on_map(&target, identity, build)? {
            return Ok(Attempt::Shared(model, PackedUse { bytes, packed_now: false, shared: true, reason: None }));
        }
        let writer = match PackedWriter::create(target.with_extension(UNFINISHED), self.most_file_bytes) {
            Ok(writer) => writer,
            Err(error) => return Ok(Attempt::Refused(error.to_string())),
        };
        if let Err(error) = build(Some(Packed::Writing(&writer))) {
            return writer.failure().map(Attempt::Refused).ok_or(error);
        }
        // What was packed while the model was replaced is of neither model.
        match identity.holds() {
            Ok(true) => {}
            Ok(false) => return Ok(Attempt::Refused("the model's files changed while they were packed".to_owned())),
            Err(error) => return Ok(Attempt::Refused(error.to_string())),
        }
        if let Err(error) = writer.publish(&target, identity) {
            return Ok(Attempt::Refused(error.to_string()));
        }
        Ok(match on_map(&target, identity, build)? {
            Some((model, bytes)) => Attempt::Shared(model, PackedUse { bytes, packed_now: true, shared: true, reason: None }),
            None => Attempt::Refused("what was just written cannot be mapped".to_owned()),
        })
    }

    /// Files of one ending, in the order of names; none where there is no directory.
    fn files(&self, ending: &str) -> io::Result<Vec<PathBuf>> {
        let entries = match fs::read_dir(&self.directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
        paths.retain(|path| path.extension() == Some(OsStr::new(ending)));
        paths.sort();
        Ok(paths)
    }
}

/// The model on the file at `path` and the file's bytes; `None` when that file will not do.
fn on_map<T>(
    path: &Path,
    identity: &Identity,
    build: &mut impl FnMut(Option<Packed<'_>>) -> Result<T>,
) -> Result<Option<(T, u64)>> {
    let Some(file) = PackedFile::open(path, identity) else { return Ok(None) };
    match build(Some(Packed::Mapped(&file))) {
        Ok(model) => {
            touch(path);
            Ok(Some((model, file.length_bytes())))
        }
        Err(_) if file.is_damaged() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Writes down that the file was used, as the time of its last modification. On a disk that cannot be written to, it is not.
#[expect(clippy::disallowed_methods, reason = "compared with other files' times and with nothing else")]
fn touch(path: &Path) {
    let now = FileTimes::new().set_modified(SystemTime::now());
    File::open(path).and_then(|file| file.set_times(now)).unwrap_or_default();
}

/// Makes `directory` for this user alone.
fn make_directory(directory: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(directory)
}

/// The right to pack one file, among processes and threads. Given back when dropped, or when the process dies.
struct Lock {
    _file: File,
}

impl Lock {
    /// Waits for the lock; `None` when the interrupt came first.
    fn wait(path: &Path, interrupt: &Interrupt) -> io::Result<Option<Self>> {
        loop {
            if interrupt.check().is_err() {
                return Ok(None);
            }
            if let Some(lock) = Self::try_take(path)? {
                return Ok(Some(lock));
            }
            std::thread::sleep(LOOK);
        }
    }

    fn try_take(path: &Path) -> io::Result<Option<Self>> {
        let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        // Upkeep may have removed the file between the two: then it is the lock of nothing.
        let held = file.metadata()?;
        let named = fs::metadata(path).ok().filter(|named| (named.dev(), named.ino()) == (held.dev(), held.ino()));
        Ok(named.map(|_| Self { _file: file }))
    }
}
