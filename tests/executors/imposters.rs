//! Worker processes that are not what they should be: scripts that speak the protocol, and what they may not do to anybody.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use framewright::domain::DeviceName;
use framewright::execution::{Executor, ExecutorHealth, ExecutorOptions, TaskFailure, WorkerKind, open_executors};
use framewright_device_worker::process::frame;
use framewright_device_worker::process::message::{PROTOCOL, ToServer};
use framewright_device_worker::vitals::Vitals;
use framewright_device_worker::{RunFacts, TaskNumber, TaskOutput};

use crate::stage::{finish, options, task, wait_for_health};

/// A script as the worker: its standard input is the stream in both directions, and `place` its `$PLACE`, with a file for each message of
/// `frames` by name.
fn imposter(place: &Path, script: &str, frames: &[(&str, Vec<ToServer>)]) -> (Arc<dyn Executor>, ExecutorOptions) {
    for (name, messages) in frames {
        fs::write(place.join(name), frame::encode(messages).unwrap()).unwrap();
    }
    let program = place.join("worker");
    fs::write(&program, format!("#!/bin/sh\nPLACE='{}'\n{script}\n", place.display())).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o700)).unwrap();
    let options =
        ExecutorOptions { program: Some(program), stall: Duration::from_secs(1), ..options(WorkerKind::Process, place) };
    (open_executors(&[DeviceName::Fake], &options).unwrap().pop().unwrap(), options)
}

fn hello(version: String) -> Vec<ToServer> {
    vec![ToServer::Hello { protocol: PROTOCOL, version, description: "an imposter".to_owned() }]
}

async fn wait_for_ready(executor: &Arc<dyn Executor>) {
    wait_for_health(executor, |health| *health == ExecutorHealth::Ready).await;
}

async fn reason_shown(executor: &Arc<dyn Executor>, part: &str) -> String {
    wait_for_health(executor, |health| matches!(health, ExecutorHealth::Restarting { reason, .. } if reason.contains(part)))
        .await;
    match executor.status().borrow().health.clone() {
        ExecutorHealth::Restarting { reason, .. } => reason,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_worker_that_never_stops_talking_is_told_and_judged_all_the_same() {
    let place = tempfile::tempdir().unwrap();
    let flood: Vec<ToServer> = (0..2000).map(|ticks| ToServer::Beat { ticks, vitals: Vitals::default() }).collect();
    // It reads nothing, so a cancel is for nobody.
    let script = "cat $PLACE/hello >&0; while :; do cat $PLACE/flood >&0 || exit; done";
    let frames = [("hello", hello(framewright_device_worker::build())), ("flood", flood)];
    let (executor, _) = imposter(place.path(), script, &frames);
    wait_for_ready(&executor).await;
    let asked = task("x", 1, place.path());
    let events = executor.start(asked.clone()).unwrap();
    asked.interrupt.cancel();
    assert_eq!(finish(events).await.1.unwrap_err(), TaskFailure::Cancelled);
    executor.shut_down().await;
}

#[tokio::test]
async fn last_words_are_for_administrators_alone() {
    let place = tempfile::tempdir().unwrap();
    let script = "cat $PLACE/hello >&0; while [ ! -e $PLACE/go ]; do sleep 0.01; done; echo 'the prompt was: x' >&2; exit 3";
    let (executor, _) = imposter(place.path(), script, &[("hello", hello(framewright_device_worker::build()))]);
    wait_for_ready(&executor).await;
    let events = executor.start(task("x", 1, place.path())).unwrap();
    fs::write(place.path().join("go"), "").unwrap();
    let failure = finish(events).await.1.unwrap_err();
    assert_eq!(failure, TaskFailure::WorkerLost { reason: "it exited with status 3".to_owned(), companions: 0 });
    let shown = reason_shown(&executor, "it last said").await;
    assert_eq!(shown, "it exited with status 3; it last said: the prompt was: x");
    executor.shut_down().await;
}

#[tokio::test]
async fn a_worker_that_closes_its_stream_and_stays_keeps_nobody_waiting() {
    let place = tempfile::tempdir().unwrap();
    let script = "cat $PLACE/hello >&0; while [ ! -e $PLACE/go ]; do sleep 0.01; done; exec sleep 3600 <&-";
    let (executor, _) = imposter(place.path(), script, &[("hello", hello(framewright_device_worker::build()))]);
    wait_for_ready(&executor).await;
    let events = executor.start(task("x", 1, place.path())).unwrap();
    fs::write(place.path().join("go"), "").unwrap();
    reason_shown(&executor, "its stream has ended").await;
    assert!(matches!(finish(events).await.1, Err(TaskFailure::WorkerLost { .. })));
    executor.shut_down().await;
}

#[tokio::test]
async fn a_worker_of_another_build_is_not_used() {
    let place = tempfile::tempdir().unwrap();
    let script = "cat $PLACE/hello >&0; exec sleep 3600";
    let (executor, _) = imposter(place.path(), script, &[("hello", hello("0.0.1+old".to_owned()))]);
    let shown = reason_shown(&executor, "another build").await;
    assert!(shown.contains("0.0.1+old") && shown.contains(&framewright_device_worker::build()), "{shown}");
    executor.shut_down().await;
}

#[tokio::test]
async fn a_device_that_takes_too_long_to_open_is_given_up_although_its_process_lives() {
    let place = tempfile::tempdir().unwrap();
    let beat = vec![ToServer::Beat { ticks: 0, vitals: Vitals::default() }];
    let script = "while :; do cat $PLACE/beat >&0 || exit; sleep 0.05; done";
    let (executor, options) = imposter(place.path(), script, &[("beat", beat)]);
    executor.shut_down().await;
    let options = ExecutorOptions { silence: Duration::from_secs(1), ..options };
    let executor = open_executors(&[DeviceName::Fake], &options).unwrap().pop().unwrap();
    reason_shown(&executor, "its device did not open within 1 s").await;
    executor.shut_down().await;
}

#[tokio::test]
async fn what_a_worker_gives_instead_of_the_pictures_goes_nowhere() {
    let place = tempfile::tempdir().unwrap();
    let output = TaskOutput { pictures: Vec::new(), facts: RunFacts::default() };
    let end = vec![ToServer::Ended { number: TaskNumber(0), result: Ok(output) }];
    let script = "cat $PLACE/hello >&0; while [ ! -e $PLACE/go ]; do sleep 0.01; done; cat $PLACE/end >&0; exec sleep 3600";
    let frames = [("hello", hello(framewright_device_worker::build())), ("end", end)];
    let (executor, _) = imposter(place.path(), script, &frames);
    wait_for_ready(&executor).await;
    let events = executor.start(task("x", 1, place.path())).unwrap();
    fs::write(place.path().join("go"), "").unwrap();
    let reason = "it spoke nonsense: it gave 0 pictures where 1 were asked for".to_owned();
    assert_eq!(finish(events).await.1.unwrap_err(), TaskFailure::WorkerLost { reason: reason.clone(), companions: 0 });
    reason_shown(&executor, &reason).await;
    executor.shut_down().await;
}
