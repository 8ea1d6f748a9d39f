//! Frames made of weighted sums of another's pixels, columns and rows apart.

use std::collections::VecDeque;

use super::error::MediaError;
use super::frame::Frame;

/// Bytes a pixel.
const CHANNELS: usize = 3;

/// The pixels of a row, or of a column, that one of the result's is made of.
#[derive(Clone, Debug)]
pub(in crate::media) struct Taps {
    /// The first of them.
    first: usize,
    /// What each counts; they sum to 1.
    weights: Vec<f32>,
}

/// A function that says what a pixel at a distance counts.
#[derive(Clone, Copy)]
pub(in crate::media) struct Kernel {
    /// Beyond it all is nothing.
    pub radius: f64,
    /// By distance, in pixels.
    pub weight: fn(f64) -> f64,
}

/// Lanczos' windowed sinc of three lobes.
pub(in crate::media) const LANCZOS: Kernel = Kernel {
    radius: 3.0,
    weight: |distance| {
        let sinc = |x: f64| if x == 0.0 { 1.0 } else { (std::f64::consts::PI * x).sin() / (std::f64::consts::PI * x) };
        sinc(distance) * sinc(distance / 3.0)
    },
};

/// Keys' cubic of 1981, a = −1/2: no overshoot to speak of.
pub(in crate::media) const CUBIC: Kernel = Kernel {
    radius: 2.0,
    weight: |distance| {
        let distance = distance.abs();
        if distance < 1.0 {
            (1.5 * distance - 2.5) * distance * distance + 1.0
        } else {
            ((-0.5 * distance + 2.5) * distance - 4.0) * distance + 2.0
        }
    },
};

/// What each pixel of a result is made of. A position is where its middle lies in the source, whose first pixel reaches from 0 to 1; one
/// pixel of the result is as wide as `step` of the source, and where that is more than one, the kernel is as much wider. What would lie
/// beyond the source's `length` pixels counts nothing.
pub(in crate::media) fn taps(positions: impl Iterator<Item = f64>, step: f64, kernel: Kernel, length: usize) -> Vec<Taps> {
    let scale = step.max(1.0);
    let reach = kernel.radius * scale;
    let last = length.saturating_sub(1);
    let of_one = |middle: f64| {
        let first = ((middle - reach).round().max(0.0) as usize).min(last);
        let end = ((middle + reach).round().max(0.0) as usize).clamp(first + 1, last + 1);
        let raw: Vec<f64> = (first..end).map(|pixel| (kernel.weight)((pixel as f64 + 0.5 - middle) / scale)).collect();
        let sum: f64 = raw.iter().sum();
        let weights = if sum.abs() < 1e-9 {
            // A position beyond the source, where nothing reaches: the pixel at its border.
            let mut nearest = vec![0.0; raw.len()];
            let border = if middle < first as f64 { 0 } else { raw.len() - 1 };
            nearest[border] = 1.0;
            nearest
        } else {
            raw.iter().map(|weight| (weight / sum) as f32).collect()
        };
        Taps { first, weights }
    };
    positions.map(of_one).collect()
}

/// A frame of as many columns and rows as there are taps. It holds only as many rows at a time as one of the result is made of. Fails with
/// [`MediaError::Setting`] for a size that no frame may have.
pub(in crate::media) fn resample(frame: &Frame, columns: &[Taps], rows: &[Taps]) -> Result<Frame, MediaError> {
    let row_bytes = frame.width() as usize * CHANNELS;
    let width = columns.len() * CHANNELS;
    let mut rgb = Vec::with_capacity(width * rows.len());
    // Rows of the source in the result's columns, from number `begins` on.
    let mut narrowed: VecDeque<Vec<f32>> = VecDeque::new();
    let mut begins = 0;
    let mut sums = vec![0.0_f32; width];
    for taps in rows {
        if taps.first < begins || taps.first > begins + narrowed.len() {
            narrowed.clear();
            begins = taps.first;
        }
        while begins < taps.first {
            narrowed.pop_front();
            begins += 1;
        }
        for number in begins + narrowed.len()..taps.first + taps.weights.len() {
            narrowed.push_back(narrow(&frame.rgb()[number * row_bytes..(number + 1) * row_bytes], columns));
        }
        sums.fill(0.0);
        for (row, weight) in narrowed.iter().zip(&taps.weights) {
            for (sum, value) in sums.iter_mut().zip(row) {
                *sum += weight * value;
            }
        }
        // A cast to a byte stops at its ends.
        rgb.extend(sums.iter().map(|sum| (sum + 0.5) as u8));
    }
    Frame::new(columns.len() as u32, rows.len() as u32, rgb)
}

/// A row in the result's columns.
fn narrow(row: &[u8], columns: &[Taps]) -> Vec<f32> {
    let mut narrowed = Vec::with_capacity(columns.len() * CHANNELS);
    for taps in columns {
        let mut sums = [0.0_f32; CHANNELS];
        let pixels = &row[taps.first * CHANNELS..(taps.first + taps.weights.len()) * CHANNELS];
        for (pixel, weight) in pixels.chunks_exact(CHANNELS).zip(&taps.weights) {
            for (sum, value) in sums.iter_mut().zip(pixel) {
                *sum += weight * f32::from(*value);
            }
        }
        narrowed.extend_from_slice(&sums);
    }
    narrowed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_sum_to_one_and_stay_within() {
        for kernel in [LANCZOS, CUBIC] {
            for (length, result) in [(1, 1), (1, 9), (7, 3), (100, 1), (5, 50), (64, 63)] {
                let step = f64::from(length) / f64::from(result);
                let positions = (0..result).map(|pixel| (f64::from(pixel) + 0.5) * step);
                for taps in taps(positions, step, kernel, length as usize) {
                    assert!(taps.first + taps.weights.len() <= length as usize);
                    assert!((taps.weights.iter().sum::<f32>() - 1.0).abs() < 1e-5);
                }
            }
        }
        for beyond in [-50.0, 60.0, 1e12] {
            let taps = &taps([beyond].into_iter(), 1.0, CUBIC, 10)[0];
            assert!((taps.weights.iter().sum::<f32>() - 1.0).abs() < 1e-6, "{beyond}: {taps:?}");
        }
    }

    #[test]
    fn a_step_of_one_gives_the_frame_back() {
        let frame = Frame::from_fn(13, 9, |x, y| [(x * 19) as u8, (y * 28) as u8, (x * y) as u8]).unwrap();
        for kernel in [LANCZOS, CUBIC] {
            let whole = |length: u32| taps((0..length).map(|pixel| f64::from(pixel) + 0.5), 1.0, kernel, length as usize);
            assert_eq!(resample(&frame, &whole(13), &whole(9)).unwrap(), frame);
        }
    }
}
