//! What the golden tests share: fixtures, the devices to try, measures of difference, checkpoints made of formula weights.

#![expect(clippy::unwrap_used, clippy::panic, reason = "what a test cannot go on without fails it")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use framewright_engine::latent::Latent;
use framewright_engine::ops::{KernelPath, Ops, Precision};
use framewright_engine::weights::RandomWeights;
use framewright_engine::weights::random::uniform;
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView, serialize_to_file};
use serde_json::Value;
use tempfile::TempDir;

/// Inputs of golden cases are uniform within this, from the formula of the weights.
const INPUT_SPREAD: f32 = 1.75;

pub(crate) fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

/// A JSON file; a relative path begins at the fixtures.
pub(crate) fn json(path: impl AsRef<Path>) -> Value {
    let path = fixtures().join(path);
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A golden case: what was computed, and what came out.
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) description: Value,
    pub(crate) outputs: BTreeMap<String, Array>,
}

/// Values in torch's order.
#[derive(Clone, Debug)]
pub(crate) struct Array {
    pub(crate) shape: Vec<usize>,
    pub(crate) values: Vec<f32>,
}

impl Array {
    /// The part of one batch member.
    pub(crate) fn row(&self, row: usize) -> &[f32] {
        let length = self.values.len() / self.shape[0];
        &self.values[row * length..][..length]
    }

    /// One batch member of [batch, channels, height, width] as a latent.
    pub(crate) fn latent(&self, row: usize) -> Latent {
        Latent::from_channels_first(1, self.shape[1], self.shape[2], self.shape[3], self.row(row))
    }
}

/// Names of the cases in a folder of fixtures: its JSON files, sorted.
pub(crate) fn names(folder: &str) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(fixtures().join(folder))
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().to_str()?.strip_suffix(".json").map(str::to_owned))
        .collect();
    assert!(!names.is_empty(), "{folder} has no cases");
    names.sort();
    names
}

/// Every case of a folder of fixtures.
pub(crate) fn cases(folder: &str) -> Vec<Case> {
    let case = |name: String| Case {
        description: json(format!("{folder}/{name}.json")),
        outputs: arrays(format!("{folder}/{name}.safetensors")),
        name,
    };
    names(folder).into_iter().map(case).collect()
}

impl Case {
    /// The configuration, as the network's own type.
    pub(crate) fn config<T: serde::de::DeserializeOwned>(&self) -> T {
        serde_json::from_value(self.description["config"].clone()).unwrap()
    }

    /// The input called `name`.
    pub(crate) fn input(&self, name: &str) -> Array {
        let shape = numbers(&self.description["inputs"][name]).into_iter().map(|side| side as usize).collect::<Vec<_>>();
        Array { values: input(name, shape.iter().product()), shape }
    }
}

/// The input of a golden case called `name`, flat, in torch's order.
pub(crate) fn input(name: &str, count: usize) -> Vec<f32> {
    uniform(name, count, 0.0, INPUT_SPREAD)
}

pub(crate) fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
}

/// The arrays of a safetensors file, whose relative path begins at the fixtures; bytes become floats.
pub(crate) fn arrays(path: impl AsRef<Path>) -> BTreeMap<String, Array> {
    let path = fixtures().join(path);
    let bytes = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let file = SafeTensors::deserialize(&bytes).unwrap();
    file.iter()
        .map(|(name, view)| {
            let values = match view.dtype() {
                Dtype::F32 => view.data().as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect(),
                Dtype::U8 => view.data().iter().map(|byte| f32::from(*byte)).collect(),
                other => panic!("{}: {name} is {other:?}", path.display()),
            };
            (name.to_owned(), Array { shape: view.shape().to_vec(), values })
        })
        .collect()
}

/// Every way this machine can compute in f32, by name; a build with CUDA must find a GPU.
pub(crate) fn devices() -> Vec<(String, Ops)> {
    let cpu = KernelPath::available().into_iter().map(|path| Ops::cpu(Precision::F32, Some(path)).unwrap());
    let candle = [
        Ops::candle(candle_core::Device::Cpu, Precision::F32).unwrap(),
        #[cfg(feature = "cuda")]
        Ops::cuda(0, Precision::F32).unwrap(),
    ];
    cpu.chain(candle).map(|ops| (ops.description(), ops)).collect()
}

/// The CPU's own kernels alone.
pub(crate) fn kernels() -> Vec<(String, Ops)> {
    let cpu = KernelPath::available().into_iter().map(|path| Ops::cpu(Precision::F32, Some(path)).unwrap());
    cpu.map(|ops| (ops.description(), ops)).collect()
}

/// How far `given` is from `expected`: the largest difference over the largest expected value, and the relative L2 distance.
#[track_caller]
pub(crate) fn distance(given: &[f32], expected: &[f32]) -> (f64, f64) {
    assert_eq!(given.len(), expected.len(), "number of values");
    let (mut difference, mut peak) = (0.0_f64, 0.0_f64);
    let (mut squares, mut norm) = (0.0, 0.0);
    for (given, expected) in given.iter().zip(expected) {
        let (given, expected) = (f64::from(*given), f64::from(*expected));
        let apart = given - expected;
        assert!(apart.is_finite(), "{given} for {expected}");
        difference = difference.max(apart.abs());
        peak = peak.max(expected.abs());
        squares += apart * apart;
        norm += expected * expected;
    }
    // Zeros are at distance 0 from zeros, and far from anything else.
    (difference / peak.max(f64::MIN_POSITIVE), (squares / norm.max(f64::MIN_POSITIVE)).sqrt())
}

/// Prints both measures of [`distance`], and fails unless they are within `tolerance`.
#[track_caller]
#[expect(clippy::print_stdout, reason = "how close it came is read from the output of a run")]
pub(crate) fn assert_close(what: &str, given: &[f32], expected: &[f32], tolerance: f64) {
    assert_eq!(given.len(), expected.len(), "{what}: number of values");
    assert!(given.iter().all(|value| value.is_finite()), "{what}: not finite");
    let (difference, distance) = distance(given, expected);
    println!("{what}: max {difference:.2e}, L2 {distance:.2e}");
    assert!(
        difference <= tolerance && distance <= tolerance,
        "{what}: max {difference:.2e}, L2 {distance:.2e}, allowed {tolerance:e}"
    );
}

/// Name and shape of every tensor in a manifest.
pub(crate) fn manifest(path: &Path) -> Vec<(String, Vec<usize>)> {
    let line = |line: &str| {
        let (name, shape) = line.split_once('\t').unwrap();
        (name.to_owned(), shape.split('x').map(|side| side.parse().unwrap()).collect())
    };
    fs::read_to_string(path).unwrap().lines().map(line).collect()
}

/// Writes one safetensors file of formula weights; `half` stores f16.
pub(crate) fn write_weights(path: &Path, tensors: &[(String, Vec<usize>)], weights: &RandomWeights, half: bool) {
    let bytes = |(name, shape): &(String, Vec<usize>)| -> Vec<u8> {
        let values = weights.values(name, shape);
        if half {
            values.into_iter().flat_map(|value| half::f16::from_f32(value).to_le_bytes()).collect()
        } else {
            values.into_iter().flat_map(f32::to_le_bytes).collect()
        }
    };
    let data: Vec<Vec<u8>> = tensors.iter().map(bytes).collect();
    let dtype = if half { Dtype::F16 } else { Dtype::F32 };
    let views = tensors
        .iter()
        .zip(&data)
        .map(|((name, shape), data)| (name.as_str(), TensorView::new(dtype, shape.clone(), data).unwrap()));
    serialize_to_file(views, None, path).unwrap();
}

/// File name of a component's weights without its endings.
pub(crate) fn stem(component: &str) -> &'static str {
    if component.ends_with("encoder") || component == "text_encoder_2" { "model" } else { "diffusion_pytorch_model" }
}

/// `checkpoints/NAME` as a user would have it on disk: the committed configuration, the tokenizers, weights by formula.
pub(crate) fn checkpoint(name: &str) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let target = directory.path();
    let source = fixtures().join("checkpoints").join(name);
    let golden = json(source.join("golden.json"));
    fs::create_dir_all(target.join("scheduler")).unwrap();
    for file in ["model_index.json", "scheduler/scheduler_config.json"] {
        fs::copy(source.join(file), target.join(file)).unwrap();
    }
    for (component, salt) in golden["salts"].as_object().unwrap() {
        let (source, target) = (source.join(component), target.join(component));
        fs::create_dir_all(&target).unwrap();
        fs::copy(source.join("config.json"), target.join("config.json")).unwrap();
        let weights = RandomWeights::salted(salt.as_str().unwrap());
        let path = target.join(format!("{}.safetensors", stem(component)));
        write_weights(&path, &manifest(&source.join("tensors.tsv")), &weights, golden["stored"] == "f16");
    }
    for (component, folder) in golden["tokenizers"].as_object().unwrap() {
        let target = target.join(component);
        fs::create_dir_all(&target).unwrap();
        for entry in fs::read_dir(fixtures().join(folder.as_str().unwrap())).unwrap() {
            let path = entry.unwrap().path();
            fs::copy(&path, target.join(path.file_name().unwrap())).unwrap();
        }
    }
    directory
}
