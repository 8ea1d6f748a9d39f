//! The field `size`.

use crate::domain::ModelLimits;
use crate::models::parameters::size_for_aspect;

/// What `size` asks for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum PictureSize {
    /// `auto`: the model's default.
    Auto,
    /// `WxH`, pixels.
    Exact(i128, i128),
    /// `W:H`: this shape, with the model's default area.
    Aspect(f64, f64),
}

impl PictureSize {
    /// Reads `auto`, `512x768` or `16:9`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        if text == "auto" {
            return Some(Self::Auto);
        }
        if let Some((width, height)) = text.split_once('x') {
            return Some(Self::Exact(whole(width)?, whole(height)?));
        }
        let (across, down) = text.split_once(':')?;
        let (across, down) = (whole(across)?, whole(down)?);
        (across > 0 && down > 0).then_some(Self::Aspect(across as f64, down as f64))
    }

    /// Width and height for a model; `None` leaves them to its defaults.
    pub(super) fn pixels(self, limits: &ModelLimits) -> Option<(i128, i128)> {
        match self {
            Self::Auto => None,
            Self::Exact(width, height) => Some((width, height)),
            Self::Aspect(across, down) => {
                let (width, height) = size_for_aspect(limits, across, down);
                Some((width.into(), height.into()))
            }
        }
    }
}

/// Digits and nothing else, as many as nobody needs.
fn whole(text: &str) -> Option<i128> {
    (!text.is_empty() && text.len() <= 20 && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("auto", Some(PictureSize::Auto))]
    #[case("512x768", Some(PictureSize::Exact(512, 768)))]
    #[case("0x0", Some(PictureSize::Exact(0, 0)))]
    #[case("99999999999x8", Some(PictureSize::Exact(99_999_999_999, 8)))]
    #[case("16:9", Some(PictureSize::Aspect(16.0, 9.0)))]
    #[case("0:9", None)]
    #[case("", None)]
    #[case("512", None)]
    #[case("512x", None)]
    #[case("-512x512", None)]
    #[case("512x512x512", None)]
    #[case("large", None)]
    #[case("1e3x5", None)]
    fn sizes(#[case] text: &str, #[case] size: Option<PictureSize>) {
        assert_eq!(PictureSize::parse(text), size);
    }
}
