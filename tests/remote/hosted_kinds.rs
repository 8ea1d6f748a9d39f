//! Replicate, fal, Runway and Stability, each as its documents say.

use framewright::domain::{ProviderKind, RemoteRequest};
use framewright::execution::{RemoteEnding, RemoteExecution};
use framewright::ledger::CallState;
use rstest::{Context, rstest};
use serde_json::{Value, json};

use crate::hosted::{fal, pictures, replicate, runway, stability, subject, version};
use crate::kind_conformance::{self as every_kind, every_kind, every_kind_with_tasks, for_each_subject};
use crate::providers::{
    Answer, Cloud, FalCloud, Gate, Recorded, ReplicateCloud, RunwayCloud, film as film_bytes, form_fields, picture,
};
use crate::stage::{Stage, completed};
use crate::subject::Subject;
use ProviderKind::{Fal, Replicate, Runway, Stability};

every_kind!([replicate, fal, runway, stability]);
every_kind_with_tasks!([replicate, fal, runway]);

/// The kind of a request's provider.
fn kind_of(request: &RemoteRequest) -> ProviderKind {
    ProviderKind::ALL.into_iter().find(|kind| kind.as_str() == request.provider.as_str()).unwrap()
}

/// A body whose files are named and not shown.
fn without_files(body: Value) -> Value {
    match body {
        Value::String(text) if text.starts_with("data:") => json!(format!("{},(file)", text.split(',').next().unwrap())),
        Value::Array(values) => values.into_iter().map(without_files).collect(),
        Value::Object(fields) => fields.into_iter().map(|(name, value)| (name, without_files(value))).collect(),
        other => other,
    }
}

/// What a request asks for, as a snapshot shows it.
fn asked(recorded: &Recorded) -> Value {
    let body = form_fields(recorded).map_or_else(|| without_files(recorded.json()), |fields| json!(fields));
    json!({ "method": recorded.method, "target": recorded.target, "body": body })
}

/// The request, how often the service is asked what (create, poll, fetch, file), how many files come, and what they cost.
#[rstest]
#[case::replicate_version(version(), [1, 3, 0, 1], 1, 1_000_000)]
#[case::replicate_pictures(pictures(Replicate), [1, 3, 0, 2], 2, 40_000)]
#[case::fal_pictures(pictures(Fal), [1, 3, 1, 2], 2, 40_000)]
#[case::stability_named(
    RemoteRequest { provider_model: "sd3.5-large".to_owned(), negative_prompt: Some("blur".to_owned()), ..pictures(Stability) },
    [1, 0, 0, 0], 1, 20_000
)]
#[tokio::test]
async fn other_requests_are_made_fetched_and_paid_for_too(
    #[context] context: Context,
    #[case] request: RemoteRequest,
    #[case] counts: [usize; 4],
    #[case] artifacts: usize,
    #[case] cost: i64,
) {
    let subject = subject(kind_of(&request));
    let (stage, mock) = subject.start().await;
    let (result, charged) = completed(stage.run(&subject.settings(&mock, &[("a", None)]), &request).await);
    assert_eq!((result.artifacts.len(), charged), (artifacts, cost));
    assert_eq!(stage.only_call().await, (CallState::Finished, Some(cost)));
    for artifact in &result.artifacts {
        let stored = stage.storage.get(&artifact.key).await.unwrap();
        assert_eq!(stored, if artifact.video.is_some() { film_bytes() } else { picture() });
    }
    assert_eq!(["create", "poll", "fetch", "file"].map(|route| mock.recorded(route).len()), counts);
    insta::assert_json_snapshot!(context.description.unwrap(), asked(&mock.recorded("create")[0]));
}

#[rstest]
#[case::replicate_first_frame(replicate(), "owner/film", 5)]
#[case::fal_first_frame(fal(), "fal-ai/kling-video/v2/master", 10)]
#[case::runway_first_frame(runway(), "gen4_turbo", 5)]
#[tokio::test]
async fn a_film_begins_with_a_picture(
    #[context] context: Context,
    #[case] subject: Subject,
    #[case] model: &str,
    #[case] seconds: u32,
) {
    let create = every_kind::create_with_a_first_frame(&subject, model, seconds).await;
    insta::assert_json_snapshot!(context.description.unwrap(), asked(&create));
}

for_each_subject!(an_account_without_money_gives_way_to_the_next_one, [replicate, fal, runway, stability]);

/// How far the task was, and what it costs all the same.
#[rstest]
#[case::replicate_waits(Replicate, "starting", 1, 0)]
#[case::replicate_runs(Replicate, "processing", 2, 500_000)]
#[case::fal_waits(Fal, "IN_QUEUE", 1, 0)]
#[case::fal_runs(Fal, "IN_PROGRESS", 2, 500_000)]
#[case::runway_is_throttled(Runway, "THROTTLED", 1, 0)]
#[case::runway_waits(Runway, "PENDING", 2, 0)]
#[case::runway_runs(Runway, "RUNNING", 3, 0)]
#[tokio::test]
async fn a_task_is_cancelled_as_far_as_it_is(
    #[case] kind: ProviderKind,
    #[case] word: &str,
    #[case] looks: usize,
    #[case] cost: i64,
) {
    let cloud: Box<dyn Cloud> = match kind {
        Replicate => Box::new(ReplicateCloud::until(word)),
        Fal => Box::new(FalCloud::until(word)),
        _ => Box::new(RunwayCloud::until(word)),
    };
    let mock = every_kind::cancelled_after(&subject(kind), cloud, looks, 1, cost).await;
    insta::assert_json_snapshot!(format!("cancel_{}", kind.as_str()), asked(&mock.recorded("cancel")[0]));
}

#[tokio::test]
async fn a_picture_that_comes_with_the_call_is_paid_for_whoever_changes_his_mind() {
    let (subject, gate) = (stability(), Gate::closed());
    let (stage, mock) = subject.start().await;
    mock.script("create", [Answer::GatedUsual(gate.clone())]);
    let executor = stage.executor(&subject.settings(&mock, &[("a", None)]));
    let work = Stage::work(&subject.request);
    let cancel = async {
        gate.reached().await;
        work.stop.cancel();
        gate.open();
    };
    let (ending, ()) = tokio::join!(executor.run(work.clone()), cancel);
    // Whether it is still kept is a matter of chance; what it costs is not.
    let cost = match ending {
        RemoteEnding::Cancelled { cost_micros } | RemoteEnding::Completed { cost_micros, .. } => cost_micros,
        other => panic!("{other:?}"),
    };
    assert_eq!((cost, stage.only_call().await.1, mock.recorded("create").len()), (20_000, Some(20_000), 1));
}
