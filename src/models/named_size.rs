//! Sizes in words, `1280x720`, `16:9`, `720P`, `auto`: one reader for every surface and the command line.

use crate::domain::ModelLimits;

/// What a word for a size means.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum NamedSize {
    /// `auto`: whatever the model likes best.
    Auto,
    /// `1280x720`: width and height in pixels.
    Pixels(i128, i128),
    /// `16:9`: this shape, at the model's usual area.
    Aspect(f64, f64),
    /// `720P`: pixels of the short side.
    ShortSide(u32),
    /// `720P 16:9`: pixels of the short side, and across and down of the shape.
    Shaped(u32, (u32, u32)),
}

impl NamedSize {
    /// Reads a word; `None` if it is none. Upper and lower case are the same, and `×` and `*` stand for `x`.
    pub fn read(text: &str) -> Option<Self> {
        let lower = text.trim().to_lowercase();
        if lower == "auto" {
            return Some(Self::Auto);
        }
        let mut words = lower.split_whitespace();
        if let (Some(lines), Some(aspect), None) = (words.next(), words.next(), words.next())
            && let (Some(lines), Some((across, down))) = (lines.strip_suffix('p'), aspect.split_once(':'))
        {
            let side = |text: &str| u32::try_from(whole(text)?).ok().filter(|side| *side > 0);
            return Some(Self::Shaped(side(lines)?, (side(across)?, side(down)?)));
        }
        if let Some(lines) = lower.strip_suffix('p') {
            return Some(Self::ShortSide(u32::try_from(whole(lines)?).ok()?));
        }
        if let Some((width, height)) = lower.split_once(['x', '*', '×']) {
            return Some(Self::Pixels(whole(width)?, whole(height)?));
        }
        let (across, down) = lower.split_once(':')?;
        let (across, down) = (whole(across)?, whole(down)?);
        (across > 0 && down > 0).then_some(Self::Aspect(across as f64, down as f64))
    }
}

/// Digits and nothing else but space around them, as many as nobody needs.
fn whole(text: &str) -> Option<i128> {
    let digits = text.trim();
    (!digits.is_empty() && digits.len() <= 20 && digits.bytes().all(|byte| byte.is_ascii_digit())).then(|| digits.parse().ok())?
}

/// The size of shape `across : down` whose area is the model's default area, both sides rounded to the model's multiple and
/// scaled down to its largest side. Shapes that are too thin for the model come out below its smallest side, and whoever resolves
/// a request refuses them.
pub fn size_for_aspect(limits: &ModelLimits, across: f64, down: f64) -> (u32, u32) {
    let area = f64::from(limits.default_width) * f64::from(limits.default_height);
    let width = (area * across / down).sqrt();
    let height = (area * down / across).sqrt();
    let shrink = (f64::from(limits.max_side) / width.max(height)).min(1.0);
    let multiple = f64::from(limits.side_multiple.max(1));
    let whole = |side: f64| ((side * shrink / multiple).round() * multiple) as u32;
    (whole(width), whole(height))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    /// The demo model's limits, or those of SDXL.
    fn limits(usual: u32, largest: u32) -> ModelLimits {
        ModelLimits {
            min_side: 64,
            max_side: largest,
            side_multiple: 8,
            max_images: 4,
            max_steps: 100,
            max_guidance_scale: 30.0,
            max_prompt_characters: 20,
            default_width: usual,
            default_height: usual,
            default_steps: 20,
            default_guidance_scale: 3.0,
            default_strength: 0.8,
            samplers: vec!["euler".to_owned()],
            max_steps_by_sampler: std::collections::BTreeMap::default(),
        }
    }

    #[rstest]
    #[case("auto", Some(NamedSize::Auto))]
    #[case("Auto", Some(NamedSize::Auto))]
    #[case("512x768", Some(NamedSize::Pixels(512, 768)))]
    #[case(" 1280 X 720 ", Some(NamedSize::Pixels(1280, 720)))]
    #[case("1280*720", Some(NamedSize::Pixels(1280, 720)))]
    #[case("1280×720", Some(NamedSize::Pixels(1280, 720)))]
    #[case("0x0", Some(NamedSize::Pixels(0, 0)))]
    #[case("99999999999x8", Some(NamedSize::Pixels(99_999_999_999, 8)))]
    #[case("1:1", Some(NamedSize::Aspect(1.0, 1.0)))]
    #[case("16:9", Some(NamedSize::Aspect(16.0, 9.0)))]
    #[case("720P", Some(NamedSize::ShortSide(720)))]
    #[case("1080p", Some(NamedSize::ShortSide(1080)))]
    #[case("720P 16:9", Some(NamedSize::Shaped(720, (16, 9))))]
    #[case("720P 0:9", None)]
    #[case("16:9 720P", None)]
    #[case("0:9", None)]
    #[case("", None)]
    #[case("512", None)]
    #[case("512x", None)]
    #[case("-512x512", None)]
    #[case("512x512x512", None)]
    #[case("99999999999p", None)]
    #[case("large", None)]
    #[case("1e3x5", None)]
    fn words(#[case] text: &str, #[case] size: Option<NamedSize>) {
        assert_eq!(NamedSize::read(text), size);
    }

    #[rstest]
    #[case::square((1.0, 1.0), (128, 128), (1024, 1024))]
    #[case::wide((16.0, 9.0), (168, 96), (1368, 768))]
    #[case::tall((9.0, 16.0), (96, 168), (768, 1368))]
    #[case::photograph((3.0, 2.0), (160, 104), (1256, 840))]
    #[case::portrait((3.0, 4.0), (112, 144), (888, 1184))]
    #[case::cinema((21.0, 9.0), (192, 80), (1568, 672))]
    #[case::too_wide((100.0, 1.0), (256, 0), (2048, 24))]
    fn aspects_keep_the_default_area(#[case] aspect: (f64, f64), #[case] demo: (u32, u32), #[case] sdxl: (u32, u32)) {
        assert_eq!(size_for_aspect(&limits(128, 256), aspect.0, aspect.1), demo);
        assert_eq!(size_for_aspect(&limits(1024, 2048), aspect.0, aspect.1), sdxl);
    }

    proptest! {
        #[test]
        fn no_word_breaks_the_reader(text in ".*") {
            let _ = NamedSize::read(&text);
        }

        #[test]
        fn no_side_is_too_long_or_off_the_multiple(across in 1_u64..u64::MAX, down in 1_u64..u64::MAX) {
            let (width, height) = size_for_aspect(&limits(1024, 2048), across as f64, down as f64);
            prop_assert!(width <= 2048 && height <= 2048 && width % 8 == 0 && height % 8 == 0);
        }
    }
}
