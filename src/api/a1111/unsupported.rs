//! Fields that would make another picture than can be made here: refused unless they say what is done anyway.

use serde_json::Value;

use super::picture_request::PictureRequest;
use crate::api::error::{ApiError, ErrorKind};
use crate::api::whole_number::WholeNumber;
use crate::media::a1111::Sampler;

/// The web UI's default, pixels.
const DEFAULT_MASK_BLUR: f64 = 4.0;

impl PictureRequest {
    /// Refuses the first field that asks for what cannot be done, with `sampler`.
    pub(super) fn refuse_unsupported(&self, sampler: &Sampler, is_from_picture: bool) -> Result<(), ApiError> {
        self.refuse_scripts()?;
        let adds_noise = sampler.eta == Some(1.0);
        let no_seed = |seed: Option<WholeNumber>| seed.is_none_or(|seed| seed.0 <= 0);
        let rules = [
            (
                "styles",
                self.styles.as_ref().is_none_or(|styles| styles.iter().all(String::is_empty)),
                "[]; no styles are kept here",
            ),
            ("subseed_strength", is_number(self.subseed_strength, 0.0), "0"),
            ("seed_resize_from_h", no_seed(self.seed_resize_from_h), "0 or -1"),
            ("seed_resize_from_w", no_seed(self.seed_resize_from_w), "0 or -1"),
            ("restore_faces", is_off(self.restore_faces), "false"),
            ("tiling", is_off(self.tiling), "false"),
            ("s_min_uncond", is_number(self.s_min_uncond, 0.0), "0"),
            ("s_churn", is_number(self.s_churn, 0.0), "0"),
            ("s_noise", !adds_noise || is_number(self.s_noise, 1.0), "1"),
            ("refiner_checkpoint", is_none(self.refiner_checkpoint.as_deref()), "null; there are no refiners here"),
            ("firstpass_image", is_empty(self.firstpass_image.as_ref()), "null"),
            ("enable_hr", is_off(self.enable_hr), "false; ask for the size itself, or go on from the picture with img2img"),
            ("infotext", self.infotext.as_deref().is_none_or(str::is_empty), "null; send its fields as fields"),
        ];
        let of_pictures = [
            ("latent_mask", is_empty(self.latent_mask.as_ref()), "null"),
            ("initial_noise_multiplier", is_number(self.initial_noise_multiplier, 1.0), "1"),
        ];
        let of_pictures = of_pictures.iter().filter(|_| is_from_picture);
        let of_masks = if is_from_picture && self.has_mask() { self.rules_of_masks().to_vec() } else { Vec::new() };
        if let Some((field, _, allowed)) = rules.iter().chain(of_pictures).chain(&of_masks).find(|(_, is_neutral, _)| !is_neutral)
        {
            return Err(refusal(field, allowed));
        }
        match sampler.eta {
            Some(own) if !is_number(self.eta, own) => Err(refusal("eta", &format!("{own} with {}, or absent", sampler.name))),
            _ => Ok(()),
        }
    }

    /// With a mask. A device takes it as black or white, and repaints within the whole picture.
    fn rules_of_masks(&self) -> [(&'static str, bool, &'static str); 6] {
        let is_sharp = |blur: Option<&Value>| is_one_of(blur, &[0.0, DEFAULT_MASK_BLUR]);
        let repaints_whole = self.inpaint_full_res.as_ref().is_some_and(|full| is_one_of(Some(full), &[0.0]));
        [
            ("mask_blur", is_sharp(self.mask_blur.as_ref()), "0 to the same effect as the default, 4"),
            ("mask_blur_x", is_sharp(self.mask_blur_x.as_ref()), "0 to the same effect as the default, 4"),
            ("mask_blur_y", is_sharp(self.mask_blur_y.as_ref()), "0 to the same effect as the default, 4"),
            ("inpainting_fill", is_one_of(self.inpainting_fill.as_ref(), &[0.0, 1.0]), "1, or 0 to the same effect"),
            (
                "inpaint_full_res_padding",
                repaints_whole || is_one_of(self.inpaint_full_res_padding.as_ref(), &[0.0]),
                "0, or any with inpaint_full_res false",
            ),
            ("inpainting_mask_invert", is_one_of(self.inpainting_mask_invert.as_ref(), &[0.0, 1.0]), "0, 1"),
        ]
    }

    fn has_mask(&self) -> bool {
        self.mask.as_deref().is_some_and(|mask| !mask.is_empty())
    }

    /// Whether what is black in the mask is repainted.
    pub(super) fn inverts_mask(&self) -> bool {
        self.inpainting_mask_invert.as_ref().is_some_and(|invert| is_one_of(Some(invert), &[1.0]))
    }

    /// The web UI's own words: programs look for them to learn that a script is not installed.
    fn refuse_scripts(&self) -> Result<(), ApiError> {
        let missing = |field: &'static str, name: &str| {
            let shown: String = name.chars().take(64).collect();
            let message = if field == "script_name" {
                format!("Script '{shown}' not found")
            } else {
                format!("always on script {shown} not found")
            };
            Err(ApiError::new(ErrorKind::UnsupportedField, message).with_field(field))
        };
        if let Some(name) = self.script_name.as_deref().filter(|name| !name.is_empty() && *name != "None") {
            return missing("script_name", name);
        }
        match self.alwayson_scripts.as_ref().and_then(|scripts| scripts.iter().find(|(_, script)| !is_idle(script))) {
            Some((name, _)) => missing("alwayson_scripts", name),
            None => Ok(()),
        }
    }
}

fn refusal(field: &'static str, allowed: &str) -> ApiError {
    ApiError::about(ErrorKind::UnsupportedField, field, format!("asks for what is not supported here; allowed: {allowed}"))
}

/// Whether a number, or a truth value as one, is among these; null is.
fn is_one_of(value: Option<&Value>, allowed: &[f64]) -> bool {
    let number = match value {
        None | Some(Value::Null) => return true,
        Some(Value::Bool(truth)) => Some(f64::from(u8::from(*truth))),
        Some(other) => other.as_f64(),
    };
    number.is_some_and(|number| allowed.contains(&number))
}

fn is_off(value: Option<bool>) -> bool {
    value != Some(true)
}

#[expect(clippy::float_cmp, reason = "a value that was written, not computed")]
fn is_number(value: Option<f64>, neutral: f64) -> bool {
    value.is_none_or(|value| value == neutral)
}

fn is_none(name: Option<&str>) -> bool {
    name.is_none_or(|name| name.is_empty() || name.eq_ignore_ascii_case("none"))
}

fn is_empty(value: Option<&Value>) -> bool {
    value.is_none_or(|value| value.is_null() || value.as_str() == Some(""))
}

/// Whether a script is told to do nothing: clients name the ones that they know with no arguments, or with `false` alone.
fn is_idle(script: &Value) -> bool {
    match script.get("args") {
        None | Some(Value::Null) => true,
        Some(Value::Array(arguments)) => arguments.iter().all(|argument| argument == &Value::Bool(false)),
        Some(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;
    use crate::media::a1111::sampler_named;

    fn refused(body: Value, sampler: &str) -> Option<String> {
        let request: PictureRequest = serde_json::from_value(body).unwrap();
        let (sampler, _) = sampler_named(sampler, None).unwrap();
        let error = request.refuse_unsupported(sampler, true).err()?;
        assert_eq!(error.kind(), ErrorKind::UnsupportedField);
        error.field().map(str::to_owned)
    }

    #[rstest]
    #[case(json!({}))]
    #[case(json!({"styles": [], "subseed": 5, "subseed_strength": 0, "seed_resize_from_h": -1, "seed_resize_from_w": 0}))]
    #[case(json!({"enable_hr": false, "hr_scale": 2, "hr_upscaler": "Latent", "firstphase_width": 0, "denoising_strength": 0.7}))]
    #[case(json!({"s_churn": 0, "s_tmax": 0, "s_tmin": 0, "s_noise": 1, "eta": 1.0, "tiling": false, "restore_faces": null}))]
    #[case(json!({"script_name": null, "script_args": [], "alwayson_scripts": {}}))]
    #[case(json!({"alwayson_scripts": {"ControlNet": {"args": []}, "ADetailer": {"args": [false]}, "x": {}}}))]
    #[case(json!({"mask": "aGVsbG8=", "mask_blur": 4, "inpainting_fill": 1, "inpaint_full_res": true, "inpainting_mask_invert": 1}))]
    #[case(json!({"mask": "aGVsbG8=", "inpaint_full_res": false, "inpaint_full_res_padding": 32, "inpainting_fill": 0}))]
    #[case(json!({"refiner_checkpoint": "None", "refiner_switch_at": 0.8, "mask_blur": 9, "inpainting_fill": 1}))]
    fn what_changes_nothing_is_accepted(#[case] body: Value) {
        assert_eq!(refused(body, "Euler a"), None);
    }

    #[rstest]
    #[case(json!({"styles": ["anime"]}), "styles")]
    #[case(json!({"subseed_strength": 0.1}), "subseed_strength")]
    #[case(json!({"seed_resize_from_w": 512}), "seed_resize_from_w")]
    #[case(json!({"restore_faces": true}), "restore_faces")]
    #[case(json!({"tiling": true}), "tiling")]
    #[case(json!({"s_churn": 0.5}), "s_churn")]
    #[case(json!({"s_noise": 1.1}), "s_noise")]
    #[case(json!({"eta": 0}), "eta")]
    #[case(json!({"enable_hr": true}), "enable_hr")]
    #[case(json!({"refiner_checkpoint": "refiner"}), "refiner_checkpoint")]
    #[case(json!({"script_name": "X/Y/Z plot"}), "script_name")]
    #[case(json!({"alwayson_scripts": {"ControlNet": {"args": [{"enabled": true}]}}}), "alwayson_scripts")]
    #[case(json!({"infotext": "a\nSteps: 1"}), "infotext")]
    #[case(json!({"mask": "aGVsbG8=", "mask_blur": 9}), "mask_blur")]
    #[case(json!({"mask": "aGVsbG8=", "inpainting_fill": 2}), "inpainting_fill")]
    #[case(json!({"mask": "aGVsbG8=", "inpaint_full_res_padding": 32}), "inpaint_full_res_padding")]
    #[case(json!({"mask": "aGVsbG8=", "inpainting_mask_invert": 2}), "inpainting_mask_invert")]
    #[case(json!({"initial_noise_multiplier": 1.1}), "initial_noise_multiplier")]
    fn what_would_change_the_picture_is_refused(#[case] body: Value, #[case] field: &str) {
        assert_eq!(refused(body, "Euler a").as_deref(), Some(field));
    }

    #[test]
    fn noise_matters_where_a_sampler_adds_some() {
        assert_eq!(refused(json!({"eta": 0.3, "s_noise": 0.2}), "Euler"), None);
        assert_eq!(refused(json!({"eta": 0}), "DDIM"), None);
        assert_eq!(refused(json!({"eta": 1}), "DDIM").as_deref(), Some("eta"));
    }
}
