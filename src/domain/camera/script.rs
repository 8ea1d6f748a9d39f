//! What a prompt, or a field of its own, says of the camera.

use std::fmt::{self, Display, Formatter};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::command::CameraCommand;

/// Most commands that may be carried out at once.
pub const MAX_COMMANDS_AT_ONCE: usize = 3;
/// Most shots of one scene.
const MAX_SHOTS: usize = 16;

/// Commands that are carried out at the same time, one to three.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CameraShot(Vec<CameraCommand>);

impl CameraShot {
    /// Its commands.
    pub fn commands(&self) -> &[CameraCommand] {
        &self.0
    }
}

/// Shots that follow one another through a scene, each for an equal part of it. None at all is a camera that stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct CameraScript(Vec<CameraShot>);

/// What is no command to a camera.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CameraError {
    /// A word beside commands, or in a field that holds nothing else, that is none.
    #[error("'{0}' is no camera command; there are: {names}", names = all_names())]
    Unknown(String),
    /// More at once than can be told apart.
    #[error("{0} camera commands at once; at most {MAX_COMMANDS_AT_ONCE} go into one pair of brackets")]
    TooManyAtOnce(usize),
    /// More in sequence than a scene has time for.
    #[error("{0} camera shots in one scene; at most {MAX_SHOTS}")]
    TooManyShots(usize),
}

fn all_names() -> String {
    CameraCommand::ALL.map(CameraCommand::name).join(", ")
}

impl CameraScript {
    /// Its shots, in order.
    pub fn shots(&self) -> &[CameraShot] {
        &self.0
    }

    /// Whether nothing in it moves.
    pub fn is_still(&self) -> bool {
        self.0.iter().flat_map(CameraShot::commands).all(|command| *command == CameraCommand::StaticShot)
    }

    /// Takes the commands out of a prompt: what is left of it, and the script. A pair of square brackets holds commands when at least one of
    /// its words, between commas, is a command; then all of them must be. A pair of which no word is one (`[sic]`, `[a:b:0.5]`) belongs to
    /// the prompt, and so do round brackets (`(a:1.2)`). Brackets and commas may be full-width. Fails with [`CameraError`].
    pub fn from_prompt(prompt: &str) -> Result<(String, Self), CameraError> {
        let mut left = String::with_capacity(prompt.len());
        let mut shots = Vec::new();
        let mut rest = prompt;
        while let Some((before, inside, after)) = next_brackets(rest) {
            if words_of(inside).any(|word| CameraCommand::named(word).is_some()) {
                shots.push(shot_of(inside)?);
                left.push_str(before);
                join_up(&mut left, after);
                rest = after;
            } else {
                let kept = rest.len() - after.len();
                left.push_str(&rest[..kept]);
                rest = after;
            }
        }
        left.push_str(rest);
        let left = if shots.is_empty() { left } else { left.trim().to_owned() };
        Ok((left, Self::of(shots)?))
    }

    /// Reads a field that holds nothing but commands: `Pan left, Zoom in`, or `[Pan left][Static shot]`. An empty one is a camera that
    /// stands. Fails with [`CameraError`], also for brackets in which nothing is known.
    pub fn from_field(field: &str) -> Result<Self, CameraError> {
        let mut shots = Vec::new();
        let mut rest = field;
        while let Some((before, inside, after)) = next_brackets(rest) {
            // Between shots there is nothing, or what keeps them apart.
            if let Some(word) = words_of(before).next() {
                return Err(CameraError::Unknown(shortened(word)));
            }
            shots.push(shot_of(inside)?);
            rest = after;
        }
        if words_of(rest).next().is_some() {
            if !shots.is_empty() {
                return Err(CameraError::Unknown(shortened(rest.trim())));
            }
            shots.push(shot_of(rest)?);
        }
        Self::of(shots)
    }

    fn of(shots: Vec<CameraShot>) -> Result<Self, CameraError> {
        if shots.len() > MAX_SHOTS { Err(CameraError::TooManyShots(shots.len())) } else { Ok(Self(shots)) }
    }
}

const OPENING: [char; 3] = ['[', '［', '【'];
const CLOSING: [char; 3] = [']', '］', '】'];
const COMMAS: [char; 4] = [',', '，', '、', ';'];

/// What stands before the next innermost pair of brackets, in it, and behind it.
fn next_brackets(text: &str) -> Option<(&str, &str, &str)> {
    let closing = text.find(CLOSING)?;
    let Some(opening) = text[..closing].rfind(OPENING) else {
        // A bracket that closes nothing is text.
        let after = &text[closing..].chars().next().map_or("", |bracket| &text[closing + bracket.len_utf8()..]);
        let (before, inside, rest) = next_brackets(after)?;
        let start = text.len() - after.len() + before.len();
        return Some((&text[..start], inside, rest));
    };
    let width = |at: usize| text[at..].chars().next().map_or(0, char::len_utf8);
    Some((&text[..opening], &text[opening + width(opening)..closing], &text[closing + width(closing)..]))
}

/// The words between commas.
fn words_of(text: &str) -> impl Iterator<Item = &str> {
    text.split(COMMAS).map(str::trim).filter(|word| !word.is_empty())
}

fn shot_of(text: &str) -> Result<CameraShot, CameraError> {
    let commands: Result<Vec<CameraCommand>, CameraError> =
        words_of(text).map(|word| CameraCommand::named(word).ok_or_else(|| CameraError::Unknown(shortened(word)))).collect();
    match commands? {
        commands if commands.is_empty() => Err(CameraError::Unknown(shortened(text))),
        commands if commands.len() > MAX_COMMANDS_AT_ONCE => Err(CameraError::TooManyAtOnce(commands.len())),
        commands => Ok(CameraShot(commands)),
    }
}

/// Enough of a word to find it by.
fn shortened(word: &str) -> String {
    word.chars().take(40).collect()
}

/// Leaves no blank where a command stood: none before punctuation or the end, and one between words.
fn join_up(left: &mut String, after: &str) {
    let next = after.chars().next();
    let closes = next.is_none_or(|next| next.is_whitespace() || ",.;:!?，。；：！？、)".contains(next));
    if closes || left.is_empty() {
        left.truncate(left.trim_end().len());
    }
}

impl Display for CameraScript {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        for shot in &self.0 {
            let names: Vec<&str> = shot.0.iter().map(|command| command.name()).collect();
            write!(formatter, "[{}]", names.join(", "))?;
        }
        Ok(())
    }
}

impl FromStr for CameraScript {
    type Err = CameraError;

    fn from_str(text: &str) -> Result<Self, CameraError> {
        Self::from_field(text)
    }
}

impl Serialize for CameraScript {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for CameraScript {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(prompt: &str, left: &str, script: &str) {
        let (text, found) = CameraScript::from_prompt(prompt).unwrap();
        assert_eq!((text.as_str(), found.to_string().as_str()), (left, script), "{prompt}");
        assert_eq!(CameraScript::from_field(script).unwrap(), found);
    }

    #[test]
    fn commands_are_taken_out_of_prompts() {
        for (prompt, left, script) in [
            ("a cat", "a cat", ""),
            ("", "", ""),
            (" a cat ", " a cat ", ""),
            ("a cat [Pan left]", "a cat", "[Pan left]"),
            ("[zoom IN] a cat", "a cat", "[Zoom in]"),
            ("a cat [Pan left, Zoom in] sleeps", "a cat sleeps", "[Pan left, Zoom in]"),
            (
                "A man picks up a book [Pedestal up], then reads [Static shot].",
                "A man picks up a book, then reads.",
                "[Pedestal up][Static shot]",
            ),
            ("男子拿起一本书[上升]，然后阅读[固定]", "男子拿起一本书，然后阅读", "[Pedestal up][Static shot]"),
            ("一只猫【左移，变焦推近】", "一只猫", "[Truck left, Zoom in]"),
            ("一只猫［晃动、跟随,上摇］睡觉", "一只猫睡觉", "[Shake, Tracking shot, Tilt up]"),
            ("a [sic] cat (red:1.2) [cat:dog:0.5]", "a [sic] cat (red:1.2) [cat:dog:0.5]", ""),
            ("a [red [Push-in] cat]", "a [red cat]", "[Push in]"),
            ("] a [cat [shake", "] a [cat [shake", ""),
            ("a ] b [shake] c", "a ] b c", "[Shake]"),
            ("[] [ ] [,]", "[] [ ] [,]", ""),
        ] {
            check(prompt, left, script);
        }
    }

    #[test]
    fn every_command_is_read_in_both_languages() {
        for command in CameraCommand::ALL {
            for name in [command.name(), command.chinese_name()] {
                check(&format!("a cat [{name}]"), "a cat", &format!("[{command}]"));
            }
        }
    }

    #[test]
    fn what_is_none_is_said() {
        let error = CameraScript::from_prompt("a cat [Pan left, fly up]").unwrap_err().to_string();
        assert!(error.starts_with("'fly up' is no camera command; there are: Truck left, Truck right, Pan left"), "{error}");
        assert!(error.ends_with("Shake, Tracking shot, Static shot"), "{error}");
        assert_eq!(CameraScript::from_prompt("[Shake, Pan left, Zoom in, Tilt up]").unwrap_err(), CameraError::TooManyAtOnce(4));
        assert_eq!(CameraScript::from_prompt(&"[Shake]".repeat(17)).unwrap_err(), CameraError::TooManyShots(17));
        for field in
            ["[sic]", "[]", "fly", "Pan left then Zoom in", "[Pan left] and [Zoom in]", "[Pan left] Zoom in", "[[Pan left]"]
        {
            assert!(matches!(CameraScript::from_field(field), Err(CameraError::Unknown(_))), "{field}");
        }
    }

    #[test]
    fn a_field_holds_commands_alone() {
        for (field, script) in [
            ("", ""),
            ("  ", ""),
            ("pan left", "[Pan left]"),
            ("Pan left, zoom in", "[Pan left, Zoom in]"),
            ("[Pan left] [Static]", "[Pan left][Static shot]"),
            ("[推进], [拉远]", "[Push in][Pull out]"),
        ] {
            let read = CameraScript::from_field(field).unwrap();
            assert_eq!(read.to_string(), script, "{field}");
            let json = serde_json::to_string(&read).unwrap();
            assert_eq!(serde_json::from_str::<CameraScript>(&json).unwrap(), read);
        }
        assert!(CameraScript::from_field("static").unwrap().is_still());
        assert!(CameraScript::default().is_still());
        assert!(!CameraScript::from_field("[static][shake]").unwrap().is_still());
    }
}
