//! Reading the text that the web UI writes into its pictures.

use serde_json::{Map, Value, json};

/// A last line with fewer fields than this belongs to the prompt.
const FEWEST_FIELDS: usize = 3;
/// Fields that are read of a text.
const MOST_FIELDS: usize = 1000;

/// The fields of a `parameters` text under the web UI's names, and what it takes for granted where they are silent.
///
/// Takes time in proportion to the text, whatever it holds.
pub fn parse_infotext(text: &str) -> Map<String, Value> {
    let text = text.trim();
    let (rest, last_line) = text.rsplit_once('\n').unwrap_or(("", text));
    let mut read = fields(last_line);
    let prompts = if read.len() < FEWEST_FIELDS {
        read.clear();
        text
    } else {
        rest
    };
    let (prompt, negative_prompt) = split_prompts(prompts);
    let mut data = Map::from_iter([
        ("Prompt".to_owned(), Value::from(prompt)),
        ("Negative prompt".to_owned(), Value::from(negative_prompt)),
    ]);
    for (name, value) in read {
        let value = unquoted(value);
        match value.as_str().and_then(size) {
            Some((width, height)) => {
                let (width, height) = (width.to_owned(), height.to_owned());
                data.insert(format!("{name}-1"), Value::from(width));
                data.insert(format!("{name}-2"), Value::from(height));
            }
            None => {
                data.insert(name.to_owned(), value);
            }
        }
    }
    for (name, value) in taken_for_granted() {
        data.entry(name).or_insert(value);
    }
    data
}

fn taken_for_granted() -> Map<String, Value> {
    let granted = json!({
        "Clip skip": "1",
        "Hires resize-1": 0,
        "Hires resize-2": 0,
        "Hires sampler": "Use same sampler",
        "Hires schedule type": "Use same scheduler",
        "Hires checkpoint": "Use same checkpoint",
        "Hires prompt": "",
        "Hires negative prompt": "",
        "Mask mode": "Inpaint masked",
        "Masked content": "original",
        "Inpaint area": "Whole picture",
        "Masked area padding": 32,
        "RNG": "GPU",
        "Schedule type": "Automatic",
        "Schedule max sigma": 0,
        "Schedule min sigma": 0,
        "Schedule rho": 0,
        "VAE Encoder": "Full",
        "VAE Decoder": "Full",
        "FP8 weight": "Disable",
        "Emphasis": "Original",
    });
    match granted {
        Value::Object(granted) => granted,
        _ => Map::new(),
    }
}

fn split_prompts(text: &str) -> (String, String) {
    let (mut prompt, mut negative_prompt) = (Vec::new(), Vec::new());
    let mut is_negative = false;
    for line in text.lines().map(str::trim) {
        let line = match line.strip_prefix("Negative prompt:") {
            Some(rest) => {
                is_negative = true;
                rest.trim()
            }
            None => line,
        };
        if is_negative { &mut negative_prompt } else { &mut prompt }.push(line);
    }
    (joined(&prompt), joined(&negative_prompt))
}

/// Leading empty lines are no part of a prompt.
fn joined(lines: &[&str]) -> String {
    let begin = lines.iter().position(|line| !line.is_empty()).unwrap_or(lines.len());
    lines.get(begin..).unwrap_or_default().join("\n")
}

/// `Name: value` pairs between commas; a value in quotation marks may hold commas. What is neither is passed over.
fn fields(line: &str) -> Vec<(&str, &str)> {
    let mut found = Vec::new();
    let mut rest = line;
    while found.len() < MOST_FIELDS {
        let Some(begin) = rest.find(is_word) else { break };
        rest = rest.get(begin..).unwrap_or_default();
        let end = rest.find(|character| !is_word(character) && !matches!(character, ' ' | '-' | '/')).unwrap_or(rest.len());
        let (name, after) = rest.split_at(end);
        // No shorter name that begins further on could end with a colon either.
        let Some(after) = after.strip_prefix(':').filter(|_| name.chars().nth(1).is_some()) else {
            rest = after;
            continue;
        };
        let after = after.trim_start();
        let length = quoted_length(after).unwrap_or_else(|| after.find(',').unwrap_or(after.len()));
        let (value, after) = after.split_at(length);
        // What has no value says nothing.
        if !value.is_empty() {
            found.push((name, value));
        }
        rest = after.strip_prefix(',').unwrap_or(after);
    }
    found
}

fn is_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

/// The length of a text in quotation marks that a comma or nothing follows.
fn quoted_length(text: &str) -> Option<usize> {
    let inside = text.strip_prefix('"')?;
    let mut is_escaped = false;
    let close = inside.find(|character| {
        let closes = character == '"' && !is_escaped;
        is_escaped = character == '\\' && !is_escaped;
        closes
    })?;
    let after = inside.get(close + 1..)?;
    (close > 0 && (after.is_empty() || after.starts_with(','))).then_some(close + 2)
}

/// The value that a text in quotation marks stands for.
fn unquoted(value: &str) -> Value {
    let is_quoted = value.len() > 1 && value.starts_with('"') && value.ends_with('"');
    let read = is_quoted.then(|| serde_json::from_str(value).ok()).flatten();
    read.unwrap_or_else(|| Value::from(value))
}

/// `512x768`.
fn size(value: &str) -> Option<(&str, &str)> {
    let (width, height) = value.split_once('x')?;
    let is_whole = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    (is_whole(width) && is_whole(height)).then_some((width, height))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::Infotext;
    use super::*;

    #[test]
    fn what_we_write_is_read() {
        let written = Infotext {
            prompt: "a red circle,\non blue",
            negative_prompt: Some("blurry: 1, 2\ndark"),
            steps: 20,
            sampler: "dpmpp_2m_karras",
            guidance_scale: 7.5,
            seed: 5,
            width: 128,
            height: 96,
            model_hash: Some("0123456789"),
            model: "a, b: c",
            denoising_strength: Some(0.6),
            is_masked: true,
        }
        .render();
        let read = parse_infotext(&written);
        for (name, value) in [
            ("Prompt", "a red circle,\non blue"),
            ("Negative prompt", "blurry: 1, 2\ndark"),
            ("Steps", "20"),
            ("Sampler", "DPM++ 2M"),
            ("Schedule type", "Karras"),
            ("CFG scale", "7.5"),
            ("Seed", "5"),
            ("Size-1", "128"),
            ("Size-2", "96"),
            ("Model hash", "0123456789"),
            ("Model", "a, b: c"),
            ("Denoising strength", "0.6"),
            ("RNG", "CPU"),
            ("Clip skip", "1"),
        ] {
            assert_eq!(read[name], json!(value), "{name}");
        }
        assert!(!read.contains_key("Size"));
    }

    #[test]
    fn what_has_no_fields_is_a_prompt() {
        let read = parse_infotext("a cat: black, sitting\nNegative prompt: dog\nred");
        assert_eq!((&read["Prompt"], &read["Negative prompt"]), (&json!("a cat: black, sitting"), &json!("dog\nred")));
        assert_eq!(parse_infotext("")["Prompt"], json!(""));
    }

    #[test]
    fn values_may_be_quoted_and_names_odd() {
        let read = parse_infotext(
            r#"x
Steps: 4, Lora hashes: "a: 1, b: \"2\"", Hires resize: 10x20, TI: "open, Empty: , Last-one/2: y"#,
        );
        assert_eq!(read["Lora hashes"], json!("a: 1, b: \"2\""));
        assert_eq!((&read["Hires resize-1"], &read["Hires resize-2"]), (&json!("10"), &json!("20")));
        assert_eq!((&read["TI"], &read["Last-one/2"]), (&json!("\"open"), &json!("y")));
        assert!(!read.contains_key("Empty"));
    }

    #[test]
    fn long_texts_take_no_longer_than_they_are() {
        for piece in ["a", "a ", "ab:\"", "ab:\"\\\",", ",", "é:", "\"", ": "] {
            parse_infotext(&piece.repeat(1 << 20));
        }
    }

    proptest! {
        #[test]
        fn nothing_panics(text in "(?s).{0,200}", line in "[a-z:,\" \\\\\n\u{e9}]{0,200}") {
            parse_infotext(&text);
            parse_infotext(&format!("{text}\n{line}"));
        }
    }
}
