//! The resize before Stable Video Diffusion's image encoder: a Gaussian blur against aliasing, then bicubic interpolation between the
//! corners (diffusers' `_resize_with_antialiasing`, in `pipeline_stable_video_diffusion.py`).
//!
//! Both steps are linear and work along one axis at a time, so that each output is one weighted sum per axis. Nothing of the source's
//! size is kept but the source.

use rayon::prelude::*;

use super::{Picture, RgbPicture};

const CHANNELS: usize = 3;
/// Of the cubic convolution, as torch has it (Pillow has −0.5).
const CUBIC: f64 = -0.75;
/// Sources of a cubic interpolation.
const CUBIC_TAPS: usize = 4;
/// Of the Gaussian where nothing is reduced.
const LEAST_SIGMA: f64 = 0.001;
/// Width of the Gaussian in sigmas, and its least width in pixels.
const SIGMAS: f64 = 4.0;
const LEAST_TAPS: f64 = 3.0;

/// The weights of one output along an axis.
#[derive(Clone, Debug)]
struct Taps {
    first: usize,
    weights: Vec<f64>,
}

/// `picture` at `height × width`, whatever its shape was, with values around −1…1: they overshoot where the source has edges, and are not
/// clamped. A picture without pixels gives a grey one.
pub fn resize_antialiased(picture: &RgbPicture, height: usize, width: usize) -> Picture {
    if !picture.is_whole() || height == 0 || width == 0 {
        return Picture { height, width, channels: CHANNELS, values: vec![0.0; height * width * CHANNELS] };
    }
    let (columns, rows) = (taps(picture.width, width), taps(picture.height, height));
    let line = width * CHANNELS;
    let mut narrow = vec![0.0; picture.height * line];
    narrow.par_chunks_mut(line).zip(picture.bytes.par_chunks(picture.width * CHANNELS)).for_each(|(target, source)| {
        for (target, Taps { first, weights }) in target.chunks_exact_mut(CHANNELS).zip(&columns) {
            let mut sums = [0.0; CHANNELS];
            for (pixel, weight) in source[first * CHANNELS..].chunks_exact(CHANNELS).zip(weights) {
                for (sum, byte) in sums.iter_mut().zip(pixel) {
                    *sum += (f64::from(*byte) / 255.0 * 2.0 - 1.0) * weight;
                }
            }
            target.copy_from_slice(&sums);
        }
    });
    let mut values = vec![0.0; height * line];
    values.par_chunks_mut(line).zip(&rows).for_each(|(target, Taps { first, weights })| {
        let mut sums = vec![0.0; line];
        for (source, weight) in narrow[first * line..].chunks_exact(line).zip(weights) {
            for (sum, value) in sums.iter_mut().zip(source) {
                *sum += value * weight;
            }
        }
        for (target, sum) in target.iter_mut().zip(sums) {
            *target = sum as f32;
        }
    });
    Picture { height, width, channels: CHANNELS, values }
}

/// The weights of every output along an axis.
fn taps(from: usize, to: usize) -> Vec<Taps> {
    let blur = gaussian(from as f64 / to as f64);
    // in f32, as torch finds its places
    let step = if to > 1 { (from - 1) as f32 / (to - 1) as f32 } else { 0.0 };
    (0..to)
        .map(|target| {
            let place = target as f32 * step;
            let base = place.floor();
            let sources = cubic(f64::from(place - base)).into_iter().enumerate();
            let mut weighted = Vec::with_capacity(CUBIC_TAPS * blur.len());
            for (index, weight) in sources {
                let source = (base as usize + index).saturating_sub(1).min(from - 1);
                for (offset, share) in blur.iter().enumerate() {
                    weighted.push((reflected(source, offset, blur.len() / 2, from), weight * share));
                }
            }
            summed(&weighted)
        })
        .collect()
}

/// The weights of each source, side by side.
fn summed(weighted: &[(usize, f64)]) -> Taps {
    let first = weighted.iter().map(|(source, _)| *source).min().unwrap_or_default();
    let last = weighted.iter().map(|(source, _)| *source).max().unwrap_or_default();
    let mut weights = vec![0.0; last + 1 - first];
    for (source, weight) in weighted {
        weights[source - first] += weight;
    }
    Taps { first, weights }
}

/// A normalised Gaussian of an odd number of taps for a reduction by `factor`.
fn gaussian(factor: f64) -> Vec<f64> {
    let sigma = ((factor - 1.0) / 2.0).max(LEAST_SIGMA);
    let taps = (SIGMAS * sigma).max(LEAST_TAPS) as usize | 1;
    let middle = (taps / 2) as f64;
    let weights: Vec<f64> = (0..taps).map(|tap| (-(tap as f64 - middle).powi(2) / (2.0 * sigma * sigma)).exp()).collect();
    let total: f64 = weights.iter().sum();
    weights.into_iter().map(|weight| weight / total).collect()
}

/// `source + offset − middle`, mirrored at the first and the last of `length`, which are not repeated.
fn reflected(source: usize, offset: usize, middle: usize, length: usize) -> usize {
    let period = 2 * (length - 1);
    if period == 0 {
        return 0;
    }
    // enough periods ahead that nothing is negative
    let place = (source + offset + middle.div_ceil(period) * period - middle) % period;
    place.min(period - place)
}

/// Weights of the source before the one that a place follows, of that one, and of the two after it; `part` of the way to the next is
/// gone.
fn cubic(part: f64) -> [f64; CUBIC_TAPS] {
    let near = |x: f64| ((CUBIC + 2.0) * x - (CUBIC + 3.0)) * x * x + 1.0;
    let far = |x: f64| ((CUBIC * x - 5.0 * CUBIC) * x + 8.0 * CUBIC) * x - 4.0 * CUBIC;
    [far(part + 1.0), near(part), near(1.0 - part), far(2.0 - part)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gaussian_of_published_sizes() {
        // Sides of 576, 1024, 720, 1280 and 512 pixels reduced to 224, and one enlarged.
        for (side, taps) in [(576, 3), (1024, 7), (720, 5), (1280, 9), (512, 3), (100, 3)] {
            let weights = gaussian(f64::from(side) / 224.0);
            assert_eq!(weights.len(), taps, "{side}");
            assert!((weights.iter().sum::<f64>() - 1.0).abs() < 1e-12);
        }
        assert_eq!(gaussian(0.5), [0.0, 1.0, 0.0]);
    }

    #[test]
    fn edges_are_mirrored() {
        let places: Vec<usize> = (0..9).map(|offset| reflected(1, offset, 4, 4)).collect();
        assert_eq!(places, [3, 2, 1, 0, 1, 2, 3, 2, 1]);
        assert_eq!(reflected(0, 2, 1, 1), 0);
        assert_eq!((0..7).map(|offset| reflected(0, offset, 3, 2)).collect::<Vec<_>>(), [1, 0, 1, 0, 1, 0, 1]);
    }

    #[test]
    fn one_colour_stays_and_corners_meet() {
        let bytes: Vec<u8> = [10, 128, 250].repeat(37 * 91);
        let picture = RgbPicture { height: 37, width: 91, bytes };
        let expected = picture.to_picture();
        let resized = resize_antialiased(&picture, 24, 30);
        assert_eq!((resized.height, resized.width, resized.values.len()), (24, 30, 24 * 30 * 3));
        for (given, expected) in resized.values.iter().zip(&expected.values) {
            assert!((given - expected).abs() < 1e-6);
        }
        // Enlarged, where nothing is blurred, the corners are the source's.
        let bytes: Vec<u8> = (0..5 * 4 * 3).map(|index| (index * 29 % 256) as u8).collect();
        let small = RgbPicture { height: 5, width: 4, bytes };
        let (large, small) = (resize_antialiased(&small, 20, 10), small.to_picture());
        for (to, from) in [(0, 0), (9, 3), (19 * 10, 4 * 4), (19 * 10 + 9, 4 * 4 + 3)] {
            for channel in 0..CHANNELS {
                let (given, expected) = (large.values[to * CHANNELS + channel], small.values[from * CHANNELS + channel]);
                assert!((given - expected).abs() < 1e-6, "{given} is not {expected}");
            }
        }
    }

    #[test]
    fn no_pixels_give_a_grey_picture() {
        let nothing = RgbPicture { height: 0, width: 0, bytes: Vec::new() };
        assert_eq!(resize_antialiased(&nothing, 2, 3).values, [0.0; 18]);
    }
}
