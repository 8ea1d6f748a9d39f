//! YAML text to typed values. The only file that knows which crate reads YAML.

use std::path::Path;

use serde::de::DeserializeOwned;

use super::ConfigError;

/// Parses a whole document; the error is one line with the file, the line, the column and the cause.
///
/// An empty document is the default value of every section, so it parses as an empty mapping.
pub(crate) fn parse<T: DeserializeOwned>(path: &Path, text: &str) -> Result<T, ConfigError> {
    let has_content = text.lines().map(str::trim).any(|line| !line.is_empty() && !line.starts_with('#') && line != "---");
    let text = if has_content { text } else { "{}" };
    serde_saphyr::from_str(text).map_err(|error| {
        let (line, column) = error.location().map_or((0, 0), |location| (location.line(), location.column()));
        let rendered = error.without_snippet().render_with_formatter(&serde_saphyr::UserMessageFormatter);
        let reason = in_users_words(&one_line(&rendered), key_before(text, line, column));
        ConfigError::File { path: path.to_owned(), line, column, reason }
    })
}

/// Beginnings of messages that say what a value is and not which.
const ABOUT_A_VALUE: [&str; 3] = ["invalid ", "must be ", "unknown variant "];

/// The parser's message without words that only its authors know, and with the key that it is about.
fn in_users_words(reason: &str, key: Option<&str>) -> String {
    let reason = match reason {
        "expected mapping start" => "must be keys with values, such as { key: value }".to_owned(),
        "expected sequence start" => "must be a list, such as [a, b]".to_owned(),
        "expected string scalar" => "must be a text".to_owned(),
        other if other.starts_with("invalid u") => "must be a whole number, 0 or more".to_owned(),
        _ => without_secrets(reason),
    };
    match key {
        Some(key) if ABOUT_A_VALUE.iter().any(|start| reason.starts_with(start)) => format!("{key}: {reason}"),
        _ => reason,
    }
}

/// The longest word of a file that is repeated: longer than all keys.
const MOST_WORD_CHARACTERS: usize = 32;
/// Digits that a key may have.
const MOST_WORD_DIGITS: usize = 2;

/// The message with nothing between the first and the last backtick but what can be a key or a choice: a secret may stand where a key
/// should, and have backticks itself.
fn without_secrets(reason: &str) -> String {
    let is_word = |text: &str| {
        let digits = text.chars().filter(char::is_ascii_digit).count();
        let has_only = text.chars().all(|character| character.is_ascii_alphanumeric() || character == '_');
        has_only && digits <= MOST_WORD_DIGITS && text.len() <= MOST_WORD_CHARACTERS
    };
    match (reason.find('`'), reason.rfind('`')) {
        (Some(first), Some(last)) if first < last && !is_word(&reason[first + 1..last]) => {
            let characters = reason[first + 1..last].chars().count();
            let hidden = format!("of {characters} characters, not shown since it may be a secret");
            format!("{}{hidden}{}", &reason[..first], &reason[last + 1..])
        }
        _ => reason.to_owned(),
    }
}

/// The key whose value stands at a position: the word before the last colon to the left of it. Values are never repeated in
/// errors, since any of them may be a secret.
fn key_before(text: &str, line: u64, column: u64) -> Option<&str> {
    let line = text.lines().nth(usize::try_from(line).ok()?.checked_sub(1)?)?;
    let before: usize = line.chars().take(usize::try_from(column).ok()?.saturating_sub(1)).map(char::len_utf8).sum();
    let (keys, _) = line[..before].rsplit_once(':')?;
    keys.rsplit(|character: char| !character.is_ascii_alphanumeric() && character != '_').next().filter(|key| !key.is_empty())
}

/// The message without line breaks and without the position, which [`ConfigError`] writes in front.
fn one_line(rendered: &str) -> String {
    let joined = rendered.split_whitespace().collect::<Vec<_>>().join(" ");
    match joined.rfind(" at line ") {
        Some(position) => joined[..position].to_owned(),
        None => joined,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Default, serde::Deserialize)]
    #[serde(deny_unknown_fields, default)]
    struct Sample {
        count: u32,
    }

    #[test]
    fn errors_are_one_line_with_a_position() {
        for (text, line, word) in [
            ("count: 1\nsurprise: 2\n", 2, "surprise"),
            ("count: many\n", 1, "count: must be a whole number"),
            ("count: [\n", 0, ""),
            ("count: 1\ncount: 2\n", 2, "count"),
        ] {
            let message = parse::<Sample>(Path::new("a.yaml"), text).unwrap_err().to_string();
            assert!(!message.contains('\n'), "{message}");
            assert!(message.contains(word), "{message}");
            if line > 0 {
                assert!(message.starts_with(&format!("a.yaml:{line}:")), "{message}");
            }
        }
    }

    #[test]
    fn what_may_be_a_secret_is_not_repeated() {
        for secret in ["sk-abcdefghijklm", "0123456789abcdef", "letters_that_go_on_and_on_and_on_to_no_end", "sk-ab`cdefghij"] {
            for text in [format!("{secret}: 1\n"), format!("count: {secret}\n"), format!("count: [{secret}]\n")] {
                let message = parse::<Sample>(Path::new("a.yaml"), &text).unwrap_err().to_string();
                assert!(!message.contains(secret) && message.starts_with("a.yaml:1:"), "{message}");
            }
        }
        let message = parse::<Sample>(Path::new("a.yaml"), "sk-abcdefghijklm: 1\n").unwrap_err().to_string();
        assert_eq!(
            message,
            "a.yaml:1:1: unknown field of 16 characters, not shown since it may be a secret, expected one of count"
        );
    }

    #[test]
    fn an_empty_document_is_all_defaults() {
        for text in ["", "\n", "# only a comment\n", "---\n# x\n"] {
            assert!(parse::<Sample>(Path::new("a.yaml"), text).is_ok(), "{text:?}");
        }
    }
}
