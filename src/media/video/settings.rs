//! What a film shall be like.

use super::error::MediaError;
use super::frame::check_size;
use crate::domain::{FrameRate, VideoCodec};

/// Which kind of encoder is tried first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EncoderPreference {
    /// An encoder on the CPU: the same file on every machine.
    #[default]
    Software,
    /// NVENC where the codec, the libraries and the machine have it, else the CPU; nobody minds which. The writer says which one it became.
    Auto,
    /// The same, and whoever gets the film is told where it became the CPU.
    Hardware,
}

/// What a film shall be like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VideoSettings {
    /// Pixels across.
    pub width: u32,
    /// Pixels down.
    pub height: u32,
    /// Frames a second; every frame is shown equally long.
    pub frame_rate: FrameRate,
    /// Codec, and with it the container.
    pub codec: VideoCodec,
    /// 1 (small) to 100 (indistinguishable); [`DEFAULT_QUALITY`] is visually clean. Each codec's own scale is derived from it. FFV1 is
    /// lossless and GIF has one quality, whatever this says.
    pub quality: u8,
    /// Which kind of encoder is tried first.
    pub encoder: EncoderPreference,
    /// Most threads that the encoder uses, at least one.
    pub threads: usize,
}

/// Quality where nothing else is asked for: x264's CRF 18.
pub const DEFAULT_QUALITY: u8 = 80;

/// Most threads of an encoder. More gain little at our sizes, and each holds frames of its own.
pub const MAX_ENCODER_THREADS: usize = 8;

impl VideoSettings {
    /// H.264 of the default quality, with as many threads as the machine has cores, at most [`MAX_ENCODER_THREADS`].
    pub fn new(width: u32, height: u32, frame_rate: FrameRate) -> Self {
        let threads = std::thread::available_parallelism().map_or(1, usize::from).min(MAX_ENCODER_THREADS);
        Self {
            width,
            height,
            frame_rate,
            codec: VideoCodec::default(),
            quality: DEFAULT_QUALITY,
            encoder: EncoderPreference::default(),
            threads,
        }
    }

    /// The same with another codec.
    #[must_use]
    pub fn with_codec(self, codec: VideoCodec) -> Self {
        Self { codec, ..self }
    }

    /// Fails with [`MediaError::Setting`], naming the first field that cannot be.
    pub fn check(&self) -> Result<(), MediaError> {
        check_size(self.width, self.height)?;
        if self.codec.needs_even_sides() {
            for (field, side) in [("width", self.width), ("height", self.height)] {
                if side % 2 == 1 || side < 16 {
                    let codec = self.codec.name();
                    return Err(MediaError::setting(field, format!("{side} pixels; {codec} needs an even number from 16")));
                }
            }
        }
        if !(1..=100).contains(&self.quality) {
            return Err(MediaError::setting("quality", format!("{}; 1 to 100", self.quality)));
        }
        if let Some(most) = self.codec.max_frames_per_second()
            && self.frame_rate.frames_per_second() > f64::from(most)
        {
            let reason = format!("{} frames a second; a {} has at most {most}", self.frame_rate, self.codec.name());
            return Err(MediaError::setting("fps", reason));
        }
        Ok(())
    }
}

/// What a film says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FilmMetadata {
    /// Its title.
    pub title: Option<String>,
    /// What made it: our manifest, JSON. Files of MP4, WebM and Matroska carry it as their comment; GIF and WebP have no room for it.
    pub comment: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_is_refused_by_name() {
        let settings = VideoSettings::new(64, 48, FrameRate::FILM);
        settings.check().unwrap();
        let refused = |settings: VideoSettings| settings.check().unwrap_err().to_string();
        assert_eq!(
            refused(VideoSettings { width: 63, ..settings.clone() }),
            "width: 63 pixels; h264 needs an even number from 16"
        );
        assert!(refused(VideoSettings { height: 8, ..settings.clone() }).starts_with("height: 8 pixels"));
        assert!(refused(VideoSettings { quality: 0, ..settings.clone() }).starts_with("quality: 0"));
        assert!(refused(VideoSettings { width: 10_000, ..settings.clone() }).starts_with("size: 10000x48"));
        let fast = VideoSettings { frame_rate: FrameRate::new(60, 1).unwrap(), ..settings };
        fast.check().unwrap();
        assert!(refused(fast.clone().with_codec(VideoCodec::Gif)).starts_with("fps: 60"));
        VideoSettings { width: 63, height: 9, ..fast }.with_codec(VideoCodec::Ffv1).check().unwrap();
    }
}
