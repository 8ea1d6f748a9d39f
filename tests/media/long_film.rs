//! Memory while a film of many scenes is put together, in a process of its own.
//!
//! The short form runs with the other tests. The long form is ten minutes of 1280 × 768, 120 scenes with a crossfade between each two:
//! `FRAMEWRIGHT_LONG=1 cargo test --release --test media a_film_of_many_scenes -- --nocapture`.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use framewright::domain::{FrameRate, VideoCodec};
use framewright::media::video::{
    Film, FilmMetadata, MAX_ENCODER_THREADS, SceneClip, Transition, VideoSettings, assemble, encode, probe,
};

use crate::support::{never, numbered};

/// Names the folder of the clips to the process that puts them together.
const FOLDER: &str = "FRAMEWRIGHT_FILM_FOLDER";
/// Clips that are made; scenes take them in turn.
const CLIPS: usize = 4;

#[derive(Clone, Copy)]
struct Form {
    scenes: usize,
    width: u32,
    height: u32,
    scene_frames: u64,
    overlap: u32,
}

const SHORT: Form = Form { scenes: 12, width: 320, height: 192, scene_frames: 24, overlap: 6 };
const LONG: Form = Form { scenes: 120, width: 1280, height: 768, scene_frames: 120, overlap: 12 };

/// Most that the whole process may ever hold, bytes.
const LIMIT: u64 = 500 << 20;

#[expect(clippy::disallowed_methods, reason = "a test's own settings are no configuration of the server")]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn form() -> Form {
    if variable("FRAMEWRIGHT_LONG").is_some() { LONG } else { SHORT }
}

impl Form {
    fn settings(self) -> VideoSettings {
        // The most threads, and so the most memory, whatever this machine has.
        VideoSettings { threads: MAX_ENCODER_THREADS, ..VideoSettings::new(self.width, self.height, FrameRate::FILM) }
    }

    fn scenes_of(self, folder: &Path) -> Vec<SceneClip> {
        let scene = |number: usize| SceneClip {
            path: folder.join(format!("{}.mkv", number % CLIPS)),
            frames: self.scene_frames,
            transition: if number + 1 == self.scenes { Transition::Cut } else { Transition::Crossfade { frames: self.overlap } },
        };
        (0..self.scenes).map(scene).collect()
    }
}

/// The most that this process has held at any time, bytes.
fn peak_resident_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10
}

#[test]
fn a_film_of_many_scenes_takes_no_more_memory_than_a_short_one() {
    let form = form();
    let directory = tempfile::tempdir().unwrap();
    let settings = form.settings().with_codec(VideoCodec::Ffv1);
    for clip in 0..CLIPS as u64 {
        let frames = form.scene_frames + u64::from(form.overlap);
        let source = (0..frames).map(|number| Ok(numbered(form.width, form.height, number + clip * 31)));
        encode(&directory.path().join(format!("{clip}.mkv")), &settings, &FilmMetadata::default(), source, &never).unwrap();
    }
    let started = Instant::now();
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "long_film::puts_a_film_together_in_this_process", "--ignored", "--nocapture"])
        .env(FOLDER, directory.path())
        .output()
        .unwrap();
    let output = String::from_utf8_lossy(&child.stdout);
    assert!(child.status.success(), "{output}{}", String::from_utf8_lossy(&child.stderr));
    let peak: u64 = output.lines().find_map(|line| line.split_once("peak_resident_bytes=")).unwrap().1.trim().parse().unwrap();
    let facts = probe(&directory.path().join("film.mp4"), &never).unwrap();
    let frames = form.scenes as u64 * form.scene_frames;
    println!(
        "{frames} frames of {}x{} from {} scenes in {:.0} s; at most {} MB resident",
        form.width,
        form.height,
        form.scenes,
        started.elapsed().as_secs_f64(),
        peak / 1_000_000
    );
    assert_eq!(facts.frames, frames);
    assert!((facts.duration - FrameRate::FILM.seconds_of(frames)).abs() < 1e-6);
    assert!(peak < LIMIT, "{peak} bytes");
}

#[test]
#[ignore = "run by the test above, in a process of its own, so that its memory can be measured"]
fn puts_a_film_together_in_this_process() {
    let Some(folder) = variable(FOLDER) else { return };
    let (folder, form) = (Path::new(&folder), form());
    let (scenes, settings, metadata) = (form.scenes_of(folder), form.settings(), FilmMetadata::default());
    let film = Film { scenes: &scenes, settings: &settings, audio: None, metadata: &metadata };
    assemble(&folder.join("film.mp4"), &film, &mut |_, _| {}, &never).unwrap();
    println!("peak_resident_bytes={}", peak_resident_bytes());
}
