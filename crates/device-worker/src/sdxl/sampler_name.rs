//! Our names of checkpoints' own samplers.

use std::path::Path;

/// Larger files are not configurations.
const MOST_BYTES: u64 = 1 << 20;

/// Our name of the checkpoint's own sampler, for reports; its class name when we have none.
pub(super) fn checkpoint_sampler(directory: &Path) -> String {
    use std::io::Read;
    let read = || {
        let mut text = String::new();
        let file = std::fs::File::open(directory.join("scheduler/scheduler_config.json")).ok()?;
        file.take(MOST_BYTES).read_to_string(&mut text).ok()?;
        serde_json::from_str(&text).ok()
    };
    sampler_of_config(&read().unwrap_or_default())
}

fn sampler_of_config(config: &serde_json::Value) -> String {
    let class = config["_class_name"].as_str().unwrap_or("unknown");
    let is_sde = config["algorithm_type"].as_str().is_some_and(|algorithm| algorithm.starts_with("sde"));
    let base = match class {
        "EulerDiscreteScheduler" => "euler",
        "EulerAncestralDiscreteScheduler" => "euler_ancestral",
        "HeunDiscreteScheduler" => "heun",
        "DDIMScheduler" => "ddim",
        "DPMSolverMultistepScheduler" if is_sde => "dpmpp_2m_sde",
        "DPMSolverMultistepScheduler" => "dpmpp_2m",
        "UniPCMultistepScheduler" => "unipc",
        "LCMScheduler" => "lcm",
        other => return other.to_owned(),
    };
    let is_set = |key: &str| config[key].as_bool().unwrap_or(false);
    let suffix = if is_set("use_karras_sigmas") {
        "_karras"
    } else if is_set("use_exponential_sigmas") {
        "_exponential"
    } else {
        ""
    };
    format!("{base}{suffix}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checkpoints_sampler_has_our_name() {
        let karras = serde_json::json!({"_class_name": "DPMSolverMultistepScheduler", "use_karras_sigmas": true});
        let sde = serde_json::json!({"_class_name": "DPMSolverMultistepScheduler", "algorithm_type": "sde-dpmsolver++"});
        let exponential = serde_json::json!({"_class_name": "HeunDiscreteScheduler", "use_exponential_sigmas": true});
        for (config, expected) in [
            (serde_json::json!({"_class_name": "EulerDiscreteScheduler", "use_karras_sigmas": false}), "euler"),
            (karras, "dpmpp_2m_karras"),
            (sde, "dpmpp_2m_sde"),
            (exponential, "heun_exponential"),
            (serde_json::json!({"_class_name": "PNDMScheduler"}), "PNDMScheduler"),
            (serde_json::Value::Null, "unknown"),
        ] {
            assert_eq!(sampler_of_config(&config), expected);
        }
    }
}
