//! `/sdapi/v1`: pictures in the words of Stable Diffusion web UI's clients.

use axum::body::Body;
use axum::http::{Method, Request, StatusCode};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use framewright::domain::{ErrorCode, JobState, Principal};
use framewright::execution::FakeFailure;
use framewright::media::decode::decode_image;
use framewright::media::encode::{PngText, encode_jpeg, encode_png};
use framewright::media::png_text::read_png_texts;
use insta::assert_json_snapshot;
use rstest::rstest;
use serde_json::{Value, json};
use tower::ServiceExt;

use super::stable;
use crate::harness::{Answer, MASTER_KEY, Options, TestServer};

const TXT2IMG: &str = "/sdapi/v1/txt2img";
const IMG2IMG: &str = "/sdapi/v1/img2img";
const PROGRESS: &str = "/sdapi/v1/progress";
const OPTIONS: &str = "/sdapi/v1/options";

fn picture(base64: &Value) -> Vec<u8> {
    BASE64_STANDARD.decode(base64.as_str().unwrap()).unwrap()
}

fn png_of(width: u32, height: u32) -> String {
    BASE64_STANDARD.encode(encode_png(width, height, &vec![90; (width * height * 3) as usize], &PngText::default()).unwrap())
}

fn info(answer: &Answer) -> Value {
    serde_json::from_str(answer.json()["info"].as_str().unwrap()).unwrap()
}

/// A small request, and more fields.
fn small(fields: &Value) -> Value {
    let mut body = json!({"prompt": "a red circle", "steps": 2, "width": 128, "height": 64, "seed": 7});
    body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    body
}

async fn newest_task(server: &TestServer) -> Value {
    server.get("/api/v1/tasks").await.json()["tasks"][0].clone()
}

async fn wait_for_task(server: &TestServer, is_wanted: impl Fn(&Value) -> bool) -> String {
    loop {
        let task = newest_task(server).await;
        if is_wanted(&task) {
            return task["task_id"].as_str().unwrap().to_owned();
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn pictures_come_with_the_request_and_what_made_them() {
    let server = TestServer::start().await;
    let body = small(&json!({
        "negative_prompt": "blurry", "batch_size": 1, "n_iter": 2, "sampler_name": "DPM++ 2M", "scheduler": "Karras",
        "force_task_id": "task(x)", "alwayson_scripts": {}, "nobody_knows_this": {"a": [1]}
    }));
    let answer = server.post(TXT2IMG, &body).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    assert!(answer.header("x-task-id").starts_with("job_"));
    let (json, info) = (answer.json(), info(&answer));
    let images = json["images"].as_array().unwrap();
    assert_eq!(images.len(), 2);
    for (image, infotext) in images.iter().zip(info["infotexts"].as_array().unwrap()) {
        let png = picture(image);
        decode_image(&png).unwrap();
        let texts = read_png_texts(&png).unwrap();
        let parameters = texts.iter().find(|(keyword, _)| keyword == "parameters").unwrap();
        assert_eq!(json!(parameters.1), *infotext);
    }
    assert!(
        info["infotexts"][1].as_str().unwrap().contains("Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 7, Seed: 8"),
        "{info}"
    );
    let mut settings = stable();
    settings.add_filter("[0-9a-f]{10}", "HASH");
    settings.add_filter(env!("CARGO_PKG_VERSION").replace('.', "\\.").as_str(), "VERSION");
    settings.bind(|| {
        assert_json_snapshot!("info", info);
        assert_json_snapshot!("parameters", json["parameters"]);
    });
}

#[tokio::test]
async fn what_is_absent_has_the_web_uis_defaults() {
    let server = TestServer::start().await;
    let answer = server.post(TXT2IMG, &json!({})).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    let parameters = answer.json()["parameters"].clone();
    for (name, value) in [
        ("steps", json!(50)),
        ("cfg_scale", json!(7.0)),
        ("width", json!(512)),
        ("seed", json!(-1)),
        ("sampler_index", json!("Euler")),
    ] {
        assert_eq!(parameters[name], value, "{name}");
    }
    let seed = info(&answer)["seed"].as_u64().unwrap();
    assert!(u32::try_from(seed).is_ok(), "random, and told: {seed}");
}

#[tokio::test]
async fn pictures_may_stay_behind() {
    let server = TestServer::start().await;
    let answer = server.post(TXT2IMG, &small(&json!({"send_images": false, "save_images": true}))).await;
    assert_eq!(answer.json()["images"], json!([]));
    assert_eq!(info(&answer)["infotexts"].as_array().unwrap().len(), 1);
    assert_eq!(newest_task(&server).await["status"], "completed");
}

#[tokio::test]
async fn a_picture_is_started_from() {
    let server = TestServer::start().await;
    let link = format!("data:image/png;base64,{}", png_of(64, 64));
    let fields = json!({"init_images": [link], "denoising_strength": 0.5, "steps": 4, "mask": null, "resize_mode": 0});
    let answer = server.post(IMG2IMG, &small(&fields)).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    let info = info(&answer);
    assert_eq!(info["denoising_strength"], 0.5);
    assert!(info["infotexts"][0].as_str().unwrap().contains("Denoising strength: 0.5"));
    let parameters = &answer.json()["parameters"];
    assert_eq!((&parameters["init_images"], &parameters["denoising_strength"]), (&Value::Null, &json!(0.5)));

    for (mode, status) in [(1, 200), (2, 200), (3, 422), (4, 422)] {
        let fields = json!({"init_images": [png_of(64, 64)], "resize_mode": mode});
        let answer = server.post(IMG2IMG, &small(&fields)).await;
        assert_eq!(answer.status.as_u16(), status, "{mode}: {}", answer.text());
    }

    let fields = json!({"init_images": [png_of(8, 8)], "include_init_images": true});
    let answer = server.post(IMG2IMG, &small(&fields)).await;
    assert_eq!(answer.json()["parameters"]["init_images"], fields["init_images"]);
}

#[tokio::test]
async fn what_a_mask_shows_is_repainted() {
    let server = TestServer::start().await;
    let mask = |bytes: &[u8]| BASE64_STANDARD.encode(encode_png(2, 1, bytes, &PngText::default()).unwrap());
    // The second of two pixels is repainted, asked for either way.
    let right = mask(&[0, 0, 0, 255, 255, 255]);
    let left = mask(&[255, 255, 255, 0, 0, 0]);
    for (mask, invert) in [(right, json!(0)), (left, json!(1))] {
        let fields = json!({
            "init_images": [png_of(64, 64)], "mask": mask, "inpainting_mask_invert": invert, "denoising_strength": 0.5, "steps": 4,
            "mask_blur": 4, "inpainting_fill": 1, "inpaint_full_res": false, "inpaint_full_res_padding": 32
        });
        let answer = server.post(IMG2IMG, &small(&fields)).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
        assert!(info(&answer)["infotexts"][0].as_str().unwrap().contains("Mask mode: Inpaint masked"));
        assert_eq!(answer.json()["parameters"]["mask"], Value::Null);
        let administrator = Principal { user: "admin".parse().unwrap(), project: None, admin: true, key: None };
        let job = server.state.jobs.get(&administrator, answer.header("x-task-id").parse().unwrap()).await.unwrap();
        let stored = server.state.storage.get(job.request.image().unwrap().mask.as_ref().unwrap()).await.unwrap();
        assert_eq!(decode_image(&stored).unwrap().rgb, [0, 0, 0, 255, 255, 255]);
    }
    let fields = json!({"init_images": [png_of(64, 64)], "mask": "aGVsbG8="});
    let answer = server.post(IMG2IMG, &small(&fields)).await;
    assert_eq!(answer.json()["detail"][0]["loc"], json!(["body", "mask"]), "{}", answer.text());
}

#[rstest]
#[case("not_json", "txt2img", json!("x"), 422)]
#[case("wrong_type", "txt2img", json!({"steps": "many"}), 422)]
#[case("steps", "txt2img", json!({"steps": 100_000}), 422)]
#[case("size", "txt2img", json!({"width": 100}), 422)]
#[case("guidance", "txt2img", json!({"cfg_scale": 1e9}), 422)]
#[case("sampler", "txt2img", json!({"sampler_name": "DPM++ 3M SDE"}), 404)]
#[case("scheduler", "txt2img", json!({"scheduler": "Beta"}), 422)]
#[case("model", "txt2img", json!({"override_settings": {"sd_model_checkpoint": "no-such"}}), 404)]
#[case("film_model", "txt2img", json!({"override_settings": {"sd_model_checkpoint": "demo-svd"}}), 422)]
#[case("vae", "txt2img", json!({"override_settings": {"sd_vae": "other.pt"}}), 422)]
#[case("hires", "txt2img", json!({"enable_hr": true}), 422)]
#[case("script", "txt2img", json!({"script_name": "X/Y/Z plot"}), 422)]
#[case("always_on", "txt2img", json!({"alwayson_scripts": {"ControlNet": {"args": [{"image": "x"}]}}}), 422)]
#[case("lora", "txt2img", json!({"prompt": "a <lora:style_v2:0.8>"}), 422)]
#[case("pictures", "txt2img", json!({"batch_size": 8, "n_iter": 8}), 422)]
#[case("seed", "txt2img", json!({"seed": -2}), 422)]
#[case("no_picture", "img2img", json!({}), 422)]
#[case("bad_picture", "img2img", json!({"init_images": ["aGVsbG8="]}), 422)]
#[case("strength", "img2img", json!({"init_images": [png_of(8, 8)], "denoising_strength": 0}), 422)]
#[tokio::test]
async fn refusals_have_the_web_uis_form(#[case] name: &str, #[case] route: &str, #[case] body: Value, #[case] status: u16) {
    let server = TestServer::start().await;
    let body = if body.is_object() { small(&body) } else { body };
    let answer = server.post(&format!("/sdapi/v1/{route}"), &body).await;
    assert_eq!(answer.status.as_u16(), status, "{}", answer.text());
    stable().bind(|| assert_json_snapshot!(format!("refusal_{name}"), answer.json()));
}

#[tokio::test]
async fn other_failures_have_the_web_uis_form_too() {
    let server = TestServer::start().await;
    server.device.plan(FakeFailure::Fail { after_steps: 0, code: ErrorCode::DeviceFailed });
    let answer = server.post(TXT2IMG, &small(&json!({}))).await;
    assert_eq!(answer.status, StatusCode::INTERNAL_SERVER_ERROR);
    stable().bind(|| assert_json_snapshot!("failed", answer.json()));

    let answer = server.get("/sdapi/v1/no-such").await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
    stable().bind(|| assert_json_snapshot!("no_route", answer.json()));

    let full = TestServer::start_with(Options { has_device: false, queue_limit: 0, ..Options::default() }).await;
    let answer = full.post(TXT2IMG, &small(&json!({}))).await;
    assert_eq!((answer.status, answer.header("retry-after")), (StatusCode::TOO_MANY_REQUESTS, "10"));
    assert_eq!(answer.json()["error"], "HTTPException");
}

#[tokio::test]
async fn the_key_may_be_a_password() {
    let server = TestServer::start().await;
    let with = |path: &str, value: String| Request::get(path).header("authorization", value).body(Body::empty()).unwrap();
    let basic = |user: &str, password: &str| format!("Basic {}", BASE64_STANDARD.encode(format!("{user}:{password}")));
    let key = server.user_key.clone();
    assert_eq!(server.send(with(OPTIONS, basic("anybody", &key))).await.status, StatusCode::OK);
    assert_eq!(server.send(with(OPTIONS, format!("Bearer {key}"))).await.status, StatusCode::OK);
    for refused in [basic("anybody", "wrong"), basic(&key, ""), "Basic %%%".to_owned()] {
        let answer = server.send(with(OPTIONS, refused)).await;
        assert_eq!((answer.status, answer.header("www-authenticate")), (StatusCode::UNAUTHORIZED, "Basic"));
        assert_eq!(answer.json()["error"], "HTTPException", "{}", answer.text());
    }
    // Elsewhere a password is no key.
    let answer = server.send(with("/api/v1/tasks", basic("anybody", &key))).await;
    assert_eq!((answer.status, answer.header("www-authenticate")), (StatusCode::UNAUTHORIZED, "Bearer"));
    assert_eq!(server.get_openly(PROGRESS).await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn progress_is_the_callers_own() {
    let server = TestServer::start().await;
    let other = server.key_of("bert", None).await;
    let idle = server.get(PROGRESS).await.json();
    stable().bind(|| assert_json_snapshot!("idle", idle));

    server.device.plan(FakeFailure::Hang { after_steps: 2 });
    let body = small(&json!({"steps": 8, "n_iter": 2, "force_task_id": "task(mine)"}));
    let looking = async {
        let task = wait_for_task(&server, |task| task["progress"].as_f64().is_some_and(|progress| progress > 0.2)).await;
        let seen = server.get(&format!("{PROGRESS}?skip_current_image=true")).await.json();
        assert_eq!(seen["current_image"], Value::Null);
        stable().bind(|| assert_json_snapshot!("running", seen));

        for name in ["task(mine)", &task] {
            let seen = server.post("/internal/progress", &json!({"id_task": name, "live_preview": false})).await.json();
            assert_eq!((&seen["active"], &seen["queued"], &seen["completed"]), (&json!(true), &json!(false), &json!(false)));
            assert_eq!((&seen["progress"], &seen["id_live_preview"]), (&json!(0.25), &json!(-1)), "{seen}");
        }
        // Nobody else knows of it, nor can stop it.
        assert_eq!(server.send_as(&other, Method::GET, PROGRESS, None).await.json()["state"]["job_count"], 0);
        let asked = json!({"id_task": "task(mine)"});
        let seen = server.send_as(&other, Method::POST, "/internal/progress", Some(&asked)).await.json();
        stable().bind(|| assert_json_snapshot!("unknown_task", seen));
        let seen = server.send_as(&other, Method::POST, "/internal/progress", Some(&json!({"id_task": task}))).await.json();
        assert_eq!(seen["active"], false, "{seen}");
        for key in [other.as_str(), MASTER_KEY] {
            assert_eq!(server.send_as(key, Method::POST, "/sdapi/v1/interrupt", None).await.json(), json!({}));
        }
        assert_eq!(newest_task(&server).await["status"], "running");

        assert_eq!(server.send(server.request(Method::POST, "/sdapi/v1/interrupt", None)).await.json(), json!({}));
        task
    };
    let (answer, task) = tokio::join!(server.post(TXT2IMG, &body), looking);
    // An interruption is no failure.
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    assert_eq!((&answer.json()["images"], &info(&answer)["all_seeds"]), (&json!([]), &json!([7, 8])));
    assert_eq!(newest_task(&server).await["status"], "cancelled");
    for name in ["task(mine)", &task] {
        let seen = server.post("/internal/progress", &json!({"id_task": name})).await.json();
        assert_eq!((&seen["active"], &seen["completed"]), (&json!(false), &json!(true)), "{seen}");
    }
    assert_eq!(server.send(server.request(Method::POST, "/sdapi/v1/interrupt", None)).await.json(), json!({}), "nothing to stop");
}

#[tokio::test]
async fn what_waits_has_a_place() {
    let server = TestServer::start().await;
    let before = server.occupy_device().await;
    let body = small(&json!({"force_task_id": "task(waits)"}));
    let looking = async {
        loop {
            let seen = server.post("/internal/progress", &json!({"id_task": "task(waits)"})).await.json();
            if seen["queued"] == true && seen["textinfo"] != "Waiting..." {
                assert_eq!((&seen["active"], &seen["textinfo"]), (&json!(false), &json!("In queue: 1/1")));
                break;
            }
            tokio::task::yield_now().await;
        }
        server.free_device(&before).await;
    };
    let (answer, ()) = tokio::join!(server.post(TXT2IMG, &body), looking);
    assert_eq!(answer.json()["images"].as_array().unwrap().len(), 1);

    // Without one that runs, the newest that waits is meant.
    let idle = TestServer::start_with(Options { has_device: false, ..Options::default() }).await;
    idle.submit(&json!({"prompt": "x"})).await;
    // The scheduler hears of it a moment after it is stored.
    let seen = loop {
        let seen = idle.get(PROGRESS).await.json();
        if !seen["textinfo"].is_null() {
            break seen;
        }
        tokio::task::yield_now().await;
    };
    assert_eq!(
        (&seen["progress"], &seen["state"]["job_count"], &seen["textinfo"]),
        (&json!(0.0), &json!(1), &json!("In queue: 1/1"))
    );
    assert_eq!(idle.send(idle.request(Method::POST, "/sdapi/v1/skip", None)).await.json(), Value::Null);
    assert_eq!(newest_task(&idle).await["status"], "cancelled");
}

#[tokio::test]
async fn previews_are_shown_to_who_asks_for_them() {
    // Interrupted long before it is done.
    let server = TestServer::start_with(Options { step_ms: 50, ..Options::default() }).await;
    let body = small(&json!({"steps": 150, "force_task_id": "task(p)"}));
    let looking = async {
        let image = loop {
            let seen = server.get(PROGRESS).await.json();
            if seen["current_image"].is_string() {
                break picture(&seen["current_image"]);
            }
            tokio::task::yield_now().await;
        };
        assert!(image.starts_with(b"\x89PNG"));
        let seen = server.post("/internal/progress", &json!({"id_task": "task(p)", "id_live_preview": -1})).await.json();
        let number = seen["id_live_preview"].as_i64().unwrap();
        assert!(number >= 1 && seen["live_preview"].as_str().unwrap().starts_with("data:image/png;base64,"), "{seen}");
        server.post("/sdapi/v1/interrupt", &json!({})).await;
    };
    let (answer, ()) = tokio::join!(server.post(TXT2IMG, &body), looking);
    assert_eq!(answer.json()["images"], json!([]));
}

#[tokio::test]
async fn hanging_up_cancels() {
    let server = TestServer::start().await;
    server.device.plan(FakeFailure::Hang { after_steps: 0 });
    let call = server.router.clone().oneshot(server.request(Method::POST, TXT2IMG, Some(&small(&json!({})))));
    tokio::select! {
        _ = call => panic!("a hanging job has an answer"),
        _ = wait_for_task(&server, |task| task["status"] == "running") => {}
    }
    server.state.background.close();
    server.state.background.wait().await;
    let task = newest_task(&server).await["task_id"].as_str().unwrap().to_owned();
    server.wait(&task).await;
    let administrator = Principal { user: "admin".parse().unwrap(), project: None, admin: true, key: None };
    assert_eq!(server.state.jobs.get(&administrator, task.parse().unwrap()).await.unwrap().state, JobState::Cancelled);
}

#[tokio::test]
async fn the_checkpoint_is_each_callers_own() {
    let models = tempfile::tempdir().unwrap();
    let demo = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("models/demo-sdxl");
    std::os::unix::fs::symlink(demo, models.path().join("other")).unwrap();
    let server = TestServer::start_with(Options { models_dir: Some(models.path().to_owned()), ..Options::default() }).await;
    let bert = server.key_of("bert", None).await;
    // The demo models count for nothing beside others.
    assert_eq!(server.get(OPTIONS).await.json()["sd_model_checkpoint"], "other");
    assert_eq!(server.post(OPTIONS, &json!({"sd_model_checkpoint": "demo-sdxl", "unheard_of": 1})).await.json(), Value::Null);
    let model_of = async |key: &str, fields: Value| {
        let answer = server.send_as(key, Method::POST, TXT2IMG, Some(&small(&fields))).await;
        info(&answer)["sd_model_name"].as_str().unwrap().to_owned()
    };
    assert_eq!(model_of(&server.user_key, json!({})).await, "demo-sdxl");
    assert_eq!(model_of(&bert, json!({})).await, "other");
    // What one request names, the next does not get; titles carry the hash once it is known.
    let listed = server.get("/sdapi/v1/sd-models").await.json();
    let titles: Vec<&str> = listed.as_array().unwrap().iter().map(|model| model["title"].as_str().unwrap()).collect();
    let title = *titles.iter().find(|title| title.starts_with("other [")).unwrap();
    let settings = json!({"override_settings": {"sd_model_checkpoint": title}, "override_settings_restore_afterwards": false});
    assert_eq!(model_of(&server.user_key, settings).await, "other");
    assert_eq!(model_of(&server.user_key, json!({})).await, "demo-sdxl");
    // An unknown one changes nothing, and null takes the choice back.
    let answer = server.post(OPTIONS, &json!({"sd_model_checkpoint": "no-such"})).await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND, "{}", answer.text());
    assert_eq!(server.post(OPTIONS, &json!({"sd_model_checkpoint": "demo-svd"})).await.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(server.get(OPTIONS).await.json()["sd_model_checkpoint"].as_str().unwrap().starts_with("demo-sdxl ["));
    server.post(OPTIONS, &json!({"sd_model_checkpoint": null})).await;
    assert_eq!(model_of(&server.user_key, json!({})).await, "other");
}

#[rstest]
#[case("sd-models")]
#[case("sd-vae")]
#[case("samplers")]
#[case("schedulers")]
#[case("upscalers")]
#[case("latent-upscale-modes")]
#[case("loras")]
#[case("embeddings")]
#[case("hypernetworks")]
#[case("face-restorers")]
#[case("realesrgan-models")]
#[case("prompt-styles")]
#[case("scripts")]
#[case("script-info")]
#[case("extensions")]
#[case("options")]
#[case("cmd-flags")]
#[case("memory")]
#[tokio::test]
async fn what_there_is_is_listed(#[case] name: &str) {
    let server = TestServer::start().await;
    let answer = server.get(&format!("/sdapi/v1/{name}")).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    stable().bind(|| assert_json_snapshot!(format!("list_{name}"), answer.json()));
}

#[tokio::test]
async fn every_listed_sampler_and_schedule_can_be_asked_for() {
    let server = TestServer::start().await;
    for sampler in server.get("/sdapi/v1/samplers").await.json().as_array().unwrap() {
        let answer = server.post(TXT2IMG, &small(&json!({"sampler_name": sampler["name"]}))).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
        assert_eq!(info(&answer)["sampler_name"], sampler["name"]);
    }
    for schedule in server.get("/sdapi/v1/schedulers").await.json().as_array().unwrap() {
        for name in ["name", "label"] {
            let answer = server.post(TXT2IMG, &small(&json!({"sampler_name": "Heun", "scheduler": schedule[name]}))).await;
            assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
        }
    }
}

#[tokio::test]
async fn pictures_say_what_made_them() {
    let server = TestServer::start().await;
    let answer = server.post(TXT2IMG, &small(&json!({"negative_prompt": "blurry"}))).await;
    let read = server.post("/sdapi/v1/png-info", &json!({"image": answer.json()["images"][0]})).await.json();
    assert_eq!(read["info"], info(&answer)["infotexts"][0]);
    assert!(read["items"]["framewright"].is_string());
    for (name, value) in
        [("Prompt", "a red circle"), ("Negative prompt", "blurry"), ("Seed", "7"), ("Size-1", "32"), ("Size-2", "16")]
    {
        // A fake device makes small pictures.
        assert_eq!(read["parameters"][name], value, "{name}");
    }
    // Whatever else is a picture says nothing; what is none is refused.
    let jpeg = BASE64_STANDARD.encode(encode_jpeg(8, 8, &[0; 192], 90).unwrap());
    for silent in [png_of(8, 8), jpeg] {
        let read = server.post("/sdapi/v1/png-info", &json!({"image": silent})).await.json();
        assert_eq!((&read["info"], &read["items"]), (&json!(""), &json!({})));
    }
    for broken in ["", "aGVsbG8=", "%%%", "iVBORw0KGgo="] {
        let answer = server.post("/sdapi/v1/png-info", &json!({"image": broken})).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{broken}: {}", answer.text());
    }
}

#[tokio::test]
async fn a_picture_is_made_larger() {
    let server = TestServer::start().await;
    let path = "/sdapi/v1/extra-single-image";
    let answer = server.post(path, &json!({"image": png_of(16, 8), "upscaler_1": "Lanczos", "upscaling_resize": 4})).await;
    let decoded = decode_image(&picture(&answer.json()["image"])).unwrap();
    assert_eq!((decoded.width, decoded.height), (64, 32));
    assert_eq!(answer.json()["html_info"], "<p>Postprocess upscale by: 4, Postprocess upscaler: Lanczos</p>");
    let answer = server.post(path, &json!({"image": png_of(16, 8)})).await;
    let decoded = decode_image(&picture(&answer.json()["image"])).unwrap();
    assert_eq!((decoded.width, decoded.height), (16, 8), "None leaves it as it is");
    let answer = server.post(path, &json!({"image": png_of(16, 8), "upscaler_1": "R-ESRGAN 4x+"})).await;
    assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(answer.json()["detail"][0]["loc"], json!(["body", "upscaler_1"]));
}

#[tokio::test]
async fn only_administrators_load_and_unload() {
    let server = TestServer::start().await;
    server.post(TXT2IMG, &small(&json!({}))).await;
    let loaded = async || {
        let devices = server.get("/api/v1/devices").await.json();
        devices["devices"][0]["models"].as_array().unwrap().len()
    };
    assert_eq!(loaded().await, 1);
    assert_eq!(server.post("/sdapi/v1/unload-checkpoint", &json!({})).await.json(), json!({}));
    assert_eq!(loaded().await, 1);
    assert_eq!(server.administrate(Method::POST, "/sdapi/v1/unload-checkpoint", None).await.json(), json!({}));
    assert_eq!(loaded().await, 0);
    assert_eq!(server.post("/sdapi/v1/reload-checkpoint", &json!({})).await.json(), json!({}));
    assert_eq!(loaded().await, 0);
    assert_eq!(server.administrate(Method::POST, "/sdapi/v1/reload-checkpoint", None).await.json(), json!({}));
    assert_eq!(loaded().await, 1);
    for refresh in ["checkpoints", "vae", "loras"] {
        assert_eq!(server.post(&format!("/sdapi/v1/refresh-{refresh}"), &json!({})).await.json(), Value::Null);
    }
}
