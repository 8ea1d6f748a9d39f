//! What Replicate, fal, Runway and Stability refuse in ways of their own, and what they look at when they are asked.

use framewright::domain::{ErrorCode, ProviderKind, RemoteRequest};
use framewright::execution::RemoteExecution;
use framewright::ledger::CallState;
use rstest::rstest;
use serde_json::{Value, json};

use crate::hosted::{fal, page, pictures, replicate, runway, stability, subject};
use crate::providers::{Answer, Cloud, FalCloud, Gate, Mock, Recorded, ReplicateCloud, Tasks, VERSION, secret_of_key};
use crate::stage::{Stage, again, completed, failed, id, left_at};
use crate::subject::Subject;
use ErrorCode::{ModerationBlocked, OutcomeUnknown, ProviderFailed, ProviderRefused};
use ProviderKind::{Fal, Replicate, Runway, Stability};

/// For how long a key of Replicate rests that asked for too much: a header, or else the body, or else nothing says it.
#[rstest]
#[case::in_the_body(ReplicateCloud::throttled(5), 5)]
#[case::in_a_header(Answer::JsonWith(429, "retry-after", "7".to_owned(), json!({ "detail": "slowly", "retry_after": 9 })), 7)]
#[case::nowhere(Answer::Json(429, json!({ "detail": "Request was throttled. Expected available in 1 second." })), 45)]
#[tokio::test]
async fn a_key_of_replicate_rests_as_long_as_it_is_told(#[case] answer: Answer, #[case] seconds: i64) {
    let subject = replicate();
    let (stage, mock) = subject.start().await;
    let executor = stage.executor(&subject.settings(&mock, &[("a", None)]));
    mock.script("create", [answer]);
    let state = || executor.statuses()[0].keys[0].state;
    let wait = async {
        mock.wait_for("create", 1).await;
        while state() != "resting" {
            tokio::task::yield_now().await;
        }
        stage.clock.advance_seconds(seconds - 1);
        assert_eq!(state(), "resting");
        stage.clock.advance_seconds(1);
        assert_eq!(state(), "ready");
        // Whoever waits for room looks again.
        executor.switch(&id(Replicate), true);
    };
    let (ending, ()) = tokio::join!(executor.run(Stage::work(&subject.request)), wait);
    assert_eq!((completed(ending).1, mock.recorded("create").len()), (500_000, 2));
}

/// What moderation refuses by what is asked for, wherever it says so, is carried to no other key.
#[rstest]
#[case::fal_in_place_of_its_results(fal(), "something forbidden")]
#[case::stability_of_the_prompt(stability(), "something forbidden")]
#[case::stability_of_the_picture(stability(), "something indecent")]
#[tokio::test]
async fn what_moderation_refused_is_carried_nowhere_else(#[case] subject: Subject, #[case] prompt: &str) {
    let (stage, mock) = subject.start().await;
    let executor = stage.executor(&subject.settings(&mock, &[("a", None), ("b", None)]));
    let request = RemoteRequest { prompt: prompt.to_owned(), ..subject.request.clone() };
    let (code, message, cost) = failed(executor.run(Stage::work(&request)).await);
    assert_eq!((code, cost, mock.recorded("create").len()), (ModerationBlocked, 0, 1), "{message}");
    assert!(!code.is_of_the_target(), "nor to another provider");
    assert!(executor.statuses()[0].keys.iter().all(|key| key.state == "ready"), "no key is to blame");
    assert_eq!((stage.only_call().await, stage.files()), ((CallState::Failed, Some(0)), Vec::new()));
}

/// A task that was cancelled at the provider, by whomever, is not billed.
#[rstest]
#[case::replicate_by_its_owner(replicate(), "canceled")]
#[case::replicate_before_it_began(replicate(), "aborted")]
#[case::runway(runway(), "CANCELLED")]
#[tokio::test]
async fn a_task_that_somebody_else_cancelled(#[case] subject: Subject, #[case] word: &str) {
    let (stage, mock) = subject.start().await;
    mock.always("poll", Answer::Json(200, json!({ "id": "x", "status": word })));
    let (code, message, cost) = failed(stage.run(&subject.settings(&mock, &[("a", None)]), &subject.request).await);
    assert_eq!((code, cost, mock.recorded("create").len()), (ProviderFailed, 0, 1), "{message}");
    assert!(message.contains("cancelled at the provider"), "{message}");
}

/// What fal has in place of results: the task's own failure, or one of the way to it, which is asked again.
#[rstest]
#[case::runner(FalCloud::runner_error(504, "startup_timeout"), Some((ProviderFailed, "startup_timeout")))]
#[case::input(FalCloud::model_error("duration", "literal_error", "Input should be '5' or '10'"), Some((ProviderRefused, "Input should be")))]
#[case::nothing(Answer::Json(200, json!({ "video": null })), Some((ProviderFailed, "no result")))]
#[case::gateway(page(502), None)]
#[case::cut_off(Answer::UsualCutOff, None)]
#[tokio::test]
async fn the_results_of_fal_may_be_an_error(
    #[case] answer: Answer,
    #[case] expected: Option<(ErrorCode, &str)>,
    #[values(false, true)] bills_failures: bool,
) {
    let subject = fal();
    let (stage, mock) = subject.start().await;
    let mut settings = subject.settings(&mock, &[("a", None), ("b", None)]);
    settings.providers.get_mut(&id(Fal)).unwrap().bills_failures = bills_failures;
    let Some((code, words)) = expected else {
        mock.script("fetch", [answer]);
        completed(stage.run(&settings, &subject.request).await);
        assert_eq!((mock.recorded("create").len(), mock.recorded("fetch").len()), (1, 2));
        return;
    };
    mock.always("fetch", answer);
    let (found, message, cost) = failed(stage.run(&settings, &subject.request).await);
    let charged = if bills_failures { 500_000 } else { 0 };
    assert_eq!((found, cost, stage.only_call().await), (code, charged, (CallState::Failed, Some(charged))), "{message}");
    assert!(message.contains(words) && mock.recorded("create").len() == 1, "{message}");
}

/// The addresses of a task are answers like others: none of them takes the key elsewhere.
#[rstest]
#[tokio::test]
async fn fal_leads_the_key_to_no_other_host(#[values("status_url", "response_url", "cancel_url")] field: &str) {
    let (subject, elsewhere) = (fal(), Mock::start(FalCloud::default()).await);
    let (stage, mock) = subject.start().await;
    let address = |base: &str| format!("{base}/fal-ai/kling-video/requests/x/status");
    let mut body = json!({ "status": "IN_QUEUE", "request_id": "x", "status_url": address(mock.base()),
        "response_url": address(mock.base()), "cancel_url": address(mock.base()) });
    body[field] = json!(address(elsewhere.base()));
    mock.always("create", Answer::Json(200, body));
    let (code, message, _) = failed(stage.run(&subject.settings(&mock, &[("a", None)]), &subject.request).await);
    assert_eq!(code, OutcomeUnknown, "{message}");
    assert!(["poll", "fetch", "cancel"].iter().all(|route| elsewhere.recorded(route).is_empty()));
}

/// Tasks are of the account that made them: a key that was changed under its name sees them no more.
#[rstest]
#[case::replicate(replicate())]
#[case::fal(fal())]
#[case::runway(runway())]
#[tokio::test]
async fn nobody_sees_the_tasks_of_another_account(#[case] subject: Subject) {
    let (stage, mock) = subject.start().await;
    let settings = subject.settings(&mock, &[("a", None)]);
    let (work, gate) = (Stage::work(&subject.request), Gate::closed());
    mock.script("poll", [Answer::GatedUsual(gate.clone())]);
    left_at(&gate, stage.executor(&settings), &work).await;
    gate.open();
    let mut changed = settings.clone();
    changed.providers.get_mut(&id(subject.kind)).unwrap().keys[0].secret = secret_of_key("b").into();
    let (code, message, cost) = failed(stage.executor(&changed).run(again(&work)).await);
    assert_eq!((code, cost, mock.recorded("create").len()), (ProviderFailed, 500_000, 1), "{message}");
}

/// What a service answers to a request.
fn ask(cloud: &dyn Cloud, request: &Recorded) -> u16 {
    let answer = cloud.refusal(request);
    let answer = answer.unwrap_or_else(|| cloud.answer(request, &mut Tasks::default(), "http://127.0.0.1"));
    match answer {
        Answer::Json(status, _) | Answer::JsonWith(status, ..) | Answer::Bytes(status, ..) => status,
        other => panic!("{other:?} has no status"),
    }
}

/// A create as the wire writes it, and the cloud that takes it.
async fn create(subject: &Subject, request: &RemoteRequest) -> (Recorded, Box<dyn Cloud>) {
    let (stage, mock) = subject.start().await;
    completed(stage.run(&subject.settings(&mock, &[("a", None)]), request).await);
    let (create, cloud) = (mock.recorded("create").remove(0), (subject.cloud)(stage.clock.clone()));
    assert_eq!(ask(&*cloud, &create) / 100, 2);
    (create, cloud)
}

/// The services themselves look at what comes. What the wire writes is taken, and what differs from it is not.
#[rstest]
#[case::no_word(Replicate, "authorization", "secret-of-a", 401)]
#[case::another_word(Replicate, "authorization", "Key secret-of-a", 401)]
#[case::an_unknown_key(Replicate, "authorization", "Bearer secret-of-z", 401)]
#[case::no_json(Replicate, "content-type", "text/plain", 400)]
#[case::another_word(Fal, "authorization", "Bearer secret-of-a", 401)]
#[case::an_unknown_key(Fal, "authorization", "Key secret-of-z", 401)]
#[case::no_json(Fal, "content-type", "text/plain", 422)]
#[case::another_word(Runway, "authorization", "Key secret-of-a", 401)]
#[case::an_unknown_key(Runway, "authorization", "Bearer secret-of-z", 401)]
#[case::another_version(Runway, "x-runway-version", "2023-01-01", 400)]
#[case::no_json(Runway, "content-type", "text/plain", 400)]
#[case::another_word(Stability, "authorization", "Key secret-of-a", 401)]
#[case::an_unknown_key(Stability, "authorization", "Bearer secret-of-z", 401)]
#[case::another_answer(Stability, "accept", "text/html", 400)]
#[case::no_form(Stability, "content-type", "application/x-www-form-urlencoded", 400)]
#[case::another_boundary(Stability, "content-type", "multipart/form-data; boundary=x", 400)]
#[tokio::test]
async fn a_wrong_header_is_refused(
    #[case] kind: ProviderKind,
    #[case] name: &'static str,
    #[case] value: &str,
    #[case] status: u16,
) {
    let subject = subject(kind);
    let (mut create, cloud) = create(&subject, &subject.request).await;
    create.headers.insert(name, value.parse().unwrap());
    assert_eq!(ask(&*cloud, &create), status);
    create.headers.remove(name);
    // Without a word of what shall come, Stability gives the picture itself.
    assert_eq!(ask(&*cloud, &create), if name == "accept" { 200 } else { status }, "without one");
}

/// Fields of a body with values that the service does not take.
#[rstest]
#[case::no_prompt(Replicate, json!({ "input": { "prompt": "" } }), 422)]
#[case::unknown_field(Replicate, json!({ "inptu": {} }), 422)]
#[case::version_beside_a_model(Replicate, json!({ "version": VERSION }), 422)]
#[case::unknown_model(Runway, json!({ "model": "gen9" }), 400)]
#[case::size_with_an_x(Runway, json!({ "ratio": "1280x720" }), 400)]
#[case::seconds_as_text(Runway, json!({ "duration": "5" }), 400)]
#[case::no_prompt(Runway, json!({ "promptText": null }), 400)]
#[case::long_prompt(Runway, json!({ "promptText": "a".repeat(1001) }), 400)]
#[case::seed_too_large(Runway, json!({ "seed": 4_294_967_296_u64 }), 400)]
#[case::sound_of_its_own_model(Runway, json!({ "audio": true }), 400)]
#[case::a_field_of_nobodys(Runway, json!({ "watermark": true }), 400)]
#[tokio::test]
async fn a_wrong_field_is_refused(#[case] kind: ProviderKind, #[case] fields: Value, #[case] status: u16) {
    let subject = subject(kind);
    let (right, cloud) = create(&subject, &subject.request).await;
    let mut body = right.json();
    for (name, value) in fields.as_object().unwrap() {
        body[name] = value.clone();
    }
    let wrong = Recorded { body: body.to_string().into(), ..right };
    assert_eq!(ask(&*cloud, &wrong), status, "{body}");
}

/// A part of a form in place of another one.
#[rstest]
#[case::shape("\r\n\r\n16:9\r\n", "\r\n\r\n17:9\r\n")]
#[case::seed("\r\n\r\n7\r\n", "\r\n\r\n-7\r\n")]
#[case::format("\r\n\r\npng\r\n", "\r\n\r\ngif\r\n")]
#[case::name("name=\"seed\"", "name=\"sead\"")]
#[case::prompt("\r\n\r\na ship\r\n", "\r\n\r\n\r\n")]
#[tokio::test]
async fn a_wrong_part_of_a_form_is_refused(#[case] right: &str, #[case] wrong: &str) {
    let (mut create, cloud) = create(&stability(), &pictures(Stability)).await;
    let form = String::from_utf8(create.body.to_vec()).unwrap();
    assert!(form.contains(right), "{form}");
    create.body = form.replace(right, wrong).into();
    assert_eq!(ask(&*cloud, &create), 400);
}
