//! The disk tier of weights: which files of packed weights stay.
//!
//! The engine packs a model once for each precision and family of kernels, and every worker of the machine maps the file. When a model was
//! last used is the modification time of its files, which loading sets. Which models go is decided by
//! [`residency::choose_evictions`](super::residency::choose_evictions).

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use framewright_engine::weights::{PackedCache, PackedListing};

use super::residency::{Resident, choose_evictions};
use crate::domain::{ModelId, UnixMs};

/// What a [`sweep`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PackedSweep {
    /// Files that stay, …
    pub kept_files: u64,
    /// … and what they take.
    pub kept_bytes: u64,
    /// Models that were removed because the tier was too full, …
    pub evicted_models: u64,
    /// … their files, …
    pub evicted_files: u64,
    /// … and what they took.
    pub evicted_bytes: u64,
    /// Files removed because they are good for nothing any more: damaged, of another build, of a model that has changed or is gone, …
    pub outdated_files: u64,
    /// … and what they took.
    pub outdated_bytes: u64,
    /// Unfinished files of processes that died while they packed.
    pub unfinished_files: u64,
    /// What the models in use take beyond the limit.
    pub excess_bytes: u64,
}

/// Removes what is outdated or was left unfinished, then the least recently used models until the rest takes at most `max_bytes`
/// (no limit: `None`). Blocking.
///
/// `installed`: every model with its directory. `in_use`: models that a running worker may have mapped. Their files stay whatever they
/// are: to remove a mapped file would harm nobody, but its space stays taken, and the next worker would have to pack again.
pub fn sweep(
    cache: &PackedCache,
    installed: &[(ModelId, PathBuf)],
    in_use: &BTreeSet<ModelId>,
    max_bytes: Option<u64>,
) -> io::Result<PackedSweep> {
    // Files name the directory without links.
    let models: BTreeMap<PathBuf, &ModelId> =
        installed.iter().filter_map(|(model, directory)| Some((directory.canonicalize().ok()?, model))).collect();
    let owner = |listing: &PackedListing| listing.model.as_deref().and_then(|directory| models.get(directory)).copied();

    let mut sweep = PackedSweep { unfinished_files: cache.remove_leftovers()? as u64, ..PackedSweep::default() };
    let mut kept: BTreeMap<&ModelId, Vec<PackedListing>> = BTreeMap::new();
    for listing in cache.list()? {
        match owner(&listing) {
            Some(model) if listing.current || in_use.contains(model) => kept.entry(model).or_default().push(listing),
            None if listing.current && listing.model.as_deref().is_some_and(is_out_of_reach) => {
                sweep.kept_files += 1;
                sweep.kept_bytes += listing.bytes;
            }
            _ => {
                remove(&listing.path)?;
                sweep.outdated_files += 1;
                sweep.outdated_bytes += listing.bytes;
            }
        }
    }

    let residents: Vec<Resident> = kept.iter().map(|(model, files)| resident(model, files, in_use.contains(*model))).collect();
    let evicted = match choose_evictions(&residents, 0, max_bytes.unwrap_or(u64::MAX)) {
        Ok(models) => models,
        // Those in use alone are too much.
        Err(_) => residents.iter().filter(|resident| !resident.pinned).map(|resident| resident.model.clone()).collect(),
    };
    sweep.evicted_models = evicted.len() as u64;
    for (model, files) in kept {
        for listing in files {
            if evicted.contains(model) {
                remove(&listing.path)?;
                sweep.evicted_files += 1;
                sweep.evicted_bytes += listing.bytes;
            } else {
                sweep.kept_files += 1;
                sweep.kept_bytes += listing.bytes;
            }
        }
    }
    sweep.excess_bytes = sweep.kept_bytes.saturating_sub(max_bytes.unwrap_or(u64::MAX));
    // The locks of what has gone.
    cache.remove_leftovers()?;
    Ok(sweep)
}

/// Whether a model may be there although it is not seen: its disk does not answer, or is not mounted. A model that was removed is known
/// by the others beside it.
fn is_out_of_reach(model: &Path) -> bool {
    let has_others = |directory: &Path| fs::read_dir(directory).is_ok_and(|mut entries| entries.next().is_some());
    match model.try_exists() {
        Ok(is_there) => !is_there && !model.parent().is_some_and(has_others),
        Err(_) => true,
    }
}

/// All files of a model as one resident of the tier.
fn resident(model: &ModelId, files: &[PackedListing], pinned: bool) -> Resident {
    Resident {
        model: model.clone(),
        bytes: files.iter().map(|listing| listing.bytes).sum(),
        last_used: files.iter().map(|listing| unix_ms(listing.last_used)).max().unwrap_or(UnixMs(0)),
        pinned,
    }
}

fn unix_ms(time: SystemTime) -> UnixMs {
    UnixMs(time.duration_since(UNIX_EPOCH).map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX)))
}

/// Another process may have been faster.
fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{File, FileTimes};
    use std::time::Duration;

    use framewright_engine::ops::{Interrupt, KernelPath, Ops, Precision};
    use framewright_engine::pipelines::sdxl::SdxlModel;
    use framewright_engine::weights::Variant;
    use tempfile::TempDir;

    use super::*;

    /// The demo model installed under several names, packed by the plain kernels; `a` was used first.
    struct Tier {
        directory: TempDir,
        cache: PackedCache,
        installed: Vec<(ModelId, PathBuf)>,
        /// What each file takes.
        bytes: u64,
    }

    fn id(name: &str) -> ModelId {
        name.parse().unwrap()
    }

    fn copy(from: &Path, to: &Path) {
        fs::create_dir_all(to).unwrap();
        for entry in fs::read_dir(from).unwrap() {
            let path = entry.unwrap().path();
            let target = to.join(path.file_name().unwrap());
            if path.is_dir() {
                copy(&path, &target);
            } else {
                fs::hard_link(&path, &target).or_else(|_| fs::copy(&path, &target).map(|_| ())).unwrap();
            }
        }
    }

    impl Tier {
        fn new(names: &[&str]) -> Self {
            let directory = tempfile::tempdir().unwrap();
            let cache = PackedCache::new(directory.path().join("packed"));
            let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/demo-sdxl");
            let mut tier = Self { cache, installed: Vec::new(), bytes: 0, directory };
            for name in names {
                let path = tier.directory.path().join(name);
                copy(&demo, &path);
                tier.load(&path);
                tier.installed.push((id(name), path));
            }
            for (index, (_, path)) in tier.installed.iter().enumerate() {
                let listing = tier.listing(path).unwrap();
                let used = UNIX_EPOCH + Duration::from_secs(1_000_000_000 + index as u64);
                File::open(&listing.path).unwrap().set_times(FileTimes::new().set_modified(used)).unwrap();
                tier.bytes = tier.bytes.max(listing.bytes);
            }
            tier
        }

        fn load(&self, directory: &Path) -> bool {
            let ops = Ops::cpu(Precision::F32, Some(KernelPath::Gemm)).unwrap();
            let interrupt = Interrupt::default();
            let (_, packed_use) = SdxlModel::load_shared(directory, &ops, Variant::Plain, &self.cache, &interrupt).unwrap();
            assert!(packed_use.shared, "{packed_use:?}");
            packed_use.packed_now
        }

        fn listing(&self, directory: &Path) -> Option<PackedListing> {
            let directory = directory.canonicalize().ok();
            self.cache.list().unwrap().into_iter().find(|listing| listing.model == directory)
        }

        /// Names of the models that have a file.
        fn packed(&self) -> String {
            let packed = self.installed.iter().filter(|(_, path)| self.listing(path).is_some());
            packed.map(|(model, _)| model.to_string()).collect::<Vec<_>>().join(" ")
        }

        fn sweep(&self, in_use: &[&str], max_bytes: Option<u64>) -> PackedSweep {
            sweep(&self.cache, &self.installed, &in_use.iter().map(|name| id(name)).collect(), max_bytes).unwrap()
        }
    }

    #[test]
    fn the_least_recently_used_go_and_those_in_use_stay() {
        let tier = Tier::new(&["a", "b", "c"]);
        let kept = tier.sweep(&[], None);
        assert_eq!((kept.kept_files, kept.evicted_files, kept.outdated_files, kept.excess_bytes), (3, 0, 0, 0));

        // Used again, `a` is the newest.
        assert!(!tier.load(&tier.installed[0].1));
        let swept = tier.sweep(&[], Some(2 * tier.bytes + tier.bytes / 2));
        assert_eq!((swept.kept_files, swept.evicted_files), (2, 1));
        assert!(swept.evicted_bytes > 0 && swept.kept_bytes <= 2 * tier.bytes);
        assert_eq!(tier.packed(), "a c");

        let swept = tier.sweep(&["c"], Some(tier.bytes));
        assert_eq!((swept.evicted_files, swept.excess_bytes), (1, 0));
        assert_eq!(tier.packed(), "c");
        let swept = tier.sweep(&["c"], Some(1));
        assert_eq!((swept.evicted_files, swept.excess_bytes), (0, swept.kept_bytes - 1));
        assert_eq!(tier.packed(), "c");
        assert_eq!(tier.sweep(&[], Some(1)).evicted_files, 1);
        assert_eq!(fs::read_dir(tier.cache.directory()).unwrap().count(), 0, "locks go with their files");
    }

    #[test]
    fn too_much_in_use_evicts_everything_else() {
        let tier = Tier::new(&["a", "b"]);
        let swept = tier.sweep(&["a"], Some(1));
        assert_eq!((swept.kept_files, swept.evicted_files), (1, 1));
        assert_eq!(tier.packed(), "a");
    }

    #[test]
    fn models_whose_disk_is_not_there_keep_their_files() {
        let directory = tempfile::tempdir().unwrap();
        let models = directory.path().join("models");
        for name in ["a", "b"] {
            fs::create_dir_all(models.join(name)).unwrap();
        }
        let model = models.join("a");
        assert!(!is_out_of_reach(&model), "it is there");
        fs::remove_dir(&model).unwrap();
        assert!(!is_out_of_reach(&model), "others are there, and it is not");
        fs::remove_dir(models.join("b")).unwrap();
        assert!(is_out_of_reach(&model), "as where nothing is mounted");
        fs::remove_dir(&models).unwrap();
        assert!(is_out_of_reach(&model));
    }

    #[test]
    fn what_is_good_for_nothing_goes() {
        let mut tier = Tier::new(&["changed", "changed-in-use", "gone", "stays"]);
        let directory = |name: &str| tier.directory.path().join(name);
        for name in ["changed", "changed-in-use"] {
            let path = directory(name).join("vae/config.json");
            let text = fs::read_to_string(&path).unwrap();
            fs::remove_file(&path).unwrap();
            fs::write(&path, format!("{text} ")).unwrap();
        }
        let packed = tier.cache.directory();
        fs::write(packed.join("broken.packed"), "nothing").unwrap();
        fs::write(packed.join("half.unfinished"), "half").unwrap();
        fs::write(packed.join("mine.txt"), "not the cache's").unwrap();
        tier.installed.retain(|(model, _)| model.as_str() != "gone");

        let swept = tier.sweep(&["changed-in-use"], None);
        assert_eq!((swept.kept_files, swept.outdated_files, swept.evicted_files, swept.unfinished_files), (2, 3, 0, 1));
        assert_eq!(tier.packed(), "changed-in-use stays");
        assert!(tier.cache.directory().join("mine.txt").exists());
        assert_eq!(tier.sweep(&[], None).outdated_files, 1);
    }
}
