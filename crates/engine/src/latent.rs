//! Latents on the host.

/// Latents of one picture or clip: f32 on the host, `[frames, height, width, channels]` (channels last).
#[derive(Clone, Debug, PartialEq)]
pub struct Latent {
    /// Frames; 1 for a picture.
    pub frames: usize,
    /// Latent rows (pixels divided by the VAE's factor).
    pub height: usize,
    /// Latent columns.
    pub width: usize,
    /// Channels; 4 for SDXL.
    pub channels: usize,
    /// `frames · height · width · channels` values.
    pub values: Vec<f32>,
}

impl Latent {
    /// Zeros.
    pub fn zeros(frames: usize, height: usize, width: usize, channels: usize) -> Self {
        Self { frames, height, width, channels, values: vec![0.0; frames * height * width * channels] }
    }

    /// From `[frames, channels, height, width]` order, which is torch's and the one noise is drawn in.
    pub fn from_channels_first(frames: usize, channels: usize, height: usize, width: usize, source: &[f32]) -> Self {
        let mut latent = Self::zeros(frames, height, width, channels);
        let plane = height * width;
        for frame in 0..frames {
            for channel in 0..channels {
                let from = (frame * channels + channel) * plane;
                for position in 0..plane {
                    latent.values[(frame * plane + position) * channels + channel] = source[from + position];
                }
            }
        }
        latent
    }

    /// To `[frames, channels, height, width]` order.
    pub fn to_channels_first(&self) -> Vec<f32> {
        let plane = self.height * self.width;
        let mut target = vec![0.0; self.values.len()];
        for frame in 0..self.frames {
            for channel in 0..self.channels {
                let to = (frame * self.channels + channel) * plane;
                for position in 0..plane {
                    target[to + position] = self.values[(frame * plane + position) * self.channels + channel];
                }
            }
        }
        target
    }

    /// The same shape, other values.
    #[must_use]
    pub fn with_values(&self, values: Vec<f32>) -> Self {
        debug_assert_eq!(values.len(), self.values.len());
        Self { values, ..*self }
    }

    /// `function` of every value.
    #[must_use]
    pub fn map(&self, function: impl Fn(f32) -> f32) -> Self {
        self.with_values(self.values.iter().map(|value| function(*value)).collect())
    }

    /// `function` of every value and its counterpart in `other`, which has the same shape.
    #[must_use]
    pub fn zip(&self, other: &Self, function: impl Fn(f32, f32) -> f32) -> Self {
        debug_assert!(self.same_shape(other));
        self.with_values(self.values.iter().zip(&other.values).map(|(left, right)| function(*left, *right)).collect())
    }

    /// Some of the frames; those that there are, where the range goes beyond.
    #[must_use]
    pub fn frame_range(&self, frames: std::ops::Range<usize>) -> Self {
        let length = self.height * self.width * self.channels;
        let (start, end) = (frames.start.min(self.frames), frames.end.min(self.frames));
        let values = self.values.get(start * length..end * length).unwrap_or_default().to_vec();
        Self { frames: end.saturating_sub(start), values, ..*self }
    }

    /// Whether both have the same four dimensions.
    pub fn same_shape(&self, other: &Self) -> bool {
        (self.frames, self.height, self.width, self.channels) == (other.frames, other.height, other.width, other.channels)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_cut_out() {
        let clip = Latent { frames: 3, height: 1, width: 1, channels: 2, values: vec![0.0, 1.0, 2.0, 3.0, 4.0, 5.0] };
        assert_eq!(clip.frame_range(1..3), Latent { frames: 2, values: vec![2.0, 3.0, 4.0, 5.0], ..clip });
        assert_eq!(clip.frame_range(2..9).values, [4.0, 5.0]);
        assert_eq!(clip.frame_range(7..9), Latent::zeros(0, 1, 1, 2));
    }
}
