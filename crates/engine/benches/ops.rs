//! Speed of the operations on the CPU, at the shapes where SDXL spends its time.
//!
//! `cargo bench -p framewright-engine --bench ops -- [amxbf16|avx512bf16|avx512|gemm] [f32|bf16] [part of a name]`: without a path the
//! fastest, without a precision both. Prints the median time of a call and GFLOP/s, or GB/s for operations without arithmetic to
//! speak of.
#![expect(clippy::print_stdout, reason = "the report of a benchmark")]

use std::time::{Duration, Instant};

use framewright_engine::Result;
use framewright_engine::activation::{Activation, Shape};
use framewright_engine::ops::elementwise::concatenate_channels;
use framewright_engine::ops::upsample::upsample_nearest;
use framewright_engine::ops::{
    Conv2d, Conv2dConfig, Epilogue, GroupNorm, Interrupt, KernelPath, KeysValues, LayerNorm, Linear, Mask, Ops, Output, Padding,
    Precision, Slice, attention,
};
use framewright_engine::weights::{HostTensor, Scope, TensorSource};

/// Small values of any shape, quickly.
struct Filler;

impl TensorSource for Filler {
    fn component(&self) -> &'static str {
        "benchmark"
    }
    fn has(&self, _name: &str) -> bool {
        true
    }
    fn take(&self, _name: &str, shape: &[usize]) -> Result<HostTensor> {
        Ok(HostTensor::Values { shape: shape.to_vec(), values: filled(shape.iter().product()) })
    }
}

fn filled(count: usize) -> Vec<f32> {
    (0..count).map(|index| (index.wrapping_mul(2_654_435_761) >> 16 & 0xff) as f32 / 2048.0 - 0.06).collect()
}

struct Bench {
    ops: Ops,
    filter: String,
}

/// What a call does, for the rate.
#[derive(Clone, Copy)]
enum Work {
    Flop(f64),
    Bytes(f64),
}

impl Bench {
    /// Times `call` for about a second and prints a line.
    fn line(name: &str, work: Work, mut call: impl FnMut() -> Result<Activation>) -> Result<()> {
        drop(call()?);
        let mut times = Vec::new();
        let start = Instant::now();
        while times.len() < 5 || (start.elapsed() < Duration::from_millis(600) && times.len() < 200) {
            let before = Instant::now();
            drop(call()?);
            times.push(before.elapsed());
        }
        times.sort();
        let median = times[times.len() / 2].as_secs_f64();
        let (rate, unit) = match work {
            Work::Flop(flop) => (flop / median / 1e9, "GFLOP/s"),
            Work::Bytes(bytes) => (bytes / median / 1e9, "GB/s"),
        };
        println!("{name:34} {:9.3} ms {rate:8.0} {unit}", median * 1e3);
        Ok(())
    }

    fn skips(&self, name: &str) -> bool {
        !name.contains(&self.filter)
    }

    /// An activation as the layer before leaves it.
    fn operand(&self, shape: Shape) -> Result<Activation> {
        upsample_nearest(&self.ops, &self.ops.upload(shape, &filled(shape.elements()))?, shape.height, shape.width)
    }

    fn conv(&self, rows: usize, side: usize, in_channels: usize, out_channels: usize) -> Result<()> {
        let name = format!("conv 3×3 {in_channels} → {out_channels}, {side}², {rows} rows");
        if self.skips(&name) {
            return Ok(());
        }
        let config = Conv2dConfig { in_channels, out_channels, kernel: 3, stride: 1, padding: Padding::all(1) };
        let conv = Conv2d::load(&self.ops, &Scope::root(&Filler), config)?;
        let input = self.operand(Shape::new(rows, side, side, in_channels))?;
        let flop = 18.0 * (rows * side * side * in_channels) as f64 * out_channels as f64;
        Self::line(&name, Work::Flop(flop), || conv.forward(&self.ops, &input, Epilogue::default()))
    }

    fn linear(&self, rows: usize, tokens: usize, in_channels: usize, out_channels: usize, gated: bool) -> Result<()> {
        let name = format!("{} {}×{in_channels}×{out_channels}", if gated { "geglu" } else { "linear" }, rows * tokens);
        if self.skips(&name) {
            return Ok(());
        }
        let linear = if gated {
            Linear::load_geglu(&self.ops, &Scope::root(&Filler), in_channels, out_channels / 2)?
        } else {
            Linear::load(&self.ops, &Scope::root(&Filler), in_channels, out_channels, true)?
        };
        let input = self.operand(Shape::sequence(rows, tokens, in_channels))?;
        let flop = 2.0 * (rows * tokens * in_channels) as f64 * out_channels as f64;
        let epilogue = Epilogue { output: Output::Operand, ..Epilogue::default() };
        Self::line(&name, Work::Flop(flop), || linear.forward(&self.ops, &input, epilogue))
    }

    fn attention(&self, rows: usize, tokens: usize, keys: usize, heads: usize, channels: usize) -> Result<()> {
        let name = format!("attention {heads}×{tokens}×{channels}, {keys} keys, {rows} rows");
        if self.skips(&name) {
            return Ok(());
        }
        let queries = self.operand(Shape::sequence(rows, tokens, heads * channels))?;
        let both = self.operand(Shape::sequence(rows, keys, 2 * heads * channels))?;
        let slice = |offset| Slice { activation: &both, offset };
        let keys_values = KeysValues::SameRows { keys: slice(0), values: slice(heads * channels) };
        let flop = 4.0 * (rows * tokens * keys) as f64 * (heads * channels) as f64;
        let queries = Slice { activation: &queries, offset: 0 };
        Self::line(&name, Work::Flop(flop), || {
            attention(&self.ops, queries, keys_values, heads, channels, Mask::None, &Interrupt::default())
        })
    }

    fn memory_bound(&self, rows: usize, side: usize, channels: usize) -> Result<()> {
        let shape = Shape::new(rows, side, side, channels);
        let input = self.ops.upload(shape, &filled(shape.elements()))?;
        let bytes = Work::Bytes(8.0 * shape.elements() as f64);
        let source = Filler;
        let scope = Scope::root(&source);
        let suffix = format!("{channels}, {side}², {rows} rows");
        if !self.skips("group norm") {
            let norm = GroupNorm::load(&self.ops, &scope, channels, 32, 1e-5)?;
            Self::line(&format!("group norm + silu {suffix}"), bytes, || norm.forward(&self.ops, &input, true, Output::Operand))?;
        }
        if !self.skips("layer norm") {
            let norm = LayerNorm::load(&self.ops, &scope, channels, 1e-5)?;
            Self::line(&format!("layer norm {suffix}"), bytes, || norm.forward(&self.ops, &input, Output::Operand))?;
        }
        if !self.skips("concatenation") {
            let bytes = Work::Bytes(16.0 * shape.elements() as f64);
            Self::line(&format!("concatenation {suffix}"), bytes, || concatenate_channels(&self.ops, &input, &input))?;
        }
        if !self.skips("upsample") {
            let bytes = Work::Bytes(20.0 * shape.elements() as f64);
            Self::line(&format!("upsample {suffix}"), bytes, || upsample_nearest(&self.ops, &input, 2 * side, 2 * side))?;
        }
        Ok(())
    }

    fn all(&self) -> Result<()> {
        println!("{}", self.ops.description());
        self.conv(2, 64, 320, 320)?;
        self.conv(2, 16, 1280, 1280)?;
        self.conv(1, 512, 128, 128)?;
        self.conv(2, 32, 640, 640)?;
        self.conv(2, 64, 4, 320)?;
        self.conv(1, 512, 128, 3)?;
        self.linear(2, 1024, 1280, 1280, false)?;
        self.linear(2, 256, 1280, 10240, true)?;
        self.linear(2, 256, 5120, 1280, false)?;
        self.linear(2, 1, 1280, 1280, false)?;
        self.attention(1, 1024, 1024, 20, 64)?;
        self.attention(2, 1024, 77, 10, 64)?;
        self.attention(1, 4096, 4096, 1, 512)?;
        self.memory_bound(2, 64, 320)?;
        self.memory_bound(1, 256, 256)
    }
}

fn main() -> Result<()> {
    let (mut path, mut precisions, mut filter) = (None, vec![Precision::F32, Precision::Bf16], String::new());
    for argument in std::env::args().skip(1).filter(|argument| !argument.starts_with("--")) {
        match argument.as_str() {
            "amxbf16" => path = Some(KernelPath::AmxBf16),
            "avx512bf16" => path = Some(KernelPath::Avx512Bf16),
            "avx512" => path = Some(KernelPath::Avx512),
            "gemm" => path = Some(KernelPath::Gemm),
            "f32" => precisions = vec![Precision::F32],
            "bf16" => precisions = vec![Precision::Bf16],
            other => other.clone_into(&mut filter),
        }
    }
    for precision in precisions {
        Bench { ops: Ops::cpu(precision, path)?, filter: filter.clone() }.all()?;
    }
    Ok(())
}
