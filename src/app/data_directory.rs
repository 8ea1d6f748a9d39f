//! The directory that belongs to one server: lock, database, secret, results.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::SecretString;

/// Why the directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataDirectoryError {
    /// It cannot be made or written.
    #[error("--data-dir: cannot {action} {path}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Another server runs on it.
    #[error("--data-dir: another framewright server uses {0}; stop it or name another directory")]
    Locked(PathBuf),
    /// Another server, on another directory, runs on the database.
    #[error("DATABASE_URL (or database.url): another framewright server uses {0}; stop it or name another file")]
    DatabaseLocked(PathBuf),
    /// The secret file was changed by hand.
    #[error("{0} must hold at least 32 characters; remove it to have a new secret made (links given out so far stop working)")]
    Secret(PathBuf),
    /// The system has no random numbers.
    #[error("the system gives no random numbers: {0}")]
    Random(getrandom::Error),
}

/// An open data directory. The lock goes when this is dropped, or when the process dies, however it dies.
#[derive(Debug)]
pub struct DataDirectory {
    path: PathBuf,
    _lock: File,
}

impl DataDirectory {
    /// Makes the directory if it is absent, and locks it.
    pub fn open(path: &Path) -> Result<Self, DataDirectoryError> {
        create(path)?;
        let lock = lock(&path.join("lock"))?.ok_or_else(|| DataDirectoryError::Locked(path.to_owned()))?;
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    /// Locks a database that lies elsewhere, as long as the file lives: two servers on one database would each take the other's
    /// running jobs for left over.
    pub fn lock_database(&self, database: &Path) -> Result<Option<File>, DataDirectoryError> {
        if database.parent() == Some(&self.path) {
            return Ok(None);
        }
        if let Some(parent) = database.parent() {
            create(parent)?;
        }
        let mut lock_path = database.as_os_str().to_owned();
        lock_path.push(".lock");
        let locked = lock(Path::new(&lock_path))?.ok_or_else(|| DataDirectoryError::DatabaseLocked(database.to_owned()))?;
        Ok(Some(locked))
    }

    /// The secret that signs links: from `secret` in this directory, made when it is not there.
    pub fn secret_key(&self) -> Result<SecretString, DataDirectoryError> {
        let path = self.path.join("secret");
        let failed = |action| move |(path, source)| DataDirectoryError::Io { action, path, source };
        match read_small(&path) {
            Ok(text) if text.trim().len() >= 32 => return Ok(SecretString::from(text.trim())),
            Ok(_) => return Err(DataDirectoryError::Secret(path)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed("read")((path, error))),
        }
        let mut bytes = [0_u8; 32];
        getrandom::fill(&mut bytes).map_err(DataDirectoryError::Random)?;
        let text = URL_SAFE_NO_PAD.encode(bytes);
        write_private(&path, &text).map_err(|error| failed("write")((path, error)))?;
        Ok(SecretString::from(text))
    }
}

/// A file that is locked as long as it is open; `None` when another process has it.
fn lock(path: &Path) -> Result<Option<File>, DataDirectoryError> {
    let failed = |source| DataDirectoryError::Io { action: "lock", path: path.to_owned(), source };
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(source)) => Err(failed(source)),
    }
}

/// Makes the directory and its parents.
pub fn create(path: &Path) -> Result<(), DataDirectoryError> {
    fs::create_dir_all(path).map_err(|source| DataDirectoryError::Io { action: "create", path: path.to_owned(), source })
}

fn read_small(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(4096).read_to_string(&mut text)?;
    Ok(text)
}

/// Written whole under another name first, readable by the owner alone from its first byte on.
fn write_private(path: &Path, text: &str) -> io::Result<()> {
    let temporary = path.with_extension("tmp");
    // Left behind by a server that was stopped here, or put there: its mode, and who has it open, would stay.
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut options = OpenOptions::new();
    options.create_new(true).write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&temporary)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&temporary, path)
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    #[test]
    fn one_server_at_a_time() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a/b");
        let first = DataDirectory::open(&path).unwrap();
        let message = DataDirectory::open(&path).unwrap_err().to_string();
        assert!(message.contains("another framewright server uses") && message.contains("a/b"), "{message}");
        drop(first);
        DataDirectory::open(&path).unwrap();
    }

    #[test]
    fn two_directories_do_not_share_a_database() {
        let directory = tempfile::tempdir().unwrap();
        let database = directory.path().join("shared/jobs.db");
        let open = |name: &str| DataDirectory::open(&directory.path().join(name)).unwrap();
        let (first, second) = (open("a"), open("b"));
        let locked = first.lock_database(&database).unwrap();
        assert!(locked.is_some());
        let message = second.lock_database(&database).unwrap_err().to_string();
        assert!(message.starts_with("DATABASE_URL") && message.contains("jobs.db"), "{message}");
        drop(locked);
        assert!(second.lock_database(&database).unwrap().is_some());
        let own = second.lock_database(&directory.path().join("b/jobs.db")).unwrap();
        assert!(own.is_none(), "the directory's own lock is enough");
    }

    #[test]
    fn the_secret_is_made_once_and_private() {
        let directory = tempfile::tempdir().unwrap();
        let data = DataDirectory::open(directory.path()).unwrap();
        // Readable by everybody, as an older file there may be.
        fs::write(directory.path().join("secret.tmp"), "left behind").unwrap();
        let first = data.secret_key().unwrap();
        assert_eq!(data.secret_key().unwrap().expose_secret(), first.expose_secret());
        assert_eq!(first.expose_secret().len(), 43);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = fs::metadata(directory.path().join("secret")).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        fs::write(directory.path().join("secret"), "short").unwrap();
        assert!(matches!(data.secret_key(), Err(DataDirectoryError::Secret(_))));
    }

    #[test]
    fn a_file_in_the_way_is_an_error_that_names_it() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        fs::write(&file, "").unwrap();
        let message = DataDirectory::open(&file.join("data")).unwrap_err().to_string();
        assert!(message.starts_with("--data-dir: cannot create"), "{message}");
    }
}
