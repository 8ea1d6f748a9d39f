//! How a film is written.

use serde::{Deserialize, Serialize};

/// A codec, and with it the container that players expect it in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum VideoCodec {
    /// H.264, High profile, in MP4: plays everywhere.
    #[default]
    H264,
    /// H.265 in MP4, with the tag that Apple's players want.
    #[serde(alias = "hevc")]
    H265,
    /// VP9 in WebM.
    Vp9,
    /// AV1 in WebM.
    Av1,
    /// An animated GIF: 256 colours a frame.
    Gif,
    /// An animated WebP picture.
    WebP,
    /// FFV1 in Matroska: lossless, for what is worked on further.
    Ffv1,
}

impl VideoCodec {
    /// All of them.
    pub const ALL: [Self; 7] = [Self::H264, Self::H265, Self::Vp9, Self::Av1, Self::Gif, Self::WebP, Self::Ffv1];

    /// The name that requests use.
    pub fn name(self) -> &'static str {
        match self {
            Self::H264 => "h264",
            Self::H265 => "h265",
            Self::Vp9 => "vp9",
            Self::Av1 => "av1",
            Self::Gif => "gif",
            Self::WebP => "webp",
            Self::Ffv1 => "ffv1",
        }
    }

    /// The end of the file's name.
    pub fn extension(self) -> &'static str {
        match self {
            Self::H264 | Self::H265 => "mp4",
            Self::Vp9 | Self::Av1 => "webm",
            Self::Gif => "gif",
            Self::WebP => "webp",
            Self::Ffv1 => "mkv",
        }
    }

    /// The file's media type.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::H264 | Self::H265 => "video/mp4",
            Self::Vp9 | Self::Av1 => "video/webm",
            Self::Gif => "image/gif",
            Self::WebP => "image/webp",
            Self::Ffv1 => "video/x-matroska",
        }
    }

    /// Whether width and height must be even, since its colours have half of the picture's resolution.
    pub fn needs_even_sides(self) -> bool {
        matches!(self, Self::H264 | Self::H265 | Self::Vp9 | Self::Av1)
    }

    /// Most frames a second: a GIF's clock counts hundredths, and players slow down what asks for less than two of them.
    pub fn max_frames_per_second(self) -> Option<u32> {
        (self == Self::Gif).then_some(50)
    }

    /// Whether its file can carry sound.
    pub fn carries_audio(self) -> bool {
        !matches!(self, Self::Gif | Self::WebP)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_requests() {
        for codec in VideoCodec::ALL {
            assert_eq!(serde_json::to_value(codec).unwrap(), codec.name());
            assert_eq!(serde_json::from_value::<VideoCodec>(codec.name().into()).unwrap(), codec);
        }
        assert_eq!(serde_json::from_str::<VideoCodec>("\"hevc\"").unwrap(), VideoCodec::H265);
        assert!(serde_json::from_str::<VideoCodec>("\"mpeg2\"").is_err());
    }
}
