//! Sound under a film.

use std::fs;
use std::path::Path;
use std::process::Command;

use framewright::domain::{FrameRate, VideoCodec};
use framewright::media::video::{FilmMetadata, MediaError, VideoSettings, VideoWriter, probe, probe_audio};

use crate::support::{ffprobe, never, number, numbered, stream, tone};

#[test]
fn sound_is_exactly_as_long_as_the_film() {
    let directory = tempfile::tempdir().unwrap();
    let sounds = [
        tone(&directory.path().join("short.wav"), 0.4, &["-ac", "1"]),
        tone(&directory.path().join("long.mp3"), 9.0, &["-ac", "2"]),
        tone(&directory.path().join("other.flac"), 2.0, &["-ar", "22050"]),
        tone(&directory.path().join("film.m4a"), 3.0, &["-c:a", "aac"]),
        tone(&directory.path().join("film.ogg"), 3.0, &["-c:a", "libopus"]),
    ];
    for (codec, audio_codec) in [(VideoCodec::H264, "aac"), (VideoCodec::Vp9, "opus"), (VideoCodec::Ffv1, "aac")] {
        for sound in &sounds {
            let path = directory.path().join(format!("result.{}", codec.extension()));
            let settings = VideoSettings::new(64, 64, FrameRate::FILM).with_codec(codec);
            let mut writer = VideoWriter::create_with_audio(&path, &settings, &FilmMetadata::default(), Some(sound)).unwrap();
            for frame in 0..50 {
                writer.push(&numbered(64, 64, frame)).unwrap();
            }
            let written = writer.finish().unwrap();
            assert!(written.audio_encoder.unwrap().contains(audio_codec));
            let probed = ffprobe(&path);
            let audio = stream(&probed, "audio");
            assert_eq!(
                (&audio["codec_name"], &audio["sample_rate"], &audio["channels"]),
                (&audio_codec.into(), &"48000".into(), &2.into())
            );
            assert_eq!(stream(&probed, "video")["nb_read_frames"], "50");
            assert!(number(&stream(&probed, "video")["start_time"]).abs() < 1e-9, "{codec:?}");
            let duration = number(&probed["format"]["duration"]);
            let tolerance = if codec == VideoCodec::H264 { 1e-6 } else { 0.0011 };
            assert!((duration - 50.0 / 24.0).abs() < tolerance, "{codec:?} with {}: {duration}", sound.display());
            assert!(probe(&path, &never).unwrap().has_audio);
            let loudness = loudness_of(&path);
            assert!(loudness[5..35].iter().all(|level| *level > 0.05), "{codec:?} with {}: {loudness:?}", sound.display());
            let after = if sound.ends_with("short.wav") { 0.0..0.001 } else { 0.05..1.0 };
            assert!(
                loudness[50..200].iter().all(|level| after.contains(level)),
                "{codec:?} with {}: {loudness:?}",
                sound.display()
            );
            let heard = probe_audio(&path, &never).unwrap();
            assert!((heard.seconds - 50.0 / 24.0).abs() < 0.03, "{}", heard.seconds);
        }
    }
}

/// The root mean square of each hundredth of a second, as FFmpeg's own program hears it.
fn loudness_of(path: &Path) -> Vec<f64> {
    let output = Command::new("ffmpeg")
        .args(["-v", "error", "-i"])
        .arg(path)
        .args(["-f", "s16le", "-ac", "1", "-ar", "48000", "-"])
        .output()
        .unwrap();
    let samples: Vec<f64> =
        output.stdout.chunks_exact(2).map(|bytes| f64::from(i16::from_le_bytes([bytes[0], bytes[1]])) / 32_768.0).collect();
    let level = |part: &[f64]| (part.iter().map(|sample| sample * sample).sum::<f64>() / part.len() as f64).sqrt();
    samples.chunks(480).map(level).collect()
}

#[test]
fn sound_is_told_from_what_is_none() {
    let directory = tempfile::tempdir().unwrap();
    let sound = tone(&directory.path().join("tone.mp3"), 1.5, &["-ar", "44100", "-ac", "2"]);
    let facts = probe_audio(&sound, &never).unwrap();
    assert_eq!((facts.codec.as_str(), facts.sample_rate, facts.channels), ("mp3", 44_100, 2));
    assert!((facts.seconds - 1.5).abs() < 0.06, "{}", facts.seconds);
    assert!(matches!(probe_audio(&sound, &|| true), Err(MediaError::Interrupted)));

    let film = directory.path().join("silent.mp4");
    let mut writer = VideoWriter::create(&film, &VideoSettings::new(32, 32, FrameRate::FILM), &FilmMetadata::default()).unwrap();
    writer.push(&numbered(32, 32, 0)).unwrap();
    writer.finish().unwrap();
    let list = format!("ffconcat version 1.0\nfile '{}'\n", sound.display());
    for (name, bytes) in [
        ("empty.wav", Vec::new()),
        ("text.mp3", b"no sound at all ".repeat(64)),
        ("list.ffconcat", list.into_bytes()),
        ("header.wav", fs::read(tone(&directory.path().join("w.wav"), 0.1, &[])).unwrap()[..44].to_vec()),
        ("silent.m4a", fs::read(&film).unwrap()),
    ] {
        let path = directory.path().join(name);
        fs::write(&path, bytes).unwrap();
        let error = probe_audio(&path, &never).unwrap_err();
        assert!(matches!(&error, MediaError::NotAudio { file, .. } if file == name), "{name}: {error}");
        let settings = VideoSettings::new(32, 32, FrameRate::FILM);
        let result =
            VideoWriter::create_with_audio(&directory.path().join("r.mp4"), &settings, &FilmMetadata::default(), Some(&path));
        assert!(matches!(result, Err(MediaError::NotAudio { .. })), "{name}");
        assert!(!directory.path().join("r.mp4.partial").exists());
    }
    let gif = VideoSettings::new(32, 32, FrameRate::FILM).with_codec(VideoCodec::Gif);
    let refused = VideoWriter::create_with_audio(&directory.path().join("r.gif"), &gif, &FilmMetadata::default(), Some(&sound))
        .unwrap_err();
    assert!(matches!(refused, MediaError::Setting { field: "audio", .. }), "{refused}");
}
