//! From what somebody asked for to what a device runs: defaults and range checks, the same for every surface and the command line.

use std::borrow::Cow;

use serde::Serialize;

use super::named_size::size_for_aspect;
use crate::domain::{ImageRequest, ModelDescription, ModelLimits, Ratio};

/// What was asked, before defaults and checks. Numbers are wide enough to hold any lie, so that the refusal can quote the range.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ImageParameters {
    /// What the picture shows.
    pub prompt: String,
    /// What it must not show.
    pub negative_prompt: Option<String>,
    /// Pixels across.
    pub width: Option<i128>,
    /// Pixels down.
    pub height: Option<i128>,
    /// The shape that was asked for, where width and height were made of it: providers are told it in their place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shape: Option<Ratio>,
    /// Sampler steps.
    pub num_inference_steps: Option<i128>,
    /// Classifier-free guidance.
    pub guidance_scale: Option<f64>,
    /// Seed of the first picture.
    pub seed: Option<i128>,
    /// A sampler's name.
    pub sampler: Option<String>,
    /// How many pictures.
    pub num_images: Option<i128>,
    /// Width and height of the picture to start from, when there is one.
    pub init_image_size: Option<(u32, u32)>,
    /// How much of that picture is noised away.
    pub strength: Option<f64>,
    /// Whether there is a mask, which says what of that picture is repainted.
    pub has_mask: bool,
}

/// A parameter that cannot be used. `Display` names the field, what was given and what is allowed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field} {problem}")]
pub struct ParameterError {
    /// The native name of the field.
    pub field: Cow<'static, str>,
    /// What is wrong and what is allowed.
    pub problem: String,
}

/// Checks `parameters` against `model`'s limits and fills in its defaults. `random_seed` is used when none is given.
///
/// Without width and height a picture-to-picture request keeps the size of its initial picture, rounded down to the model's
/// multiple, if the model can do that size, else the nearest size of the same shape that it can. A mask of whatever size is resized as the
/// picture is.
pub fn resolve_image_request(
    parameters: ImageParameters,
    model: &ModelDescription,
    random_seed: u64,
) -> Result<ImageRequest, ParameterError> {
    let limits = &model.limits;
    check_prompt("prompt", &parameters.prompt, limits)?;
    if let Some(negative_prompt) = &parameters.negative_prompt {
        check_prompt("negative_prompt", negative_prompt, limits)?;
    }
    let (default_width, default_height) = match (parameters.init_image_size, parameters.width, parameters.height) {
        (Some((width, height)), None, None) => size_of_initial_picture(limits, width, height),
        _ => (limits.default_width, limits.default_height),
    };
    let has_init_image = parameters.init_image_size.is_some();
    check_mask(parameters.has_mask, has_init_image, model)?;
    let sampler = sampler(parameters.sampler, limits)?;
    let num_inference_steps = steps(parameters.num_inference_steps, sampler.as_deref(), limits)?;
    let strength = strength(parameters.strength, has_init_image, limits)?;
    if has_init_image {
        check_begins(strength, num_inference_steps)?;
    }
    Ok(ImageRequest {
        model: model.id.clone(),
        width: side("width", parameters.width, default_width, limits)?,
        height: side("height", parameters.height, default_height, limits)?,
        num_inference_steps,
        guidance_scale: guidance_scale(parameters.guidance_scale, limits)?,
        seed: seed(parameters.seed, random_seed)?,
        sampler,
        num_images: count("num_images", parameters.num_images, 1, limits.max_images)?,
        init_image: None,
        strength,
        mask: None,
        prompt: parameters.prompt,
        negative_prompt: parameters.negative_prompt,
    })
}

fn size_of_initial_picture(limits: &ModelLimits, width: u32, height: u32) -> (u32, u32) {
    let multiple = limits.side_multiple.max(1);
    let (down_width, down_height) = (width - width % multiple, height - height % multiple);
    let possible = limits.min_side..=limits.max_side;
    if possible.contains(&down_width) && possible.contains(&down_height) {
        (down_width, down_height)
    } else {
        size_for_aspect(limits, f64::from(width.max(1)), f64::from(height.max(1)))
    }
}

pub(super) fn refuse<T>(field: impl Into<Cow<'static, str>>, problem: String) -> Result<T, ParameterError> {
    Err(ParameterError { field: field.into(), problem })
}

pub(super) fn check_prompt(field: impl Into<Cow<'static, str>>, text: &str, limits: &ModelLimits) -> Result<(), ParameterError> {
    let characters = text.chars().count();
    if characters > limits.max_prompt_characters as usize {
        return refuse(field, format!("has {characters} characters; at most {} are allowed", limits.max_prompt_characters));
    }
    Ok(())
}

fn side(field: &'static str, asked: Option<i128>, default: u32, limits: &ModelLimits) -> Result<u32, ParameterError> {
    let value = asked.unwrap_or_else(|| i128::from(default));
    let (min, max, multiple) = (limits.min_side, limits.max_side, limits.side_multiple.max(1));
    match u32::try_from(value) {
        Ok(pixels) if (min..=max).contains(&pixels) && pixels.is_multiple_of(multiple) => Ok(pixels),
        _ => refuse(field, format!("is {value}; allowed: {min} to {max} in multiples of {multiple}")),
    }
}

pub(super) fn count(field: &'static str, asked: Option<i128>, default: u32, max: u32) -> Result<u32, ParameterError> {
    let value = asked.unwrap_or_else(|| i128::from(default));
    match u32::try_from(value) {
        Ok(number) if (1..=max).contains(&number) => Ok(number),
        _ => refuse(field, format!("is {value}; allowed: 1 to {max}")),
    }
}

pub(super) fn steps(asked: Option<i128>, sampler: Option<&str>, limits: &ModelLimits) -> Result<u32, ParameterError> {
    let max = sampler.and_then(|name| limits.max_steps_by_sampler.get(name)).copied().unwrap_or(limits.max_steps);
    count("num_inference_steps", asked, limits.default_steps.min(max), max).map_err(|error| match sampler {
        Some(name) => ParameterError { problem: format!("{} with the sampler {name}", error.problem), ..error },
        None => error,
    })
}

/// A run from a picture does `strength` of the steps; there must be one to do.
fn check_begins(strength: f32, steps: u32) -> Result<(), ParameterError> {
    // The decimal that was written, as the engine takes it: 0.7 as f32 and widened is 0.69999999.
    let decimal = strength.to_string().parse().unwrap_or(f64::from(strength));
    if f64::from(steps) * decimal >= 1.0 {
        return Ok(());
    }
    let least = (1000.0 / f64::from(steps)).ceil() / 1000.0;
    refuse("strength", format!("is {strength}, less than one of {steps} steps; allowed here: {least} to 1"))
}

fn check_mask(has_mask: bool, has_init_image: bool, model: &ModelDescription) -> Result<(), ParameterError> {
    match (has_mask, model.inpainting) {
        (true, _) if !has_init_image => refuse("mask", "has a meaning only with init_image".to_owned()),
        (true, None) => refuse("mask", format!("cannot be used with '{}', which repaints no parts of pictures", model.id)),
        (false, Some(inpainting)) if inpainting.mask_required => {
            let problem = format!(
                "is missing: '{}' repaints parts of pictures; give init_image and mask, which is white where to repaint, or name another model",
                model.id
            );
            refuse("mask", problem)
        }
        _ => Ok(()),
    }
}

fn guidance_scale(asked: Option<f64>, limits: &ModelLimits) -> Result<f32, ParameterError> {
    let Some(value) = asked else { return Ok(limits.default_guidance_scale) };
    // Not a number is in no range.
    if (0.0..=f64::from(limits.max_guidance_scale)).contains(&value) {
        Ok(value as f32)
    } else {
        refuse("guidance_scale", format!("is {value}; allowed: 0 to {}", limits.max_guidance_scale))
    }
}

fn strength(asked: Option<f64>, has_init_image: bool, limits: &ModelLimits) -> Result<f32, ParameterError> {
    match (asked, has_init_image) {
        (None, false) => Ok(1.0),
        (None, true) => Ok(limits.default_strength),
        (Some(_), false) => refuse("strength", "has a meaning only with init_image".to_owned()),
        // The comparison is made after rounding: 1e-60 must not become 0.
        (Some(value), true) if value as f32 > 0.0 && value <= 1.0 => Ok(value as f32),
        (Some(value), true) => refuse("strength", format!("is {value}; allowed: above 0, at most 1")),
    }
}

pub(super) fn seed(asked: Option<i128>, random_seed: u64) -> Result<u64, ParameterError> {
    let Some(value) = asked else { return Ok(random_seed) };
    match u64::try_from(value) {
        Ok(seed) => Ok(seed),
        Err(_) => refuse("seed", format!("is {value}; allowed: 0 to {} (leave it out for a random one)", u64::MAX)),
    }
}

fn sampler(asked: Option<String>, limits: &ModelLimits) -> Result<Option<String>, ParameterError> {
    let Some(name) = asked else { return Ok(None) };
    if limits.samplers.contains(&name) {
        return Ok(Some(name));
    }
    let shown: String = name.chars().take(64).collect();
    refuse("sampler", format!("'{shown}' is unknown; allowed: {}", limits.samplers.join(", ")))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;
    use crate::domain::{Inpainting, ModelKind};

    fn model() -> ModelDescription {
        ModelDescription {
            id: "demo".parse().unwrap(),
            kind: ModelKind::Image,
            family: "sdxl".to_owned(),
            provider: "local".to_owned(),
            parameters: 1,
            weight_file_bytes: 1,
            created: 0,
            limits: ModelLimits {
                min_side: 64,
                max_side: 256,
                side_multiple: 8,
                max_images: 4,
                max_steps: 100,
                max_guidance_scale: 30.0,
                max_prompt_characters: 20,
                default_width: 128,
                default_height: 128,
                default_steps: 20,
                default_guidance_scale: 3.0,
                default_strength: 0.8,
                samplers: vec!["euler".to_owned(), "dpmpp_2m_karras".to_owned()],
                max_steps_by_sampler: [("euler".to_owned(), 100), ("dpmpp_2m_karras".to_owned(), 10)].into(),
            },
            inpainting: Some(Inpainting { input_channels: 4, mask_required: false }),
            video: None,
        }
    }

    fn resolve(change: impl FnOnce(&mut ImageParameters)) -> Result<ImageRequest, ParameterError> {
        let mut parameters = ImageParameters { prompt: "a red circle".to_owned(), ..ImageParameters::default() };
        change(&mut parameters);
        resolve_image_request(parameters, &model(), 42)
    }

    #[test]
    fn absent_parameters_become_the_models_defaults() {
        let request = resolve(|_| {}).unwrap();
        assert_eq!(
            request,
            ImageRequest {
                model: "demo".parse().unwrap(),
                prompt: "a red circle".to_owned(),
                negative_prompt: None,
                width: 128,
                height: 128,
                num_inference_steps: 20,
                guidance_scale: 3.0,
                seed: 42,
                sampler: None,
                num_images: 1,
                init_image: None,
                strength: 1.0,
                mask: None,
            }
        );
    }

    #[rstest]
    #[case::zero(|p: &mut ImageParameters| p.width = Some(0), "width is 0; allowed: 64 to 256 in multiples of 8")]
    #[case::huge(|p: &mut ImageParameters| p.height = Some(i128::MAX), "height is 170141183460469231731687303715884105727; allowed: 64 to 256 in multiples of 8")]
    #[case::odd(|p: &mut ImageParameters| p.width = Some(100), "width is 100; allowed: 64 to 256 in multiples of 8")]
    #[case::negative(|p: &mut ImageParameters| p.width = Some(-128), "width is -128; allowed: 64 to 256 in multiples of 8")]
    #[case::prompt(|p: &mut ImageParameters| p.prompt = "x".repeat(10 << 20), "prompt has 10485760 characters; at most 20 are allowed")]
    #[case::negative_prompt(|p: &mut ImageParameters| p.negative_prompt = Some("é".repeat(21)), "negative_prompt has 21 characters; at most 20 are allowed")]
    #[case::no_steps(|p: &mut ImageParameters| p.num_inference_steps = Some(0), "num_inference_steps is 0; allowed: 1 to 100")]
    #[case::many_steps(|p: &mut ImageParameters| p.num_inference_steps = Some(10_000), "num_inference_steps is 10000; allowed: 1 to 100")]
    #[case::steps_of_sampler(|p: &mut ImageParameters| { p.sampler = Some("dpmpp_2m_karras".to_owned()); p.num_inference_steps = Some(11); }, "num_inference_steps is 11; allowed: 1 to 10 with the sampler dpmpp_2m_karras")]
    #[case::strength_of_steps(|p: &mut ImageParameters| { p.init_image_size = Some((128, 128)); p.num_inference_steps = Some(3); p.strength = Some(0.3); }, "strength is 0.3, less than one of 3 steps; allowed here: 0.334 to 1")]
    #[case::nan(|p: &mut ImageParameters| p.guidance_scale = Some(f64::NAN), "guidance_scale is NaN; allowed: 0 to 30")]
    #[case::infinite(|p: &mut ImageParameters| p.guidance_scale = Some(f64::INFINITY), "guidance_scale is inf; allowed: 0 to 30")]
    #[case::below(|p: &mut ImageParameters| p.guidance_scale = Some(-1.0), "guidance_scale is -1; allowed: 0 to 30")]
    #[case::sampler(|p: &mut ImageParameters| p.sampler = Some("magic".to_owned()), "sampler 'magic' is unknown; allowed: euler, dpmpp_2m_karras")]
    #[case::negative_seed(|p: &mut ImageParameters| p.seed = Some(-1), "seed is -1; allowed: 0 to 18446744073709551615 (leave it out for a random one)")]
    #[case::large_seed(|p: &mut ImageParameters| p.seed = Some(1 << 64), "seed is 18446744073709551616; allowed: 0 to 18446744073709551615 (leave it out for a random one)")]
    #[case::no_images(|p: &mut ImageParameters| p.num_images = Some(0), "num_images is 0; allowed: 1 to 4")]
    #[case::lone_mask(|p: &mut ImageParameters| p.has_mask = true, "mask has a meaning only with init_image")]
    #[case::lone_strength(|p: &mut ImageParameters| p.strength = Some(0.5), "strength has a meaning only with init_image")]
    fn refusals_name_the_field_and_the_range(#[case] change: fn(&mut ImageParameters), #[case] text: &str) {
        assert_eq!(resolve(change).unwrap_err().to_string(), text);
    }

    #[test]
    fn models_say_how_they_take_masks() {
        let of = |inpainting, has_mask| {
            let parameters = ImageParameters { init_image_size: Some((128, 128)), has_mask, ..ImageParameters::default() };
            resolve_image_request(parameters, &ModelDescription { inpainting, ..model() }, 0).map_err(|error| error.to_string())
        };
        let network = |mask_required| Some(Inpainting { input_channels: 9, mask_required });
        for (inpainting, has_mask) in [(network(false), false), (network(false), true), (network(true), true), (None, false)] {
            assert!(of(inpainting, has_mask).is_ok(), "{inpainting:?} {has_mask}");
        }
        assert_eq!(of(None, true).unwrap_err(), "mask cannot be used with 'demo', which repaints no parts of pictures");
        let missing = of(network(true), false).unwrap_err();
        assert!(missing.starts_with("mask is missing: 'demo' repaints parts of pictures; give init_image and mask"), "{missing}");
    }

    #[rstest]
    #[case(0.0)]
    #[case(-0.1)]
    #[case(1.01)]
    #[case(1e-60)]
    #[case(f64::NAN)]
    fn strength_lies_between_zero_and_one(#[case] value: f64) {
        let error = resolve(|p| {
            p.init_image_size = Some((128, 128));
            p.strength = Some(value);
        })
        .unwrap_err();
        assert_eq!(error.field, "strength");
    }

    #[rstest]
    #[case::as_it_is((192, 128), (192, 128))]
    #[case::rounded_down((199, 135), (192, 128))]
    #[case::shrunk((2000, 1000), (184, 88))]
    #[case::grown((20, 20), (128, 128))]
    fn size_follows_the_initial_picture(#[case] init: (u32, u32), #[case] expected: (u32, u32)) {
        let request = resolve(|p| p.init_image_size = Some(init)).unwrap();
        assert_eq!((request.width, request.height), expected);
        assert_eq!(request.strength.to_bits(), 0.8_f32.to_bits());
    }

    proptest! {
        #[test]
        fn whatever_is_accepted_lies_within_the_limits(
            width in proptest::option::of(any::<i128>().prop_map(|v| v % 600)),
            height in proptest::option::of(-10_i128..600),
            steps in proptest::option::of(-10_i128..200),
            guidance in proptest::option::of(any::<f64>()),
            init in proptest::option::of((0_u32..9000, 0_u32..9000)),
        ) {
            let accepted = resolve(|p| {
                p.width = width;
                p.height = height;
                p.num_inference_steps = steps;
                p.guidance_scale = guidance;
                p.init_image_size = init;
            });
            if let Ok(request) = accepted {
                prop_assert!((64..=256).contains(&request.width) && request.width % 8 == 0);
                prop_assert!((64..=256).contains(&request.height) && request.height % 8 == 0);
                prop_assert!((1..=100).contains(&request.num_inference_steps));
                prop_assert!((0.0..=30.0).contains(&request.guidance_scale));
            }
        }
    }
}
