//! Replicate, fal, Runway and Stability, each as its documents say: what goes well, and what a server that ends, several keys and somebody
//! who changes his mind make of it.

use framewright::domain::film::InputFile;
use framewright::domain::{ErrorCode, PictureRole, ProviderKind, RemotePicture, RemoteRequest};
use framewright::execution::remote::ProviderHealth;
use framewright::execution::{RemoteEnding, RemoteExecution};
use framewright::ledger::CallState;
use framewright::media::encode::{PngText, encode_png};
use rstest::{Context, rstest};
use serde_json::json;

use crate::hosted::{credential, hosted, pictures, shown, start, start_until, usual, usual_cost, version};
use crate::providers::{Answer, Gate, film as film_bytes, picture};
use crate::stage::{Stage, again, completed, failed, id};
use ProviderKind::{Fal, Replicate, Runway, Stability};

/// The request, how often the service is asked what (create, poll, fetch, file), how many files come, and what they cost.
#[rstest]
#[case::replicate_film(usual(Replicate), [1, 3, 0, 1], 1, 500_000)]
#[case::replicate_version(version(), [1, 3, 0, 1], 1, 1_000_000)]
#[case::replicate_pictures(pictures(Replicate), [1, 3, 0, 2], 2, 40_000)]
#[case::fal_film(usual(Fal), [1, 3, 1, 1], 1, 500_000)]
#[case::fal_pictures(pictures(Fal), [1, 3, 1, 2], 2, 40_000)]
#[case::runway_film(usual(Runway), [1, 4, 0, 1], 1, 500_000)]
#[case::stability_picture(pictures(Stability), [1, 0, 0, 0], 1, 20_000)]
#[case::stability_named(
    RemoteRequest { provider_model: "sd3.5-large".to_owned(), negative_prompt: Some("blur".to_owned()), ..pictures(Stability) },
    [1, 0, 0, 0], 1, 20_000
)]
#[tokio::test]
async fn what_is_asked_for_is_made_fetched_and_paid_for(
    #[context] context: Context,
    #[case] request: RemoteRequest,
    #[case] counts: [usize; 4],
    #[case] artifacts: usize,
    #[case] cost: i64,
) {
    let kind: ProviderKind = ProviderKind::ALL.into_iter().find(|kind| kind.as_str() == request.provider.as_str()).unwrap();
    let (stage, mock) = (Stage::new().await, start(kind).await);
    let (result, charged) = completed(stage.run(&hosted(&mock, kind, &[("a", None)]), &request).await);
    assert_eq!((result.artifacts.len(), charged), (artifacts, cost));
    assert_eq!(stage.only_call().await, (CallState::Finished, Some(cost)));
    assert_eq!(stage.calls().await[0].call.estimated.get(), cost);
    for artifact in &result.artifacts {
        let stored = stage.storage.get(&artifact.key).await.unwrap();
        assert_eq!(stored, if artifact.video.is_some() { film_bytes() } else { picture() });
    }
    assert_eq!(["create", "poll", "fetch", "file"].map(|route| mock.recorded(route).len()), counts);
    for asked in ["create", "poll", "fetch"].into_iter().flat_map(|route| mock.recorded(route)) {
        assert_eq!(asked.header("authorization"), credential(kind, "a"), "{}", asked.target);
    }
    assert!(mock.recorded("file").iter().all(|file| file.header("authorization").is_empty()), "links are opened without the key");
    assert!(!result.manifest.to_string().contains("sk-a"), "{}", result.manifest);
    insta::assert_json_snapshot!(context.description.unwrap(), shown(&mock.recorded("create")[0]));
}

#[rstest]
#[case::replicate_first_frame(Replicate, "owner/film", 5)]
#[case::fal_first_frame(Fal, "fal-ai/kling-video/v2/master", 10)]
#[case::runway_first_frame(Runway, "gen4_turbo", 5)]
#[tokio::test]
async fn a_film_begins_with_a_picture(
    #[context] context: Context,
    #[case] kind: ProviderKind,
    #[case] model: &str,
    #[case] seconds: u32,
) {
    let (stage, mock) = (Stage::new().await, start(kind).await);
    let png = encode_png(8, 8, &[90; 8 * 8 * 3], &PngText::default()).unwrap();
    stage.storage.put("parts/first.png", png.into()).await.unwrap();
    let file = Some(InputFile { key: "parts/first.png".to_owned(), sha256: String::new() });
    let first = RemotePicture { role: PictureRole::FirstFrame, file, width: 8, height: 8 };
    let request =
        RemoteRequest { provider_model: model.to_owned(), seconds: Some(seconds), pictures: vec![first], ..usual(kind) };
    completed(stage.run(&hosted(&mock, kind, &[("a", None)]), &request).await);
    insta::assert_json_snapshot!(context.description.unwrap(), shown(&mock.recorded("create")[0]));
}

#[rstest]
#[tokio::test]
async fn a_link_that_has_expired_is_asked_for_anew(#[values(Replicate, Fal, Runway)] kind: ProviderKind) {
    let (stage, mock) = (Stage::new().await, start(kind).await);
    mock.script("file", [Answer::Bytes(403, "application/xml", b"<Error>AccessDenied</Error>".to_vec())]);
    let (result, _) = completed(stage.run(&hosted(&mock, kind, &[("a", None)]), &usual(kind)).await);
    let files = mock.recorded("file");
    assert_eq!((result.artifacts.len(), files.len(), mock.recorded("create").len()), (1, 2, 1));
    // Runway signs its links anew; the others' stay what they were.
    assert_eq!(files[0].target != files[1].target, kind == Runway);
}

#[rstest]
#[case::replicate(Replicate)]
#[case::fal(Fal)]
#[case::runway(Runway)]
#[tokio::test]
async fn the_next_server_follows_a_task_with_the_key_that_made_it(#[case] kind: ProviderKind) {
    let (stage, mock) = (Stage::new().await, start(kind).await);
    let settings = hosted(&mock, kind, &[("a", None), ("b", None)]);
    // The first key's turn is over, so that the second one makes the task.
    completed(stage.run(&settings, &usual(kind)).await);
    let (work, gate) = (Stage::work(&usual(kind)), Gate::closed());
    let executor = stage.executor(&settings);
    completed(executor.run(Stage::work(&usual(kind))).await);
    let before = mock.recorded("poll").len();
    mock.script("poll", [Answer::GatedUsual(gate.clone())]);
    tokio::select! {
        ending = executor.run(work.clone()) => panic!("it ended: {ending:?}"),
        () = gate.reached() => {}
    }
    drop(executor);
    gate.open();
    let (_, cost) = completed(stage.executor(&settings).run(again(&work)).await);
    assert_eq!((cost, mock.recorded("create").len()), (500_000, 3), "nothing is made twice");
    assert!(mock.recorded("poll")[before..].iter().all(|poll| poll.header("authorization") == credential(kind, "b")));
    let states: Vec<CallState> = stage.calls().await.iter().map(|call| call.state).collect();
    assert_eq!(states, [CallState::Finished; 3]);
}

#[rstest]
#[tokio::test]
async fn a_create_that_nobody_saw_answered_is_not_sent_again(#[values(Replicate, Fal, Runway, Stability)] kind: ProviderKind) {
    let (stage, mock) = (Stage::new().await, start(kind).await);
    let settings = hosted(&mock, kind, &[("a", None), ("b", None)]);
    let (work, gate) = (Stage::work(&usual(kind)), Gate::closed());
    mock.script("create", [Answer::GatedUsual(gate.clone())]);
    {
        let executor = stage.executor(&settings);
        tokio::select! {
            ending = executor.run(work.clone()) => panic!("it ended: {ending:?}"),
            () = gate.reached() => {}
        }
    }
    let (code, message, cost) = failed(stage.executor(&settings).run(again(&work)).await);
    assert_eq!((code, cost, mock.recorded("create").len()), (ErrorCode::OutcomeUnknown, usual_cost(kind), 1), "{message}");
    assert_eq!(stage.only_call().await, (CallState::Unknown, Some(usual_cost(kind))));
}

#[rstest]
#[case::replicate(Replicate)]
#[case::fal(Fal)]
#[case::runway(Runway)]
#[case::stability(Stability)]
#[tokio::test]
async fn a_key_that_is_refused_gives_way_to_the_next_one(
    #[case] kind: ProviderKind,
    #[values(("gone", "authentication"), ("poor", "billing"))] refused: (&str, &str),
) {
    let (stage, mock) = (Stage::new().await, start(kind).await);
    let executor = stage.executor(&hosted(&mock, kind, &[(refused.0, None), ("a", None)]));
    for _ in 0..2 {
        let (_, cost) = completed(executor.run(Stage::work(&usual(kind))).await);
        assert_eq!(cost, usual_cost(kind));
    }
    let creates: Vec<String> = mock.recorded("create").iter().map(|create| create.header("authorization").to_owned()).collect();
    assert_eq!(creates, [refused.0, "a", "a"].map(|key| credential(kind, key)));
    let status = executor.statuses().remove(0);
    assert_eq!((status.keys[0].state, status.keys[0].reason), ("disabled", Some(refused.1)));
    assert_eq!((status.keys[1].state, status.in_flight), ("ready", 0));
    assert_eq!(stage.calls().await[0].failure.as_ref().unwrap().0, refused.1);
}

#[rstest]
#[tokio::test]
async fn keys_take_turns_and_none_has_more_tasks_than_it_may_have(
    #[values(Replicate, Fal, Runway, Stability)] kind: ProviderKind,
) {
    let (stage, mock, gate) = (Stage::new().await, start(kind).await, Gate::closed());
    mock.script("create", [Answer::GatedUsual(gate.clone()), Answer::GatedUsual(gate.clone())]);
    let executor = stage.executor(&hosted(&mock, kind, &[("a", Some(1)), ("b", Some(1))]));
    let run = || executor.run(Stage::work(&usual(kind)));
    let third = async {
        mock.wait_for("create", 2).await;
        assert!(!executor.has_room(&id(kind)));
        assert_eq!((executor.statuses()[0].in_flight, executor.statuses()[0].health), (2, ProviderHealth::Busy));
        let open = async {
            assert_eq!(mock.recorded("create").len(), 2, "it waits for a place");
            gate.open();
        };
        tokio::join!(run(), open).0
    };
    let (first, second, third) = tokio::join!(run(), run(), third);
    for ending in [first, second, third] {
        completed(ending);
    }
    let creates: Vec<String> = mock.recorded("create").iter().map(|create| create.header("authorization").to_owned()).collect();
    assert_eq!((creates.len(), &creates[..2]), (3, &["a", "b"].map(|key| credential(kind, key))[..]));
    assert_eq!(executor.statuses()[0].in_flight, 0);
}

/// How far the task was, and what it costs all the same.
#[rstest]
#[case::replicate_waits(Replicate, "starting", 1, 0)]
#[case::replicate_runs(Replicate, "processing", 2, 500_000)]
#[case::fal_waits(Fal, "IN_QUEUE", 1, 0)]
#[case::fal_runs(Fal, "IN_PROGRESS", 2, 0)]
#[case::runway_is_throttled(Runway, "THROTTLED", 1, 0)]
#[case::runway_waits(Runway, "PENDING", 2, 0)]
#[case::runway_runs(Runway, "RUNNING", 3, 0)]
#[tokio::test]
async fn a_task_is_cancelled_at_the_service(
    #[case] kind: ProviderKind,
    #[case] word: &str,
    #[case] looks: usize,
    #[case] cost: i64,
) {
    let (stage, mock) = (Stage::new().await, start_until(kind, word).await);
    let (executor, work) = (stage.executor(&hosted(&mock, kind, &[("a", None)])), Stage::work(&usual(kind)));
    let cancel = async {
        // The look before this one was answered.
        mock.wait_for("poll", looks + 1).await;
        work.stop.cancel();
    };
    let (ending, ()) = tokio::join!(executor.run(work.clone()), cancel);
    assert_eq!(ending, RemoteEnding::Cancelled { cost_micros: cost });
    assert_eq!((mock.recorded("cancel").len(), stage.only_call().await), (1, (CallState::Cancelled, Some(cost))));
    assert_eq!(mock.recorded("cancel")[0].header("authorization"), credential(kind, "a"));
    assert_eq!((executor.statuses()[0].in_flight, stage.files()), (0, Vec::new()));
    insta::assert_json_snapshot!(format!("cancel_{}", kind.as_str()), shown(&mock.recorded("cancel")[0]));
}

/// What a service says to a cancellation that comes too late, or that it does not understand: the task is billed.
#[rstest]
#[case::replicate_has_succeeded(Replicate, Answer::Json(200, json!({ "id": "x", "status": "succeeded" })))]
#[case::replicate_has_failed(Replicate, Answer::Json(200, json!({ "id": "x", "status": "failed" })))]
#[case::replicate_knows_it_no_more(Replicate, Answer::Json(404, json!({ "detail": "not found", "status": 404 })))]
#[case::fal_has_completed(Fal, Answer::Json(400, json!({ "status": "ALREADY_COMPLETED" })))]
#[case::fal_knows_it_no_more(Fal, Answer::Json(404, json!({ "status": "NOT_FOUND" })))]
#[case::runway_knows_it_no_more(Runway, Answer::Json(404, json!({ "error": "Task not found." })))]
#[case::replicate_fails(Replicate, Answer::Json(500, json!({ "detail": "?" })))]
#[case::fal_fails(Fal, Answer::Bytes(502, "text/html", b"<html>".to_vec()))]
#[case::runway_breaks_off(Runway, Answer::Broken(500, b"{".to_vec()))]
#[tokio::test]
async fn a_cancellation_that_comes_too_late_costs_what_was_told(#[case] kind: ProviderKind, #[case] answer: Answer) {
    let (stage, mock) = (Stage::new().await, start_until(kind, waiting(kind)).await);
    mock.always("cancel", answer);
    let (executor, work) = (stage.executor(&hosted(&mock, kind, &[("a", None)])), Stage::work(&usual(kind)));
    let cancel = async {
        mock.wait_for("poll", 1).await;
        work.stop.cancel();
    };
    let (ending, ()) = tokio::join!(executor.run(work.clone()), cancel);
    assert_eq!(ending, RemoteEnding::Cancelled { cost_micros: 500_000 });
    assert_eq!(stage.only_call().await, (CallState::Cancelled, Some(500_000)));
}

/// A service's word for a task that waits.
fn waiting(kind: ProviderKind) -> &'static str {
    match kind {
        Replicate => "starting",
        Fal => "IN_QUEUE",
        _ => "PENDING",
    }
}

#[tokio::test]
async fn a_picture_that_comes_with_the_call_is_paid_for_whoever_changes_his_mind() {
    let (stage, mock, gate) = (Stage::new().await, start(Stability).await, Gate::closed());
    mock.script("create", [Answer::GatedUsual(gate.clone())]);
    let (executor, work) = (stage.executor(&hosted(&mock, Stability, &[("a", None)])), Stage::work(&usual(Stability)));
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
