//! From pixels to files that say how they were made.

use bytes::Bytes;
use serde_json::{Value, json};

use super::{FinishedPicture, ImageOutput, RunFacts};
use crate::domain::{Artifact, ImageRequest, Job, JobId, Sha256Digest, UnixMs};
use crate::media::a1111::Infotext;
use crate::media::encode::{EncodeError, PngText, encode_png, thumbnail};
use crate::models::ModelIdentity;
use crate::storage::{ArtifactStorage, StorageError, picture_key, thumbnail_key};

/// Longer side of a thumbnail, pixels.
const THUMBNAIL_SIDE: u32 = 256;

/// Who made a picture, in its key.
const PROVIDER: &str = "local";

/// One attempt at a job, which alone decides under which keys its pictures are stored. So whoever finds an attempt that was cut off
/// knows which files it may have left; and no two attempts share a key, so one that lost its task touches nothing of another's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempt {
    job: JobId,
    created: UnixMs,
    number: i64,
    pictures: u32,
}

impl Attempt {
    /// Attempt `number` at `job`.
    pub fn new(job: &Job, number: i64) -> Self {
        Self { job: job.id, created: job.created, number, pictures: job.request.num_images }
    }

    /// The key of picture `index`.
    fn picture_key(&self, index: usize) -> String {
        let [a, b, c, d, e, f, g, h, ..] = Sha256Digest::of(format!("{} {}", self.job, self.number).as_bytes()).0;
        picture_key(PROVIDER, self.created, index, u64::from_be_bytes([a, b, c, d, e, f, g, h]))
    }

    /// Removes whatever it has stored.
    pub async fn delete_pictures(&self, storage: &ArtifactStorage) {
        for key in (0..self.pictures as usize).map(|index| self.picture_key(index)) {
            for key in [thumbnail_key(&key), key] {
                if let Err(error) = storage.delete(&key).await {
                    tracing::warn!(%key, %error, "Cannot delete {key}, which no job refers to");
                }
            }
        }
    }
}

/// A picture ready to be stored.
#[derive(Clone, Debug)]
pub struct EncodedPicture {
    /// Pixels across.
    pub width: u32,
    /// Pixels down.
    pub height: u32,
    /// Its own seed.
    pub seed: u64,
    /// The file, its manifest and A1111 parameters within.
    pub png: Bytes,
    /// A small JPEG.
    pub thumbnail_jpeg: Bytes,
}

/// Why a finished picture did not become a file.
#[derive(Debug, thiserror::Error)]
pub enum ResultError {
    /// What the device left cannot be read.
    #[error("cannot read the finished picture: {0}")]
    Read(#[from] std::io::Error),
    /// It cannot be encoded.
    #[error(transparent)]
    Encode(#[from] EncodeError),
}

/// Encodes the pictures of a run, wherever the device left them. Blocking: call it off the async threads.
pub fn encode_pictures(
    output: &ImageOutput,
    request: &ImageRequest,
    identity: &ModelIdentity,
    created: UnixMs,
) -> Result<Vec<EncodedPicture>, ResultError> {
    let short_hash = identity.short_hash();
    let encode = |(index, picture): (usize, &FinishedPicture)| {
        let picture = picture.clone().read()?;
        let (width, height) = (picture.width as u32, picture.height as u32);
        let seed = request.seed.wrapping_add(index as u64);
        let infotext = Infotext {
            prompt: &request.prompt,
            negative_prompt: request.negative_prompt.as_deref(),
            steps: request.num_inference_steps,
            sampler: &output.facts.sampler,
            guidance_scale: request.guidance_scale,
            seed,
            width,
            height,
            model_hash: short_hash.as_deref(),
            model: request.model.as_str(),
            denoising_strength: request.init_image.is_some().then_some(request.strength),
        };
        let text = PngText {
            parameters: Some(infotext.render()),
            manifest: Some(manifest(request, seed, identity, &output.facts, created).to_string()),
        };
        Ok(EncodedPicture {
            width,
            height,
            seed,
            png: encode_png(width, height, &picture.bytes, &text)?.into(),
            thumbnail_jpeg: thumbnail(width, height, &picture.bytes, THUMBNAIL_SIDE)?.into(),
        })
    };
    output.pictures.iter().enumerate().map(encode).collect()
}

/// What a result says of itself; `seed` is the one of the picture that carries it (of the first, in a job's result).
pub fn manifest(request: &ImageRequest, seed: u64, identity: &ModelIdentity, facts: &RunFacts, created: UnixMs) -> Value {
    let ms = |seconds: f64| (seconds * 1000.0).round() as u64;
    json!({
        "generator": format!("framewright {}", env!("CARGO_PKG_VERSION")),
        "model": request.model,
        "model_sha256": identity.components,
        "request": request,
        "seed": seed,
        "noise": facts.noise,
        "sampler": facts.sampler,
        "device": facts.device,
        "precision": facts.precision,
        "resumed_steps": facts.resumed_steps,
        "batched_with": facts.batched_with,
        "timings_ms": {
            "load": ms(facts.timings.load_seconds),
            "encode": ms(facts.timings.encode_seconds),
            "denoise": ms(facts.timings.denoise_seconds),
            "decode": ms(facts.timings.decode_seconds),
        },
        "warnings": facts.warnings,
        "created": created.to_string(),
    })
}

/// Stores an attempt's pictures and their thumbnails. After an error some may be there: see [`Attempt::delete_pictures`]. Blocking.
pub fn store_pictures(
    storage: &ArtifactStorage,
    attempt: &Attempt,
    pictures: &[EncodedPicture],
) -> Result<Vec<Artifact>, StorageError> {
    let artifacts: Vec<Artifact> =
        pictures.iter().enumerate().map(|(index, picture)| artifact(attempt.picture_key(index), picture)).collect();
    let files: Vec<(&str, &[u8])> = artifacts
        .iter()
        .zip(pictures)
        .flat_map(|(artifact, picture)| {
            [(artifact.key.as_str(), &*picture.png), (artifact.thumbnail_key.as_str(), &*picture.thumbnail_jpeg)]
        })
        .collect();
    storage.put_together(&files)?;
    Ok(artifacts)
}

fn artifact(key: String, picture: &EncodedPicture) -> Artifact {
    Artifact {
        media_type: "image/png".to_owned(),
        width: picture.width,
        height: picture.height,
        bytes: picture.png.len() as u64,
        sha256: Sha256Digest::of(&picture.png).to_string(),
        seed: picture.seed,
        thumbnail_key: thumbnail_key(&key),
        key,
    }
}
