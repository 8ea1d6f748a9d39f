//! `override_settings`: the web UI's settings, for one request.

use serde_json::{Map, Value};

use crate::api::error::{ApiError, ErrorKind};

/// Settings that would make another picture, with the values that make the one that is made here. A setting that is in neither list
/// has no say in pictures here, and is accepted, as the web UI accepts settings that it does not know.
const FIXED: &[(&str, &[Accepted])] = &[
    ("sd_vae", &[Accepted::Text("Automatic"), Accepted::Text("None")]),
    ("sd_lora", &[Accepted::Text("None")]),
    ("sd_hypernetwork", &[Accepted::Text("None")]),
    ("eta_noise_seed_delta", &[Accepted::Number(0.0)]),
    ("randn_source", &[Accepted::Text("CPU")]),
    ("samples_format", &[Accepted::Text("png")]),
    ("face_restoration", &[Accepted::No]),
    ("tiling", &[Accepted::No]),
    ("s_churn", &[Accepted::Number(0.0)]),
    ("s_min_uncond", &[Accepted::Number(0.0)]),
    ("skip_early_cond", &[Accepted::Number(0.0)]),
    ("initial_noise_multiplier", &[Accepted::Number(1.0)]),
    ("img2img_extra_noise", &[Accepted::Number(0.0)]),
    ("img2img_color_correction", &[Accepted::No]),
    ("img2img_fix_steps", &[Accepted::No]),
    ("sdxl_clip_l_skip", &[Accepted::No]),
    ("token_merging_ratio", &[Accepted::Number(0.0)]),
    ("token_merging_ratio_img2img", &[Accepted::Number(0.0)]),
];

/// A value that changes nothing. Absent, null and empty ones never do.
#[derive(Clone, Copy, Debug)]
enum Accepted {
    Text(&'static str),
    Number(f64),
    No,
}

impl Accepted {
    fn is(self, value: &Value) -> bool {
        match self {
            Self::Text(text) => value.as_str().is_some_and(|value| value.eq_ignore_ascii_case(text)),
            Self::Number(number) => value.as_f64() == Some(number),
            Self::No => value == &Value::Bool(false),
        }
    }

    fn text(self) -> String {
        match self {
            Self::Text(text) => text.to_owned(),
            Self::Number(number) => number.to_string(),
            Self::No => "false".to_owned(),
        }
    }
}

/// The checkpoint that the settings name, once it is sure that the others can be honoured.
pub(super) fn checkpoint_of(settings: &Map<String, Value>) -> Result<Option<String>, ApiError> {
    for (name, accepted) in FIXED {
        let value = settings.get(*name).filter(|value| !is_nothing(value));
        if value.is_some_and(|value| !accepted.iter().any(|accepted| accepted.is(value))) {
            let allowed: Vec<String> = accepted.iter().map(|accepted| accepted.text()).collect();
            let problem = format!("cannot be set to that here; allowed: {}", allowed.join(", "));
            return Err(ApiError::about(ErrorKind::UnsupportedField, format!("override_settings.{name}"), problem));
        }
    }
    checkpoint_in("override_settings.sd_model_checkpoint", settings.get("sd_model_checkpoint"))
}

/// The checkpoint that a value of `field` names; `None` for absent, null and empty ones.
pub(super) fn checkpoint_in(field: &'static str, value: Option<&Value>) -> Result<Option<String>, ApiError> {
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(title)) => Ok(Some(model_name(title)).filter(|name| !name.is_empty()).map(str::to_owned)),
        Some(_) => Err(ApiError::invalid(field, "must be a string, a title of /sdapi/v1/sd-models")),
    }
}

fn is_nothing(value: &Value) -> bool {
    value.is_null() || value.as_str() == Some("")
}

/// The model that a title means: `name.safetensors [0123456789]` is how the web UI writes it.
pub(super) fn model_name(title: &str) -> &str {
    let title = title.trim();
    let name = match title.rsplit_once(" [") {
        Some((name, hash)) if hash.ends_with(']') => name.trim_end(),
        _ => title,
    };
    [".safetensors", ".ckpt"].into_iter().find_map(|extension| name.strip_suffix(extension)).unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    #[rstest]
    #[case("demo-sdxl", "demo-sdxl")]
    #[case("demo-sdxl [0123456789]", "demo-sdxl")]
    #[case(" demo-sdxl.safetensors [0123456789] ", "demo-sdxl")]
    #[case("demo-sdxl.ckpt", "demo-sdxl")]
    #[case("a [b", "a [b")]
    #[case("", "")]
    fn titles_name_models(#[case] title: &str, #[case] name: &str) {
        assert_eq!(model_name(title), name);
    }

    #[rstest]
    #[case(json!({}), Ok(None))]
    #[case(json!({"sd_model_checkpoint": "a [0123456789]", "sd_vae": "Automatic", "CLIP_stop_at_last_layers": 2}), Ok(Some("a")))]
    #[case(json!({"sd_model_checkpoint": null, "sd_vae": null, "eta_noise_seed_delta": 0, "unheard_of": [1]}), Ok(None))]
    #[case(json!({"sd_model_checkpoint": "", "randn_source": "cpu", "tiling": false}), Ok(None))]
    #[case(json!({"sd_model_checkpoint": 1}), Err("override_settings.sd_model_checkpoint"))]
    #[case(json!({"sd_vae": "other.pt"}), Err("override_settings.sd_vae"))]
    #[case(json!({"eta_noise_seed_delta": 31337}), Err("override_settings.eta_noise_seed_delta"))]
    #[case(json!({"samples_format": "jpg"}), Err("override_settings.samples_format"))]
    #[case(json!({"tiling": true}), Err("override_settings.tiling"))]
    fn settings_are_honoured_or_refused(#[case] settings: Value, #[case] expected: Result<Option<&str>, &str>) {
        let read = checkpoint_of(settings.as_object().unwrap());
        match expected {
            Ok(checkpoint) => assert_eq!(read.unwrap().as_deref(), checkpoint),
            Err(field) => assert_eq!(read.unwrap_err().field(), Some(field)),
        }
    }
}
