//! Pictures as image encoders were trained to see them.

use super::Picture;

/// What is subtracted from every channel of a picture with values 0…1, and what it is divided by then. Read from
/// `feature_extractor/preprocessor_config.json`; of its other settings the pipeline overrules all.
#[derive(Clone, Copy, Debug, PartialEq, serde::Deserialize)]
#[serde(default)]
pub struct Normalisation {
    /// Red, green, blue.
    #[serde(rename = "image_mean")]
    pub mean: [f32; 3],
    /// Red, green, blue; not zero.
    #[serde(rename = "image_std")]
    pub deviation: [f32; 3],
}

impl Default for Normalisation {
    /// CLIP's.
    fn default() -> Self {
        Self { mean: [0.481_454_66, 0.457_827_5, 0.408_210_73], deviation: [0.268_629_54, 0.261_302_6, 0.275_777_1] }
    }
}

impl Normalisation {
    /// Whether every number can be computed with.
    pub fn is_sound(&self) -> bool {
        self.mean.iter().all(|mean| mean.is_finite()) && self.deviation.iter().all(|deviation| deviation.is_normal())
    }

    /// Values −1…1 to what the encoder takes: `((x + 1)/2 − mean)/deviation`.
    pub(super) fn apply(&self, picture: &mut Picture) {
        for pixel in picture.values.as_chunks_mut::<3>().0 {
            for (value, (mean, deviation)) in pixel.iter_mut().zip(self.mean.iter().zip(&self.deviation)) {
                *value = (f32::midpoint(*value, 1.0) - mean) / deviation;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_file_and_what_it_does() {
        let file = r#"{"crop_size": 224, "do_normalize": true, "feature_extractor_type": "CLIPFeatureExtractor",
            "image_mean": [0.48145466, 0.4578275, 0.40821073], "image_std": [0.26862954, 0.26130258, 0.27577711], "size": 224}"#;
        let read: Normalisation = serde_json::from_str(file).unwrap();
        assert_eq!(read, Normalisation::default());
        assert_eq!(serde_json::from_str::<Normalisation>("{}").unwrap(), read);
        let mut picture = Picture { height: 1, width: 1, channels: 3, values: vec![-1.0, 0.0, 1.0] };
        read.apply(&mut picture);
        for (given, expected) in picture.values.iter().zip([-1.792_262_6, 0.161_393_3, 2.145_897]) {
            assert!((given - expected).abs() < 1e-6, "{given}");
        }
        assert!(read.is_sound());
        assert!(!Normalisation { deviation: [0.0, 1.0, 1.0], ..read }.is_sound());
        assert!(!Normalisation { mean: [f32::NAN, 1.0, 1.0], ..read }.is_sound());
    }
}
