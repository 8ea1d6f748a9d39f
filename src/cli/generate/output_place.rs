//! Whether a file can be written where it shall be: asked before anything is made, and paid for.

use std::path::Path;

use crate::cli::failure::{Failure, Outcome};

/// Checks that the directory of `path` is there and takes files, and that `path` is no directory itself.
pub(super) fn check(path: &Path) -> Outcome {
    let refused = |place: &Path, problem: &str| Failure::input("--output", format!("{} {problem}", place.display()));
    let directory = match path.parent() {
        Some(directory) if !directory.as_os_str().is_empty() => directory,
        _ => Path::new("."),
    };
    if !directory.is_dir() {
        return Err(refused(directory, "is not a directory"));
    }
    if path.is_dir() {
        return Err(refused(path, "is a directory"));
    }
    // Permissions alone do not say it: a file system may be read-only, or full.
    let trial = directory.join(format!(".framewright-{}.tmp", std::process::id()));
    let written = std::fs::File::create_new(&trial);
    let _ = std::fs::remove_file(&trial);
    written.map(drop).map_err(|error| refused(directory, &format!("takes no file: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_left_by_the_question() {
        let directory = tempfile::tempdir().unwrap();
        check(&directory.path().join("out.png")).unwrap();
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn where_no_file_can_be_is_said_before() {
        let message = check(Path::new("/proc/self/out.png")).unwrap_err().message();
        assert!(message.starts_with("error: --output: /proc/self takes no file: "), "{message}");
        let message = check(Path::new("/no/such/out.png")).unwrap_err().message();
        assert_eq!(message, "error: --output: /no/such is not a directory");
    }
}
