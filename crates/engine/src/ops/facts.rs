//! What a device makes of a value, in bytes: all that a prediction of memory needs to know of it.

use super::storage::Backend;
use super::{KernelPath, Ops, Precision, arena};

/// Weights of the CPU kernels come in panels of this many outputs.
const PANEL: u64 = 32;
/// What a candle device works in besides: the columns of a banded convolution, or a block of attention scores with their softmax.
const CANDLE_WORK_BYTES: u64 = 768 << 20;

/// Predicted memory of a network, bytes: at most what the process (on CUDA: the device) holds for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Footprint {
    /// Packed weights.
    pub weights_bytes: u64,
    /// Peak of activations and scratch, what goes in and comes out on the host included.
    pub activations_bytes: u64,
}

/// A kind of device and its working precision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DeviceFacts {
    /// The CPU's kernels; `None` is a candle device.
    pub kernels: Option<KernelPath>,
    /// The working precision.
    pub precision: Precision,
}

impl DeviceFacts {
    /// Those of `ops`.
    pub fn of(ops: &Ops) -> Self {
        let kernels = match &ops.backend {
            Backend::Cpu(cpu) => Some(cpu.kernels.path()),
            Backend::Candle(_) | Backend::Declaring => None,
        };
        Self { kernels, precision: ops.precision() }
    }

    /// The same device in another precision.
    #[must_use]
    pub const fn with_precision(self, precision: Precision) -> Self {
        Self { precision, ..self }
    }

    /// Bytes of a packed weight: kernels without bf16 products keep rounded weights as f32.
    pub fn weight_bytes(self) -> u64 {
        if self.multiplies_as_stored() { self.operand_bytes() } else { 4 }
    }

    /// Bytes of a value of the residual stream.
    pub fn stream_bytes(self) -> u64 {
        if self.kernels.is_some() { 4 } else { self.operand_bytes() }
    }

    /// Bytes of a stored operand of a matrix product.
    pub fn operand_bytes(self) -> u64 {
        match self.precision {
            Precision::F32 => 4,
            Precision::Bf16 | Precision::F16 => 2,
        }
    }

    /// Bytes of an operand's copy for the time of a product: f32 where the kernels do not multiply what is stored.
    pub fn converted_bytes(self) -> u64 {
        if self.multiplies_as_stored() { 0 } else { 4 }
    }

    /// Bytes of a stream value's copy where it is multiplied directly.
    pub fn converted_stream_bytes(self) -> u64 {
        if self.weight_bytes() == self.stream_bytes() { 0 } else { self.weight_bytes() }
    }

    /// Outputs of a layer as its packed weights hold them.
    pub fn packed_outputs(self, outputs: u64) -> u64 {
        if self.kernels.is_some() { outputs.next_multiple_of(PANEL) } else { outputs }
    }

    /// Bytes that a device holds at most for activations of which `live_bytes` are in use at once.
    pub fn held_bytes(self, live_bytes: u64) -> u64 {
        match self.kernels {
            Some(_) => arena::most_bytes(usize::try_from(live_bytes).unwrap_or(usize::MAX)) as u64,
            None => live_bytes.saturating_add(live_bytes / 2).saturating_add(CANDLE_WORK_BYTES),
        }
    }

    fn multiplies_as_stored(self) -> bool {
        self.kernels.is_none_or(KernelPath::multiplies_bf16) || self.precision == Precision::F32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bf16_is_narrow_only_where_it_is_multiplied() {
        let facts = |kernels, precision| DeviceFacts { kernels, precision };
        for (kernels, precision, expected) in [
            // weight, stream, operand, its copy, a stream value's copy
            (Some(KernelPath::AmxBf16), Precision::Bf16, [2, 4, 2, 0, 2]),
            (Some(KernelPath::Avx512Bf16), Precision::Bf16, [2, 4, 2, 0, 2]),
            (Some(KernelPath::Avx512), Precision::Bf16, [4, 4, 2, 4, 0]),
            (Some(KernelPath::Gemm), Precision::Bf16, [4, 4, 2, 4, 0]),
            (Some(KernelPath::AmxBf16), Precision::F32, [4, 4, 4, 0, 0]),
            (Some(KernelPath::Avx512Bf16), Precision::F32, [4, 4, 4, 0, 0]),
            (Some(KernelPath::Gemm), Precision::F32, [4, 4, 4, 0, 0]),
            (None, Precision::F16, [2, 2, 2, 0, 0]),
        ] {
            let facts = facts(kernels, precision);
            let copies = [facts.converted_bytes(), facts.converted_stream_bytes()];
            let given = [facts.weight_bytes(), facts.stream_bytes(), facts.operand_bytes(), copies[0], copies[1]];
            assert_eq!(given, expected, "{facts:?}");
        }
    }
}
