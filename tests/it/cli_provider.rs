//! A provider's film on the command line, and `doctor --providers`, against a provider that behaves as the documents say.

use std::path::Path;
use std::process::Output;

use framewright::media::video::probe;
use rstest::rstest;
use serde_json::json;
use tokio::process::Command;

use crate::providers::{Answer, Gate, MinimaxCloud, Mock, ZhipuaiCloud, picture};

/// What stands in nothing that is printed.
const CANARY: &str = "canary-9f8e7d6c5b4a-of-the-account";

/// A configuration that leads to the mock; the key is in the environment.
fn configured(mock: &Mock) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(directory.path().join(name), text).unwrap();
    write("system.yaml", "egress: { allow: [127.0.0.1/32] }\n");
    let provider = format!(
        "currency: EUR\nproviders:\n  minimax:\n    base_url: {}\n    keys: [{{ env: MINIMAX_API_KEY }}]\n    prices: [{{ per_second: 0.05 }}]\n    poll: {{ first_seconds: 0.01, most_seconds: 0.02 }}\n",
        mock.base()
    );
    write("providers.yaml", &provider);
    directory
}

async fn run(directory: &Path, arguments: &[&str]) -> Output {
    command(directory, arguments).output().await.unwrap()
}

fn command(directory: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_framewright"));
    command
        .args(arguments)
        .args(["--config", "system.yaml", "--data-dir", "data"])
        .current_dir(directory)
        .env_clear()
        .env("HOME", directory.join("home"))
        .env("MINIMAX_API_KEY", CANARY);
    command
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

const GUIDE: [&str; 12] = [
    "generate",
    "video",
    "--prompt",
    "A man picks up a book [Pedestal up], then reads [Static shot].",
    "--model",
    "MiniMax-Hailuo-02",
    "--duration",
    "6",
    "--resolution",
    "768P",
    "--output",
    "out.mp4",
];

#[tokio::test]
async fn the_guides_command_line_makes_a_film() {
    let mock = Mock::start(MinimaxCloud).await;
    let directory = configured(&mock);
    let made = run(directory.path(), &GUIDE).await;
    assert!(made.status.success(), "{}", text(&made.stderr));
    assert_eq!(text(&made.stdout), "out.mp4 (by minimax, 0.3 EUR)\n");
    assert!(probe(&directory.path().join("out.mp4"), &|| false).unwrap().frames > 0);
    let created = &mock.recorded("create")[0];
    let expected = json!({
        "model": "MiniMax-Hailuo-02",
        "prompt": "A man picks up a book [Pedestal up], then reads [Static shot].",
        "duration": 6,
        "resolution": "768P",
    });
    assert_eq!(created.json(), expected);
    assert_eq!(created.header("authorization"), format!("Bearer {CANARY}"));
}

/// A configuration that leads to a service of pictures.
fn configured_for_pictures(mock: &Mock) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(directory.path().join(name), text).unwrap();
    write("system.yaml", "egress: { allow: [127.0.0.1/32] }\n");
    let provider = format!(
        "currency: EUR\nproviders:\n  zhipuai:\n    base_url: {}/api/paas/v4\n    keys: [{{ env: MINIMAX_API_KEY }}]\n    prices: [{{ per_picture: 0.06 }}]\n",
        mock.base()
    );
    write("providers.yaml", &provider);
    write("routes.yaml", "routes: { posters: { targets: [{ model: cogview-4 }, { provider: local, model: demo-sdxl }] } }\n");
    directory
}

#[tokio::test]
async fn a_providers_picture_is_written_as_the_files_name_says() {
    let mock = Mock::start(ZhipuaiCloud::default()).await;
    let directory = configured_for_pictures(&mock);
    let asked = ["generate", "image", "--prompt", "a ship", "--model", "cogview-4", "--output"];
    for name in ["out.png", "out.jpg"] {
        let made = run(directory.path(), &[&asked[..], &[name]].concat()).await;
        assert!(made.status.success(), "{}", text(&made.stderr));
        assert_eq!(text(&made.stdout), format!("{name} (by zhipuai, 0.06 EUR)\n"));
    }
    assert!(std::fs::read(directory.path().join("out.png")).unwrap() == picture(), "it is the provider's file");
    let jpeg = framewright::media::decode::decode_image(&std::fs::read(directory.path().join("out.jpg")).unwrap()).unwrap();
    assert_eq!((jpeg.width, jpeg.height), (40, 30));
    assert_eq!(mock.recorded("create")[0].json()["prompt"], "a ship");
}

#[rstest]
#[case::what_it_has_no_word_for(&["cogview-4", "--steps", "3"], "--steps: cannot be told to 'cogview-4' of provider 'zhipuai'")]
#[case::a_size(&["cogview-4", "--width", "100", "--height", "100"], "error: --width and --height: '100x100' is not possible with cogview-4")]
#[case::a_film(&["cogvideox-3"], "error: --model: 'text to image' is not possible with cogvideox-3")]
#[case::several(&["cogview-4", "--count", "9"], "error: --count: '9' is not possible with cogview-4; allowed: 1 to ")]
#[case::a_route(&["posters"], "--model: 'posters' is a route to cogview-4, demo-sdxl; name one of these, or a server")]
#[case::nobodys(&["cogview-5"], "cogview-5")]
#[tokio::test]
async fn what_a_provider_of_pictures_cannot_do_is_refused(#[case] asked: &[&str], #[case] expected: &str) {
    let mock = Mock::start(ZhipuaiCloud::default()).await;
    let directory = configured_for_pictures(&mock);
    let refused = run(directory.path(), &[&["generate", "image", "--prompt", "a ship", "--model"], asked].concat()).await;
    let said = text(&refused.stderr);
    assert_eq!(refused.status.code(), Some(2), "{said}");
    assert!(said.contains(expected) && said.lines().count() == 1, "{said}");
    assert!(mock.recorded("create").is_empty() && !directory.path().join("out.png").exists());
}

#[tokio::test]
async fn who_will_not_wait_for_an_answer_asks_twice() {
    let mock = Mock::start(MinimaxCloud).await;
    let directory = configured(&mock);
    let gate = Gate::closed();
    mock.script("create", [Answer::GatedUsual(gate.clone())]);
    let mut program = command(directory.path(), &GUIDE);
    let mut running = program.stderr(std::process::Stdio::piped()).spawn().unwrap();
    gate.reached().await;
    let process = running.id().unwrap().to_string();
    // Signals that come together count as one: so many are sent as it takes for two to be heard.
    let ended = loop {
        Command::new("kill").args(["-INT", &process]).status().await.unwrap();
        if let Ok(ended) = tokio::time::timeout(std::time::Duration::from_millis(100), running.wait()).await {
            break ended.unwrap();
        }
    };
    let said = running.wait_with_output().await.unwrap();
    assert_eq!(ended.code(), Some(1), "{said:?}");
    let expected = "error: given up; what minimax was asked for may be made there, and billed\n";
    assert_eq!(text(&said.stderr), expected);
}

#[tokio::test]
async fn models_of_providers_and_routes_are_listed_behind_those_of_this_machine() {
    let mock = Mock::start(ZhipuaiCloud::default()).await;
    let directory = configured_for_pictures(&mock);
    let providers = std::fs::read_to_string(directory.path().join("providers.yaml")).unwrap() + "  aliyun: {}\n";
    std::fs::write(directory.path().join("providers.yaml"), providers).unwrap();
    let listed = run(directory.path(), &["models", "list"]).await;
    let shown = text(&listed.stdout);
    assert!(listed.status.success(), "{}", text(&listed.stderr));
    let place = |line: &str| shown.lines().position(|other| other.starts_with(line)).unwrap_or_else(|| panic!("{line}: {shown}"));
    let lines = [
        "demo-sdxl  ",
        "of providers:",
        "cogview-4  zhipuai  text to image  0.06 EUR a picture",
        "routes, with --server:",
        "posters  fallback  cogview-4 (local), demo-sdxl (local)",
        "note: provider 'aliyun' is off for want of a key: set ALIYUN_API_KEY, or name one under keys",
    ];
    assert!(lines.map(place).is_sorted(), "{shown}");

    let inspected = async |name: &str| {
        let shown = run(directory.path(), &["models", "inspect", name]).await;
        serde_json::from_slice::<serde_json::Value>(&shown.stdout).unwrap_or_else(|_| panic!("{}", text(&shown.stderr)))
    };
    let model = inspected("cogvideox-3").await;
    assert_eq!((&model["provider"], &model["currency"]), (&json!("zhipuai"), &json!("EUR")));
    assert_eq!(model["modes"][0]["kind"], "text to video");
    assert_eq!(model["modes"][0]["seconds"]["allowed"], json!([5, 10]));
    assert!(model["modes"][0]["size"]["sizes"].as_array().unwrap().contains(&json!("1920x1080")), "{model:#}");
    assert_eq!(model["prices"][0]["per_picture"], "0.06");
    let route = inspected("posters").await;
    assert_eq!(route["targets"][1], json!({"provider": "local", "model": "demo-sdxl", "weight": 1}));
    assert_eq!(inspected("demo-sdxl").await["id"], "demo-sdxl");
    assert!(mock.recorded("create").is_empty());
}

#[tokio::test]
async fn a_name_that_nothing_has_is_answered_with_those_most_like_it() {
    let mock = Mock::start(ZhipuaiCloud::default()).await;
    let directory = configured_for_pictures(&mock);
    let providers = std::fs::read_to_string(directory.path().join("providers.yaml")).unwrap() + "  aliyun: {}\n";
    std::fs::write(directory.path().join("providers.yaml"), providers).unwrap();
    for asked in [
        &["generate", "image", "--prompt", "a ship", "--model", "cogview5"][..],
        &["generate", "video", "--prompt", "a ship", "--model", "cogview5"],
        &["models", "inspect", "cogview5"],
    ] {
        let refused = run(directory.path(), asked).await;
        let said = text(&refused.stderr);
        assert_eq!((refused.status.code(), said.lines().count()), (Some(2), 1), "{said}");
        for expected in [
            "model: no model 'cogview5'; installed: demo-sdxl, ",
            "; of providers: cogview-4, ",
            "; routes: posters; provider 'aliyun' is off for want of a key: set ALIYUN_API_KEY, or name one under keys",
        ] {
            assert!(said.contains(expected), "{expected}: {said}");
        }
    }
}

#[tokio::test]
async fn the_doctor_asks_providers_and_shows_no_key() {
    let mock = Mock::start(MinimaxCloud).await;
    let directory = configured(&mock);
    let well = run(directory.path(), &["doctor", "--providers"]).await;
    assert!(text(&well.stdout).contains("minimax, key key-1: answers, and takes the key"), "{}", text(&well.stdout));
    let refused = json!({"base_resp": {"status_code": 2049, "status_msg": format!("invalid api key {CANARY}")}});
    mock.always("poll", Answer::Json(200, refused));
    let ill = run(directory.path(), &["doctor", "--providers"]).await;
    assert!(!ill.status.success());
    let shown = format!("{}{}", text(&ill.stdout), text(&ill.stderr));
    assert!(shown.contains("FAIL provider   minimax, key key-1") && !shown.contains("canary"), "{shown}");
    assert!(mock.recorded("create").is_empty());
}

#[tokio::test]
async fn what_a_provider_cannot_make_is_refused_by_the_flag_that_asked_for_it() {
    let mock = Mock::start(MinimaxCloud).await;
    let directory = configured(&mock);
    for (flags, expected) in [
        (&["--duration", "7"][..], "error: --duration: '7' is not possible with MiniMax-Hailuo-02; allowed: 6, 10"),
        (&["--duration", "5.5"], "error: --duration: is 5.5; providers make films of whole seconds"),
        (&["--resolution", "2K"], "error: --resolution: '2K' is not possible with MiniMax-Hailuo-02"),
        (&["--width", "64", "--height", "64"], "error: --width and --height: '64x64' is not possible with MiniMax-Hailuo-02"),
        (&["--fps", "30"], "error: --fps: '30' is not possible with MiniMax-Hailuo-02"),
        (&["--seed", "7"], "error: --seed: '7' is not possible with MiniMax-Hailuo-02, which takes none; leave it out"),
        (&["--output", "out.webm"], "error: --output: a film of a provider is kept as it comes; use .mp4"),
        (&["--output", "out.gif"], "error: --output: a film of a provider is kept as it comes; use .mp4"),
        (&["--codec", "av1"], "error: --codec: cannot be told to 'MiniMax-Hailuo-02'"),
        (&["--image-model", "demo-sdxl"], "error: --image-model: minimax needs no picture of another model to begin with"),
        (&["--steps", "7"], "error: --steps: cannot be told to 'MiniMax-Hailuo-02'"),
    ] {
        let asked = ["generate", "video", "--prompt", "a ship", "--model", "MiniMax-Hailuo-02"];
        let refused = run(directory.path(), &[&asked[..], flags].concat()).await;
        let said = text(&refused.stderr);
        assert_eq!(refused.status.code(), Some(2), "{said}");
        assert!(said.starts_with(expected), "{expected}: {said}");
    }
    assert!(mock.recorded("create").is_empty() && !directory.path().join("output.mp4").exists());
}

#[tokio::test]
async fn the_doctor_tells_a_provider_from_whatever_else_answers() {
    let mock = Mock::start(MinimaxCloud).await;
    let directory = configured(&mock);
    let page = b"<html>It works!</html>".to_vec();
    for answer in [
        Answer::Bytes(404, "text/html", page.clone()),
        Answer::Bytes(200, "text/html", page),
        Answer::Bytes(404, "text/plain", b"404 page not found".to_vec()),
        Answer::Json(400, json!({})),
        Answer::Json(404, json!({"detail": "Not Found"})),
        Answer::Json(200, json!({"status": "ok"})),
    ] {
        mock.always("poll", answer);
        let strange = run(directory.path(), &["doctor", "--providers"]).await;
        let shown = text(&strange.stdout);
        assert!(!strange.status.success(), "{shown}");
        assert!(shown.contains("answers, but not as minimax does: is base_url right?"), "{shown}");
    }
    let nobody = format!("providers: {{ minimax: {{ base_url: 'http://127.0.0.1:{}' }} }}\n", free_port());
    std::fs::write(directory.path().join("providers.yaml"), nobody).unwrap();
    let absent = run(directory.path(), &["doctor", "--providers"]).await;
    let shown = text(&absent.stdout);
    assert!(shown.contains("cannot be reached at 127.0.0.1:") && shown.contains("refused"), "{shown}");
}

/// A port that nobody listens at.
fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[tokio::test]
async fn the_doctor_finds_what_a_server_would_refuse_or_warn_of() {
    let mock = Mock::start(MinimaxCloud).await;
    let directory = configured(&mock);
    let write = |name: &str, text: &str| std::fs::write(directory.path().join(name), text).unwrap();
    let shown = async || {
        let said = run(directory.path(), &["doctor"]).await;
        format!("{}{}", text(&said.stdout), text(&said.stderr))
    };
    let doubtful = "providers:\n  minimax:\n    prices: [{ model: MiniMax-Hailuo-2, per_request: 1 }]\n  aliyun: {}\n";
    write("providers.yaml", doubtful);
    write("routes.yaml", "routes: { best: { targets: [{ provider: minimx, model: MiniMax-Hailuo-02 }] } }\n");
    let said = shown().await;
    for expected in [
        "note providers  providers.aliyun: is off: no key: set ALIYUN_API_KEY",
        "note providers  providers.minimax.prices: minimax has no model 'MiniMax-Hailuo-2'",
        "note routes     routes.best: targets: no provider 'minimx' is in use",
        "ok   providers  minimax (1 keys)",
    ] {
        assert!(said.contains(expected), "{expected}: {said}");
    }
    write("providers.yaml", "providers: { reel: { kind: declared, declaration: reel.yaml, keys: [{ key: k }] } }\n");
    write("reel.yaml", "name: reel\nbase_url: https://host\ncreate:\n  pth: /films\n");
    let said = shown().await;
    assert!(
        said.contains("FAIL providers  providers.reel: declaration:") && said.contains("reel.yaml:4:3: unknown field `pth`"),
        "{said}"
    );
}
