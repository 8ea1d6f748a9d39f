//! A device that computes nothing: for tests of the API, the page and the load.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use framewright_engine::vision::RgbPicture;
use parking_lot::Mutex;

use super::{ImageDevice, ImageOutput, ImageTask, Report, RunFacts, TaskFailure, Timings};
use crate::domain::{ErrorCode, Progress};
use crate::media::encode::{PngText, encode_png};

/// How often a pausing device looks whether it shall stop.
const LOOK_INTERVAL: Duration = Duration::from_millis(2);

/// Side of a preview, pixels.
const PREVIEW_SIDE: usize = 16;

/// What a fake device does wrong in its next task, after `after_steps` evaluations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FakeFailure {
    /// Fails with an error of this class.
    Fail {
        /// When.
        after_steps: u32,
        /// How.
        code: ErrorCode,
    },
    /// Panics.
    Panic {
        /// When.
        after_steps: u32,
    },
    /// Makes no progress until it is interrupted.
    Hang {
        /// When.
        after_steps: u32,
    },
}

/// Pace and planned failures of fake devices. Clones steer the same devices.
#[derive(Clone, Debug)]
pub struct FakeControl {
    step_duration: Duration,
    failures: Arc<Mutex<VecDeque<FakeFailure>>>,
}

impl Default for FakeControl {
    fn default() -> Self {
        Self::new(20)
    }
}

impl FakeControl {
    /// Devices that take this long a step.
    pub fn new(step_ms: u64) -> Self {
        Self { step_duration: Duration::from_millis(step_ms), failures: Arc::default() }
    }

    /// Plans a failure; each task takes one, in order.
    pub fn plan(&self, failure: FakeFailure) {
        self.failures.lock().push_back(failure);
    }
}

/// Draws a flat pattern of the asked size and seed, in as many steps as asked.
#[derive(Debug)]
pub struct FakeDevice {
    control: FakeControl,
}

impl FakeDevice {
    /// A device under this control.
    pub fn new(control: FakeControl) -> Self {
        Self { control }
    }

    /// Sleeps for one step, in slices, so that an interrupt is heard.
    fn pause(&self, task: &ImageTask) -> Result<(), TaskFailure> {
        let begun = Instant::now();
        task.interrupt.check()?;
        while let Some(left) = self.control.step_duration.checked_sub(begun.elapsed()).filter(|left| !left.is_zero()) {
            std::thread::sleep(left.min(LOOK_INTERVAL));
            task.interrupt.check()?;
        }
        Ok(())
    }
}

impl ImageDevice for FakeDevice {
    fn run(&mut self, task: &ImageTask, report: &mut dyn FnMut(Report)) -> Result<ImageOutput, TaskFailure> {
        let request = &task.request;
        let failure = self.control.failures.lock().pop_front();
        let steps = request.num_inference_steps * request.num_images;
        let begun = Instant::now();
        for step in 0..steps {
            match &failure {
                Some(FakeFailure::Fail { after_steps, code }) if *after_steps == step => {
                    return Err(TaskFailure::new(*code, "the fake device was told to fail"));
                }
                Some(FakeFailure::Hang { after_steps }) if *after_steps == step => loop {
                    std::thread::sleep(LOOK_INTERVAL);
                    task.interrupt.check()?;
                },
                Some(FakeFailure::Panic { after_steps }) if *after_steps == step => {
                    #[expect(
                        clippy::panic,
                        reason = "it is told to: how workers survive a panic can be tried on a running server"
                    )]
                    {
                        panic!("the fake device was told to panic");
                    }
                }
                _ => {}
            }
            let step_begun = Instant::now();
            self.pause(task)?;
            let progress = Progress { step: step + 1, steps };
            report(Report::Evaluated { progress, seconds: step_begun.elapsed().as_secs_f64() });
            let (index, done) = (step / request.num_inference_steps, step % request.num_inference_steps + 1);
            if task.previews.is_due(done as usize, request.num_inference_steps as usize) {
                let picture = pattern(PREVIEW_SIDE, PREVIEW_SIDE, request.seed.wrapping_add(u64::from(index)));
                if let Ok(png) = encode_png(PREVIEW_SIDE as u32, PREVIEW_SIDE as u32, &picture.bytes, &PngText::default()) {
                    report(Report::Preview { index, progress, png: png.into() });
                }
            }
        }
        let denoise_seconds = begun.elapsed().as_secs_f64();
        let picture =
            |index: u32| pattern(request.width as usize, request.height as usize, request.seed.wrapping_add(u64::from(index)));
        Ok(ImageOutput {
            pictures: (0..request.num_images).map(picture).collect(),
            facts: RunFacts {
                device: "fake".to_owned(),
                precision: "none".to_owned(),
                sampler: request.sampler.clone().unwrap_or_else(|| "euler".to_owned()),
                noise: "none".to_owned(),
                timings: Timings { denoise_seconds, ..Timings::default() },
                warnings: vec!["made by a fake device: a test pattern, not the model's picture".to_owned()],
            },
        })
    }

    fn unload(&mut self) {}
}

/// Four quarters of one colour each, chosen by the seed: real pixels in a small file.
fn pattern(width: usize, height: usize, seed: u64) -> RgbPicture {
    // Knuth's multiplicative hash: neighbouring seeds look different.
    let colours = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_le_bytes();
    let row = |lower: bool| {
        let quarter = |right: bool| {
            let first = usize::from(lower) * 2 + usize::from(right);
            [colours[first], colours[first + 2], colours[first + 4]]
        };
        (0..width).flat_map(|x| quarter(x >= width / 2)).collect::<Vec<u8>>()
    };
    let (upper, lower) = (row(false), row(true));
    let bytes = (0..height).flat_map(|y| if y < height / 2 { &upper } else { &lower }).copied().collect();
    RgbPicture { height, width, bytes }
}
