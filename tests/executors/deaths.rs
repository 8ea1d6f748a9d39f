//! Worker processes that are killed, stopped, hang, lie and talk nonsense.

use std::time::{Duration, Instant};

use framewright::domain::DeviceName;
use framewright::execution::{ExecutorHealth, TaskFailure, WorkerKind};
use rustix::process::{Signal, test_kill_process};

use crate::stage::{
    PATIENCE, finish, open, options, pixels, request, run, signal, task, wait_for_health, wait_for_step, worker_process,
};

fn lost(ended: Result<impl std::fmt::Debug, TaskFailure>) -> String {
    match ended {
        Err(TaskFailure::WorkerLost { reason, .. }) => reason,
        other => panic!("{other:?}"),
    }
}

/// What a worker that got this prompt is killed for.
async fn reason_of_death(prompt: &str, stall: Duration) -> String {
    let place = tempfile::tempdir().unwrap();
    let mut options = options(WorkerKind::Process, place.path());
    options.stall = stall;
    options.fake.step_ms = 5;
    let executor = open(DeviceName::Fake, &options).await;
    let reason = lost(run(&executor, task(prompt, 100_000, place.path())).await);
    wait_for_health(&executor, |health| *health == ExecutorHealth::Ready).await;
    run(&executor, task("x", 1, place.path())).await.unwrap();
    executor.shut_down().await;
    reason
}

#[tokio::test]
async fn a_worker_that_hangs_is_killed() {
    let reason = reason_of_death("fake:hang_at=3", Duration::from_secs(1)).await;
    assert_eq!(reason, "it made no progress for 1 s");
}

#[tokio::test]
async fn a_worker_that_talks_nonsense_is_killed() {
    let reason = reason_of_death("fake:garbage_at=3", PATIENCE).await;
    assert!(reason.starts_with("it spoke nonsense: a frame of"), "{reason}");
}

#[tokio::test]
async fn a_worker_that_lies_about_memory_is_killed() {
    let reason = reason_of_death("fake:lie_memory", PATIENCE).await;
    assert!(reason.starts_with("it reports impossible memory"), "{reason}");
}

#[tokio::test]
async fn a_cancelled_task_ends_even_when_its_worker_hangs() {
    let place = tempfile::tempdir().unwrap();
    let mut options = options(WorkerKind::Process, place.path());
    (options.stall, options.fake.step_ms) = (Duration::from_secs(1), 5);
    let executor = open(DeviceName::Fake, &options).await;
    let hanging = task("fake:hang_at=3", 100, place.path());
    let mut events = executor.start(hanging.clone()).unwrap();
    wait_for_step(&mut events, 3).await;
    hanging.interrupt.cancel();
    assert_eq!(finish(events).await.1.unwrap_err(), TaskFailure::Cancelled);
    executor.shut_down().await;
}

#[tokio::test]
async fn a_stopped_worker_is_silent_and_killed() {
    let place = tempfile::tempdir().unwrap();
    let mut options = options(WorkerKind::Process, place.path());
    (options.silence, options.fake.step_ms) = (Duration::from_secs(2), 5);
    let executor = open(DeviceName::Fake, &options).await;
    let mut events = executor.start(task("x", 100_000, place.path())).unwrap();
    wait_for_step(&mut events, 3).await;
    signal(place.path(), Signal::STOP);
    assert_eq!(lost(finish(events).await.1), "it said nothing for 2 s");
    executor.shut_down().await;
}

#[tokio::test]
async fn a_job_killed_again_and_again_goes_on_where_it_was_and_gives_the_same_picture() {
    let place = tempfile::tempdir().unwrap();
    let executor = open(DeviceName::Cpu, &options(WorkerKind::Process, place.path())).await;
    let mut asked = task("a red circle", 40, place.path());
    // Large enough that writing a checkpoint is little beside an evaluation.
    let wanted = request(&mut asked);
    (wanted.width, wanted.height) = (256, 256);
    let mut done = 0;
    for at in [11, 30] {
        let mut events = executor.start(asked.clone()).unwrap();
        wait_for_step(&mut events, at).await;
        signal(place.path(), Signal::KILL);
        let reason = lost(finish(events).await.1);
        assert!(reason.starts_with("it was killed by signal 9"), "{reason}");
        wait_for_health(&executor, |health| *health == ExecutorHealth::Ready).await;
        done = at;
    }
    let resumed = run(&executor, asked.clone()).await.unwrap();
    assert!(resumed.facts.resumed_steps + 3 >= done, "{} of {done}", resumed.facts.resumed_steps);
    asked.work_directory = place.path().join("work/whole");
    let whole = run(&executor, asked).await.unwrap();
    assert_eq!(whole.facts.resumed_steps, 0);
    assert!(pixels(&resumed) == pixels(&whole), "the pictures differ");
    executor.shut_down().await;
}

#[tokio::test]
async fn a_worker_ends_with_its_server_in_the_middle_of_an_evaluation() {
    let place = tempfile::tempdir().unwrap();
    let executor = open(DeviceName::Fake, &options(WorkerKind::Process, place.path())).await;
    let _events = executor.start(task("fake:hang_at=0", 1, place.path())).unwrap();
    let pid = worker_process(place.path()).unwrap();
    drop(executor);
    let begun = Instant::now();
    // Until the system knows of no such process: a killed one is reaped by the runtime.
    while test_kill_process(pid).is_ok() && worker_process(place.path()) == Some(pid) {
        assert!(begun.elapsed() < PATIENCE, "it is still there");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_device_has_one_worker_and_one_that_does_not_open_says_why() {
    let place = tempfile::tempdir().unwrap();
    let options = options(WorkerKind::Process, place.path());
    let first = open(DeviceName::Fake, &options).await;
    let second = framewright::execution::open_executors(&[DeviceName::Fake], &options).unwrap().pop().unwrap();
    let is_refused = |health: &ExecutorHealth| matches!(health, ExecutorHealth::Restarting { reason, .. } if reason.contains("in use by another framewright worker"));
    wait_for_health(&second, is_refused).await;
    first.shut_down().await;
    wait_for_health(&second, |health| *health == ExecutorHealth::Ready).await;
    second.shut_down().await;
    let program = Some("/nowhere/framewright".into());
    let error = framewright::execution::open_executors(
        &[DeviceName::Fake],
        &framewright::execution::ExecutorOptions { program, ..options },
    );
    assert!(error.unwrap_err().to_string().contains("/nowhere/framewright is not there"));
}

/// Prints the tasks per second; the bound is far below what any machine does, and far above what a sleep in the way would leave.
#[tokio::test]
async fn a_fake_worker_at_no_pace_costs_almost_nothing() {
    let place = tempfile::tempdir().unwrap();
    let executor = open(DeviceName::Fake, &options(WorkerKind::Process, place.path())).await;
    let (count, begun) = (2000, Instant::now());
    let mut running = std::collections::VecDeque::new();
    for _ in 0..count {
        if running.len() == 8 {
            finish(running.pop_front().unwrap()).await.1.unwrap();
        }
        running.push_back(executor.start(task("x", 20, place.path())).unwrap());
    }
    for events in running {
        finish(events).await.1.unwrap();
    }
    let per_second = f64::from(count) / begun.elapsed().as_secs_f64();
    println!("{per_second:.0} tasks/s");
    assert!(per_second > 200.0, "{per_second}");
    executor.shut_down().await;
}
