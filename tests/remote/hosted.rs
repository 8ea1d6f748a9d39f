//! Services that run models behind one interface: Replicate, fal, Runway and Stability. How each is reached, what is asked of it, and what
//! it lets be seen.

use framewright::domain::{
    GenerationKind, InputNames, JobKind, OfferedName, ProviderKind, ProviderSettings, Ratio, RemoteRequest, ToldModel,
};
use serde_json::{Value, json};

use crate::providers::{FalCloud, Mock, Recorded, ReplicateCloud, RunwayCloud, StabilityCloud, form_fields};
use crate::stage::{film_of, id, settings};

/// Starts a service.
pub(crate) async fn start(kind: ProviderKind) -> Mock {
    match kind {
        ProviderKind::Replicate => Mock::start(ReplicateCloud::default()).await,
        ProviderKind::Fal => Mock::start(FalCloud::default()).await,
        ProviderKind::Runway => Mock::start(RunwayCloud::default()).await,
        ProviderKind::Stability => Mock::start(StabilityCloud).await,
        other => panic!("{other:?} is no hosted service"),
    }
}

/// Starts a service whose tasks get no further than this word of it.
pub(crate) async fn start_until(kind: ProviderKind, word: &str) -> Mock {
    match kind {
        ProviderKind::Replicate => Mock::start(ReplicateCloud::until(word)).await,
        ProviderKind::Fal => Mock::start(FalCloud::until(word)).await,
        ProviderKind::Runway => Mock::start(RunwayCloud::until(word)).await,
        other => panic!("{other:?} has no tasks"),
    }
}

/// The settings of a service with keys of these names, and with its models where it must be told of them.
pub(crate) fn hosted(mock: &Mock, kind: ProviderKind, keys: &[(&str, Option<u32>)]) -> ProviderSettings {
    let mut settings = settings(mock, kind, keys);
    let entry = settings.providers.get_mut(&id(kind)).unwrap();
    if matches!(kind, ProviderKind::Replicate | ProviderKind::Runway) {
        entry.base_url = Some(format!("{}/v1", mock.base()));
    }
    let text = |text: &str| Some(text.to_owned());
    let pictures = |inputs| ToldModel { kinds: vec![GenerationKind::TextToImage], inputs, ..ToldModel::default() };
    let films = |inputs| ToldModel {
        kinds: vec![GenerationKind::TextToVideo, GenerationKind::ImageToVideo],
        inputs,
        seconds: vec![5, 10],
        ..ToldModel::default()
    };
    let seed = InputNames { seed: text("seed"), ..InputNames::default() };
    entry.models = match kind {
        ProviderKind::Replicate => {
            let ratio = InputNames { ratio: text("aspect_ratio"), count: text("num_outputs"), ..seed.clone() };
            let ratios = vec![Ratio::new(1, 1), Ratio::new(16, 9)];
            let fixed = [("output_format".to_owned(), json!("png"))].into();
            let film = InputNames { seconds: text("duration"), first_frame: text("image"), ..seed };
            vec![
                told("flux", "black-forest-labs/flux-schnell", ToldModel { ratios, fixed, ..pictures(ratio) }),
                told("reel", "owner/film", films(film.clone())),
                told("old-reel", &format!("owner/old:{}", crate::providers::VERSION), films(film)),
            ]
        }
        ProviderKind::Fal => {
            let size = InputNames { size_object: text("image_size"), count: text("num_images"), ..seed.clone() };
            let film = InputNames { seconds_text: text("duration"), first_frame: text("image_url"), ..seed };
            vec![told("flux", "fal-ai/flux/dev", pictures(size)), told("reel", "fal-ai/kling-video/v2/master", films(film))]
        }
        _ => Vec::new(),
    };
    settings
}

fn told(id: &str, name: &str, told: ToldModel) -> OfferedName {
    OfferedName { id: id.parse().unwrap(), name: name.to_owned(), told }
}

/// A request for a model, by the service's name of it.
fn request(kind: ProviderKind, name: &str, seconds: Option<u32>) -> RemoteRequest {
    RemoteRequest { provider_model: name.to_owned(), seed: Some(7), ..film_of(kind, "model", seconds) }
}

/// A request that the service fulfils: a film of five seconds, or where it makes none, a picture.
pub(crate) fn usual(kind: ProviderKind) -> RemoteRequest {
    match kind {
        ProviderKind::Replicate => request(kind, "owner/film", Some(5)),
        ProviderKind::Fal => request(kind, "fal-ai/kling-video/v2/master", Some(5)),
        ProviderKind::Runway => request(kind, "gen4.5", Some(5)),
        _ => pictures(kind),
    }
}

/// A request for a film of a version, which Replicate has.
pub(crate) fn version() -> RemoteRequest {
    request(ProviderKind::Replicate, &format!("owner/old:{}", crate::providers::VERSION), Some(10))
}

/// A request for pictures: two, but for Stability, which makes one with a call.
pub(crate) fn pictures(kind: ProviderKind) -> RemoteRequest {
    let (name, frame, count) = match kind {
        ProviderKind::Replicate => ("black-forest-labs/flux-schnell", "16:9", 2),
        ProviderKind::Fal => ("fal-ai/flux/dev", "512x512", 2),
        ProviderKind::Stability => ("stable-image-core", "16:9", 1),
        other => panic!("{other:?} makes no pictures"),
    };
    RemoteRequest { output: JobKind::Image, frame: Some(frame.parse().unwrap()), count, ..request(kind, name, None) }
}

/// What the usual request costs, millionths.
pub(crate) fn usual_cost(kind: ProviderKind) -> i64 {
    if kind == ProviderKind::Stability { 20_000 } else { 500_000 }
}

/// What `Authorization` holds for a key of this name.
pub(crate) fn credential(kind: ProviderKind, key: &str) -> String {
    let word = if kind == ProviderKind::Fal { "Key" } else { "Bearer" };
    format!("{word} sk-{key}")
}

/// A request as a snapshot shows it: without what the connection adds, and without the key.
pub(crate) fn shown(recorded: &Recorded) -> Value {
    let connection = ["host", "content-length", "accept-encoding", "user-agent", "connection"];
    let header = |(name, value): (&axum::http::HeaderName, &axum::http::HeaderValue)| {
        let value = value.to_str().unwrap();
        let value = value.split_once(" sk-").map_or(value, |(word, _)| word);
        let value = value.split_once("boundary=").map_or(value, |(front, _)| front);
        (name.to_string(), json!(value.trim()))
    };
    let headers = recorded.headers.iter().filter(|(name, _)| !connection.contains(&name.as_str()));
    let body = form_fields(recorded).map_or_else(|| without_files(recorded.json()), |fields| json!(fields));
    json!({
        "method": recorded.method,
        "target": recorded.target,
        "headers": headers.map(header).collect::<serde_json::Map<_, _>>(),
        "body": body,
    })
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
