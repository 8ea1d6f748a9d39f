//! The binary as a user runs it: exit statuses, streams, and what is left on the disk.

use std::path::Path;
use std::process::{Command, Output, Stdio};

/// The binary in an empty directory, with an empty environment.
fn framewright(directory: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_framewright"))
        .args(arguments)
        .current_dir(directory)
        .env_clear()
        .env("HOME", directory.join("home"))
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// One line on standard error, nothing on standard output, exit status 2.
fn check_refused(directory: &Path, arguments: &[&str], words: &str) {
    let output = framewright(directory, arguments);
    let error = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {error}");
    assert_eq!(error.lines().count(), 1, "{arguments:?}: {error}");
    assert!(error.contains(words), "{arguments:?}: {error}");
    assert!(output.stdout.is_empty());
}

#[test]
fn keys_are_printed_alone_and_work_from_then_on() {
    let directory = tempfile::tempdir().unwrap();
    let created = framewright(directory.path(), &["keys", "create", "--user", "anna", "--admin"]);
    assert!(created.status.success(), "{}", text(&created.stderr));
    let key = text(&created.stdout);
    assert!(key.starts_with("fw_") && key.trim_end().len() == 46 && key.ends_with('\n') && key.lines().count() == 1, "{key}");

    let listed = framewright(directory.path(), &["keys", "list"]);
    let line = text(&listed.stdout).to_owned();
    assert!(line.contains("anna") && line.contains("admin") && line.contains("active"), "{line}");
    assert!(!line.contains(key.trim_end()), "the key itself is never shown again");

    let id = line.split_whitespace().next().unwrap();
    assert!(framewright(directory.path(), &["keys", "revoke", id]).status.success());
    assert!(text(&framewright(directory.path(), &["keys", "list"]).stdout).contains("revoked"));
    check_refused(directory.path(), &["keys", "revoke", "key_0199a5b6c7d87e0f8a1b2c3d4e5f6071"], "no key key_0199");
}

#[test]
fn refused_input_leaves_nothing_behind() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("not-a-picture.png"), b"GIF89a").unwrap();
    let png = framewright::media::encode::encode_png(1, 1, &[0; 3], &framewright::media::encode::PngText::default());
    std::fs::write(directory.path().join("p.png"), png.unwrap()).unwrap();
    std::fs::create_dir(directory.path().join("empty-model")).unwrap();
    let generate = |more: &[&'static str]| [&["generate", "image", "--prompt", "x"][..], more].concat();
    for (arguments, words) in [
        (generate(&["--model", "no-such-model"]), "--model: no model 'no-such-model'"),
        (generate(&["--model", "./absent"]), "--model: ./absent is neither a directory nor a .safetensors file"),
        (generate(&["--model", "m", "--init-image", "not-a-picture.png"]), "--init-image: not-a-picture.png: not a PNG"),
        (generate(&["--model", "m", "--init-image", "p.png", "--mask", "absent.png"]), "--mask: absent.png: "),
        (generate(&["--model", "m", "--device", "cuda:0"]), "--device: "),
        (generate(&["--model", "m", "--output", "absent/out.png"]), "--output: absent is not a directory"),
    ] {
        check_refused(directory.path(), &arguments, words);
    }
    assert!(!directory.path().join("data").exists(), "nothing was needed from a data directory");
    assert!(!directory.path().join("out.png").exists());
}

#[test]
fn a_broken_configuration_is_named_with_its_place() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("a.yaml"), "server:\n  listen: 127.0.0.1:8000\n  tls: {cert: a, key: b}\n").unwrap();
    check_refused(directory.path(), &["serve", "--config", "a.yaml"], "a.yaml:3:");
    std::fs::write(directory.path().join("b.yaml"), "video: { interpolation_model: a.yaml }\n").unwrap();
    check_refused(directory.path(), &["serve", "--config", "b.yaml"], "video.interpolation_model: a.yaml: ");
    assert!(!directory.path().join("data").exists());
}

#[test]
fn the_configuration_is_never_picked_up_from_the_current_directory() {
    let directory = tempfile::tempdir().unwrap();
    for name in ["config.yaml", "framewright.yaml", "system_config.yaml", "local.yaml"] {
        std::fs::write(directory.path().join(name), "nonsense: true\n").unwrap();
    }
    assert!(framewright(directory.path(), &["keys", "list"]).status.success());
    std::fs::write(directory.path().join(".env"), "DATABASE_URL=mysql://u:secret@h/d\n").unwrap();
    let output = framewright(directory.path(), &["keys", "list"]);
    assert_eq!(output.status.code(), Some(2), ".env is the one file that is");
    assert!(text(&output.stderr).contains("DATABASE_URL: must be") && !text(&output.stderr).contains("secret"));
}

#[test]
fn a_single_picture_leaves_itself_and_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let demo = concat!(env!("CARGO_MANIFEST_DIR"), "/models/demo-sdxl");
    let arguments = ["generate", "image", "--model", demo, "--prompt", "x", "--steps", "1", "--width", "64", "--height", "64"];
    let names = |path: &Path| {
        let names = std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.collect::<std::collections::BTreeSet<_>>()
    };
    for data in [false, true] {
        if data {
            std::fs::create_dir(directory.path().join("data")).unwrap();
        }
        let output = framewright(directory.path(), &arguments);
        assert!(output.status.success(), "{}", text(&output.stderr));
        let left = names(directory.path());
        assert!(left.iter().any(|name| name.starts_with("out")), "{left:?}");
        assert_eq!(left.contains("data"), data, "{left:?}");
    }
    assert!(names(&directory.path().join("data")).is_empty(), "somebody's own");
}

#[test]
fn a_second_server_is_refused_by_name() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::create_dir(directory.path().join("data")).unwrap();
    let lock = std::fs::File::create(directory.path().join("data/lock")).unwrap();
    lock.lock().unwrap();
    let output = framewright(directory.path(), &["serve", "--listen", "127.0.0.1:0"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("another framewright server uses data"), "{}", text(&output.stderr));
}

#[test]
fn a_taken_port_is_named_with_another_to_try() {
    let directory = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = framewright(directory.path(), &["serve", "--listen", &address]);
    assert_eq!(output.status.code(), Some(1));
    let error = text(&output.stderr);
    assert!(error.contains(&format!("--listen: {address} is in use")), "{error}");
}
