//! Files that are read whole: vocabularies, indices and configurations.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;

use crate::error::{Error, Result};

/// The text of a file of at most `most_bytes`; `None` when there is no such file. The limit holds for what is read, whatever the
/// file system says of the length: a link may lead to a device that never ends.
pub(crate) fn read(path: &Path, most_bytes: u64) -> Result<Option<String>> {
    let unreadable = |source| Error::File { path: path.to_owned(), source };
    let broken = |reason: String| Error::Malformed { path: path.to_owned(), reason };
    // Asked first, because opening a pipe would wait for its other end.
    match std::fs::metadata(path) {
        Ok(metadata) if metadata.is_file() => {}
        Ok(_) => return Err(broken("not a file".to_owned())),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unreadable(error)),
    }
    let mut bytes = Vec::new();
    File::open(path).map_err(unreadable)?.take(most_bytes + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > most_bytes {
        return Err(broken(format!("larger than the {most_bytes} bytes that such a file has at most")));
    }
    String::from_utf8(bytes).map(Some).map_err(|error| broken(format!("not UTF-8: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_long_or_no_file_is_not_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config.json");
        assert!(read(&path, 8).unwrap().is_none());
        std::fs::write(&path, "12345678").unwrap();
        assert_eq!(read(&path, 8).unwrap().as_deref(), Some("12345678"));
        assert!(read(&path, 7).unwrap_err().to_string().contains("larger than the 7 bytes"));
        File::create(&path).unwrap().set_len(1 << 40).unwrap();
        assert!(read(&path, 1 << 20).unwrap_err().to_string().contains("larger than"));
        std::fs::write(&path, [0xff]).unwrap();
        assert!(read(&path, 8).unwrap_err().to_string().contains("UTF-8"));
        assert!(read(directory.path(), 8).unwrap_err().to_string().contains("not a file"));
        let endless = directory.path().join("vocab.json");
        std::os::unix::fs::symlink("/dev/zero", &endless).unwrap();
        assert!(read(&endless, 8).unwrap_err().to_string().contains("not a file"));
    }
}
