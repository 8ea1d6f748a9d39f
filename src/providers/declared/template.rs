//! Templates: texts and JSON with `{{placeholders}}`, checked when they are read, filled in for each call.
//!
//! A placeholder that is all of a text keeps its type: a number stays a number. What a request does not say is absent, and what needs it is
//! left out: of a mapping the key, of a list the whole element. A mapping or a list of which nothing is left is itself left out.

use serde::Deserialize;
use serde_json::{Map, Value};

/// Names that stand for parts of a request, in a create alone.
const REQUEST_NAMES: &[&str] = &[
    "model",
    "kind",
    "prompt",
    "negative_prompt",
    "size",
    "width",
    "height",
    "tier",
    "ratio",
    "seconds",
    "frames_per_second",
    "seed",
    "count",
    "first_frame",
    "last_frame",
    "reference",
    "references",
    "first_frame_base64",
    "last_frame_base64",
    "reference_base64",
    "references_base64",
    "audio",
    "audio_link",
    "watermark",
    "prompt_extension",
    "fast_pretreatment",
    "quality",
    "style",
    "movement_amplitude",
    "shot_type",
    "our_id",
    "callback_url",
];
/// What stands before the name of a value that a model has of its own.
pub(super) const VALUE_PREFIX: &str = "values.";
/// Most characters of a template's text.
const MOST_TEXT_CHARACTERS: usize = 4096;

/// Where a template stands, and so what can stand in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// In the credential: the key alone.
    Credential,
    /// In the path or the headers of a create: what is the operator's or ours, not a user's text.
    CreateHead,
    /// In the query or the body of a create.
    CreateBody,
    /// In a call about a task.
    Task,
    /// In a call about a result.
    File,
}

impl Place {
    /// Whether a name has a meaning here.
    fn knows(self, name: &str) -> bool {
        let of_model = name == "model" || name.starts_with(VALUE_PREFIX);
        match self {
            Self::Credential => name == "key",
            Self::CreateHead => of_model || matches!(name, "kind" | "our_id"),
            Self::CreateBody => of_model || REQUEST_NAMES.contains(&name),
            Self::Task => of_model || matches!(name, "kind" | "task"),
            Self::File => name == "file",
        }
    }

    /// The names that have one, for messages.
    fn names(self) -> String {
        match self {
            Self::Credential => "key".to_owned(),
            Self::CreateHead => "model, kind, our_id, values.*".to_owned(),
            Self::CreateBody => format!("{}, values.*", REQUEST_NAMES.join(", ")),
            Self::Task => "task, model, kind, values.*".to_owned(),
            Self::File => "file".to_owned(),
        }
    }
}

/// What a placeholder stands for at the moment.
pub(super) trait Scope {
    /// The value of a name; none where it is absent.
    fn value(&self, name: &str) -> Option<Value>;
}

/// A placeholder.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Placeholder {
    name: String,
    /// Whether a number is written as a text.
    as_text: bool,
}

/// A piece of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Literal(String),
    Placeholder(Placeholder),
}

/// A text with placeholders.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Text(Vec<Piece>);

impl TryFrom<String> for Text {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text)
    }
}

impl Text {
    /// Reads a text. Fails with a sentence for whoever wrote it.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if text.chars().count() > MOST_TEXT_CHARACTERS {
            return Err(format!("must be a text of at most {MOST_TEXT_CHARACTERS} characters"));
        }
        let (mut pieces, mut rest) = (Vec::new(), text);
        while let Some((before, behind)) = rest.split_once("{{") {
            let Some((inside, after)) = behind.split_once("}}") else {
                return Err("must be a text in which every {{ has its }}".to_owned());
            };
            if !before.is_empty() {
                pieces.push(Piece::Literal(before.to_owned()));
            }
            pieces.push(Piece::Placeholder(Placeholder::parse(inside)?));
            rest = after;
        }
        if !rest.is_empty() || pieces.is_empty() {
            pieces.push(Piece::Literal(rest.to_owned()));
        }
        Ok(Self(pieces))
    }

    /// Whether a name stands in it.
    pub(super) fn uses(&self, name: &str) -> bool {
        self.names().any(|used| used == name)
    }

    /// The names that stand in it.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|piece| match piece {
            Piece::Placeholder(placeholder) => Some(placeholder.name.as_str()),
            Piece::Literal(_) => None,
        })
    }

    /// The texts between the placeholders.
    pub(super) fn literals(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|piece| match piece {
            Piece::Literal(text) => Some(text.as_str()),
            Piece::Placeholder(_) => None,
        })
    }

    /// Whether it begins with a placeholder.
    pub(super) fn starts_with_name(&self) -> bool {
        matches!(self.0.first(), Some(Piece::Placeholder(_)))
    }

    /// The name of the placeholder that is all of it.
    pub(super) fn only_name(&self) -> Option<&str> {
        match self.0.as_slice() {
            [Piece::Placeholder(placeholder)] => Some(&placeholder.name),
            _ => None,
        }
    }

    /// Whether all names have a meaning where it stands. Fails with a sentence for whoever wrote it.
    pub(super) fn check(&self, place: Place) -> Result<(), String> {
        match self.names().find(|name| !place.knows(name)) {
            Some(name) => Err(format!("{{{{{name}}}}} means nothing here; what does: {}", place.names())),
            None => Ok(()),
        }
    }

    /// As a value: that of the placeholder where there is nothing but one, a text else. None where something is absent.
    pub(super) fn value(&self, scope: &dyn Scope) -> Option<Value> {
        match self.0.as_slice() {
            [Piece::Placeholder(placeholder)] => {
                let value = scope.value(&placeholder.name)?;
                if placeholder.as_text { written(&value).map(Value::String) } else { Some(value) }
            }
            _ => self.text(scope).map(Value::String),
        }
    }

    /// As a text; none where something is absent.
    pub(super) fn text(&self, scope: &dyn Scope) -> Option<String> {
        self.text_with(scope, |text| text)
    }

    /// As a text, of which what placeholders stand for goes through `quote`.
    pub(super) fn text_with(&self, scope: &dyn Scope, quote: impl Fn(String) -> String) -> Option<String> {
        let mut text = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Literal(literal) => text.push_str(literal),
                Piece::Placeholder(placeholder) => text.push_str(&quote(written(&scope.value(&placeholder.name)?)?)),
            }
        }
        Some(text)
    }
}

impl Placeholder {
    fn parse(inside: &str) -> Result<Self, String> {
        let (name, as_text) = match inside.split_once('|') {
            Some((name, filter)) if filter.trim() == "text" => (name.trim(), true),
            Some((_, filter)) => {
                return Err(format!("must not have '| {}' in a placeholder; there is only '| text'", filter.trim()));
            }
            None => (inside.trim(), false),
        };
        // Which names mean something is known where the place is.
        if is_value_name(name.strip_prefix(VALUE_PREFIX).unwrap_or(name)) {
            return Ok(Self { name: name.to_owned(), as_text });
        }
        let name: String = name.chars().take(60).collect();
        Err(format!(
            "must not have the placeholder {{{{{name}}}}}; their names are letters, digits and '_', and values.x is a model's value x"
        ))
    }
}

/// Whether a model's own value may be called so.
pub(super) fn is_value_name(name: &str) -> bool {
    (1..=60).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// A value inside a text; lists and mappings have no place there.
fn written(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// JSON whose texts are templates.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(try_from = "Value")]
pub(super) struct Tree(Node);

#[derive(Clone, Debug, PartialEq)]
enum Node {
    /// A number, true, false or null.
    Plain(Value),
    Text(Text),
    List(Vec<Node>),
    Mapping(Vec<(String, Node)>),
}

impl TryFrom<Value> for Tree {
    type Error = String;

    fn try_from(value: Value) -> Result<Self, String> {
        Node::read(value).map(Self)
    }
}

impl Tree {
    /// Whether all names have a meaning where it stands. Fails with the path to the one that has none, and a sentence.
    pub(super) fn check(&self, place: Place) -> Result<(), String> {
        self.0.check(place)
    }

    /// All names that stand in it.
    pub(super) fn names(&self) -> Vec<&str> {
        let mut names = Vec::new();
        self.0.collect_names(&mut names);
        names
    }

    /// Filled in; an empty mapping where nothing is left.
    pub(super) fn value(&self, scope: &dyn Scope) -> Value {
        self.0.value(scope).unwrap_or_else(|| Value::Object(Map::new()))
    }
}

impl Node {
    fn read(value: Value) -> Result<Self, String> {
        Ok(match value {
            Value::String(text) => Self::Text(Text::parse(&text)?),
            Value::Array(values) => Self::List(values.into_iter().map(Self::read).collect::<Result<_, _>>()?),
            Value::Object(fields) => {
                let read = |(name, value)| match Self::read(value) {
                    Ok(node) => Ok((name, node)),
                    Err(why) => Err(format!("{name}: {why}")),
                };
                Self::Mapping(fields.into_iter().map(read).collect::<Result<_, String>>()?)
            }
            plain => Self::Plain(plain),
        })
    }

    fn check(&self, place: Place) -> Result<(), String> {
        match self {
            Self::Plain(_) => Ok(()),
            Self::Text(text) => text.check(place),
            Self::List(nodes) => nodes.iter().try_for_each(|node| node.check(place)),
            Self::Mapping(fields) => {
                fields.iter().try_for_each(|(name, node)| node.check(place).map_err(|why| format!("{name}: {why}")))
            }
        }
    }

    fn collect_names<'a>(&'a self, names: &mut Vec<&'a str>) {
        match self {
            Self::Plain(_) => {}
            Self::Text(text) => names.extend(text.names()),
            Self::List(nodes) => nodes.iter().for_each(|node| node.collect_names(names)),
            Self::Mapping(fields) => fields.iter().for_each(|(_, node)| node.collect_names(names)),
        }
    }

    /// The value; none where something that it needs is absent.
    fn value(&self, scope: &dyn Scope) -> Option<Value> {
        match self {
            Self::Plain(value) => Some(value.clone()),
            Self::Text(text) => text.value(scope),
            Self::List(nodes) => {
                // An element that would lack something is no element.
                let values: Vec<Value> =
                    nodes.iter().filter(|node| node.is_whole(scope)).filter_map(|node| node.value(scope)).collect();
                (nodes.is_empty() || !values.is_empty()).then_some(Value::Array(values))
            }
            Self::Mapping(fields) => {
                let filled = fields.iter().filter_map(|(name, node)| Some((name.clone(), node.value(scope)?)));
                let filled: Map<String, Value> = filled.collect();
                (fields.is_empty() || !filled.is_empty()).then_some(Value::Object(filled))
            }
        }
    }

    /// Whether nothing that stands in it is absent.
    fn is_whole(&self, scope: &dyn Scope) -> bool {
        match self {
            Self::Plain(_) => true,
            Self::Text(text) => text.value(scope).is_some(),
            Self::List(nodes) => nodes.iter().all(|node| node.is_whole(scope)),
            Self::Mapping(fields) => fields.iter().all(|(_, node)| node.is_whole(scope)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// A scope of a JSON object.
    struct Known(Value);

    impl Scope for Known {
        fn value(&self, name: &str) -> Option<Value> {
            self.0.get(name).cloned()
        }
    }

    fn filled(template: Value, scope: &Value) -> Value {
        Tree::try_from(template).unwrap().value(&Known(scope.clone()))
    }

    #[test]
    fn a_placeholder_alone_keeps_its_type_and_inside_a_text_becomes_one() {
        let scope = json!({ "seconds": 5, "audio": true, "width": 1280, "height": 720, "prompt": "a {{seed}} \"cat\"",
            "references": ["a", "b"] });
        let template = json!({
            "a": "{{seconds}}", "b": "{{ seconds | text }}", "c": "{{audio}}", "d": "{{width}}*{{height}}", "e": "{{prompt}}",
            "f": "{{references}}", "g": "plain", "h": 1.5, "i": null, "j": [], "k": {}, "l": "", "m": "{{audio|text}}",
        });
        let expected = json!({
            "a": 5, "b": "5", "c": true, "d": "1280*720", "e": "a {{seed}} \"cat\"",
            "f": ["a", "b"], "g": "plain", "h": 1.5, "i": null, "j": [], "k": {}, "l": "", "m": "true",
        });
        assert_eq!(filled(template, &scope), expected, "and what users write is no template");
    }

    #[test]
    fn what_needs_something_absent_is_left_out() {
        let scope = json!({ "prompt": "x" });
        let template = json!({
            "prompt": "{{prompt}}", "seed": "{{seed}}", "size": "{{width}}x{{height}}",
            "input": { "negative": "{{negative_prompt}}", "deep": { "seed": "{{seed}}" } },
            "content": [
                { "type": "text", "text": "{{prompt}}" },
                { "type": "image_url", "image_url": { "url": "{{first_frame}}" } },
            ],
            "pictures": ["{{first_frame}}", "{{last_frame}}"],
        });
        assert_eq!(filled(template, &scope), json!({ "prompt": "x", "content": [{ "type": "text", "text": "x" }] }));
        assert_eq!(filled(json!({ "seed": "{{seed}}" }), &scope), json!({}));
    }

    #[test]
    fn what_is_no_template_is_said() {
        for (text, message) in [
            ("{{prompt", "must be a text in which every {{ has its }}"),
            ("{{}}", "must not have the placeholder {{}}"),
            ("{{seconds | int}}", "must not have '| int' in a placeholder; there is only '| text'"),
            ("{{values.a-b}}", "must not have the placeholder {{values.a-b}}; their names are letters,"),
            ("{{values.}}", "must not have the placeholder {{values.}}"),
        ] {
            let error = Text::parse(text).unwrap_err();
            assert!(error.starts_with(message), "{text}: {error}");
        }
        assert!(Text::parse(&"x".repeat(MOST_TEXT_CHARACTERS + 1)).is_err());
        assert!(Text::parse("{{values.bot_id}} }} {").is_ok());
    }

    #[test]
    fn every_place_has_its_names() {
        for (text, places) in [
            ("{{key}}", vec![Place::Credential]),
            ("{{prompt}}", vec![Place::CreateBody]),
            ("{{promt}}", vec![]),
            ("{{task}}", vec![Place::Task]),
            ("{{file}}", vec![Place::File]),
            ("{{our_id}}", vec![Place::CreateHead, Place::CreateBody]),
            ("{{model}}{{values.x}}", vec![Place::CreateHead, Place::CreateBody, Place::Task]),
        ] {
            for place in [Place::Credential, Place::CreateHead, Place::CreateBody, Place::Task, Place::File] {
                let checked = Text::parse(text).unwrap().check(place);
                assert_eq!(checked.is_ok(), places.contains(&place), "{text} {place:?} {checked:?}");
            }
        }
        let tree = Tree::try_from(json!({ "input": { "id": "{{task}}" } })).unwrap();
        assert!(
            tree.check(Place::CreateBody).unwrap_err().starts_with("input: id: {{task}} means nothing here; what does: model,")
        );
    }
}
