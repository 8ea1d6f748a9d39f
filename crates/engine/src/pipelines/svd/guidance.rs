//! Classifier-free guidance (Ho and Salimans 2022) that grows from frame to frame.

use crate::latent::Latent;
use crate::samplers::linspace;

/// The scale of each frame: evenly from `first` to `last`.
pub(super) fn scales(first: f32, last: f32, frames: usize) -> Vec<f32> {
    linspace(first, last, frames)
}

/// `negative + scale · (positive − negative)`, with each frame's own scale.
pub(super) fn guided(negative: &Latent, positive: &Latent, scales: &[f32]) -> Latent {
    let frame_values = (negative.values.len() / negative.frames.max(1)).max(1);
    let mut values = Vec::with_capacity(negative.values.len());
    let frames = negative.values.chunks_exact(frame_values).zip(positive.values.chunks_exact(frame_values));
    for ((negative, positive), scale) in frames.zip(scales) {
        values.extend(negative.iter().zip(positive).map(|(negative, positive)| negative + scale * (positive - negative)));
    }
    negative.with_values(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_frame_has_its_scale() {
        let clip = |values: [f32; 6]| Latent { frames: 3, height: 1, width: 1, channels: 2, values: values.to_vec() };
        let (negative, positive) = (clip([0.0, 1.0, 0.0, 1.0, 0.0, 1.0]), clip([1.0, 2.0, 1.0, 2.0, 1.0, 1.0]));
        assert_eq!(scales(1.0, 3.0, 3), [1.0, 2.0, 3.0]);
        assert_eq!(scales(2.0, 3.0, 1), [2.0]);
        assert_eq!(guided(&negative, &positive, &scales(1.0, 3.0, 3)).values, [1.0, 2.0, 2.0, 3.0, 3.0, 1.0]);
    }
}
