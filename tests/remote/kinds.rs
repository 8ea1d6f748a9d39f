//! Providers that the operator tells of: one that a file declares, and services that speak OpenAI's dialect.

use framewright::domain::{
    ErrorCode, GenerationKind, JobKind, OfferedName, PictureForm, ProviderKind, ProviderSettings, RemoteRequest, ToldModel,
};
use framewright::execution::remote::RemoteExecutor;
use framewright::ledger::CallState;
use rstest::rstest;
use serde_json::json;

use crate::providers::{Answer, Mock, OpenAiCloud, ReelworksCloud, film as film_bytes};
use crate::stage::{Stage, completed, failed, film_of, id, settings};

/// The settings of a declared provider.
fn declared(mock: &Mock) -> ProviderSettings {
    let mut settings = settings(mock, ProviderKind::Declared, &[("a", None)]);
    let entry = settings.providers.get_mut(&id(ProviderKind::Declared)).unwrap();
    entry.declaration = Some(ReelworksCloud::declaration());
    settings
}

/// The settings of a service that speaks OpenAI's dialect, with a model of pictures and one of films.
pub(crate) fn openai(mock: &Mock) -> ProviderSettings {
    let mut settings = settings(mock, ProviderKind::Openai, &[("a", None)]);
    let model = |name: &str, kinds: &[GenerationKind], response_format| OfferedName {
        id: name.parse().unwrap(),
        name: name.to_owned(),
        told: ToldModel { kinds: kinds.to_vec(), response_format, ..ToldModel::default() },
    };
    settings.providers.get_mut(&id(ProviderKind::Openai)).unwrap().models = vec![
        model("house-pictures", &[GenerationKind::TextToImage], Some(PictureForm::Base64)),
        model("sora-2", &[GenerationKind::TextToVideo, GenerationKind::ImageToVideo], None),
    ];
    settings
}

fn reel() -> RemoteRequest {
    film_of(ProviderKind::Declared, "reel-1", Some(5))
}

#[tokio::test]
async fn a_declared_provider_makes_a_film() {
    let (stage, mock) = (Stage::new().await, Mock::start(ReelworksCloud).await);
    let settings = declared(&mock);
    let (result, cost) = completed(stage.run(&settings, &reel()).await);
    let [artifact] = &result.artifacts[..] else { panic!("{result:?}") };
    assert_eq!(stage.storage.get(&artifact.key).await.unwrap(), film_bytes());
    assert_eq!(result.manifest["rewritten_prompt"], "a ship, in the rain");
    // Five seconds were asked for; the provider bills four.
    assert_eq!((cost, stage.only_call().await), (400_000, (CallState::Finished, Some(400_000))));

    let create = &mock.recorded("create")[0];
    let parameters = json!({ "size": "1280*720", "duration": 5, "watermark": false });
    let input = json!({ "prompt": "a ship" });
    assert_eq!(create.json(), json!({ "model": "reel-1.4-turbo", "input": input, "parameters": parameters }));
    assert_eq!(create.header("authorization"), "Bearer sk-a");
    assert_eq!(create.header("x-reelworks-version"), "2026-01");
    assert_eq!(create.header("idempotency-key"), stage.calls().await[0].call.our_id);
    assert_eq!((mock.recorded("poll").len(), mock.recorded("fetch").len(), mock.recorded("file").len()), (3, 1, 1));
    assert_eq!(mock.recorded("file")[0].header("authorization"), "", "links are opened without the key");
}

#[tokio::test]
async fn a_declared_provider_refuses_in_its_own_words() {
    let (stage, mock) = (Stage::new().await, Mock::start(ReelworksCloud).await);
    let settings = declared(&mock);
    let error = json!({ "code": "bad_prompt", "message": "no ships" });
    mock.always("poll", Answer::Json(200, json!({ "data": { "state": "broken", "error": error } })));
    let (code, message, cost) = failed(stage.run(&settings, &reel()).await);
    assert_eq!((code, cost), (ErrorCode::ModerationBlocked, 0), "{message}");
    assert!(message.contains("no ships") && !message.contains("sk-a"), "{message}");
    assert_eq!(stage.only_call().await, (CallState::Failed, Some(0)));
}

#[tokio::test]
async fn a_broken_declaration_leaves_the_providers_as_they_were() {
    let (stage, mock) = (Stage::new().await, Mock::start(ReelworksCloud).await);
    let mut settings = declared(&mock);
    let executor: RemoteExecutor = stage.executor(&settings);
    let offered = |executor: &RemoteExecutor| executor.describe().iter().map(|model| model.id.to_string()).collect::<Vec<_>>();
    assert_eq!(offered(&executor), ["reel-1"]);
    let entry = settings.providers.get_mut(&id(ProviderKind::Declared)).unwrap();
    let file = entry.declaration.as_mut().unwrap();
    file.text = file.text.replace("task: /data/id", "tusk: /data/id").into();
    let message = executor.replace(&settings).unwrap_err().to_string();
    assert!(message.starts_with("providers.declared: declaration: reelworks.yaml:"), "{message}");
    assert!(message.contains("tusk") && !message.contains('\n'), "{message}");
    assert_eq!(offered(&executor), ["reel-1"]);
}

#[tokio::test]
async fn a_service_in_openais_dialect_makes_pictures_and_films() {
    let (stage, mock) = (Stage::new().await, Mock::start(OpenAiCloud).await);
    let settings = openai(&mock);
    let pictures = RemoteRequest {
        output: JobKind::Image,
        frame: Some("512x512".parse().unwrap()),
        ..film_of(ProviderKind::Openai, "house-pictures", None)
    };
    let (result, cost) = completed(stage.run(&settings, &pictures).await);
    assert_eq!((result.artifacts.len(), result.artifacts[0].width, cost), (1, 40, 20_000));
    let create = &mock.recorded("create")[0];
    let body = json!({ "model": "house-pictures", "prompt": "a ship", "n": 1, "size": "512x512", "response_format": "b64_json" });
    assert_eq!((create.json(), create.header("authorization")), (body, "Bearer sk-a"));

    let (result, cost) = completed(stage.run(&settings, &film_of(ProviderKind::Openai, "sora-2", Some(4))).await);
    assert_eq!(stage.storage.get(&result.artifacts[0].key).await.unwrap(), film_bytes());
    assert_eq!(cost, 400_000);
    let create = &mock.recorded("create")[1];
    assert!(create.header("content-type").starts_with("multipart/form-data; boundary="));
    let form = String::from_utf8_lossy(&create.body).into_owned();
    assert!(form.contains("name=\"seconds\"\r\n\r\n4\r\n") && form.contains("\r\n\r\n1280x720\r\n"), "{form}");
    assert_eq!((mock.recorded("poll").len(), mock.recorded("file").len()), (3, 1));
    assert_eq!(mock.recorded("file")[0].header("authorization"), "Bearer sk-a", "a film is for the account alone");
}

#[rstest]
#[case::moderation(400, "moderation_blocked", ErrorCode::ModerationBlocked)]
#[case::key(401, "invalid_api_key", ErrorCode::ProviderUnavailable)]
#[case::no_money(429, "insufficient_quota", ErrorCode::ProviderUnavailable)]
#[tokio::test]
async fn a_service_in_openais_dialect_fails(#[case] status: u16, #[case] word: &str, #[case] code: ErrorCode) {
    let (stage, mock) = (Stage::new().await, Mock::start(OpenAiCloud).await);
    mock.always(
        "create",
        Answer::Json(status, json!({ "error": { "code": word, "message": "no", "type": "x", "param": null } })),
    );
    let (found, message, cost) = failed(stage.run(&openai(&mock), &film_of(ProviderKind::Openai, "sora-2", Some(4))).await);
    assert_eq!((found, cost), (code, 0), "{message}");
    assert!(!message.contains("sk-a"), "{message}");
    assert_eq!((mock.recorded("create").len(), mock.recorded("poll").len()), (1, 0));
    assert_eq!(stage.only_call().await, (CallState::Failed, Some(0)));
}
