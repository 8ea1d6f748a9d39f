//! What is wrong with a declaration is said in one line, with the place and the key.

use proptest::prelude::*;

use super::{changed, examples, read};

/// The message for an example in which something was exchanged.
fn refused(which: usize, from: &str, to: &str) -> String {
    let message = read(&changed(which, &[(from, to)])).map_or_else(|message| message, |_| "it was read".to_owned());
    assert!(!message.contains('\n'), "{message}");
    message
}

#[test]
fn every_mistake_is_named_where_it_is() {
    let mistakes = [
        // Keys and words, where they stand.
        (0, "  path: /films\n", "  paht: /films\n", ":7:3: unknown field `paht`"),
        (0, "      waiting: queued", "      waiting: queueing", "queueing"),
        (0, "    task: /data/id", "    task: data/id", "must be a JSON pointer such as /data/id"),
        (0, "method: DELETE", "method: DESTROY", "DESTROY"),
        (
            0,
            "image: \"{{first_frame}}\"",
            "image: \"{{firstframe}}\"",
            "create: json: input: image: {{firstframe}} means nothing here; what does: model,",
        ),
        (0, "prompt: \"{{prompt}}\"", "prompt: \"{{prompt\"", "must be a text in which every {{ has its }}"),
        (0, "kind: text_to_video", "kind: text_to_film", "text_to_film"),
        (0, "1280x720 720P, 720x1280", "1280 720P, 720x1280", "must be a size such as 1280x720"),
        (0, "base_url: https://api.reelworks.example/v2", "base_url: api.reelworks.example", "must be the address of an API"),
        (0, "  X-Reelworks-Version:", "  \"X Version\":", "must be a header's name"),
        (0, "    Idempotency-Key:", "    Content-Type:", "must not be Content-Type: that header is the server's own"),
        (0, "prompt_characters: 1500", "prompt_characters: many", "must be a whole number"),
        (1, "[\"1:1\", \"16:9\", \"9:16\"]", "[wide]", "must be a ratio such as 16:9"),
        // What fits together and what does not.
        (0, "name: reelworks", "name: Reel Works", "name: must be 1 to 40 small letters"),
        (
            0,
            "path: /films/{{task}}\n  answer:\n    status",
            "path: /films/{{prompt}}\n  answer:\n    status",
            "poll: path: {{prompt}} means nothing here; what does: task,",
        ),
        (
            0,
            "path: /films/{{task}}\n  answer:\n    status",
            "path: /films\n  answer:\n    status",
            "poll: path: must have {{task}} in it",
        ),
        (0, "path: /films\n", "path: /films/../keys\n", "create: path: must be a path behind base_url"),
        (0, "path: /films\n", "path: \"{{model}}/films\"\n", "create: path: must be a path behind base_url"),
        (0, "      done: succeeded\n", "", "poll: answer: statuses: must have a word for succeeded"),
        (0, "\"{{our_id}}\"", "\"{{prompt}}\"", "create: headers: Idempotency-Key: {{prompt}} means nothing here"),
        (0, "{{values.engine}}", "{{values.motor}}", "create: {{values.motor}} is a value that no model has; they have engine"),
        (1, "\"{{style}}\"", "\"{{values.motor}}\"", "create: {{values.motor}} is a value that no model has; they have none"),
        (0, "\"{{our_id}}\"", "\"fixed\"", "following: knows_our_id: must stand beside a create that sends {{our_id}}"),
        (0, "      file: /id\n", "      link: /id\n", "fetch: must be left out"),
        (
            0,
            "default_size: 1280x720\n        seconds: [",
            "default_size: 640x480\n        seconds: [",
            "kinds: text_to_video: default_size: must be one of the sizes",
        ),
        (0, "seconds: [5, 10]", "seconds: []", "kinds: text_to_video: seconds: must be lengths of 1 to 3600"),
        (0, "{ from: 3, to: 10 }", "{ from: 3 }", "seconds: must have both from and to"),
        (0, "default_seconds: 5", "default_seconds: 50", "default_seconds: must be one of the seconds"),
        (0, "kind: image_to_video", "kind: text_to_video", "models: reel-1: kinds: text_to_video is there twice"),
        (0, "aliases: [reel-1-latest]", "aliases: [reel-1]", "models: reel-1 is there twice"),
        (0, "{ fewest: 1, most: 1 }", "{ fewest: 2, most: 1 }", "pictures: first_frame: must have a most of 1 to 16"),
        (0, "most_pause_ms: 15000", "most_pause_ms: 10", "following: most_pause_ms: must be 5000 to 600000"),
        (0, "progress_whole: 1", "progress_whole: 0", "poll: answer: progress_whole: must be more than 0"),
        (
            1,
            "  header: X-Api-Key",
            "  header: X-Api-Key\n  query: key",
            "authentication: must have a header or a query, not both",
        ),
        (
            1,
            "  header: X-Api-Key",
            "  header: X-Api-Key\n  value: fixed",
            "authentication: value: must be visible ASCII with {{key}} in it",
        ),
        (1, "  multipart:\n", "  json: {}\n  multipart:\n", "create: json: must not stand beside form or multipart"),
        (1, "      base64: /b64\n      link: /url\n", "", "create: answer: results: must have link, base64 or file"),
        (
            1,
            "    results:\n      list: /images\n      base64: /b64\n      link: /url\n",
            "    task: /id\n",
            "create: answer: must have task where there is a poll, and only there",
        ),
        (
            1,
            "ratios: [",
            "sizes: [1024x1024]\n        ratios: [",
            "kinds: text_to_image: sizes: must not stand beside tiers or ratios",
        ),
        (1, "most_results: 4", "most_results: 400", "kinds: text_to_image: most_results: must be 1 to 16"),
    ];
    let other = mistakes.into_iter().filter_map(|(which, from, to, expected)| {
        let message = refused(which, from, to);
        let is_right = message.starts_with("provider.yaml:") && message.contains(expected);
        (!is_right).then(|| format!("{from} -> {to}\n  {message}\n  and not {expected}"))
    });
    let other: Vec<String> = other.collect();
    assert!(other.is_empty(), "{}", other.join("\n"));
}

#[test]
fn what_is_missing_is_named() {
    let message = read("").unwrap_err();
    assert!(message.contains("missing field `name`"), "{message}");
    let without_answer = examples()[1].split("  answer:").next().unwrap().to_owned() + "models: []\n";
    let message = read(&without_answer).unwrap_err();
    assert!(message.contains("models: must be 1 to 200"), "{message}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_text_makes_the_reader_panic(text in "(\\PC|\\n|  |: |- ){0,200}") {
        let _ = read(&text);
    }

    #[test]
    fn no_spoiled_declaration_makes_the_reader_panic(which in 0_usize..2, at in 0_usize..3000, wrong in "(\\PC|\\n){0,3}") {
        let mut yaml = examples()[which].to_owned();
        let at = (0..=at.min(yaml.len())).rev().find(|at| yaml.is_char_boundary(*at)).unwrap_or(0);
        yaml.insert_str(at, &wrong);
        if let Err(message) = read(&yaml) {
            prop_assert!(!message.contains('\n'), "{}", message);
        }
    }
}
