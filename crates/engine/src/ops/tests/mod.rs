//! Every operation on every backend against plain f64 loops, on odd shapes; and bit for bit against itself with other batch mates
//! and other numbers of threads.

mod attention;
mod bits;
mod frames;
mod memory_bound;
mod norms;
mod products;
mod sampling;

use std::collections::HashMap;

use super::{KernelPath, Ops, Precision};
use crate::activation::{Activation, Shape};
use crate::error::{Error, Result};
use crate::weights::{HostTensor, TensorSource};

/// Tensors by name, as a checkpoint would have them.
#[derive(Default)]
struct Tensors(HashMap<String, (Vec<usize>, Vec<f32>)>);

impl Tensors {
    fn with(mut self, name: &str, shape: &[usize], values: Vec<f32>) -> Self {
        assert_eq!(values.len(), shape.iter().product::<usize>());
        self.0.insert(name.to_owned(), (shape.to_vec(), values));
        self
    }
}

impl TensorSource for Tensors {
    fn component(&self) -> &'static str {
        "test"
    }
    fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }
    fn take(&self, name: &str, shape: &[usize]) -> Result<HostTensor> {
        match self.0.get(name) {
            Some((has, values)) if has == shape => Ok(HostTensor::Values { shape: has.clone(), values: values.clone() }),
            _ => Err(Error::checkpoint("test", format!("{name} {shape:?} is not there"))),
        }
    }
}

/// `count` values around zero with a standard deviation near 1, a function of `seed`.
fn random(seed: u64, count: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(0x1234_5678_9abc_def1);
    let mut uniform = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1_u64 << 24) as f32
    };
    (0..count).map(|_| (uniform() + uniform() + uniform() + uniform() - 2.0) * 1.7).collect()
}

/// `random` divided by `√fan_in`: weights whose products stay near 1.
fn weights(seed: u64, count: usize, fan_in: usize) -> Vec<f32> {
    random(seed, count).into_iter().map(|value| value / (fan_in as f32).sqrt()).collect()
}

/// Every backend that computes here, with the relative L2 error allowed for products of its precision.
fn backends() -> Vec<(Ops, f64)> {
    let mut backends = vec![(Ops::candle(candle_core::Device::Cpu, Precision::F32).unwrap(), 2e-6)];
    for path in KernelPath::available() {
        // the matrix unit multiplies f32 values as sums of two bf16, which hold 16 bits; the softmax of scores makes most of that
        let tolerance = if path == KernelPath::AmxBf16 { 1e-5 } else { 2e-6 };
        backends.push((Ops::cpu(Precision::F32, Some(path)).unwrap(), tolerance));
        backends.push((Ops::cpu(Precision::Bf16, Some(path)).unwrap(), 1e-2));
    }
    backends
}

/// The CPU backends alone.
fn cpu_backends() -> Vec<Ops> {
    let paths = KernelPath::available().into_iter();
    paths.flat_map(|path| [Precision::F32, Precision::Bf16].map(|precision| Ops::cpu(precision, Some(path)).unwrap())).collect()
}

fn check(ops: &Ops, what: &str, result: &Activation, shape: Shape, exact: &[f64], tolerance: f64) {
    assert_eq!(result.shape(), shape, "{what} on {}", ops.description());
    let values = ops.download(result).unwrap();
    assert_eq!(values.len(), exact.len());
    let error: f64 = values.iter().zip(exact).map(|(value, exact)| (f64::from(*value) - exact).powi(2)).sum();
    let size: f64 = exact.iter().map(|exact| exact * exact).sum();
    let relative = (error / size.max(1e-30)).sqrt();
    assert!(relative <= tolerance, "{what} on {}: relative error {relative:.2e} > {tolerance:.0e}", ops.description());
}

fn bits(ops: &Ops, activation: &Activation) -> Vec<u32> {
    ops.download(activation).unwrap().into_iter().map(f32::to_bits).collect()
}

fn exact_gelu(x: f64) -> f64 {
    0.5 * x * (1.0 + libm::erf(x / std::f64::consts::SQRT_2))
}

fn exact_sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

#[test]
fn paths_that_this_processor_lacks_are_refused() {
    let available = KernelPath::available();
    for path in [KernelPath::AmxBf16, KernelPath::Avx512Bf16, KernelPath::Avx512, KernelPath::Gemm] {
        match Ops::cpu(Precision::Bf16, Some(path)) {
            Ok(ops) => assert!(available.contains(&path), "{} without its instructions", ops.description()),
            Err(error) => {
                println!("skipped: every test of the {} kernels: {error}", path.name());
                assert!(!available.contains(&path) && path != KernelPath::Gemm, "{error}");
            }
        }
    }
}

#[test]
fn descriptions_name_path_and_precision() {
    let ops = Ops::cpu(Precision::F32, Some(KernelPath::Gemm)).unwrap();
    assert_eq!(ops.description(), "cpu (gemm, f32)");
    assert!(Ops::cpu(Precision::F16, None).is_err());
}

#[test]
fn upload_and_download_are_inverse() {
    for (ops, _) in backends() {
        let shape = Shape::new(2, 3, 5, 7);
        let values = random(1, shape.elements());
        assert_eq!(ops.download(&ops.upload(shape, &values).unwrap()).unwrap(), values);
        assert!(ops.upload(shape, &values[1..]).is_err());
    }
}
