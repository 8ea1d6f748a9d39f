//! Keys take turns, rest, and are disabled; tasks stay with theirs.

use framewright::domain::{AccountKeyId, ErrorCode, ProviderKind};
use framewright::execution::RemoteExecution;
use framewright::execution::remote::{ProviderHealth, RemoteExecutor};
use framewright::ledger::CallState;
use rstest::rstest;
use serde_json::json;

use crate::providers::{AliyunCloud, Answer, Gate, Mock, Recorded};
use crate::stage::{Stage, completed, failed, film, film_of, id, settings};

fn says(status: u16, code: &str) -> Answer {
    Answer::Json(status, json!({ "code": code, "message": "no" }))
}

/// The keys that requests carried.
fn keys(recorded: &[Recorded]) -> Vec<String> {
    recorded.iter().map(|request| request.header("authorization").trim_start_matches("Bearer sk-").to_owned()).collect()
}

/// The states of the keys.
fn states(executor: &RemoteExecutor) -> Vec<(String, &'static str)> {
    executor.statuses()[0].keys.iter().map(|key| (key.id.to_string(), key.state)).collect()
}

#[tokio::test]
async fn keys_take_turns_and_none_has_more_tasks_than_it_may_have() {
    let (stage, mock) = (Stage::new().await, Mock::start(AliyunCloud).await);
    let (aliyun, gate) = (id(ProviderKind::Aliyun), Gate::closed());
    mock.script("poll", [Answer::GatedUsual(gate.clone()), Answer::GatedUsual(gate.clone())]);
    let executor = stage.executor(&settings(&mock, ProviderKind::Aliyun, &[("a", Some(1)), ("b", Some(1))]));
    let third = async {
        mock.wait_for("poll", 2).await;
        assert!(!executor.has_room(&aliyun));
        assert_eq!((executor.statuses()[0].in_flight, executor.statuses()[0].health), (2, ProviderHealth::Busy));
        let run = executor.run(Stage::work(&film()));
        let open = async {
            // It waits for a place, and has not been sent.
            assert_eq!(mock.recorded("create").len(), 2);
            gate.open();
        };
        let (ending, ()) = tokio::join!(run, open);
        ending
    };
    let (first, second, third) = tokio::join!(executor.run(Stage::work(&film())), executor.run(Stage::work(&film())), third);
    for ending in [first, second, third] {
        completed(ending);
    }
    // Two that are sent at a time may arrive in any order.
    let mut creates = keys(&mock.recorded("create"));
    creates[..2].sort();
    assert_eq!(creates[..2], ["a", "b"]);
    assert_eq!(creates.len(), 3);
    assert!(executor.has_room(&aliyun) && executor.statuses()[0].in_flight == 0);
}

#[tokio::test]
async fn a_key_that_is_refused_is_disabled_until_it_is_changed() {
    let (stage, mock) = (Stage::new().await, Mock::start(AliyunCloud).await);
    mock.script("create", [says(401, "InvalidApiKey"), Answer::Usual, Answer::Usual]);
    let with = |names| settings(&mock, ProviderKind::Aliyun, names);
    let executor = stage.executor(&with(&[("a", None), ("b", None)]));
    completed(executor.run(Stage::work(&film())).await);
    assert_eq!(states(&executor), [("a".to_owned(), "disabled"), ("b".to_owned(), "ready")]);
    completed(executor.run(Stage::work(&film())).await);
    assert_eq!(keys(&mock.recorded("create")), ["a", "b", "b"]);
    assert_eq!(
        stage.calls().await.iter().map(|call| call.state).collect::<Vec<_>>(),
        [CallState::Failed, CallState::Finished, CallState::Finished]
    );

    // The same settings change nothing; another key under the name does.
    executor.replace(&with(&[("a", None), ("b", None)])).unwrap();
    assert_eq!(states(&executor)[0].1, "disabled");
    let mut changed = with(&[("a", None), ("b", None)]);
    changed.providers.get_mut(&id(ProviderKind::Aliyun)).unwrap().keys[0].secret = "sk-new".into();
    executor.replace(&changed).unwrap();
    assert_eq!(states(&executor)[0].1, "ready");
}

#[tokio::test]
async fn without_a_key_nothing_is_sent_before_an_administrator_says_so() {
    let (stage, mock) = (Stage::new().await, Mock::start(AliyunCloud).await);
    mock.script("create", [says(400, "Arrearage")]);
    let (executor, aliyun) = (stage.executor(&settings(&mock, ProviderKind::Aliyun, &[("a", None)])), id(ProviderKind::Aliyun));
    assert_eq!(failed(executor.run(Stage::work(&film())).await).0, ErrorCode::ProviderUnavailable);
    assert_eq!(executor.statuses()[0].health, ProviderHealth::NoKeys);
    assert!(executor.has_room(&aliyun), "so that its tasks fail, and do not wait for ever");
    let (code, message, cost) = failed(executor.run(Stage::work(&film())).await);
    assert_eq!((code, cost, mock.recorded("create").len()), (ErrorCode::ProviderUnavailable, 0, 1), "{message}");
    let key: AccountKeyId = "a".parse().unwrap();
    assert!(executor.switch_key(&aliyun, &key, true) && !executor.switch_key(&aliyun, &"z".parse().unwrap(), true));
    completed(executor.run(Stage::work(&film())).await);
    executor.switch(&aliyun, false);
    assert_eq!(executor.statuses()[0].health, ProviderHealth::Off);
    assert_eq!(failed(executor.run(Stage::work(&film())).await).0, ErrorCode::ProviderUnavailable);
}

#[tokio::test]
async fn a_key_that_asked_for_too_much_rests_and_the_other_one_is_used() {
    let (stage, mock) = (Stage::new().await, Mock::start(AliyunCloud).await);
    let throttled = |seconds: &str| {
        Answer::JsonWith(429, "retry-after", seconds.to_owned(), json!({ "code": "Throttling", "message": "slowly" }))
    };
    mock.script("create", [throttled("20")]);
    let executor = stage.executor(&settings(&mock, ProviderKind::Aliyun, &[("a", None), ("b", None)]));
    completed(executor.run(Stage::work(&film())).await);
    assert_eq!(states(&executor), [("a".to_owned(), "resting"), ("b".to_owned(), "ready")]);
    assert_eq!(executor.statuses()[0].keys[0].reason, Some("rate_limit"));
    stage.clock.advance_seconds(20);
    assert_eq!(states(&executor)[0].1, "ready");

    // With one key alone, its rest is waited for.
    let executor = stage.executor(&settings(&mock, ProviderKind::Aliyun, &[("c", None)]));
    mock.script("create", [throttled("20")]);
    let before = mock.recorded("create").len();
    let waits = async {
        mock.wait_for("create", before + 1).await;
        while states(&executor)[0].1 != "resting" {
            tokio::task::yield_now().await;
        }
        stage.clock.advance_seconds(20);
    };
    let (ending, ()) = tokio::join!(executor.run(Stage::work(&film())), waits);
    completed(ending);
    assert_eq!(keys(&mock.recorded("create")[before..]), ["c", "c"]);

    // One that is too long is another target's chance.
    mock.script("create", [throttled("600")]);
    let (code, message, _) = failed(executor.run(Stage::work(&film())).await);
    assert_eq!(code, ErrorCode::ProviderUnavailable, "{message}");
}

#[rstest]
#[case::model(says(403, "Model.AccessDenied"), "ready", &["wan2.5-t2v-preview"], true)]
#[case::model_without_a_code(Answer::Json(403, json!({})), "ready", &["wan2.5-t2v-preview"], true)]
#[case::key(says(401, "InvalidApiKey"), "disabled", &[], false)]
#[case::account(says(400, "Arrearage"), "disabled", &[], false)]
#[case::rate(says(429, "Throttling"), "resting", &[], false)]
#[tokio::test]
async fn what_a_refusal_of_one_model_does_to_the_key_and_to_the_other_models(
    #[case] refusal: Answer,
    #[case] state: &str,
    #[case] resting_models: &[&str],
    #[case] serves_others: bool,
) {
    let (stage, mock) = (Stage::new().await, Mock::start(AliyunCloud).await);
    mock.script("create", [refusal]);
    let executor = stage.executor(&settings(&mock, ProviderKind::Aliyun, &[("a", None), ("b", None)]));
    completed(executor.run(Stage::work(&film())).await);
    let status = executor.statuses()[0].keys[0].clone();
    let models: Vec<&str> = status.model_rests.iter().map(|rest| rest.model.as_str()).collect();
    assert_eq!((status.state, models.as_slice()), (state, resting_models));
    // The other key has made it, and it is the first one's turn.
    let other = film_of(ProviderKind::Aliyun, "wan2.6-t2v", Some(5));
    completed(executor.run(Stage::work(&other)).await);
    let then = if serves_others { "a" } else { "b" };
    completed(executor.run(Stage::work(&film())).await);
    assert_eq!(keys(&mock.recorded("create")), ["a", "b", then, "b"]);
}

#[tokio::test]
async fn a_model_that_no_key_may_use_fails_at_once_and_is_tried_again_when_its_rest_is_over() {
    let (stage, mock) = (Stage::new().await, Mock::start(AliyunCloud).await);
    mock.script("create", [says(403, "Model.AccessDenied")]);
    let executor = stage.executor(&settings(&mock, ProviderKind::Aliyun, &[("a", None)]));
    for _ in 0..2 {
        let (code, message, _) = failed(executor.run(Stage::work(&film())).await);
        assert_eq!(code, ErrorCode::ProviderUnavailable, "{message}");
    }
    assert_eq!(mock.recorded("create").len(), 1, "it is not asked for what it refused");
    assert_eq!(executor.statuses()[0].health, ProviderHealth::Ready);
    assert!(executor.has_room(&id(ProviderKind::Aliyun)));
    stage.clock.advance_seconds(3600);
    completed(executor.run(Stage::work(&film())).await);
}

#[tokio::test]
async fn what_moderation_refused_is_carried_to_no_other_key() {
    let (stage, mock) = (Stage::new().await, Mock::start(AliyunCloud).await);
    mock.script("create", [says(400, "DataInspectionFailed")]);
    let executor = stage.executor(&settings(&mock, ProviderKind::Aliyun, &[("a", None), ("b", None)]));
    let (code, message, _) = failed(executor.run(Stage::work(&film())).await);
    assert_eq!((code, mock.recorded("create").len()), (ErrorCode::ModerationBlocked, 1), "{message}");
    assert!(!code.is_of_the_target(), "nor to another provider");
    assert!(states(&executor).iter().all(|(_, state)| *state == "ready"), "no key is to blame");
}

#[tokio::test]
async fn a_task_stays_with_its_key_though_the_settings_have_it_no_more() {
    let (stage, mock) = (Stage::new().await, Mock::start(AliyunCloud).await);
    let gate = Gate::closed();
    mock.script("poll", [Answer::GatedUsual(gate.clone())]);
    let executor = stage.executor(&settings(&mock, ProviderKind::Aliyun, &[("a", None)]));
    let change = async {
        gate.reached().await;
        executor.replace(&settings(&mock, ProviderKind::Aliyun, &[("b", None)])).unwrap();
        gate.open();
    };
    let (ending, ()) = tokio::join!(executor.run(Stage::work(&film())), change);
    completed(ending);
    assert!(keys(&mock.recorded("poll")).iter().all(|key| key == "a"));
    completed(executor.run(Stage::work(&film())).await);
    assert_eq!(keys(&mock.recorded("create")), ["a", "b"]);
    assert_eq!(states(&executor), [("b".to_owned(), "ready")]);

    // Nor do the settings have the provider any more.
    let work = Stage::work(&film());
    let gate = Gate::closed();
    mock.script("poll", [Answer::GatedUsual(gate.clone())]);
    let change = async {
        gate.reached().await;
        executor.replace(&framewright::domain::ProviderSettings::default()).unwrap();
        gate.open();
    };
    let (ending, ()) = tokio::join!(executor.run(work), change);
    completed(ending);
    assert_eq!(failed(executor.run(Stage::work(&film())).await).0, ErrorCode::ProviderUnavailable);
}
