//! The text of a `scheduler_config.json`.

use std::borrow::Cow;

use serde::Deserialize;

/// The keys that rule a sampler, as published files have them. Absent keys (and null) are `None`; other keys are ignored, since
/// published files carry the settings of many samplers at once.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct SchedulerFile {
    #[serde(rename = "_class_name")]
    pub(super) class_name: Option<String>,
    pub(super) algorithm_type: Option<String>,
    pub(super) beta_end: Option<f64>,
    pub(super) beta_schedule: Option<String>,
    pub(super) beta_start: Option<f64>,
    pub(super) clip_sample: Option<bool>,
    pub(super) clip_sample_range: Option<f32>,
    pub(super) euler_at_final: Option<bool>,
    pub(super) final_sigmas_type: Option<String>,
    pub(super) interpolation_type: Option<String>,
    pub(super) lambda_min_clipped: Option<f64>,
    pub(super) lower_order_final: Option<bool>,
    pub(super) num_train_timesteps: Option<usize>,
    pub(super) original_inference_steps: Option<usize>,
    pub(super) predict_x0: Option<bool>,
    pub(super) prediction_type: Option<String>,
    pub(super) rescale_betas_zero_snr: Option<bool>,
    pub(super) set_alpha_to_one: Option<bool>,
    pub(super) sigma_max: Option<f64>,
    pub(super) sigma_min: Option<f64>,
    pub(super) solver_order: Option<usize>,
    pub(super) solver_type: Option<String>,
    pub(super) steps_offset: Option<usize>,
    pub(super) thresholding: Option<bool>,
    pub(super) timestep_scaling: Option<f32>,
    pub(super) timestep_spacing: Option<String>,
    pub(super) timestep_type: Option<String>,
    pub(super) trained_betas: Option<serde_json::Value>,
    pub(super) use_beta_sigmas: Option<bool>,
    pub(super) use_exponential_sigmas: Option<bool>,
    pub(super) use_flow_sigmas: Option<bool>,
    pub(super) use_karras_sigmas: Option<bool>,
    pub(super) use_lu_lambdas: Option<bool>,
    pub(super) variance_type: Option<String>,
}

impl SchedulerFile {
    pub(super) fn parse(text: &str) -> serde_json::Result<Self> {
        serde_json::from_str(&without_infinities(text))
    }
}

/// Python writes `-Infinity` for `lambda_min_clipped`, which is no JSON; it means "not set".
fn without_infinities(text: &str) -> Cow<'_, str> {
    if !text.contains("Infinity") && !text.contains("NaN") {
        return Cow::Borrowed(text);
    }
    let mut result = String::with_capacity(text.len());
    let mut rest = text;
    let mut in_string = false;
    while let Some(character) = rest.chars().next() {
        let word = ["-Infinity", "Infinity", "NaN"].into_iter().find(|word| !in_string && rest.starts_with(word));
        if let Some(word) = word {
            result.push_str("null");
            rest = &rest[word.len()..];
            continue;
        }
        let mut taken = character.len_utf8();
        match character {
            '"' => in_string = !in_string,
            '\\' if in_string => taken += rest[1..].chars().next().map_or(0, char::len_utf8),
            _ => {}
        }
        result.push_str(&rest[..taken]);
        rest = &rest[taken..];
    }
    Cow::Owned(result)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pythons_infinities_are_null_outside_strings() {
        let text = r#"{"a": -Infinity, "b": "-Infinity \" NaN é\\", "c": NaN}"#;
        assert_eq!(without_infinities(text), r#"{"a": null, "b": "-Infinity \" NaN é\\", "c": null}"#);
        assert!(SchedulerFile::parse(r#"{"lambda_min_clipped": -Infinity}"#).unwrap().lambda_min_clipped.is_none());
    }
}
