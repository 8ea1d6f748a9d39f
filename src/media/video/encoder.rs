//! Which encoder of FFmpeg writes a codec, and with what options.

use ffmpeg_next as ffmpeg;
use ffmpeg_next::codec::{self, Flags, encoder};
use ffmpeg_next::color::{Primaries, Range, Space, TransferCharacteristic};
use ffmpeg_next::format::Pixel;
use ffmpeg_next::frame::Video;
use ffmpeg_next::{Dictionary, Rational};

use super::error::MediaError;
use super::settings::{EncoderPreference, MAX_ENCODER_THREADS, VideoSettings};
use crate::domain::{FrameRate, VideoCodec};

/// Bytes of frames that an encoder may look ahead by.
const LOOKAHEAD_BYTES: u64 = 64 << 20;
/// Frames that an encoder looks ahead by: the fewest that rate control works with, and x264's own default.
const LOOKAHEAD_FRAMES: (u64, u64) = (10, 40);

/// Seconds from one key frame to the next at most: how far a player must read to jump.
const KEY_FRAME_SECONDS: f64 = 5.0;

/// From RGB to the planes that most codecs code: BT.709 within 16…235, colours at half resolution, every rounding done well.
const TO_YUV: &str =
    "scale=flags=bicubic+accurate_rnd+full_chroma_int+full_chroma_inp:out_color_matrix=bt709:out_range=tv,format=yuv420p";
/// A palette of its own for each frame: nothing needs to be held, and colours are as right as 256 of them can be. Ordered dither does not
/// swim from frame to frame.
const TO_PALETTE: &str = "split[a][b];[a]palettegen=stats_mode=single[p];[b][p]paletteuse=new=1:dither=bayer:bayer_scale=3";

/// An encoder, ready to be opened.
struct Candidate {
    /// FFmpeg's name.
    name: &'static str,
    /// What it takes.
    pixel: Pixel,
    /// How RGB becomes that.
    filters: &'static str,
    options: Vec<(&'static str, String)>,
}

/// An encoder at work.
pub(super) struct OpenEncoder {
    pub encoder: encoder::video::Encoder,
    /// FFmpeg's name of it.
    pub name: &'static str,
    /// The filters between RGB24 and it.
    pub filters: &'static str,
}

/// FFmpeg's rational of seconds a frame.
pub(super) fn frame_seconds(rate: FrameRate) -> Rational {
    Rational::new(rate.denominator() as i32, rate.numerator() as i32)
}

/// FFmpeg's rational of frames a second.
pub(super) fn frames_a_second(rate: FrameRate) -> Rational {
    Rational::new(rate.numerator() as i32, rate.denominator() as i32)
}

/// Opens the first encoder that works. `global_header` is for containers that keep parameter sets in their own header.
pub(super) fn open(settings: &VideoSettings, global_header: bool) -> Result<OpenEncoder, MediaError> {
    let mut refusals = Vec::new();
    for candidate in candidates(settings) {
        match open_candidate(settings, &candidate, global_header) {
            Ok(encoder) => return Ok(OpenEncoder { encoder, name: candidate.name, filters: candidate.filters }),
            Err(error) => refusals.push(format!("{}: {error}", candidate.name)),
        }
    }
    Err(MediaError::NoEncoder { codec: settings.codec.name(), reason: refusals.join(", ") })
}

/// FFmpeg's names of a codec's encoders on the CPU, in the order in which they are tried.
pub(super) fn encoder_names(codec: VideoCodec) -> Vec<&'static str> {
    let settings = VideoSettings::new(256, 256, FrameRate::FILM).with_codec(codec);
    candidates(&settings).iter().map(|candidate| candidate.name).collect()
}

fn open_candidate(
    settings: &VideoSettings,
    candidate: &Candidate,
    global_header: bool,
) -> Result<encoder::video::Encoder, ffmpeg::Error> {
    let codec = encoder::find_by_name(candidate.name).ok_or(ffmpeg::Error::EncoderNotFound)?;
    let mut video = codec::Context::new_with_codec(codec).encoder().video()?;
    video.set_width(settings.width);
    video.set_height(settings.height);
    video.set_format(candidate.pixel);
    video.set_time_base(frame_seconds(settings.frame_rate));
    video.set_frame_rate(Some(frames_a_second(settings.frame_rate)));
    video.set_aspect_ratio((1, 1));
    if candidate.pixel == Pixel::YUV420P {
        video.set_gop(settings.frame_rate.frames_in(KEY_FRAME_SECONDS) as u32);
        video.set_colorspace(Space::BT709);
        video.set_color_range(Range::MPEG);
        video.set_color_primaries(Primaries::BT709);
        video.set_color_transfer_characteristic(TransferCharacteristic::BT709);
    }
    if global_header {
        video.set_flags(Flags::GLOBAL_HEADER);
    }
    let mut options: Dictionary<'_> = candidate.options.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    options.set("threads", &settings.threads.clamp(1, MAX_ENCODER_THREADS).to_string());
    video.open_with(options)
}

/// Marks a frame with what `TO_YUV` made of it, for encoders that look at frames.
pub(super) fn tag(frame: &mut Video) {
    if frame.format() == Pixel::YUV420P {
        frame.set_color_space(Space::BT709);
        frame.set_color_range(Range::MPEG);
        frame.set_color_primaries(Primaries::BT709);
        frame.set_color_transfer_characteristic(TransferCharacteristic::BT709);
    }
}

fn candidates(settings: &VideoSettings) -> Vec<Candidate> {
    let yuv = |name, options| Candidate { name, pixel: Pixel::YUV420P, filters: TO_YUV, options };
    let threads = settings.threads.clamp(1, MAX_ENCODER_THREADS);
    let lookahead = lookahead_frames(settings.width, settings.height).to_string();
    let on_gpu = |name, profile: &str, quantiser: f64| {
        yuv(
            name,
            vec![
                ("preset", "p5".to_owned()),
                ("profile", profile.to_owned()),
                ("rc", "vbr".to_owned()),
                ("cq", on_scale(settings.quality, quantiser).to_string()),
                ("b", "0".to_owned()),
            ],
        )
    };
    let wants_gpu = settings.encoder != EncoderPreference::Software;
    match settings.codec {
        VideoCodec::H264 => {
            let hardware = wants_gpu.then(|| on_gpu("h264_nvenc", "high", 21.0));
            let software = yuv(
                "libx264",
                vec![
                    ("preset", "medium".to_owned()),
                    ("profile", "high".to_owned()),
                    ("crf", on_scale(settings.quality, 18.0).to_string()),
                    ("rc-lookahead", lookahead),
                    ("x264-params", x264_instructions().to_owned()),
                ],
            );
            hardware.into_iter().chain([software]).collect()
        }
        VideoCodec::H265 => {
            let hardware = wants_gpu.then(|| on_gpu("hevc_nvenc", "main", 24.0));
            // x265 writes to standard error by itself unless told otherwise, and starts a pool of its own.
            let parameters = format!("log-level=none:pools={threads}:rc-lookahead={lookahead}");
            let software = yuv(
                "libx265",
                vec![
                    ("preset", "fast".to_owned()),
                    ("crf", on_scale(settings.quality, 21.0).to_string()),
                    ("x265-params", parameters),
                ],
            );
            hardware.into_iter().chain([software]).collect()
        }
        VideoCodec::Vp9 => {
            let options = vec![
                ("crf", on_scale(settings.quality, 28.0).to_string()),
                ("b", "0".to_owned()),
                ("deadline", "good".to_owned()),
                ("cpu-used", "4".to_owned()),
                ("row-mt", "1".to_owned()),
                ("lag-in-frames", "16".to_owned()),
            ];
            vec![yuv("libvpx-vp9", options)]
        }
        VideoCodec::Av1 => {
            let quantiser = on_scale(settings.quality, 28.0).to_string();
            let aom = vec![
                ("crf", quantiser.clone()),
                ("b", "0".to_owned()),
                ("cpu-used", "6".to_owned()),
                ("row-mt", "1".to_owned()),
                ("lag-in-frames", "16".to_owned()),
            ];
            let svt = vec![("crf", quantiser), ("preset", "8".to_owned()), ("svtav1-params", format!("lp={threads}"))];
            vec![yuv("libaom-av1", aom), yuv("libsvtav1", svt)]
        }
        VideoCodec::Gif => vec![Candidate { name: "gif", pixel: Pixel::PAL8, filters: TO_PALETTE, options: Vec::new() }],
        VideoCodec::WebP => {
            // libwebp makes its own planes of RGB, by the BT.601 that its format prescribes.
            let options = vec![("quality", settings.quality.to_string()), ("compression_level", "4".to_owned())];
            vec![Candidate { name: "libwebp_anim", pixel: Pixel::BGRA, filters: "format=bgra", options }]
        }
        VideoCodec::Ffv1 => {
            let options =
                vec![("level", "3".to_owned()), ("slices", "4".to_owned()), ("slicecrc", "1".to_owned()), ("g", "1".to_owned())];
            vec![Candidate { name: "ffv1", pixel: Pixel::BGRZ, filters: "format=bgr0", options }]
        }
    }
}

/// What x264 may use of the processor: its AVX-512 code for the macroblock tree (release 164) takes memory into account that nobody wrote
/// to, so that the same frames give another film each time. That of AVX2 does not, and is next to as fast.
fn x264_instructions() -> &'static str {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx512f") && std::arch::is_x86_feature_detected!("avx2") {
        return "asm=avx2";
    }
    ""
}

/// A quality from 1 to 100 on a codec's scale, where 80 is `clean` and twenty more or less are 6.25 steps: in x264's terms, half or twice
/// the bits.
fn on_scale(quality: u8, clean: f64) -> u32 {
    (clean + (80.0 - f64::from(quality)) * 0.3125).round().max(1.0) as u32
}

/// Frames of a size that fit into what an encoder may look ahead by: 1.5 bytes a pixel, and as much again for what it keeps of them.
fn lookahead_frames(width: u32, height: u32) -> u64 {
    let frame_bytes = u64::from(width) * u64::from(height) * 3;
    (LOOKAHEAD_BYTES / frame_bytes.max(1)).clamp(LOOKAHEAD_FRAMES.0, LOOKAHEAD_FRAMES.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quality_is_put_on_each_scale() {
        assert_eq!([1, 60, 80, 100].map(|quality| on_scale(quality, 18.0)), [43, 24, 18, 12]);
        assert_eq!([1, 100].map(|quality| on_scale(quality, 28.0)), [53, 22]);
    }

    #[test]
    fn looking_ahead_is_bounded() {
        assert_eq!(lookahead_frames(64, 64), 40);
        assert_eq!(lookahead_frames(1280, 768), 22);
        assert_eq!(lookahead_frames(3840, 2160), 10);
    }

    #[test]
    fn hardware_is_tried_first_and_software_is_always_there() {
        for encoder in [EncoderPreference::Hardware, EncoderPreference::Auto] {
            let settings = VideoSettings { encoder, ..VideoSettings::new(256, 256, FrameRate::FILM) };
            let names: Vec<&str> = candidates(&settings).iter().map(|candidate| candidate.name).collect();
            assert_eq!(names, ["h264_nvenc", "libx264"]);
        }
        let settings = VideoSettings::new(256, 256, FrameRate::FILM);
        let settings = VideoSettings { encoder: EncoderPreference::Software, ..settings.with_codec(VideoCodec::H265) };
        let names: Vec<&str> = candidates(&settings).iter().map(|candidate| candidate.name).collect();
        assert_eq!(names, ["libx265"]);
    }
}
