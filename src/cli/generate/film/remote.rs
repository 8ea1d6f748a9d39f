//! Films made on a server, through its native API.

use std::io::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::super::credit;
use super::super::progress::ProgressDisplay;
use super::super::remote::{output_urls, real, refusal_naming, whole};
use super::super::server_job::{self, Submission};
use super::output::FilmFile;
use super::{Order, VideoArguments};
use crate::cli::failure::{OrFail, Outcome};
use crate::cli::server_client::Server;

/// Submits the request, follows it to its end and writes the file.
pub(super) async fn generate(
    server: &Server,
    body: &Value,
    arguments: &VideoArguments,
    output: &FilmFile,
    out: &mut (dyn Write + Send),
) -> Outcome {
    let flag_of = |field: &str| arguments.flag_of(field);
    let progress = ProgressDisplay::start("submitting");
    let submission = Submission { path: "api/v1/videos/generate", body, flag_of: &flag_of };
    server_job::run(server, submission, &progress, async |task| {
        if let Some(url) = output_urls(task).or_fail()?.first() {
            let (status, film) = server.get_link(url).await.or_fail()?;
            if !status.is_success() {
                return Err(refusal_naming(status, &film, flag_of));
            }
            output.write(&film)?;
        }
        let film = &task.result["outputs"][0];
        let frames = film["video"]["frames"].as_u64().map(|frames| format!("{frames} frames"));
        let seed = film["seed"].as_u64().map(|seed| format!("seed {seed}"));
        let manifest = &task.result["manifest"];
        let credit = credit::of_server(&arguments.model, manifest, frames.into_iter().chain(seed).collect());
        writeln!(out, "{} ({credit})", output.path().display()).or_fail()?;
        super::super::notes(manifest, out)
    })
    .await
}

/// The body of the request: only what was given.
pub(super) fn body(model: &str, image_model: Option<&str>, order: &Order) -> Value {
    let asked = &order.parameters;
    let scenes: Vec<Value> = asked
        .scenes
        .iter()
        .zip(&order.images)
        .map(|(scene, image)| {
            given([
                ("id", scene.id.as_ref().map(|text| json!(text))),
                ("prompt", scene.prompt.as_ref().map(|text| json!(text))),
                ("negative_prompt", scene.negative_prompt.as_ref().map(|text| json!(text))),
                ("duration", scene.duration.map(real)),
                ("image", image.as_ref().map(|file| json!(STANDARD.encode(file)))),
                ("seed", scene.seed.map(whole)),
                ("camera", scene.camera.as_ref().map(|text| json!(text))),
                (
                    "transition",
                    scene.transition.as_ref().map(|transition| {
                        given([("type", Some(json!(transition.kind))), ("duration", transition.duration.map(real))])
                    }),
                ),
            ])
        })
        .collect();
    let config = given([
        ("fps", asked.fps.map(real)),
        ("resolution", asked.size.resolution.as_ref().map(|text| json!(text))),
        ("width", asked.size.width.map(whole)),
        ("height", asked.size.height.map(whole)),
        ("upscale", asked.upscale.as_ref().map(|text| json!(text))),
        ("interpolation", asked.interpolation.as_ref().map(|text| json!(text))),
        ("codec", asked.codec.as_ref().map(|text| json!(text))),
        ("audio", order.audio.as_ref().map(|file| json!(STANDARD.encode(file)))),
    ]);
    given([
        ("model", Some(json!(model))),
        ("image_model", image_model.map(|text| json!(text))),
        ("scenes", Some(json!(scenes))),
        ("video_config", Some(config)),
        ("num_frames", asked.num_frames.map(whole)),
        ("num_inference_steps", asked.num_inference_steps.map(whole)),
        ("min_guidance_scale", asked.min_guidance_scale.map(real)),
        ("max_guidance_scale", asked.max_guidance_scale.map(real)),
        ("motion_bucket_id", asked.motion_bucket_id.map(whole)),
        ("noise_aug_strength", asked.noise_aug_strength.map(real)),
        ("decode_chunk_size", asked.decode_chunk_size.map(whole)),
        ("seed", asked.seed.map(whole)),
    ])
}

fn given<const N: usize>(fields: [(&str, Option<Value>); N]) -> Value {
    let fields = fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
    Value::Object(fields.collect::<Map<_, _>>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::film_parameters::{FilmParameters, SceneParameters};

    #[test]
    fn only_what_was_given_is_sent() {
        let scene = SceneParameters { prompt: Some("x".to_owned()), duration: Some(2.0), ..SceneParameters::default() };
        let parameters = FilmParameters { scenes: vec![scene], fps: Some(12.5), seed: Some(7), ..FilmParameters::default() };
        let order = Order { parameters, images: vec![None], audio: None };
        assert_eq!(
            body("svd", None, &order),
            json!({ "model": "svd", "scenes": [{ "prompt": "x", "duration": 2.0 }], "video_config": { "fps": 12.5 }, "seed": 7 })
        );
    }
}
