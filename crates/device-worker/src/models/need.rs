//! What requests need of a device's memory, and how a refusal says so.

use std::sync::Arc;

use framewright_engine::ops::Ops;
use framewright_engine::pipelines::sdxl::{ImageRequest, MemoryEstimate, ModelInfo};
use framewright_engine::pipelines::svd::{VideoModelInfo, VideoRequest};
use framewright_engine::vision::RgbPicture;

use super::description::Family;
use crate::task::{Failure, FailureClass, ModelFiles};

/// The memory that something needs at least, and the words for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Need {
    what: String,
    /// What to ask for instead.
    smaller: &'static str,
    estimate: MemoryEstimate,
}

impl Need {
    /// Of a picture: whole layers where they fit, tiles where only those do.
    pub(crate) fn of_picture(info: &ModelInfo, request: &ImageRequest, ops: &Ops) -> Self {
        Self {
            what: format!("{}x{}", request.width, request.height),
            smaller: "a smaller picture",
            estimate: info.memory_estimate(request, ops),
        }
    }

    /// Of a clip: frames are decoded one by one where memory has no room for more.
    pub(crate) fn of_clip(info: &VideoModelInfo, request: &VideoRequest, ops: &Ops) -> Self {
        let frame_by_frame = VideoRequest { decode_chunk_size: 1, ..request.clone() };
        Self {
            what: format!("{}x{} with {} frames", request.width, request.height, request.num_frames),
            smaller: "a smaller or shorter clip",
            estimate: info.memory_estimate(&frame_by_frame, ops),
        }
    }

    /// Of a model's weights alone.
    pub(crate) fn of_weights(files: &ModelFiles, ops: &Ops) -> Result<Self, Failure> {
        let weights_bytes = match Family::of(&files.directory) {
            Family::Sdxl => picture_weights_bytes(&ModelInfo::read(&files.directory)?, ops),
            Family::Svd => video_weights_bytes(&VideoModelInfo::read(&files.directory)?, ops),
        };
        Ok(Self {
            what: format!("model '{}'", files.name),
            smaller: "a smaller model",
            estimate: MemoryEstimate { weights_bytes, activations_bytes: 0, least_activations_bytes: 0 },
        })
    }

    /// The same, of a model whose weights are there.
    pub(crate) fn beside_weights(self) -> Self {
        Self { estimate: MemoryEstimate { weights_bytes: 0, ..self.estimate }, ..self }
    }

    /// Bytes without which it cannot begin.
    pub(crate) fn least_bytes(&self) -> u64 {
        self.estimate.weights_bytes + self.estimate.least_activations_bytes
    }

    /// That too little is free, with the numbers.
    pub(crate) fn refusal(&self, free_bytes: Option<u64>) -> Failure {
        let gigabytes = |bytes: u64| bytes as f64 / 1e9;
        let free = match free_bytes {
            Some(free) => format!("{:.2} GB are free", gigabytes(free)),
            None => "too little is free".to_owned(),
        };
        let message = format!(
            "{} needs about {:.2} GB of memory ({:.2} GB for the weights, {:.2} GB to work in) and {free}; \
             ask for {}, or use bf16 (FRAMEWRIGHT_PRECISION=bf16) or a machine with more memory",
            self.what,
            gigabytes(self.least_bytes()),
            gigabytes(self.estimate.weights_bytes),
            gigabytes(self.estimate.least_activations_bytes),
            self.smaller,
        );
        Failure::new(FailureClass::OutOfMemory, message)
    }
}

/// What the weights of an image model take. Their share of an estimate does not depend on the request.
pub(super) fn picture_weights_bytes(info: &ModelInfo, ops: &Ops) -> u64 {
    let smallest = ImageRequest {
        prompt: String::new(),
        negative_prompt: None,
        width: 64,
        height: 64,
        num_inference_steps: 1,
        guidance_scale: 1.0,
        guidance_rescale: 0.0,
        sampler: None,
        seed: 0,
        init_image: None,
        strength: 1.0,
        mask: None,
    };
    info.memory_estimate(&smallest, ops).weights_bytes
}

/// What the weights of a video model take.
pub(super) fn video_weights_bytes(info: &VideoModelInfo, ops: &Ops) -> u64 {
    let picture = Arc::new(RgbPicture { height: 1, width: 1, bytes: vec![0; 3] });
    info.memory_estimate(&info.request(picture, 0), ops).weights_bytes
}
