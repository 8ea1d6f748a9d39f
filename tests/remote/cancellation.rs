//! Somebody cancels a job.

use framewright::domain::ProviderKind;
use framewright::execution::{RemoteEnding, RemoteExecution};
use framewright::ledger::CallState;
use rstest::rstest;
use serde_json::json;

use crate::providers::{AliyunCloud, Answer, Gate, Mock, ZhipuaiCloud};
use crate::stage::{Stage, film, film_of, settings};

/// What the provider says to the cancellation, and what the task costs all the same.
#[rstest]
#[case::it_waited(Answer::Usual, 0)]
#[case::it_runs(Answer::Json(400, json!({ "code": "UnsupportedOperation", "message": "it runs" })), 1_000_000)]
#[case::nobody_answers(Answer::Json(500, json!({ "code": "InternalError", "message": "?" })), 1_000_000)]
#[tokio::test]
async fn a_task_is_cancelled_at_the_provider(#[case] answer: Answer, #[case] cost: i64) {
    let (stage, mock) = (Stage::new().await, Mock::start(AliyunCloud).await);
    mock.always("poll", Answer::Json(200, json!({ "output": { "task_id": "x", "task_status": "PENDING" } })));
    mock.always("cancel", answer);
    let (executor, work) = (stage.executor(&settings(&mock, ProviderKind::Aliyun, &[("a", None)])), Stage::work(&film()));
    let cancel = async {
        mock.wait_for("poll", 1).await;
        work.stop.cancel();
    };
    let (ending, ()) = tokio::join!(executor.run(work.clone()), cancel);
    assert_eq!(ending, RemoteEnding::Cancelled { cost_micros: cost });
    assert_eq!((mock.recorded("cancel").len(), stage.only_call().await), (1, (CallState::Cancelled, Some(cost))));
    assert_eq!(mock.recorded("cancel")[0].header("authorization"), "Bearer sk-a");
    assert_eq!(executor.statuses()[0].in_flight, 0);
}

#[tokio::test]
async fn a_provider_without_cancellation_bills_what_it_makes() {
    let (stage, mock) = (Stage::new().await, Mock::start(ZhipuaiCloud::default()).await);
    mock.always("poll", Answer::Json(200, json!({ "id": "x", "task_status": "PROCESSING" })));
    let executor = stage.executor(&settings(&mock, ProviderKind::Zhipuai, &[("a", None)]));
    let work = Stage::work(&film_of(ProviderKind::Zhipuai, "cogvideox-3", Some(5)));
    let cancel = async {
        mock.wait_for("poll", 1).await;
        work.stop.cancel();
    };
    let (ending, ()) = tokio::join!(executor.run(work.clone()), cancel);
    assert_eq!(ending, RemoteEnding::Cancelled { cost_micros: 500_000 });
}

#[tokio::test]
async fn what_was_cancelled_before_it_was_sent_costs_nothing() {
    let (stage, mock) = (Stage::new().await, Mock::start(AliyunCloud).await);
    let work = Stage::work(&film());
    work.stop.cancel();
    let ending = stage.executor(&settings(&mock, ProviderKind::Aliyun, &[("a", None)])).run(work).await;
    assert_eq!(ending, RemoteEnding::Cancelled { cost_micros: 0 });
    assert_eq!((mock.recorded("create").len(), stage.calls().await.len()), (0, 0));
}

#[tokio::test]
async fn results_that_are_being_fetched_are_paid_for() {
    let (stage, mock) = (Stage::new().await, Mock::start(AliyunCloud).await);
    let gate = Gate::closed();
    mock.always("file", Answer::GatedUsual(gate.clone()));
    let (executor, work) = (stage.executor(&settings(&mock, ProviderKind::Aliyun, &[("a", None)])), Stage::work(&film()));
    let cancel = async {
        gate.reached().await;
        work.stop.cancel();
    };
    let (ending, ()) = tokio::join!(executor.run(work.clone()), cancel);
    assert_eq!(ending, RemoteEnding::Cancelled { cost_micros: 500_000 });
    assert_eq!(stage.only_call().await, (CallState::Cancelled, Some(500_000)));
    assert_eq!(stage.files(), Vec::<String>::new());
}
