//! How large a film is, and how large the clips are that it is made of.

use serde::Serialize;

use super::named_size::{NamedSize, size_for_aspect};
use super::parameters::{ParameterError, refuse};
use crate::domain::{ModelLimits, VideoCodec};

/// Largest side of a film, pixels.
pub const MOST_SIDE: u32 = 8192;
/// Most pixels of a frame.
pub const MOST_PIXELS: u64 = 33_554_432;
/// Smallest side of a film, pixels: what every encoder takes.
pub const LEAST_SIDE: u32 = 16;

/// What was asked of the size.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct AskedSize {
    /// Pixels across.
    pub width: Option<i128>,
    /// Pixels down.
    pub height: Option<i128>,
    /// `720P` (the short side), `1280x720`, `16:9`, `720P 16:9`, `auto`; not together with width or height.
    pub resolution: Option<String>,
}

/// A film's size and its clips'.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sizes {
    /// Width and height of the film.
    pub(super) film: (u32, u32),
    /// Width and height of its clips.
    pub(super) clip: (u32, u32),
}

/// Clips have the model's usual area at the film's shape; a film whose size nobody named has the size of its clips. Without any word on
/// the shape it is that of `picture`, the first picture that came with the request, else the model's own. A film that `is_exact` consists
/// of the model's own frames: its clips have the width and the height that were named, if the model can do them.
pub(super) fn resolve(
    asked: &AskedSize,
    picture: Option<(u32, u32)>,
    limits: &ModelLimits,
    codec: VideoCodec,
    is_exact: bool,
) -> Result<Sizes, ParameterError> {
    let usual = (limits.default_width, limits.default_height);
    let shape = picture.filter(|(width, height)| *width > 0 && *height > 0).unwrap_or(usual);
    let resolution = asked.resolution.as_deref().map(read).transpose()?;
    if resolution.is_some() && (asked.width.is_some() || asked.height.is_some()) {
        return refuse("resolution", "is given together with width or height; use one of the two".to_owned());
    }
    let exact = match (resolution, asked.width, asked.height) {
        (Some(NamedSize::Pixels(width, height)), ..) | (None, Some(width), Some(height)) => Some((width, height)),
        (Some(NamedSize::ShortSide(short)), ..) => Some(tier(short, shape)),
        (Some(NamedSize::Shaped(short, aspect)), ..) => Some(tier(short, aspect)),
        (None, Some(width), None) => Some((width, even(f64::from(shape.1) / f64::from(shape.0) * width as f64))),
        (None, None, Some(height)) => Some((even(f64::from(shape.0) / f64::from(shape.1) * height as f64), height)),
        (Some(NamedSize::Aspect(..) | NamedSize::Auto), ..) | (None, None, None) => None,
    };
    let film = match exact {
        Some((width, height)) => {
            // The side that was named goes before the one that follows from it.
            let first = if asked.width.is_none() { Some(side("height", height, codec)?) } else { None };
            let width = side("width", width, codec)?;
            Some((width, first.map_or_else(|| side("height", height, codec), Ok)?))
        }
        None => None,
    };
    let (across, down) = match (film, resolution) {
        (Some((width, height)), _) => (f64::from(width), f64::from(height)),
        (None, Some(NamedSize::Aspect(across, down))) => (across, down),
        (None, _) => (f64::from(shape.0), f64::from(shape.1)),
    };
    let is_literal = is_exact && asked.width.is_some() && asked.height.is_some();
    let clip = clip_size(film, (across, down), limits, is_literal)?;
    let film = match film {
        Some(film) => film,
        None => (side("width", i128::from(clip.0), codec)?, side("height", i128::from(clip.1), codec)?),
    };
    if u64::from(film.0) * u64::from(film.1) > MOST_PIXELS {
        return refuse("size", format!("is {}x{}; at most {MOST_PIXELS} pixels are allowed", film.0, film.1));
    }
    Ok(Sizes { film, clip })
}

/// The film's own size where the model can do it, and usually does unless it `is_literal`, else its shape at the model's usual area.
fn clip_size(
    film: Option<(u32, u32)>,
    (across, down): (f64, f64),
    limits: &ModelLimits,
    is_literal: bool,
) -> Result<(u32, u32), ParameterError> {
    let multiple = limits.side_multiple.max(1);
    let fits = |side: u32| (limits.min_side..=limits.max_side).contains(&side) && side.is_multiple_of(multiple);
    let usual_area = u64::from(limits.default_width) * u64::from(limits.default_height);
    if let Some((width, height)) = film
        && fits(width)
        && fits(height)
        && (is_literal || u64::from(width) * u64::from(height) <= usual_area)
    {
        return Ok((width, height));
    }
    let (width, height) = size_for_aspect(limits, across, down);
    if fits(width) && fits(height) {
        return Ok((width, height));
    }
    let shape = film.map_or_else(|| format!("{across}:{down}"), |(width, height)| format!("{width}x{height}"));
    refuse(
        "size",
        format!("{shape} is too thin for the model, whose sides are {} to {} pixels", limits.min_side, limits.max_side),
    )
}

/// A short side of `short` pixels at the nearest shape with even sides.
fn tier(short: u32, (width, height): (u32, u32)) -> (i128, i128) {
    let (short_side, long_side) = (f64::from(width.min(height)), f64::from(width.max(height)));
    let long = even(f64::from(short) * long_side / short_side);
    if width >= height { (long, i128::from(short)) } else { (i128::from(short), long) }
}

fn even(side: f64) -> i128 {
    ((side / 2.0).round() as i128).saturating_mul(2)
}

fn side(field: &'static str, value: i128, codec: VideoCodec) -> Result<u32, ParameterError> {
    let needs_even = codec.needs_even_sides();
    match u32::try_from(value) {
        Ok(side) if (LEAST_SIDE..=MOST_SIDE).contains(&side) && !(needs_even && side % 2 == 1) => Ok(side),
        _ => {
            let even = if needs_even { format!(", even for {}", codec.name()) } else { String::new() };
            refuse(field, format!("is {value}; allowed: {LEAST_SIDE} to {MOST_SIDE}{even}"))
        }
    }
}

/// What a resolution means.
fn read(text: &str) -> Result<NamedSize, ParameterError> {
    match NamedSize::read(text) {
        Some(size @ (NamedSize::ShortSide(lines) | NamedSize::Shaped(lines, _))) if (LEAST_SIDE..=MOST_SIDE).contains(&lines) => {
            Ok(size)
        }
        Some(size @ (NamedSize::Pixels(..) | NamedSize::Aspect(..) | NamedSize::Auto)) => Ok(size),
        Some(NamedSize::ShortSide(_) | NamedSize::Shaped(..)) | None => {
            let shown: String = text.trim().chars().take(32).collect();
            refuse(
                "resolution",
                format!("'{shown}' is unknown; allowed: 512P, 720P, 768P, 1080P, 1280x720, 16:9, 720P 16:9 and the like"),
            )
        }
    }
}
