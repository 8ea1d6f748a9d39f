//! Which weights a model is made of: hashes of its files.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use parking_lot::Mutex;
use sha2::{Digest, Sha256};

use crate::domain::Sha256Digest;

/// Components whose weights make a picture, the one that gives a model its short name first.
const COMPONENTS: [&str; 4] = ["unet", "vae", "text_encoder", "text_encoder_2"];

/// Bytes read at a time.
const CHUNK_BYTES: usize = 1 << 20;

/// A model's weights by their hashes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModelIdentity {
    /// SHA-256 of the weights of each component; of a sharded one, the SHA-256 over its shards' digests in order.
    pub components: BTreeMap<String, Sha256Digest>,
}

impl ModelIdentity {
    /// The short hash that galleries know a model by: ten digits of the denoiser's.
    pub fn short_hash(&self) -> Option<String> {
        self.denoiser().map(|digest| digest.short(10))
    }

    /// The denoiser's hash; of a model without one that of what comes next.
    pub fn denoiser(&self) -> Option<Sha256Digest> {
        COMPONENTS.iter().find_map(|component| self.components.get(*component)).copied()
    }
}

/// Remembers hashes of files that have not changed since.
#[derive(Clone, Debug, Default)]
pub struct IdentityCache {
    files: Arc<Mutex<HashMap<PathBuf, Known>>>,
}

#[derive(Clone, Copy, Debug)]
struct Known {
    stamp: Stamp,
    digest: Sha256Digest,
}

/// What changes when a file does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    bytes: u64,
    modified: SystemTime,
}

impl IdentityCache {
    /// The identity of the model in `directory`. Blocking, and as slow as reading every weight file once; then nearly free.
    pub fn identify(&self, directory: &Path) -> io::Result<ModelIdentity> {
        identity(directory, |file| self.digest(file))
    }

    /// The same, if every hash is known already. Blocking.
    pub fn known(&self, directory: &Path) -> Option<ModelIdentity> {
        identity(directory, |file| self.look_up(file)?.1.ok_or_else(|| io::ErrorKind::NotFound.into())).ok()
    }

    fn digest(&self, path: &Path) -> io::Result<Sha256Digest> {
        let (stamp, digest) = self.look_up(path)?;
        if let Some(digest) = digest {
            return Ok(digest);
        }
        let digest = file_sha256(path)?;
        self.files.lock().insert(path.to_owned(), Known { stamp, digest });
        Ok(digest)
    }

    /// A file as it is now, and its hash if it has not changed since that was taken.
    fn look_up(&self, path: &Path) -> io::Result<(Stamp, Option<Sha256Digest>)> {
        let metadata = std::fs::metadata(path)?;
        let stamp = Stamp { bytes: metadata.len(), modified: metadata.modified()? };
        let files = self.files.lock();
        let known = files.get(path).filter(|known| known.stamp == stamp);
        Ok((stamp, known.map(|known| known.digest)))
    }
}

/// The identity of the model in `directory`, with its files' hashes from `digest`.
fn identity(directory: &Path, digest: impl Fn(&Path) -> io::Result<Sha256Digest>) -> io::Result<ModelIdentity> {
    let mut components = BTreeMap::new();
    for component in COMPONENTS {
        let digests: Vec<Sha256Digest> =
            weight_files(&directory.join(component))?.iter().map(|file| digest(file)).collect::<io::Result<_>>()?;
        let digest = match digests.as_slice() {
            [] => continue,
            [only] => *only,
            shards => Sha256Digest::of(&shards.iter().flat_map(|shard| shard.0).collect::<Vec<u8>>()),
        };
        components.insert(component.to_owned(), digest);
    }
    Ok(ModelIdentity { components })
}

/// A file's hash, read in chunks. Blocking.
pub fn file_sha256(path: &Path) -> io::Result<Sha256Digest> {
    let mut file = File::open(path)?;
    let mut hasher = Sha256::new();
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        match file.read(&mut chunk)? {
            0 => return Ok(Sha256Digest(hasher.finalize().into())),
            length => hasher.update(&chunk[..length]),
        }
    }
}

/// The safetensors files of a component in order of name, as the engine chooses them: without `.fp16` in the name if there are any.
fn weight_files(component: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match std::fs::read_dir(component) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "safetensors") {
            files.push(path);
        }
    }
    files.sort();
    let is_half = |path: &PathBuf| path.to_string_lossy().contains(".fp16");
    if !files.iter().all(is_half) {
        files.retain(|path| !is_half(path));
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(directory: &Path, name: &str, content: &str) {
        let path = directory.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    #[test]
    fn the_files_the_engine_reads_are_hashed_and_changes_are_seen() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        write(path, "unet/a.safetensors", "plain");
        write(path, "unet/a.fp16.safetensors", "half");
        write(path, "vae/a.fp16.safetensors", "half");
        write(path, "text_encoder/model-00001-of-00002.safetensors", "one");
        write(path, "text_encoder/model-00002-of-00002.safetensors", "two");
        let cache = IdentityCache::default();
        assert_eq!(cache.known(path), None);
        let identity = cache.identify(path).unwrap();
        assert_eq!(cache.known(path).as_ref(), Some(&identity));
        let shards = [Sha256Digest::of(b"one").0, Sha256Digest::of(b"two").0].concat();
        assert_eq!(identity.components["unet"], Sha256Digest::of(b"plain"));
        assert_eq!(identity.components["vae"], Sha256Digest::of(b"half"));
        assert_eq!(identity.components["text_encoder"], Sha256Digest::of(&shards));
        assert_eq!(identity.components.len(), 3);
        assert_eq!(identity.short_hash().unwrap(), Sha256Digest::of(b"plain").to_string()[..10]);
        assert_eq!(cache.identify(path).unwrap(), identity);
        write(path, "unet/a.safetensors", "changed");
        assert_eq!(cache.known(path), None);
        assert_eq!(cache.identify(path).unwrap().components["unet"], Sha256Digest::of(b"changed"));
    }

    #[test]
    fn nothing_has_no_name() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(IdentityCache::default().identify(directory.path()).unwrap().short_hash(), None);
    }
}
