//! What a device is asked, and what it answers. Plain data, the same in one process and between two.

mod failure;
mod picture;
mod request;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use framewright_engine::ops::Interrupt;
use framewright_engine::vision::{GreyPicture, RgbPicture};
use serde::{Deserialize, Serialize};

pub(crate) use failure::is_out_of_memory;
pub use failure::{Failure, FailureClass};
pub use picture::{Picture, PictureFile};
pub use request::{ClipRequest, ImageRequest, Request};

/// A task on a worker. Numbers are given by whoever sends tasks, and never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TaskNumber(pub u64);

/// A model by its files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelFiles {
    /// The name that orders to unload use.
    pub name: String,
    /// Where it lies, in the diffusers layout; or its one file.
    pub directory: PathBuf,
    /// A number that changes when any of its files does: what is loaded under another one is loaded again.
    pub fingerprint: u64,
}

/// A task as it is sent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskOrder {
    /// What to make.
    pub request: Request,
    /// With which model.
    pub model: ModelFiles,
    /// Models to give back first, those in use aside.
    pub unload: Vec<String>,
    /// The picture to start from; of a clip, the one that it begins with, which it must have.
    pub init_image: Option<Picture>,
    /// Where that picture is repainted: where this is bright. Clips have none.
    pub mask: Option<Picture>,
    /// A directory of the task's own, made when something is kept there: checkpoints and finished pictures, from which a later
    /// attempt goes on.
    pub work_directory: PathBuf,
}

impl TaskOrder {
    /// The pixels of the picture to start from. Blocks on its file.
    pub(crate) fn read_init_image(&self) -> Result<Option<Arc<RgbPicture>>, Failure> {
        let unreadable = |error| Failure::new(FailureClass::StorageFailed, format!("cannot read the initial picture: {error}"));
        self.init_image.as_ref().map(Picture::read).transpose().map_err(unreadable)
    }

    /// How bright the mask is, pixel by pixel. Blocks on its file.
    pub(crate) fn read_mask(&self) -> Result<Option<GreyPicture>, Failure> {
        let unreadable = |error| Failure::new(FailureClass::StorageFailed, format!("cannot read the mask: {error}"));
        let mask = self.mask.as_ref().map(Picture::read).transpose().map_err(unreadable)?;
        Ok(mask.map(|mask| mask.luminance()))
    }

    /// The pixels of the picture that a clip begins with; a clip without one is refused.
    pub(crate) fn read_first_frame(&self) -> Result<Arc<RgbPicture>, Failure> {
        let missing =
            || Failure::new(FailureClass::InvalidRequest, "init_image: a clip needs the picture that it begins with; give one");
        self.read_init_image()?.ok_or_else(missing)
    }
}

/// What the user is told of a picture, by its field, of other sides than what is made of it.
pub(crate) fn resized_warning(field: &str, (from_width, from_height): (usize, usize), (width, height): (u32, u32)) -> String {
    format!("{field} resized from {from_width}x{from_height} to {width}x{height}")
}

/// A task on a device: the order, and what may change while it runs.
#[derive(Clone, Debug)]
pub struct Task {
    /// What to do.
    pub order: TaskOrder,
    /// Stops it.
    pub interrupt: Interrupt,
    /// Whether anybody wants previews.
    pub previews: PreviewSwitch,
}

/// Whether anybody wants previews, asked anew at every evaluation.
#[derive(Clone)]
pub struct PreviewSwitch(Arc<dyn Fn() -> bool + Send + Sync>);

impl PreviewSwitch {
    /// Asks `wanted`.
    pub fn new(wanted: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self(Arc::new(wanted))
    }

    /// The answer now.
    pub fn is_on(&self) -> bool {
        (self.0)()
    }
}

impl Default for PreviewSwitch {
    /// Nobody does.
    fn default() -> Self {
        Self::new(|| false)
    }
}

impl fmt::Debug for PreviewSwitch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PreviewSwitch").field(&self.is_on()).finish()
    }
}

/// What a device says while it runs a task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Report {
    /// The model was not loaded, and now is.
    ModelLoaded {
        /// How long that took.
        seconds: f64,
    },
    /// A model evaluation was done.
    Evaluated {
        /// Evaluations done, over all pictures.
        step: u32,
        /// Evaluations in all.
        steps: u32,
        /// How long it took.
        seconds: f64,
        /// Tasks that shared it.
        tasks: u32,
    },
    /// A small PNG of a picture as now predicted.
    Preview {
        /// Which picture.
        index: u32,
        /// Evaluations done, over all pictures.
        step: u32,
        /// Evaluations in all.
        steps: u32,
        /// The file.
        #[serde(with = "base64_bytes")]
        png: Vec<u8>,
    },
}

/// Finished pictures, or the finished frames of a clip.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskOutput {
    /// In order.
    pub pictures: Vec<Picture>,
    /// How they were made.
    pub facts: RunFacts,
}

/// How pictures were made.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunFacts {
    /// `cpu (avx512, f32)`.
    pub device: String,
    /// `f32`, `bf16`, `f16`.
    pub precision: String,
    /// The sampler that ran.
    pub sampler: String,
    /// Where the noise came from.
    pub noise: String,
    /// What took how long.
    pub timings: Timings,
    /// Evaluations that an earlier attempt had done already.
    pub resumed_steps: u32,
    /// The most tasks that shared an evaluation with it, itself included.
    pub batched_with: u32,
    /// What the user should know.
    pub warnings: Vec<String>,
}

/// Wall time by phase, seconds, over all pictures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Timings {
    /// Reading and packing weights; 0 when the model was loaded already.
    pub load_seconds: f64,
    /// Prompts and initial pictures.
    pub encode_seconds: f64,
    /// Model evaluations and sampler steps, those of batch mates in the same evaluations included.
    pub denoise_seconds: f64,
    /// Latents to pixels.
    pub decode_seconds: f64,
}

/// Bytes in JSON.
mod base64_bytes {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use serde::{Deserialize, Deserializer, Serializer, de};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(deserializer)?;
        STANDARD.decode(text).map_err(de::Error::custom)
    }
}
