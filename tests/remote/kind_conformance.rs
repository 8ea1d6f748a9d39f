//! What holds of every kind of provider, however it speaks. A kind is a [`Subject`]; whatever else is to be said of it stands with its own
//! tests.

use std::sync::Arc;
use std::time::Duration;

use framewright::domain::film::InputFile;
use framewright::domain::{ErrorCode, PictureRole, RemotePicture, RemoteRequest};
use framewright::execution::remote::{KeyStatus, ProviderHealth, RemoteExecutor};
use framewright::execution::{RemoteEnding, RemoteExecution, RemoteWork};
use framewright::ledger::CallState;
use framewright::media::encode::{PngText, encode_png};
use framewright::providers::FailureClass;
use futures_util::future::join_all;
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::providers::{Answer, Cloud, Gate, KNOWN_KEYS, Mock, POOR_KEY, Recorded, film, picture, secret_of_key};
use crate::stage::{Stage, again, completed, failed, id, left_at};
use crate::subject::{Failing, ResultPlace, Subject, WhileRunning};

/// The tests of one name for each kind, and each of its subjects.
macro_rules! for_each_subject {
    ($test:ident, [$($subject:ident),*]) => {
        #[rstest::rstest]
        $(#[case::$subject($subject())])*
        #[tokio::test]
        async fn $test(#[case] subject: $crate::subject::Subject) {
            $crate::kind_conformance::in_time($crate::kind_conformance::$test(&subject)).await;
        }
    };
}

/// What holds of every kind holds of these subjects.
macro_rules! every_kind {
    ($subjects:tt) => { $crate::kind_conformance::every_kind!($subjects,
        what_is_asked_for_is_made,
        every_refusal_has_its_consequence,
        a_create_that_nobody_saw_answered,
        a_key_that_is_refused_is_passed_over,
        a_key_that_asked_for_too_much_rests,
        keys_take_turns,
    ); };
    ($subjects:tt, $($test:ident,)*) => { $($crate::kind_conformance::for_each_subject!($test, $subjects);)* };
}

/// And what holds of every kind that has tasks, of these.
macro_rules! every_kind_with_tasks {
    ($subjects:tt) => {
        $crate::kind_conformance::every_kind!(
            $subjects,
            every_failed_task_has_its_consequence,
            looks_that_fail_are_repeated,
            a_task_that_is_out_of_sight_keeps_its_cost,
            a_link_that_has_expired_is_asked_for_anew,
            a_task_is_followed_by_the_next_server,
            a_task_is_cancelled,
        );
    };
}

pub(crate) use {every_kind, every_kind_with_tasks, for_each_subject};

/// What follows from a create that failed so, for a provider with one key.
struct Consequence {
    code: ErrorCode,
    creates: usize,
    state: CallState,
    is_charged: bool,
    key: &'static str,
}

impl Consequence {
    fn of(class: FailureClass, knows_our_id: bool) -> Self {
        let plain = |code, key| Self { code, creates: 1, state: CallState::Failed, is_charged: false, key };
        match class {
            FailureClass::InvalidRequest => plain(ErrorCode::ProviderRefused, "ready"),
            FailureClass::Moderation => plain(ErrorCode::ModerationBlocked, "ready"),
            FailureClass::Authentication | FailureClass::Billing => plain(ErrorCode::ProviderUnavailable, "disabled"),
            FailureClass::Permission => plain(ErrorCode::ProviderUnavailable, "resting for the model"),
            FailureClass::Quota | FailureClass::RateLimit => plain(ErrorCode::ProviderUnavailable, "resting"),
            FailureClass::Transient => Self { creates: 3, ..plain(ErrorCode::ProviderUnavailable, "ready") },
            FailureClass::OutcomeUnknown => Self {
                creates: if knows_our_id { 3 } else { 1 },
                state: CallState::Unknown,
                is_charged: true,
                ..plain(ErrorCode::OutcomeUnknown, "ready")
            },
            FailureClass::Duplicate => {
                Self { state: CallState::Unknown, is_charged: true, ..plain(ErrorCode::OutcomeUnknown, "ready") }
            }
            FailureClass::TaskFailed | FailureClass::Upstream => plain(ErrorCode::ProviderFailed, "ready"),
        }
    }
}

/// Ends a test that would wait for ever: a look that a cloud turns away is repeated, and the clock of tests stands still.
pub(crate) async fn in_time(test: impl Future<Output = ()>) {
    tokio::time::timeout(Duration::from_mins(2), test).await.unwrap();
}

fn states(executor: &RemoteExecutor) -> Vec<&'static str> {
    let state = |key: &KeyStatus| if key.model_rests.is_empty() { key.state } else { "resting for the model" };
    executor.statuses()[0].keys.iter().map(state).collect()
}

/// A request as a snapshot has it: without what a client adds by itself, and without what is `hidden`.
fn shown(request: &Recorded, hidden: &[&str]) -> Value {
    let told = |name: &str, value: &str| if hidden.contains(&name) { "(hidden)".to_owned() } else { value.to_owned() };
    let own = ["host", "content-length", "user-agent", "accept-encoding"];
    let headers: Value = request
        .headers
        .iter()
        .filter(|(name, _)| !own.contains(&name.as_str()))
        .map(|(name, value)| (name.to_string(), told(name.as_str(), value.to_str().unwrap())))
        .collect();
    let query: Value = request.query().into_iter().map(|(name, value)| (name.clone(), told(&name, &value))).collect();
    let mut body = request.json();
    if body.is_null() {
        body = String::from_utf8_lossy(&request.body).lines().collect();
    }
    for name in hidden {
        if let Some(value) = body.get_mut(*name) {
            *value = json!("(hidden)");
        }
    }
    json!({ "method": request.method, "path": request.path(), "query": query, "headers": headers, "body": body })
}

/// What is asked for is made, kept and paid for, and the key goes nowhere but to the provider.
pub(crate) async fn what_is_asked_for_is_made(subject: &Subject) {
    let (stage, mock) = subject.start().await;
    let told = Arc::new(Mutex::new(Vec::new()));
    let progress = told.clone();
    let work = RemoteWork { progress: Arc::new(move |percent| progress.lock().push(percent)), ..Stage::work(&subject.request) };
    let (result, cost) = completed(stage.executor(&subject.settings(&mock, &[("a", None)])).run(work).await);

    let [artifact] = &result.artifacts[..] else { panic!("{result:?}") };
    let kept = stage.storage.get(&artifact.key).await.unwrap();
    let expected = if artifact.video.is_some() { film() } else { picture() };
    assert!(kept == expected, "it is kept as it came");
    let folder = if artifact.video.is_some() { "videos" } else { "images" };
    assert!(artifact.key.starts_with(&format!("{folder}/{}_", subject.kind.as_str())), "{}", artifact.key);

    let call = stage.calls().await.remove(0);
    assert_eq!((call.call.estimated.get(), cost), subject.cost);
    assert_eq!(stage.only_call().await, (CallState::Finished, Some(cost)));
    assert_eq!((call.call.key.as_str(), call.failure), ("a", None));
    assert_eq!(call.remote_id.is_some(), subject.polls > 0);
    assert_eq!(result.manifest["remote_task_id"], json!(call.remote_id));

    let count = |route: &str| mock.recorded(route).len();
    let files = usize::from(subject.result != ResultPlace::Inside);
    assert_eq!([count("create"), count("poll"), count("fetch"), count("file")], [1, subject.polls, subject.fetches, files]);
    for route in ["create", "poll", "fetch"] {
        assert!(subject.keys(&mock.recorded(route)).iter().all(|key| key == "a"), "{route}");
    }
    for file in mock.recorded("file") {
        assert_eq!((subject.key_of)(&file), if subject.file_needs_key { "a" } else { "" });
        let shown = format!("{} {:?}", file.target, file.headers);
        assert!(subject.file_needs_key || !shown.contains(&secret_of_key("a")), "{shown}");
    }
    let told = told.lock().clone();
    assert!(told.is_sorted() && told.iter().all(|percent| *percent < 100), "{told:?}");
    assert!(!result.manifest.to_string().contains(&secret_of_key("a")));

    insta::assert_json_snapshot!(format!("create_{}", subject.name), shown(&mock.recorded("create")[0], subject.hidden));
}

/// Every way in which creates fail has its class, and what follows from it.
pub(crate) async fn every_refusal_has_its_consequence(subject: &Subject) {
    let page = Answer::Bytes(502, "text/html", b"<html><title>502 Bad Gateway</title></html>".to_vec());
    let everywhere: [Failing; 5] = [
        ("cut off", Answer::UsualCutOff, FailureClass::OutcomeUnknown),
        ("no JSON", Answer::Bytes(200, "application/json", b"fine".to_vec()), FailureClass::OutcomeUnknown),
        ("nothing in it", Answer::Json(200, json!({})), FailureClass::OutcomeUnknown),
        ("a gateway's page", page, FailureClass::OutcomeUnknown),
        ("a redirect", Answer::Redirect("http://127.0.0.2/".to_owned()), FailureClass::Upstream),
    ];
    let all = subject.refusals.iter().chain(&everywhere);
    join_all(all.map(|(name, answer, class)| refused(subject, name, answer, *class))).await;
}

async fn refused(subject: &Subject, name: &str, answer: &Answer, class: FailureClass) {
    let (stage, mock) = subject.start().await;
    let answer = Subject::repeating_the_key(answer);
    // A rest that is longer than a task waits.
    mock.always("create", if class == FailureClass::RateLimit { Subject::after(&answer, "600") } else { answer });
    let executor = stage.executor(&subject.settings(&mock, &[("a", None)]));
    let (code, message, cost) = failed(executor.run(Stage::work(&subject.request)).await);
    let expected = Consequence::of(class, subject.knows_our_id);
    let charged = if expected.is_charged { subject.cost.0 } else { 0 };
    assert_eq!((code, cost), (expected.code, charged), "{name}: {message}");
    assert_eq!((mock.recorded("create").len(), mock.recorded("poll").len()), (expected.creates, 0), "{name}: {message}");
    assert_eq!(states(&executor), [expected.key], "{name}: {message}");
    let calls = stage.calls().await;
    let last = calls.last().unwrap();
    assert_eq!((last.state, last.settled.unwrap().get()), (expected.state, charged), "{name}");
    assert_eq!(calls.iter().map(|call| call.settled.unwrap().get()).sum::<i64>(), charged, "{name}");
    let (_, words) = last.failure.clone().unwrap();
    assert!(message.starts_with(&format!("{}: ", subject.kind.as_str())) && !message.contains('\n'), "{name}: {message}");
    assert!(!format!("{message} {words}").contains("secret-of"), "{name}: {message} {words}");
}

/// Tasks that were taken and failed. Nothing is made again, with this key or another one.
pub(crate) async fn every_failed_task_has_its_consequence(subject: &Subject) {
    let all = subject.task_failures.iter().flat_map(|failing| [(failing, false), (failing, true)]);
    join_all(all.map(async |((name, answer, class), bills_failures)| {
        let (stage, mock) = subject.start().await;
        let mut settings = subject.settings(&mock, &[("a", None), ("b", None)]);
        settings.providers.get_mut(&id(subject.kind)).unwrap().bills_failures = bills_failures;
        mock.script("poll", [Answer::Usual, Subject::repeating_the_key(answer)]);
        let (code, message, cost) = failed(stage.run(&settings, &subject.request).await);
        let charged = if bills_failures { subject.cost.0 } else { 0 };
        let expected = Consequence::of(*class, false).code;
        assert_eq!(
            (code, cost, stage.only_call().await),
            (expected, charged, (CallState::Failed, Some(charged))),
            "{name}: {message}"
        );
        assert_eq!((mock.recorded("create").len(), mock.recorded("poll").len()), (1, 2), "{name}");
        assert!(!message.contains("secret-of") && !message.contains('\n'), "{name}: {message}");
        assert_eq!(stage.files(), Vec::<String>::new(), "{name}");
    }))
    .await;
}

/// Looks that fail, or say what nobody understands, are repeated.
pub(crate) async fn looks_that_fail_are_repeated(subject: &Subject) {
    let (stage, mock) = subject.start().await;
    let page = Answer::Bytes(502, "text/html", b"<html>".to_vec());
    let mut puzzles = vec![page, Answer::UsualCutOff, Answer::Json(500, json!({})), Answer::Broken(200, b"{".to_vec())];
    puzzles.extend(subject.puzzles.iter().cloned());
    // One of them was a look at the task all the same.
    let looks = subject.polls - 1 + puzzles.len();
    mock.script("poll", puzzles);
    let (_, cost) = completed(stage.run(&subject.settings(&mock, &[("a", None)]), &subject.request).await);
    assert_eq!((cost, mock.recorded("create").len(), mock.recorded("poll").len()), (subject.cost.1, 1, looks));
}

/// A task that cannot be looked at any more may go on and be billed.
pub(crate) async fn a_task_that_is_out_of_sight_keeps_its_cost(subject: &Subject) {
    let (stage, mock) = subject.start().await;
    mock.always("poll", Subject::repeating_the_key(subject.lost_sight.as_ref().unwrap()));
    let (code, message, cost) = failed(stage.run(&subject.settings(&mock, &[("a", None)]), &subject.request).await);
    assert_eq!((code, cost), (ErrorCode::ProviderFailed, subject.cost.0), "{message}");
    assert_eq!(stage.only_call().await, (CallState::Unknown, Some(subject.cost.0)));
    assert!(mock.recorded("poll").len() == 3 && !message.contains("secret-of"), "{message}");
}

/// A link that is not valid any more is asked for anew.
pub(crate) async fn a_link_that_has_expired_is_asked_for_anew(subject: &Subject) {
    let (stage, mock) = subject.start().await;
    mock.script("file", [Answer::Bytes(403, "application/xml", b"<Error>AccessDenied</Error>".to_vec())]);
    let (result, cost) = completed(stage.run(&subject.settings(&mock, &[("a", None)]), &subject.request).await);
    assert_eq!((result.artifacts.len(), cost, stage.only_call().await.0), (1, subject.cost.1, CallState::Finished));
    let files = mock.recorded("file");
    assert_eq!((files.len(), mock.recorded("create").len(), mock.recorded("poll").len()), (2, 1, subject.polls + 1));
    let is_fresh = files[0].target != files[1].target;
    assert_eq!(is_fresh, subject.result == ResultPlace::FreshLinks, "{} {}", files[0].target, files[1].target);
}

/// The server ends while the task runs. The next one goes on with it, with the key that made it, and makes nothing.
pub(crate) async fn a_task_is_followed_by_the_next_server(subject: &Subject) {
    assert!(subject.polls > 1);
    let (stage, mock) = subject.start().await;
    let settings = subject.settings(&mock, &[("a", None), ("b", None)]);
    let (work, gate) = (Stage::work(&subject.request), Gate::closed());
    mock.script("poll", [Answer::Usual, Answer::Gated(gate.clone(), Box::new(Answer::Json(500, json!({}))))]);
    left_at(&gate, stage.executor(&settings), &work).await;
    assert_eq!(stage.only_call().await, (CallState::Running, None));
    let (result, cost) = completed(stage.executor(&settings).run(again(&work)).await);
    assert_eq!((cost, stage.only_call().await), (subject.cost.1, (CallState::Finished, Some(subject.cost.1))));
    assert_eq!((mock.recorded("create").len(), mock.recorded("poll").len()), (1, subject.polls + 1));
    let keys = [subject.keys(&mock.recorded("create")), subject.keys(&mock.recorded("poll"))].concat();
    assert!(keys.iter().all(|key| key == "a"), "{keys:?}");

    // A server may also end after the task has, and before it said so.
    let (same, cost) = completed(stage.executor(&settings).run(again(&work)).await);
    assert_eq!((cost, mock.recorded("create").len()), (subject.cost.1, 1));
    assert_eq!(same.artifacts[0].sha256, result.artifacts[0].sha256);
}

/// The server ends while a create is on its way. The next one sends it again only under the same id of ours.
pub(crate) async fn a_create_that_nobody_saw_answered(subject: &Subject) {
    let (stage, mock) = subject.start().await;
    let settings = subject.settings(&mock, &[("a", None), ("b", None)]);
    let (work, gate) = (Stage::work(&subject.request), Gate::closed());
    // The provider never sees what stands before the gate.
    mock.script("create", [Answer::GatedUsual(gate.clone())]);
    left_at(&gate, stage.executor(&settings), &work).await;
    assert_eq!(stage.only_call().await, (CallState::Sending, None), "it is on the disk before it is sent");
    let ending = stage.executor(&settings).run(again(&work)).await;
    let creates = mock.recorded("create");
    if subject.knows_our_id {
        assert_eq!(completed(ending).1, subject.cost.1);
        assert_eq!(creates.len(), 2);
        assert_eq!(creates[0].json(), creates[1].json());
        assert_eq!(subject.keys(&creates), ["a", "a"]);
    } else {
        let (code, message, cost) = failed(ending);
        assert_eq!((code, cost, creates.len()), (ErrorCode::OutcomeUnknown, subject.cost.0, 1), "{message}");
        assert_eq!(stage.only_call().await, (CallState::Unknown, Some(subject.cost.0)));
    }
}

/// A key that the provider does not know is disabled, and the next one is used.
pub(crate) async fn a_key_that_is_refused_is_passed_over(subject: &Subject) {
    assert!(!KNOWN_KEYS.contains(&"z"));
    let (stage, mock) = subject.start().await;
    let executor = stage.executor(&subject.settings(&mock, &[("z", None), ("b", None)]));
    for creates in [2, 3] {
        completed(executor.run(Stage::work(&subject.request)).await);
        assert_eq!(states(&executor), ["disabled", "ready"]);
        assert_eq!(mock.recorded("create").len(), creates);
    }
    let calls = stage.calls().await;
    let told: Vec<(&str, CallState)> = calls.iter().map(|call| (call.call.key.as_str(), call.state)).collect();
    assert_eq!(told, [("z", CallState::Failed), ("b", CallState::Finished), ("b", CallState::Finished)]);
    let (word, message) = calls[0].failure.clone().unwrap();
    assert!(word == "authentication" && !message.contains("secret-of"), "{word}: {message}");
}

/// A key that asked for too much rests: another one is used meanwhile, or its rest is waited for.
pub(crate) async fn a_key_that_asked_for_too_much_rests(subject: &Subject) {
    let (stage, mock) = subject.start().await;
    mock.script("create", [Subject::after(&subject.too_many, "20")]);
    let executor = stage.executor(&subject.settings(&mock, &[("a", None), ("b", None)]));
    completed(executor.run(Stage::work(&subject.request)).await);
    assert_eq!(subject.keys(&mock.recorded("create")), ["a", "b"]);
    assert_eq!(states(&executor), ["resting", "ready"]);
    stage.clock.advance_seconds(20);
    assert_eq!(states(&executor), ["ready", "ready"]);

    // Where the provider does not say how long, it rests for a while all the same.
    let executor = stage.executor(&subject.settings(&mock, &[("b", None)]));
    mock.script("create", [subject.too_many.clone()]);
    let rest = async {
        mock.wait_for("create", 3).await;
        while states(&executor) != ["resting"] {
            tokio::task::yield_now().await;
        }
        stage.clock.advance_seconds(45);
    };
    let (ending, ()) = tokio::join!(executor.run(Stage::work(&subject.request)), rest);
    completed(ending);
    assert_eq!(subject.keys(&mock.recorded("create")), ["a", "b", "b", "b"]);
}

/// Keys take turns, and none has more tasks than it may have.
pub(crate) async fn keys_take_turns(subject: &Subject) {
    let (stage, mock) = subject.start().await;
    let (provider, gate, route) = (id(subject.kind), Gate::closed(), subject.long_route());
    mock.script(route, [Answer::GatedUsual(gate.clone()), Answer::GatedUsual(gate.clone())]);
    let executor = stage.executor(&subject.settings(&mock, &[("a", Some(1)), ("b", Some(1))]));
    let third = async {
        mock.wait_for(route, 2).await;
        assert!(!executor.has_room(&provider));
        assert_eq!((executor.statuses()[0].in_flight, executor.statuses()[0].health), (2, ProviderHealth::Busy));
        let open = async {
            // It waits for a place, and has not been sent.
            assert_eq!(mock.recorded("create").len(), 2);
            gate.open();
        };
        tokio::join!(executor.run(Stage::work(&subject.request)), open).0
    };
    let run = || executor.run(Stage::work(&subject.request));
    let (first, second, third) = tokio::join!(run(), run(), third);
    for ending in [first, second, third] {
        completed(ending);
    }
    // Two that are sent at a time may arrive in any order.
    let mut creates = subject.keys(&mock.recorded("create"));
    creates[..2].sort();
    assert!(creates.len() == 3 && creates[..2] == ["a", "b"], "{creates:?}");
    assert_eq!(executor.statuses()[0].in_flight, 0);
}

/// An account that has no money left is disabled, and the next one is used.
pub(crate) async fn an_account_without_money_gives_way_to_the_next_one(subject: &Subject) {
    let (stage, mock) = subject.start().await;
    let executor = stage.executor(&subject.settings(&mock, &[(POOR_KEY, None), ("a", None)]));
    for creates in [2, 3] {
        let (_, cost) = completed(executor.run(Stage::work(&subject.request)).await);
        assert_eq!((cost, mock.recorded("create").len()), (subject.cost.1, creates));
    }
    let status = executor.statuses().remove(0);
    assert_eq!((status.keys[0].state, status.keys[0].reason), ("disabled", Some("billing")));
    assert_eq!((status.keys[1].state, status.in_flight), ("ready", 0));
}

/// Cancels a task once its cloud has answered so many looks at it: how often the provider is asked to cancel it, and what it costs all the same.
/// Gives the cloud.
pub(crate) async fn cancelled_after(subject: &Subject, cloud: Box<dyn Cloud>, looks: usize, cancels: usize, cost: i64) -> Mock {
    let (stage, mock) = (Stage::new().await, Mock::start_boxed(cloud).await);
    let executor = stage.executor(&subject.settings(&mock, &[("a", None)]));
    let work = Stage::work(&subject.request);
    let cancel = async {
        // The look before this one was answered.
        mock.wait_for("poll", looks + 1).await;
        work.stop.cancel();
    };
    let (ending, ()) = tokio::join!(executor.run(work.clone()), cancel);
    assert_eq!(ending, RemoteEnding::Cancelled { cost_micros: cost });
    assert_eq!((mock.recorded("cancel").len(), stage.only_call().await), (cancels, (CallState::Cancelled, Some(cost))));
    assert_eq!((executor.statuses()[0].in_flight, stage.files()), (0, Vec::new()));
    mock
}

/// The create of a film of a model that begins with a picture.
pub(crate) async fn create_with_a_first_frame(subject: &Subject, model: &str, seconds: u32) -> Recorded {
    let (stage, mock) = subject.start().await;
    let (width, height) = (400, 320);
    let png = encode_png(width, height, &vec![90; (width * height * 3) as usize], &PngText::default()).unwrap();
    stage.storage.put("parts/first.png", png.into()).await.unwrap();
    let file = Some(InputFile { key: "parts/first.png".to_owned(), sha256: String::new() });
    let pictures = vec![RemotePicture { role: PictureRole::FirstFrame, file, width, height }];
    let usual = subject.request.clone();
    let request = RemoteRequest { provider_model: model.to_owned(), seconds: Some(seconds), pictures, ..usual };
    completed(stage.run(&subject.settings(&mock, &[("a", None)]), &request).await);
    mock.recorded("create").remove(0)
}

/// Somebody cancels a task that waits, and one that runs. Where the provider cannot, what it makes is paid for.
pub(crate) async fn a_task_is_cancelled(subject: &Subject) {
    assert!(subject.polls > 1);
    let answers: Vec<(Option<&Answer>, bool)> = match &subject.cancellations[..] {
        [] => vec![(None, false)],
        some => some.iter().map(|(answer, is_free)| (Some(answer), *is_free)).collect(),
    };
    let all = answers.into_iter().flat_map(|answer| [(answer, 0), (answer, 1)]);
    join_all(all.map(async |((answer, is_free), looks_before)| {
        let (stage, mock) = subject.start().await;
        let gate = Gate::closed();
        mock.script("poll", std::iter::repeat_n(Answer::Usual, looks_before));
        mock.script("poll", [Answer::GatedUsual(gate.clone())]);
        if let Some(answer) = answer {
            mock.always("cancel", answer.clone());
        }
        let executor = stage.executor(&subject.settings(&mock, &[("a", None)]));
        let work = Stage::work(&subject.request);
        let cancel = async {
            gate.reached().await;
            work.stop.cancel();
            gate.open();
        };
        let (ending, ()) = tokio::join!(executor.run(work.clone()), cancel);
        // The look at which it is cancelled finds that it runs, where there was one before.
        let while_running = if looks_before > 0 { subject.while_running } else { WhileRunning::AsBefore };
        let cost = if is_free && while_running == WhileRunning::AsBefore { 0 } else { subject.cost.0 };
        assert_eq!(ending, RemoteEnding::Cancelled { cost_micros: cost }, "{answer:?} after {looks_before} looks");
        assert_eq!(stage.only_call().await, (CallState::Cancelled, Some(cost)));
        let cancels = subject.keys(&mock.recorded("cancel"));
        assert_eq!(cancels, vec!["a"; usize::from(answer.is_some() && while_running != WhileRunning::NotAsked)]);
        assert_eq!(mock.recorded("poll").len(), looks_before + 1, "it is not looked at any more");
        assert_eq!((executor.statuses()[0].in_flight, stage.files()), (0, Vec::<String>::new()));
    }))
    .await;
}
