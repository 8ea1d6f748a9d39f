//! Calls as a declaration tells them: method, path, query, headers, body.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;
use serde_json::Value;

use super::template::{Place, Scope, Text, Tree};
use super::words::MethodWord;
use crate::providers::payload::{Part, Payload};
use crate::providers::request::{Picture, PictureFormat, PictureRole, PictureSource};
use crate::providers::validate::{RequestRefusal, Validated};
use crate::providers::wire::{MOST_BODY_BYTES, MOST_PICTURES_BODY_BYTES, Method};

/// Largest answer that can be told, MiB.
const MOST_ANSWER_MIB: usize = 256;
/// Headers that belong to whoever sends the call.
const RESERVED_HEADERS: &[&str] = &[
    "host",
    "content-type",
    "content-length",
    "transfer-encoding",
    "connection",
    "cookie",
    "te",
    "trailer",
    "upgrade",
    "expect",
];

/// A call and what is read of its answer.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CallSection<A> {
    method: Option<MethodWord>,
    path: Text,
    #[serde(default)]
    query: BTreeMap<String, Text>,
    #[serde(default)]
    headers: BTreeMap<HeaderName, Text>,
    json: Option<Tree>,
    form: Option<BTreeMap<String, Text>>,
    multipart: Option<BTreeMap<String, Text>>,
    most_answer_mib: Option<usize>,
    /// What is read of its answer.
    pub(super) answer: Option<A>,
}

/// A header's name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct HeaderName(pub(super) String);

impl TryFrom<String> for HeaderName {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        let is_token = (1..=100).contains(&name.len())
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte));
        if !is_token {
            return Err("must be a header's name, of letters, digits and '-'".to_owned());
        }
        if RESERVED_HEADERS.iter().any(|reserved| name.eq_ignore_ascii_case(reserved)) {
            return Err(format!("must not be {name}: that header is the server's own"));
        }
        Ok(Self(name))
    }
}

/// Whether a text may stand in a header.
pub(super) fn fits_a_header(text: &str) -> bool {
    text.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic())
}

impl<A> CallSection<A> {
    /// Whether all of it can be sent, and all names mean something: `head` in path and headers, `body` in query and body. Fails with the
    /// field and a sentence.
    pub(super) fn check(&self, head: Place, body: Place) -> Result<(), String> {
        check_path(&self.path).and_then(|()| self.path.check(head)).map_err(|why| format!("path: {why}"))?;
        for (HeaderName(name), text) in &self.headers {
            let fits = text.literals().all(fits_a_header);
            let checked = if fits { text.check(head) } else { Err("must be visible ASCII".to_owned()) };
            checked.map_err(|why| format!("headers: {name}: {why}"))?;
        }
        for (field, texts) in [("query", Some(&self.query)), ("form", self.form.as_ref()), ("multipart", self.multipart.as_ref())]
        {
            for (name, text) in texts.into_iter().flatten() {
                text.check(body).map_err(|why| format!("{field}: {name}: {why}"))?;
            }
        }
        if let Some(json) = &self.json {
            json.check(body).map_err(|why| format!("json: {why}"))?;
        }
        let bodies = [self.json.is_some(), self.form.is_some(), self.multipart.is_some()];
        if bodies.into_iter().filter(|there| *there).count() > 1 {
            return Err("json: must not stand beside form or multipart".to_owned());
        }
        if !(1..=MOST_ANSWER_MIB).contains(&self.most_answer_mib.unwrap_or(1)) {
            return Err(format!("most_answer_mib: must be 1 to {MOST_ANSWER_MIB}"));
        }
        Ok(())
    }

    /// All names that stand in it.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        let texts = std::iter::once(&self.path)
            .chain(self.query.values())
            .chain(self.headers.values())
            .chain(self.form.iter().flat_map(BTreeMap::values))
            .chain(self.multipart.iter().flat_map(BTreeMap::values));
        texts.flat_map(Text::names).chain(self.json.iter().flat_map(Tree::names))
    }

    /// Whether a name stands anywhere in it.
    pub(super) fn uses(&self, name: &str) -> bool {
        self.names().any(|used| used == name)
    }

    /// The method, or the usual one.
    pub(super) fn method(&self, usual: Method) -> Method {
        self.method.map_or(usual, Into::into)
    }

    /// The path, filled in; what a placeholder stands for is escaped. None where something is absent.
    pub(super) fn path(&self, scope: &dyn Scope) -> Option<String> {
        self.path.text_with(scope, |text| escaped(&text))
    }

    /// The fields of the query that are there.
    pub(super) fn query(&self, scope: &dyn Scope) -> Vec<(String, String)> {
        fields(&self.query, scope)
    }

    /// The headers that are there. One whose value no header can carry is left out.
    pub(super) fn headers(&self, scope: &dyn Scope) -> Vec<(String, String)> {
        let filled = self.headers.iter().filter_map(|(HeaderName(name), text)| Some((name.clone(), text.text(scope)?)));
        filled.filter(|(_, value)| fits_a_header(value)).collect()
    }

    /// The body; none where there is none. `pictures` are those that become files of a `multipart/form-data` body.
    pub(super) fn payload(&self, scope: &dyn Scope, pictures: &dyn Fn(&str) -> Vec<Part>) -> Option<Payload> {
        if let Some(json) = &self.json {
            return Some(Payload::Json(json.value(scope)));
        }
        if let Some(form) = &self.form {
            return Some(Payload::Form(fields(form, scope)));
        }
        let mut parts = Vec::new();
        for (name, text) in self.multipart.as_ref()? {
            let files = text.only_name().map(pictures).unwrap_or_default();
            if files.is_empty() {
                parts.extend(text.text(scope).map(|value| Part::field(name.clone(), value)));
            }
            parts.extend(files.into_iter().map(|file| Part { name: name.clone(), ..file }));
        }
        Some(Payload::Multipart(parts))
    }

    /// Whether pictures go as files of a `multipart/form-data` body.
    pub(super) fn is_multipart(&self) -> bool {
        self.multipart.is_some()
    }

    /// Most bytes of the answer.
    pub(super) fn most_answer_bytes(&self, has_pictures: bool) -> usize {
        let usual = if has_pictures { MOST_PICTURES_BODY_BYTES } else { MOST_BODY_BYTES };
        self.most_answer_mib.map_or(usual, |mib| mib << 20)
    }
}

fn fields(texts: &BTreeMap<String, Text>, scope: &dyn Scope) -> Vec<(String, String)> {
    texts.iter().filter_map(|(name, text)| Some((name.clone(), text.text(scope)?))).collect()
}

fn check_path(path: &Text) -> Result<(), String> {
    let starts = path.literals().next().is_some_and(|first| first.starts_with('/')) && !path.starts_with_name();
    let plain = |text: &str| {
        text.bytes().all(|byte| byte.is_ascii_graphic() && !b"?#%\\".contains(&byte))
            && text.split('/').all(|segment| !matches!(segment, "." | ".."))
    };
    if starts && path.literals().all(plain) {
        return Ok(());
    }
    Err("must be a path behind base_url, such as /tasks/{{task}}: it begins with '/', and has no '?', '#', '%' or '..'"
        .to_owned())
}

/// A text as it may stand in a path. Slashes stay: models' names have them, and task ids cannot.
fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~:@/".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            // Writing to a text does not fail.
            let _ = write!(escaped, "%{byte:02X}");
        }
    }
    escaped
}

/// The role of the pictures that a name stands for, and whether they stand there as base64.
fn pictures_of(name: &str) -> Option<(PictureRole, bool)> {
    let (name, as_base64) = name.strip_suffix("_base64").map_or((name, false), |name| (name, true));
    let role = match name {
        "first_frame" => PictureRole::FirstFrame,
        "last_frame" => PictureRole::LastFrame,
        "reference" | "references" => PictureRole::Reference,
        _ => return None,
    };
    Some((role, as_base64))
}

/// The pictures that a name stands for, as values: links and `data:` URLs, or base64. A list for `references`, else the first.
pub(super) fn picture_values(checked: &Validated<'_>, name: &str) -> Option<Value> {
    let (role, as_base64) = pictures_of(name)?;
    let mut values = checked.request.pictures_of(role).filter_map(|picture| match &picture.source {
        PictureSource::Bytes { bytes, .. } if as_base64 => Some(Value::from(BASE64_STANDARD.encode(bytes))),
        PictureSource::Link(_) if as_base64 => None,
        _ => Some(Value::from(picture.url())),
    });
    if name.starts_with("references") {
        let values: Vec<Value> = values.collect();
        return (!values.is_empty()).then_some(Value::Array(values));
    }
    values.next()
}

/// The files that a name stands for, for parts whose name is told elsewhere: all for `references`, else the first.
pub(super) fn picture_parts(checked: &Validated<'_>, name: &str) -> Vec<Part> {
    let Some((role, _)) = pictures_of(name) else { return Vec::new() };
    let files = checked.request.pictures_of(role).filter_map(|picture| match &picture.source {
        PictureSource::Bytes { format, bytes } => {
            let file_name = format!("{}.{}", role_word(role), extension(*format));
            Some(Part::file("", file_name, format.media_type(), bytes.clone()))
        }
        PictureSource::Link(_) => None,
    });
    files.take(if name.starts_with("references") { usize::MAX } else { 1 }).collect()
}

/// Whether all pictures can go as the create would have them. Fails with [`RequestRefusal`] for a link where the file itself must go.
pub(super) fn check_pictures<A>(call: &CallSection<A>, model: &str, checked: &Validated<'_>) -> Result<(), RequestRefusal> {
    let must_be_here = |picture: &Picture| {
        let word = role_word(picture.role);
        let plural = if picture.role == PictureRole::Reference { "references_base64" } else { "" };
        call.is_multipart() || call.uses(&format!("{word}_base64")) || call.uses(plural)
    };
    let linked = |picture: &&Picture| matches!(picture.source, PictureSource::Link(_));
    match checked.request.pictures.iter().filter(linked).find(|picture| must_be_here(picture)) {
        Some(picture) => Err(RequestRefusal::new(
            picture.role.field(),
            format!("a link of the role {}", picture.role.name()),
            model,
            "the file itself",
        )),
        None => Ok(()),
    }
}

const fn role_word(role: PictureRole) -> &'static str {
    match role {
        PictureRole::FirstFrame => "first_frame",
        PictureRole::LastFrame => "last_frame",
        PictureRole::Reference => "reference",
    }
}

const fn extension(format: PictureFormat) -> &'static str {
    match format {
        PictureFormat::Jpeg => "jpg",
        PictureFormat::Png => "png",
        PictureFormat::Webp => "webp",
        PictureFormat::Bmp => "bmp",
    }
}
