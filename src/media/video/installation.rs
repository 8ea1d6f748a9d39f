//! Which FFmpeg this program runs with, and what it can write.

use ffmpeg_next::codec::{self, encoder};

use super::encoder::{encoder_names, open};
use super::library::start;
use super::settings::{EncoderPreference, VideoSettings};
use crate::domain::{FrameRate, VideoCodec};

/// The encoder of H.264 on NVIDIA's GPUs.
const GPU_ENCODER: &str = "h264_nvenc";

/// The FFmpeg libraries that this program was linked with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installation {
    /// Version of libavcodec: `59.37.100`.
    pub codec_library: String,
    /// FFmpeg's major version, where it is known which one that library belongs to.
    pub release: Option<u32>,
    /// Every codec that films may have, with the first of its encoders that is there.
    pub encoders: Vec<(VideoCodec, Option<&'static str>)>,
    /// Whether the libraries were built with NVENC. Whether a GPU and a driver are there, [`gpu_encoder_opens`] says.
    pub has_gpu_encoder: bool,
}

/// Asks the libraries.
pub fn installation() -> Installation {
    start();
    let version = codec::version();
    let (major, minor, micro) = (version >> 16, version >> 8 & 0xff, version & 0xff);
    let is_there = |name: &str| encoder::find_by_name(name).is_some();
    let first = |codec| encoder_names(codec).into_iter().find(|name| is_there(name));
    Installation {
        codec_library: format!("{major}.{minor}.{micro}"),
        release: release(major),
        encoders: VideoCodec::ALL.map(|codec| (codec, first(codec))).into(),
        has_gpu_encoder: is_there(GPU_ENCODER),
    }
}

/// Whether films can be encoded on a GPU of this machine: opens its encoder of H.264 for a moment.
pub fn gpu_encoder_opens() -> bool {
    start();
    let settings = VideoSettings { encoder: EncoderPreference::Hardware, ..VideoSettings::new(256, 256, FrameRate::FILM) };
    encoder::find_by_name(GPU_ENCODER).is_some() && open(&settings, true).is_ok_and(|opened| opened.name == GPU_ENCODER)
}

/// FFmpeg's major version of libavcodec's: they have gone up together since 4.0.
const fn release(codec_library: u32) -> Option<u32> {
    match codec_library {
        58..=62 => Some(codec_library - 54),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_films_need_is_there() {
        let found = installation();
        assert!(found.codec_library.split('.').count() == 3, "{found:?}");
        assert_eq!(found.encoders.len(), VideoCodec::ALL.len());
        // Clips and scenes cannot be kept without these two.
        for needed in [VideoCodec::Ffv1, VideoCodec::H264] {
            assert!(found.encoders.iter().any(|(codec, name)| *codec == needed && name.is_some()), "{found:?}");
        }
    }

    #[test]
    fn releases() {
        assert_eq!([57, 58, 59, 62, 63].map(release), [None, Some(4), Some(5), Some(8), None]);
    }
}
