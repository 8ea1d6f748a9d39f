//! Every network against diffusers and transformers, on every way this machine can compute.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::fs;
use std::path::Path;

use framewright_engine::Error;
use framewright_engine::activation::Shape;
use framewright_engine::latent::Latent;
use framewright_engine::ops::{Interrupt, Ops, Precision};
use framewright_engine::text::{TextEncoder, TextEncoderConfig, Tokenizer};
use framewright_engine::unet::{Context, Residuals, UNet, UNetConfig, UNetRow};
use framewright_engine::vae::{Vae, VaeConfig};
use framewright_engine::vision::Picture;
use framewright_engine::weights::{Checkpoint, RandomWeights, Scope, TensorSource, Variant};
use serde_json::Value;
use support::{Array, Case, assert_close, cases, devices, fixtures, json, kernels, numbers};

const TEXT_TOLERANCE: f64 = 1e-4;
const VAE_TOLERANCE: f64 = 1e-4;
const UNET_TOLERANCE: f64 = 1e-3;
const BF16_TOLERANCE: f64 = 3e-2;

#[test]
fn weights_follow_the_formula() {
    for entry in json("weights.json").as_array().unwrap() {
        let shape: Vec<usize> = numbers(&entry["shape"]).into_iter().map(|side| side as usize).collect();
        let name = entry["name"].as_str().unwrap();
        let values = RandomWeights::salted(entry["salt"].as_str().unwrap()).values(name, &shape);
        let expected: Vec<f32> = numbers(&entry["first"]).into_iter().map(|value| value as f32).collect();
        assert_eq!(values[..expected.len()], expected, "{name}");
        assert_eq!(
            values.last().copied().map(f32::to_bits),
            entry["last"].as_f64().map(|last| (last as f32).to_bits()),
            "{name}"
        );
    }
}

fn check_tokenizer(directory: &Path, key: &str, padding: &str) {
    let golden = json("tokenizers/cases.json");
    let tokenizer = Tokenizer::open(directory).unwrap();
    assert_eq!(tokenizer.max_length() as u64, golden["max_length"].as_u64().unwrap());
    for case in golden["cases"].as_array().unwrap() {
        let text = case["text"].as_str().unwrap();
        let mut expected: Vec<u64> = case[key].as_array().unwrap().iter().map(|id| id.as_u64().unwrap()).collect();
        expected.resize(tokenizer.max_length(), golden[padding].as_u64().unwrap());
        let ids: Vec<u64> = tokenizer.encode(text).unwrap().ids.into_iter().map(u64::from).collect();
        assert_eq!(ids, expected, "{}: {text:?}", directory.display());
    }
}

#[test]
fn tokenizers_split_as_transformers_does() {
    let published = fixtures().join("tokenizers");
    let saved = fixtures().join("saved");
    for folder in [&published, &saved] {
        check_tokenizer(&folder.join("tokenizer"), "tokenizer", "end");
        check_tokenizer(&folder.join("tokenizer_2"), "tokenizer_2", "mark");
    }
    let alone = tempfile::tempdir().unwrap();
    fs::copy(published.join("tokenizer.json"), alone.path().join("tokenizer.json")).unwrap();
    check_tokenizer(alone.path(), "tokenizer", "end");
}

#[test]
fn cut_tokens_are_counted() {
    let tokenizer = Tokenizer::open(&fixtures().join("tokenizers/tokenizer")).unwrap();
    let golden = json("tokenizers/cases.json");
    let end = golden["end"].as_u64().unwrap() as u32;
    for (words, truncated) in [(0, 0), (74, 0), (75, 0), (76, 1), (300, 225)] {
        let tokens = tokenizer.encode(&"a ".repeat(words)).unwrap();
        assert_eq!((tokens.ids.len(), tokens.truncated), (77, truncated), "{words} words");
        assert_eq!(tokens.ids.last(), Some(&end));
    }
}

#[test]
fn broken_tokenizer_folders_are_refused() {
    let published = fixtures().join("tokenizers/tokenizer");
    let vocabulary = fs::read_to_string(published.join("vocab.json")).unwrap();
    let merges = fs::read_to_string(published.join("merges.txt")).unwrap();
    let cases: &[(&str, &[(&str, &str)])] = &[
        ("expected vocab.json", &[]),
        ("expected vocab.json", &[("vocab.json", &vocabulary)]),
        ("vocab.json", &[("vocab.json", "{\"a\": "), ("merges.txt", &merges)]),
        ("vocab.json", &[("vocab.json", "[1, 2]"), ("merges.txt", &merges)]),
        ("32-bit", &[("vocab.json", "{\"a\": 5000000000}"), ("merges.txt", "")]),
        ("needs the token", &[("vocab.json", "{\"a\": 0, \"b\": 1}"), ("merges.txt", "a b")]),
        ("needs the token", &[("vocab.json", "{\"a\": 0}"), ("merges.txt", "a bcdefghijklmnop")]),
        ("two tokens and a blank", &[("vocab.json", &vocabulary), ("merges.txt", "abc")]),
        ("bos_token", &[("vocab.json", &vocabulary), ("merges.txt", &merges), ("tokenizer_config.json", "{\"bos_token\": 7}")]),
        (
            "model_max_length 2",
            &[("vocab.json", &vocabulary), ("merges.txt", &merges), ("tokenizer_config.json", "{\"model_max_length\": 2}")],
        ),
        ("not a CLIP tokenizer", &[("tokenizer.json", "{\"model\": {\"type\": \"Unigram\"}}")]),
        ("no model", &[("tokenizer.json", "{}")]),
    ];
    for (said, files) in cases {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in *files {
            fs::write(directory.path().join(name), text).unwrap();
        }
        let error = Tokenizer::open(directory.path()).unwrap_err().to_string();
        assert!(error.contains(said), "{error}");
    }
}

/// How special tokens are named has changed over the years; what transformers makes of each form stands beside it.
#[test]
fn special_tokens_in_every_published_form() {
    let published = fixtures().join("tokenizers/tokenizer");
    let named = |content: &str| {
        format!(r#"{{"content": "{content}", "lstrip": false, "normalized": true, "rstrip": false, "single_word": false}}"#)
    };
    let (start, end) = (named("<|startoftext|>"), named("<|endoftext|>"));
    let objects =
        |padding: &str| format!(r#"{{"bos_token": {start}, "eos_token": {end}, "unk_token": {end}, "pad_token": "{padding}"}}"#);
    let (plain_end, plain_start) =
        (vec![27, 347, 68, 77, 555, 69, 1333, 91, 285, 343], vec![27, 347, 514, 532, 83, 78, 69, 1333, 91, 285, 343]);
    for (form, settings, specials, expected) in [
        ("no settings", String::new(), String::new(), [plain_end.clone(), plain_start.clone(), vec![86, 78, 342, 256, 320]]),
        (
            "padding as a word, no limit",
            r#"{"model_max_length": 1e30}"#.to_owned(),
            r#"{"pad_token": "!"}"#.to_owned(),
            [plain_end.clone(), plain_start, vec![86, 78, 342, 0, 320]],
        ),
        (
            "SDXL's first",
            r#"{"model_max_length": 77, "do_lower_case": true}"#.to_owned(),
            objects("<|endoftext|>"),
            [plain_end, vec![1412, 343], vec![86, 78, 342, 256, 320]],
        ),
        ("SDXL's second", objects("!"), objects("!"), [vec![1413, 343], vec![1412, 343], vec![86, 78, 342, 0, 320]]),
    ] {
        let directory = tempfile::tempdir().unwrap();
        for name in ["vocab.json", "merges.txt"] {
            fs::copy(published.join(name), directory.path().join(name)).unwrap();
        }
        for (name, text) in [("tokenizer_config.json", settings), ("special_tokens_map.json", specials)] {
            if !text.is_empty() {
                fs::write(directory.path().join(name), text).unwrap();
            }
        }
        let tokenizer = Tokenizer::open(directory.path()).unwrap();
        assert_eq!(tokenizer.max_length(), 77);
        for (text, content) in ["<|ENDOFTEXT|> x", "<|StartOfText|> x", "wow! a"].iter().zip(expected) {
            let ids = tokenizer.encode(text).unwrap().ids;
            assert_eq!(ids[1..=content.len()], content, "{form}: {text}");
            assert_eq!(ids[content.len() + 1], 1413, "{form}: {text}");
        }
    }
}

fn prompts(case: &Case) -> Vec<Vec<u32>> {
    let ids = case.description["input_ids"].as_array().unwrap();
    ids.iter().map(|ids| numbers(ids).into_iter().map(|id| id as u32).collect()).collect()
}

#[test]
fn text_encoders() {
    for case in cases("text_encoder") {
        let config: TextEncoderConfig = case.config();
        let projection = case.description["class"] == "CLIPTextModelWithProjection";
        let prompts = prompts(&case);
        for (device, ops) in devices() {
            let encoder = TextEncoder::load(&ops, &Scope::root(&RandomWeights::default()), &config, projection).unwrap();
            let encodings = encoder.encode(&ops, &prompts, &Interrupt::default()).unwrap();
            for (row, encoding) in encodings.iter().enumerate() {
                let kept = case.outputs["last"].row(row);
                for (what, given, expected) in [
                    ("penultimate", &encoding.penultimate[..], case.outputs["penultimate"].row(row)),
                    ("last", &encoding.last[..kept.len()], kept),
                    ("pooled", &encoding.pooled[..], case.outputs["pooled"].row(row)),
                ] {
                    assert_close(&format!("text {} {what} {row} on {device}", case.name), given, expected, TEXT_TOLERANCE);
                }
            }
            let alone = encoder.encode(&ops, &prompts[1..], &Interrupt::default()).unwrap();
            if device.starts_with("cpu") {
                assert_eq!(alone[0], encodings[1], "{device}: a batch mate changes bits");
            }
        }
    }
}

#[test]
fn text_encoders_refuse_what_does_not_fit() {
    let case = &cases("text_encoder")[0];
    let (_, ops) = devices().remove(0);
    let encoder = TextEncoder::load(&ops, &Scope::root(&RandomWeights::default()), &case.config(), false).unwrap();
    let encode = |prompts: &[Vec<u32>]| encoder.encode(&ops, prompts, &Interrupt::default());
    assert_eq!(encode(&[]).unwrap(), []);
    for prompts in [vec![vec![]], vec![vec![1; 78]], vec![vec![1; 4], vec![1; 5]]] {
        assert!(encode(&prompts).unwrap_err().to_string().contains("length"));
    }
    assert!(encode(&[vec![1, u32::MAX]]).unwrap_err().to_string().contains("vocab_size"));
    let interrupt = Interrupt::default();
    interrupt.cancel();
    assert!(matches!(encoder.encode(&ops, &[vec![1; 4]], &interrupt), Err(Error::Cancelled)));
}

/// A case of the network on one device: inputs as rows, contexts computed.
struct Evaluation {
    unet: UNet,
    samples: Vec<Latent>,
    timesteps: Vec<f32>,
    contexts: Vec<Context>,
    pooled: Array,
    time_ids: Vec<Vec<f32>>,
    residuals: Vec<Residuals>,
}

impl Evaluation {
    fn new(case: &Case, ops: &Ops, source: &dyn TensorSource) -> Self {
        let config: UNetConfig = case.config();
        let unet = UNet::load(ops, &Scope::root(source), &config).unwrap();
        let (sample, states) = (case.input("input.sample"), case.input("input.context"));
        let rows = sample.shape[0];
        let context = |row| unet.context(ops, states.row(row), &Interrupt::default()).unwrap();
        let residual = |name: &str, row: usize| {
            let latent = case.input(name).latent(row);
            ops.upload(Shape::new(1, latent.height, latent.width, latent.channels), &latent.values).unwrap()
        };
        let residuals = |row: usize| {
            let names = case.description["inputs"].as_object().unwrap().keys();
            let count = names.filter(|name| name.starts_with("input.residual.") && !name.ends_with("mid")).count();
            Residuals {
                down: (0..count).map(|index| residual(&format!("input.residual.{index}"), row)).collect(),
                mid: Some(residual("input.residual.mid", row)),
            }
        };
        let given = case.description["inputs"].get("input.residual.mid").is_some();
        Self {
            samples: (0..rows).map(|row| sample.latent(row)).collect(),
            timesteps: numbers(&case.description["timesteps"]).into_iter().map(|value| value as f32).collect(),
            contexts: (0..rows).map(context).collect(),
            pooled: case.input("input.pooled"),
            time_ids: case.description["time_ids"]
                .as_array()
                .unwrap()
                .iter()
                .map(|row| numbers(row).into_iter().map(|value| value as f32).collect())
                .collect(),
            residuals: if given { (0..rows).map(residuals).collect() } else { Vec::new() },
            unet,
        }
    }

    fn rows(&self) -> Vec<UNetRow<'_>> {
        let row = |index: usize| UNetRow {
            sample: &self.samples[index],
            timestep: self.timesteps[index],
            context: &self.contexts[index],
            pooled: self.pooled.row(index),
            time_ids: &self.time_ids[index],
            residuals: self.residuals.get(index),
        };
        (0..self.samples.len()).map(row).collect()
    }
}

#[test]
fn unets() {
    for case in cases("unet") {
        for (device, ops) in devices() {
            let evaluation = Evaluation::new(&case, &ops, &RandomWeights::default());
            let outputs = evaluation.unet.evaluate(&ops, &evaluation.rows(), &Interrupt::default()).unwrap();
            for (row, output) in outputs.iter().enumerate() {
                let expected = case.outputs["sample"].latent(row);
                assert_close(&format!("unet {} {row} on {device}", case.name), &output.values, &expected.values, UNET_TOLERANCE);
            }
        }
    }
}

#[test]
fn half_width_operands_stay_near() {
    let ops = Ops::cpu(Precision::Bf16, None).unwrap();
    for case in cases("unet") {
        let evaluation = Evaluation::new(&case, &ops, &RandomWeights::default());
        let outputs = evaluation.unet.evaluate(&ops, &evaluation.rows(), &Interrupt::default()).unwrap();
        for (row, output) in outputs.iter().enumerate() {
            let expected = case.outputs["sample"].latent(row);
            assert_close(&format!("unet {} {row} in bf16", case.name), &output.values, &expected.values, BF16_TOLERANCE);
        }
    }
}

#[test]
fn a_row_keeps_its_bits_whoever_is_beside_it() {
    for case in cases("unet").into_iter().filter(|case| ["residuals", "odd_size"].contains(&case.name.as_str())) {
        for (device, ops) in kernels() {
            let mut evaluation = Evaluation::new(&case, &ops, &RandomWeights::default());
            let short = case.input("input.context").row(1)[..21 * evaluation.unet.config().cross_attention_dim].to_vec();
            evaluation.contexts[1] = evaluation.unet.context(&ops, &short, &Interrupt::default()).unwrap();
            evaluation.residuals.truncate(1);
            let rows = evaluation.rows();
            let evaluate = |rows: &[UNetRow<'_>]| evaluation.unet.evaluate(&ops, rows, &Interrupt::default()).unwrap();
            let together = evaluate(&rows);
            assert_eq!(together[0], evaluate(&rows[..1])[0], "{device}");
            assert_eq!(together[1], evaluate(&rows[1..])[0], "{device}");
            assert_eq!(together[1], evaluate(&[rows[1], rows[0], rows[1]])[2], "{device}");
        }
    }
}

#[test]
fn unets_refuse_rows_that_do_not_fit() {
    let cases = cases("unet");
    let case = cases.iter().find(|case| case.name == "residuals").unwrap();
    let (_, ops) = devices().remove(0);
    let evaluation = Evaluation::new(case, &ops, &RandomWeights::default());
    let rows = evaluation.rows();
    let refused = |row: UNetRow<'_>| {
        let error = evaluation.unet.evaluate(&ops, &[rows[0], row], &Interrupt::default()).unwrap_err();
        assert!(matches!(error, Error::Request { .. }), "{error}");
        error.to_string()
    };
    let Latent { height, width, channels, .. } = *rows[1].sample;
    let larger = Latent::zeros(1, height + 1, width, channels);
    let deeper = Latent::zeros(1, height, width, channels + 1);
    let longer = Latent::zeros(2, height, width, channels);
    let hollow = Latent { values: Vec::new(), ..rows[1].sample.clone() };
    for sample in [&larger, &deeper, &longer, &hollow] {
        assert!(refused(UNetRow { sample, ..rows[1] }).starts_with("sample"));
    }
    assert!(refused(UNetRow { pooled: &[], ..rows[1] }).starts_with("time_ids"));
    assert!(refused(UNetRow { time_ids: &rows[1].time_ids[..5], ..rows[1] }).starts_with("time_ids"));
    let few = Residuals { down: vec![ops.upload(Shape::vectors(1, 1), &[1.0]).unwrap()], mid: None };
    assert!(refused(UNetRow { residuals: Some(&few), ..rows[1] }).starts_with("residuals"));
    assert!(evaluation.unet.context(&ops, &[0.0; 3], &Interrupt::default()).is_err());
    assert!(evaluation.unet.context(&ops, &[], &Interrupt::default()).is_err());

    let other = cases.iter().find(|case| case.name == "three_level").unwrap();
    let other = Evaluation::new(other, &ops, &RandomWeights::default());
    assert!(refused(UNetRow { context: &other.contexts[0], ..rows[1] }).starts_with("context"));
    assert_eq!(evaluation.unet.evaluate(&ops, &[], &Interrupt::default()).unwrap(), []);
}

#[test]
fn an_evaluation_stops_within_a_block() {
    let case = &cases("unet")[0];
    let (_, ops) = devices().remove(0);
    let evaluation = Evaluation::new(case, &ops, &RandomWeights::default());
    let interrupt = Interrupt::default();
    evaluation.unet.evaluate(&ops, &evaluation.rows(), &interrupt).unwrap();
    let resnets_and_layers = interrupt.ticks();
    assert!(resnets_and_layers > 10, "{resnets_and_layers}");
    interrupt.cancel();
    assert!(matches!(evaluation.unet.evaluate(&ops, &evaluation.rows(), &interrupt), Err(Error::Cancelled)));
    assert_eq!(interrupt.ticks(), resnets_and_layers + 1);
}

fn picture(array: &Array, row: usize) -> Picture {
    let Latent { height, width, channels, values, .. } = array.latent(row);
    Picture { height, width, channels, values }
}

#[test]
fn autoencoders() {
    for case in cases("vae") {
        let config: VaeConfig = case.config();
        let (image, latents) = (case.input("input.image"), case.input("input.latents"));
        for (device, ops) in devices() {
            let vae = Vae::load(&ops, &Scope::root(&RandomWeights::default()), &config).unwrap();
            for row in 0..image.shape[0] {
                let moments = vae.encode(&ops, &picture(&image, row), &Interrupt::default()).unwrap();
                let decoded = vae.decode(&ops, &latents.latent(row), &Interrupt::default()).unwrap();
                for (what, given, expected) in [
                    ("mean", &moments.mean.values, &case.outputs["mean"]),
                    ("logvar", &moments.log_variance.values, &case.outputs["logvar"]),
                    ("image", &decoded.values, &case.outputs["image"]),
                ] {
                    let what = format!("vae {} {what} {row} on {device}", case.name);
                    assert_close(&what, given, &expected.latent(row).values, VAE_TOLERANCE);
                }
            }
        }
    }
}

#[test]
fn a_tile_that_holds_everything_changes_nothing() {
    let case = &cases("vae")[0];
    let (_, ops) = devices().remove(0);
    let vae = Vae::load(&ops, &Scope::root(&RandomWeights::default()), &case.config()).unwrap();
    let latent = case.input("input.latents").latent(0);
    let whole = vae.decode(&ops, &latent, &Interrupt::default()).unwrap();
    assert_eq!(vae.decode_tiled(&ops, &latent, &Interrupt::default()).unwrap(), whole);
    // Twice the tile's side: four tiles each way, and as large as the whole.
    let side = 2 * vae.config().sample_size / vae.factor();
    let tiled = vae.decode_tiled(&ops, &Latent::zeros(1, side, side, latent.channels), &Interrupt::default()).unwrap();
    assert_eq!((tiled.height, tiled.width), (side * vae.factor(), side * vae.factor()));
}

#[test]
fn autoencoders_refuse_what_does_not_fit() {
    let case = &cases("vae")[0];
    let (_, ops) = devices().remove(0);
    let vae = Vae::load(&ops, &Scope::root(&RandomWeights::default()), &case.config()).unwrap();
    let interrupt = Interrupt::default();
    let side = vae.factor() * 2;
    let picture = |height: usize, width: usize, channels: usize| Picture {
        height,
        width,
        channels,
        values: vec![0.0; height * width * channels],
    };
    for refused in [
        picture(side + 1, side, 3),
        picture(side, 0, 3),
        picture(side, side, 4),
        Picture { values: vec![], ..picture(side, side, 3) },
    ] {
        assert!(vae.encode(&ops, &refused, &interrupt).unwrap_err().to_string().starts_with("init_image"));
    }
    for refused in [Latent::zeros(1, 0, 4, 4), Latent::zeros(2, 4, 4, 4), Latent::zeros(1, 4, 4, 16)] {
        assert!(vae.decode(&ops, &refused, &interrupt).is_err());
    }
    interrupt.cancel();
    assert!(matches!(vae.decode(&ops, &Latent::zeros(1, 4, 4, 4), &interrupt), Err(Error::Cancelled)));
}

/// Builds every component of a checkpoint folder and accounts for every tensor.
fn check_components(directory: &Path, salts: &Value, variant: Variant) {
    let (_, ops) = devices().remove(0);
    for (component, salt) in salts.as_object().unwrap() {
        let folder = directory.join(component);
        let config = json(folder.join("config.json"));
        let checkpoint = Checkpoint::open(component, &folder, support::stem(component), variant).unwrap();
        let scope = Scope::root(&checkpoint);
        match component.as_str() {
            "unet" => drop(UNet::load(&ops, &scope, &serde_json::from_value(config).unwrap()).unwrap()),
            "vae" => drop(Vae::load(&ops, &scope, &serde_json::from_value(config).unwrap()).unwrap()),
            _ => {
                let projection = config["architectures"][0] == "CLIPTextModelWithProjection";
                drop(TextEncoder::load(&ops, &scope, &serde_json::from_value(config).unwrap(), projection).unwrap());
            }
        }
        checkpoint.finish().unwrap();

        let weights = RandomWeights::salted(salt.as_str().unwrap());
        let half = |value: f32| half::f16::from_f32(value).to_f32();
        for (name, shape) in checkpoint.tensors() {
            let published = if component == "text_encoder" && !name.starts_with("text_model.") {
                format!("text_model.{name}")
            } else {
                name.to_owned()
            };
            let expected: Vec<f32> = weights.values(&published, shape);
            let given = checkpoint.take(name, shape).unwrap().into_values().unwrap();
            let same = given == expected || given == expected.into_iter().map(half).collect::<Vec<_>>();
            assert!(same, "{component} {name} is not what was stored");
        }
    }
}

#[test]
fn checkpoints_from_disk() {
    for entry in fs::read_dir(fixtures().join("checkpoints")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let directory = support::checkpoint(&name);
        let golden = json(format!("checkpoints/{name}/golden.json"));
        check_components(directory.path(), &golden["salts"], Variant::Plain);
    }
}

#[test]
fn the_checkpoint_that_diffusers_saved() {
    let directory = fixtures().join("saved");
    let golden = json(directory.join("golden.json"));
    for variant in [Variant::Plain, Variant::Half] {
        check_components(&directory, &golden["salts"], variant);
    }
}
