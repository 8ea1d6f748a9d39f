//! Models on shared, mapped weights: the same pictures, loaded at once, in memory once.

#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "what a test cannot go on without fails it")]

#[path = "support/large.rs"]
mod large;
#[expect(dead_code, reason = "not everything is needed here")]
mod support;

use std::io::{BufRead as _, BufReader, Lines, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;

use framewright_engine::ops::{Interrupt, KernelPath, Ops, Precision};
use framewright_engine::pipelines::sdxl::{ImageRequest, SdxlModel};
use framewright_engine::pipelines::{Proceed, drive};
use framewright_engine::vision::RgbPicture;
use framewright_engine::weights::{PackedCache, Variant};

/// Begins the lines in which a worker process speaks.
const MARK: &str = "worker says";
/// What two workers may take together, in percent of one.
const MOST_PERCENT_OF_ONE: u64 = 115;

/// A small picture that has everything computed with: both halves of the autoencoder, both prompts.
fn picture(model: &SdxlModel) -> RgbPicture {
    let side = 64;
    let bytes = (0..side * side * 3).map(|index| (index * 7 % 256) as u8).collect();
    let request = ImageRequest {
        prompt: "a red circle".to_owned(),
        negative_prompt: Some("blue".to_owned()),
        width: side,
        height: side,
        num_inference_steps: 2,
        guidance_scale: 3.0,
        guidance_rescale: 0.0,
        sampler: Some("euler".to_owned()),
        seed: 1,
        init_image: Some(Arc::new(RgbPicture { height: side, width: side, bytes })),
        strength: 1.0,
        mask: None,
    };
    let interrupt = Interrupt::default();
    let mut machines = [model.begin(&request, &interrupt).unwrap()];
    drive(model, &mut machines, 2, &interrupt, |_, _| Proceed::Continue).unwrap();
    machines[0].picture().unwrap().to_rgb()
}

fn demo() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/demo-sdxl")
}

#[test]
fn pictures_are_the_same_on_every_kernel() {
    let parent = tempfile::tempdir().unwrap();
    let cache = PackedCache::new(parent.path().join("packed"));
    let interrupt = Interrupt::default();
    let shared = |ops: &Ops| SdxlModel::load_shared(&demo(), ops, Variant::Plain, &cache, &interrupt).unwrap();
    for path in KernelPath::available() {
        for precision in [Precision::F32, Precision::Bf16] {
            let ops = Ops::cpu(precision, Some(path)).unwrap();
            let expected = picture(&SdxlModel::load(&demo(), &ops, Variant::Plain, &interrupt).unwrap());
            let (model, packed_use) = shared(&ops);
            assert!(packed_use.packed_now && packed_use.shared, "{}: {packed_use:?}", ops.description());
            assert_eq!(picture(&model), expected, "{} as packed", ops.description());
            let (model, packed_use) = shared(&ops);
            assert!(!packed_use.packed_now && packed_use.shared, "{}: {packed_use:?}", ops.description());
            assert_eq!(picture(&model), expected, "{} as mapped", ops.description());
        }
    }
    assert_eq!(cache.list().unwrap().len(), 2 * KernelPath::available().len());

    let ops = Ops::candle(candle_core::Device::Cpu, Precision::F32).unwrap();
    let (_, packed_use) = shared(&ops);
    assert!(!packed_use.shared && packed_use.reason.is_some());
}

#[test]
fn loading_from_a_map_can_be_stopped_too() {
    let parent = tempfile::tempdir().unwrap();
    let cache = PackedCache::new(parent.path().join("packed"));
    let ops = Ops::cpu(Precision::F32, None).unwrap();
    let interrupt = Interrupt::default();
    let load = || SdxlModel::load_shared(&demo(), &ops, Variant::Plain, &cache, &interrupt);
    load().unwrap();
    interrupt.cancel();
    assert!(matches!(load(), Err(framewright_engine::Error::Cancelled)));
}

/// A process that has a model loaded.
struct Worker {
    process: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

/// What a worker's memory is, bytes.
#[derive(Clone, Copy, Debug)]
struct Memory {
    /// Resident, each page divided among the processes that have it.
    proportional: u64,
    /// Resident, shared pages counted in full.
    resident: u64,
    /// Written to by this process alone: what nobody can share.
    private_dirty: u64,
}

impl Worker {
    /// Starts this test binary once more, has it load a model and draw a picture.
    fn start(model: &Path, cache: Option<&Path>) -> Self {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["worker_process", "--exact", "--nocapture", "--test-threads=1", "worker"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut input = process.stdin.take().unwrap();
        let cache = cache.map_or_else(String::new, |cache| cache.display().to_string());
        writeln!(input, "{}\n{cache}", model.display()).unwrap();
        let output = BufReader::new(process.stdout.take().unwrap()).lines();
        let mut worker = Self { process, input, output };
        assert_eq!(worker.hear(), "loaded");
        worker
    }

    fn hear(&mut self) -> String {
        let said = |line: std::io::Result<String>| Some(line.unwrap().split_once(MARK)?.1.trim().to_owned());
        self.output.find_map(said).unwrap()
    }

    fn memory(&mut self) -> Memory {
        writeln!(self.input, "measure").unwrap();
        let said = self.hear();
        let mut numbers = said.split_whitespace().map(|number| number.parse::<u64>().unwrap());
        let [proportional, resident, private_dirty] = std::array::from_fn(|_| numbers.next().unwrap());
        Memory { proportional, resident, private_dirty }
    }

    fn stop(mut self) {
        drop(self.input);
        assert!(self.process.wait().unwrap().success());
    }
}

/// A worker, as `two_workers_take_the_weights_once` starts it; alone it has nothing to do.
#[test]
fn worker_process() {
    // The test harness takes the last argument for another filter.
    if std::env::args().next_back().as_deref() != Some("worker") {
        return;
    }
    let mut lines = std::io::stdin().lines().map(Result::unwrap);
    let (directory, cache) = (lines.next().unwrap(), lines.next().unwrap());
    let ops = Ops::cpu(Precision::F32, None).unwrap();
    let interrupt = Interrupt::default();
    let directory = Path::new(&directory);
    let model = if cache.is_empty() {
        SdxlModel::load(directory, &ops, Variant::Plain, &interrupt).unwrap()
    } else {
        let cache = PackedCache::new(cache.into());
        let (model, packed_use) = SdxlModel::load_shared(directory, &ops, Variant::Plain, &cache, &interrupt).unwrap();
        assert!(packed_use.shared && !packed_use.packed_now, "{packed_use:?}");
        model
    };
    assert!(!picture(&model).bytes.is_empty());
    ops.release_scratch();
    println!("{MARK} loaded");
    for _ in lines {
        let rollup = std::fs::read_to_string("/proc/self/smaps_rollup").unwrap();
        let bytes = |key: &str| {
            let line = rollup.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':')).unwrap();
            line.split_whitespace().next().unwrap().parse::<u64>().unwrap() * 1024
        };
        println!("{MARK} {} {} {}", bytes("Pss"), bytes("Rss"), bytes("Private_Dirty"));
    }
}

/// One worker's memory, and that of two which live at the same time.
fn measure(model: &Path, cache: Option<&Path>) -> (Memory, [Memory; 2]) {
    let mut first = Worker::start(model, cache);
    let one = first.memory();
    let mut second = Worker::start(model, cache);
    let two = [first.memory(), second.memory()];
    first.stop();
    second.stop();
    (one, two)
}

#[test]
fn two_workers_take_the_weights_once() {
    let directory = large::large_checkpoint();
    let parent = tempfile::tempdir().unwrap();
    let packed = parent.path().join("packed");
    let ops = Ops::cpu(Precision::F32, None).unwrap();
    let cache = PackedCache::new(packed.clone());
    let (model, packed_use) =
        SdxlModel::load_shared(directory.path(), &ops, Variant::Plain, &cache, &Interrupt::default()).unwrap();
    // This process must not have the pages.
    drop(model);

    let megabytes = |bytes: u64| bytes as f64 / 1e6;
    let mut sums = Vec::new();
    println!("packed weights: {:.0} MB", megabytes(packed_use.bytes));
    for (name, cache) in [("owned", None), ("mapped", Some(packed.as_path()))] {
        let (one, two) = measure(directory.path(), cache);
        let sum = two[0].proportional + two[1].proportional;
        println!(
            "{name}: one worker Pss {:.0} MB, two workers {:.0} MB together ({:.2} of one)",
            megabytes(one.proportional),
            megabytes(sum),
            sum as f64 / one.proportional as f64
        );
        for memory in two {
            println!(
                "{name}: of two, each: Pss {:.0} MB, Rss {:.0} MB, Private_Dirty {:.0} MB",
                megabytes(memory.proportional),
                megabytes(memory.resident),
                megabytes(memory.private_dirty)
            );
        }
        sums.push((one, two, sum));
    }
    let (owned, mapped) = (&sums[0], &sums[1]);
    assert!(owned.2 * 10 > owned.0.proportional * 18, "two owners take the weights twice: {owned:?}");
    assert!(mapped.2 * 100 <= mapped.0.proportional * MOST_PERCENT_OF_ONE, "{mapped:?}");
    for memory in mapped.1 {
        assert!(memory.private_dirty * 4 < packed_use.bytes, "nothing sizeable is a worker's own: {memory:?}");
        assert!(memory.resident > packed_use.bytes, "the weights were computed with: {memory:?}");
    }
}
