//! Tags within prompts that ask for networks beside the model: `<lora:name:0.8>`.

use crate::api::error::{ApiError, ErrorKind};

/// What the web UI and its extensions know.
const KINDS: [&str; 4] = ["lora", "lyco", "hypernet", "lora_te"];

/// Refuses a prompt with a tag: it would otherwise be read as words, and the picture be another than was asked for.
pub(super) fn refuse_tags(field: &'static str, prompt: &str) -> Result<(), ApiError> {
    match first_tag(prompt) {
        Some(tag) => {
            let shown: String = tag.chars().take(64).collect();
            let problem = format!("asks for '{shown}', and no such networks are installed here; leave the tag out");
            Err(ApiError::about(ErrorKind::UnsupportedField, field, problem))
        }
        None => Ok(()),
    }
}

/// The first tag, with its angle brackets.
fn first_tag(prompt: &str) -> Option<&str> {
    let mut rest = prompt;
    loop {
        rest = rest.get(rest.find('<')?..)?;
        let end = rest.get(1..)?.find(['<', '>'])? + 1;
        let (tag, after) = rest.split_at(end);
        let kind = tag.strip_prefix('<').and_then(|inside| inside.split_once(':')).map(|(kind, _)| kind);
        if after.starts_with('>') && kind.is_some_and(|kind| KINDS.iter().any(|known| kind.eq_ignore_ascii_case(known))) {
            return rest.get(..=end);
        }
        rest = after;
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("a cat <lora:style_v2:0.8>, sharp", Some("<lora:style_v2:0.8>"))]
    #[case("<LoRA:x>", Some("<LoRA:x>"))]
    #[case("1 < 2 <hypernet:y:1>", Some("<hypernet:y:1>"))]
    #[case("a <b> c", None)]
    #[case("a <lora:open", None)]
    #[case("<lora>", None)]
    #[case("", None)]
    #[case("<", None)]
    fn tags_are_found(#[case] prompt: &str, #[case] tag: Option<&str>) {
        assert_eq!(first_tag(prompt), tag);
        assert_eq!(refuse_tags("prompt", prompt).is_err(), tag.is_some());
    }

    #[test]
    fn many_brackets_take_no_longer_than_they_are() {
        for piece in ["<", "<lora", "<lora:", "<a>", "<:", ">"] {
            assert_eq!(first_tag(&piece.repeat(1 << 18)), None, "{piece}");
        }
    }
}
