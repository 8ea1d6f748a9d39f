//! What goes wrong at a provider, and what follows: for the job, for the key, for the next create, for the money.

use framewright::domain::{ErrorCode, ProviderKind, RemoteRequest};
use framewright::execution::remote::ProviderHealth;
use framewright::execution::{RemoteEnding, RemoteExecution};
use framewright::ledger::CallState;
use rstest::rstest;
use serde_json::{Value, json};

use crate::providers::{AliyunCloud, Answer, MinimaxCloud, Mock, ZhipuaiCloud};
use crate::stage::{Stage, completed, failed, film, film_of, id, settings};

fn says(status: u16, code: &str) -> Answer {
    Answer::Json(status, json!({ "code": code, "message": "no", "request_id": "r" }))
}

/// What a create is answered; the job's error, whether another target may be tried, how many creates there are with one key, and what the
/// ledger says of the last one. An estimate is a million.
#[rstest]
#[case::invalid(says(400, "InvalidParameter"), ErrorCode::ProviderRefused, 1, CallState::Failed, 0)]
#[case::invalid_beside_200(says(200, "InvalidParameter"), ErrorCode::ProviderRefused, 1, CallState::Failed, 0)]
#[case::moderation(says(400, "DataInspectionFailed"), ErrorCode::ModerationBlocked, 1, CallState::Failed, 0)]
#[case::authentication(says(401, "InvalidApiKey"), ErrorCode::ProviderUnavailable, 1, CallState::Failed, 0)]
#[case::permission(says(403, "AccessDenied"), ErrorCode::ProviderUnavailable, 1, CallState::Failed, 0)]
#[case::billing(says(400, "Arrearage"), ErrorCode::ProviderUnavailable, 1, CallState::Failed, 0)]
#[case::quota(says(429, "Throttling.AllocationQuota"), ErrorCode::ProviderUnavailable, 1, CallState::Failed, 0)]
#[case::transient(says(503, "ModelUnavailable"), ErrorCode::ProviderUnavailable, 3, CallState::Failed, 0)]
#[case::failed_inside(says(500, "InternalError"), ErrorCode::OutcomeUnknown, 1, CallState::Unknown, 1_000_000)]
#[case::gateway(Answer::Bytes(502, "text/html", b"<html>Bad Gateway</html>".to_vec()), ErrorCode::OutcomeUnknown, 1, CallState::Unknown, 1_000_000)]
#[case::no_json(Answer::Bytes(200, "text/html", b"<html>".to_vec()), ErrorCode::OutcomeUnknown, 1, CallState::Unknown, 1_000_000)]
#[case::no_task(Answer::Json(200, json!({ "output": {} })), ErrorCode::OutcomeUnknown, 1, CallState::Unknown, 1_000_000)]
#[case::broken(Answer::Broken(200, b"{\"output\":".to_vec()), ErrorCode::OutcomeUnknown, 1, CallState::Unknown, 1_000_000)]
#[case::flood(Answer::Flood(200), ErrorCode::OutcomeUnknown, 1, CallState::Unknown, 1_000_000)]
#[case::redirect(Answer::Redirect("http://127.0.0.2/".to_owned()), ErrorCode::ProviderFailed, 1, CallState::Failed, 0)]
#[tokio::test]
async fn a_create_that_fails(
    #[case] answer: Answer,
    #[case] code: ErrorCode,
    #[case] creates: usize,
    #[case] state: CallState,
    #[case] cost: i64,
) {
    let (stage, mock) = (Stage::new().await, Mock::start(AliyunCloud).await);
    mock.always("create", answer);
    let ending = stage.run(&settings(&mock, ProviderKind::Aliyun, &[("a", None)]), &film()).await;
    let (found, message, charged) = failed(ending);
    assert_eq!((found, charged), (code, cost), "{message}");
    assert!(message.starts_with("aliyun: ") && !message.contains("sk-a") && !message.contains('\n'), "{message}");
    assert_eq!((mock.recorded("create").len(), mock.recorded("poll").len()), (creates, 0));
    let calls = stage.calls().await;
    let last = calls.last().unwrap();
    assert_eq!((calls.len(), last.state, last.settled.unwrap().get()), (creates, state, cost));
    assert!(last.failure.is_some());
}

/// A task that was taken and failed. Nothing is made again.
#[rstest]
#[case::plain("InternalError.Algo", ErrorCode::ProviderFailed)]
#[case::moderation("DataInspectionFailed", ErrorCode::ModerationBlocked)]
#[case::invalid("InvalidParameter", ErrorCode::ProviderRefused)]
#[case::throttled("Throttling", ErrorCode::ProviderFailed)]
#[tokio::test]
async fn a_task_that_fails(#[case] word: &str, #[case] code: ErrorCode, #[values(false, true)] bills_failures: bool) {
    let (stage, mock) = (Stage::new().await, Mock::start(AliyunCloud).await);
    let mut settings = settings(&mock, ProviderKind::Aliyun, &[("a", None), ("b", None)]);
    settings.providers.get_mut(&id(ProviderKind::Aliyun)).unwrap().bills_failures = bills_failures;
    let output = json!({ "task_id": "0385dc79", "task_status": "FAILED", "code": word, "message": "the size is wrong" });
    mock.always("poll", Answer::Json(200, json!({ "output": output })));
    let (found, message, cost) = failed(stage.run(&settings, &film()).await);
    let charged = if bills_failures { 1_000_000 } else { 0 };
    assert_eq!((found, cost), (code, charged), "{message}");
    assert!(message.contains("the size is wrong"), "{message}");
    assert_eq!(mock.recorded("create").len(), 1, "neither with the same key nor with the other");
    assert_eq!(stage.only_call().await, (CallState::Failed, Some(charged)));
}

#[tokio::test]
async fn polls_that_fail_are_repeated() {
    let (stage, mock) = (Stage::new().await, Mock::start(AliyunCloud).await);
    let html = || Answer::Bytes(200, "text/html", b"<html>".to_vec());
    mock.script(
        "poll",
        [
            says(500, "InternalError"),
            says(429, "Throttling"),
            html(),
            Answer::Flood(200),
            Answer::Broken(200, b"{".to_vec()),
            Answer::Json(503, Value::Null),
            Answer::Json(200, json!({ "output": { "task_id": "x", "task_status": "DREAMING" } })),
        ],
    );
    completed(stage.run(&settings(&mock, ProviderKind::Aliyun, &[("a", None)]), &film()).await);
    assert_eq!((mock.recorded("create").len(), mock.recorded("poll").len()), (1, 10));
}

#[tokio::test]
async fn a_task_that_cannot_be_looked_after_any_more_keeps_its_cost() {
    let (stage, mock) = (Stage::new().await, Mock::start(AliyunCloud).await);
    mock.always("poll", says(401, "InvalidApiKey"));
    let (code, message, cost) = failed(stage.run(&settings(&mock, ProviderKind::Aliyun, &[("a", None)]), &film()).await);
    assert_eq!((code, cost), (ErrorCode::ProviderFailed, 1_000_000), "{message}");
    assert_eq!(stage.only_call().await, (CallState::Unknown, Some(1_000_000)));
    assert_eq!(mock.recorded("poll").len(), 3);
}

#[tokio::test]
async fn a_task_has_its_time_and_no_more() {
    let (stage, mock) = (Stage::new().await, Mock::start(AliyunCloud).await);
    mock.always("poll", Answer::Json(200, json!({ "output": { "task_id": "x", "task_status": "RUNNING" } })));
    let executor = stage.executor(&settings(&mock, ProviderKind::Aliyun, &[("a", None)]));
    let late = async {
        mock.wait_for("poll", 2).await;
        stage.clock.advance_seconds(20 * 60);
    };
    let (ending, ()) = tokio::join!(executor.run(Stage::work(&film())), late);
    let (code, message, cost) = failed(ending);
    assert_eq!((code, cost), (ErrorCode::TimedOut, 1_000_000), "{message}");
    assert!(message.contains("within 1200 s"), "{message}");
    assert_eq!(stage.only_call().await, (CallState::Unknown, Some(1_000_000)));
}

#[tokio::test]
async fn minimax_says_every_error_with_200() {
    for (code, message, expected) in [
        (1008, "insufficient balance", ErrorCode::ProviderUnavailable),
        (1026, "input new_sensitive", ErrorCode::ModerationBlocked),
        (2013, "invalid params", ErrorCode::ProviderRefused),
        (2049, "invalid api key", ErrorCode::ProviderUnavailable),
    ] {
        let (stage, mock) = (Stage::new().await, Mock::start(MinimaxCloud).await);
        let base = json!({ "status_code": code, "status_msg": message });
        mock.always("create", Answer::Json(200, json!({ "task_id": "", "base_resp": base })));
        let request = film_of(ProviderKind::Minimax, "MiniMax-Hailuo-02", Some(6));
        let (found, text, cost) = failed(stage.run(&settings(&mock, ProviderKind::Minimax, &[("a", None)]), &request).await);
        assert_eq!((found, cost, mock.recorded("create").len()), (expected, 0, 1), "{code}: {text}");
    }
}

#[tokio::test]
async fn a_provider_that_knows_our_id_is_asked_again_with_the_same_one() {
    let (stage, mock) = (Stage::new().await, Mock::start(ZhipuaiCloud::default()).await);
    let error = || Answer::Json(500, json!({ "error": { "code": "1234", "message": "network error" } }));
    mock.script("create", [error(), error()]);
    let request = film_of(ProviderKind::Zhipuai, "cogvideox-3", Some(5));
    let zhipu = settings(&mock, ProviderKind::Zhipuai, &[("a", None)]);
    completed(stage.run(&zhipu, &request).await);
    let ids: Vec<Value> = mock.recorded("create").iter().map(|create| create.json()["request_id"].clone()).collect();
    assert_eq!(ids.len(), 3);
    assert!(ids.iter().all(|id| *id == ids[0] && id.is_string()), "{ids:?}");
    assert_eq!(stage.only_call().await.0, CallState::Finished, "one call, sent three times");

    // It says that it has seen the id: the first one got through, and its task is lost to us.
    let (stage, mock) = (Stage::new().await, Mock::start(ZhipuaiCloud::default()).await);
    let duplicate = json!({ "error": { "code": "1231", "message": "repeated request_id" } });
    mock.script("create", [error(), Answer::Json(400, duplicate)]);
    let zhipu = settings(&mock, ProviderKind::Zhipuai, &[("a", None), ("b", None)]);
    let (code, message, cost) = failed(stage.run(&zhipu, &request).await);
    assert_eq!((code, cost), (ErrorCode::OutcomeUnknown, 500_000), "{message}");
    assert_eq!(mock.recorded("create").len(), 2);
}

#[tokio::test]
async fn a_provider_that_cannot_be_reached_may_be_passed_over() {
    let (stage, mock) = (Stage::new().await, Mock::start(AliyunCloud).await);
    let mut settings = settings(&mock, ProviderKind::Aliyun, &[("a", None)]);
    // A port that was free a moment ago.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    settings.providers.get_mut(&id(ProviderKind::Aliyun)).unwrap().base_url = Some(format!("http://{address}/api/v1"));
    let (code, message, cost) = failed(stage.run(&settings, &film()).await);
    assert_eq!((code, cost), (ErrorCode::ProviderUnavailable, 0), "{message}");
    assert!(code.is_of_the_target());
    assert!(stage.calls().await.iter().all(|call| call.state == CallState::Failed));

    let other = RemoteRequest { provider: "nobody".parse().unwrap(), ..film() };
    let (code, message, _) = failed(stage.run(&settings, &other).await);
    assert_eq!((code, message.as_str()), (ErrorCode::ProviderUnavailable, "nobody: it is not configured on this server"));
}

#[tokio::test]
async fn a_provider_that_fails_is_left_alone_for_a_while() {
    let (stage, mock) = (Stage::new().await, Mock::start(AliyunCloud).await);
    mock.script("create", std::iter::repeat_n(says(503, "ModelUnavailable"), 5));
    let (executor, aliyun) = (stage.executor(&settings(&mock, ProviderKind::Aliyun, &[("a", None)])), id(ProviderKind::Aliyun));
    failed(executor.run(Stage::work(&film())).await);
    assert!(executor.has_room(&aliyun));
    let second = executor.run(Stage::work(&film()));
    let look = async {
        mock.wait_for("create", 5).await;
        while executor.statuses()[0].health != ProviderHealth::Failing {
            tokio::task::yield_now().await;
        }
        assert!(!executor.has_room(&aliyun), "the others wait");
        stage.clock.advance_seconds(31);
    };
    let (ending, ()) = tokio::join!(second, look);
    completed(ending);
    assert_eq!(mock.recorded("create").len(), 6, "the trial succeeded");
    assert_eq!(executor.statuses()[0].health, ProviderHealth::Ready);
}

#[tokio::test]
async fn a_request_that_the_model_cannot_fulfil_is_not_sent() {
    let (stage, mock) = (Stage::new().await, Mock::start(AliyunCloud).await);
    let request = RemoteRequest { seconds: Some(7), ..film() };
    let ending = stage.run(&settings(&mock, ProviderKind::Aliyun, &[("a", None)]), &request).await;
    assert!(matches!(&ending, RemoteEnding::Failed { error, .. } if error.code == ErrorCode::InvalidRequest), "{ending:?}");
    assert_eq!(mock.recorded("create").len(), 0);
}

#[tokio::test]
async fn once_the_outcome_is_unknown_no_later_failure_makes_it_known() {
    let (stage, mock) = (Stage::new().await, Mock::start(ZhipuaiCloud::default()).await);
    let busy = Answer::Json(429, json!({ "error": { "code": "1302", "message": "too many" } }));
    mock.script("create", [Answer::Broken(200, b"{".to_vec()), busy]);
    let settings = settings(&mock, ProviderKind::Zhipuai, &[("a", None), ("b", None)]);
    let (code, _, cost) = failed(stage.run(&settings, &film_of(ProviderKind::Zhipuai, "cogvideox-3", Some(5))).await);
    assert_eq!((code, cost), (ErrorCode::OutcomeUnknown, 500_000));
    let sent: Vec<Value> = mock.recorded("create").iter().map(|request| request.json()["request_id"].clone()).collect();
    assert_eq!(sent.len(), 2, "no third one, under another id or with another key");
    assert_eq!(sent[0], sent[1]);
    assert_eq!(stage.only_call().await, (CallState::Unknown, Some(500_000)));
}

#[tokio::test]
async fn a_provider_that_repeats_a_short_key_does_not_give_it_away() {
    let (stage, mock) = (Stage::new().await, Mock::start(AliyunCloud).await);
    let refused = json!({ "code": "InvalidParameter", "message": "key sk-short0 may not do this", "request_id": "r" });
    mock.always("create", Answer::Json(400, refused));
    let settings = settings(&mock, ProviderKind::Aliyun, &[("short0", None)]);
    let (_, message, _) = failed(stage.run(&settings, &film()).await);
    assert!(message.contains("(hidden)") && !message.contains("short0"), "{message}");
}

#[tokio::test]
async fn a_task_whose_provider_has_gone_from_the_settings_keeps_its_cost() {
    let (stage, mock) = (Stage::new().await, Mock::start(AliyunCloud).await);
    let gate = crate::providers::Gate::closed();
    mock.script("poll", [Answer::GatedUsual(gate.clone())]);
    let (executor, work) = (stage.executor(&settings(&mock, ProviderKind::Aliyun, &[("a", None)])), Stage::work(&film()));
    let leave = async {
        gate.reached().await;
        work.leave.cancel();
        gate.open();
    };
    let (ending, ()) = tokio::join!(executor.run(work.clone()), leave);
    assert_eq!(ending, RemoteEnding::Left);
    let without = stage.executor(&framewright::domain::ProviderSettings::default());
    let (code, _, cost) = failed(without.run(crate::stage::again(&work)).await);
    assert_eq!((code, cost), (ErrorCode::OutcomeUnknown, 1_000_000));
    assert_eq!(stage.only_call().await, (CallState::Unknown, Some(1_000_000)));
}
