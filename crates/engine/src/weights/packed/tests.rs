//! A small network through the cache: packed once, shared, and never believed when damaged.

use std::fs::{self, File, FileTimes};
use std::path::{Path, PathBuf};
use std::sync::Barrier;
use std::time::{Duration, SystemTime};

use safetensors::tensor::{Dtype, TensorView, serialize_to_file};
use tempfile::TempDir;

use super::cache::PackedCache;
use super::*;
use crate::activation::Shape;
use crate::error::{Error, Result};
use crate::ops::{Epilogue, Interrupt, KernelPath, LayerNorm, Linear, Ops, Output, Precision};
use crate::weights::random::uniform;
use crate::weights::{Checkpoint, Variant};

const WIDTH: usize = 24;
const OUTPUTS: usize = 40;
const COMPONENTS: [(&str, &str); 1] = [("unet", "model")];

/// A model directory with a norm and a linear layer.
struct Model {
    directory: TempDir,
}

impl Model {
    fn new() -> Self {
        let model = Self { directory: tempfile::tempdir().unwrap() };
        fs::create_dir(model.path().join("unet")).unwrap();
        fs::write(model.path().join("unet/config.json"), "{}").unwrap();
        model.write_weights("first", &["norm.weight", "norm.bias", "linear.weight", "linear.bias"]);
        model
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn weights(&self) -> PathBuf {
        self.path().join("unet/model.safetensors")
    }

    fn write_weights(&self, salt: &str, names: &[&str]) {
        let tensors: Vec<(&str, Vec<usize>, Vec<u8>)> = names
            .iter()
            .map(|name| {
                let shape = match *name {
                    "linear.weight" => vec![OUTPUTS, WIDTH],
                    "linear.bias" => vec![OUTPUTS],
                    _ => vec![WIDTH],
                };
                let values = uniform(&format!("{salt}{name}"), shape.iter().product(), 0.0, 1.0);
                (*name, shape, values.into_iter().flat_map(f32::to_le_bytes).collect())
            })
            .collect();
        let views = tensors.iter().map(|(name, shape, data)| (*name, TensorView::new(Dtype::F32, shape.clone(), data).unwrap()));
        serialize_to_file(views, None, &self.weights()).unwrap();
    }

    fn identity(&self) -> Identity {
        Identity::read(self.path(), COMPONENTS, Variant::Plain, KernelPath::Gemm, Precision::F32).unwrap()
    }

    fn build(&self, packed: Option<Packed<'_>>, interrupt: &Interrupt) -> Result<Network> {
        let ops = Ops::cpu(Precision::F32, Some(KernelPath::Gemm))?;
        let checkpoint = Checkpoint::open("unet", &self.path().join("unet"), "model", Variant::Plain)?;
        let (norm, linear) = checkpoint.fill(packed, interrupt, |scope| {
            let norm = LayerNorm::load(&ops, &scope.enter("norm"), WIDTH, 1e-5)?;
            Ok((norm, Linear::load(&ops, &scope.enter("linear"), WIDTH, OUTPUTS, true)?))
        })?;
        Ok(Network { ops, norm, linear })
    }

    fn share(&self, cache: &PackedCache) -> (Network, PackedUse) {
        let interrupt = Interrupt::default();
        cache.share(&self.identity(), &interrupt, |packed| self.build(packed, &interrupt)).unwrap()
    }

    fn owned_output(&self) -> Vec<u32> {
        self.build(None, &Interrupt::default()).unwrap().output()
    }
}

#[derive(Debug)]
struct Network {
    ops: Ops,
    norm: LayerNorm,
    linear: Linear,
}

impl Network {
    /// Bits of what the network makes of fixed input.
    fn output(&self) -> Vec<u32> {
        let input = self.ops.upload(Shape::sequence(1, 3, WIDTH), &uniform("input", 3 * WIDTH, 0.0, 1.0)).unwrap();
        let normed = self.norm.forward(&self.ops, &input, Output::Operand).unwrap();
        let result = self.linear.forward(&self.ops, &normed, Epilogue::default()).unwrap();
        self.ops.download(&result).unwrap().into_iter().map(f32::to_bits).collect()
    }
}

/// A cache in a directory that is not there yet.
fn cache() -> (TempDir, PackedCache) {
    let parent = tempfile::tempdir().unwrap();
    let cache = PackedCache::new(parent.path().join("data/packed"));
    (parent, cache)
}

/// Names in the cache's directory by ending.
fn names(cache: &PackedCache, ending: &str) -> Vec<String> {
    let names = fs::read_dir(cache.directory()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.ends_with(ending)).collect()
}

fn set_modified(path: &Path, time: SystemTime) {
    File::options().write(true).open(path).unwrap().set_times(FileTimes::new().set_modified(time)).unwrap();
}

#[test]
fn a_model_is_packed_once_and_computes_the_same() {
    let (model, (_parent, cache)) = (Model::new(), cache());
    let expected = model.owned_output();
    let (first, packed_use) = model.share(&cache);
    assert!(packed_use.packed_now && packed_use.shared && packed_use.reason.is_none());
    assert_eq!(first.output(), expected);

    let listed = cache.list().unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!((listed[0].bytes, listed[0].current), (packed_use.bytes, true));
    assert_eq!(listed[0].model.as_deref(), Some(model.path().canonicalize().unwrap().as_path()));

    let long_ago = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    set_modified(&listed[0].path, long_ago);
    assert_eq!(cache.list().unwrap()[0].last_used, long_ago);
    let (second, packed_use) = model.share(&cache);
    assert!(!packed_use.packed_now && packed_use.shared);
    assert_eq!(second.output(), expected);
    assert!(cache.list().unwrap()[0].last_used > long_ago, "loading marks the file as used");

    // A file that is removed, or replaced, under a map stays as it was for those who have it.
    fs::remove_file(&listed[0].path).unwrap();
    assert!(model.share(&cache).1.packed_now);
    assert_eq!(second.output(), expected);
    assert_eq!(names(&cache, "unfinished"), [""; 0]);
}

#[test]
fn other_weights_configurations_kernels_and_precisions_are_other_files() {
    let (model, (_parent, cache)) = (Model::new(), cache());
    let before = model.identity();
    model.share(&cache);
    let modified = fs::metadata(model.weights()).unwrap().modified().unwrap();

    // The same length, time and header.
    model.write_weights("second", &["norm.weight", "norm.bias", "linear.weight", "linear.bias"]);
    set_modified(&model.weights(), modified);
    assert_ne!(model.identity().file_name(), before.file_name());
    assert!(cache.list().unwrap()[0].current, "a list does not read weights: who loads finds out");
    let (network, packed_use) = model.share(&cache);
    assert!(packed_use.packed_now);
    assert_eq!(network.output(), model.owned_output());

    let with =
        |kernels, precision| Identity::read(model.path(), COMPONENTS, Variant::Plain, kernels, precision).unwrap().file_name();
    let configured = model.identity().file_name();
    fs::write(model.path().join("unet/config.json"), "{ }").unwrap();
    let files = [
        configured,
        with(KernelPath::Gemm, Precision::F32),
        with(KernelPath::Avx512, Precision::F32),
        with(KernelPath::Gemm, Precision::Bf16),
    ];
    assert_eq!(files.iter().collect::<std::collections::BTreeSet<_>>().len(), files.len(), "{files:?}");
}

/// The packed file with another index, whose checksum is right.
fn with_index(bytes: &[u8], change: impl FnOnce(&mut Index)) -> Vec<u8> {
    let field = |index: usize| u64::from_le_bytes(bytes[8 * index..8 * index + 8].try_into().unwrap());
    let offset = field(2) as usize;
    let mut index: Index = serde_json::from_slice(&bytes[offset..]).unwrap();
    change(&mut index);
    let text = serde_json::to_vec(&index).unwrap();
    let mut changed = [&bytes[..offset], &text].concat();
    let fields = [text.len() as u64, checksum(&text), changed.len() as u64];
    for (index, field) in (3..).zip(fields) {
        changed[8 * index..8 * index + 8].copy_from_slice(&field.to_le_bytes());
    }
    changed
}

fn with_field(bytes: &[u8], field: usize, value: u64) -> Vec<u8> {
    let mut changed = bytes.to_vec();
    changed[8 * field..8 * field + 8].copy_from_slice(&value.to_le_bytes());
    changed
}

#[test]
fn damaged_and_hostile_files_are_packed_again() {
    let (model, (_parent, cache)) = (Model::new(), cache());
    let expected = model.owned_output();
    model.share(&cache);
    let path = cache.list().unwrap()[0].path.clone();
    let good = fs::read(&path).unwrap();
    let entry = |name: &'static str, start: u64, length: u64| {
        with_index(&good, |index| *index.entries.get_mut(name).unwrap() = (start, length))
    };
    let weights = (OUTPUTS.next_multiple_of(32) * WIDTH * 4) as u64;
    let mut flipped = good.clone();
    *flipped.last_mut().unwrap() ^= 1;
    let mut hostile = vec![
        ("empty", Vec::new()),
        ("another magic", [b"FWPICKED", &good[8..]].concat()),
        ("longer than it says", [good.as_slice(), b" "].concat()),
        ("a flipped bit in the index", flipped),
        ("no entries", with_index(&good, |index| index.entries.clear())),
        ("an entry too short", entry("unet/norm.bias", 64, 4)),
        ("an entry beyond the file", entry("unet/linear.weight", 1 << 40, weights)),
        ("an entry that overflows", entry("unet/linear.weight", u64::MAX - 63, weights)),
        ("an entry of absurd length", entry("unet/linear.weight", 64, u64::MAX)),
        ("an entry over the index", entry("unet/linear.weight", good.len() as u64 / 64 * 64 - 64, weights)),
        ("an entry that is not aligned", entry("unet/linear.weight", 68, weights)),
        ("deep JSON", with_field(&[&good[..64], "[".repeat(100_000).as_bytes()].concat(), 5, 100_064)),
    ];
    // Version, offset and length of the index, its checksum, length of the file.
    for field in 1..=5 {
        for value in [0, 1, 63, good.len() as u64 - 1, good.len() as u64 + 1, 1 << 40, u64::MAX - 63, u64::MAX] {
            let changed = with_field(&good, field, value);
            if changed != good {
                hostile.push(("a header field", changed));
            }
        }
    }
    hostile.extend((0..good.len()).step_by(97).map(|length| ("truncated", good[..length].to_vec())));
    for (what, bytes) in hostile {
        // As a process would leave it that keeps to the rules: another file under the name.
        fs::remove_file(&path).unwrap();
        fs::write(&path, &bytes).unwrap();
        let (network, packed_use) = model.share(&cache);
        assert!(packed_use.packed_now && packed_use.shared, "{what}: {packed_use:?}");
        assert_eq!(network.output(), expected, "{what}");
        assert!(fs::read(&path).unwrap() == good, "{what}: packing the same gives the same file");
    }
    fs::remove_file(&path).unwrap();
    fs::write(&path, "no packed weights").unwrap();
    let listed = cache.list().unwrap();
    assert_eq!((listed[0].model.as_deref(), listed[0].current), (None, false));
}

#[test]
fn a_model_loads_where_nothing_can_be_written() {
    let model = Model::new();
    let expected = model.owned_output();
    let (parent, cache) = cache();
    let full = cache.clone().with_most_file_bytes(4096);
    fs::write(parent.path().join("file"), "").unwrap();
    let below_a_file = PackedCache::new(parent.path().join("file/packed"));
    for (cache, said) in [(&full, "4096 bytes allowed"), (&below_a_file, "Not a directory")] {
        let (network, packed_use) = model.share(cache);
        assert!(!packed_use.shared && !packed_use.packed_now && packed_use.bytes == 0);
        assert!(packed_use.reason.clone().unwrap().contains(said), "{packed_use:?}");
        assert_eq!(network.output(), expected);
    }
    assert_eq!(names(&full, "packed"), [""; 0]);
    assert_eq!(names(&full, "unfinished"), [""; 0]);
    // What is there already is used: nothing has to be written.
    assert!(model.share(&cache).1.packed_now);
    assert!(model.share(&full).1.shared);
}

#[test]
fn a_broken_checkpoint_is_the_error_that_it_always_is() {
    let (model, (_parent, cache)) = (Model::new(), cache());
    for (names, said) in [
        (vec!["norm.weight", "norm.bias", "linear.weight"], "linear.bias is missing"),
        (vec!["norm.weight", "norm.bias", "linear.weight", "linear.bias", "other.bias"], "other.bias"),
    ] {
        model.write_weights("first", &names);
        let interrupt = Interrupt::default();
        let shared = cache.share(&model.identity(), &interrupt, |packed| model.build(packed, &interrupt));
        let error = shared.unwrap_err().to_string();
        assert!(error.contains(said), "{error}");
    }
    assert_eq!(names(&cache, "packed"), [""; 0]);
    assert_eq!(names(&cache, "unfinished"), [""; 0]);
}

#[test]
fn of_many_at_once_one_packs() {
    let (model, (_parent, cache)) = (Model::new(), cache());
    let expected = model.owned_output();
    let start = Barrier::new(8);
    let uses: Vec<PackedUse> = std::thread::scope(|scope| {
        let load = || {
            start.wait();
            let (network, packed_use) = model.share(&cache);
            assert_eq!(network.output(), expected);
            packed_use
        };
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(load)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(uses.iter().all(|packed_use| packed_use.shared));
    assert_eq!(uses.iter().filter(|packed_use| packed_use.packed_now).count(), 1);
}

#[test]
fn who_waits_for_another_to_pack_can_be_stopped() {
    let (model, (_parent, cache)) = (Model::new(), cache());
    fs::create_dir_all(cache.directory()).unwrap();
    let path = cache.directory().join(model.identity().file_name()).with_extension("lock");
    let held = File::create(&path).unwrap();
    held.lock().unwrap();
    let interrupt = Interrupt::default();
    std::thread::scope(|scope| {
        let waiting =
            scope.spawn(|| cache.share(&model.identity(), &interrupt, |packed| model.build(packed, &interrupt)).map(|_| ()));
        while interrupt.ticks() < 4 {
            std::thread::yield_now();
        }
        assert!(!waiting.is_finished());
        interrupt.cancel();
        assert!(matches!(waiting.join().unwrap(), Err(Error::Cancelled)));
    });
    // Nobody but the holder may touch what is being written.
    let unfinished = path.with_extension("unfinished");
    fs::write(&unfinished, "half a model").unwrap();
    assert_eq!(cache.remove_leftovers().unwrap(), 0);
    drop(held);
    assert_eq!(cache.remove_leftovers().unwrap(), 1);
    assert_eq!(fs::read_dir(cache.directory()).unwrap().count(), 0, "the lock of nothing goes, too");
    assert!(model.share(&cache).1.packed_now);
    assert_eq!(cache.remove_leftovers().unwrap(), 0);
    assert_eq!(names(&cache, "packed").len(), 1);
}

#[test]
fn only_what_has_certainly_changed_is_outdated() {
    let (model, (parent, cache)) = (Model::new(), cache());
    model.share(&cache);
    let is_current = || cache.list().unwrap()[0].current;
    assert!(is_current());

    // A disk that is not there.
    let (unet, away) = (model.path().join("unet"), parent.path().join("away"));
    fs::rename(&unet, &away).unwrap();
    assert!(is_current());
    fs::rename(&away, &unet).unwrap();

    let modified = fs::metadata(model.weights()).unwrap().modified().unwrap();
    set_modified(&model.weights(), modified + Duration::from_nanos(1));
    assert!(!is_current(), "another time");
    set_modified(&model.weights(), modified);
    assert!(is_current());
    fs::write(unet.join("config.json"), "{ }").unwrap();
    assert!(!is_current(), "another configuration");
    fs::write(unet.join("config.json"), "{}").unwrap();
    assert!(is_current());
    fs::remove_file(model.weights()).unwrap();
    assert!(!is_current(), "its directory is there, and the file is not");
}

#[test]
fn what_is_packed_while_the_model_changes_is_not_kept() {
    let (model, (_parent, cache)) = (Model::new(), cache());
    let interrupt = Interrupt::default();
    let (network, packed_use) = cache
        .share(&model.identity(), &interrupt, |packed| {
            let is_packing = matches!(packed, Some(Packed::Writing(_)));
            let built = model.build(packed, &interrupt);
            if is_packing {
                model.write_weights("second", &["norm.weight", "norm.bias", "linear.weight", "linear.bias"]);
            }
            built
        })
        .unwrap();
    assert!(
        !packed_use.shared && packed_use.reason.clone().unwrap().contains("changed while they were packed"),
        "{packed_use:?}"
    );
    assert_eq!(network.output(), model.owned_output());
    assert_eq!(names(&cache, "packed"), [""; 0]);
    assert_eq!(names(&cache, "unfinished"), [""; 0]);
    assert!(model.share(&cache).1.packed_now);
}

#[test]
fn a_cache_that_was_never_used_is_empty() {
    let (_parent, cache) = cache();
    assert!(cache.list().unwrap().is_empty());
    assert_eq!(cache.remove_leftovers().unwrap(), 0);
}
