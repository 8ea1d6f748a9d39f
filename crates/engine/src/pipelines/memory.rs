//! What predictions of memory share: the estimate itself, and the weights' part of it.

use crate::ops::{DeviceFacts, KernelPath, Precision};

/// Tokenizers, thread stacks, the host's copies of latents, and what the allocator cannot give back.
pub(super) const HOST_BYTES: u64 = 16 << 20;
/// Bytes of a value on the host.
pub(super) const HOST_VALUE_BYTES: u64 = 4;
/// Copies of the tensor that is being loaded, beside its packed form: the host's, or on a candle device its own as f32, as stored, and
/// joined with others.
const LOADED_COPIES: u64 = 3;

/// Predicted memory of a request, bytes: at most what the process (on CUDA: the device) holds for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryEstimate {
    /// Packed weights. Mapped ones ([`super::sdxl::SdxlModel::load_shared`]) count alike, since their pages are in memory while the model
    /// computes; but once for all processes that have the same model in the same precision, whoever adds them up.
    pub weights_bytes: u64,
    /// Peak of activations and scratch: with a picture decoded whole; with the rows of a clip evaluated together.
    pub activations_bytes: u64,
    /// The same where less will do: with a picture decoded in tiles, with a clip's rows one by one. The request cannot do without.
    pub least_activations_bytes: u64,
}

/// Weights of one component, counted from the shapes in its files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Weights {
    /// Values of matrices and kernels: as stored, and with outputs padded to the CPU's panels.
    values: u64,
    padded: u64,
    /// Values that stay f32 on the host: embedding tables.
    host: u64,
    /// Of norms and biases.
    vectors: u64,
    /// Values of the largest tensor.
    largest: u64,
}

impl Weights {
    /// Counts one more tensor.
    pub(super) fn add(&mut self, name: &str, shape: &[usize]) {
        let values = shape.iter().map(|side| *side as u64).product();
        self.largest = self.largest.max(values);
        match shape {
            _ if name.ends_with("token_embedding.weight") || name.ends_with("position_embedding.weight") => self.host += values,
            [outputs, inputs, taps @ ..] => {
                let on_cpu = DeviceFacts { kernels: Some(KernelPath::Gemm), precision: Precision::F32 };
                let taps: u64 = taps.iter().map(|side| *side as u64).product();
                self.values += values;
                self.padded += on_cpu.packed_outputs(*outputs as u64) * (*inputs as u64).next_multiple_of(2) * taps;
            }
            _ => self.vectors += values,
        }
    }

    /// Bytes of the packed weights.
    pub(super) fn bytes(&self, facts: DeviceFacts) -> u64 {
        if facts.kernels.is_some() {
            self.padded * facts.weight_bytes() + (self.host + self.vectors) * HOST_VALUE_BYTES
        } else {
            // The embedding tables are not on the device.
            (self.values + self.vectors) * facts.weight_bytes()
        }
    }

    /// Bytes beside the packed weights while the largest tensor is loaded.
    pub(super) fn load_bytes(&self) -> u64 {
        LOADED_COPIES * self.largest * HOST_VALUE_BYTES
    }
}

/// The VAE's precision in a model of `precision`: half precision overflows in a VAE whose configuration says so.
pub(super) fn vae_precision(precision: Precision, force_upcast: bool) -> Precision {
    match precision {
        Precision::F16 if force_upcast => Precision::F32,
        other => other,
    }
}
