//! Pictures of which a mask says what is repainted, against diffusers', and the promises that hold bit for bit.

#[expect(dead_code, reason = "components are not looked at one by one here")]
mod support;

#[path = "support/pictures.rs"]
mod pictures;

use std::sync::Arc;

use framewright_engine::latent::Latent;
use framewright_engine::ops::Interrupt;
use framewright_engine::pipelines::sdxl::{ImageRequest, ModelInfo};
use framewright_engine::pipelines::{Ended, Proceed, StepMachine, Want, drive};
use framewright_engine::vision::GreyPicture;
use framewright_engine::vision::resize::resize_lanczos_grey;
use pictures::{LEAST_PSNR_DB, advance, begin, model_of, psnr_db, run};
use serde_json::Value;

/// Of what the network is shown first: the noised latents, the mask, what is kept of the picture.
const INPUT_TOLERANCE: f64 = 1e-4;

fn case(name: &str) -> Value {
    support::json(format!("inpaint/{name}.json"))
}

fn request(case: &Value, number: u64) -> ImageRequest {
    pictures::request("inpaint", case, number)
}

/// Some channels of a latent, in torch's order.
fn channels(latent: &Latent, range: std::ops::Range<usize>) -> Vec<f32> {
    let plane = latent.height * latent.width;
    latent.to_channels_first()[range.start * plane..range.end * plane].to_vec()
}

#[test]
fn every_golden_picture_is_diffusers() {
    let mut failures = Vec::new();
    for name in support::names("inpaint") {
        let case = case(&name);
        let arrays = support::arrays(format!("inpaint/{name}.safetensors"));
        let model = model_of(&case);
        for number in 0..case["images"].as_u64().unwrap() {
            let row = number as usize;
            let request = request(&case, number);
            let fitted = resize_lanczos_grey(request.mask.as_ref().unwrap(), request.height, request.width);
            let repainted: Vec<f32> = fitted.bytes.iter().map(|byte| f32::from(u8::from(*byte >= 128))).collect();
            assert_eq!(repainted, arrays["mask"].values, "{name}: mask");

            let Want::Evaluate { rows } = begin(&model, &request).want() else { panic!("{name} evaluates nothing") };
            for seen in &rows {
                let expected = arrays["first_input"].latent(row);
                assert!(seen.sample.same_shape(&expected), "{name}: first input");
                for (part, range) in [("latents", 0..4), ("mask", 4..5), ("kept", 5..9)] {
                    if range.end <= expected.channels {
                        let (seen, expected) = (channels(&seen.sample, range.clone()), channels(&expected, range));
                        let (most, l2) = support::distance(&seen, &expected);
                        assert!(most.max(l2) <= INPUT_TOLERANCE, "{name}: {part} of the first input {most:.1e} {l2:.1e}");
                    }
                }
            }

            let (latents, machine) = run(&model, &request);
            let evaluations = case["evaluations"].as_u64().unwrap() as usize;
            assert_eq!(machine.progress(), (evaluations, evaluations), "{name}");
            let of = |latent: &Latent, array: &str| support::distance(&latent.to_channels_first(), arrays[array].row(row)).1;
            let (first, last) = (of(&latents[0], "first_latents"), of(&latents[latents.len() - 1], "latents"));
            let picture = machine.picture().unwrap().to_rgb();
            let psnr = psnr_db(&picture.bytes, arrays["picture"].row(row));
            let report = format!("{name}.{number}: {psnr:.1} dB, latents {first:.1e} then {last:.1e}");
            println!("{report}");
            if psnr < LEAST_PSNR_DB {
                failures.push(report);
            }
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

#[test]
fn masked_and_unmasked_pictures_batched_equal_the_same_alone() {
    let golden = case("blend_euler");
    let model = model_of(&golden);
    let masked = request(&golden, 0);
    let requests = [
        masked.clone(),
        ImageRequest { mask: None, strength: 0.6, ..masked.clone() },
        ImageRequest { mask: None, init_image: None, ..masked.clone() },
        ImageRequest { sampler: Some("dpmpp_2m".to_owned()), guidance_scale: 1.0, strength: 0.6, seed: 5, ..masked },
    ];
    let alone: Vec<_> = requests.iter().map(|request| run(&model, request).1).collect();
    for most_rows in [1, 3, 16] {
        let mut together: Vec<_> = requests.iter().map(|request| begin(&model, request)).collect();
        let ended = drive(&*model, &mut together, most_rows, &Interrupt::default(), |_, _| Proceed::Continue).unwrap();
        assert!(ended.iter().all(|ended| matches!(ended, Ended::Finished)));
        for (together, alone) in together.iter().zip(&alone) {
            assert_eq!(together.latents(), alone.latents());
            assert_eq!(together.picture(), alone.picture());
        }
    }
}

#[test]
fn a_resumed_picture_equals_one_never_stopped() {
    for name in ["blend_heun", "blend_unipc", "blend_euler_ancestral", "concatenated_sde", "concatenated_dpmpp_2m"] {
        let case = case(name);
        let model = model_of(&case);
        let request = request(&case, 0);
        let mut machine = begin(&model, &request);
        let mut checkpoints = vec![machine.checkpoint()];
        while advance(&model, &mut machine) {
            checkpoints.push(machine.checkpoint());
        }
        for (index, checkpoint) in checkpoints.iter().enumerate() {
            let mut resumed = begin(&model, &request);
            resumed.resume(checkpoint).unwrap();
            while advance(&model, &mut resumed) {}
            assert_eq!(resumed.latents(), machine.latents(), "{name} from {index}");
            assert_eq!(resumed.picture(), machine.picture(), "{name} from {index}");
        }
        let other = ImageRequest { mask: Some(whole(0)), ..request };
        let refusal = begin(&model, &other).resume(&checkpoints[1]).unwrap_err().to_string();
        assert!(refusal.contains("another request"), "{refusal}");
    }
}

/// A mask of one shade.
fn whole(byte: u8) -> Arc<GreyPicture> {
    Arc::new(GreyPicture { height: 1, width: 1, bytes: vec![byte] })
}

#[test]
fn what_is_black_keeps_the_latents_of_the_picture_and_what_is_white_does_not() {
    let golden = case("blend_euler_unguided");
    let model = model_of(&golden);
    let masked = request(&golden, 0);
    let of = |mask: Option<Arc<GreyPicture>>, strength: f32| {
        run(&model, &ImageRequest { mask, strength, ..masked.clone() }).1.latents().clone()
    };
    assert_eq!(of(Some(whole(0)), 0.6), of(Some(whole(127)), 1.0), "nothing is repainted, whatever the strength");
    assert_eq!(of(Some(whole(255)), 0.6), of(None, 0.6), "all is repainted, as without a mask");
    assert_ne!(of(Some(whole(0)), 0.6), of(None, 0.6));
}

#[test]
fn a_network_for_inpainting_asks_for_what_it_needs() {
    let directory = support::checkpoint("inpainting");
    let info = ModelInfo::read(directory.path()).unwrap();
    assert_eq!((info.input_channels(), info.needs_mask()), (9, true));
    let good = request(&case("concatenated_euler"), 0);
    info.check(&good).unwrap();
    for bad in [ImageRequest { mask: None, ..good.clone() }, ImageRequest { mask: None, init_image: None, ..good.clone() }] {
        let error = info.check(&bad).unwrap_err().to_string();
        assert!(error.starts_with("mask: is missing: this model (9 input channels)"), "{error}");
        assert!(error.contains("give init_image and mask"), "{error}");
    }
    let error = info.check(&ImageRequest { init_image: None, ..good }).unwrap_err().to_string();
    assert!(error.starts_with("mask: needs init_image"), "{error}");
    let plain = ModelInfo::read(support::checkpoint("two_level").path()).unwrap();
    assert_eq!((plain.input_channels(), plain.needs_mask()), (4, false));
}

#[test]
fn other_numbers_of_channels_are_refused() {
    let directory = support::checkpoint("two_level");
    let path = directory.path().join("unet/config.json");
    let mut config: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    for channels in [1, 5, 8, 10] {
        config["in_channels"] = channels.into();
        std::fs::write(&path, config.to_string()).unwrap();
        let error = ModelInfo::read(directory.path()).unwrap_err().to_string();
        assert!(error.starts_with("unet: ") && error.contains(&format!("in_channels {channels} ")), "{error}");
    }
}
