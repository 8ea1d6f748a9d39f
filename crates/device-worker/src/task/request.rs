//! What is asked for.

use serde::{Deserialize, Serialize};

/// What a task makes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// Pictures.
    Pictures(ImageRequest),
    /// The frames of a clip.
    Clip(ClipRequest),
}

impl Request {
    /// How many pictures come back: of a clip, its frames.
    pub fn pictures(&self) -> u32 {
        match self {
            Self::Pictures(request) => request.num_images,
            Self::Clip(request) => request.num_frames,
        }
    }

    /// Pixels across and down.
    pub fn size(&self) -> (u32, u32) {
        match self {
            Self::Pictures(request) => (request.width, request.height),
            Self::Clip(request) => (request.width, request.height),
        }
    }

    /// Sampler steps of a picture, or of the clip.
    pub(crate) fn steps(&self) -> u32 {
        match self {
            Self::Pictures(request) => request.num_inference_steps,
            Self::Clip(request) => request.num_inference_steps,
        }
    }

    /// How many are sampled, each in so many steps: every picture by itself, and a clip as one.
    pub(crate) fn samplings(&self) -> u32 {
        match self {
            Self::Pictures(request) => request.num_images,
            Self::Clip(_) => 1,
        }
    }
}

impl From<ImageRequest> for Request {
    fn from(request: ImageRequest) -> Self {
        Self::Pictures(request)
    }
}

impl From<ClipRequest> for Request {
    fn from(request: ClipRequest) -> Self {
        Self::Clip(request)
    }
}

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

/// What clip to make of the order's initial picture; values have been checked against the model's limits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClipRequest {
    /// Pixels across.
    pub width: u32,
    /// Pixels down.
    pub height: u32,
    /// Frames in all.
    pub num_frames: u32,
    /// Sampler steps.
    pub num_inference_steps: u32,
    /// Classifier-free guidance of the first frame …
    pub min_guidance_scale: f32,
    /// … and of the last; at most 1 turns it off.
    pub max_guidance_scale: f32,
    /// Frames a second that the model is told.
    pub fps: u32,
    /// How much moves: 127 is the published model's usual.
    pub motion_bucket_id: u32,
    /// How much noise is added to the initial picture before the model sees it.
    pub noise_aug_strength: f32,
    /// Frames that are decoded together: more take more memory, and flicker less.
    pub decode_chunk_size: u32,
    /// Seed of the clip.
    pub seed: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_survive_the_way_between_processes_and_unknown_words_do_not() {
        let clip = ClipRequest {
            width: 1024,
            height: 576,
            num_frames: 25,
            num_inference_steps: 20,
            min_guidance_scale: 1.0,
            max_guidance_scale: 3.1,
            fps: 7,
            motion_bucket_id: 127,
            noise_aug_strength: 0.02,
            decode_chunk_size: 8,
            seed: u64::MAX,
        };
        let request = Request::from(clip);
        assert_eq!((request.pictures(), request.size(), request.samplings(), request.steps()), (25, (1024, 576), 1, 20));
        let text = serde_json::to_string(&request).unwrap();
        assert!(text.starts_with(r#"{"clip":{"width":1024"#), "{text}");
        assert_eq!(serde_json::from_str::<Request>(&text).unwrap(), request);
        for lie in [text.replace("fps", "frames_per_second"), text.replace("clip", "film"), text.replace("25", "-25")] {
            assert!(serde_json::from_str::<Request>(&lie).is_err(), "{lie}");
        }
    }
}
