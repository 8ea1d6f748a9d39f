//! Models that come and go.

use super::*;

#[tokio::test]
async fn models_are_loaded_pinned_and_unloaded_by_hand() {
    let data = data();
    let control = FakeControl::new(0);
    let server = server(data.path(), 2, &control).await;
    let model: ModelId = "m".parse().unwrap();
    let has = |name: &str| {
        let devices = server.scheduler.devices();
        devices.iter().find(|device| device.name == name).unwrap().executor.loaded.iter().any(|loaded| loaded.model == model)
    };
    let (first, second) =
        tokio::join!(server.scheduler.load_model(&model, Some("fake#2")), server.scheduler.load_model(&model, Some("fake#2")));
    assert_eq!((first.unwrap().name, second.unwrap().name), ("fake#2".to_owned(), "fake#2".to_owned()));
    assert!(has("fake#2") && !has("fake"));
    assert_eq!(server.scheduler.load_model(&model, None).await.unwrap().name, "fake#2", "it is there already");
    let pinned = server.scheduler.pin_model(&model, true).await.unwrap();
    assert_eq!(pinned.iter().map(|device| device.pinned.len()).collect::<Vec<_>>(), [0, 1]);
    let refused = server.scheduler.unload_model(&model, None).await.unwrap_err();
    assert_eq!(refused.to_string(), "m is pinned; unpin it before you unload it");
    assert!(has("fake#2"));
    // Its files may go; what is known of it can still be let go.
    std::fs::rename(data.path().join("models/m"), data.path().join("m")).unwrap();
    server.scheduler.pin_model(&model, false).await.unwrap();
    server.scheduler.unload_model(&model, None).await.unwrap();
    assert!(!has("fake#2"));
    std::fs::rename(data.path().join("m"), data.path().join("models/m")).unwrap();
    let gone: ModelId = "gone".parse().unwrap();
    for refused in [
        server.scheduler.load_model(&gone, None).await.unwrap_err(),
        server.scheduler.unload_model(&gone, None).await.unwrap_err(),
        server.scheduler.pin_model(&gone, true).await.unwrap_err(),
        server.scheduler.pin_model(&gone, false).await.unwrap_err(),
    ] {
        assert_eq!(refused, DeviceOrderError::Model("no model 'gone'; installed: m".to_owned()));
    }
}

#[tokio::test]
async fn without_a_cache_models_leave_with_their_last_task() {
    let data = data();
    let options = SchedulerOptions { idle_unload: Some(Duration::ZERO), ..SchedulerOptions::default() };
    let server = server_with(data.path(), &FakeControl::new(0), Wishes { options, ..Wishes::default() }).await;
    let mut status = server.scheduler.shared.pool.executors()[0].status();
    assert_eq!(server.wait_for_end(server.submit().await).await.state, JobState::Completed);
    status.wait_for(|status| status.loaded.is_empty()).await.unwrap();
}

#[tokio::test]
async fn useless_packed_weights_leave_the_disk() {
    let data = data();
    let packed = data.path().join("packed");
    std::fs::create_dir(&packed).unwrap();
    std::fs::write(packed.join("broken.packed"), "nothing").unwrap();
    std::fs::write(packed.join("mine.txt"), "a person's").unwrap();
    let options = SchedulerOptions { packed_directory: Some(packed.clone()), ..SchedulerOptions::default() };
    let server = server_with(data.path(), &FakeControl::new(0), Wishes { options, ..Wishes::default() }).await;
    server.ended.upkeep.subscribe().wait_for(|done| done.contains(&("packed_weights", 1))).await.unwrap();
    assert_eq!(packed.read_dir().unwrap().count(), 1);
}

#[tokio::test]
async fn a_model_leaves_a_busy_device_that_uses_another() {
    let data = data();
    place_model(data.path(), "other");
    let server = server(data.path(), 1, &FakeControl::new(0)).await;
    let other: ModelId = "other".parse().unwrap();
    server.scheduler.load_model(&other, None).await.unwrap();
    let running = server.submit_prompt("fake:step_ms=20").await;
    server.wait_for(running, |state| state == JobState::Running).await;
    let mut status = server.scheduler.shared.pool.executors()[0].status();
    server.scheduler.unload_model(&other, None).await.unwrap();
    status.wait_for(|status| status.loaded.iter().all(|loaded| loaded.model != other)).await.unwrap();
    assert_eq!(server.wait_for_end(running).await.state, JobState::Completed);
}
