//! Times the networks of SDXL at full published size with weights by formula: no download is needed.
//!
//! ```text
//! cargo bench -p framewright-engine --bench sdxl -- --component unet --precision f32 --size 512 --repeats 3
//! ```
//!
//! Prints one JSON object: median and all times in seconds, packed weights and peak memory in bytes.
//! `scripts/bench/compare.py` runs it in turn with diffusers.

use std::io::Write as _;
use std::time::Instant;

use framewright_engine::latent::Latent;
use framewright_engine::noise::Generator;
use framewright_engine::ops::{Interrupt, KernelPath, Ops, Precision};
use framewright_engine::unet::{UNet, UNetConfig, UNetRow};
use framewright_engine::vae::{Vae, VaeConfig};
use framewright_engine::weights::{Declarations, RandomWeights, Scope, TensorSource};

/// The published configuration of SDXL base 1.0's UNet.
const UNET_CONFIG: &str = include_str!("../tests/fixtures/published/unet.json");
/// The published configuration of SDXL base 1.0's VAE.
const VAE_CONFIG: &str = include_str!("../tests/fixtures/published/vae.json");
/// Rows of an evaluation with guidance: negative and positive.
const GUIDED_ROWS: usize = 2;
/// Tokens of a prompt.
const TOKENS: usize = 77;

type Failure = Box<dyn std::error::Error>;

#[derive(Debug)]
struct Options {
    component: String,
    precision: Precision,
    kernels: Option<KernelPath>,
    cuda: bool,
    size: usize,
    repeats: usize,
}

fn main() -> Result<(), Failure> {
    let options = parse(std::env::args().skip(1))?;
    let ops = operations(&options)?;
    let (times, weights_bytes) = match options.component.as_str() {
        "unet" => unet(&options, &ops)?,
        "vae" => vae(&options, &ops)?,
        other => return Err(format!("--component {other}: unet or vae").into()),
    };
    let mut sorted = times.clone();
    sorted.sort_by(f64::total_cmp);
    let report = serde_json::json!({
        "program": "framewright",
        "component": options.component,
        "precision": format!("{:?}", options.precision).to_lowercase(),
        "device": ops.description(),
        "size": options.size,
        "seconds": sorted[sorted.len() / 2],
        "all_seconds": times,
        "weights_bytes": weights_bytes,
        "peak_memory_bytes": peak_memory_bytes(),
    });
    writeln!(std::io::stdout(), "{report}")?;
    Ok(())
}

fn parse(arguments: impl Iterator<Item = String>) -> Result<Options, Failure> {
    let mut options =
        Options { component: "unet".into(), precision: Precision::F32, kernels: None, cuda: false, size: 512, repeats: 3 };
    let mut arguments = arguments.filter(|argument| argument != "--bench");
    while let Some(flag) = arguments.next() {
        let value = arguments.next().ok_or_else(|| format!("{flag} needs a value"))?;
        match flag.as_str() {
            "--component" => options.component = value,
            "--precision" => {
                options.precision = match value.as_str() {
                    "f32" => Precision::F32,
                    "bf16" => Precision::Bf16,
                    "f16" => Precision::F16,
                    _ => return Err(format!("--precision {value}: f32, bf16 or f16").into()),
                }
            }
            "--kernels" => {
                options.kernels = Some(match value.as_str() {
                    "amxbf16" => KernelPath::AmxBf16,
                    "avx512bf16" => KernelPath::Avx512Bf16,
                    "avx512" => KernelPath::Avx512,
                    "gemm" => KernelPath::Gemm,
                    _ => return Err(format!("--kernels {value}: amxbf16, avx512bf16, avx512 or gemm").into()),
                });
            }
            "--device" => options.cuda = value.starts_with("cuda"),
            "--size" => options.size = value.parse()?,
            "--repeats" => options.repeats = value.parse::<usize>()?.max(1),
            _ => return Err(format!("unknown option {flag}").into()),
        }
    }
    Ok(options)
}

fn operations(options: &Options) -> Result<Ops, Failure> {
    #[cfg(feature = "cuda")]
    if options.cuda {
        return Ok(Ops::cuda(0, options.precision)?);
    }
    if options.cuda {
        return Err("this bench was built without the cuda feature".into());
    }
    Ok(Ops::cpu(options.precision, options.kernels)?)
}

fn unet(options: &Options, ops: &Ops) -> Result<(Vec<f64>, u64), Failure> {
    let config: UNetConfig = serde_json::from_str(UNET_CONFIG)?;
    let interrupt = Interrupt::default();
    let weights = RandomWeights::default();
    let network = UNet::load(ops, &Scope::root(&weights), &config)?;
    let side = options.size / 8;
    let sample = Generator::new(1).latent(1, side, side, config.in_channels);
    let states = Generator::new(2).normal(TOKENS * config.cross_attention_dim);
    let pooled = Generator::new(3).normal(1280);
    let size = options.size as f32;
    let time_ids = [size, size, 0.0, 0.0, size, size];
    let context = network.context(ops, &states, &interrupt)?;
    let row =
        UNetRow { sample: &sample, timestep: 500.0, context: &context, pooled: &pooled, time_ids: &time_ids, residuals: None };
    let rows = vec![row; GUIDED_ROWS];
    let times = timed(options.repeats, || Ok(network.evaluate(ops, &rows, &interrupt)?))?;
    let declared = declared_bytes(options.precision, |ops, source| {
        UNet::load(ops, &Scope::root(source), &config)?;
        Ok(())
    })?;
    Ok((times, declared))
}

fn vae(options: &Options, ops: &Ops) -> Result<(Vec<f64>, u64), Failure> {
    let config: VaeConfig = serde_json::from_str(VAE_CONFIG)?;
    let interrupt = Interrupt::default();
    let weights = RandomWeights::default();
    let network = Vae::load(ops, &Scope::root(&weights), &config)?;
    let side = options.size / 8;
    let latent: Latent = Generator::new(1).latent(1, side, side, config.latent_channels);
    let times = timed(options.repeats, || Ok(network.decode(ops, &latent, &interrupt)?))?;
    let declared = declared_bytes(options.precision, |ops, source| {
        Vae::load(ops, &Scope::root(source), &config)?;
        Ok(())
    })?;
    Ok((times, declared))
}

/// One warm-up, then `repeats` timed runs.
fn timed<T>(repeats: usize, mut run: impl FnMut() -> Result<T, Failure>) -> Result<Vec<f64>, Failure> {
    run()?;
    let mut times = Vec::with_capacity(repeats);
    for _ in 0..repeats {
        let start = Instant::now();
        run()?;
        times.push(start.elapsed().as_secs_f64());
    }
    Ok(times)
}

/// Parameters times the width of the working precision: what the weights must take at least.
fn declared_bytes(
    precision: Precision,
    load: impl FnOnce(&Ops, &dyn TensorSource) -> Result<(), Failure>,
) -> Result<u64, Failure> {
    let declarations = Declarations::default();
    load(&Ops::declaring(), &declarations)?;
    let parameters: usize = declarations.asked().iter().map(|(_, shape)| shape.iter().product::<usize>()).sum();
    let width = if precision == Precision::F32 { 4 } else { 2 };
    Ok(parameters as u64 * width)
}

/// `VmHWM` of this process; 0 where the kernel does not say.
fn peak_memory_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|rest| rest.trim().trim_end_matches("kB").trim().parse::<u64>().ok()).map_or(0, |kib| kib * 1024)
}
