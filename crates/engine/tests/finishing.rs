//! Upscaling and interpolation against the published networks, on every way this machine can compute.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[expect(dead_code, reason = "not everything is needed here")]
mod support;

use std::fs;
use std::path::PathBuf;

use framewright_engine::interpolate::{Interpolator, InterpolatorConfig};
use framewright_engine::ops::{Interrupt, Ops, Precision};
use framewright_engine::upscale::{CompactConfig, RrdbConfig, Upscaler, UpscalerConfig};
use framewright_engine::vision::{Picture, RgbPicture};
use framewright_engine::weights::{Declarations, HostTensor, RandomWeights, Scope, TensorSource};
use framewright_engine::{Error, Result};
use support::{Array, Case, assert_close, cases, devices, fixtures, kernels, numbers};

const TOLERANCE: f64 = 1e-4;
const BF16_TOLERANCE: f64 = 3e-2;
/// Half a step of a byte.
const HALF_BYTE: f64 = 0.5 / 255.0;

fn sizes(case: &Case, key: &str) -> usize {
    usize::try_from(case.description["config"][key].as_u64().unwrap()).unwrap()
}

fn upscaler_config(case: &Case) -> UpscalerConfig {
    if case.description["config"].get("blocks").is_some() {
        let (features, blocks, unshuffle) = (sizes(case, "features"), sizes(case, "blocks"), sizes(case, "unshuffle"));
        UpscalerConfig::Rrdb(RrdbConfig { features, growth: 32, blocks, unshuffle })
    } else {
        let (features, convolutions, scale) = (sizes(case, "features"), sizes(case, "convolutions"), sizes(case, "scale"));
        UpscalerConfig::Compact(CompactConfig { features, convolutions, scale })
    }
}

fn picture(case: &Case) -> Picture {
    let latent = case.input("input.picture").latent(0).map(|value| value / 3.5 + 0.5);
    Picture { height: latent.height, width: latent.width, channels: 3, values: latent.values }
}

fn upscaler(ops: &Ops, config: UpscalerConfig) -> Upscaler {
    Upscaler::load(ops, &Scope::root(&RandomWeights::default()), config).unwrap()
}

/// Any picture.
fn noise(height: usize, width: usize, seed: usize) -> RgbPicture {
    let byte = |index: usize| ((index + seed).wrapping_mul(2_654_435_761) >> 13) as u8;
    RgbPicture { height, width, bytes: (0..height * width * 3).map(byte).collect() }
}

#[test]
fn upscalers() {
    for case in cases("upscale") {
        let (config, picture) = (upscaler_config(&case), picture(&case));
        let expected = case.outputs["picture"].latent(0);
        for (device, ops) in devices() {
            let enlarged = upscaler(&ops, config).enlarge(&picture, &Interrupt::default()).unwrap();
            assert_eq!((enlarged.height, enlarged.width), (expected.height, expected.width), "{}", case.name);
            assert_close(&format!("{} on {device}", case.name), &enlarged.values, &expected.values, TOLERANCE);
        }
        let ops = Ops::cpu(Precision::Bf16, None).unwrap();
        let enlarged = upscaler(&ops, config).enlarge(&picture, &Interrupt::default()).unwrap();
        let (_, distance) = support::distance(&enlarged.values, &expected.values);
        assert!(distance <= BF16_TOLERANCE, "{} in bf16: {distance:.1e}", case.name);
    }
}

#[test]
fn upscalers_ask_for_the_published_tensors() {
    for case in cases("upscale") {
        let source = Declarations::default();
        let config = upscaler_config(&case);
        Upscaler::load(&Ops::declaring(), &Scope::root(&source), config).unwrap();
        let asked = source.asked();
        let parameters: usize = asked.iter().map(|(_, shape)| shape.iter().product::<usize>()).sum();
        assert_eq!(parameters as u64, case.description["parameters"].as_u64().unwrap(), "{}", case.name);
        let detected = UpscalerConfig::detect(asked.iter().map(|(name, shape)| (name.as_str(), shape.as_slice()))).unwrap();
        assert_eq!(detected, config, "{}", case.name);
    }
}

#[test]
fn tiles_that_see_enough_have_the_bits_of_the_whole() {
    for (device, ops) in kernels() {
        // 3 + 2 and 6 + 2 convolutions: no pixel depends on another that is more than 10 away.
        for config in [
            UpscalerConfig::Compact(CompactConfig { features: 8, convolutions: 3, scale: 2 }),
            UpscalerConfig::Compact(CompactConfig { features: 8, convolutions: 6, scale: 4 }),
        ] {
            let network = upscaler(&ops, config);
            let source = noise(45, 61, 1);
            let whole = network.upscale(&source, &Interrupt::default()).unwrap();
            assert_eq!((whole.height, whole.width), (45 * network.scale(), 61 * network.scale()));
            for tile in [16, 30] {
                let tiled = upscaler(&ops, config).with_tile(tile).upscale(&source, &Interrupt::default()).unwrap();
                assert!(tiled == whole, "tiles of {tile} on {device}");
            }
        }
    }
}

#[test]
fn odd_pictures_are_enlarged_in_tiles_of_pairs() {
    let (_, ops) = kernels().remove(0);
    // One block: 15 + 6 convolutions at half the size see further than a tile does, but less and less of it.
    let config = UpscalerConfig::Rrdb(RrdbConfig { features: 8, growth: 4, blocks: 1, unshuffle: 2 });
    let source = noise(37, 41, 2);
    let whole = upscaler(&ops, config).upscale(&source, &Interrupt::default()).unwrap();
    let tiled = upscaler(&ops, config).with_tile(15).upscale(&source, &Interrupt::default()).unwrap();
    assert_eq!((tiled.height, tiled.width), (74, 82));
    let apart = whole.bytes.iter().zip(&tiled.bytes).map(|(left, right)| u64::from(left.abs_diff(*right))).sum::<u64>();
    assert!(apart * 20 < whole.bytes.len() as u64, "{apart} over {} bytes", whole.bytes.len());
    let smallest = upscaler(&ops, config).upscale(&noise(1, 1, 0), &Interrupt::default()).unwrap();
    assert_eq!(smallest.bytes.len(), 12);
}

/// Formula weights as a half-precision file holds them.
struct Halved(RandomWeights);

impl TensorSource for Halved {
    fn component(&self) -> &'static str {
        "halved"
    }
    fn has(&self, name: &str) -> bool {
        self.0.has(name)
    }
    fn take(&self, name: &str, shape: &[usize]) -> Result<HostTensor> {
        let values = self.0.take(name, shape)?.into_values().unwrap();
        let values = values.into_iter().map(|value| half::f16::from_f32(value).to_f32()).collect();
        Ok(HostTensor::Values { shape: shape.to_vec(), values })
    }
}

fn saved_upscaler() -> PathBuf {
    fixtures().join("upscale/saved/compact.pth")
}

#[test]
fn files_of_torch_are_read_with_averaged_weights_first() {
    let (_, ops) = kernels().remove(0);
    let opened = Upscaler::open(&saved_upscaler(), &ops, &Interrupt::default()).unwrap();
    assert_eq!(opened.description(), "SRVGGNetCompact 8×1, 4×");
    let config = UpscalerConfig::Compact(CompactConfig { features: 8, convolutions: 1, scale: 4 });
    let expected = Upscaler::load(&ops, &Scope::root(&Halved(RandomWeights::default())), config).unwrap();
    let source = noise(6, 5, 3);
    let enlarged = opened.upscale(&source, &Interrupt::default()).unwrap();
    assert_eq!(enlarged, expected.upscale(&source, &Interrupt::default()).unwrap());
    assert!(enlarged.bytes.iter().any(|byte| *byte != enlarged.bytes[0]));
}

#[test]
fn safetensors_are_read_too_and_every_tensor_counts() {
    let (_, ops) = kernels().remove(0);
    let config = UpscalerConfig::Rrdb(RrdbConfig { features: 8, growth: 4, blocks: 1, unshuffle: 1 });
    let source = Declarations::default();
    Upscaler::load(&Ops::declaring(), &Scope::root(&source), config).unwrap();
    let directory = tempfile::tempdir().unwrap();
    // The content decides, not the name.
    let path = directory.path().join("network.pth");
    let mut tensors = source.asked();
    let write = |tensors: &[(String, Vec<usize>)]| support::write_weights(&path, tensors, &RandomWeights::default(), false);
    write(&tensors);
    let opened = Upscaler::open(&path, &ops, &Interrupt::default()).unwrap();
    let small = noise(9, 8, 4);
    let enlarged = opened.upscale(&small, &Interrupt::default()).unwrap();
    assert_eq!(enlarged, upscaler(&ops, config).upscale(&small, &Interrupt::default()).unwrap());

    let refused = || Upscaler::open(&path, &ops, &Interrupt::default()).unwrap_err().to_string();
    assert_eq!(Upscaler::inspect(&path).unwrap(), config);
    tensors.push(("conv_more.weight".to_owned(), vec![2, 2]));
    write(&tensors);
    assert_eq!(Upscaler::inspect(&path).unwrap_err().to_string(), refused(), "the header says as much");
    assert!(refused().ends_with("no place in the network: conv_more.weight"), "{}", refused());
    tensors.pop();
    let index = tensors.iter().position(|(name, _)| name == "body.0.rdb3.conv2.bias").unwrap();
    tensors[index].1 = vec![5];
    write(&tensors);
    assert_eq!(Upscaler::inspect(&path).unwrap_err().to_string(), refused());
    assert!(refused().contains("body.0.rdb3.conv2.bias has shape [5], expected [4]"), "{}", refused());
    tensors.remove(index);
    write(&tensors);
    assert!(refused().contains("body.0.rdb3.conv2.bias is missing"), "{}", refused());
}

#[test]
fn upscaling_stops_and_refuses() {
    let (_, ops) = kernels().remove(0);
    let network = upscaler(&ops, UpscalerConfig::Compact(CompactConfig { features: 8, convolutions: 1, scale: 4 }));
    let broken = RgbPicture { height: 2, width: 2, bytes: vec![0; 11] };
    assert!(matches!(network.upscale(&broken, &Interrupt::default()), Err(Error::Request { field: "image", .. })));
    let interrupt = Interrupt::default();
    interrupt.cancel();
    assert!(matches!(network.upscale(&noise(4, 4, 0), &interrupt), Err(Error::Cancelled)));
    assert!(matches!(Upscaler::open(&saved_upscaler(), &ops, &interrupt), Err(Error::Cancelled)));
    let missing = Upscaler::open(&fixtures().join("upscale/none.pth"), &ops, &Interrupt::default());
    assert!(matches!(missing, Err(Error::File { .. })));
    let other = Upscaler::open(&saved_interpolator(), &ops, &Interrupt::default()).unwrap_err().to_string();
    assert!(other.contains("neither RRDBNet"), "{other}");
}

fn interpolator_config(case: &Case) -> InterpolatorConfig {
    let channels: Vec<usize> = numbers(&case.description["config"]["channels"]).into_iter().map(|width| width as usize).collect();
    InterpolatorConfig { channels: channels.try_into().unwrap() }
}

fn interpolator(ops: &Ops, config: InterpolatorConfig) -> Interpolator {
    Interpolator::load(ops, &Scope::root(&RandomWeights::default()), config).unwrap()
}

fn frame(array: &Array) -> RgbPicture {
    let latent = array.latent(0);
    RgbPicture { height: latent.height, width: latent.width, bytes: latent.values.iter().map(|byte| *byte as u8).collect() }
}

#[test]
fn interpolators() {
    for case in cases("interpolate") {
        let (first, second) = (frame(&case.outputs["first"]), frame(&case.outputs["second"]));
        let expected = case.outputs["frame"].latent(0).values;
        let time = case.description["time"].as_f64().unwrap() as f32;
        let interrupt = Interrupt::default();
        for (device, ops) in devices() {
            let network = interpolator(&ops, interpolator_config(&case));
            let encoded = [&first, &second].map(|frame| network.encode(frame, &interrupt).unwrap());
            let between = network.evaluate(&encoded[0], &encoded[1], time, &interrupt).unwrap();
            assert_close(&format!("{} on {device}", case.name), &between.values, &expected, TOLERANCE);
            let bytes = network.between(&first, &second, time, &interrupt).unwrap();
            assert_eq!(bytes, network.between_encoded(&encoded[0], &encoded[1], time, &interrupt).unwrap());
            for (byte, value) in bytes.bytes.iter().zip(&expected) {
                assert!((f64::from(*byte) / 255.0 - f64::from(*value)).abs() <= HALF_BYTE + TOLERANCE);
            }
        }
        let ops = Ops::cpu(Precision::Bf16, None).unwrap();
        let network = interpolator(&ops, interpolator_config(&case));
        let encoded = [&first, &second].map(|frame| network.encode(frame, &interrupt).unwrap());
        let between = network.evaluate(&encoded[0], &encoded[1], time, &interrupt).unwrap();
        // Flow of many pixels, rounded: places differ, and colours with them.
        let (_, distance) = support::distance(&between.values, &expected);
        assert!(distance <= 2.0 * BF16_TOLERANCE, "{} in bf16: {distance:.1e}", case.name);
    }
}

#[test]
fn interpolators_ask_for_the_published_tensors() {
    for case in cases("interpolate") {
        let source = Declarations::default();
        let config = interpolator_config(&case);
        Interpolator::load(&Ops::declaring(), &Scope::root(&source), config).unwrap();
        let asked = source.asked();
        let parameters: usize = asked.iter().map(|(_, shape)| shape.iter().product::<usize>()).sum();
        assert_eq!(parameters as u64, case.description["parameters"].as_u64().unwrap(), "{}", case.name);
        let detected = InterpolatorConfig::detect(asked.iter().map(|(name, shape)| (name.as_str(), shape.as_slice()))).unwrap();
        assert_eq!(detected, config);
    }
    assert_eq!(InterpolatorConfig::PUBLISHED.channels, [192, 128, 96, 64, 32]);
}

fn saved_interpolator() -> PathBuf {
    fixtures().join("interpolate/saved/flownet.pkl")
}

#[test]
fn a_saved_interpolator_is_read_without_its_teacher() {
    let (_, ops) = kernels().remove(0);
    let interrupt = Interrupt::default();
    let opened = Interpolator::open(&saved_interpolator(), &ops, &interrupt).unwrap();
    let config = InterpolatorConfig { channels: [4; 5] };
    assert_eq!(Interpolator::inspect(&saved_interpolator()).unwrap(), config);
    assert_eq!(opened.description(), "RIFE 4-4-4-4-4");
    let expected = Interpolator::load(&ops, &Scope::root(&Halved(RandomWeights::default())), config).unwrap();
    let (first, second) = (noise(20, 30, 5), noise(20, 30, 99));
    let between = |network: &Interpolator, time| network.between(&first, &second, time, &interrupt).unwrap();
    assert_eq!(between(&opened, 0.25), between(&expected, 0.25));
    assert_ne!(between(&opened, 0.25), between(&opened, 0.5), "time has no effect");
}

#[test]
fn equal_frames_give_the_frame_itself() {
    let (_, ops) = kernels().remove(0);
    let network = interpolator(&ops, InterpolatorConfig { channels: [4; 5] });
    let (still, interrupt) = (noise(10, 12, 6), Interrupt::default());
    assert_eq!(network.between(&still, &still.clone(), 0.5, &interrupt).unwrap(), still);
    let encoded = network.encode(&still, &interrupt).unwrap();
    assert_eq!(encoded.frame(), &still);
    assert_eq!(network.between_encoded(&encoded, &encoded, 0.9, &interrupt).unwrap(), still);
    // The network alone, with random weights, would not.
    let values: Vec<f32> = still.bytes.iter().map(|byte| f32::from(*byte) / 255.0).collect();
    let alone = network.evaluate(&encoded, &encoded, 0.9, &interrupt).unwrap();
    assert!(support::distance(&alone.values, &values).0 > 1e-2);
}

#[test]
fn interpolation_stops_and_refuses() {
    let (_, ops) = kernels().remove(0);
    let network = interpolator(&ops, InterpolatorConfig { channels: [4; 5] });
    let (first, second, interrupt) = (noise(8, 8, 1), noise(8, 8, 2), Interrupt::default());
    for time in [0.0, 1.0, -0.5, 2.0, f32::NAN] {
        let refused = network.between(&first, &second, time, &interrupt);
        assert!(matches!(refused, Err(Error::Request { field: "time", .. })), "{time}");
    }
    let other = network.between(&first, &noise(8, 9, 2), 0.5, &interrupt);
    assert!(matches!(other, Err(Error::Request { field: "frame", .. })));
    let broken = RgbPicture { height: 2, width: usize::MAX, bytes: vec![0; 6] };
    assert!(matches!(network.encode(&broken, &interrupt), Err(Error::Request { field: "frame", .. })));
    let encoded = [&first, &second].map(|frame| network.encode(frame, &interrupt).unwrap());
    interrupt.cancel();
    assert!(matches!(network.between_encoded(&encoded[0], &encoded[1], 0.5, &interrupt), Err(Error::Cancelled)));
    assert!(matches!(network.encode(&first, &interrupt), Err(Error::Cancelled)));
}

#[test]
fn files_that_are_no_interpolator_are_refused_by_name() {
    let (_, ops) = kernels().remove(0);
    let open = |path: &std::path::Path| Interpolator::open(path, &ops, &Interrupt::default()).unwrap_err().to_string();
    assert!(open(&saved_upscaler()).contains("block0.conv0.1.0.weight is missing"), "{}", open(&saved_upscaler()));
    assert_eq!(Interpolator::inspect(&saved_upscaler()).unwrap_err().to_string(), open(&saved_upscaler()));
    let source = Declarations::default();
    Interpolator::load(&Ops::declaring(), &Scope::root(&source), InterpolatorConfig { channels: [4; 5] }).unwrap();
    let mut tensors = source.asked();
    tensors.push(("block5.conv0.1.0.weight".to_owned(), vec![4, 2, 3, 3]));
    tensors.push(("caltime.0.weight".to_owned(), vec![4, 2, 3, 3]));
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("flownet.safetensors");
    support::write_weights(&path, &tensors, &RandomWeights::default(), false);
    assert!(open(&path).ends_with("1 tensors of the weights have no place in the network: block5.conv0.1.0.weight"));
    fs::write(&path, &fs::read(saved_interpolator()).unwrap()[..50_000]).unwrap();
    assert!(open(&path).contains("no zip archive ends here"));
}
