//! The answer of `txt2img` and `img2img`.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::defaults::repeated;
use super::picture_request::PictureRequest;
use crate::api::error::ApiError;
use crate::api::state::ApiState;
use crate::domain::{ImageRequest, Job, JobResult, ModelDescription, UnixMs};
use crate::media::a1111::{parse_infotext, sampler_names};
use crate::media::png_text::read_png_texts;

/// Digits of a hash that the web UI shows.
const SHORT_HASH_DIGITS: usize = 10;

/// How the pictures came to their end.
#[derive(Debug)]
pub(super) enum Ended {
    /// They are made.
    Completed(JobResult),
    /// Somebody stopped them.
    Interrupted,
}

/// Pictures and what made them.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct PicturesAnswer {
    /// PNG files in base64, their parameters within.
    images: Vec<String>,
    /// The request, with what took the place of absent fields.
    #[schema(value_type = Object)]
    parameters: Map<String, Value>,
    /// What made the pictures: JSON within a string.
    info: String,
}

/// The web UI's account of a request; every key is always there.
#[derive(Debug, Serialize)]
struct Info<'a> {
    prompt: &'a str,
    all_prompts: Vec<&'a str>,
    negative_prompt: &'a str,
    all_negative_prompts: Vec<&'a str>,
    seed: u64,
    all_seeds: Vec<u64>,
    /// There are no variation seeds here.
    subseed: i64,
    all_subseeds: Vec<i64>,
    subseed_strength: f64,
    width: u32,
    height: u32,
    sampler_name: String,
    cfg_scale: f32,
    steps: u32,
    batch_size: u32,
    restore_faces: bool,
    face_restoration_model: Option<&'a str>,
    sd_model_name: &'a str,
    sd_model_hash: Option<Value>,
    sd_vae_name: Option<&'a str>,
    sd_vae_hash: Option<String>,
    seed_resize_from_w: i64,
    seed_resize_from_h: i64,
    denoising_strength: Option<f32>,
    extra_generation_params: Map<String, Value>,
    index_of_first_image: u32,
    infotexts: Vec<String>,
    styles: [&'a str; 0],
    job_timestamp: String,
    clip_skip: u32,
    is_using_inpainting_conditioning: bool,
    version: String,
}

impl PicturesAnswer {
    /// The answer to `request`, of which `job` was made.
    pub(super) async fn new(
        state: &ApiState,
        request: &PictureRequest,
        job: &Job,
        ended: Ended,
        model: &ModelDescription,
    ) -> Result<Self, ApiError> {
        let made = job.request.image().ok_or_else(|| ApiError::internal("a job for pictures asks for something else"))?;
        let is_from_picture = made.init_image.is_some();
        let (mut images, mut infotexts, mut vae_hash) = (Vec::new(), Vec::new(), None);
        if let Ended::Completed(result) = ended {
            vae_hash = short_hash(&result.manifest, "vae");
            for artifact in &result.artifacts {
                let png = state.storage.get(&artifact.key).await?;
                infotexts.push(infotext(&png));
                if request.send_images != Some(false) {
                    images.push(BASE64_STANDARD.encode(&png));
                }
            }
        }
        let batch_size = request.batch_size.and_then(|number| u32::try_from(number.0).ok()).unwrap_or(1);
        let info = Info {
            is_using_inpainting_conditioning: model.inpainting.is_some_and(|inpainting| inpainting.mask_required),
            ..info(made, job.created, batch_size, infotexts, vae_hash)
        };
        Ok(Self {
            images,
            parameters: repeated(request, made, is_from_picture)?,
            info: serde_json::to_string(&info).map_err(ApiError::internal)?,
        })
    }
}

/// The text that a picture carries.
fn infotext(png: &[u8]) -> String {
    let texts = read_png_texts(png).unwrap_or_default();
    texts.into_iter().find(|(keyword, _)| keyword == "parameters").map(|(_, text)| text).unwrap_or_default()
}

/// The hash of a component that a result's manifest names.
fn short_hash(manifest: &Value, component: &str) -> Option<String> {
    let digest = manifest.get("model_sha256")?.get(component)?.as_str()?;
    digest.get(..SHORT_HASH_DIGITS).map(str::to_owned)
}

fn info(made: &ImageRequest, created: UnixMs, batch_size: u32, infotexts: Vec<String>, sd_vae_hash: Option<String>) -> Info<'_> {
    let count = made.num_images as usize;
    let negative_prompt = made.negative_prompt.as_deref().unwrap_or_default();
    let written = infotexts.first().map(|text| parse_infotext(text)).unwrap_or_default();
    let (sampler_name, schedule) = if let Some(sampler) = &made.sampler {
        let (name, schedule) = sampler_names(sampler);
        (name.to_owned(), Value::from(schedule))
    } else {
        // The checkpoint's own: the picture says which.
        let of = |name: &str| written.get(name).cloned().unwrap_or_default();
        (of("Sampler").as_str().unwrap_or_default().to_owned(), of("Schedule type"))
    };
    Info {
        prompt: &made.prompt,
        all_prompts: vec![made.prompt.as_str(); count],
        negative_prompt,
        all_negative_prompts: vec![negative_prompt; count],
        seed: made.seed,
        all_seeds: (0..u64::from(made.num_images)).map(|index| made.seed.wrapping_add(index)).collect(),
        subseed: -1,
        all_subseeds: vec![-1; count],
        subseed_strength: 0.0,
        width: made.width,
        height: made.height,
        sampler_name,
        cfg_scale: made.guidance_scale,
        steps: made.num_inference_steps,
        batch_size,
        restore_faces: false,
        face_restoration_model: None,
        sd_model_name: made.model.as_str(),
        sd_model_hash: written.get("Model hash").cloned(),
        sd_vae_name: None,
        sd_vae_hash,
        seed_resize_from_w: -1,
        seed_resize_from_h: -1,
        denoising_strength: made.init_image.is_some().then_some(made.strength),
        extra_generation_params: Map::from_iter([("Schedule type".to_owned(), schedule)]),
        index_of_first_image: 0,
        infotexts,
        styles: [],
        job_timestamp: timestamp(created),
        clip_skip: 1,
        is_using_inpainting_conditioning: false,
        version: format!("framewright {}", env!("CARGO_PKG_VERSION")),
    }
}

/// `20260102030405`, UTC.
pub(super) fn timestamp(time: UnixMs) -> String {
    let timestamp = jiff::Timestamp::from_millisecond(time.0).map(|timestamp| timestamp.strftime("%Y%m%d%H%M%S").to_string());
    timestamp.unwrap_or_else(|_| "0".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_the_web_ui_writes_them() {
        assert_eq!(timestamp(UnixMs(1_767_323_045_000)), "20260102030405");
        assert_eq!(timestamp(UnixMs(i64::MAX)), "0");
    }
}
