//! From pixels to files that say how they were made.

use std::path::Path;

use bytes::Bytes;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{FinishedPicture, RunFacts, TaskOutput};
use crate::domain::film::{ClipRequest, FilmRequest};
use crate::domain::plan::{TaskRole, plan};
use crate::domain::{
    Artifact, ImageRequest, Job, JobId, JobKind, JobRequest, LOCAL_PROVIDER, ProviderId, Sha256Digest, UnixMs, VideoCodec,
};
use crate::media::a1111::Infotext;
use crate::media::encode::{EncodeError, PngText, encode_png, thumbnail};
use crate::models::ModelIdentity;
use crate::storage::{ArtifactStorage, StorageError, part_key, picture_key, sprite_sheet_key, thumbnail_key, video_key};

/// Longer side of a thumbnail, pixels.
pub const THUMBNAIL_SIDE: u32 = 256;

/// How clips are kept: lossless, since more is made of them.
pub const CLIP_CODEC: VideoCodec = VideoCodec::Ffv1;

/// How the scenes of a film are kept: far better than it is encoded in the end. H.264 has no odd sides; animations may.
pub fn scene_codec(film: &FilmRequest) -> VideoCodec {
    let is_even = film.width.is_multiple_of(2) && film.height.is_multiple_of(2);
    if is_even { VideoCodec::H264 } else { VideoCodec::Ffv1 }
}

/// One attempt at a task of a job, which alone decides under which keys its files are stored. So whoever finds an attempt that was cut
/// off knows which files it may have left; and no two attempts share a key, so one that lost its task touches nothing of another's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    job: JobId,
    created: UnixMs,
    position: u32,
    number: i64,
    files: Files,
}

/// What an attempt stores.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Files {
    /// So many pictures.
    Pictures(u32),
    /// A file of this kind for the job's other tasks.
    Part(&'static str),
    /// A film.
    Film(VideoCodec),
    /// So many files of a provider, each of any of these endings.
    Remote {
        /// Who made them.
        provider: ProviderId,
        /// Pictures or films.
        output: JobKind,
        /// How many.
        count: u32,
    },
    /// Nothing that is known of.
    Nothing,
}

/// Endings of what providers make, the usual one first.
const fn remote_endings(output: JobKind) -> [&'static str; 3] {
    match output {
        JobKind::Film => ["mp4", "webm", "mov"],
        JobKind::Image => ["png", "jpg", "webp"],
    }
}

impl Attempt {
    /// Attempt `number` at the task at `position` of `job`.
    pub fn new(job: &Job, position: u32, number: i64) -> Self {
        let (role, target) = match plan(&job.request).get(position as usize) {
            Some(task) => (Some(task.role), job.request.target(task.stage)),
            None => (None, &job.request),
        };
        let files = match (role, target) {
            (_, JobRequest::Image(request)) => Files::Pictures(request.num_images),
            (Some(TaskRole::Keyframe { .. }), _) => Files::Part("png"),
            (Some(TaskRole::Clip { .. }), _) => Files::Part(CLIP_CODEC.extension()),
            (Some(TaskRole::Scene { .. }), JobRequest::Film(film)) => Files::Part(scene_codec(film).extension()),
            (Some(TaskRole::Film), JobRequest::Film(film)) => Files::Film(film.codec),
            (_, JobRequest::Remote(request)) => {
                Files::Remote { provider: request.provider.clone(), output: request.output, count: request.count.max(1) }
            }
            _ => Files::Nothing,
        };
        Self { job: job.id, created: job.created, position, number, files }
    }

    /// The key of picture `index`; of all but pictures there is one file, of index 0.
    pub fn key(&self, index: usize) -> String {
        let random = || {
            let [a, b, c, d, e, f, g, h, ..] = Sha256Digest::of(format!("{} {}", self.job, self.number).as_bytes()).0;
            u64::from_be_bytes([a, b, c, d, e, f, g, h])
        };
        match &self.files {
            Files::Remote { output, .. } => self.remote_key(index, remote_endings(*output)[0]),
            Files::Pictures(_) | Files::Nothing => picture_key(LOCAL_PROVIDER, self.created, index, random()),
            Files::Part(extension) => part_key(self.job, self.position, self.number, extension),
            Files::Film(codec) => video_key(LOCAL_PROVIDER, self.created, index, random(), codec.extension()),
        }
    }

    /// The key of file `index` of a provider's, with this ending.
    pub(in crate::execution) fn remote_key(&self, index: usize, ending: &str) -> String {
        let (provider, output) = match &self.files {
            Files::Remote { provider, output, .. } => (provider.as_str(), *output),
            _ => (LOCAL_PROVIDER, JobKind::Image),
        };
        // Names of providers may have a character that keys have not.
        let provider = provider.replace('@', "-");
        // A route's targets are tasks of one job, and may be of one provider.
        let digest = Sha256Digest::of(format!("{} {} {}", self.job, self.position, self.number).as_bytes()).0;
        let [a, b, c, d, e, f, g, h, ..] = digest;
        let random = u64::from_be_bytes([a, b, c, d, e, f, g, h]);
        match output {
            JobKind::Film => video_key(&provider, self.created, index, random, ending),
            JobKind::Image => {
                let key = picture_key(&provider, self.created, index, random);
                format!("{}.{ending}", key.trim_end_matches(".png"))
            }
        }
    }

    /// The key under which result `index` of a provider's waits that came with the answer itself: of the task, not of this attempt at it.
    /// It lies with what came with the job, and goes with it at the latest.
    pub(in crate::execution) fn answer_key(&self, index: usize) -> String {
        format!("inputs/{}-answer{}-{index}.bin", self.job, self.position)
    }

    /// Removes results that came with a provider's answer, once the task has ended.
    pub async fn delete_answer(&self, storage: &ArtifactStorage) {
        let Files::Remote { count, .. } = &self.files else { return };
        for key in (0..*count as usize).map(|index| self.answer_key(index)) {
            if let Err(error) = storage.delete(&key).await {
                tracing::warn!(%key, %error, "Cannot delete {key}, which is not needed any more");
            }
        }
    }

    /// Every key under which it may have stored something.
    fn keys(&self) -> Vec<String> {
        let files = match &self.files {
            Files::Pictures(pictures) => *pictures as usize,
            Files::Part(_) | Files::Film(_) => 1,
            Files::Remote { output, count, .. } => {
                let of = |index: usize| {
                    let keys = remote_endings(*output).map(|ending| self.remote_key(index, ending));
                    let sheet = (*output == JobKind::Film).then(|| sprite_sheet_key(&keys[0]));
                    std::iter::once(thumbnail_key(&keys[0])).chain(sheet).chain(keys).collect::<Vec<_>>()
                };
                return (0..*count as usize).flat_map(of).collect();
            }
            Files::Nothing => 0,
        };
        let of = |index| {
            let key = self.key(index);
            let sheet = matches!(self.files, Files::Film(_)).then(|| sprite_sheet_key(&key));
            [Some(thumbnail_key(&key)), Some(key), sheet]
        };
        (0..files).flat_map(of).flatten().collect()
    }

    /// Removes whatever it has stored.
    pub async fn delete_files(&self, storage: &ArtifactStorage) {
        for key in self.keys() {
            if let Err(error) = storage.delete(&key).await {
                tracing::warn!(%key, %error, "Cannot delete {key}, which no job refers to");
            }
        }
    }
}

/// SHA-256 of a file, hexadecimal. Blocking.
pub fn file_sha256(path: &Path) -> std::io::Result<String> {
    use std::io::Read;
    let (mut hasher, mut file, mut buffer) = (Sha256::new(), std::fs::File::open(path)?, vec![0; 1 << 20]);
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            break;
        }
        hasher.update(&buffer[..read]);
    }
    Ok(Sha256Digest(hasher.finalize().into()).to_string())
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
    output: &TaskOutput,
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
            is_masked: request.mask.is_some(),
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
        "timings_ms": timings_ms(facts),
        "warnings": facts.warnings,
        "created": created.to_string(),
    })
}

/// What a clip says of itself.
pub fn clip_manifest(request: &ClipRequest, identity: &ModelIdentity, facts: &RunFacts, created: UnixMs) -> Value {
    json!({
        "model": request.model,
        "model_sha256": identity.components,
        "request": request,
        "seed": request.seed,
        "noise": facts.noise,
        "sampler": facts.sampler,
        "device": facts.device,
        "precision": facts.precision,
        "resumed_steps": facts.resumed_steps,
        "timings_ms": timings_ms(facts),
        "warnings": facts.warnings,
        "created": created.to_string(),
    })
}

fn timings_ms(facts: &RunFacts) -> Value {
    let ms = |seconds: f64| (seconds * 1000.0).round() as u64;
    json!({
        "load": ms(facts.timings.load_seconds),
        "encode": ms(facts.timings.encode_seconds),
        "denoise": ms(facts.timings.denoise_seconds),
        "decode": ms(facts.timings.decode_seconds),
    })
}

/// Stores an attempt's pictures and their thumbnails. After an error some may be there: see [`Attempt::delete_files`]. Blocking.
pub fn store_pictures(
    storage: &ArtifactStorage,
    attempt: &Attempt,
    pictures: &[EncodedPicture],
) -> Result<Vec<Artifact>, StorageError> {
    let artifacts: Vec<Artifact> =
        pictures.iter().enumerate().map(|(index, picture)| artifact(attempt.key(index), picture)).collect();
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
        video: None,
        thumbnail_key: thumbnail_key(&key),
        key,
    }
}
