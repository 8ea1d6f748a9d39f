//! Tasks that wait for a key of their provider: how long, and what follows.

use framewright::domain::film::InputFile;
use framewright::domain::{Clock, ErrorCode, PictureRole, ProviderKind, ProviderSettings, RemotePicture, RemoteRequest, UnixMs};
use framewright::execution::remote::RemoteExecutor;
use framewright::execution::{RemoteExecution, RemoteWork, WaitingWork};
use framewright::media::encode::{PngText, encode_png};
use serde_json::json;

use crate::providers::{AliyunCloud, Answer, Gate, Mock};
use crate::stage::{NOW, Stage, completed, failed, film, film_of, id, settings};

fn waiting(has_next_target: bool) -> WaitingWork {
    let provider = id(ProviderKind::Aliyun);
    WaitingWork { provider, queued: NOW, since: NOW, has_next_target, has_open_call: false, has_peers: false }
}

/// Whether a task that waits begins: one that stands alone, one of a route, and one that runs there already.
fn admits(executor: &RemoteExecutor) -> [bool; 3] {
    let begun = WaitingWork { has_open_call: true, ..waiting(false) };
    [waiting(false), waiting(true), begun].map(|task| executor.admits(&task))
}

/// A request that the provider refuses for so many seconds.
async fn rests(stage: &Stage, mock: &Mock, executor: &RemoteExecutor, seconds: u32) {
    let limit = json!({ "code": "Throttling.RateQuota", "message": "later", "request_id": "r" });
    mock.script("create", [Answer::JsonWith(429, "retry-after", seconds.to_string(), limit)]);
    let before = stage.calls().await.len();
    let (code, message, _) = failed(executor.run(RemoteWork { has_next_target: true, ..Stage::work(&film()) }).await);
    assert_eq!((code, stage.calls().await.len()), (ErrorCode::ProviderUnavailable, before + 1), "{message}");
}

#[tokio::test]
async fn a_long_rest_is_the_next_targets_chance() {
    let (stage, mock) = (Stage::new().await, Mock::start(AliyunCloud).await);
    let mut settings = settings(&mock, ProviderKind::Aliyun, &[("a", None)]);
    settings.providers.get_mut(&id(ProviderKind::Aliyun)).unwrap().start_within_seconds = Some(300);
    let executor = stage.executor(&settings);
    assert_eq!(admits(&executor), [true; 3]);
    rests(&stage, &mock, &executor, 1000).await;
    assert_eq!(admits(&executor), [false, true, true]);
    let why = executor.waits_for(&waiting(false)).unwrap();
    assert!(why.contains("busy or rests, one until 2026-01-02T03:20:45"), "{why}");
    let (code, message, _) = failed(executor.run(RemoteWork { has_next_target: true, ..Stage::work(&film()) }).await);
    assert!(code.is_of_the_target() && message.contains("busy or rests"), "{code:?} {message}");
    // One that stands alone waits as long as the settings say, and fails with a word for it.
    stage.clock.advance_seconds(299);
    assert_eq!(admits(&executor), [false, true, true]);
    stage.clock.advance_seconds(1);
    assert_eq!(admits(&executor), [true; 3]);
    let (code, message, cost) = failed(executor.run(Stage::work(&film())).await);
    assert_eq!((code, cost), (ErrorCode::ProviderUnavailable, 0), "{message}");
    assert!(message.contains("within 300 s (start_within_seconds)"), "{message}");
    assert_eq!((mock.recorded("create").len(), stage.calls().await.len()), (1, 1), "nothing was sent");
    stage.clock.advance_seconds(701);
    completed(executor.run(RemoteWork { waiting_since: UnixMs(NOW.0 + 900_000), ..Stage::work(&film()) }).await);
}

#[tokio::test]
async fn a_short_rest_is_waited_for_and_one_after_the_other_is_not() {
    let (stage, mock) = (Stage::new().await, Mock::start(AliyunCloud).await);
    let executor = stage.executor(&settings(&mock, ProviderKind::Aliyun, &[("a", None)]));
    rests(&stage, &mock, &executor, 90).await;
    assert_eq!(admits(&executor), [false, false, true]);
    stage.clock.advance_seconds(60);
    mock.script(
        "create",
        [Answer::JsonWith(429, "retry-after", "90".to_owned(), json!({ "code": "Throttling.RateQuota", "message": "" }))],
    );
    stage.clock.advance_seconds(31);
    failed(executor.run(RemoteWork { has_next_target: true, ..Stage::work(&film()) }).await);
    assert_eq!(admits(&executor), [false, false, true]);
    stage.clock.advance_seconds(29);
    assert_eq!(admits(&executor), [false, true, true], "two minutes are over");
}

#[tokio::test]
async fn busy_keys_alone_fail_nobody_but_are_another_targets_chance() {
    let (stage, mock) = (Stage::new().await, Mock::start(AliyunCloud).await);
    let gate = Gate::closed();
    mock.script("poll", [Answer::GatedUsual(gate.clone())]);
    let executor = stage.executor(&settings(&mock, ProviderKind::Aliyun, &[("a", Some(1))]));
    let others = async {
        gate.reached().await;
        assert_eq!(admits(&executor), [false, false, true]);
        stage.clock.advance_seconds(120);
        assert_eq!(admits(&executor), [false, true, true]);
        // Longer than a task of this provider may take: a backlog is no failure.
        stage.clock.advance_seconds(24 * 3600);
        assert_eq!(admits(&executor), [false, true, true]);
        let begun_late = WaitingWork { since: stage.clock.now(), ..waiting(true) };
        assert!(!executor.admits(&begun_late), "its tenant's own cap held it up until now");
        gate.open();
    };
    let (ending, ()) = tokio::join!(executor.run(Stage::work(&film())), others);
    assert_eq!(failed(ending).0, ErrorCode::TimedOut, "that one took too long, too");
    assert_eq!(mock.recorded("create").len(), 1);
}

#[tokio::test]
async fn a_provider_that_cannot_be_used_fails_tasks_after_as_long_as_one_may_take() {
    let (stage, mock) = (Stage::new().await, Mock::start(AliyunCloud).await);
    let mut settings = settings(&mock, ProviderKind::Aliyun, &[("a", None)]);
    settings.providers.get_mut(&id(ProviderKind::Aliyun)).unwrap().deadline_seconds = Some(1800);
    let executor = stage.executor(&settings);
    rests(&stage, &mock, &executor, 7200).await;
    assert_eq!(admits(&executor), [false, true, true]);
    stage.clock.advance_seconds(1799);
    assert_eq!(admits(&executor), [false, true, true]);
    stage.clock.advance_seconds(1);
    assert_eq!(admits(&executor), [true; 3]);
    let (code, message, cost) = failed(executor.run(Stage::work(&film())).await);
    assert_eq!((code, cost), (ErrorCode::ProviderUnavailable, 0), "{message}");
    assert!(message.contains("for 1800 s every key of this server rested"), "{message}");
    let late = WaitingWork { since: stage.clock.now(), ..waiting(false) };
    assert!(!executor.admits(&late), "another one has not waited so long");
    // Whatever works once begins anew.
    stage.clock.advance_seconds(5400);
    completed(executor.run(Stage::work(&film())).await);
    rests(&stage, &mock, &executor, 7200).await;
    assert_eq!(admits(&executor), [false, true, true]);
}

#[tokio::test]
async fn a_provider_that_hangs_with_large_pictures_holds_nobody_else_up() {
    let (stage, hung, other) = (Stage::new().await, Mock::start(AliyunCloud).await, Mock::start(AliyunCloud).await);
    let mut both = settings(&hung, ProviderKind::Aliyun, &[("a", Some(2))]);
    let elsewhere = settings(&other, ProviderKind::Aliyun, &[("a", None)]).providers.remove(&id(ProviderKind::Aliyun)).unwrap();
    both.providers.insert("other".parse().unwrap(), elsewhere);
    let executor = stage.executor(&both);
    // As stored it is larger than a provider's part of the memory; as it is sent it is small.
    let mut png = encode_png(400, 400, &vec![90; 400 * 400 * 3], &PngText::default()).unwrap();
    png.resize(26 << 20, 0);
    stage.storage.put("parts/first.png", png.into()).await.unwrap();
    let file = Some(InputFile { key: "parts/first.png".to_owned(), sha256: String::new() });
    let pictures = vec![RemotePicture { role: PictureRole::FirstFrame, file, width: 400, height: 400 }];
    let request = RemoteRequest { pictures, ..film_of(ProviderKind::Aliyun, "wan2.5-i2v-preview", Some(5)) };
    let at_other = |request: RemoteRequest| RemoteRequest { provider: "other".parse().unwrap(), ..request };
    let gate = Gate::closed();
    hung.script("create", [Answer::GatedUsual(gate.clone())]);
    let others = async {
        gate.reached().await;
        // One that waits for memory takes neither a place nor a trial, and waits no longer than for a key.
        stage.clock.advance_seconds(120);
        let (code, message, _) = failed(executor.run(RemoteWork { has_next_target: true, ..Stage::work(&request) }).await);
        assert!(code.is_of_the_target() && message.contains("memory"), "{code:?} {message}");
        let places = executor.statuses().iter().map(|status| status.in_flight).sum::<u32>();
        assert_eq!((places, hung.recorded("create").len()), (1, 1));
        assert_eq!(admits(&executor), [true; 3], "a prompt alone needs no memory");
        completed(executor.run(Stage::work(&film())).await);
        // A small picture of another provider goes on beside it.
        stage
            .storage
            .put("parts/small.png", encode_png(400, 400, &vec![90; 400 * 400 * 3], &PngText::default()).unwrap().into())
            .await
            .unwrap();
        let mut small = at_other(request.clone());
        small.pictures[0].file.as_mut().unwrap().key = "parts/small.png".to_owned();
        completed(executor.run(Stage::work(&small)).await);
        gate.open();
    };
    let (ending, ()) = tokio::join!(executor.run(Stage::work(&request)), others);
    completed(ending);
    completed(executor.run(Stage::work(&at_other(request.clone()))).await);
}

#[tokio::test]
async fn a_task_waits_for_a_server_that_knows_its_provider() {
    let (stage, mock) = (Stage::new().await, Mock::start(AliyunCloud).await);
    let aliyun = settings(&mock, ProviderKind::Aliyun, &[("a", None)]);
    let nothing = ProviderSettings { providers: [].into(), ..aliyun.clone() };
    let (stranger, knowing) = (stage.executor(&nothing), stage.executor(&aliyun));
    let elsewhere = WaitingWork { has_peers: true, ..waiting(false) };
    let begun = WaitingWork { has_open_call: true, ..elsewhere.clone() };
    for task in [&elsewhere, &begun] {
        assert!(knowing.admits(task) && !stranger.admits(task));
    }
    assert!(stranger.admits(&waiting(false)), "there is no other server: it fails at once");
    // One with another target is passed on, but not what somebody may work for.
    let routed = WaitingWork { has_next_target: true, ..elsewhere.clone() };
    let routed_and_begun = WaitingWork { has_open_call: true, ..routed.clone() };
    stage.clock.advance_seconds(239);
    assert!(!stranger.admits(&routed));
    stage.clock.advance_seconds(1);
    assert!(stranger.admits(&routed) && !stranger.admits(&routed_and_begun) && !stranger.admits(&elsewhere));
    assert_eq!(knowing.waits_for(&elsewhere), None);
    let why = stranger.waits_for(&elsewhere).unwrap();
    assert!(why.contains("aliyun is not configured on this server"), "{why}");
    // Taken out of the settings, it is as unknown as if it had never been there.
    knowing.replace(&nothing).unwrap();
    assert!(!knowing.admits(&elsewhere));
    knowing.replace(&aliyun).unwrap();
    assert!(knowing.admits(&elsewhere));
    stage.clock.advance_seconds(25 * 3600);
    assert!(stranger.admits(&elsewhere), "nobody knows it");
    let (code, message, _) = failed(stranger.run(Stage::work(&film())).await);
    assert_eq!(code, ErrorCode::ProviderUnavailable, "{message}");
}
