//! Films of several scenes.

use std::path::PathBuf;

use framewright::domain::{FrameRate, VideoCodec};
use framewright::media::video::{
    Film, FilmMetadata, Fit, Frame, MediaError, SceneClip, Transition, VideoSettings, assemble, blend, dim, encode, resize,
};

use crate::support::{ffprobe, frames_of, never, number, plain_clip, stream, tone};

const SIZE: (u32, u32) = (32, 16);

fn lossless() -> VideoSettings {
    VideoSettings::new(SIZE.0, SIZE.1, FrameRate::FILM).with_codec(VideoCodec::Ffv1)
}

fn scene(path: PathBuf, frames: u64, transition: Transition) -> SceneClip {
    SceneClip { path, frames, transition }
}

fn film<'a>(scenes: &'a [SceneClip], settings: &'a VideoSettings, metadata: &'a FilmMetadata) -> Film<'a> {
    Film { scenes, settings, audio: None, metadata }
}

#[test]
fn transitions_are_exact_and_keep_the_length() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let (red, green, blue) = ([240, 0, 0], [0, 200, 0], [0, 0, 220]);
    let scenes = [
        scene(plain_clip(&at("a.mkv"), SIZE, red, 10 + 4), 10, Transition::Crossfade { frames: 4 }),
        // One more than it needs: what is left over is not shown.
        scene(plain_clip(&at("b.mkv"), SIZE, green, 9), 8, Transition::Fade { frames: 6 }),
        scene(plain_clip(&at("c.mkv"), SIZE, blue, 7), 7, Transition::Cut),
        scene(plain_clip(&at("d.mkv"), SIZE, red, 2), 2, Transition::Cut),
    ];
    let (path, settings, metadata) = (at("film.mkv"), lossless(), FilmMetadata::default());
    let mut told = Vec::new();
    let mut progress = |done, all| told.push((done, all));
    let written = assemble(&path, &film(&scenes, &settings, &metadata), &mut progress, &never).unwrap();
    assert_eq!(written.frames, 27);
    assert_eq!(told, (1..=27).map(|done| (done, 27)).collect::<Vec<_>>());

    let plain = |colour| Frame::filled(SIZE.0, SIZE.1, colour).unwrap();
    let (red, green, blue) = (plain(red), plain(green), plain(blue));
    let mut expected = vec![red.clone(); 10];
    expected.extend((1..=4).map(|step| blend(&red, &green, step, 5).unwrap()));
    expected.push(green.clone());
    expected.extend([2, 1, 0].map(|level| dim(&green, level, 3).unwrap()));
    expected.extend([0, 1, 2].map(|level| dim(&blue, level, 3).unwrap()));
    expected.extend(vec![blue; 4]);
    expected.extend(vec![red; 2]);
    let frames = frames_of(&path);
    assert_eq!(frames.len(), 27);
    for (number, (frame, expected)) in frames.iter().zip(&expected).enumerate() {
        assert_eq!(frame.pixel(7, 7), expected.pixel(7, 7), "frame {number}");
    }
    assert!(frames == expected);
}

#[test]
fn a_film_has_sound_a_manifest_and_a_clip_may_meet_itself() {
    let directory = tempfile::tempdir().unwrap();
    let clip = plain_clip(&directory.path().join("a.mkv"), SIZE, [90, 90, 90], 30);
    let scenes = [
        scene(clip.clone(), 24, Transition::Crossfade { frames: 6 }),
        scene(clip.clone(), 24, Transition::Crossfade { frames: 6 }),
        scene(clip, 30, Transition::Cut),
    ];
    let settings = VideoSettings::new(SIZE.0, SIZE.1, FrameRate::FILM);
    let metadata = FilmMetadata { title: None, comment: Some("{\"scenes\":3}".to_owned()) };
    let audio = tone(&directory.path().join("tone.mp3"), 10.0, &[]);
    let path = directory.path().join("film.mp4");
    let film = Film { audio: Some(&audio), ..film(&scenes, &settings, &metadata) };
    let written = assemble(&path, &film, &mut |_, _| {}, &never).unwrap();
    assert_eq!((written.frames, written.encoder, written.audio_encoder), (78, "libx264", Some("aac")));
    let probed = ffprobe(&path);
    assert_eq!(stream(&probed, "video")["nb_read_frames"], "78");
    assert!((number(&probed["format"]["duration"]) - 3.25).abs() < 1e-6);
    assert_eq!(probed["format"]["tags"]["comment"], "{\"scenes\":3}");
}

#[test]
fn what_does_not_fit_is_said() {
    let directory = tempfile::tempdir().unwrap();
    let clip = plain_clip(&directory.path().join("a.mkv"), SIZE, [9; 3], 10);
    let wide = plain_clip(&directory.path().join("wide.mkv"), (64, 16), [9; 3], 10);
    let (settings, metadata) = (lossless(), FilmMetadata::default());
    let path = directory.path().join("film.mkv");
    let failing = |scenes: &[SceneClip]| {
        let error = assemble(&path, &film(scenes, &settings, &metadata), &mut |_, _| {}, &never).unwrap_err();
        assert!(!path.exists() && !directory.path().join("film.mkv.partial").exists());
        error
    };
    let cut = |frames| scene(clip.clone(), frames, Transition::Cut);
    let crossfade = |frames, of| scene(clip.clone(), frames, Transition::Crossfade { frames: of });
    assert!(failing(&[]).to_string().contains("at least one"));
    assert!(failing(&[cut(0)]).to_string().contains("scene 1 has no frames"));
    assert!(failing(&[crossfade(4, 2)]).to_string().contains("last scene"));
    assert_eq!(
        failing(&[crossfade(4, 5), cut(4)]).to_string(),
        "transition: between scenes 1 and 2 it takes 0 and 5 frames, and they have 4 and 4"
    );
    assert!(failing(&[scene(clip.clone(), 3, Transition::Fade { frames: 8 }), cut(4)]).to_string().contains("takes 4 and 4"));
    let short = failing(&[crossfade(8, 3), cut(4)]);
    assert_eq!(short.to_string(), "'a.mkv' has 10 frames; 11 are needed");
    assert!(matches!(failing(&[cut(4), scene(wide, 4, Transition::Cut)]), MediaError::FrameSize { width: 64, .. }));
    assert!(matches!(failing(&[scene("no.mkv".into(), 4, Transition::Cut)]), MediaError::NotVideo { .. }));
    let stopped = assemble(&path, &film(&[cut(9)], &settings, &metadata), &mut |_, _| {}, &|| true).unwrap_err();
    assert!(matches!(stopped, MediaError::Interrupted));
}

/// Four coloured quarters with soft edges, and a square upon them, that move on round the edges.
fn moving_quarters(number: u32) -> Frame {
    const SIDE: u32 = 64;
    let colours = [[147, 9, 18], [100, 123, 84], [9, 18, 132], [123, 84, 83]];
    let quarters = Frame::from_fn(32, 32, |x, y| colours[(y / 16 * 2 + x / 16) as usize]).unwrap();
    let soft = resize(&quarters, SIDE, SIDE, Fit::Stretch).unwrap();
    Frame::from_fn(SIDE, SIDE, |x, y| {
        let (x, y) = ((x + 2 * number) % SIDE, (y + 3 * number) % SIDE);
        if number > 0 && x < 10 && y < 10 { [147, 100, 9] } else { soft.pixel(x, y) }
    })
    .unwrap()
}

#[test]
fn the_same_frames_give_the_same_film() {
    let directory = tempfile::tempdir().unwrap();
    let frames: Vec<Frame> = (0..10).map(moving_quarters).collect();
    let settings = VideoSettings { quality: 92, ..VideoSettings::new(64, 64, FrameRate::FILM) };
    let made = |number: usize| {
        let path = directory.path().join(format!("{number}.mp4"));
        encode(&path, &settings, &FilmMetadata::default(), frames.iter().cloned().map(Ok), &never).unwrap();
        frames_of(&path)
    };
    let first = made(0);
    for number in 1..30 {
        assert!(made(number) == first, "film {number} is another one");
    }
}
