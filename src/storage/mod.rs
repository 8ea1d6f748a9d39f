//! Where artifacts live: `object_store` over a local directory.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use object_store::local::LocalFileSystem;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload};

use crate::domain::{JobId, UnixMs};

/// Longest storage key, characters.
const MAX_KEY_CHARACTERS: usize = 512;
/// The end of a temporary name: `object_store`'s own form, which it leaves out of lists.
const TEMPORARY: &str = "#1";

/// What writers of a [draft](ArtifactStorage::draft) may add to its name until it is whole.
const UNFINISHED: &str = ".partial";

/// Stored files by key. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ArtifactStorage {
    store: Arc<LocalFileSystem>,
    base: Arc<Path>,
}

/// Why storage failed.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// No such file.
    #[error("no file {0}")]
    NotFound(String),
    /// Not a key: keys are relative paths of plain segments.
    #[error("'{0}' is not a storage key")]
    InvalidKey(String),
    /// The disk or the bucket failed.
    #[error("storage failed")]
    Failed(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl ArtifactStorage {
    /// A local directory, created if absent.
    pub fn local(base: &Path) -> Result<Self, StorageError> {
        let base = fs::create_dir_all(base).and_then(|()| base.canonicalize()).map_err(disk_failed)?;
        // What the job store says is there must be there after a power loss too.
        let store = LocalFileSystem::new_with_prefix(&base).map_err(failed)?.with_fsync(true);
        Ok(Self { store: Arc::new(store), base: base.into() })
    }

    /// Writes files whole, as [`ArtifactStorage::put`] does, under keys that nobody else writes. All share one visit to the disk, and
    /// their directories are synced once. After an error some of them may be there. Blocking.
    pub fn put_together(&self, files: &[(&str, &[u8])]) -> Result<(), StorageError> {
        let paths = files.iter().map(|(key, _)| self.local_path(key)).collect::<Result<Vec<_>, _>>()?;
        let written = paths.iter().zip(files).map(|(path, (_, bytes))| self.stage(path, bytes)).collect::<io::Result<Vec<_>>>();
        written.and_then(publish).map_err(disk_failed)
    }

    /// Writes a file's bytes under a name that no key can be.
    fn stage(&self, path: &Path, bytes: &[u8]) -> io::Result<Staged> {
        let temporary = temporary_of(path);
        let created = File::create(&temporary).or_else(|error| {
            if error.kind() != io::ErrorKind::NotFound {
                return Err(error);
            }
            self.make_parents(path)?;
            File::create(&temporary)
        });
        let mut staged = Staged { file: created?, temporary, path: path.to_owned(), is_published: false };
        staged.file.write_all(bytes)?;
        Ok(staged)
    }

    /// Makes the directories down to a file, and has them survive a power loss.
    fn make_parents(&self, path: &Path) -> io::Result<()> {
        let mut directories = path.ancestors().skip(1).take_while(|directory| directory.starts_with(&self.base));
        path.parent().map_or(Ok(()), fs::create_dir_all)?;
        directories.try_for_each(sync_directory)
    }

    /// Writes a file whole (temporary name, then rename).
    pub async fn put(&self, key: &str, bytes: Bytes) -> Result<(), StorageError> {
        let path = parse_key(key)?;
        self.store.put(&path, PutPayload::from_bytes(bytes)).await.map_err(failed)?;
        Ok(())
    }

    /// Makes a second file of the same content; the first may go then. Cheap where the file system can link.
    pub async fn copy(&self, from: &str, to: &str) -> Result<(), StorageError> {
        let (from, to) = (self.local_path(from)?, self.local_path(to)?);
        let (storage, name) = (self.clone(), from.display().to_string());
        let copied = tokio::task::spawn_blocking(move || {
            if !from.is_file() {
                return Err(io::Error::from(io::ErrorKind::NotFound));
            }
            storage.make_parents(&to)?;
            remove_if_there(&to)?;
            // Files never change once they have their names.
            fs::hard_link(&from, &to).or_else(|_| fs::copy(&from, &to).map(drop))?;
            to.parent().map_or(Ok(()), sync_directory)
        });
        match copied.await.map_err(|error| StorageError::Failed(Box::new(error)))? {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(StorageError::NotFound(name)),
            copied => copied.map_err(disk_failed),
        }
    }

    /// Where a file is to be written that [`ArtifactStorage::keep`] will give its key: on the same disk, under a name that no key can be.
    /// Blocking.
    pub fn draft(&self, key: &str) -> Result<PathBuf, StorageError> {
        let path = self.local_path(key)?;
        self.make_parents(&path).map_err(disk_failed)?;
        Ok(temporary_of(&path))
    }

    /// Gives a written [`ArtifactStorage::draft`] its key, once it is safely on the disk. Blocking.
    pub fn keep(&self, key: &str) -> Result<(), StorageError> {
        let path = self.local_path(key)?;
        let temporary = temporary_of(&path);
        let file = File::open(&temporary).map_err(disk_failed)?;
        publish(vec![Staged { file, temporary, path, is_published: false }]).map_err(disk_failed)
    }

    /// Reads a file whole.
    pub async fn get(&self, key: &str) -> Result<Bytes, StorageError> {
        let path = parse_key(key)?;
        match self.store.get(&path).await {
            Ok(result) => result.bytes().await.map_err(failed),
            Err(object_store::Error::NotFound { .. }) => Err(StorageError::NotFound(key.to_owned())),
            Err(error) => Err(failed(error)),
        }
    }

    /// Removes a file, and what a write of it that was cut off may have left; absent is fine.
    pub async fn delete(&self, key: &str) -> Result<(), StorageError> {
        let path = self.local_path(key)?;
        let removed = tokio::task::spawn_blocking(move || {
            let temporary = temporary_of(&path);
            let mut unfinished = temporary.clone().into_os_string();
            unfinished.push(UNFINISHED);
            [path, temporary, unfinished.into()].iter().try_for_each(|path| remove_if_there(path))
        });
        removed.await.map_err(|error| StorageError::Failed(Box::new(error)))?.map_err(disk_failed)
    }

    /// The files whose keys begin with the segment `prefix`, in no order, with the time of their last change.
    pub fn list(&self, prefix: &str) -> BoxStream<'static, Result<(String, UnixMs), StorageError>> {
        let listed = self.store.list(Some(&object_store::path::Path::from(prefix)));
        let entry = |file: object_store::ObjectMeta| (file.location.into(), UnixMs(file.last_modified.timestamp_millis()));
        listed.map(move |file| file.map(entry).map_err(failed)).boxed()
    }

    /// The file on the local disk.
    pub fn local_path(&self, key: &str) -> Result<PathBuf, StorageError> {
        self.store.path_to_filesystem(&parse_key(key)?).map_err(failed)
    }
}

/// A file that was written and not yet given its name. Dropped before that, it is removed.
struct Staged {
    file: File,
    temporary: PathBuf,
    path: PathBuf,
    is_published: bool,
}

impl Drop for Staged {
    fn drop(&mut self) {
        if !self.is_published {
            // What cannot be removed is overwritten by the next attempt, or passed over by every listing.
            let _ = fs::remove_file(&self.temporary);
        }
    }
}

/// Brings staged files to the disk, under their names.
fn publish(mut files: Vec<Staged>) -> io::Result<()> {
    for staged in &files {
        staged.file.sync_all()?;
    }
    for staged in &mut files {
        fs::rename(&staged.temporary, &staged.path)?;
        staged.is_published = true;
    }
    let directories: BTreeSet<&Path> = files.iter().filter_map(|staged| staged.path.parent()).collect();
    directories.into_iter().try_for_each(sync_directory)
}

/// The name under which a file is written before it gets its own.
fn temporary_of(path: &Path) -> PathBuf {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(TEMPORARY);
    PathBuf::from(temporary)
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

fn disk_failed(error: io::Error) -> StorageError {
    StorageError::Failed(Box::new(error))
}

fn failed(error: object_store::Error) -> StorageError {
    StorageError::Failed(Box::new(error))
}

/// Keys are relative paths whose segments are `[A-Za-z0-9._-]+` and do not begin with a dot; so no key leaves the base, hides, or
/// means something else to a shell, a URL or another file system.
fn parse_key(key: &str) -> Result<object_store::path::Path, StorageError> {
    let plain = |segment: &str| {
        !segment.is_empty()
            && !segment.starts_with('.')
            && segment.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
    };
    let invalid = || StorageError::InvalidKey(key.chars().take(128).collect());
    if key.len() > MAX_KEY_CHARACTERS || !key.split('/').all(plain) {
        return Err(invalid());
    }
    object_store::path::Path::parse(key).map_err(|_| invalid())
}

/// The key of a picture: `images/{provider}_{YYYYMMDD_HHMMSS}_{index}_{random}.png`, the time in UTC. The random part, which stays the
/// same whenever the same picture is meant, keeps keys from being guessed and from meeting.
pub fn picture_key(provider: &str, created: UnixMs, index: usize, random: u64) -> String {
    let time = jiff::Timestamp::from_millisecond(created.0).unwrap_or_default().strftime("%Y%m%d_%H%M%S");
    format!("images/{provider}_{time}_{index}_{random:016x}.png")
}

/// The key of a film: `videos/{provider}_{YYYYMMDD_HHMMSS}_{index}_{random}.{extension}`, as [`picture_key`]'s.
pub fn video_key(provider: &str, created: UnixMs, index: usize, random: u64, extension: &str) -> String {
    let time = jiff::Timestamp::from_millisecond(created.0).unwrap_or_default().strftime("%Y%m%d_%H%M%S");
    format!("videos/{provider}_{time}_{index}_{random:016x}.{extension}")
}

/// The key of what a task of a job has left for the job's other tasks.
pub fn part_key(job: JobId, position: u32, attempt: i64, extension: &str) -> String {
    format!("parts/{job}_{position}_{attempt}.{extension}")
}

/// The key of a film's sheet of small pictures.
pub fn sprite_sheet_key(video_key: &str) -> String {
    let thumbnail = thumbnail_key(video_key);
    format!("{}_sheet.jpg", thumbnail.trim_end_matches(".jpg"))
}

/// The key of a picture's thumbnail.
pub fn thumbnail_key(picture_key: &str) -> String {
    let name = picture_key.rsplit('/').next().unwrap_or(picture_key);
    let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
    format!("thumbnails/{stem}.jpg")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_plain_relative_paths() {
        let long = format!("a/{}", "b".repeat(MAX_KEY_CHARACTERS));
        for (key, good) in [
            ("images/local_20260101_000000_0_0123.png", true),
            ("a", true),
            ("", false),
            ("/etc/passwd", false),
            ("a//b", false),
            ("a/", false),
            ("..", false),
            ("a/../b", false),
            ("a/./b", false),
            ("a/.hidden", false),
            ("a/b c", false),
            ("a%2fb", false),
            ("a\\b", false),
            ("a\0b", false),
            ("ä", false),
            (long.as_str(), false),
        ] {
            assert_eq!(parse_key(key).is_ok(), good, "{key:?}");
        }
    }

    #[tokio::test]
    async fn files_come_back_and_go_away() {
        let directory = tempfile::tempdir().unwrap();
        let storage = ArtifactStorage::local(&directory.path().join("new/base")).unwrap();
        assert!(matches!(storage.get("images/x.png").await, Err(StorageError::NotFound(_))));
        storage.put("images/x.png", Bytes::from_static(b"one")).await.unwrap();
        storage.put("images/x.png", Bytes::from_static(b"two")).await.unwrap();
        assert_eq!(storage.get("images/x.png").await.unwrap(), "two");
        assert_eq!(fs::read(storage.local_path("images/x.png").unwrap()).unwrap(), b"two");
        let beside = fs::read_dir(directory.path().join("new/base/images")).unwrap().count();
        assert_eq!(beside, 1, "no temporary files stay");
        storage.delete("images/x.png").await.unwrap();
        storage.delete("images/x.png").await.unwrap();
        assert!(matches!(storage.put("../x", Bytes::new()).await, Err(StorageError::InvalidKey(_))));
    }

    #[tokio::test]
    async fn files_that_are_written_together_come_back_one_by_one() {
        let directory = tempfile::tempdir().unwrap();
        let storage = ArtifactStorage::local(directory.path()).unwrap();
        storage.put_together(&[("images/x.png", b"one"), ("images/y.png", b""), ("thumbnails/x.jpg", b"two")]).unwrap();
        storage.put_together(&[("images/x.png", b"three")]).unwrap();
        for (key, bytes) in [("images/x.png", "three"), ("images/y.png", ""), ("thumbnails/x.jpg", "two")] {
            assert_eq!(storage.get(key).await.unwrap(), bytes);
        }
        let beside = fs::read_dir(directory.path().join("images")).unwrap().count();
        assert_eq!(beside, 2, "no temporary files stay");

        fs::create_dir(directory.path().join("images/z.png")).unwrap();
        assert!(storage.put_together(&[("images/a.png", b"four"), ("images/z.png", b"in the way")]).is_err());
        let left: BTreeSet<_> =
            fs::read_dir(directory.path().join("images")).unwrap().map(|file| file.unwrap().file_name()).collect();
        assert!(left.iter().all(|name| !name.to_string_lossy().contains('#')), "{left:?}");
        assert!(matches!(storage.put_together(&[("../x", b"")]), Err(StorageError::InvalidKey(_))));
        // What a killed server left is no file of anybody's.
        fs::write(directory.path().join("images/b.png#1"), "half").unwrap();
        let listed: Vec<_> = storage.list("images").collect().await;
        assert!(listed.iter().flatten().all(|(key, _)| !key.contains('#')), "{listed:?}");
        fs::write(directory.path().join("images/b.png#1.partial"), "less").unwrap();
        storage.delete("images/b.png").await.unwrap();
        let left = ["images/b.png#1", "images/b.png#1.partial"].map(|name| directory.path().join(name).exists());
        assert_eq!(left, [false, false], "whoever deletes the attempt's file deletes its beginning");
    }

    #[tokio::test]
    async fn drafts_become_files_and_files_have_copies_of_their_own() {
        let directory = tempfile::tempdir().unwrap();
        let storage = ArtifactStorage::local(directory.path()).unwrap();
        let draft = storage.draft("videos/a.mp4").unwrap();
        fs::write(&draft, "film").unwrap();
        assert!(matches!(storage.get("videos/a.mp4").await, Err(StorageError::NotFound(_))), "not yet");
        storage.keep("videos/a.mp4").unwrap();
        assert!(!draft.exists());
        storage.copy("videos/a.mp4", "parts/b.mp4").await.unwrap();
        storage.delete("videos/a.mp4").await.unwrap();
        assert_eq!(storage.get("parts/b.mp4").await.unwrap(), "film");
        assert!(matches!(storage.copy("videos/a.mp4", "parts/c.mp4").await, Err(StorageError::NotFound(_))));
        assert!(storage.keep("videos/never.mp4").is_err());
        assert!(matches!(storage.draft("../x"), Err(StorageError::InvalidKey(_))));
    }

    #[test]
    fn names_say_when_and_which() {
        let key = picture_key("local", UnixMs(1_767_323_045_678), 2, 0xab);
        assert_eq!(key, "images/local_20260102_030405_2_00000000000000ab.png");
        assert_eq!(thumbnail_key(&key), "thumbnails/local_20260102_030405_2_00000000000000ab.jpg");
        assert!(parse_key(&key).is_ok());
    }
}
