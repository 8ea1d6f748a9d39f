//! Ends, crashes, and what they leave behind.

use super::*;

#[test]
fn what_ran_when_the_server_died_runs_again_and_ends_once() {
    let data = data();
    let control = FakeControl::new(0);
    control.plan(FakeFailure::Hang { after_steps: 1 });
    // A runtime that is torn down in the middle of everything: as after kill -9, no task writes anything any more.
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let jobs = runtime.block_on(async {
        let first = server(data.path(), 1, &control).await;
        let jobs = [first.submit().await, first.submit().await];
        first.wait_for(jobs[0], |state| state == JobState::Running).await;
        jobs
    });
    runtime.shutdown_background();
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let second = server(data.path(), 1, &FakeControl::new(0)).await;
        for id in jobs {
            assert_eq!(second.wait_for_end(id).await.state, JobState::Completed);
        }
        second.scheduler.shut_down(Duration::from_secs(10)).await;
        assert_eq!(*second.ended.states.lock(), [JobState::Completed; 2]);
    });
}

#[tokio::test]
async fn every_picture_exists_once_after_a_crash_between_storing_and_finishing() {
    let data = data();
    let (picture, thumbnail) = {
        // A server that dies right after it has stored its pictures: the job still runs, the files are there.
        let (service, storage) = service_on(data.path()).await;
        service.submit(&principal(), new_job()).await.unwrap();
        let runner = service.runner();
        let start = QueuePosition { queued: UnixMs(0), task: None };
        let waiting = runner.store().queued(start, 1).await.unwrap().pop().unwrap();
        let task = runner.claim(&[(waiting.task, waiting.job)], Duration::from_secs(15)).await.unwrap().pop().unwrap();
        let encoded = EncodedPicture { width: 64, height: 32, seed: 7, png: "png".into(), thumbnail_jpeg: "jpeg".into() };
        let attempt = Attempt::new(&task.job, task.position, task.fence.attempt);
        let stored = store_pictures(&storage, &attempt, &[encoded]).unwrap().pop().unwrap();
        (stored.key, stored.thumbnail_key)
    };
    let server = server(data.path(), 1, &FakeControl::new(0)).await;
    for key in [&picture, &thumbnail] {
        assert!(server.storage.get(key).await.is_err(), "{key} belongs to no job");
    }
    let id = server.service.list(&principal(), JobFilter::default(), 1, None).await.unwrap()[0].id;
    let result = server.wait_for_end(id).await.result.unwrap();
    let stored = data.path().join("outputs/images").read_dir().unwrap().count();
    assert_eq!((stored, result.artifacts.len()), (2, 2));
}

#[tokio::test]
async fn a_shutdown_gives_back_what_does_not_end_in_time() {
    let data = data();
    let control = FakeControl::new(0);
    control.plan(FakeFailure::Hang { after_steps: 1 });
    let server = server(data.path(), 1, &control).await;
    let (hanging, waiting) = (server.submit().await, server.submit().await);
    server.wait_for(hanging, |state| state == JobState::Running).await;
    server.scheduler.shut_down(Duration::ZERO).await;
    for id in [hanging, waiting] {
        assert_eq!(server.service.get(&principal(), id).await.unwrap().state, JobState::Queued);
    }
    assert!(server.ended.states.lock().is_empty());
}

#[tokio::test]
async fn two_schedulers_on_one_store_run_every_job_once() {
    let data = data();
    let control = FakeControl::new(0);
    let (service, storage) = service_on(data.path()).await;
    let peers = || Wishes {
        devices: 2,
        options: SchedulerOptions { has_peers: true, ..SchedulerOptions::default() },
        ..Wishes::default()
    };
    let (first, first_ended) = scheduler_on(data.path(), &service, &storage, &control, peers()).await;
    let (second, second_ended) = scheduler_on(data.path(), &service, &storage, &control, peers()).await;
    let mut jobs = Vec::new();
    for _ in 0..40 {
        jobs.push(service.submit(&principal(), new_job()).await.unwrap().id);
    }
    for id in jobs {
        let (mut job, mut events) = service.watch(&principal(), id, Previews::Unwanted).await.unwrap();
        while !job.state.is_terminal() {
            events.recv().await.unwrap();
            job = service.get(&principal(), id).await.unwrap();
        }
        assert_eq!(job.state, JobState::Completed);
    }
    first.shut_down(Duration::from_secs(10)).await;
    second.shut_down(Duration::from_secs(10)).await;
    assert_eq!(first_ended.states.lock().len() + second_ended.states.lock().len(), 40);
    assert_eq!(data.path().join("outputs/images").read_dir().unwrap().count(), 80);
}

#[tokio::test]
async fn old_results_are_forgotten_with_their_files() {
    let data = data();
    let control = FakeControl::new(0);
    let id = {
        let server = server(data.path(), 1, &control).await;
        let png = encode_png(64, 32, &[9; 64 * 32 * 3], &PngText::default()).unwrap();
        let job = NewJob { inputs: vec![init_image(png)], ..new_job() };
        let id = server.service.submit(&principal(), job).await.unwrap().id;
        server.wait_for_end(id).await;
        server.scheduler.shut_down(Duration::from_secs(10)).await;
        id
    };
    let files = |directory: &str| data.path().join("outputs").join(directory).read_dir().unwrap().count();
    assert_eq!((files("images"), files("inputs")), (2, 1));
    let options = SchedulerOptions { retention: Some(Duration::ZERO), ..SchedulerOptions::default() };
    let server = server_with(data.path(), &control, Wishes { options, ..Wishes::default() }).await;
    let mut told = server.ended.upkeep.subscribe();
    told.wait_for(|done| done.contains(&("old_jobs", 1))).await.unwrap();
    assert_eq!((files("images"), files("thumbnails"), files("inputs")), (0, 0, 0));
    assert!(server.service.get(&principal(), id).await.is_err());
    assert_eq!(data.path().join("work").read_dir().map_or(0, Iterator::count), 0);
}
