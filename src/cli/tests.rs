//! Flags and exit statuses that need no model.

use super::*;

/// Exit status, standard output, standard error.
fn framewright(arguments: &[&str]) -> (String, String, String) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let code = run(std::iter::once("framewright").chain(arguments.iter().copied()), &mut out, &mut err);
    (format!("{code:?}"), String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
}

const INPUT_ERROR: &str = "ExitCode(unix_exit_status(2))";

#[test]
fn the_definition_is_sound() {
    use clap::CommandFactory;
    CommandLine::command().debug_assert();
}

#[test]
fn help_and_version_go_to_standard_output() {
    for arguments in [&["--help"][..], &["--version"], &["generate", "image", "--help"], &["keys", "--help"]] {
        let (code, out, err) = framewright(arguments);
        assert_eq!(code, "ExitCode(unix_exit_status(0))");
        assert!(!out.is_empty() && err.is_empty(), "{arguments:?}");
    }
}

#[test]
fn bad_flags_are_one_line_and_status_2() {
    for (arguments, words) in [
        (&["generate", "image", "--model", "demo-sdxl"][..], "--prompt"),
        (&["generate", "image", "--prompt", "x"], "--model"),
        (&["generate", "image", "--model", "m", "--prompt", "x", "--width", "wide"], "--width"),
        (&["generate", "image", "--model", "m", "--prompt", "x", "--wdith", "8"], "--wdith"),
        (&["generate", "image", "--model", "m", "--prompt", "x", "--guidance-scale", "lots"], "--guidance-scale"),
        (&["generate", "image", "--model", "m", "--prompt", "x", "--output", "x.gif"], "--output: 'x.gif'"),
        (&["generate", "image", "--model", "m", "--prompt", "x", "--output", "/no/such/dir/x.png"], "--output: /no/such/dir"),
        (&["generate", "image", "--model", "m", "--prompt", "x", "--mask", "m.png"], "--init-image"),
        (&["generate", "image", "--model", "m", "--prompt", "x", "--lora", "l.safetensors:0.5"], "--lora: not supported yet"),
        (&["generate", "image", "--model", "m.safetensors", "--prompt", "x"], "--model: "),
        (
            &["generate", "image", "--model", "m", "--prompt", "x", "--strength", "0.5", "--init-image", "/no/such/file"],
            "--init-image: ",
        ),
        (&["generate", "image", "--model", "m", "--prompt", "x", "--device", "tpu"], "--device: 'tpu'"),
        (&["generate", "image", "--model", "m", "--prompt", "x", "--server", "nowhere"], "--server: "),
        (&["generate", "image", "--model", "m", "--prompt", "x", "--api-key", "k"], "--server"),
        (&["keys", "create"], "--user"),
        (&["keys", "create", "--user", "../etc"], "--user"),
        (&["keys", "revoke", "nonsense"], "nonsense"),
        (&["serve", "--listen", "everywhere"], "--listen: 'everywhere'"),
        (&["doctor", "--config", "/no/such/file.yaml"], "--config: cannot read /no/such/file.yaml"),
        (&["models", "fetch"], "fetch"),
    ] {
        let (code, out, err) = framewright(arguments);
        assert_eq!(code, INPUT_ERROR, "{arguments:?}: {err}");
        assert_eq!(err.lines().count(), 1, "{err}");
        assert!(err.starts_with("error: ") && err.contains(words), "{arguments:?}: {err}");
        assert!(out.is_empty(), "{out}");
    }
}
