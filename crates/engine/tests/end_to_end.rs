//! Whole pictures against diffusers', and the promises that hold bit for bit.

#[expect(dead_code, reason = "components are not looked at one by one here")]
mod support;

#[path = "support/pictures.rs"]
mod pictures;

use std::sync::Arc;

use framewright_engine::ops::Interrupt;
use framewright_engine::pipelines::sdxl::{Generation, ImageRequest, ModelInfo};
use framewright_engine::pipelines::{Ended, Proceed, StepMachine, drive};
use framewright_engine::vision::resize::resize_lanczos;
use framewright_engine::vision::{GreyPicture, RgbPicture};
use pictures::{LEAST_PSNR_DB, advance, begin, model_of, psnr_db, run};
use serde_json::Value;

/// The request for image `number` of a case.
fn request(case: &Value, number: u64) -> ImageRequest {
    pictures::request("pipeline", case, number)
}

fn case(name: &str) -> Value {
    support::json(format!("pipeline/{name}.json"))
}

#[test]
fn every_golden_picture_is_diffusers() {
    let mut failures = Vec::new();
    for name in support::names("pipeline") {
        let case = case(&name);
        let arrays = support::arrays(format!("pipeline/{name}.safetensors"));
        let model = model_of(&case);
        for number in 0..case["images"].as_u64().unwrap() {
            let request = request(&case, number);
            let (latents, machine) = run(&model, &request);
            let part = |array: &str, count: usize| {
                let values = &arrays[array].values;
                values[number as usize * count..(number as usize + 1) * count].to_vec()
            };
            let evaluations = case["evaluations"].as_u64().unwrap() as usize;
            assert_eq!(machine.progress(), (evaluations, evaluations), "{name}");
            if let (Some(resized), Some(picture)) = (arrays.get("resized"), &request.init_image) {
                let ours = resize_lanczos(picture, request.height, request.width);
                let ours: Vec<f32> = ours.bytes.iter().map(|byte| f32::from(*byte)).collect();
                assert_eq!(ours, resized.values, "{name}: resized");
            }
            let first = latents[0].to_channels_first();
            let last = latents[latents.len() - 1].to_channels_first();
            let count = first.len();
            let first_distance = support::distance(&first, &part("first_latents", count)).1;
            let last_distance = support::distance(&last, &part("latents", count)).1;
            let picture = machine.picture().unwrap().to_rgb();
            let psnr = psnr_db(&picture.bytes, &part("picture", picture.bytes.len()));
            let report = format!("{name}.{number}: {psnr:.1} dB, latents {first_distance:.1e} then {last_distance:.1e}");
            println!("{report}");
            if psnr < LEAST_PSNR_DB {
                failures.push(report);
            }
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

#[test]
fn pictures_batched_equal_the_same_pictures_alone() {
    let golden = case("euler_ancestral_batch");
    let model = model_of(&golden);
    let smaller = ImageRequest { width: 24, guidance_scale: 1.0, ..request(&golden, 2) };
    let other = ImageRequest { sampler: Some("heun".to_owned()), prompt: "a dog".to_owned(), ..request(&golden, 3) };
    let requests = [request(&golden, 0), request(&golden, 1), smaller, other];
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
    for name in ["euler", "heun", "unipc", "zero_snr_sde", "euler_ancestral_image", "lcm_image"] {
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
            assert_eq!(resumed.progress().0, index.min(machine.progress().0), "{name}");
            while advance(&model, &mut resumed) {}
            assert_eq!(resumed.latents(), machine.latents(), "{name} from {index}");
            assert_eq!(resumed.picture(), machine.picture(), "{name} from {index}");
        }
    }
}

#[test]
fn checkpoints_of_another_request_and_broken_ones_are_refused() {
    let case = case("euler");
    let model = model_of(&case);
    let request = request(&case, 0);
    let mut machine = begin(&model, &request);
    advance(&model, &mut machine);
    let checkpoint = machine.checkpoint();
    let before = machine.latents().clone();
    let others = [
        ImageRequest { seed: 43, ..request.clone() },
        ImageRequest { prompt: "a dog".to_owned(), ..request.clone() },
        ImageRequest { num_inference_steps: 6, ..request.clone() },
        ImageRequest { sampler: Some("heun".to_owned()), ..request.clone() },
    ];
    for other in others {
        assert!(begin(&model, &other).resume(&checkpoint).unwrap_err().to_string().contains("another request"));
    }
    for length in (0..checkpoint.len()).step_by(7) {
        assert!(machine.resume(&checkpoint[..length]).is_err(), "{length} bytes");
    }
    assert_eq!(*machine.latents(), before);
}

#[test]
fn a_cancelled_evaluation_can_be_taken_up_again() {
    let case = case("euler");
    let model = model_of(&case);
    let request = request(&case, 0);
    let whole = run(&model, &request).1;
    let mut machines = [begin(&model, &request)];
    let interrupt = Interrupt::default();
    let cancel_at_two = |_: usize, machine: &mut Generation| {
        if machine.progress().0 == 2 {
            interrupt.cancel();
        }
        Proceed::Continue
    };
    assert!(drive(&*model, &mut machines, 4, &interrupt, cancel_at_two).is_err());
    assert_eq!(machines[0].progress().0, 2);
    drive(&*model, &mut machines, 4, &Interrupt::default(), |_, _| Proceed::Continue).unwrap();
    assert_eq!(machines[0].picture(), whole.picture());
}

#[test]
fn previews_have_a_pixel_a_position() {
    let case = case("euler");
    let model = model_of(&case);
    let mut machine = begin(&model, &request(&case, 0));
    assert!(machine.predicted().is_none());
    advance(&model, &mut machine);
    let preview = model.preview(machine.predicted().unwrap());
    assert_eq!((preview.height, preview.width), (machine.latents().height, machine.latents().width));
    assert!(preview.is_whole());
}

#[test]
fn bad_requests_name_their_field() {
    let directory = support::checkpoint("two_level");
    let info = ModelInfo::read(directory.path()).unwrap();
    let good = request(&case("euler_image"), 0);
    info.check(&good).unwrap();
    let tiny = Some(Arc::new(RgbPicture { height: 1 << 40, width: 1 << 40, bytes: Vec::new() }));
    let mask = |side: usize, count: usize| Some(Arc::new(GreyPicture { height: side, width: side, bytes: vec![255; count] }));
    for (field, bad) in [
        ("width", ImageRequest { width: 0, ..good.clone() }),
        ("width", ImageRequest { width: 33, ..good.clone() }),
        ("height", ImageRequest { height: usize::MAX, ..good.clone() }),
        ("height", ImageRequest { height: 1 << 20, ..good.clone() }),
        ("num_inference_steps", ImageRequest { num_inference_steps: 0, ..good.clone() }),
        ("num_inference_steps", ImageRequest { num_inference_steps: 10_000, ..good.clone() }),
        ("guidance_scale", ImageRequest { guidance_scale: f32::NAN, ..good.clone() }),
        ("guidance_scale", ImageRequest { guidance_scale: -1.0, ..good.clone() }),
        ("guidance_rescale", ImageRequest { guidance_rescale: 2.0, ..good.clone() }),
        ("prompt", ImageRequest { prompt: "x".repeat(10 << 20), ..good.clone() }),
        ("negative_prompt", ImageRequest { negative_prompt: Some("x".repeat(10 << 20)), ..good.clone() }),
        ("sampler", ImageRequest { sampler: Some("best".to_owned()), ..good.clone() }),
        ("strength", ImageRequest { strength: f32::NAN, ..good.clone() }),
        ("strength", ImageRequest { strength: 0.01, ..good.clone() }),
        ("init_image", ImageRequest { init_image: tiny, ..good.clone() }),
        ("mask", ImageRequest { mask: mask(1 << 40, 0), ..good.clone() }),
        ("mask", ImageRequest { mask: mask(0, 0), ..good.clone() }),
        ("mask", ImageRequest { mask: mask(1, 1), init_image: None, ..good.clone() }),
    ] {
        let error = info.check(&bad).unwrap_err().to_string();
        assert!(error.starts_with(&format!("{field}: ")), "{field}: {error}");
    }
    assert_eq!(info.default_steps, 30);
    assert!(info.parameters > 0 && info.weight_file_bytes >= 4 * info.parameters);
}

#[test]
fn a_model_may_name_its_own_defaults() {
    let directory = support::checkpoint("two_level");
    let path = directory.path().join("framewright.json");
    std::fs::write(&path, r#"{"default_steps": 20, "default_guidance_scale": 3.0}"#).unwrap();
    let info = ModelInfo::read(directory.path()).unwrap();
    assert_eq!((info.default_steps, info.default_guidance_scale.to_bits()), (20, 3.0_f32.to_bits()));
    for broken in [r#"{"default_steps": 0}"#, r#"{"default_guidance_scale": -1}"#, r#"{"steps": 3}"#, "{"] {
        std::fs::write(&path, broken).unwrap();
        assert!(ModelInfo::read(directory.path()).unwrap_err().to_string().contains("framewright.json"), "{broken}");
    }
}
