//! Tasks that wait for a key of their provider: how long, and what follows.

use framewright::domain::{ErrorCode, ProviderKind, ProviderSettings, UnixMs};
use framewright::execution::remote::RemoteExecutor;
use framewright::execution::{RemoteExecution, RemoteWork, WaitingWork};
use serde_json::json;

use crate::providers::{AliyunCloud, Answer, Gate, Mock};
use crate::stage::{NOW, Stage, completed, failed, film, id, settings};

fn waiting(has_next_target: bool) -> WaitingWork {
    WaitingWork { provider: id(ProviderKind::Aliyun), since: NOW, has_next_target, has_open_call: false, has_peers: false }
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
    let (code, message, _) = failed(executor.run(RemoteWork { has_next_target: true, ..Stage::work(&film()) }).await);
    assert_eq!((code, stage.calls().await.len()), (ErrorCode::ProviderUnavailable, 1), "{message}");
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
async fn a_place_that_nobody_gives_back_is_not_waited_for_without_end() {
    let (stage, mock) = (Stage::new().await, Mock::start(AliyunCloud).await);
    let gate = Gate::closed();
    mock.script("poll", [Answer::GatedUsual(gate.clone())]);
    let executor = stage.executor(&settings(&mock, ProviderKind::Aliyun, &[("a", Some(1))]));
    let others = async {
        gate.reached().await;
        assert_eq!(admits(&executor), [false, false, true]);
        stage.clock.advance_seconds(120);
        assert_eq!(admits(&executor), [false, true, true]);
        // As long as a task of this provider may take.
        stage.clock.advance_seconds(30 * 60);
        assert_eq!(admits(&executor), [true; 3]);
        let (code, message, _) = failed(executor.run(Stage::work(&film())).await);
        assert!(code.is_of_the_target() && message.contains("start_within_seconds"), "{message}");
        gate.open();
    };
    let (ending, ()) = tokio::join!(executor.run(Stage::work(&film())), others);
    assert_eq!(failed(ending).0, ErrorCode::TimedOut, "that one took too long, too");
    assert_eq!(mock.recorded("create").len(), 1);
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
