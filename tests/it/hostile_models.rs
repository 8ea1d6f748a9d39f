//! Model folders with damaged or hostile weight files: refused by name, and the next good request is served.

use std::path::{Path, PathBuf};
use std::process::Command;

use axum::http::StatusCode;
use serde_json::json;

use crate::harness::{Options, TestServer};

/// What was done to a weight file.
const DAMAGES: [&str; 6] = ["truncated", "empty", "header-longer-than-file", "header-not-json", "offsets-outside", "a-directory"];

/// The demo model with its UNet's file damaged, as `<directory>/<damage>`.
fn damaged_model(directory: &Path, damage: &str) -> PathBuf {
    let target = directory.join(damage);
    copy_directory(&Path::new(env!("CARGO_MANIFEST_DIR")).join("models/demo-sdxl"), &target);
    let file = target.join("unet/diffusion_pytorch_model.safetensors");
    let honest = std::fs::read(&file).unwrap();
    let with_header = |header: &[u8]| [&(header.len() as u64).to_le_bytes(), header, &honest[..1000]].concat();
    let bytes = match damage {
        "truncated" => honest[..honest.len() / 2].to_vec(),
        "empty" => Vec::new(),
        "header-longer-than-file" => [&u64::MAX.to_le_bytes(), &honest[8..]].concat(),
        "header-not-json" => with_header(b"{{{{{{{{"),
        "offsets-outside" => with_header(
            br#"{"conv_in.weight":{"dtype":"F32","shape":[4000000000,4000000000],"data_offsets":[0,18446744073709551615]}}"#,
        ),
        "a-directory" => {
            std::fs::remove_file(&file).unwrap();
            std::fs::create_dir(&file).unwrap();
            return target;
        }
        other => panic!("unknown damage {other}"),
    };
    std::fs::write(file, bytes).unwrap();
    target
}

fn copy_directory(source: &Path, target: &Path) {
    std::fs::create_dir_all(target).unwrap();
    for entry in std::fs::read_dir(source).unwrap() {
        let entry = entry.unwrap();
        let to = target.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_directory(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}

#[test]
fn the_command_line_refuses_them() {
    let directory = tempfile::tempdir().unwrap();
    for damage in DAMAGES {
        let model = damaged_model(directory.path(), damage);
        let output = Command::new(env!("CARGO_BIN_EXE_framewright"))
            .args(["generate", "image", "--prompt", "x", "--model"])
            .arg(&model)
            .current_dir(directory.path())
            .env_clear()
            .env("HOME", directory.path())
            .output()
            .unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{damage}: {error}");
        assert!(error.starts_with("error: --model: ") && error.lines().count() == 1, "{damage}: {error}");
        assert!(!directory.path().join("out.png").exists());
    }
}

#[tokio::test]
async fn the_server_refuses_them_and_serves_on() {
    let directory = tempfile::tempdir().unwrap();
    for damage in DAMAGES {
        damaged_model(directory.path(), damage);
    }
    let options = Options { models_dir: Some(directory.path().to_owned()), ..Options::default() };
    let server = TestServer::start_with(options).await;
    for damage in DAMAGES {
        let answer = server.post("/api/v1/images/generate", &json!({"model": damage, "prompt": "x"})).await;
        assert!(answer.status.is_client_error(), "{damage}: {}", answer.status);
        assert_eq!(answer.json()["field"], "model", "{damage}");
        assert!(!answer.json().to_string().contains(directory.path().to_str().unwrap()), "{damage}: a server path is shown");
    }
    let good = server.post("/api/v1/images/generate", &json!({"model": "demo-sdxl", "prompt": "a red circle"})).await;
    assert_eq!(good.status, StatusCode::ACCEPTED);
}
