//! `resize_mode`: how an initial picture of another shape becomes one of the request's.

use bytes::Bytes;
use image::imageops::{self, FilterType};
use image::{Rgb, RgbImage};

use crate::api::error::{ApiError, ErrorKind};
use crate::api::whole_number::WholeNumber;
use crate::media::decode::decode_image;
use crate::media::encode::{PngText, encode_png};

/// The web UI's modes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ResizeMode {
    /// 0: stretched.
    Stretch,
    /// 1: its middle, stretched.
    Crop,
    /// 2: whole, its edges drawn out.
    Fill,
    /// 3: stretched by the model's own picture of it.
    Latent,
}

impl ResizeMode {
    /// The mode of this number.
    pub(super) fn new(number: Option<WholeNumber>) -> Result<Self, ApiError> {
        match number.map_or(0, |number| number.0) {
            0 => Ok(Self::Stretch),
            1 => Ok(Self::Crop),
            2 => Ok(Self::Fill),
            3 => Ok(Self::Latent),
            number => Err(ApiError::invalid("resize_mode", format!("is {number}; allowed: 0 to 3"))),
        }
    }

    /// What of a picture is to be stretched to `target`: a part of it, or more than it. Blocking.
    pub(super) fn part(self, png: Bytes, target: (u32, u32)) -> Result<Bytes, ApiError> {
        if self == Self::Stretch {
            return Ok(png);
        }
        let picture = decode_image(&png).map_err(ApiError::internal)?;
        let size = (picture.width, picture.height);
        let has_shape = u64::from(size.0) * u64::from(target.1) == u64::from(size.1) * u64::from(target.0);
        match self {
            Self::Crop | Self::Fill if !has_shape => {}
            Self::Latent if size != target => return Err(self.refusal("a picture of another size")),
            _ => return Ok(png),
        }
        let pixels = RgbImage::from_raw(size.0, size.1, picture.rgb)
            .ok_or_else(|| ApiError::internal("a picture's pixels do not fit its size"))?;
        let part = if self == Self::Fill {
            filled(&pixels, target)
        } else {
            let (left, top, width, height) = middle(size, target);
            imageops::crop_imm(&pixels, left, top, width, height).to_image()
        };
        Ok(encode_png(part.width(), part.height(), part.as_raw(), &PngText::default()).map_err(ApiError::internal)?.into())
    }

    fn refusal(self, with: &str) -> ApiError {
        let number = self as u8;
        ApiError::about(ErrorKind::UnsupportedField, "resize_mode", format!("is {number}; allowed with {with}: 0 to 2"))
    }
}

/// All of a picture in the middle of one of the size `target`, as large as it fits; its outermost pixels are drawn out over the rest.
fn filled(picture: &RgbImage, target: (u32, u32)) -> RgbImage {
    let (width, height) = (picture.width(), picture.height());
    let is_wider = u64::from(width) * u64::from(target.1) > u64::from(height) * u64::from(target.0);
    let fitted = if is_wider {
        (target.0, scaled(height, target.0, width).min(target.1))
    } else {
        (scaled(width, target.1, height).min(target.0), target.1)
    };
    let fitted = imageops::resize(picture, fitted.0, fitted.1, FilterType::Lanczos3);
    let (left, top) = ((target.0 - fitted.width()) / 2, (target.1 - fitted.height()) / 2);
    let within = |at: u32, before: u32, length: u32| at.saturating_sub(before).min(length.saturating_sub(1));
    let pixel = |x, y| -> Rgb<u8> { *fitted.get_pixel(within(x, left, fitted.width()), within(y, top, fitted.height())) };
    RgbImage::from_fn(target.0, target.1, pixel)
}

/// A side by the ratio `by / of`, at least a pixel.
fn scaled(side: u32, by: u32, of: u32) -> u32 {
    let (side, by, of) = (u64::from(side), u64::from(by), u64::from(of.max(1)));
    u32::try_from((side * by + of / 2) / of).unwrap_or(u32::MAX).max(1)
}

/// The largest part in the middle of a picture that has the shape of `target`: left, top, width, height.
fn middle((width, height): (u32, u32), (across, down): (u32, u32)) -> (u32, u32, u32, u32) {
    let part_width = scaled(height, across, down).min(width);
    let part_height = scaled(width, down, across).min(height);
    ((width - part_width) / 2, (height - part_height) / 2, part_width, part_height)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::wide((200, 100), (64, 64), (50, 0, 100, 100))]
    #[case::tall((100, 200), (64, 64), (0, 50, 100, 100))]
    #[case::same((100, 50), (64, 32), (0, 0, 100, 50))]
    #[case::thin((1, 8000), (1024, 64), (0, 3999, 1, 1))]
    fn middles(#[case] size: (u32, u32), #[case] target: (u32, u32), #[case] expected: (u32, u32, u32, u32)) {
        assert_eq!(middle(size, target), expected);
    }

    fn png(width: u32, height: u32) -> Bytes {
        // Black, and white in the middle half.
        let rgb: Vec<u8> = (0..width * height)
            .flat_map(|at| [if (width / 4..width * 3 / 4).contains(&(at % width)) { 255 } else { 0 }; 3])
            .collect();
        encode_png(width, height, &rgb, &PngText::default()).unwrap().into()
    }

    #[test]
    fn the_middle_is_kept() {
        let part = decode_image(&ResizeMode::Crop.part(png(64, 32), (16, 16)).unwrap()).unwrap();
        assert_eq!((part.width, part.height), (32, 32));
        assert!(part.rgb.iter().all(|value| *value == 255));
    }

    #[rstest]
    #[case::tall((64, 32), (32, 64), (0, 24, 32, 16))]
    #[case::wide((32, 64), (64, 32), (24, 0, 16, 32))]
    #[case::thin((512, 1), (64, 64), (0, 31, 64, 1))]
    fn edges_are_drawn_out(#[case] size: (u32, u32), #[case] target: (u32, u32), #[case] place: (u32, u32, u32, u32)) {
        // Brighter to the right and further down, so that each edge is another one.
        let shade = |x: u32, y: u32| (x * 100 / size.0 + y * 100 / size.1) as u8;
        let rgb: Vec<u8> = (0..size.0 * size.1).flat_map(|at| [shade(at % size.0, at / size.0); 3]).collect();
        let png = encode_png(size.0, size.1, &rgb, &PngText::default()).unwrap();
        let filled = decode_image(&ResizeMode::Fill.part(png.into(), target).unwrap()).unwrap();
        assert_eq!((filled.width, filled.height), target);
        let (left, top, width, height) = place;
        let at = |x: u32, y: u32| filled.rgb[((y * target.0 + x) * 3) as usize];
        for (x, y) in (0..target.0).flat_map(|x| (0..target.1).map(move |y| (x, y))) {
            let inside = (x.clamp(left, left + width - 1), y.clamp(top, top + height - 1));
            assert_eq!(at(x, y), at(inside.0, inside.1), "{x} {y}");
        }
        let (first, last) = (at(left, top), at(left + width - 1, top + height - 1));
        assert!(first < 20 && last > first + 60, "all of it is there: {first} to {last}");
    }

    #[test]
    fn modes_that_mean_the_same_are_allowed() {
        for (mode, size, target, allowed) in [
            (ResizeMode::Stretch, (64, 32), (16, 16), true),
            (ResizeMode::Fill, (64, 32), (128, 64), true),
            (ResizeMode::Latent, (64, 32), (64, 32), true),
            (ResizeMode::Latent, (64, 32), (128, 64), false),
        ] {
            let part = mode.part(png(size.0, size.1), target);
            assert_eq!(part.is_ok(), allowed, "{mode:?} {size:?} {target:?}");
            assert!(part.is_err() || part.unwrap() == png(size.0, size.1));
        }
        assert!(ResizeMode::new(Some(WholeNumber(4))).is_err());
    }
}
