//! Times the networks of SVD at full published size with weights by formula: no download is needed.
//!
//! ```text
//! cargo bench -p framewright-engine --bench svd -- --component unet --precision f32 --width 448 --height 256 --frames 14 --repeats 1
//! ```
//!
//! Prints one JSON object: median and all times in seconds, of the clock and of the processor (which other programs disturb less), packed
//! weights and peak memory in bytes, the load of the machine.
//! `scripts/bench/compare_svd.py` runs it in turn with diffusers.

use std::io::Write as _;
use std::time::Instant;

use framewright_engine::noise::Generator;
use framewright_engine::ops::{Interrupt, Ops, Precision};
use framewright_engine::svd::{SvdRow, SvdUNet, SvdUNetConfig, TemporalVae, TemporalVaeConfig};
use framewright_engine::vision::{ImageEncoder, ImageEncoderConfig, Normalisation, RgbPicture};
use framewright_engine::weights::{Declarations, RandomWeights, Scope, TensorSource};

/// The published configurations of SVD-XT.
const UNET_CONFIG: &str = include_str!("../tests/fixtures/svd_published/unet.json");
const VAE_CONFIG: &str = include_str!("../tests/fixtures/svd_published/vae.json");
const IMAGE_ENCODER_CONFIG: &str = include_str!("../tests/fixtures/svd_published/image_encoder.json");
/// Rows of an evaluation with guidance: without the picture and with it.
const GUIDED_ROWS: usize = 2;

type Failure = Box<dyn std::error::Error>;

#[derive(Debug)]
struct Options {
    component: String,
    precision: Precision,
    cuda: bool,
    width: usize,
    height: usize,
    frames: usize,
    repeats: usize,
}

fn main() -> Result<(), Failure> {
    let options = parse(std::env::args().skip(1))?;
    let ops = operations(&options)?;
    let (Times { clock, processor }, weights_bytes) = match options.component.as_str() {
        "unet" => unet(&options, &ops)?,
        "vae" => vae(&options, &ops)?,
        "image_encoder" => image_encoder(&options, &ops)?,
        other => return Err(format!("--component {other}: unet, vae or image_encoder").into()),
    };
    let report = serde_json::json!({
        "program": "framewright",
        "component": options.component,
        "precision": options.precision.name(),
        "device": ops.description(),
        "width": options.width,
        "height": options.height,
        "frames": options.frames,
        "seconds": median(&clock),
        "all_seconds": clock,
        "processor_seconds": median(&processor),
        "weights_bytes": weights_bytes,
        "peak_memory_bytes": peak_memory_bytes(),
        "load_average": std::fs::read_to_string("/proc/loadavg").unwrap_or_default().trim(),
    });
    writeln!(std::io::stdout(), "{report}")?;
    Ok(())
}

fn parse(arguments: impl Iterator<Item = String>) -> Result<Options, Failure> {
    let mut options = Options {
        component: "unet".into(),
        precision: Precision::F32,
        cuda: false,
        width: 448,
        height: 256,
        frames: 14,
        repeats: 1,
    };
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
            "--device" => options.cuda = value.starts_with("cuda"),
            "--width" => options.width = value.parse()?,
            "--height" => options.height = value.parse()?,
            "--frames" => options.frames = value.parse()?,
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
    Ok(Ops::cpu(options.precision, None)?)
}

fn unet(options: &Options, ops: &Ops) -> Result<(Times, u64), Failure> {
    let config: SvdUNetConfig = serde_json::from_str(UNET_CONFIG)?;
    let interrupt = Interrupt::default();
    let weights = RandomWeights::default();
    let network = SvdUNet::load(ops, &Scope::root(&weights), &config)?;
    let (height, width) = (options.height / 8, options.width / 8);
    let sample = Generator::new(1).latent(options.frames, height, width, config.in_channels);
    let context = network.context(ops, &Generator::new(2).normal(config.cross_attention_dim), &interrupt)?;
    let row = SvdRow { sample: &sample, timestep: 1.0, context: &context, added_ids: [6.0, 127.0, 0.02] };
    let rows = [row; GUIDED_ROWS];
    let times = timed(options.repeats, || Ok(network.evaluate(ops, &rows, &interrupt)?))?;
    let declared = declared_bytes(options.precision, |ops, source| {
        SvdUNet::load(ops, &Scope::root(source), &config)?;
        Ok(())
    })?;
    Ok((times, declared))
}

fn vae(options: &Options, ops: &Ops) -> Result<(Times, u64), Failure> {
    let config: TemporalVaeConfig = serde_json::from_str(VAE_CONFIG)?;
    let interrupt = Interrupt::default();
    let weights = RandomWeights::default();
    let network = TemporalVae::load(ops, &Scope::root(&weights), &config)?;
    let (height, width) = (options.height / config.factor(), options.width / config.factor());
    let latents = Generator::new(1).latent(options.frames, height, width, config.latent_channels);
    let times = timed(options.repeats, || Ok(network.decode(ops, &latents, &interrupt)?))?;
    let declared = declared_bytes(options.precision, |ops, source| {
        TemporalVae::load(ops, &Scope::root(source), &config)?;
        Ok(())
    })?;
    Ok((times, declared))
}

/// From the picture's bytes to its embedding.
fn image_encoder(options: &Options, ops: &Ops) -> Result<(Times, u64), Failure> {
    let config: ImageEncoderConfig = serde_json::from_str(IMAGE_ENCODER_CONFIG)?;
    let interrupt = Interrupt::default();
    let weights = RandomWeights::default();
    let network = ImageEncoder::load(ops, &Scope::root(&weights), &config)?;
    let (height, width) = (options.height, options.width);
    let bytes = (0..height * width * 3).map(|index| (index * 7 % 256) as u8).collect();
    let picture = RgbPicture { height, width, bytes };
    let times = timed(options.repeats, || Ok(network.embed(ops, &picture, &Normalisation::default(), &interrupt)?))?;
    let declared = declared_bytes(options.precision, |ops, source| {
        ImageEncoder::load(ops, &Scope::root(source), &config)?;
        Ok(())
    })?;
    Ok((times, declared))
}

/// Seconds of each run.
#[derive(Debug, Default)]
struct Times {
    /// As the clock has them.
    clock: Vec<f64>,
    /// Of all threads together.
    processor: Vec<f64>,
}

/// One warm-up, then `repeats` timed runs.
fn timed<T>(repeats: usize, mut run: impl FnMut() -> Result<T, Failure>) -> Result<Times, Failure> {
    run()?;
    let mut times = Times::default();
    for _ in 0..repeats {
        let (start, before) = (Instant::now(), processor_seconds());
        run()?;
        times.clock.push(start.elapsed().as_secs_f64());
        times.processor.push(processor_seconds() - before);
    }
    Ok(times)
}

fn median(times: &[f64]) -> f64 {
    let mut sorted = times.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

/// What all threads of this process have computed so far; 0 where the kernel does not say.
fn processor_seconds() -> f64 {
    /// A tick is the hundredth part of a second for every program, whatever the kernel counts in.
    const TICKS_PER_SECOND: f64 = 100.0;
    let text = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // After the name, which may hold anything: the state, and from the eleventh on user and system time.
    let fields = text.rsplit_once(')').map_or("", |(_, fields)| fields).split_whitespace();
    fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / TICKS_PER_SECOND
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
