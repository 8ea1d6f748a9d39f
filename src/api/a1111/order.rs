//! What a request asks for once it is checked: first without a model, then with one.

use super::picture_request::PictureRequest;
use super::prompt_tags::refuse_tags;
use super::remembered::Run;
use super::resize_mode::ResizeMode;
use super::settings::checkpoint_of;
use crate::api::error::{ApiError, ErrorKind};
use crate::api::film_submission::OrderedFile;
use crate::api::submission::SentMask;
use crate::api::whole_number::WholeNumber;
use crate::domain::{ModelDescription, ModelLimits};
use crate::media::a1111::{Sampler, SamplerNameError, sampler_named, sampler_names};
use crate::media::mask::MaskReading;
use crate::models::parameters::ImageParameters;

/// The web UI's defaults, which hold wherever a model can do them.
const DEFAULT_SAMPLER: &str = "Euler";
const DEFAULT_STEPS: i128 = 50;
const DEFAULT_GUIDANCE_SCALE: f64 = 7.0;
const DEFAULT_SIDE: i128 = 512;
const DEFAULT_DENOISING_STRENGTH: f64 = 0.75;
/// Longest name of a task, characters.
const MOST_TASK_CHARACTERS: usize = 256;

/// An order, as far as no model has a say in it.
#[derive(Debug)]
pub(super) struct Order {
    /// The model that the request names.
    pub(super) checkpoint: Option<String>,
    /// What its client shall be told of it.
    pub(super) run: Run,
    /// The picture to start from.
    pub(super) init_image: Option<OrderedFile>,
    /// What of it is repainted.
    pub(super) mask: Option<SentMask>,
    /// Whether that is what is kept.
    pub(super) inverts_mask: bool,
    /// How both get the size of the request.
    pub(super) resize_mode: ResizeMode,
    parameters: ImageParameters,
    /// The sampler; whether the request names it.
    sampler: (&'static Sampler, bool),
    batch_size: i128,
    batches: i128,
}

impl PictureRequest {
    /// Checks what a model has no say in. The initial picture is taken out, unless the answer shall repeat it.
    pub(super) fn order(&mut self, is_from_picture: bool) -> Result<Order, ApiError> {
        let named = [&self.sampler_name, &self.sampler_index].into_iter().flatten().find(|name| !name.is_empty());
        let names_sampler = named.is_some();
        let name = named.map_or(DEFAULT_SAMPLER, String::as_str);
        let (sampler, ours) = sampler_named(name, self.scheduler.as_deref()).map_err(sampler_error)?;
        self.refuse_unsupported(sampler, is_from_picture)?;
        for (field, prompt) in [("prompt", &self.prompt), ("negative_prompt", &self.negative_prompt)] {
            prompt.as_deref().map_or(Ok(()), |prompt| refuse_tags(field, prompt))?;
        }
        let init_image = if is_from_picture { Some(self.take_init_image()?) } else { None };
        let mask = if is_from_picture { self.take_mask() } else { None };
        let batches = counted("n_iter", self.n_iter)?;
        let parameters = ImageParameters {
            prompt: self.prompt.clone().unwrap_or_default(),
            // An empty one is none to the web UI.
            negative_prompt: self.negative_prompt.clone().filter(|prompt| !prompt.is_empty()),
            width: self.width.map(|number| number.0),
            height: self.height.map(|number| number.0),
            num_inference_steps: self.steps.map(|number| number.0),
            guidance_scale: self.cfg_scale,
            seed: self.seed.map(|number| number.0).filter(|seed| *seed != -1),
            sampler: Some(ours),
            strength: is_from_picture.then(|| self.denoising_strength.unwrap_or(DEFAULT_DENOISING_STRENGTH)),
            ..ImageParameters::default()
        };
        Ok(Order {
            checkpoint: self.override_settings.as_ref().map_or(Ok(None), checkpoint_of)?,
            run: Run {
                batches: u32::try_from(batches).unwrap_or(u32::MAX),
                task: self.task_name()?,
                job: if is_from_picture { "scripts_img2img" } else { "scripts_txt2img" },
            },
            init_image,
            mask,
            inverts_mask: self.inverts_mask(),
            resize_mode: ResizeMode::new(self.resize_mode.filter(|_| is_from_picture))?,
            parameters,
            sampler: (sampler, names_sampler),
            batch_size: counted("batch_size", self.batch_size)?,
            batches,
        })
    }

    fn take_init_image(&mut self) -> Result<OrderedFile, ApiError> {
        let images = if self.include_init_images == Some(true) { self.init_images.clone() } else { self.init_images.take() };
        let mut images = images.unwrap_or_default();
        match (images.pop(), images.len()) {
            (Some(image), 0) => Ok(OrderedFile::Text(image)),
            (None, _) => Err(ApiError::about(ErrorKind::MissingField, "init_images", "is missing or empty; send one picture")),
            (Some(_), others) => {
                let problem = format!("has {} pictures; allowed: 1", others + 1);
                Err(ApiError::about(ErrorKind::UnsupportedField, "init_images", problem))
            }
        }
    }

    fn take_mask(&mut self) -> Option<SentMask> {
        let mask = if self.include_init_images == Some(true) { self.mask.clone() } else { self.mask.take() };
        let file = OrderedFile::Text(mask.filter(|mask| !mask.is_empty())?);
        Some(SentMask { file, reading: MaskReading::Brightness })
    }

    fn task_name(&self) -> Result<Option<String>, ApiError> {
        let name = self.force_task_id.as_deref().filter(|name| !name.is_empty());
        match name.map(|name| name.chars().count()) {
            Some(characters) if characters > MOST_TASK_CHARACTERS => {
                let problem = format!("has {characters} characters; at most {MOST_TASK_CHARACTERS} are allowed");
                Err(ApiError::invalid("force_task_id", problem))
            }
            _ => Ok(name.map(str::to_owned)),
        }
    }
}

impl Order {
    /// The parameters for `model`: what was absent gets the web UI's default where the model can do it, else the model's own.
    pub(super) fn parameters(self, model: &ModelDescription) -> Result<ImageParameters, ApiError> {
        let Self { mut parameters, sampler: (sampler, is_named), batch_size, batches, .. } = self;
        let limits = &model.limits;
        let has = |sampler: &String| limits.samplers.contains(sampler);
        if !parameters.sampler.as_ref().is_none_or(has) {
            if is_named {
                return Err(sampler_impossible(sampler, model));
            }
            parameters.sampler = None;
        }
        let most_steps = parameters.sampler.as_ref().and_then(|sampler| limits.max_steps_by_sampler.get(sampler));
        let most_steps = i128::from(*most_steps.unwrap_or(&limits.max_steps));
        let can_step = DEFAULT_STEPS <= most_steps;
        parameters.num_inference_steps = parameters.num_inference_steps.or(can_step.then_some(DEFAULT_STEPS));
        let can_guide = DEFAULT_GUIDANCE_SCALE <= f64::from(limits.max_guidance_scale);
        parameters.guidance_scale = parameters.guidance_scale.or(can_guide.then_some(DEFAULT_GUIDANCE_SCALE));
        let (width, height) = default_size(limits);
        parameters.width = parameters.width.or(Some(width));
        parameters.height = parameters.height.or(Some(height));
        let pictures = batch_size.saturating_mul(batches);
        if pictures > i128::from(limits.max_images) {
            let problem = format!("is {batch_size} and n_iter {batches}; allowed: at most {} pictures in all", limits.max_images);
            return Err(ApiError::invalid("batch_size", problem));
        }
        parameters.num_images = Some(pictures);
        Ok(parameters)
    }
}

fn counted(field: &'static str, number: Option<WholeNumber>) -> Result<i128, ApiError> {
    match number.map_or(1, |number| number.0) {
        number if number >= 1 => Ok(number),
        number => Err(ApiError::invalid(field, format!("is {number}; allowed: 1 or more"))),
    }
}

/// The sides of a picture whose request names none.
fn default_size(limits: &ModelLimits) -> (i128, i128) {
    let possible = i128::from(limits.min_side)..=i128::from(limits.max_side);
    if possible.contains(&DEFAULT_SIDE) && DEFAULT_SIDE % i128::from(limits.side_multiple.max(1)) == 0 {
        (DEFAULT_SIDE, DEFAULT_SIDE)
    } else {
        (limits.default_width.into(), limits.default_height.into())
    }
}

fn sampler_error(error: SamplerNameError) -> ApiError {
    match error {
        SamplerNameError::Sampler { .. } => ApiError::about(ErrorKind::SamplerNotFound, "sampler_name", error),
        SamplerNameError::Schedule { .. } | SamplerNameError::Pair { .. } => ApiError::invalid("scheduler", error),
    }
}

fn sampler_impossible(sampler: &Sampler, model: &ModelDescription) -> ApiError {
    let mut possible: Vec<&str> = model.limits.samplers.iter().map(|ours| sampler_names(ours).0).collect();
    possible.dedup();
    let problem = format!("'{}' is not possible with model '{}'; possible: {}", sampler.name, model.id, possible.join(", "));
    ApiError::about(ErrorKind::SamplerNotFound, "sampler_name", problem)
}

/// A refusal in the web UI's words, where others have named the field.
pub(super) fn in_a1111_words(error: ApiError) -> ApiError {
    let name = match error.field() {
        Some("num_inference_steps") => "steps",
        Some("guidance_scale") => "cfg_scale",
        Some("sampler") => "sampler_name",
        Some("num_images") => "batch_size",
        Some("init_image") => "init_images",
        Some("strength") => "denoising_strength",
        Some("model") => "sd_model_checkpoint",
        _ => return error,
    };
    error.renamed(name)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;
    use crate::domain::ModelKind;

    fn model(limits: ModelLimits) -> ModelDescription {
        ModelDescription {
            id: "demo".parse().unwrap(),
            kind: ModelKind::Image,
            provider: "local".to_owned(),
            family: "sdxl".to_owned(),
            parameters: 1,
            weight_file_bytes: 1,
            created: 0,
            limits,
            inpainting: None,
            video: None,
        }
    }

    fn limits() -> ModelLimits {
        ModelLimits {
            min_side: 64,
            max_side: 1024,
            side_multiple: 8,
            max_images: 4,
            max_steps: 150,
            max_guidance_scale: 30.0,
            max_prompt_characters: 1000,
            default_width: 128,
            default_height: 96,
            default_steps: 20,
            default_guidance_scale: 3.0,
            default_strength: 0.6,
            samplers: ["euler", "euler_karras", "euler_ancestral", "lcm"].map(str::to_owned).to_vec(),
            max_steps_by_sampler: BTreeMap::from([("lcm".to_owned(), 30)]),
        }
    }

    fn order(body: Value, is_from_picture: bool) -> Result<Order, ApiError> {
        let mut request: PictureRequest = serde_json::from_value(body).unwrap();
        request.order(is_from_picture)
    }

    fn parameters(body: Value, limits: ModelLimits) -> Result<ImageParameters, ApiError> {
        order(body, false)?.parameters(&model(limits))
    }

    #[test]
    fn what_is_absent_is_the_web_uis_where_the_model_can() {
        let read = parameters(json!({}), limits()).unwrap();
        let expected = ImageParameters {
            width: Some(512),
            height: Some(512),
            num_inference_steps: Some(50),
            guidance_scale: Some(7.0),
            sampler: Some("euler".to_owned()),
            num_images: Some(1),
            ..ImageParameters::default()
        };
        assert_eq!(read, expected);

        let small = ModelLimits { max_side: 256, max_steps: 10, max_guidance_scale: 5.0, samplers: Vec::new(), ..limits() };
        let read = parameters(json!({"negative_prompt": "", "seed": -1}), small).unwrap();
        let expected = ImageParameters { width: Some(128), height: Some(96), num_images: Some(1), ..ImageParameters::default() };
        assert_eq!(read, expected);

        let read = parameters(json!({"sampler_name": "LCM"}), limits()).unwrap();
        assert_eq!((read.sampler.as_deref(), read.num_inference_steps), (Some("lcm"), None));
    }

    #[test]
    fn what_is_there_is_taken() {
        let read = parameters(
            json!({
                "prompt": "a", "negative_prompt": "b", "seed": 5, "sampler_index": "Euler", "scheduler": "karras", "batch_size": 2,
                "n_iter": 2, "steps": 9, "cfg_scale": 1.5, "width": 64, "height": 72, "denoising_strength": 0.7
            }),
            limits(),
        )
        .unwrap();
        let expected = ImageParameters {
            prompt: "a".to_owned(),
            negative_prompt: Some("b".to_owned()),
            width: Some(64),
            height: Some(72),
            num_inference_steps: Some(9),
            guidance_scale: Some(1.5),
            seed: Some(5),
            sampler: Some("euler_karras".to_owned()),
            num_images: Some(4),
            ..ImageParameters::default()
        };
        assert_eq!(read, expected);
    }

    #[rstest]
    #[case(json!({"batch_size": 0}), ErrorKind::InvalidValue, "batch_size")]
    #[case(json!({"n_iter": -1}), ErrorKind::InvalidValue, "n_iter")]
    #[case(json!({"batch_size": 3, "n_iter": 2}), ErrorKind::InvalidValue, "batch_size")]
    #[case(json!({"batch_size": 1e30, "n_iter": 1e30}), ErrorKind::InvalidValue, "batch_size")]
    #[case(json!({"sampler_name": "DPM++ 3M SDE"}), ErrorKind::SamplerNotFound, "sampler_name")]
    #[case(json!({"sampler_name": "Heun"}), ErrorKind::SamplerNotFound, "sampler_name")]
    #[case(json!({"scheduler": "Beta"}), ErrorKind::InvalidValue, "scheduler")]
    #[case(json!({"prompt": "<lora:x:1>"}), ErrorKind::UnsupportedField, "prompt")]
    #[case(json!({"negative_prompt": "<lora:x:1>"}), ErrorKind::UnsupportedField, "negative_prompt")]
    #[case(json!({"force_task_id": "x".repeat(257)}), ErrorKind::InvalidValue, "force_task_id")]
    fn refusals_name_the_field(#[case] body: Value, #[case] kind: ErrorKind, #[case] field: &str) {
        let error = parameters(body, limits()).unwrap_err();
        assert_eq!((error.kind(), error.field()), (kind, Some(field)), "{error:?}");
    }

    #[rstest]
    #[case(json!({}), Some(ErrorKind::MissingField))]
    #[case(json!({"init_images": []}), Some(ErrorKind::MissingField))]
    #[case(json!({"init_images": ["a", "b"]}), Some(ErrorKind::UnsupportedField))]
    #[case(json!({"init_images": ["a"]}), None)]
    fn one_picture_is_started_from(#[case] body: Value, #[case] refused: Option<ErrorKind>) {
        let read = order(body, true);
        assert_eq!(read.as_ref().err().map(ApiError::kind), refused);
        if let Ok(order) = read {
            assert!(order.init_image.is_some());
            assert_eq!(order.parameters(&model(limits())).unwrap().strength, Some(0.75));
        }
    }
}
