//! What the golden tests share: the fixtures, the weight formula (written down a second time, so that it checks the engine's own),
//! and checkpoints written to disk from it in the published layout.

#![expect(dead_code, reason = "every test binary uses its own part of this module")]
#![expect(clippy::unwrap_used, clippy::panic, reason = "what a test cannot go on without fails it")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};

/// A reference array.
#[derive(Clone, Debug)]
pub(crate) struct Array {
    pub(crate) shape: Vec<usize>,
    pub(crate) values: Vec<f32>,
}

pub(crate) fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

/// `folder/name.json`.
pub(crate) fn json(path: &str) -> serde_json::Value {
    let path = fixtures().join(path);
    serde_json::from_str(&std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))).unwrap()
}

/// Every case of a folder: the names of its JSON files, sorted.
pub(crate) fn cases(folder: &str) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(fixtures().join(folder))
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().to_str()?.strip_suffix(".json").map(str::to_owned))
        .collect();
    names.sort();
    names
}

/// The arrays of a safetensors file; u8 arrays become floats.
pub(crate) fn arrays(path: &str) -> BTreeMap<String, Array> {
    let bytes = std::fs::read(fixtures().join(path)).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    file.iter()
        .map(|(name, view)| {
            let values = match view.dtype() {
                Dtype::F32 => view.data().chunks_exact(4).map(|chunk| f32::from_le_bytes(chunk.try_into().unwrap())).collect(),
                Dtype::U8 => view.data().iter().map(|byte| f32::from(*byte)).collect(),
                other => panic!("{path}: {name} is {other:?}"),
            };
            (name.to_owned(), Array { shape: view.shape().to_vec(), values })
        })
        .collect()
}

/// The weight formula of `fixtures/README.md`.
pub(crate) fn formula(salt: &str, name: &str, count: usize, offset: f32, scale: f32) -> Vec<f32> {
    let hash = salt
        .bytes()
        .chain(name.bytes())
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    (1..=count as u64)
        .map(|index| {
            let mut z = hash.wrapping_add(index.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^= z >> 31;
            let uniform = (z >> 40) as f32 * (0.5_f32).powi(24);
            offset + (2.0 * uniform - 1.0) * scale
        })
        .collect()
}

/// An input of a golden case, flat, in the order of torch.
pub(crate) fn input(name: &str, count: usize) -> Vec<f32> {
    formula("", name, count, 0.0, 1.75)
}

/// A weight.
pub(crate) fn weight(salt: &str, name: &str, shape: &[usize]) -> Vec<f32> {
    let fan_in: usize = shape.iter().skip(1).product();
    let (offset, scale) = if shape.len() == 1 {
        if name.ends_with(".weight") { (1.0, 0.2) } else { (0.0, 0.1) }
    } else if name.ends_with("token_embedding.weight") || name.ends_with("position_embedding.weight") {
        (0.0, 0.5)
    } else {
        let gain = if name.ends_with("conv_out.weight") { 0.5 } else { 1.0 };
        (0.0, gain * (3.0 / fan_in as f64).sqrt())
    };
    formula(salt, name, shape.iter().product(), offset, scale as f32)
}

/// Name and shape of every line of a `.tsv`.
pub(crate) fn manifest(path: &Path) -> Vec<(String, Vec<usize>)> {
    std::fs::read_to_string(path)
        .unwrap()
        .lines()
        .map(|line| {
            let (name, shape) = line.split_once('\t').unwrap();
            (name.to_owned(), shape.split('x').map(|side| side.parse().unwrap()).collect())
        })
        .collect()
}

/// Writes tensors by formula as one safetensors file, f32 or f16.
pub(crate) fn write_component(file: &Path, tensors: &[(String, Vec<usize>)], salt: &str, half_precision: bool) {
    let data: Vec<(String, Vec<usize>, Vec<u8>)> = tensors
        .iter()
        .map(|(name, shape)| {
            let values = weight(salt, name, shape);
            let bytes = if half_precision {
                values.iter().flat_map(|value| half::f16::from_f32(*value).to_le_bytes()).collect()
            } else {
                values.iter().flat_map(|value| value.to_le_bytes()).collect()
            };
            (name.clone(), shape.clone(), bytes)
        })
        .collect();
    let dtype = if half_precision { Dtype::F16 } else { Dtype::F32 };
    let views = data.iter().map(|(name, shape, bytes)| (name.clone(), TensorView::new(dtype, shape.clone(), bytes).unwrap()));
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    safetensors::serialize_to_file(views, None, file).unwrap();
}

/// The file name stem of a component's weights.
pub(crate) fn stem(component: &str) -> &'static str {
    if component.starts_with("text_encoder") { "model" } else { "diffusion_pytorch_model" }
}

/// `checkpoints/NAME` with its weights and tokenizers, in a directory of its own; `saved` is there already.
pub(crate) fn checkpoint(name: &str) -> tempfile::TempDir {
    let target = tempfile::tempdir().unwrap();
    if name == "saved" {
        copy_directory(&fixtures().join("saved"), target.path());
        return target;
    }
    let source = fixtures().join("checkpoints").join(name);
    copy_directory(&source, target.path());
    let golden = json(&format!("checkpoints/{name}/golden.json"));
    for (component, salt) in golden["salts"].as_object().unwrap() {
        let file = target.path().join(component).join(format!("{}.safetensors", stem(component)));
        let tensors = manifest(&source.join(component).join("tensors.tsv"));
        write_component(&file, &tensors, salt.as_str().unwrap(), golden["stored"] == "f16");
    }
    for (tokenizer, folder) in golden["tokenizers"].as_object().unwrap() {
        copy_directory(&fixtures().join(folder.as_str().unwrap()), &target.path().join(tokenizer));
    }
    target
}

fn copy_directory(source: &Path, target: &Path) {
    std::fs::create_dir_all(target).unwrap();
    for entry in std::fs::read_dir(source).unwrap() {
        let entry = entry.unwrap();
        let to = target.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_directory(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}

/// How far `actual` is from `expected`: the largest difference over the largest expected value, and the relative L2 distance.
pub(crate) fn distance(actual: &[f32], expected: &[f32]) -> (f64, f64) {
    assert_eq!(actual.len(), expected.len());
    let peak = expected.iter().fold(0.0_f64, |peak, value| peak.max(f64::from(value.abs())));
    let (mut largest, mut squares, mut norm) = (0.0_f64, 0.0, 0.0);
    for (left, right) in actual.iter().zip(expected) {
        let difference = f64::from(*left) - f64::from(*right);
        assert!(difference.is_finite(), "not a number");
        largest = largest.max(difference.abs());
        squares += difference * difference;
        norm += f64::from(*right).powi(2);
    }
    (largest / peak.max(f64::MIN_POSITIVE), (squares / norm.max(f64::MIN_POSITIVE)).sqrt())
}

/// Both measures of [`distance`] within `tolerance`.
#[track_caller]
pub(crate) fn assert_close(what: &str, actual: &[f32], expected: &[f32], tolerance: f64) {
    let (largest, squares) = distance(actual, expected);
    assert!(
        largest <= tolerance && squares <= tolerance,
        "{what}: largest {largest:.2e}, L2 {squares:.2e}, allowed {tolerance:.0e}"
    );
}
