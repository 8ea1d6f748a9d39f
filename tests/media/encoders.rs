//! Every codec: what ffprobe sees, exact counts and times, colours.

use std::fs;
use std::path::Path;
use std::process::Command;

use framewright::domain::{FrameRate, VideoCodec};
use framewright::media::video::{
    EncoderPreference, FilmMetadata, Frame, MediaError, VideoReader, VideoSettings, VideoWriter, encode, probe,
};

use crate::support::{ffprobe, frames_of, never, number, number_of, numbered, numbered_film, repeated, stream};

fn rate(text: &str) -> FrameRate {
    text.parse().unwrap()
}

fn names_in(directory: &Path) -> Vec<String> {
    fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn each_codec_is_what_it_says() {
    let directory = tempfile::tempdir().unwrap();
    for (codec, name, pixel_format) in [
        (VideoCodec::H264, "h264", "yuv420p"),
        (VideoCodec::H265, "hevc", "yuv420p"),
        (VideoCodec::Vp9, "vp9", "yuv420p"),
        (VideoCodec::Av1, "av1", "yuv420p"),
        (VideoCodec::Gif, "gif", "bgra"),
        (VideoCodec::Ffv1, "ffv1", "bgr0"),
    ] {
        let path = directory.path().join(format!("film.{}", codec.extension()));
        let settings = VideoSettings::new(128, 96, rate("24")).with_codec(codec);
        let written = numbered_film(&path, &settings, 31);
        assert_eq!((written.frames, written.bytes), (31, fs::metadata(&path).unwrap().len()));
        let probed = ffprobe(&path);
        let video = stream(&probed, "video");
        assert_eq!((&video["codec_name"], &video["pix_fmt"]), (&name.into(), &pixel_format.into()));
        assert_eq!((&video["width"], &video["height"]), (&128.into(), &96.into()));
        assert_eq!(video["nb_read_frames"], "31", "{codec:?}");
        // Matroska counts milliseconds, GIF hundredths of a second.
        let tolerance = match codec {
            VideoCodec::H264 | VideoCodec::H265 => 1e-6,
            VideoCodec::Gif => 0.0101,
            _ => 0.0011,
        };
        let duration = number(&probed["format"]["duration"]);
        assert!((duration - 31.0 / 24.0).abs() < tolerance, "{codec:?}: {duration}");
        if codec.needs_even_sides() {
            for (tag, value) in
                [("color_space", "bt709"), ("color_primaries", "bt709"), ("color_transfer", "bt709"), ("color_range", "tv")]
            {
                assert_eq!(video[tag], value, "{codec:?}");
            }
        }
        if codec != VideoCodec::Gif {
            assert_eq!(video["avg_frame_rate"], "24/1", "{codec:?}");
        }
        let facts = probe(&path, &never).unwrap();
        assert_eq!((facts.codec.as_str(), facts.width, facts.height, facts.frames), (name, 128, 96, 31));
        assert!((facts.duration - 31.0 / 24.0).abs() < tolerance, "{codec:?}: {facts:?}");
        assert!(!facts.has_audio);
        let frames = frames_of(&path);
        assert_eq!(frames.iter().map(number_of).collect::<Vec<_>>(), (0..31).map(|number| number % 16).collect::<Vec<_>>());
    }
    assert!(names_in(directory.path()).iter().all(|name| !name.ends_with(".partial")));
}

#[test]
fn h264_is_high_profile_with_its_index_first() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("film.mp4");
    let written = numbered_film(&path, &VideoSettings::new(64, 48, rate("24")), 30);
    assert_eq!(written.encoder, "libx264");
    let probed = ffprobe(&path);
    assert_eq!(stream(&probed, "video")["profile"], "High");
    assert_eq!(stream(&probed, "video")["codec_tag_string"], "avc1");
    let bytes = fs::read(&path).unwrap();
    let at = |name: &[u8]| bytes.windows(4).position(|window| window == name).unwrap();
    assert!(at(b"moov") < at(b"mdat"));
}

#[test]
fn h265_has_the_tag_of_parameter_sets_in_the_head() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("film.mp4");
    let written = numbered_film(&path, &VideoSettings::new(64, 48, rate("24")).with_codec(VideoCodec::H265), 30);
    assert_eq!((written.encoder, written.bytes), ("libx265", fs::metadata(&path).unwrap().len()));
    assert_eq!(stream(&ffprobe(&path), "video")["codec_tag_string"], "hvc1");
    assert_eq!(frames_of(&path).len(), 30);
}

#[test]
fn every_frame_rate_is_exact_and_does_not_drift() {
    let directory = tempfile::tempdir().unwrap();
    for (text, written) in
        [("23.976", "24000/1001"), ("7", "7/1"), ("6.25", "25/4"), ("1", "1/1"), ("30", "30/1"), ("120", "120/1")]
    {
        let path = directory.path().join("film.mp4");
        let rate = rate(text);
        numbered_film(&path, &VideoSettings::new(32, 32, rate), 97);
        let probed = ffprobe(&path);
        let video = stream(&probed, "video");
        assert_eq!((&video["avg_frame_rate"], &video["r_frame_rate"]), (&written.into(), &written.into()));
        assert_eq!(video["nb_read_frames"], "97");
        assert!(number(&video["start_time"]).abs() < 1e-9, "{text}");
        for duration in [&video["duration"], &probed["format"]["duration"]] {
            assert!((number(duration) - rate.seconds_of(97)).abs() < 1e-6, "{text}: {duration}");
        }
        assert_eq!(probe(&path, &never).unwrap().frame_rate, rate);
    }
}

#[test]
fn ffv1_gives_back_every_bit() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("clip.mkv");
    let (width, height) = (67, 35);
    // All values of every channel, in no order that a prediction likes.
    let noise = |number: u32| {
        Frame::from_fn(width, height, |x, y| {
            let mixed = (x * 2_654_435 + y * 40_503 + number * 977).wrapping_mul(2_246_822_519);
            [(mixed >> 24) as u8, (mixed >> 16) as u8, (mixed >> 8) as u8]
        })
    };
    let frames: Vec<Frame> = (0..20).map(|number| noise(number).unwrap()).collect();
    let settings = VideoSettings::new(width, height, rate("23.976")).with_codec(VideoCodec::Ffv1);
    encode(&path, &settings, &FilmMetadata::default(), frames.iter().cloned().map(Ok), &never).unwrap();
    assert!(frames_of(&path) == frames);
    assert_eq!(probe(&path, &never).unwrap().frame_rate, rate("23.976"));
}

#[test]
fn colours_come_back() {
    let directory = tempfile::tempdir().unwrap();
    let colours: [[u8; 3]; 8] =
        [[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255], [0, 0, 0], [128, 128, 128], [200, 120, 40], [30, 90, 160]];
    for codec in [VideoCodec::H264, VideoCodec::H265, VideoCodec::Vp9, VideoCodec::Av1, VideoCodec::Gif] {
        let path = directory.path().join(format!("film.{}", codec.extension()));
        let settings = VideoSettings { quality: 95, ..VideoSettings::new(256, 64, rate("24")).with_codec(codec) };
        let frame = Frame::from_fn(256, 64, |x, _| colours[x as usize / 32]).unwrap();
        encode(&path, &settings, &FilmMetadata::default(), repeated(&frame, 3), &never).unwrap();
        let back = &frames_of(&path)[1];
        // FFmpeg's own program, told nothing, must see the same.
        let seen = by_ffmpeg(&path);
        for (index, colour) in colours.iter().enumerate() {
            let x = index as u32 * 32 + 16;
            for (who, pixel) in [("we", back.pixel(x, 32)), ("ffmpeg", seen.pixel(x, 32))] {
                let farthest = colour.iter().zip(pixel).map(|(a, b)| a.abs_diff(b)).max().unwrap();
                assert!(farthest <= 4, "{codec:?}: {who} see {pixel:?} for {colour:?}");
            }
        }
    }
}

fn by_ffmpeg(path: &Path) -> Frame {
    let output = Command::new("ffmpeg")
        .args(["-v", "error", "-i"])
        .arg(path)
        .args(["-frames:v", "1", "-sws_flags", "accurate_rnd+full_chroma_int", "-f", "rawvideo", "-pix_fmt", "rgb24", "-"])
        .output()
        .unwrap();
    Frame::new(256, 64, output.stdout).unwrap()
}

#[test]
fn an_animated_webp_has_all_its_frames() {
    use image::AnimationDecoder;
    use image::codecs::webp::WebPDecoder;

    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("film.webp");
    let settings = VideoSettings { quality: 90, ..VideoSettings::new(65, 49, rate("8")).with_codec(VideoCodec::WebP) };
    numbered_film(&path, &settings, 10);
    let decoder = WebPDecoder::new(std::io::BufReader::new(fs::File::open(&path).unwrap())).unwrap();
    assert!(decoder.has_animation());
    let frames: Vec<_> = decoder.into_frames().map(Result::unwrap).collect();
    assert_eq!(frames.len(), 10);
    for (number, frame) in frames.iter().enumerate() {
        assert_eq!(frame.buffer().dimensions(), (65, 49));
        let (numerator, denominator) = frame.delay().numer_denom_ms();
        assert_eq!(numerator / denominator, 125, "{number}");
        let strip = frame.buffer().get_pixel(6, 24)[0];
        assert!(strip.abs_diff(number as u8 * 15) < 8, "{number}: {strip}");
    }
}

#[test]
fn what_it_says_of_itself_comes_back() {
    let directory = tempfile::tempdir().unwrap();
    for codec in [VideoCodec::H264, VideoCodec::Vp9] {
        let path = directory.path().join(format!("film.{}", codec.extension()));
        let comment = "{\"seed\":42,\"prompt\":\"红 — \\\"red\\\"\"}".to_owned();
        let metadata = FilmMetadata { title: Some("A title".to_owned()), comment: Some(comment.clone()) };
        let settings = VideoSettings::new(32, 32, rate("24")).with_codec(codec);
        encode(&path, &settings, &metadata, repeated(&numbered(32, 32, 0), 3), &never).unwrap();
        let tags = &ffprobe(&path)["format"]["tags"];
        let tag =
            |name: &str| tags.as_object().unwrap().iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).unwrap().1.clone();
        assert_eq!((tag("title"), tag("comment")), ("A title".into(), comment.into()));
    }
}

#[test]
fn nothing_is_said_to_standard_error() {
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "encoders::writes_and_reads_every_codec", "--ignored"])
        .output()
        .unwrap();
    assert!(child.status.success() && String::from_utf8_lossy(&child.stdout).contains("1 passed"));
    assert_eq!(String::from_utf8_lossy(&child.stderr), "");
}

#[test]
#[ignore = "run by the test above, in a process of its own, whose standard error it reads"]
fn writes_and_reads_every_codec() {
    let directory = tempfile::tempdir().unwrap();
    for codec in VideoCodec::ALL {
        let path = directory.path().join(format!("film.{}", codec.extension()));
        numbered_film(&path, &VideoSettings::new(64, 64, rate("24")).with_codec(codec), 5);
        // WebP cannot be read, and says why only in its error.
        assert_eq!(VideoReader::open(&path).is_ok(), codec != VideoCodec::WebP, "{codec:?}");
    }
    fs::write(directory.path().join("text.mp4"), "no film").unwrap();
    assert!(VideoReader::open(&directory.path().join("text.mp4")).is_err());
}

#[test]
fn readers_and_writers_go_from_thread_to_thread() {
    fn goes<T: Send>() {}
    goes::<VideoWriter>();
    goes::<VideoReader>();
}

#[test]
fn hardware_that_is_not_there_is_reported() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("film.mp4");
    let settings = VideoSettings { encoder: EncoderPreference::Hardware, ..VideoSettings::new(256, 256, rate("24")) };
    let written = numbered_film(&path, &settings, 12);
    assert!(["h264_nvenc", "libx264"].contains(&written.encoder));
    assert_eq!(stream(&ffprobe(&path), "video")["nb_read_frames"], "12");
}

#[test]
fn what_cannot_be_written_leaves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("film.mp4");
    let settings = VideoSettings::new(64, 64, rate("24"));
    let metadata = FilmMetadata::default();
    let refused = VideoWriter::create(&path, &VideoSettings { width: 63, ..settings.clone() }, &metadata).unwrap_err();
    assert!(matches!(refused, MediaError::Setting { field: "width", .. }), "{refused}");
    let mut writer = VideoWriter::create(&path, &settings, &metadata).unwrap();
    writer.push(&numbered(64, 64, 0)).unwrap();
    assert!(matches!(writer.push(&numbered(64, 32, 0)), Err(MediaError::FrameSize { height: 32, .. })));
    assert!(!path.exists());
    drop(writer);
    assert!(names_in(directory.path()).is_empty());
    assert!(VideoWriter::create(&path, &settings, &metadata).unwrap().finish().is_err(), "no frames");
    let stopped = encode(&path, &settings, &metadata, repeated(&numbered(64, 64, 0), 9), &|| true).unwrap_err();
    assert!(matches!(stopped, MediaError::Interrupted));
    let missing = VideoWriter::create(&directory.path().join("no/film.mp4"), &settings, &metadata).unwrap_err();
    assert_eq!(missing.to_string(), "'film.mp4' could not be written: No such file or directory (os error 2)");
    assert!(names_in(directory.path()).is_empty());
}

#[test]
fn what_is_no_film_is_refused_by_name() {
    let directory = tempfile::tempdir().unwrap();
    let playlist = format!("#EXTM3U\n#EXTINF:1,\n{}\n", directory.path().join("film.mp4").display());
    numbered_film(&directory.path().join("film.mp4"), &VideoSettings::new(32, 32, rate("24")), 5);
    for (name, bytes) in [("empty.mp4", Vec::new()), ("text.mp4", b"hello".repeat(99)), ("list.m3u8", playlist.into_bytes())] {
        let path = directory.path().join(name);
        fs::write(&path, bytes).unwrap();
        for error in [VideoReader::open(&path).unwrap_err(), probe(&path, &never).unwrap_err()] {
            assert!(matches!(&error, MediaError::NotVideo { file, .. } if file == name), "{error}");
        }
    }
    // A film that is cut short either ends early or fails; it never gives frames that were not there.
    let whole = fs::read(directory.path().join("film.mp4")).unwrap();
    let cut = directory.path().join("cut.mp4");
    fs::write(&cut, &whole[..whole.len() - whole.len() / 4]).unwrap();
    let frames = VideoReader::open(&cut).map_or(0, |reader| reader.take_while(Result::is_ok).count());
    assert!(frames < 5, "{frames}");
}
