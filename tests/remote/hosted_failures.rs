//! What Replicate, fal, Runway and Stability say when something is wrong, and what follows from it.

use framewright::domain::{ErrorCode, ProviderKind, RemoteRequest};
use framewright::execution::{RemoteEnding, RemoteExecution};
use framewright::ledger::CallState;
use rstest::rstest;
use serde_json::{Value, json};

use crate::hosted::{credential, hosted, pictures, start, usual, usual_cost};
use crate::providers::{Answer, Cloud, FalCloud, Mock, Recorded, ReplicateCloud, RunwayCloud, StabilityCloud, Tasks};
use crate::stage::{Stage, again, completed, failed, id};
use ErrorCode::{ModerationBlocked, OutcomeUnknown, ProviderFailed, ProviderRefused, ProviderUnavailable};
use ProviderKind::{Fal, Replicate, Runway, Stability};

/// An error of a service with this status.
fn error(kind: ProviderKind, status: u16) -> Answer {
    match kind {
        Replicate => ReplicateCloud::error(status, "title", "no"),
        Fal => FalCloud::error(status, "no"),
        Runway => RunwayCloud::error(status, "no"),
        _ => StabilityCloud::error(status, "a_name", "no"),
    }
}

/// A page where an answer should be.
fn page(status: u16) -> Answer {
    Answer::Bytes(status, "text/html", b"<html>Bad Gateway</html>".to_vec())
}

/// Fails where a message names a key, or is more than a line.
fn assert_discreet(kind: ProviderKind, message: &str) {
    assert!(message.starts_with(&format!("{}: ", kind.as_str())), "{message}");
    assert!(!message.contains("sk-") && !message.contains('\n'), "{message}");
}

/// What a create is answered, and the class that follows from it. Two keys could be tried.
#[rstest]
#[case::invalid(400, "invalid_request", ProviderRefused)]
#[case::permission(403, "permission", ProviderUnavailable)]
#[case::unknown_model(404, "invalid_request", ProviderRefused)]
#[case::too_large(413, "invalid_request", ProviderRefused)]
#[case::unprocessable(422, "invalid_request", ProviderRefused)]
#[case::inside(500, "outcome_unknown", OutcomeUnknown)]
#[case::gateway(502, "outcome_unknown", OutcomeUnknown)]
#[case::overloaded(504, "outcome_unknown", OutcomeUnknown)]
#[tokio::test]
async fn a_create_that_is_answered_with_an_error(
    #[values(Replicate, Fal, Runway, Stability)] kind: ProviderKind,
    #[case] status: u16,
    #[case] class: &str,
    #[case] code: ErrorCode,
) {
    let (stage, mock) = (Stage::new().await, start(kind).await);
    mock.always("create", error(kind, status));
    let (found, message, cost) = failed(stage.run(&hosted(&mock, kind, &[("a", None), ("b", None)]), &usual(kind)).await);
    let is_unknown = code == OutcomeUnknown;
    let (creates, charged) = (if class == "permission" { 2 } else { 1 }, if is_unknown { usual_cost(kind) } else { 0 });
    assert_eq!((found, cost, mock.recorded("create").len()), (code, charged, creates), "{message}");
    assert_discreet(kind, &message);
    let last = stage.calls().await.pop().unwrap();
    let state = if is_unknown { CallState::Unknown } else { CallState::Failed };
    assert_eq!((last.state, last.settled.unwrap().get(), last.failure.unwrap().0.as_str()), (state, charged, class));
}

/// An answer to a create that is none: whether something was made nobody knows, but for a redirect, which nobody follows.
#[rstest]
#[case::page(page(200), OutcomeUnknown)]
#[case::gateway(page(502), OutcomeUnknown)]
#[case::empty(Answer::Json(200, json!({})), OutcomeUnknown)]
#[case::array(Answer::Json(200, json!(["id"])), OutcomeUnknown)]
#[case::bad_id(Answer::Json(201, json!({ "id": "../../x", "request_id": "../x", "image": "no base64" })), OutcomeUnknown)]
#[case::cut_off(Answer::Broken(200, b"{\"id\":\"17f2".to_vec()), OutcomeUnknown)]
#[case::redirect(Answer::Redirect("http://127.0.0.2/".to_owned()), ProviderFailed)]
#[tokio::test]
async fn a_create_whose_answer_cannot_be_read(
    #[values(Replicate, Fal, Runway, Stability)] kind: ProviderKind,
    #[case] answer: Answer,
    #[case] code: ErrorCode,
) {
    let (stage, mock) = (Stage::new().await, start(kind).await);
    mock.always("create", answer);
    let (found, message, cost) = failed(stage.run(&hosted(&mock, kind, &[("a", None), ("b", None)]), &usual(kind)).await);
    let charged = if code == OutcomeUnknown { usual_cost(kind) } else { 0 };
    assert_eq!((found, cost, mock.recorded("create").len(), mock.recorded("poll").len()), (code, charged, 1, 0), "{message}");
    assert_discreet(kind, &message);
}

#[rstest]
#[case::no_such_key("gone", "authentication")]
#[case::no_money("poor", "billing")]
#[tokio::test]
async fn with_one_key_alone_the_task_fails_and_may_be_passed_on(
    #[values(Replicate, Fal, Runway, Stability)] kind: ProviderKind,
    #[case] key: &str,
    #[case] class: &str,
) {
    let (stage, mock) = (Stage::new().await, start(kind).await);
    let (code, message, cost) = failed(stage.run(&hosted(&mock, kind, &[(key, None)]), &usual(kind)).await);
    assert_eq!((code, cost, mock.recorded("create").len()), (ProviderUnavailable, 0, 1), "{message}");
    assert!(code.is_of_the_target());
    assert_discreet(kind, &message);
    assert!(!message.contains("balance") && !message.contains("credit"), "what is said of the account is for the log: {message}");
    assert_eq!(stage.calls().await[0].failure.as_ref().unwrap().0, class);
}

/// How each says that there were too many calls, and for how long it wants to be left alone.
#[rstest]
#[case::replicate(Replicate, ReplicateCloud::throttled(5), 5)]
#[case::replicate_in_its_old_words(Replicate, Answer::Json(429, json!({ "detail": "Request was throttled. Expected available in 1 second." })), 45)]
#[case::replicate_with_a_header(Replicate, Answer::JsonWith(429, "retry-after", "7".to_owned(), json!({ "detail": "slowly", "retry_after": 9 })), 7)]
#[case::fal(Fal, FalCloud::error(429, "Too many concurrent requests"), 45)]
#[case::runway(Runway, RunwayCloud::error(429, "You have reached your daily limit of generations."), 45)]
#[case::stability(Stability, StabilityCloud::error(429, "rate_limit_exceeded", "You have exceeded the rate limit."), 45)]
#[tokio::test]
async fn a_key_that_asked_for_too_much_rests_and_is_used_again(
    #[case] kind: ProviderKind,
    #[case] answer: Answer,
    #[case] seconds: i64,
) {
    let (stage, mock) = (Stage::new().await, start(kind).await);
    let (executor, provider) = (stage.executor(&hosted(&mock, kind, &[("a", None)])), id(kind));
    mock.script("create", [answer]);
    let wait = async {
        mock.wait_for("create", 1).await;
        while executor.statuses()[0].keys[0].state != "resting" {
            tokio::task::yield_now().await;
        }
        stage.clock.advance_seconds(seconds - 1);
        assert_eq!(executor.statuses()[0].keys[0].state, "resting");
        assert_eq!(executor.statuses()[0].keys[0].reason, Some("rate_limit"));
        stage.clock.advance_seconds(1);
        assert_eq!(executor.statuses()[0].keys[0].state, "ready");
        // Whoever waits for room looks again.
        executor.switch(&provider, true);
    };
    let (ending, ()) = tokio::join!(executor.run(Stage::work(&usual(kind))), wait);
    assert_eq!(completed(ending).1, usual_cost(kind));
    let creates: Vec<String> = mock.recorded("create").iter().map(|create| create.header("authorization").to_owned()).collect();
    assert_eq!(creates, [credential(kind, "a"), credential(kind, "a")]);
}

/// 503 with an error says that nothing was begun: it may be sent again, here by the next server.
#[rstest]
#[tokio::test]
async fn what_was_turned_away_at_the_door_is_sent_again(#[values(Replicate, Fal, Runway, Stability)] kind: ProviderKind) {
    let (stage, mock) = (Stage::new().await, start(kind).await);
    let settings = hosted(&mock, kind, &[("a", None)]);
    mock.script("create", [error(kind, 503)]);
    let work = Stage::work(&usual(kind));
    let executor = stage.executor(&settings);
    let leave = async {
        while !stage.calls().await.first().is_some_and(|call| call.state == CallState::Failed) {
            tokio::task::yield_now().await;
        }
        work.leave.cancel();
    };
    let (ending, ()) = tokio::join!(executor.run(work.clone()), leave);
    assert_eq!((ending, mock.recorded("create").len()), (RemoteEnding::Left, 1));
    assert_eq!(stage.calls().await[0].failure.as_ref().unwrap().0, "transient");
    completed(stage.executor(&settings).run(again(&work)).await);
    assert_eq!(mock.recorded("create").len(), 2);
}

/// What moderation refuses, wherever it says so, is carried to no other key.
#[rstest]
#[case::fal_in_its_results(RemoteRequest { prompt: "something forbidden".to_owned(), ..usual(Fal) }, None)]
#[case::fal_beside_its_status(
    usual(Fal),
    Some(("poll", Answer::Json(200, json!({ "status": "COMPLETED", "error": "no", "error_type": "content_policy_violation" })))),
)]
#[case::fal_at_its_create(usual(Fal), Some(("create", FalCloud::model_error("prompt", "content_policy_violation", "no"))))]
#[case::runway_of_the_prompt(usual(Runway), Some(("poll", RunwayCloud::failure("SAFETY.INPUT.TEXT", "no"))))]
#[case::runway_of_the_film(usual(Runway), Some(("poll", RunwayCloud::failure("SAFETY.OUTPUT.VIDEO", "no"))))]
#[case::runway_before_it_began(usual(Runway), Some(("poll", RunwayCloud::failure("INPUT_PREPROCESSING.SAFETY.TEXT", "no"))))]
#[case::stability_of_the_prompt(RemoteRequest { prompt: "something forbidden".to_owned(), ..usual(Stability) }, None)]
#[case::stability_of_the_picture(RemoteRequest { prompt: "something indecent".to_owned(), ..usual(Stability) }, None)]
#[tokio::test]
async fn what_moderation_refused_is_carried_nowhere_else(
    #[case] request: RemoteRequest,
    #[case] answer: Option<(&'static str, Answer)>,
) {
    let kind = ProviderKind::ALL.into_iter().find(|kind| kind.as_str() == request.provider.as_str()).unwrap();
    let (stage, mock) = (Stage::new().await, start(kind).await);
    if let Some((route, answer)) = answer {
        mock.always(route, answer);
    }
    let executor = stage.executor(&hosted(&mock, kind, &[("a", None), ("b", None)]));
    let (code, message, cost) = failed(executor.run(Stage::work(&request)).await);
    assert_eq!((code, cost, mock.recorded("create").len()), (ModerationBlocked, 0, 1), "{message}");
    assert!(!code.is_of_the_target(), "nor to another provider");
    assert_discreet(kind, &message);
    assert!(executor.statuses()[0].keys.iter().all(|key| key.state == "ready"), "no key is to blame");
    assert_eq!((stage.only_call().await, stage.files()), ((CallState::Failed, Some(0)), Vec::new()));
}

/// How tasks fail that were taken, and a word of what is said. Nothing is made again.
#[rstest]
#[case::replicate(Replicate, "poll", json!({ "id": "x", "status": "failed", "error": "CUDA out of memory" }), ProviderFailed, "CUDA out of memory")]
#[case::replicate_says_nothing(Replicate, "poll", json!({ "id": "x", "status": "failed", "error": null }), ProviderFailed, "no reason")]
#[case::replicate_was_too_late(Replicate, "poll", json!({ "id": "x", "status": "aborted" }), ProviderFailed, "cancelled at the provider")]
#[case::replicate_has_removed_it(Replicate, "poll", json!({ "id": "x", "status": "succeeded", "output": null, "data_removed": true }), ProviderFailed, "no result")]
#[case::fal(Fal, "poll", json!({ "status": "COMPLETED", "error": "Request timed out", "error_type": "request_timeout" }), ProviderFailed, "request_timeout")]
#[case::runway_without_a_code(Runway, "poll", json!({ "id": "x", "status": "FAILED", "failure": "An unexpected error occurred." }), ProviderFailed, "unexpected")]
#[case::runway_of_bad_quality(Runway, "poll", json!({ "id": "x", "status": "FAILED", "failure": "no", "failureCode": "INTERNAL.BAD_OUTPUT.CODE01" }), ProviderFailed, "INTERNAL.BAD_OUTPUT")]
#[case::runway_of_the_picture(Runway, "poll", json!({ "id": "x", "status": "FAILED", "failure": "no", "failureCode": "ASSET.INVALID" }), ProviderRefused, "ASSET.INVALID")]
#[case::runway_was_cancelled(Runway, "poll", json!({ "id": "x", "status": "CANCELLED" }), ProviderFailed, "cancelled at the provider")]
#[case::runway_has_nothing(Runway, "poll", json!({ "id": "x", "status": "SUCCEEDED", "output": [] }), ProviderFailed, "no result")]
#[case::fal_refuses_the_input(Fal, "fetch", json!({ "detail": [{ "loc": ["body", "duration"], "msg": "Input should be '5' or '10'", "type": "literal_error" }] }), ProviderRefused, "Input should be")]
#[tokio::test]
async fn a_task_that_fails(
    #[case] kind: ProviderKind,
    #[case] route: &'static str,
    #[case] body: Value,
    #[case] code: ErrorCode,
    #[case] words: &str,
    #[values(false, true)] bills_failures: bool,
) {
    let (stage, mock) = (Stage::new().await, start(kind).await);
    let mut settings = hosted(&mock, kind, &[("a", None), ("b", None)]);
    settings.providers.get_mut(&id(kind)).unwrap().bills_failures = bills_failures;
    mock.always(route, Answer::Json(if route == "fetch" { 422 } else { 200 }, body.clone()));
    let (found, message, cost) = failed(stage.run(&settings, &usual(kind)).await);
    // What was cancelled there is not billed.
    let is_billed = bills_failures && words != "cancelled at the provider";
    let charged = if is_billed { 500_000 } else { 0 };
    assert_eq!((found, cost, mock.recorded("create").len()), (code, charged, 1), "{message}");
    assert!(message.contains(words), "{message}");
    assert_discreet(kind, &message);
    assert_eq!((stage.only_call().await, stage.files()), ((CallState::Failed, Some(charged)), Vec::new()));
}

#[tokio::test]
async fn a_runner_of_fal_that_fails_is_the_tasks_failure_and_a_gateway_before_it_is_none() {
    let (stage, mock) = (Stage::new().await, start(Fal).await);
    mock.script("fetch", [page(502)]);
    completed(stage.run(&hosted(&mock, Fal, &[("a", None)]), &usual(Fal)).await);
    assert_eq!((mock.recorded("create").len(), mock.recorded("fetch").len()), (1, 2));
    mock.always("fetch", FalCloud::runner_error(504, "startup_timeout"));
    let (code, message, cost) = failed(stage.run(&hosted(&mock, Fal, &[("a", None)]), &usual(Fal)).await);
    assert_eq!((code, cost, mock.recorded("create").len()), (ProviderFailed, 0, 2), "{message}");
    assert!(message.contains("startup_timeout"), "{message}");
}

#[rstest]
#[tokio::test]
async fn looks_that_fail_are_repeated(#[values(Replicate, Fal, Runway)] kind: ProviderKind) {
    let (stage, mock) = (Stage::new().await, start(kind).await);
    let usual_looks = if kind == Runway { 4 } else { 3 };
    let failures = [
        error(kind, 500),
        error(kind, 429),
        error(kind, 503),
        page(200),
        page(502),
        Answer::Broken(200, b"{".to_vec()),
        Answer::Json(200, json!({})),
        Answer::Json(200, json!({ "id": "x", "status": "DREAMING" })),
    ];
    let count = failures.len();
    mock.script("poll", failures);
    completed(stage.run(&hosted(&mock, kind, &[("a", None)]), &usual(kind)).await);
    assert_eq!((mock.recorded("create").len(), mock.recorded("poll").len()), (1, count + usual_looks));
}

/// A task that the service does not know, or whose key it takes no more, is given up after a few looks, and may be billed.
#[rstest]
#[case::unknown(404)]
#[case::key(401)]
#[tokio::test]
async fn a_task_that_cannot_be_looked_after_keeps_its_cost(
    #[values(Replicate, Fal, Runway)] kind: ProviderKind,
    #[case] status: u16,
) {
    let (stage, mock) = (Stage::new().await, start(kind).await);
    mock.always("poll", error(kind, status));
    let (code, message, cost) = failed(stage.run(&hosted(&mock, kind, &[("a", None)]), &usual(kind)).await);
    assert_eq!((code, cost, mock.recorded("poll").len()), (ProviderFailed, 500_000, 3), "{message}");
    assert_discreet(kind, &message);
    assert_eq!(stage.only_call().await, (CallState::Unknown, Some(500_000)));
}

/// The addresses of a task are answers like others: none of them takes the key elsewhere.
#[tokio::test]
async fn fal_leads_the_key_to_no_other_host() {
    for field in ["status_url", "response_url", "cancel_url"] {
        let (stage, mock, elsewhere) = (Stage::new().await, start(Fal).await, start(Fal).await);
        let address = |base: &str| format!("{base}/fal-ai/kling-video/requests/x/status");
        let mut body = json!({ "status": "IN_QUEUE", "request_id": "x", "status_url": address(mock.base()),
            "response_url": address(mock.base()), "cancel_url": address(mock.base()) });
        body[field] = json!(address(elsewhere.base()));
        mock.always("create", Answer::Json(200, body));
        let (code, message, _) = failed(stage.run(&hosted(&mock, Fal, &[("a", None)]), &usual(Fal)).await);
        assert_eq!(code, OutcomeUnknown, "{message}");
        assert!(["poll", "fetch", "cancel"].iter().all(|route| elsewhere.recorded(route).is_empty()), "{field}");
    }
}

/// The services themselves look at what comes: what the wire writes is taken, and what differs from it is not.
#[rstest]
#[case::replicate(Replicate, usual(Replicate), "application/json")]
#[case::replicate_pictures(Replicate, pictures(Replicate), "application/json")]
#[case::fal(Fal, usual(Fal), "application/json")]
#[case::runway(Runway, usual(Runway), "application/json")]
#[case::stability(Stability, usual(Stability), "multipart/form-data")]
#[tokio::test]
async fn a_wrong_wire_is_refused(#[case] kind: ProviderKind, #[case] request: RemoteRequest, #[case] media_type: &str) {
    let (stage, mock) = (Stage::new().await, start(kind).await);
    completed(stage.run(&hosted(&mock, kind, &[("a", None)]), &request).await);
    let right = mock.recorded("create").remove(0);
    assert_eq!(status(&ask(kind, &right)) / 100, 2);
    assert!(right.header("content-type").starts_with(media_type));
    let with = |name: &'static str, value: &str| {
        let mut wrong = right.clone();
        wrong.headers.insert(name, value.parse().unwrap());
        wrong
    };
    let other_word = if kind == Fal { "Bearer sk-a" } else { "Key sk-a" };
    for wrong in
        [with("authorization", other_word), with("authorization", &credential(kind, "nobody")), with("authorization", "")]
    {
        assert_eq!(status(&ask(kind, &wrong)), 401);
    }
    assert!([400, 422].contains(&status(&ask(kind, &with("content-type", "text/plain")))));
    let emptied = Recorded { body: axum::body::Bytes::from_static(b"{}"), ..right.clone() };
    match kind {
        // Its queue takes whatever is an object; the model looks at it.
        Fal => assert_eq!(status(&ask(kind, &emptied)), 200),
        _ => assert!([400, 422].contains(&status(&ask(kind, &emptied)))),
    }
    match kind {
        Runway => assert_eq!(status(&ask(kind, &with("x-runway-version", "2023-01-01"))), 400),
        Stability => assert_eq!(status(&ask(kind, &with("accept", "text/html"))), 400),
        _ => {
            let missing =
                Recorded { target: right.target.replace("predictions", "x/predictions").replace("master", "x"), ..right };
            assert_eq!(status(&ask(kind, &missing)), 404);
        }
    }
}

/// A field of a body with a value that the service does not take.
#[rstest]
#[case::no_prompt(Replicate, json!({ "input": { "prompt": "" } }))]
#[case::unknown_field(Replicate, json!({ "inptu": {} }))]
#[case::version_beside_a_model(Replicate, json!({ "version": crate::providers::VERSION }))]
#[case::unknown_model(Runway, json!({ "model": "gen9" }))]
#[case::size_with_an_x(Runway, json!({ "ratio": "1280x720" }))]
#[case::seconds_as_text(Runway, json!({ "duration": "5" }))]
#[case::no_prompt_for_text(Runway, json!({ "promptText": null }))]
#[case::long_prompt(Runway, json!({ "promptText": "a".repeat(1001) }))]
#[case::seed_too_large(Runway, json!({ "seed": 4_294_967_296_u64 }))]
#[case::a_field_of_nobodys(Runway, json!({ "watermark": true }))]
#[tokio::test]
async fn a_wrong_field_is_refused(#[case] kind: ProviderKind, #[case] fields: Value) {
    let (stage, mock) = (Stage::new().await, start(kind).await);
    completed(stage.run(&hosted(&mock, kind, &[("a", None)]), &usual(kind)).await);
    let right = mock.recorded("create").remove(0);
    let mut body = right.json();
    for (name, value) in fields.as_object().unwrap() {
        body[name] = value.clone();
    }
    let wrong = Recorded { body: body.to_string().into(), ..right };
    assert!([400, 422].contains(&status(&ask(kind, &wrong))), "{body}");
}

/// What a service answers to a request.
fn ask(kind: ProviderKind, request: &Recorded) -> Answer {
    let cloud: Box<dyn Cloud> = match kind {
        Replicate => Box::new(ReplicateCloud::default()),
        Fal => Box::new(FalCloud::default()),
        Runway => Box::new(RunwayCloud::default()),
        _ => Box::new(StabilityCloud),
    };
    cloud.answer(request, &mut Tasks::default(), "http://127.0.0.1")
}

fn status(answer: &Answer) -> u16 {
    match answer {
        Answer::Json(status, _) | Answer::JsonWith(status, ..) | Answer::Bytes(status, ..) => *status,
        other => panic!("{other:?} has no status"),
    }
}

/// Tasks are of the account that made them.
#[rstest]
#[tokio::test]
async fn nobody_sees_the_tasks_of_another_account(#[values(Replicate, Fal, Runway)] kind: ProviderKind) {
    let (stage, mock): (Stage, Mock) = (Stage::new().await, start(kind).await);
    let settings = hosted(&mock, kind, &[("a", None)]);
    let (work, gate) = (Stage::work(&usual(kind)), crate::providers::Gate::closed());
    mock.script("poll", [Answer::GatedUsual(gate.clone())]);
    {
        let executor = stage.executor(&settings);
        tokio::select! {
            ending = executor.run(work.clone()) => panic!("it ended: {ending:?}"),
            () = gate.reached() => {}
        }
    }
    gate.open();
    // The name of the key is the same, and the key another account's.
    let mut changed = settings.clone();
    changed.providers.get_mut(&id(kind)).unwrap().keys[0].secret = "sk-b".into();
    let (code, message, cost) = failed(stage.executor(&changed).run(again(&work)).await);
    assert_eq!((code, cost), (ProviderFailed, 500_000), "{message}");
    assert_eq!(mock.recorded("create").len(), 1);
}
