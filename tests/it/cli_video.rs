//! `generate video` as a user runs it: exit statuses, streams, and the files that are left.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use framewright::media::decode::decode_image;
use framewright::media::video::{VideoFacts, VideoReader, probe};
use rstest::rstest;

/// The demo models in the source tree.
const VIDEO_MODEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/models/demo-svd");
const IMAGE_MODEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/models/demo-sdxl");

/// A directory with everything that the refusals below name.
fn place() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| std::fs::write(directory.path().join(name), bytes).unwrap();
    write("liar.png", b"GIF89a");
    write("liar.wav", b"RIFF, it says");
    write("none.yaml", b"scenes: []\n");
    let scene = "  - { prompt: a, duration: 1 }\n";
    write("many.yaml", format!("scenes:\n{}", scene.repeat(10_000)).as_bytes());
    write("odd.yaml", format!("video_config: {{ width: 33, height: 64 }}\nscenes:\n{scene}").as_bytes());
    write("slow.yaml", format!("video_config: {{ fps: 0 }}\nscenes:\n{scene}").as_bytes());
    write("short.yaml", b"scenes:\n  - { prompt: a, duration: -1 }\n");
    write("wordless.yaml", format!("scenes:\n{scene}  - {{ duration: 1 }}\n").as_bytes());
    write("wipe.yaml", format!("scenes:\n  - {{ prompt: a, duration: 1, transition: wipe }}\n{scene}").as_bytes());
    write("unknown.yaml", b"scenes:\n  - { prompt: a, lenght: 1 }\n");
    write("mute.yaml", format!("video_config: {{ audio: absent.wav }}\nscenes:\n{scene}").as_bytes());
    image::RgbImage::from_fn(64, 64, |x, y| image::Rgb([(x * 4) as u8, (y * 4) as u8, 128]))
        .save(directory.path().join("first.png"))
        .unwrap();
    directory
}

/// `generate video` in a directory, with an empty environment; `model` and the rest are its arguments.
fn video(directory: &Path, model: &str, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_framewright"))
        .args(["generate", "video", "--model", model])
        .args(arguments)
        .current_dir(directory)
        .env_clear()
        .env("HOME", directory.join("home"))
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[rstest]
#[case::nothing_to_film(&[], "--prompt")]
#[case::empty_prompt(&["--prompt", " "], "--prompt: is missing")]
#[case::extension(&["--prompt", "x", "--output", "x.avi"], "--output: 'x.avi' must end in .mp4")]
#[case::no_directory(&["--prompt", "x", "--output", "absent/x.mp4"], "--output: absent is not a directory")]
#[case::no_frames(&["--image", "first.png", "--num-frames", "0"], "--num-frames: is 0")]
#[case::many_frames(&["--image", "first.png", "--num-frames", "10000"], "--num-frames: is 10000")]
#[case::no_rate(&["--image", "first.png", "--fps", "0"], "--fps: is 0")]
#[case::high_rate(&["--image", "first.png", "--fps", "1000"], "--fps: is 1000")]
#[case::no_number(&["--image", "first.png", "--fps", "nan"], "--fps: is NaN")]
#[case::fast_gif(&["--image", "first.png", "--fps", "60", "--output", "x.gif"], "--fps: is 60; a gif has at most 50")]
#[case::no_time(&["--prompt", "x", "--duration", "0"], "--duration: is 0")]
#[case::negative_time(&["--prompt", "x", "--duration", "-3"], "--duration: is -3")]
#[case::endless(&["--prompt", "x", "--duration", "1e300"], "--duration: is 1")]
#[case::odd_width(&["--prompt", "x", "--width", "33", "--height", "64"], "--width: is 33")]
#[case::huge(&["--prompt", "x", "--height", "100000"], "--height: is 100000")]
#[case::thin(&["--prompt", "x", "--width", "8000", "--height", "16"], "--width and --height: 8000x16 is too thin")]
#[case::thin_resolution(&["--prompt", "x", "--resolution", "1000:1"], "--resolution: ")]
#[case::no_resolution(&["--prompt", "x", "--resolution", "big"], "--resolution: 'big' is unknown")]
#[case::two_sizes(&["--prompt", "x", "--resolution", "720P", "--width", "64"], "--resolution")]
#[case::no_steps(&["--prompt", "x", "--steps", "0"], "--steps: is 0")]
#[case::negative_seed(&["--prompt", "x", "--seed", "-1"], "--seed: is -1")]
#[case::motion(&["--prompt", "x", "--motion-bucket-id", "9999"], "--motion-bucket-id: is 9999")]
#[case::noise(&["--prompt", "x", "--noise-aug-strength", "-1"], "--noise-aug-strength: is -1")]
#[case::guidance(&["--prompt", "x", "--min-guidance-scale", "-1"], "--min-guidance-scale: is -1")]
#[case::chunk(&["--prompt", "x", "--decode-chunk-size", "0"], "--decode-chunk-size: is 0")]
#[case::camera(&["--prompt", "x", "--camera", "Fly"], "--camera: 'Fly' is no camera command")]
#[case::camera_in_prompt(&["--prompt", "x [Zoom in, Fly]"], "--prompt: 'Fly' is no camera command")]
#[case::codec(&["--prompt", "x", "--codec", "mpeg2"], "--codec: 'mpeg2' is unknown")]
#[case::other_container(&["--prompt", "x", "--codec", "av1"], "--codec: av1 is not for output.mp4")]
#[case::no_picture(&["--image", "absent.png"], "--image: absent.png")]
#[case::no_picture_inside(&["--image", "liar.png"], "--image: liar.png: not a PNG")]
#[case::no_sound(&["--prompt", "x", "--audio", "absent.wav"], "--audio: absent.wav")]
#[case::no_sound_inside(&["--prompt", "x", "--audio", "liar.wav"], "--audio: 'liar.wav' is no audio")]
#[case::no_scenes(&["--scenes", "none.yaml"], "--scenes: scenes: is empty")]
#[case::many_scenes(&["--scenes", "many.yaml"], "--scenes: scenes: has 10000")]
#[case::no_file_of_scenes(&["--scenes", "absent.yaml"], "--scenes: absent.yaml")]
#[case::two_ways(&["--scenes", "none.yaml", "--prompt", "x"], "--scenes")]
#[case::odd_scenes(&["--scenes", "odd.yaml"], "--scenes: video_config.width: is 33")]
#[case::rate_of_scenes(&["--scenes", "slow.yaml"], "--scenes: video_config.fps: is 0")]
#[case::rate_by_flag(&["--scenes", "slow.yaml", "--fps", "999"], "--fps: is 999")]
#[case::short_scene(&["--scenes", "short.yaml"], "--scenes: scenes[0].duration: is -1")]
#[case::wordless_scene(&["--scenes", "wordless.yaml"], "--scenes: scenes[1].prompt: is missing")]
#[case::unknown_transition(&["--scenes", "wipe.yaml"], "--scenes: scenes[0].transition: 'wipe' is unknown")]
#[case::unknown_key(&["--scenes", "unknown.yaml"], "--scenes: unknown.yaml:2:")]
#[case::mute_scenes(&["--scenes", "mute.yaml"], "--scenes: video_config.audio: ")]
#[case::image_model(&["--prompt", "x", "--image-model", VIDEO_MODEL], "--image-model: ")]
#[case::unused_image_model(&["--image", "first.png", "--image-model", "absent"], "--image-model: no model 'absent'")]
#[case::frames_of_a_server(&["--prompt", "x", "--frames-dir", "f", "--server", "http://127.0.0.1:1"], "--frames-dir")]
#[case::frames_in_a_file(&["--prompt", "x", "--frames-dir", "first.png/f"], "--frames-dir: first.png/f")]
#[case::device(&["--prompt", "x", "--device", "abacus"], "--device: 'abacus'")]
fn bad_input_is_refused_with_a_line_that_names_the_flag(#[case] arguments: &[&str], #[case] words: &str) {
    let directory = place();
    let output = video(directory.path(), VIDEO_MODEL, arguments);
    let error = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{error}");
    assert_eq!(error.lines().count(), 1, "{error}");
    assert!(error.starts_with("error: ") && error.contains(words), "{error}");
    assert!(output.stdout.is_empty());
    for name in ["output.mp4", "x.gif", "data"] {
        assert!(!directory.path().join(name).exists(), "{name}");
    }
}

#[test]
fn networks_that_are_not_what_their_key_says_are_refused() {
    let directory = place();
    std::fs::write(directory.path().join("c.yaml"), "video: { upscaling_model: liar.png }\n").unwrap();
    std::fs::write(directory.path().join("d.yaml"), "video: { interpolation_model: absent.pkl }\n").unwrap();
    for (file, words) in
        [("c.yaml", "video.upscaling_model: liar.png: "), ("d.yaml", "video.interpolation_model: cannot read absent.pkl")]
    {
        let output = video(directory.path(), VIDEO_MODEL, &["--prompt", "x", "--config", file]);
        let error = text(&output.stderr);
        assert_eq!((output.status.code(), error.lines().count()), (Some(2), 1), "{error}");
        assert!(error.starts_with(&format!("error: {words}")), "{error}");
    }
}

#[test]
fn models_of_another_kind_are_refused() {
    let directory = place();
    for (model, words) in
        [(IMAGE_MODEL, "makes pictures, not films"), ("absent", "--model: no model 'absent'"), ("./absent", "--model: ")]
    {
        let output = video(directory.path(), model, &["--image", "first.png"]);
        let error = text(&output.stderr);
        assert!(output.status.code() == Some(2) && error.contains(words), "{error}");
    }
}

#[cfg(unix)]
#[test]
fn a_film_that_is_stopped_leaves_nothing_behind() {
    use rustix::process::{Pid, Signal, kill_process};

    let directory = place();
    let temporary = directory.path().join("temporary");
    std::fs::create_dir(&temporary).unwrap();
    for signal in [Signal::INT, Signal::TERM] {
        let child = Command::new(env!("CARGO_BIN_EXE_framewright"))
            .args(["generate", "video", "--model", VIDEO_MODEL, "--image", "first.png", "--duration", "3000", "--device", "fake"])
            .current_dir(directory.path())
            .env_clear()
            .env("HOME", directory.path().join("home"))
            .env("TMPDIR", &temporary)
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // A clip of the film is there: it has begun.
        let begun = || walk(&temporary).any(|path| path.extension().is_some_and(|extension| extension == "mkv"));
        let started = std::time::Instant::now();
        while !begun() {
            assert!(started.elapsed().as_secs() < 60, "the film did not begin");
            std::thread::yield_now();
        }
        kill_process(Pid::from_raw(child.id() as i32).unwrap(), signal).unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
        assert_eq!(std::fs::read_dir(&temporary).unwrap().count(), 0);
    }
    assert!(!directory.path().join("output.mp4").exists());
}

/// Every file below a directory; what goes away meanwhile is passed over.
#[cfg(unix)]
fn walk(directory: &Path) -> Box<dyn Iterator<Item = std::path::PathBuf>> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    Box::new(entries.flat_map(|entry| {
        let path = entry.path();
        if path.is_dir() { walk(&path) } else { Box::new(std::iter::once(path)) }
    }))
}

fn facts(path: &Path) -> VideoFacts {
    probe(path, &|| false).unwrap()
}

#[test]
fn a_picture_becomes_exactly_the_models_frames() {
    let directory = place();
    let at = |name: &str| directory.path().join(name);
    let arguments =
        ["--image", "first.png", "--num-frames", "2", "--fps", "12", "--steps", "1", "--width", "64", "--height", "64"];
    let arguments = [&arguments[..], &["--seed", "7", "--frames-dir", "frames", "--output", "film.mp4"]].concat();
    let output = video(directory.path(), VIDEO_MODEL, &arguments);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(text(&output.stdout).lines().next(), Some("film.mp4 (2 frames, seed 7)"));

    let film = facts(&at("film.mp4"));
    assert_eq!((film.codec.as_str(), film.width, film.height, film.frames), ("h264", 64, 64, 2));
    assert_eq!(film.frame_rate.to_string(), "12");
    assert!(!at("frames/0002.png").exists());
    let mut reader = VideoReader::open(&at("film.mp4")).unwrap();
    for name in ["frames/0000.png", "frames/0001.png"] {
        let kept = decode_image(&std::fs::read(at(name)).unwrap()).unwrap();
        let shown = reader.read().unwrap().unwrap();
        assert_eq!((kept.width, kept.height), (64, 64));
        let differences = kept.rgb.iter().zip(shown.rgb()).map(|(a, b)| f64::from(a.abs_diff(*b)));
        let mean = differences.sum::<f64>() / kept.rgb.len() as f64;
        assert!(mean < 8.0, "{name} is not the film's frame: {mean} levels apart");
    }
    let left: Vec<_> = std::fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| name != "data" && !name.to_string_lossy().contains(".tmp")), "{left:?}");
}

#[test]
fn scenes_become_a_film_of_their_length_in_every_container() {
    let directory = place();
    let scenes = "video_config: { fps: 12, width: 96, height: 64 }\nscenes:\n  - { id: one, prompt: a red circle, duration: 1, \
                  transition: { type: crossfade, duration: 0.25 } }\n  - { image: first.png, duration: 0.5, camera: 'Zoom in' }\n";
    std::fs::write(directory.path().join("scenes.yaml"), scenes).unwrap();
    for (name, codec) in [("a.mp4", "h264"), ("a.webm", "vp9"), ("a.gif", "gif")] {
        let arguments = ["--image-model", IMAGE_MODEL, "--scenes", "scenes.yaml", "--device", "fake", "--output", name];
        let output = video(directory.path(), VIDEO_MODEL, &arguments);
        assert!(output.status.success(), "{name}: {}", text(&output.stderr));
        assert!(text(&output.stdout).contains("virtual camera"), "{}", text(&output.stdout));
        let film = facts(&directory.path().join(name));
        assert_eq!((film.codec.as_str(), film.width, film.height, film.frames), (codec, 96, 64, 18), "{name}");
    }
    let arguments = ["--image-model", IMAGE_MODEL, "--scenes", "scenes.yaml", "--device", "fake", "--output", "a.webp"];
    let output = video(directory.path(), VIDEO_MODEL, &arguments);
    assert!(output.status.success(), "{}", text(&output.stderr));
    // FFmpeg writes animated WebP and does not read it: each frame is a chunk of its own.
    let webp = std::fs::read(directory.path().join("a.webp")).unwrap();
    assert_eq!(webp.windows(4).filter(|window| window == b"ANMF").count(), 18);
    // Of what halves no colours, sides may be odd.
    let odd = ["--prompt", "x", "--image-model", IMAGE_MODEL, "--device", "fake", "--duration", "0.5", "--output", "odd.gif"];
    let output = video(directory.path(), VIDEO_MODEL, &[odd.as_slice(), &["--width", "97", "--height", "65"]].concat());
    assert!(output.status.success(), "{}", text(&output.stderr));
    let film = facts(&directory.path().join("odd.gif"));
    assert_eq!((film.codec.as_str(), film.width, film.height), ("gif", 97, 65));
}
