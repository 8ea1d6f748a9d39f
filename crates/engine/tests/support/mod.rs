//! What the golden tests share: fixtures, the devices to try, measures of difference, checkpoints made of formula weights.

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

/// Inputs of golden cases are uniform within this, from the formula of the weights.
const INPUT_SPREAD: f32 = 1.75;

pub(crate) fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

pub(crate) fn json(path: &Path) -> Value {
    let text = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display())).unwrap();
    serde_json::from_str(&text).unwrap()
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

/// Every case of a folder of fixtures.
pub(crate) fn cases(folder: &str) -> Vec<Case> {
    let mut paths: Vec<PathBuf> = fs::read_dir(fixtures().join(folder)).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    paths.sort();
    assert!(!paths.is_empty(), "{folder} has no cases");
    let case = |path: PathBuf| Case {
        name: path.file_stem().unwrap().to_string_lossy().into_owned(),
        description: json(&path),
        outputs: arrays(&path.with_extension("safetensors")),
    };
    paths.into_iter().map(case).collect()
}

impl Case {
    /// The configuration, as the network's own type.
    pub(crate) fn config<T: serde::de::DeserializeOwned>(&self) -> T {
        serde_json::from_value(self.description["config"].clone()).unwrap()
    }

    /// The input called `name`.
    pub(crate) fn input(&self, name: &str) -> Array {
        let shape = numbers(&self.description["inputs"][name]).into_iter().map(|side| side as usize).collect::<Vec<_>>();
        let values = uniform(name, shape.iter().product(), 0.0, INPUT_SPREAD);
        Array { shape, values }
    }
}

pub(crate) fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
}

pub(crate) fn arrays(path: &Path) -> BTreeMap<String, Array> {
    let bytes = fs::read(path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    file.iter()
        .filter(|(_, view)| view.dtype() == Dtype::F32)
        .map(|(name, view)| {
            let values = view.data().as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
            (name.to_owned(), Array { shape: view.shape().to_vec(), values })
        })
        .collect()
}

/// Every way this machine can compute in f32, by name.
pub(crate) fn devices() -> Vec<(String, Ops)> {
    let cpu = KernelPath::available().into_iter().map(|path| Ops::cpu(Precision::F32, Some(path)).unwrap());
    let candle = Ops::candle(candle_core::Device::Cpu, Precision::F32).unwrap();
    cpu.chain([candle]).map(|ops| (ops.description(), ops)).collect()
}

/// The CPU's own kernels alone.
pub(crate) fn kernels() -> Vec<(String, Ops)> {
    let cpu = KernelPath::available().into_iter().map(|path| Ops::cpu(Precision::F32, Some(path)).unwrap());
    cpu.map(|ops| (ops.description(), ops)).collect()
}

/// Fails unless both the largest difference, by the largest value, and the relative L2 distance are within `tolerance`.
pub(crate) fn assert_close(what: &str, given: &[f32], expected: &[f32], tolerance: f64) {
    assert_eq!(given.len(), expected.len(), "{what}: number of values");
    assert!(given.iter().all(|value| value.is_finite()), "{what}: not finite");
    let pairs = || given.iter().zip(expected).map(|(given, expected)| (f64::from(*given), f64::from(*expected)));
    let largest = pairs().map(|(_, expected)| expected.abs()).fold(0.0, f64::max);
    let difference = pairs().map(|(given, expected)| (given - expected).abs()).fold(0.0, f64::max) / largest;
    let norm = pairs().map(|(_, expected)| expected * expected).sum::<f64>().sqrt();
    let distance = pairs().map(|(given, expected)| (given - expected).powi(2)).sum::<f64>().sqrt() / norm;
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
    if component.starts_with("text_encoder") { "model" } else { "diffusion_pytorch_model" }
}

/// A fixture checkpoint as a user would have it on disk: the committed configuration, the tokenizers, weights by formula.
pub(crate) fn write_checkpoint(name: &str, target: &Path) {
    let source = fixtures().join("checkpoints").join(name);
    let golden = json(&source.join("golden.json"));
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
}
