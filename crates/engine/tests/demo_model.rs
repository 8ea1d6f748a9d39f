//! The demo model draws what it is asked for: colours and shapes of whole pictures, judged by their pixels.

#![expect(clippy::unwrap_used, reason = "what a test cannot go on without fails it")]

#[path = "support/recogniser.rs"]
mod recogniser;

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use framewright_engine::ops::{Interrupt, Ops, Precision};
use framewright_engine::pipelines::sdxl::{ImageRequest, SdxlModel};
use framewright_engine::pipelines::{Ended, Proceed, drive};
use framewright_engine::vision::RgbPicture;
use framewright_engine::weights::Variant;
use recogniser::{Recogniser, Seen, Shape};
use serde_json::Value;

/// Of a hundred pictures, those whose two dominant colours must be the asked ones.
const LEAST_COLOURS_PERCENT: usize = 95;
/// Of a hundred pictures, those whose shape must be the asked one.
const LEAST_SHAPES_PERCENT: usize = 80;
/// Rows evaluated together; two a picture.
const MOST_ROWS: usize = 16;

static MODEL: LazyLock<SdxlModel> = LazyLock::new(|| {
    let ops = Ops::cpu(Precision::F32, None).unwrap();
    SdxlModel::load(&repository().join("models/demo-sdxl"), &ops, Variant::Plain, &Interrupt::default()).unwrap()
});
static RECOGNISER: LazyLock<Recogniser> = LazyLock::new(Recogniser::new);

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// A prompt under a seed, and what its picture must show.
struct Asked {
    prompt: String,
    seed: u64,
    foreground: String,
    background: String,
    shape: String,
}

impl Asked {
    fn new(foreground: &str, shape: &str, background: &str, seed: u64) -> Self {
        Self {
            prompt: format!("a {foreground} {shape} on a {background} background"),
            seed,
            foreground: foreground.to_owned(),
            background: background.to_owned(),
            shape: shape.to_owned(),
        }
    }
}

/// The pictures, drawn together, with the checkpoint's own sampler and its recommended settings.
fn pictures(asked: &[Asked]) -> Vec<RgbPicture> {
    let begin = |asked: &Asked| {
        let request = ImageRequest {
            prompt: asked.prompt.clone(),
            negative_prompt: None,
            width: 128,
            height: 128,
            num_inference_steps: 20,
            guidance_scale: 3.0,
            guidance_rescale: 0.0,
            sampler: None,
            seed: asked.seed,
            init_image: None,
            strength: 0.3,
            mask: None,
        };
        MODEL.begin(&request, &Interrupt::default()).unwrap()
    };
    let mut machines: Vec<_> = asked.iter().map(begin).collect();
    let ended = drive(&*MODEL, &mut machines, MOST_ROWS, &Interrupt::default(), |_, _| Proceed::Continue).unwrap();
    assert!(ended.iter().all(|ended| matches!(ended, Ended::Finished)));
    machines.iter().map(|machine| machine.picture().unwrap().to_rgb()).collect()
}

/// How many pictures show the asked colours, and how many the asked shape.
struct Counts {
    colours: usize,
    shapes: usize,
    wrong: Vec<String>,
}

fn judge(asked: &[Asked], pictures: &[RgbPicture]) -> Counts {
    let mut counts = Counts { colours: 0, shapes: 0, wrong: Vec::new() };
    for (asked, picture) in asked.iter().zip(pictures) {
        let seen = RECOGNISER.look(picture);
        let colours = seen.has_colours(&asked.foreground, &asked.background);
        let shape = seen.shape.map(Shape::word) == Some(asked.shape.as_str());
        counts.colours += usize::from(colours);
        counts.shapes += usize::from(shape);
        if !(colours && shape) {
            let Seen { foreground, background, shape } = seen;
            let shape = shape.map_or("nothing", Shape::word);
            counts.wrong.push(format!("{:?} under seed {} shows {foreground} {shape} on {background}", asked.prompt, asked.seed));
        }
    }
    counts
}

#[test]
fn a_hundred_prompts_are_followed() {
    let file = repository().join("scripts/demo_models/prompts.json");
    let entries: Vec<Value> = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    let word = |entry: &Value, key: &str| entry[key].as_str().unwrap().to_owned();
    let asked: Vec<Asked> = entries
        .iter()
        .map(|entry| Asked {
            prompt: word(entry, "prompt"),
            seed: entry["seed"].as_u64().unwrap(),
            foreground: word(entry, "foreground"),
            background: word(entry, "background"),
            shape: word(entry, "shape"),
        })
        .collect();
    assert_eq!(asked.len(), 100);
    let Counts { colours, shapes, wrong } = judge(&asked, &pictures(&asked));
    println!("colours {colours}/100, shapes {shapes}/100; {wrong:#?}");
    assert!(colours >= LEAST_COLOURS_PERCENT && shapes >= LEAST_SHAPES_PERCENT, "colours {colours}, shapes {shapes}: {wrong:#?}");
}

/// Prompts that differ by single words, from the same noise: what changes in the picture is what changed in the prompt. Several seeds
/// are pooled, because a percentage of a few pictures says little.
#[test]
fn under_one_seed_the_prompt_decides() {
    let colours = [("red", "white"), ("blue", "white"), ("blue", "yellow"), ("green", "black")];
    let seeds = 1..=6;
    let asked: Vec<Asked> = seeds
        .flat_map(|seed| Shape::ALL.map(|shape| (seed, shape)))
        .flat_map(|(seed, shape)| colours.map(|(foreground, background)| Asked::new(foreground, shape.word(), background, seed)))
        .collect();
    let Counts { colours, shapes, wrong } = judge(&asked, &pictures(&asked));
    let count = asked.len();
    println!("one seed: colours {colours}/{count}, shapes {shapes}/{count}; {wrong:#?}");
    assert!(
        100 * colours >= LEAST_COLOURS_PERCENT * count && 100 * shapes >= LEAST_SHAPES_PERCENT * count,
        "of {count}: colours {colours}, shapes {shapes}: {wrong:#?}"
    );
}

#[test]
fn a_prompt_and_a_seed_decide_every_bit() {
    let asked = |shape: &str, seed: u64| Asked::new("red", shape, "white", seed);
    let first = pictures(&[asked("circle", 7), asked("circle", 7), asked("circle", 8), asked("star", 7)]);
    let alone = pictures(&[asked("circle", 7)]);
    assert_eq!(first[0], first[1]);
    assert_eq!(first[0], alone[0]);
    assert_ne!(first[0], first[2], "the seed changes nothing");
    assert_ne!(first[0], first[3], "the prompt changes nothing");
}
