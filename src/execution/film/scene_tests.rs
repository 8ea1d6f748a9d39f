//! Scenes by networks of random weights.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::Path;

use framewright_engine::ops::Interrupt;
use framewright_engine::vision::RgbPicture;

use super::super::{FilmTask, FilmTools, HostProgress, make as make_task, store_clip};
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
    let fixture = |name: &str| Path::new(env!("CARGO_MANIFEST_DIR")).join("crates/engine/tests/fixtures").join(name);
    FilmTools {
        interpolation_model: Some(fixture("interpolate/saved/flownet.pkl")),
        upscaling_model: Some(fixture("upscale/saved/compact.pth")),
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
    made: Result<(JobResult, Spent), FilmError>,
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
            assert_eq!((facts.width, facts.height, facts.frame_rate.to_string()), (film.width, film.height, "24".to_owned()));
            assert_eq!(told.get(), film.frames_made(0));
            VideoReader::open(&path).unwrap().map(|frame| frame.unwrap()).collect()
        }
        Err(_) => Vec::new(),
    };
    Made { made, frames, files: count() - before }
}

#[test]
fn networks_make_the_frames_that_were_asked_for_and_are_named() {
    let Made { made, frames, .. } = made(small(), &networks(), u32::MAX);
    let (result, _) = made.unwrap();
    assert_eq!(frames.len(), 24);
    let said = &result.manifest;
    assert_eq!((&said["interpolation"], &said["scaling"]), (&json!("rife"), &json!("real_esrgan")), "{said:#}");
    let (between, larger) = (&said["interpolation_network"], &said["scaling_network"]);
    assert_eq!((&between["network"], &between["file"]), (&json!("RIFE 4-4-4-4-4"), &json!("flownet.pkl")));
    assert_eq!((&larger["network"], &larger["precision"]), (&json!("SRVGGNetCompact 8×1, 4×"), &json!("f32")));
    assert!([between, larger].iter().all(|facts| facts["sha256"].as_str().unwrap().len() == 64), "{said:#}");
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
    let (result, _) = by_rife.made.unwrap();
    assert_eq!((&result.manifest["interpolation"], &result.manifest["scaling"]), (&json!("rife"), &json!("none")));
    assert!((1..24).any(|number| apart(number) > 2), "both made the same");
}

#[test]
fn a_network_that_is_not_needed_is_not_read() {
    // Nothing has to become larger, and the frames are the clip's.
    let film = FilmRequest { width: 24, height: 16, interpolation: Interpolation::None, ..small() };
    let film = FilmRequest { scenes: vec![Scene { frames: 14, ..film.scenes[0].clone() }], ..film };
    let Made { made, frames, .. } = made(film, &FilmTools::default(), u32::MAX);
    let said = made.unwrap().0.manifest;
    assert_eq!((frames.len(), &said["interpolation"], &said["scaling"]), (14, &json!("none"), &json!("none")));
    assert_eq!(said["scaling_network"], serde_json::Value::Null);
}

#[test]
fn what_is_not_there_is_said_and_leaves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let text = directory.path().join("flownet.pkl");
    std::fs::write(&text, "no weights").unwrap();
    let broken = FilmTools { interpolation_model: Some(text), ..networks() };
    for (tools, words) in [
        (FilmTools::default(), "Real-ESRGAN is not configured on this server; set video.upscaling_model"),
        (
            FilmTools { interpolation_model: None, ..networks() },
            "RIFE is not configured on this server; set video.interpolation_model",
        ),
        (broken, "the weights of RIFE cannot be read"),
    ] {
        let Made { made, files, .. } = made(small(), &tools, u32::MAX);
        let error = made.unwrap_err();
        assert_eq!((error.code(), files), (ErrorCode::ModelUnavailable, 0), "{error}");
        assert!(error.to_string().starts_with(words) && !error.to_string().contains('/'), "{error}");
    }
}

#[test]
fn networks_stop_when_they_are_told() {
    for most in [1, 7] {
        let Made { made, files, .. } = made(small(), &networks(), most);
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
