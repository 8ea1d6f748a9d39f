//! The `parameters` text of Stable Diffusion web UI (A1111), which galleries and tools read out of PNG files.

use std::fmt::Write;

use super::samplers::sampler_names;

/// What the text tells.
#[derive(Clone, Copy, Debug)]
pub struct Infotext<'a> {
    /// The prompt.
    pub prompt: &'a str,
    /// The negative prompt.
    pub negative_prompt: Option<&'a str>,
    /// Sampler steps.
    pub steps: u32,
    /// Our name of the sampler: `dpmpp_2m_karras`.
    pub sampler: &'a str,
    /// Guidance scale.
    pub guidance_scale: f32,
    /// Seed of this picture.
    pub seed: u64,
    /// Pixels across.
    pub width: u32,
    /// Pixels down.
    pub height: u32,
    /// First ten digits of the SHA-256 of the file that matters most.
    pub model_hash: Option<&'a str>,
    /// The model's name.
    pub model: &'a str,
    /// Strength, for picture to picture.
    pub denoising_strength: Option<f32>,
    /// Whether a mask said what to repaint.
    pub is_masked: bool,
}

impl Infotext<'_> {
    /// The text.
    pub fn render(&self) -> String {
        let mut text = self.prompt.to_owned();
        if let Some(negative_prompt) = self.negative_prompt.filter(|prompt| !prompt.is_empty()) {
            text.push_str("\nNegative prompt: ");
            text.push_str(negative_prompt);
        }
        let (sampler, schedule) = sampler_names(self.sampler);
        let mut fields = vec![
            ("Steps", self.steps.to_string()),
            ("Sampler", quoted(sampler)),
            ("Schedule type", schedule.to_owned()),
            ("CFG scale", self.guidance_scale.to_string()),
            ("Seed", self.seed.to_string()),
            ("Size", format!("{}x{}", self.width, self.height)),
        ];
        fields.extend(self.model_hash.map(|hash| ("Model hash", quoted(hash))));
        fields.push(("Model", quoted(self.model)));
        fields.extend(self.denoising_strength.map(|strength| ("Denoising strength", strength.to_string())));
        if self.is_masked {
            fields.push(("Mask mode", "Inpaint masked".to_owned()));
            fields.push(("Inpaint area", "Whole picture".to_owned()));
        }
        fields.push(("RNG", "CPU".to_owned()));
        fields.push(("Version", format!("framewright {}", env!("CARGO_PKG_VERSION"))));
        for (index, (name, value)) in fields.iter().enumerate() {
            let separator = if index == 0 { "\n" } else { ", " };
            // Writing to a String cannot fail.
            let _ = write!(text, "{separator}{name}: {value}");
        }
        text
    }
}

/// A1111's own rule (`infotext_utils.quote`): a value that holds a separator is written as a JSON string.
fn quoted(value: &str) -> String {
    if value.contains([',', '\n', ':']) { serde_json::Value::from(value).to_string() } else { value.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Infotext<'_> = Infotext {
        prompt: "a red circle",
        negative_prompt: None,
        steps: 20,
        sampler: "euler",
        guidance_scale: 3.0,
        seed: 1,
        width: 128,
        height: 96,
        model_hash: Some("0123456789"),
        model: "demo-sdxl",
        denoising_strength: None,
        is_masked: false,
    };

    fn check(infotext: Infotext<'_>, expected: &str) {
        let version = format!("Version: framewright {}", env!("CARGO_PKG_VERSION"));
        assert_eq!(infotext.render(), expected.replace("Version", &version));
    }

    #[test]
    fn it_reads_as_a1111_writes_it() {
        check(
            PLAIN,
            "a red circle\nSteps: 20, Sampler: Euler, Schedule type: Automatic, CFG scale: 3, Seed: 1, Size: 128x96, \
             Model hash: 0123456789, Model: demo-sdxl, RNG: CPU, Version",
        );
        check(
            Infotext {
                negative_prompt: Some("blurry"),
                sampler: "dpmpp_2m_sde_karras",
                guidance_scale: 7.5,
                seed: u64::MAX,
                model_hash: None,
                model: "a, b: c",
                denoising_strength: Some(0.6),
                is_masked: true,
                ..PLAIN
            },
            "a red circle\nNegative prompt: blurry\nSteps: 20, Sampler: DPM++ 2M SDE, Schedule type: Karras, CFG scale: 7.5, \
             Seed: 18446744073709551615, Size: 128x96, Model: \"a, b: c\", Denoising strength: 0.6, \
             Mask mode: Inpaint masked, Inpaint area: Whole picture, RNG: CPU, Version",
        );
    }
}
