//! Stable Video Diffusion's networks against diffusers and transformers, on every way this machine can compute.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[expect(dead_code, reason = "checkpoints and manifests are tested elsewhere")]
mod support;

use framewright_engine::Error;
use framewright_engine::latent::Latent;
use framewright_engine::ops::{Interrupt, KernelPath, Ops, Precision};
use framewright_engine::svd::{SvdContext, SvdRow, SvdUNet, SvdUNetConfig, TemporalVae, TemporalVaeConfig};
use framewright_engine::vision::antialias::resize_antialiased;
use framewright_engine::vision::{ImageEncoder, ImageEncoderConfig, Normalisation, Picture, RgbPicture};
use framewright_engine::weights::random::uniform;
use framewright_engine::weights::{RandomWeights, Scope};
use serde_json::Value;
use support::{Array, Case, assert_close, cases, devices, distance, kernels, numbers};

const UNET_TOLERANCE: f64 = 1e-4;
/// On the matrix unit, where f32 is multiplied as sums of two bf16.
const SPLIT_UNET_TOLERANCE: f64 = 3e-4;
const VAE_TOLERANCE: f64 = 1e-4;
const ENCODER_TOLERANCE: f64 = 1e-4;
const RESIZE_TOLERANCE: f64 = 1e-5;
/// Of the L2 distance.
const BF16_TOLERANCE: f64 = 3e-2;

/// One member of a batch of `[batch, frames, channels, height, width]`, or all of `[frames, channels, height, width]`.
fn clip(array: &Array, row: usize) -> Latent {
    let shape = array.shape.as_slice();
    let (values, shape) = if shape.len() == 5 { (array.row(row), &shape[1..]) } else { (&array.values[..], shape) };
    Latent::from_channels_first(shape[0], shape[1], shape[2], shape[3], values)
}

/// A case of the network on one device: inputs as rows, contexts computed.
struct Evaluation {
    unet: SvdUNet,
    samples: Vec<Latent>,
    timesteps: Vec<f32>,
    added_ids: Vec<[f32; 3]>,
    contexts: Vec<SvdContext>,
}

impl Evaluation {
    fn new(case: &Case, ops: &Ops) -> Self {
        let config: SvdUNetConfig = case.config();
        let unet = SvdUNet::load(ops, &Scope::root(&RandomWeights::default()), &config).unwrap();
        let (sample, embeddings) = (case.input("input.sample"), case.input("input.context"));
        let rows = sample.shape[0];
        let context = |row: usize| {
            // In a batch the last row has no picture.
            let without = rows > 1 && row + 1 == rows;
            let embedding = if without { vec![0.0; config.cross_attention_dim] } else { embeddings.row(row).to_vec() };
            unet.context(ops, &embedding, &Interrupt::default()).unwrap()
        };
        let three = |row: &Value| <[f64; 3]>::try_from(numbers(row)).unwrap().map(|value| value as f32);
        Self {
            samples: (0..rows).map(|row| clip(&sample, row)).collect(),
            timesteps: numbers(&case.description["timesteps"]).into_iter().map(|value| value as f32).collect(),
            added_ids: case.description["added_ids"].as_array().unwrap().iter().map(three).collect(),
            contexts: (0..rows).map(context).collect(),
            unet,
        }
    }

    fn rows(&self) -> Vec<SvdRow<'_>> {
        let row = |index: usize| SvdRow {
            sample: &self.samples[index],
            timestep: self.timesteps[index],
            context: &self.contexts[index],
            added_ids: self.added_ids[index],
        };
        (0..self.samples.len()).map(row).collect()
    }
}

/// `check` is given what is compared, the values, and those that diffusers has.
fn check_unets(devices: &[(String, Ops)], check: impl Fn(&str, &[f32], &[f32])) {
    for case in cases("svd_components/unet") {
        for (device, ops) in devices {
            let evaluation = Evaluation::new(&case, ops);
            let outputs = evaluation.unet.evaluate(ops, &evaluation.rows(), &Interrupt::default()).unwrap();
            assert_eq!(outputs.len(), evaluation.samples.len());
            for (row, output) in outputs.iter().enumerate() {
                let expected = clip(&case.outputs["sample"], row);
                assert!(output.same_shape(&expected));
                check(&format!("unet {} {row} on {device}", case.name), &output.values, &expected.values);
            }
        }
    }
}

#[test]
fn unets() {
    check_unets(&devices(), |what, given, expected| {
        let tolerance = if what.contains(KernelPath::AmxBf16.name()) { SPLIT_UNET_TOLERANCE } else { UNET_TOLERANCE };
        assert_close(what, given, expected, tolerance);
    });
}

#[test]
fn half_width_operands_stay_near() {
    let half = Ops::cpu(Precision::Bf16, None).unwrap();
    check_unets(&[(half.description(), half)], |what, given, expected| {
        let (_, distance) = distance(given, expected);
        assert!(distance <= BF16_TOLERANCE, "{what}: L2 {distance:.2e}");
    });
}

#[test]
fn a_clip_keeps_its_bits_whoever_is_beside_it() {
    let cases = cases("svd_components/unet");
    let case = cases.iter().find(|case| case.name == "two_level").unwrap();
    let bf16 = ("bf16".to_owned(), Ops::cpu(Precision::Bf16, None).unwrap());
    for (device, ops) in kernels().into_iter().chain([bf16]) {
        let evaluation = Evaluation::new(case, &ops);
        let rows = evaluation.rows();
        let evaluate = |rows: &[SvdRow<'_>]| evaluation.unet.evaluate(&ops, rows, &Interrupt::default()).unwrap();
        let together = evaluate(&rows);
        assert_eq!(together[0], evaluate(&rows[..1])[0], "{device}");
        assert_eq!(together[1], evaluate(&rows[1..])[0], "{device}");
        assert_eq!(together[1], evaluate(&[rows[1], rows[0], rows[1]])[2], "{device}");
        let alone = on_one_thread(|| evaluate(&rows));
        assert_eq!(together, alone, "{device}: the number of threads changes bits");
    }
}

/// What `run` gives on a single thread.
fn on_one_thread<T: Send>(run: impl FnOnce() -> T + Send) -> T {
    rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap().install(run)
}

#[test]
fn frames_see_each_other() {
    let cases = cases("svd_components/unet");
    let case = cases.iter().find(|case| case.name == "two_level").unwrap();
    let (_, ops) = devices().remove(0);
    let mut evaluation = Evaluation::new(case, &ops);
    let before = evaluation.unet.evaluate(&ops, &evaluation.rows()[..1], &Interrupt::default()).unwrap().remove(0);
    // another last frame changes the first one
    let length = evaluation.samples[0].values.len();
    evaluation.samples[0].values[length * 2 / 3..].fill(0.0);
    let after = evaluation.unet.evaluate(&ops, &evaluation.rows()[..1], &Interrupt::default()).unwrap().remove(0);
    let frame = before.values.len() / 3;
    assert!(distance(&after.values[..frame], &before.values[..frame]).1 > 1e-2);
}

#[test]
fn unets_refuse_rows_that_do_not_fit() {
    let cases = cases("svd_components/unet");
    let case = cases.iter().find(|case| case.name == "two_level").unwrap();
    let (_, ops) = devices().remove(0);
    let evaluation = Evaluation::new(case, &ops);
    let rows = evaluation.rows();
    let refused = |row: SvdRow<'_>| {
        let error = evaluation.unet.evaluate(&ops, &[rows[0], row], &Interrupt::default()).unwrap_err();
        assert!(matches!(error, Error::Request { .. }), "{error}");
        error.to_string()
    };
    let Latent { frames, height, width, channels, .. } = *rows[1].sample;
    let larger = Latent::zeros(frames, height + 1, width, channels);
    let longer = Latent::zeros(frames + 1, height, width, channels);
    let deeper = Latent::zeros(frames, height, width, channels + 1);
    let hollow = Latent { values: Vec::new(), ..rows[1].sample.clone() };
    for sample in [&larger, &longer, &deeper, &hollow] {
        assert!(refused(SvdRow { sample, ..rows[1] }).starts_with("sample"));
    }
    let other = cases.iter().find(|case| case.name == "three_level").unwrap();
    let other = Evaluation::new(other, &ops);
    assert!(refused(SvdRow { context: &other.contexts[0], ..rows[1] }).starts_with("context"));
    for embedding in [&[][..], &[0.0; 31], &[0.0; 64]] {
        assert!(evaluation.unet.context(&ops, embedding, &Interrupt::default()).is_err());
    }
    assert_eq!(evaluation.unet.evaluate(&ops, &[], &Interrupt::default()).unwrap(), []);
    let config = SvdUNetConfig { addition_time_embed_dim: 31, ..case.config() };
    let error = SvdUNet::load(&ops, &Scope::root(&RandomWeights::default()), &config).unwrap_err().to_string();
    assert!(error.contains("projection_class_embeddings_input_dim 96 where the added numbers make 93"), "{error}");
}

#[test]
fn work_stops_within_a_block() {
    let cases = cases("svd_components/unet");
    let (_, ops) = devices().remove(0);
    let evaluation = Evaluation::new(&cases[0], &ops);
    let interrupt = Interrupt::default();
    evaluation.unet.evaluate(&ops, &evaluation.rows(), &interrupt).unwrap();
    let blocks = interrupt.ticks();
    assert!(blocks > 20, "{blocks}");
    interrupt.cancel();
    assert!(matches!(evaluation.unet.evaluate(&ops, &evaluation.rows(), &interrupt), Err(Error::Cancelled)));
    assert_eq!(interrupt.ticks(), blocks + 1);
}

#[test]
fn autoencoders() {
    for case in cases("svd_components/vae") {
        let config: TemporalVaeConfig = case.config();
        let image = case.input("input.image").latent(0);
        let Latent { height, width, channels, values, .. } = image;
        let picture = Picture { height, width, channels, values };
        let latents = clip(&case.input("input.latents"), 0);
        for (device, ops) in devices() {
            let vae = TemporalVae::load(&ops, &Scope::root(&RandomWeights::default()), &config).unwrap();
            let moments = vae.encode(&ops, &picture, &Interrupt::default()).unwrap();
            for (what, given) in [("mean", &moments.mean), ("logvar", &moments.log_variance)] {
                let expected = &case.outputs[what].latent(0).values;
                assert_close(&format!("vae {} {what} on {device}", case.name), &given.values, expected, VAE_TOLERANCE);
            }
            for chunk in numbers(&case.description["chunks"]).into_iter().map(|chunk| chunk as usize) {
                let expected = clip(&case.outputs[&format!("image.{chunk}")], 0);
                let mut pictures = Vec::new();
                for first in (0..latents.frames).step_by(chunk) {
                    let part = latents.frame_range(first..first + chunk);
                    pictures.extend(vae.decode(&ops, &part, &Interrupt::default()).unwrap());
                }
                assert_eq!(pictures.len(), expected.frames);
                assert_eq!((pictures[0].height, pictures[0].width), (expected.height, expected.width));
                let given: Vec<f32> = pictures.into_iter().flat_map(|picture| picture.values).collect();
                let what = format!("vae {}, {chunk} frames at a time, on {device}", case.name);
                assert_close(&what, &given, &expected.values, VAE_TOLERANCE);
            }
        }
    }
}

#[test]
fn autoencoders_refuse_what_does_not_fit() {
    let case = &cases("svd_components/vae")[0];
    let (_, ops) = devices().remove(0);
    let vae = TemporalVae::load(&ops, &Scope::root(&RandomWeights::default()), &case.config()).unwrap();
    let interrupt = Interrupt::default();
    let side = vae.factor() * 2;
    let picture = |height: usize, width: usize| Picture { height, width, channels: 3, values: vec![0.0; height * width * 3] };
    for refused in [picture(side + 1, side), picture(side, 0), Picture { values: vec![], ..picture(side, side) }] {
        assert!(vae.encode(&ops, &refused, &interrupt).unwrap_err().to_string().starts_with("init_image"));
    }
    let hollow = Latent { values: Vec::new(), ..Latent::zeros(2, 4, 4, 4) };
    for refused in [Latent::zeros(2, 0, 4, 4), Latent::zeros(0, 4, 4, 4), Latent::zeros(2, 4, 4, 16), hollow] {
        assert!(vae.decode(&ops, &refused, &interrupt).unwrap_err().to_string().starts_with("latents"));
    }
    interrupt.cancel();
    assert!(matches!(vae.decode(&ops, &Latent::zeros(2, 4, 4, 4), &interrupt), Err(Error::Cancelled)));
}

/// The picture of a case: bytes by the formula.
fn picture(height: usize, width: usize) -> RgbPicture {
    let parts = uniform("input.picture", height * width * 3, 0.5, 0.5);
    RgbPicture { height, width, bytes: parts.into_iter().map(|part| (part * 256.0) as u8).collect() }
}

fn sides(value: &Value) -> (usize, usize) {
    let sides = numbers(value);
    (sides[0] as usize, sides[1] as usize)
}

#[test]
fn image_encoders() {
    for case in cases("svd_components/image_encoder") {
        let config: ImageEncoderConfig = case.config();
        let (height, width) = sides(&case.description["picture"]);
        for (device, ops) in devices() {
            let encoder = ImageEncoder::load(&ops, &Scope::root(&RandomWeights::default()), &config).unwrap();
            let embed = |picture: &RgbPicture| encoder.embed(&ops, picture, &Normalisation::default(), &Interrupt::default());
            let embedding = embed(&picture(height, width)).unwrap();
            let what = format!("image encoder {} on {device}", case.name);
            assert_close(&what, &embedding, &case.outputs["embedding"].values, ENCODER_TOLERANCE);
            let error = embed(&RgbPicture { height: 2, width: 2, bytes: vec![0; 11] }).unwrap_err();
            assert!(error.to_string().starts_with("image: "), "{error}");
        }
        let (_, ops) = devices().remove(0);
        let encoder = ImageEncoder::load(&ops, &Scope::root(&RandomWeights::default()), &config).unwrap();
        let odd = Picture { height: 1, width: 1, channels: 3, values: vec![0.0; 3] };
        assert!(encoder.embed_normalised(&ops, &odd, &Interrupt::default()).is_err());
        let interrupt = Interrupt::default();
        interrupt.cancel();
        let stopped = encoder.embed(&ops, &picture(height, width), &Normalisation::default(), &interrupt);
        assert!(matches!(stopped, Err(Error::Cancelled)));
    }
}

#[test]
fn resizes() {
    for case in cases("svd_components/resize") {
        let (from, to) = (sides(&case.description["from"]), sides(&case.description["to"]));
        let resized = resize_antialiased(&picture(from.0, from.1), to.0, to.1);
        assert_eq!((resized.height, resized.width), to);
        let expected = case.outputs["resized"].latent(0);
        assert_close(&case.name, &resized.values, &expected.values, RESIZE_TOLERANCE);
    }
}
