//! Pictures made on a server, through its native API.

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::StatusCode;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::files::{FinishedPicture, OutputFile};
use super::progress::ProgressDisplay;
use super::server_job::{self, Submission};
use super::{InitImage, Sources, credit, flag_of, notes};
use crate::cli::failure::{Failure, OrFail, Outcome};
use crate::cli::server_client::{Server, describe, message};
use crate::domain::ModelId;
use crate::media::decode::decode_image;
use crate::media::encode::PngText;
use crate::models::parameters::ImageParameters;

/// Between two looks at a task.
const POLL_INTERVAL: Duration = Duration::from_millis(300);
/// Looks that may fail in a row before the server counts as gone (it may be restarting; the task survives that).
const MOST_FAILED_POLLS: u32 = 40;
/// Scenes that are named while they are made.
const SHOWN_SCENES: usize = 3;

/// What to ask of it.
pub(super) struct Request {
    pub(super) model: ModelId,
    pub(super) parameters: ImageParameters,
    pub(super) sources: Sources,
}

/// The part of a task that is looked at here.
#[derive(Debug, Deserialize)]
pub(super) struct Task {
    #[serde(rename = "task_id")]
    id: String,
    status: String,
    #[serde(default)]
    progress: Value,
    #[serde(default)]
    pub(super) result: Value,
    #[serde(default)]
    error: Value,
    queue_position: Option<u64>,
    #[serde(default)]
    scenes: Vec<SceneStanding>,
}

/// A scene of a film.
#[derive(Debug, Deserialize)]
struct SceneStanding {
    id: String,
    status: String,
}

/// Submits the request, follows it to its end and writes the files.
pub(super) async fn generate(server: &Server, request: &Request, output: &OutputFile, out: &mut (dyn Write + Send)) -> Outcome {
    let progress = ProgressDisplay::start("submitting");
    let submission = Submission { path: "api/v1/images/generate", body: &body(request), flag_of: &flag_of };
    server_job::run(server, submission, &progress, async |task| {
        for (index, url) in output_urls(task).or_fail()?.iter().enumerate() {
            let (status, picture) = server.get_link(url).await.or_fail()?;
            if !status.is_success() {
                return Err(refusal_naming(status, &picture, flag_of));
            }
            let path = write(output, index, &picture)?;
            let seed = task.result["outputs"][index]["seed"].as_u64().map(|seed| format!("seed {seed}"));
            let credit = credit::of_server(request.model.as_str(), &task.result["manifest"], Vec::from_iter(seed));
            writeln!(out, "{} ({credit})", path.display()).or_fail()?;
        }
        notes(&task.result["manifest"], out)
    })
    .await
}

fn write(output: &OutputFile, index: usize, file: &[u8]) -> Outcome<PathBuf> {
    if output.takes("image/png") {
        return output.write_bytes(index, file);
    }
    let picture = decode_image(file).or_fail()?;
    let finished = FinishedPicture { width: picture.width, height: picture.height, rgb: &picture.rgb };
    output.write_picture(index, finished, &PngText::default())
}

/// The native request; what was not given is left out, so that the server's defaults hold.
fn body(request: &Request) -> Value {
    let parameters = &request.parameters;
    let mut body = Map::from_iter([("model".to_owned(), json!(request.model)), ("prompt".to_owned(), json!(parameters.prompt))]);
    let mut put = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            body.insert(name.to_owned(), value);
        }
    };
    put("negative_prompt", parameters.negative_prompt.as_ref().map(|text| json!(text)));
    put("width", parameters.width.map(whole));
    put("height", parameters.height.map(whole));
    put("num_inference_steps", parameters.num_inference_steps.map(whole));
    put("guidance_scale", parameters.guidance_scale.map(real));
    put("seed", parameters.seed.map(whole));
    put("sampler", parameters.sampler.as_ref().map(|name| json!(name)));
    put("num_images", parameters.num_images.map(whole));
    put("strength", parameters.strength.map(real));
    let encoded = |image: &InitImage| json!(STANDARD.encode(&image.file));
    put("init_image", request.sources.init_image.as_ref().map(encoded));
    put("mask", request.sources.mask.as_ref().map(encoded));
    Value::Object(body)
}

/// A whole number; one that no JSON number can hold is sent as text, and the server's refusal then names the field.
pub(super) fn whole(number: i128) -> Value {
    i64::try_from(number)
        .map_or_else(|_| u64::try_from(number).map_or_else(|_| json!(number.to_string()), |n| json!(n)), |n| json!(n))
}

/// A number; what is none is sent as text.
pub(super) fn real(number: f64) -> Value {
    if number.is_finite() { json!(number) } else { json!(number.to_string()) }
}

/// The id of an accepted task.
pub(super) fn accepted(answer: &[u8]) -> anyhow::Result<String> {
    let accepted: Task = serde_json::from_slice(answer).context("the server's answer is not a task")?;
    Ok(accepted.id)
}

/// Looks at a task until it has ended.
pub(super) async fn follow(server: &Server, id: &str, progress: &ProgressDisplay) -> anyhow::Result<Task> {
    let path = format!("api/v1/tasks/{id}");
    let mut failed_polls = 0;
    loop {
        let task = match server.get(&path).await {
            Ok((status, answer)) if status.is_success() => {
                serde_json::from_slice::<Task>(&answer).context("the server's answer is not a task")
            }
            Ok((status, answer)) if status.is_client_error() => bail!("{}", describe(status, &answer)),
            Ok((status, answer)) => Err(anyhow!("{}", describe(status, &answer))),
            Err(error) => Err(error),
        };
        match task {
            Ok(task) => {
                failed_polls = 0;
                match task.status.as_str() {
                    "completed" => return Ok(task),
                    "failed" => bail!("the task failed: {}", message(&task.error).unwrap_or("no reason given")),
                    "cancelled" => bail!("the task was cancelled"),
                    _ => show(progress, &task),
                }
            }
            Err(error) => {
                failed_polls += 1;
                if failed_polls >= MOST_FAILED_POLLS {
                    return Err(error);
                }
            }
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

fn show(progress: &ProgressDisplay, task: &Task) {
    if let Some(title) = title(task) {
        progress.title(&title);
    }
    let fraction = task.progress["fraction"].as_f64().or_else(|| task.progress.as_f64());
    if let (Some(step), Some(steps)) = (task.progress["step"].as_u64(), task.progress["steps"].as_u64()) {
        progress.steps(step, steps);
    } else if let Some(fraction) = fraction {
        progress.steps((fraction.clamp(0.0, 1.0) * 100.0) as u64, 100);
    }
}

/// What the server is at: its place in the queue, or the scenes of a film that are being made.
fn title(task: &Task) -> Option<String> {
    if task.status == "queued" {
        let place = task.queue_position?;
        return Some(format!("waiting, place {place}"));
    }
    let made = task.scenes.iter().filter(|scene| scene.status == "completed").count();
    let running: Vec<&str> =
        task.scenes.iter().filter(|scene| scene.status == "running").map(|scene| scene.id.as_str()).take(SHOWN_SCENES).collect();
    match (task.scenes.len(), running.as_slice()) {
        (0, _) => None,
        (all, []) if made == all => Some("joining the scenes".to_owned()),
        (all, running) => Some(format!("{made} of {all} scenes made, now {}", running.join(", "))),
    }
}

/// Links to what a task has made.
pub(super) fn output_urls(task: &Task) -> anyhow::Result<Vec<String>> {
    let outputs = task.result["outputs"].as_array().context("the task has no outputs")?;
    outputs.iter().map(|output| output["url"].as_str().map(ToOwned::to_owned).context("an output has no url")).collect()
}

/// A 4xx about the request is the user's input, at the flag that sets the field; any other refusal is not.
pub(super) fn refusal_naming(status: StatusCode, answer: &[u8], flag_of: impl Fn(&str) -> String) -> Failure {
    let text = describe(status, answer);
    match status {
        StatusCode::BAD_REQUEST | StatusCode::NOT_FOUND | StatusCode::PAYLOAD_TOO_LARGE | StatusCode::UNPROCESSABLE_ENTITY => {
            let body: Value = serde_json::from_slice(answer).unwrap_or_default();
            match body["field"].as_str() {
                Some(field) => Failure::input(&flag_of(field), text),
                None => Failure::Input(text),
            }
        }
        _ => Failure::Other(anyhow!(text)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_given_is_sent() {
        let request = |parameters| Request { model: "demo".parse().unwrap(), parameters, sources: Sources::default() };
        let plain = ImageParameters { prompt: "x".to_owned(), ..ImageParameters::default() };
        assert_eq!(body(&request(plain.clone())), json!({ "model": "demo", "prompt": "x" }));
        let full = ImageParameters {
            width: Some(64),
            seed: Some(u64::MAX.into()),
            guidance_scale: Some(f64::NAN),
            num_images: Some(i128::MAX),
            ..plain
        };
        assert_eq!(
            body(&request(full)),
            json!({ "model": "demo", "prompt": "x", "width": 64, "seed": u64::MAX, "guidance_scale": "NaN",
                    "num_images": i128::MAX.to_string() })
        );
    }

    #[test]
    fn what_is_being_made_is_named() {
        let titled = |fields: Value| title(&serde_json::from_value::<Task>(fields).unwrap());
        let scene = |id: &str, status: &str| json!({ "id": id, "status": status });
        assert_eq!(titled(json!({ "task_id": "job_1", "status": "running", "progress": 0.5 })), None, "a picture");
        assert_eq!(
            titled(json!({ "task_id": "job_1", "status": "queued", "queue_position": 4 })).as_deref(),
            Some("waiting, place 4")
        );
        let film = |scenes: [Value; 3]| titled(json!({ "task_id": "job_1", "status": "running", "scenes": scenes }));
        assert_eq!(
            film([scene("a", "completed"), scene("b", "running"), scene("c", "running")]).as_deref(),
            Some("1 of 3 scenes made, now b, c")
        );
        assert_eq!(film(["a", "b", "c"].map(|id| scene(id, "completed"))).as_deref(), Some("joining the scenes"));
    }

    #[test]
    fn a_refusal_about_a_field_names_its_flag() {
        let refusal = |status, answer: &[u8]| refusal_naming(status, answer, flag_of);
        let failure = refusal(StatusCode::BAD_REQUEST, br#"{"detail":"num_inference_steps is 0","field":"num_inference_steps"}"#);
        assert_eq!(failure.message(), "error: --steps: the server says: num_inference_steps is 0");
        let failure = refusal(StatusCode::UNAUTHORIZED, br#"{"error":{"message":"the API key is not valid"}}"#);
        assert!(matches!(failure, Failure::Other(_)));
        assert_eq!(failure.message(), "error: the server says: the API key is not valid");
        assert_eq!(refusal(StatusCode::BAD_GATEWAY, b"<html>").message(), "error: the server answered 502 Bad Gateway");
    }
}
