//! Fingerprints of model directories, looked at again now and then.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::models::files_fingerprint;

/// How long a look is good for: as long as a catalogue takes to see a change.
const GOOD_FOR: Duration = Duration::from_secs(1);

/// What was seen last of each directory.
#[derive(Debug, Default)]
pub(super) struct SeenModels(Mutex<HashMap<PathBuf, (Instant, u64)>>);

impl SeenModels {
    /// A number that changes when a file of the directory does. Blocks for as long as a few dozen files take to look at.
    pub(super) fn fingerprint(&self, directory: &Path) -> u64 {
        let now = Instant::now();
        let mut seen = self.0.lock();
        if let Some((looked, fingerprint)) = seen.get(directory)
            && now.duration_since(*looked) < GOOD_FOR
        {
            return *fingerprint;
        }
        let fingerprint = files_fingerprint(directory);
        seen.retain(|_, (looked, _)| now.duration_since(*looked) < GOOD_FOR);
        seen.insert(directory.to_owned(), (now, fingerprint));
        fingerprint
    }
}
