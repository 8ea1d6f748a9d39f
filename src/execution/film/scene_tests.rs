//! Scenes by networks of random weights.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::Path;

use framewright_engine::ops::{Interrupt, Ops, Precision};
use framewright_engine::vision::RgbPicture;

use super::super::{FilmTask, FilmTools, HostProgress, NetworkFile, make as make_task, store_clip};
use super::*;
use crate::domain::film::tests::film;
use crate::domain::film::{Scene, Upscaling};
use crate::domain::plan::plan;
use crate::domain::{ErrorCode, Job, JobId, JobRequest, JobState, Progress, UnixMs};
use crate::execution::FinishedPicture;
use crate::media::video::{VideoReader, probe};

/// A scene of 24 frames at 24 a second, 48 × 32, of a clip of 14 at 7 of half that size.
fn small() -> FilmRequest {
    let mut film = film(&[24]);
    (film.width, film.height, film.clips.width, film.clips.height) = (48, 32, 24, 16);
    (film.interpolation, film.upscaling) = (Interpolation::Rife, Upscaling::RealEsrgan);
    film
}

fn networks() -> FilmTools {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("crates/engine/tests/fixtures");
    let file = |name: &str| Some(NetworkFile::look_at(&fixtures.join(name)).unwrap());
    FilmTools {
        interpolation_model: file("interpolate/saved/flownet.pkl"),
        upscaling_model: file("upscale/saved/compact.pth"),
        ..FilmTools::default()
    }
}

fn job(request: JobRequest) -> Job {
    Job {
        id: JobId::generate(),
        user: "ann".parse().unwrap(),
        project: None,
        retry_of: None,
        state: JobState::Running,
        request,
        priority: 0,
        progress: Progress::default(),
        created: UnixMs(0),
        started: None,
        finished: None,
        updated: UnixMs(0),
        result: None,
        error: None,
    }
}

/// Source frame i: stripes that move.
fn source(film: &FilmRequest, number: usize) -> RgbPicture {
    let (width, height) = (film.clips.width as usize, film.clips.height as usize);
    let bytes = (0..width * height).flat_map(|at| [(((at % width + number) * 20) % 256) as u8, (at / width * 10) as u8, 90]);
    RgbPicture { width, height, bytes: bytes.collect() }
}

struct Made {
    outcome: Result<(JobResult, Spent), FilmError>,
    /// Frames of the file, where there is one.
    frames: Vec<Frame>,
    /// Files that are not the clip's.
    files: usize,
}

/// Stores a clip, and makes the scene of it; stops when so many frames are told.
fn made(film: FilmRequest, tools: &FilmTools, most: u32) -> Made {
    let directory = tempfile::tempdir().unwrap();
    let storage = ArtifactStorage::local(directory.path()).unwrap();
    let request = JobRequest::from(film);
    let film = request.film().unwrap();
    let (plan, job) = (plan(&request), job(request.clone()));
    let pictures = (0..14).map(|number| FinishedPicture::Pixels(source(film, number))).collect();
    let clip = store_clip(&storage, &Attempt::new(&job, 1, 1), &film.clip(0, 0), pictures).unwrap();
    let parts = storage.local_path(&clip.key).unwrap().parent().unwrap().to_owned();
    let count = || std::fs::read_dir(&parts).unwrap().count();
    let before = count();
    let finished = BTreeMap::from([(1, JobResult { artifacts: vec![clip], manifest: serde_json::Value::Null })]);
    let (interrupt, told) = (Interrupt::default(), Cell::new(0));
    let tell = |done: u32, _: u32| {
        told.set(done);
        if done == most {
            interrupt.cancel();
        }
    };
    let progress = HostProgress { interrupt: &interrupt, told: &tell };
    let task = FilmTask { film, plan: &plan, position: 2, finished: &finished };
    let made = make_task(&task, &Attempt::new(&job, 2, 1), &storage, tools, UnixMs(0), &progress);
    let frames = match &made {
        Ok((result, _)) => {
            let path = storage.local_path(&result.artifacts[0].key).unwrap();
            let facts = probe(&path, &|| false).unwrap();
            assert_eq!(
                (facts.width, facts.height, facts.frame_rate.to_string()),
                (film.width, film.height, film.frame_rate.to_string())
            );
            assert_eq!(told.get(), film.frames_made(0));
            VideoReader::open(&path).unwrap().map(|frame| frame.unwrap()).collect()
        }
        Err(_) => Vec::new(),
    };
    Made { outcome: made, frames, files: count() - before }
}

#[test]
fn networks_make_the_frames_that_were_asked_for_and_are_named() {
    let Made { outcome: made, frames, .. } = made(small(), &networks(), u32::MAX);
    let (result, _) = made.unwrap();
    assert_eq!(frames.len(), 24);
    let said = &result.manifest;
    assert_eq!((&said["interpolation"], &said["scaling"]), (&json!("rife"), &json!("real_esrgan")), "{said:#}");
    let (between, larger) = (&said["interpolation_network"], &said["scaling_network"]);
    assert_eq!((&between["network"], &between["file"]), (&json!("RIFE 4-4-4-4-4"), &json!("flownet.pkl")));
    assert_eq!(larger["network"], "SRVGGNetCompact 8×1, 4×");
    let device = Ops::cpu(Precision::F32, None).unwrap().description();
    assert!([between, larger].iter().all(|facts| facts["device"] == device), "{said:#}");
    let installed = networks().installed();
    let [rife, esrgan] = [installed.rife, installed.realesrgan].map(|network| json!(network.unwrap().sha256));
    assert_eq!((&between["sha256"], &larger["sha256"]), (&rife, &esrgan));
}

#[test]
fn frames_that_the_clip_has_stay_and_the_others_are_the_networks() {
    let film = FilmRequest { width: 24, height: 16, upscaling: Upscaling::Lanczos, ..small() };
    let by_rife = made(film.clone(), &networks(), u32::MAX);
    let by_filter = made(FilmRequest { interpolation: Interpolation::MotionCompensated, ..film.clone() }, &networks(), u32::MAX);
    assert_eq!(by_rife.frames.len(), by_filter.frames.len());
    let apart = |number: usize| {
        let pairs = by_rife.frames[number].rgb().iter().zip(by_filter.frames[number].rgb());
        pairs.map(|(left, right)| u64::from(left.abs_diff(*right))).sum::<u64>() / by_rife.frames[number].rgb().len() as u64
    };
    assert!(apart(0) <= 2, "{}", apart(0));
    let (result, _) = by_rife.outcome.unwrap();
    assert_eq!((&result.manifest["interpolation"], &result.manifest["scaling"]), (&json!("rife"), &json!("none")));
    assert!((1..24).any(|number| apart(number) > 2), "both made the same");

    // Whatever the weights are, a frame between two is made of their pixels: blue is the same everywhere, and the rest has their levels,
    // as far as the halved colours of so small a film keep them.
    let mean = |rgb: &[u8], channel: usize| {
        let levels = rgb.iter().skip(channel).step_by(3).map(|level| f64::from(*level));
        levels.sum::<f64>() / (rgb.len() / 3) as f64
    };
    for (number, frame) in by_rife.frames.iter().enumerate() {
        let before = number * 7 / 24;
        let neighbours = [source(&film, before).bytes, source(&film, before + 1).bytes];
        for channel in 0..3 {
            let levels = || neighbours.iter().flat_map(|rgb| rgb.iter().skip(channel).step_by(3));
            let (darkest, lightest) = (f64::from(*levels().min().unwrap()), f64::from(*levels().max().unwrap()));
            let found = mean(frame.rgb(), channel);
            let is_between = found >= darkest - 8.0 && found <= lightest + 8.0;
            assert!(is_between, "{number}, channel {channel}: {found} of {darkest} to {lightest}");
        }
        assert!((mean(frame.rgb(), 2) - 90.0).abs() <= 8.0, "{number}");
    }
}

#[test]
fn frames_are_enlarged_last_where_the_clip_has_more_of_them() {
    // At 5 frames a second of clips of 7, eight frames take eleven.
    let film = FilmRequest { frame_rate: FrameRate::new(5, 1).unwrap(), ..small() };
    let film = FilmRequest { scenes: vec![Scene { frames: 8, ..film.scenes[0].clone() }], ..film };
    assert!(!enlarges_source(&film, film.source_frames(0), film.frames_made(0)));
    let late = made(film, &networks(), u32::MAX);
    let said = late.outcome.unwrap().0.manifest;
    assert_eq!((late.frames.len(), &said["interpolation"], &said["scaling"]), (8, &json!("rife"), &json!("real_esrgan")));
    assert_eq!(said["scaling_network"]["network"], "SRVGGNetCompact 8×1, 4×");
    // Frames of the clip come out as they do when they are enlarged first: of both scenes the first one is.
    let early = made(small(), &networks(), u32::MAX);
    let pairs = late.frames[0].rgb().iter().zip(early.frames[0].rgb());
    let apart = pairs.map(|(left, right)| u64::from(left.abs_diff(*right))).sum::<u64>() / late.frames[0].rgb().len() as u64;
    assert!(apart <= 2, "{apart}");
}

#[test]
fn a_network_that_is_not_needed_is_not_read() {
    // Nothing has to become larger, and the frames are the clip's.
    let film = FilmRequest { width: 24, height: 16, interpolation: Interpolation::None, ..small() };
    let film = FilmRequest { scenes: vec![Scene { frames: 14, ..film.scenes[0].clone() }], ..film };
    let Made { outcome: made, frames, .. } = made(film, &FilmTools::default(), u32::MAX);
    let said = made.unwrap().0.manifest;
    assert_eq!((frames.len(), &said["interpolation"], &said["scaling"]), (14, &json!("none"), &json!("none")));
    assert_eq!(said["scaling_network"], serde_json::Value::Null);
}

#[test]
fn what_is_not_there_is_said_and_leaves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let text = directory.path().join("flownet.pkl");
    std::fs::write(&text, "no weights").unwrap();
    let broken = FilmTools { interpolation_model: Some(NetworkFile::look_at(&text).unwrap()), ..networks() };
    for (tools, words) in [
        (FilmTools::default(), "Real-ESRGAN is not configured on this server; set video.upscaling_model"),
        (
            FilmTools { interpolation_model: None, ..networks() },
            "RIFE is not configured on this server; set video.interpolation_model",
        ),
        (broken, "the weights of RIFE cannot be read"),
    ] {
        let Made { outcome: made, files, .. } = made(small(), &tools, u32::MAX);
        let error = made.unwrap_err();
        assert_eq!((error.code(), files), (ErrorCode::ModelUnavailable, 0), "{error}");
        assert!(error.to_string().starts_with(words) && !error.to_string().contains('/'), "{error}");
    }
}

#[test]
fn networks_stop_when_they_are_told() {
    for most in [1, 7] {
        let Made { outcome: made, files, .. } = made(small(), &networks(), most);
        assert!(matches!(made, Err(FilmError::Interrupted)), "{made:?}");
        assert_eq!(files, 0, "a draft was left");
    }
}

#[test]
fn the_dearer_network_sees_the_fewer_frames() {
    let film = small();
    assert!(enlarges_source(&film, 8, 24) && enlarges_source(&film, 24, 24));
    assert!(!enlarges_source(&film, 25, 24));
    assert!(!enlarges_source(&FilmRequest { width: 3840, height: 2160, ..film }, 8, 24), "of large frames few are held");
}
