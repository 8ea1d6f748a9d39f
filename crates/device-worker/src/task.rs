//! What a device is asked, and what it answers. Plain data, the same in one process and between two.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use framewright_engine::ops::Interrupt;
use framewright_engine::vision::RgbPicture;
use serde::{Deserialize, Serialize};

/// A task on a worker. Numbers are given by whoever sends tasks, and never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TaskNumber(pub u64);

/// What pictures to make; values have been checked against the model's limits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageRequest {
    /// What the picture shows.
    pub prompt: String,
    /// What it must not show; absent and empty may differ.
    pub negative_prompt: Option<String>,
    /// Pixels across.
    pub width: u32,
    /// Pixels down.
    pub height: u32,
    /// Sampler steps.
    pub num_inference_steps: u32,
    /// Classifier-free guidance; at most 1 turns it off.
    pub guidance_scale: f32,
    /// Seed of the first picture; picture i uses `seed + i` (wrapping).
    pub seed: u64,
    /// A sampler's name; absent means the checkpoint's own.
    pub sampler: Option<String>,
    /// How many pictures.
    pub num_images: u32,
    /// How much of the initial picture is noised away.
    pub strength: f32,
}

/// A model by its files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelFiles {
    /// The name that orders to unload use.
    pub name: String,
    /// Where it lies, in the diffusers layout.
    pub directory: PathBuf,
    /// A number that changes when any of its files does: what is loaded under another one is loaded again.
    pub fingerprint: u64,
}

/// A task as it is sent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskOrder {
    /// What to make.
    pub request: ImageRequest,
    /// With which model.
    pub model: ModelFiles,
    /// Models to give back first, those in use aside.
    pub unload: Vec<String>,
    /// The picture to start from.
    pub init_image: Option<Picture>,
    /// A directory of the task's own, made when something is kept there: checkpoints and finished pictures, from which a later
    /// attempt goes on.
    pub work_directory: PathBuf,
}

/// A task on a device: the order, and what may change while it runs.
#[derive(Clone, Debug)]
pub struct ImageTask {
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

/// RGB bytes in a file, rows from the top.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PictureFile {
    /// The file.
    pub path: PathBuf,
    /// Pixels across.
    pub width: u32,
    /// Pixels down.
    pub height: u32,
}

impl PictureFile {
    /// `width · height · 3`.
    pub fn length_bytes(&self) -> u64 {
        u64::from(self.width) * u64::from(self.height) * 3
    }

    /// The pixels; a file of another length is an error.
    pub fn read(&self) -> io::Result<RgbPicture> {
        use io::Read;
        let file = std::fs::File::open(&self.path)?;
        let found = file.metadata()?.len();
        if found != self.length_bytes() {
            let message = format!("{} has {found} bytes and not {}", self.path.display(), self.length_bytes());
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
        let mut bytes = Vec::with_capacity(found as usize);
        file.take(found).read_to_end(&mut bytes)?;
        let picture = RgbPicture { height: self.height as usize, width: self.width as usize, bytes };
        picture.is_whole().then_some(picture).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }
}

/// A picture that goes to a device or comes from one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Picture {
    /// In memory; between processes only small ones.
    Pixels(#[serde(with = "rgb")] Arc<RgbPicture>),
    /// In a file.
    File(PictureFile),
}

impl Picture {
    /// The pixels. Blocks on the file.
    pub fn read(&self) -> io::Result<Arc<RgbPicture>> {
        match self {
            Self::Pixels(picture) => Ok(Arc::clone(picture)),
            Self::File(file) => file.read().map(Arc::new),
        }
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

/// Finished pictures.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageOutput {
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

/// Why a task failed, in classes that a server can act on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureClass {
    /// The model's files are missing or broken.
    ModelUnavailable,
    /// It did not fit into the device's memory.
    OutOfMemory,
    /// The device failed.
    DeviceFailed,
    /// The request turned out to be impossible for the model.
    InvalidRequest,
    /// A file of the task could not be read or written.
    StorageFailed,
    /// Anything else; the log has the cause.
    Internal,
}

/// Why a task gave no pictures.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Failure {
    /// It was interrupted.
    #[error("cancelled")]
    Cancelled,
    /// It failed.
    #[error("{message}")]
    Failed {
        /// The class.
        class: FailureClass,
        /// One line for users.
        message: String,
    },
}

impl Failure {
    /// A failure of a class.
    pub fn new(class: FailureClass, message: impl Into<String>) -> Self {
        Self::Failed { class, message: message.into() }
    }

    /// Whether more memory would have helped.
    pub fn is_out_of_memory(&self) -> bool {
        matches!(self, Self::Failed { class: FailureClass::OutOfMemory, .. })
    }
}

/// Whether an error of the engine means that the device had no memory left.
pub(crate) fn is_out_of_memory(error: &framewright_engine::Error) -> bool {
    use framewright_engine::Error;
    matches!(error, Error::Device(_) | Error::Candle(_)) && {
        let text = error.to_string().to_ascii_lowercase();
        text.contains("out of memory") || text.contains("out_of_memory")
    }
}

impl From<framewright_engine::Error> for Failure {
    fn from(error: framewright_engine::Error) -> Self {
        use framewright_engine::Error;
        let class = match &error {
            Error::Cancelled => return Self::Cancelled,
            Error::Request { .. } => FailureClass::InvalidRequest,
            Error::File { .. } | Error::Malformed { .. } | Error::Checkpoint { .. } => FailureClass::ModelUnavailable,
            Error::Device(_) | Error::Candle(_) if is_out_of_memory(&error) => FailureClass::OutOfMemory,
            Error::Device(_) | Error::Candle(_) => FailureClass::DeviceFailed,
        };
        Self::new(class, error.to_string())
    }
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

/// Pixels in JSON; sides that do not agree with the bytes are an error.
mod rgb {
    use std::sync::Arc;

    use framewright_engine::vision::RgbPicture;
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

    #[derive(Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Rgb {
        width: usize,
        height: usize,
        #[serde(with = "super::base64_bytes")]
        bytes: Vec<u8>,
    }

    pub(super) fn serialize<S: Serializer>(picture: &Arc<RgbPicture>, serializer: S) -> Result<S::Ok, S::Error> {
        Rgb { width: picture.width, height: picture.height, bytes: picture.bytes.clone() }.serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Arc<RgbPicture>, D::Error> {
        let Rgb { width, height, bytes } = Rgb::deserialize(deserializer)?;
        let picture = RgbPicture { height, width, bytes };
        if picture.is_whole() { Ok(Arc::new(picture)) } else { Err(de::Error::custom("the sides do not fit the pixels")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_survive_the_way_between_processes_and_lies_do_not() {
        let picture = Picture::Pixels(Arc::new(RgbPicture { height: 1, width: 2, bytes: vec![0, 1, 2, 253, 254, 255] }));
        let text = serde_json::to_string(&picture).unwrap();
        assert_eq!(serde_json::from_str::<Picture>(&text).unwrap(), picture);
        let lie = text.replace("\"width\":2", "\"width\":18446744073709551615");
        assert!(serde_json::from_str::<Picture>(&lie).unwrap_err().to_string().contains("sides"));
    }

    #[test]
    fn a_picture_file_must_have_the_promised_length() {
        let directory = tempfile::tempdir().unwrap();
        let file = PictureFile { path: directory.path().join("x.rgb"), width: 2, height: 1 };
        std::fs::write(&file.path, [1; 6]).unwrap();
        assert_eq!(file.read().unwrap().bytes, [1; 6]);
        std::fs::write(&file.path, [1; 7]).unwrap();
        assert!(file.read().unwrap_err().to_string().contains("has 7 bytes"));
    }

    #[test]
    fn errors_of_the_engine_have_classes() {
        use framewright_engine::Error;
        let class = |error: Error| match Failure::from(error) {
            Failure::Failed { class, .. } => Some(class),
            Failure::Cancelled => None,
        };
        assert_eq!(class(Error::Cancelled), None);
        assert_eq!(class(Error::request("width", "no")), Some(FailureClass::InvalidRequest));
        assert_eq!(class(Error::checkpoint("unet", "no")), Some(FailureClass::ModelUnavailable));
        assert_eq!(class(Error::Device("CUDA_ERROR_OUT_OF_MEMORY".to_owned())), Some(FailureClass::OutOfMemory));
        assert_eq!(class(Error::Device("it is on fire".to_owned())), Some(FailureClass::DeviceFailed));
    }
}
