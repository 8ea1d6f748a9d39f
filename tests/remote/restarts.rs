//! The server ends in the middle of a task, and another one takes it up: with a new executor on the same ledger.

use framewright::domain::{ErrorCode, JobKind, ProviderKind, RemoteRequest};
use framewright::execution::{RemoteEnding, RemoteExecution, RemoteWork, TaskHold};
use framewright::ledger::CallState;
use serde_json::json;

use crate::providers::{AliyunCloud, Answer, Gate, Mock, ZhipuaiCloud};
use crate::stage::{Stage, again, completed, failed, film, film_of, left_at, settings};
use crate::told_kinds::openai_pictures;

#[tokio::test]
async fn a_task_that_runs_is_followed_by_the_next_server() {
    let (stage, mock) = (Stage::new().await, Mock::start(AliyunCloud).await);
    let aliyun = settings(&mock, ProviderKind::Aliyun, &[("a", None), ("b", None)]);
    let (work, gate) = (Stage::work(&film()), Gate::closed());
    mock.script("poll", [Answer::GatedUsual(gate.clone())]);
    left_at(&gate, stage.executor(&aliyun), &work).await;
    gate.open();
    assert_eq!(stage.only_call().await, (CallState::Running, None));
    let (result, cost) = completed(stage.executor(&aliyun).run(again(&work)).await);
    assert_eq!((cost, mock.recorded("create").len()), (500_000, 1));
    assert_eq!(stage.only_call().await, (CallState::Finished, Some(500_000)));
    let keys: Vec<String> = mock.recorded("poll").iter().map(|poll| poll.header("authorization").to_owned()).collect();
    assert!(keys.iter().all(|key| key == "Bearer sk-a"), "it is polled with the key that made it: {keys:?}");

    // That server, too, may end before it has said so: the task is not made again.
    let third = again(&work);
    let (same, cost) = completed(stage.executor(&aliyun).run(third).await);
    assert_eq!((cost, mock.recorded("create").len()), (500_000, 1));
    assert_eq!(same.artifacts[0].sha256, result.artifacts[0].sha256);
}

#[tokio::test]
async fn a_server_that_ends_leaves_its_tasks_to_the_next_one() {
    let (stage, mock) = (Stage::new().await, Mock::start(AliyunCloud).await);
    let aliyun = settings(&mock, ProviderKind::Aliyun, &[("a", None)]);
    let (work, gate) = (Stage::work(&film()), Gate::closed());
    mock.script("poll", [Answer::Usual, Answer::GatedUsual(gate.clone())]);
    let executor = stage.executor(&aliyun);
    let end = async {
        gate.reached().await;
        work.leave.cancel();
        gate.open();
    };
    let (ending, ()) = tokio::join!(executor.run(work.clone()), end);
    assert_eq!(ending, RemoteEnding::Left);
    assert_eq!(stage.only_call().await, (CallState::Running, None));
    assert_eq!(mock.recorded("cancel").len(), 0);
    completed(stage.executor(&aliyun).run(again(&work)).await);
    assert_eq!(mock.recorded("create").len(), 1);
}

#[tokio::test]
async fn a_create_that_nobody_saw_answered_is_not_sent_again() {
    let (stage, mock) = (Stage::new().await, Mock::start(AliyunCloud).await);
    let aliyun = settings(&mock, ProviderKind::Aliyun, &[("a", None), ("b", None)]);
    let (work, gate) = (Stage::work(&film()), Gate::closed());
    mock.script("create", [Answer::GatedUsual(gate.clone())]);
    left_at(&gate, stage.executor(&aliyun), &work).await;
    assert_eq!(stage.only_call().await, (CallState::Sending, None), "it is on the disk before it is sent");
    for _ in 0..2 {
        let (code, message, cost) = failed(stage.executor(&aliyun).run(again(&work)).await);
        assert_eq!((code, cost), (ErrorCode::OutcomeUnknown, 1_000_000), "{message}");
        assert!(!code.is_of_the_target(), "nor is it sent to another provider");
        assert_eq!(mock.recorded("create").len(), 1);
        assert_eq!(stage.only_call().await, (CallState::Unknown, Some(1_000_000)));
    }
}

#[tokio::test]
async fn one_that_is_known_by_our_id_is_sent_again_with_the_same_id() {
    let (stage, mock) = (Stage::new().await, Mock::start(ZhipuaiCloud::default()).await);
    let zhipu = settings(&mock, ProviderKind::Zhipuai, &[("a", None), ("b", None)]);
    let work = Stage::work(&film_of(ProviderKind::Zhipuai, "cogvideox-3", Some(5)));
    let gate = Gate::closed();
    // The provider never sees what stands before the gate.
    mock.script("create", [Answer::Gated(gate.clone(), Box::new(Answer::Json(500, json!({}))))]);
    left_at(&gate, stage.executor(&zhipu), &work).await;
    completed(stage.executor(&zhipu).run(again(&work)).await);
    let creates = mock.recorded("create");
    assert_eq!(creates.len(), 2);
    assert_eq!(creates[0].json(), creates[1].json());
    assert_eq!(creates[0].header("authorization"), creates[1].header("authorization"));
    assert_eq!(stage.only_call().await.0, CallState::Finished);
}

#[tokio::test]
async fn the_deadline_counts_from_the_create_across_servers() {
    let (stage, mock) = (Stage::new().await, Mock::start(AliyunCloud).await);
    let aliyun = settings(&mock, ProviderKind::Aliyun, &[("a", None)]);
    let (work, gate) = (Stage::work(&film()), Gate::closed());
    mock.script("poll", [Answer::GatedUsual(gate.clone())]);
    left_at(&gate, stage.executor(&aliyun), &work).await;
    gate.open();
    stage.clock.advance_seconds(20 * 60);
    mock.script("poll", [Answer::Json(200, json!({ "output": { "task_id": "x", "task_status": "RUNNING" } }))]);
    let polls = mock.recorded("poll").len();
    let (code, message, _) = failed(stage.executor(&aliyun).run(again(&work)).await);
    assert_eq!((code, mock.recorded("poll").len()), (ErrorCode::TimedOut, polls + 1), "{message}; it is looked at once");
    assert_eq!(stage.only_call().await, (CallState::Unknown, Some(1_000_000)));
}

#[tokio::test]
async fn one_that_was_turned_away_is_sent_by_the_next_server() {
    let (stage, mock) = (Stage::new().await, Mock::start(AliyunCloud).await);
    let aliyun = settings(&mock, ProviderKind::Aliyun, &[("a", None)]);
    mock.script("create", [Answer::Json(401, json!({ "code": "InvalidApiKey", "message": "no" }))]);
    let work = Stage::work(&film());
    assert_eq!(failed(stage.executor(&aliyun).run(work.clone()).await).0, ErrorCode::ProviderUnavailable);
    completed(stage.executor(&aliyun).run(again(&work)).await);
    // What the provider refused is not.
    let refused = Stage::work(&film());
    mock.script("create", [Answer::Json(400, json!({ "code": "InvalidParameter", "message": "no" }))]);
    assert_eq!(failed(stage.executor(&aliyun).run(refused.clone()).await).0, ErrorCode::ProviderRefused);
    let (code, message, cost) = failed(stage.executor(&aliyun).run(again(&refused)).await);
    assert_eq!((code, cost, mock.recorded("create").len()), (ErrorCode::ProviderRefused, 0, 3), "{message}");
}

/// A picture of CogView's, which is a link in the answer to the create.
fn picture_at_zhipu() -> RemoteRequest {
    RemoteRequest { output: JobKind::Image, ..film_of(ProviderKind::Zhipuai, "cogview-4", None) }
}

#[tokio::test]
async fn a_link_that_came_with_the_create_is_opened_by_the_next_server() {
    let (stage, mock) = (Stage::new().await, Mock::start(ZhipuaiCloud::default()).await);
    let zhipu = settings(&mock, ProviderKind::Zhipuai, &[("a", None), ("b", None)]);
    let (work, gate) = (Stage::work(&picture_at_zhipu()), Gate::closed());
    mock.script("file", [Answer::GatedUsual(gate.clone())]);
    left_at(&gate, stage.executor(&zhipu), &work).await;
    gate.open();
    assert_eq!(stage.only_call().await, (CallState::Running, None));
    let (result, cost) = completed(stage.executor(&zhipu).run(again(&work)).await);
    assert_eq!((result.artifacts.len(), cost, mock.recorded("create").len()), (1, 20_000, 1));
    assert_eq!(stage.only_call().await, (CallState::Finished, Some(20_000)));
    assert_eq!(stage.executor(&zhipu).statuses()[0].in_flight, 0);
}

#[tokio::test]
async fn a_link_that_is_lost_is_billed_and_the_picture_is_not_made_again() {
    let (stage, mock) = (Stage::new().await, Mock::start(ZhipuaiCloud::default()).await);
    let zhipu = settings(&mock, ProviderKind::Zhipuai, &[("a", None)]);
    let (work, gate) = (Stage::work(&picture_at_zhipu()), Gate::closed());
    mock.script("file", [Answer::GatedUsual(gate.clone())]);
    left_at(&gate, stage.executor(&zhipu), &work).await;
    gate.open();
    mock.always("file", Answer::Json(404, json!({})));
    let (code, message, cost) = failed(stage.executor(&zhipu).run(again(&work)).await);
    assert_eq!((code, cost, mock.recorded("create").len()), (ErrorCode::ProviderFailed, 20_000, 1), "{message}");
    assert!(message.contains("link is not valid any more"), "{message}");
    assert_eq!(stage.only_call().await, (CallState::Failed, Some(20_000)));
}

#[tokio::test]
async fn bytes_that_came_with_the_create_outlive_the_server() {
    let subject = openai_pictures();
    let (stage, mock) = subject.start().await;
    let openai = subject.settings(&mock, &[("a", None)]);
    let work = Stage::work(&subject.request);
    let (first, cost) = completed(stage.executor(&openai).run(work.clone()).await);
    // The server ends before it has said so: what it stored of the attempt is removed.
    work.attempt.delete_files(&stage.storage).await;
    let second = again(&work);
    let (result, same_cost) = completed(stage.executor(&openai).run(second.clone()).await);
    assert_eq!((result.artifacts.len(), same_cost, mock.recorded("create").len()), (1, cost, 1));
    assert_eq!(result.artifacts[0].sha256, first.artifacts[0].sha256);
    assert_ne!(result.artifacts[0].key, first.artifacts[0].key);
    assert_eq!(stage.only_call().await, (CallState::Finished, Some(cost)));
    // Once the task has ended, they go.
    second.attempt.delete_answer(&stage.storage).await;
    assert_eq!(stage.files().len(), 2, "the picture and its thumbnail: {:?}", stage.files());
    let (code, message, cost) = failed(stage.executor(&openai).run(again(&work)).await);
    assert_eq!((code, cost), (ErrorCode::OutcomeUnknown, same_cost), "{message}");
    assert_eq!(mock.recorded("create").len(), 1, "it is not made again");
}

#[tokio::test]
async fn a_server_that_lost_the_task_sends_nothing() {
    let (stage, mock) = (Stage::new().await, Mock::start(AliyunCloud).await);
    let aliyun = settings(&mock, ProviderKind::Aliyun, &[("a", Some(1))]);
    let hold = Some(TaskHold { attempt: 1, owner: "a server that was".to_owned() });
    let executor = stage.executor(&aliyun);
    assert_eq!(executor.run(RemoteWork { hold, ..Stage::work(&film()) }).await, RemoteEnding::Left);
    assert_eq!((mock.recorded("create").len(), stage.calls().await.len()), (0, 0));
    assert_eq!(executor.statuses()[0].in_flight, 0);
}
