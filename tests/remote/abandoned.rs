//! Calls that nobody follows: their tasks have ended without them.

use framewright::domain::{Clock, JobKind, ProviderKind, RemoteRequest};
use framewright::execution::remote::RemoteExecutor;
use framewright::execution::{RemoteExecution, RemoteWork};
use framewright::ledger::CallState;
use rstest::rstest;
use serde_json::json;

use crate::providers::{AliyunCloud, Answer, Gate, Mock, ZhipuaiCloud};
use crate::stage::{Stage, film, film_of, left_at, settings};

/// A task that was made, and whose server has ended. No store knows of it any more.
async fn left(executor: RemoteExecutor, mock: &Mock, work: &RemoteWork) {
    let gate = Gate::closed();
    mock.script("poll", [Answer::GatedUsual(gate.clone())]);
    left_at(&gate, executor, work).await;
    gate.open();
}

/// Winds up whatever is abandoned; gives what each call costs, where that is known.
async fn wind_up(stage: &Stage, executor: &RemoteExecutor, work: Option<&RemoteWork>) -> Vec<Option<i64>> {
    let mut costs = Vec::new();
    for call in executor.abandoned().await {
        let ending = executor.wind_up(&call, work).await;
        if let Some(ending) = &ending {
            assert!(stage.ledger.end(call.call.call.id, ending, stage.clock.now()).await.unwrap());
            executor.settled(&call, ending);
        }
        costs.push(ending.map(|ending| ending.settled.get()));
    }
    costs
}

fn underway(word: &str) -> Answer {
    Answer::Json(200, json!({ "output": { "task_id": "x", "task_status": word } }))
}

fn succeeded() -> Answer {
    let output = json!({ "task_id": "x", "task_status": "SUCCEEDED", "video_url": "https://nobody.invalid/film.mp4" });
    Answer::Json(200, json!({ "usage": { "video_duration": 5 }, "output": output }))
}

fn failed() -> Answer {
    Answer::Json(200, json!({ "output": { "task_id": "x", "task_status": "FAILED", "code": "InternalError", "message": "?" } }))
}

/// What the provider says of the task, what it says to its cancellation, how often it is asked to cancel, and how the call ends.
#[rstest]
#[case::it_waits(underway("PENDING"), Answer::Usual, 1, CallState::Cancelled, 0)]
#[case::it_runs(
    underway("RUNNING"),
    Answer::Json(400, json!({ "code": "UnsupportedOperation", "message": "it runs" })),
    1,
    CallState::Cancelled,
    1_000_000
)]
#[case::it_is_done(succeeded(), Answer::Usual, 0, CallState::Cancelled, 500_000)]
#[case::it_failed(failed(), Answer::Usual, 0, CallState::Failed, 0)]
#[case::it_was_cancelled(underway("CANCELED"), Answer::Usual, 0, CallState::Cancelled, 0)]
#[tokio::test]
async fn a_call_that_nobody_follows_is_cancelled_and_settled(
    #[case] polled: Answer,
    #[case] cancellation: Answer,
    #[case] cancellations: usize,
    #[case] state: CallState,
    #[case] cost: i64,
) {
    let (stage, mock) = (Stage::new().await, Mock::start(AliyunCloud).await);
    let aliyun = settings(&mock, ProviderKind::Aliyun, &[("a", None)]);
    let work = Stage::work(&film());
    left(stage.executor(&aliyun), &mock, &work).await;
    mock.always("poll", polled);
    mock.always("cancel", cancellation);
    let executor = stage.executor(&aliyun);
    assert_eq!(wind_up(&stage, &executor, Some(&work)).await, [Some(cost)]);
    assert_eq!(stage.only_call().await, (state, Some(cost)));
    assert_eq!((mock.recorded("cancel").len(), mock.recorded("file").len()), (cancellations, 0), "no result is fetched");
    assert_eq!(executor.statuses()[0].in_flight, 0);
    assert!(wind_up(&stage, &executor, Some(&work)).await.is_empty(), "it is settled once");
}

#[tokio::test]
async fn while_the_provider_does_not_answer_it_is_asked_again_until_the_deadline() {
    let (stage, mock) = (Stage::new().await, Mock::start(AliyunCloud).await);
    let aliyun = settings(&mock, ProviderKind::Aliyun, &[("a", None)]);
    let work = Stage::work(&film());
    left(stage.executor(&aliyun), &mock, &work).await;
    let trouble = || Answer::Json(500, json!({ "code": "InternalError", "message": "?" }));
    mock.always("poll", trouble());
    let executor = stage.executor(&aliyun);
    assert_eq!(wind_up(&stage, &executor, Some(&work)).await, [None]);
    assert_eq!(wind_up(&stage, &stage.executor(&aliyun), Some(&work)).await, [], "for a while it is nobody else's");
    // It answers, but not to the cancellation.
    stage.clock.advance_seconds(6 * 60);
    mock.always("poll", underway("PENDING"));
    mock.always("cancel", trouble());
    assert_eq!(wind_up(&stage, &executor, Some(&work)).await, [None]);
    assert_eq!(stage.only_call().await, (CallState::Running, None));
    stage.clock.advance_seconds(20 * 60);
    assert_eq!(wind_up(&stage, &executor, Some(&work)).await, [Some(1_000_000)]);
    assert_eq!(stage.only_call().await, (CallState::Cancelled, Some(1_000_000)));
}

#[rstest]
#[case::its_key_is_changed(401, "InvalidApiKey")]
#[case::its_task_is_not_found(404, "NotFound")]
#[tokio::test]
async fn a_refused_look_is_no_end_before_the_deadline(#[case] status: u16, #[case] code: &str) {
    let (stage, mock) = (Stage::new().await, Mock::start(AliyunCloud).await);
    let aliyun = settings(&mock, ProviderKind::Aliyun, &[("a", None)]);
    let work = Stage::work(&film());
    left(stage.executor(&aliyun), &mock, &work).await;
    mock.always("poll", Answer::Json(status, json!({ "code": code, "message": "no" })));
    let executor = stage.executor(&aliyun);
    assert_eq!(wind_up(&stage, &executor, Some(&work)).await, [None]);
    assert_eq!(stage.only_call().await, (CallState::Running, None));
    stage.clock.advance_seconds(26 * 60);
    assert_eq!(wind_up(&stage, &executor, Some(&work)).await, [Some(1_000_000)]);
    assert_eq!(stage.only_call().await, (CallState::Unknown, Some(1_000_000)));
    assert_eq!(mock.recorded("cancel").len(), 1, "it may run on");
}

#[tokio::test]
async fn one_that_nobody_saw_answered_is_billed_once_no_answer_can_come() {
    let (stage, mock) = (Stage::new().await, Mock::start(AliyunCloud).await);
    let aliyun = settings(&mock, ProviderKind::Aliyun, &[("a", None)]);
    let (work, gate) = (Stage::work(&film()), Gate::closed());
    mock.script("create", [Answer::GatedUsual(gate.clone())]);
    left_at(&gate, stage.executor(&aliyun), &work).await;
    let executor = stage.executor(&aliyun);
    assert!(wind_up(&stage, &executor, Some(&work)).await.is_empty(), "its answer may be on its way");
    stage.clock.advance_seconds(17 * 60);
    assert_eq!(wind_up(&stage, &executor, Some(&work)).await, [Some(1_000_000)]);
    assert_eq!(stage.only_call().await, (CallState::Unknown, Some(1_000_000)));
    assert_eq!((mock.recorded("poll").len(), mock.recorded("cancel").len()), (0, 0));
}

#[tokio::test]
async fn a_call_waits_for_a_server_that_knows_its_provider_and_not_for_ever() {
    let (stage, mock) = (Stage::new().await, Mock::start(AliyunCloud).await);
    let zhipu = Mock::start(ZhipuaiCloud::default()).await;
    let aliyun = settings(&mock, ProviderKind::Aliyun, &[("a", None)]);
    let stranger = stage.executor(&settings(&zhipu, ProviderKind::Zhipuai, &[("a", None)]));
    let without_key = stage.executor(&settings(&mock, ProviderKind::Aliyun, &[("b", None)]));
    let work = Stage::work(&film());
    left(stage.executor(&aliyun), &mock, &work).await;
    assert!(wind_up(&stage, &stranger, Some(&work)).await.is_empty());
    assert_eq!(wind_up(&stage, &without_key, Some(&work)).await, [None]);
    assert_eq!(stage.only_call().await, (CallState::Running, None));
    stage.clock.advance_seconds(24 * 3600 + 1);
    assert_eq!(wind_up(&stage, &stranger, Some(&work)).await, [Some(1_000_000)]);
    assert_eq!(stage.only_call().await, (CallState::Unknown, Some(1_000_000)));
}

#[tokio::test]
async fn every_call_is_settled_whatever_is_left_of_its_job() {
    let (stage, mock) = (Stage::new().await, Mock::start(ZhipuaiCloud::default()).await);
    let zhipu = settings(&mock, ProviderKind::Zhipuai, &[("a", None)]);
    let work = Stage::work(&film_of(ProviderKind::Zhipuai, "cogvideox-3", Some(5)));
    for _ in 0..2 {
        left(stage.executor(&zhipu), &mock, &RemoteWork { task: framewright::domain::TaskId::generate(), ..work.clone() }).await;
    }
    mock.always("poll", Answer::Json(200, json!({ "id": "x", "task_status": "PROCESSING" })));
    let executor = stage.executor(&zhipu);
    // Of two tasks of one job.
    assert_eq!(wind_up(&stage, &executor, Some(&work)).await, [Some(500_000); 2]);
    // Nothing is left that says how the job's task was to be asked for.
    left(stage.executor(&zhipu), &mock, &work).await;
    assert_eq!(wind_up(&stage, &executor, None).await, [Some(500_000)]);
    let states: Vec<CallState> = stage.calls().await.iter().map(|call| call.state).collect();
    assert_eq!(states, [CallState::Cancelled, CallState::Cancelled, CallState::Unknown]);
}

#[tokio::test]
async fn a_picture_that_came_at_once_is_paid_for_and_not_fetched() {
    let (stage, mock) = (Stage::new().await, Mock::start(ZhipuaiCloud::default()).await);
    let zhipu = settings(&mock, ProviderKind::Zhipuai, &[("a", None)]);
    let request = RemoteRequest { output: JobKind::Image, ..film_of(ProviderKind::Zhipuai, "cogview-4", None) };
    let (work, gate) = (Stage::work(&request), Gate::closed());
    mock.script("file", [Answer::GatedUsual(gate.clone())]);
    left_at(&gate, stage.executor(&zhipu), &work).await;
    gate.open();
    assert_eq!(wind_up(&stage, &stage.executor(&zhipu), Some(&work)).await, [Some(20_000)]);
    assert_eq!(stage.only_call().await, (CallState::Cancelled, Some(20_000)));
    assert_eq!(mock.recorded("file").len(), 1);
}
