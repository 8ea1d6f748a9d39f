//! What a call carries: JSON, the fields of a form, or files among them.

use std::fmt::Write as _;

use serde_json::Value;
use sha2::{Digest, Sha256};

/// A call's body.
#[derive(Clone, PartialEq, Eq)]
pub enum Payload {
    /// JSON.
    Json(Value),
    /// Fields, as `application/x-www-form-urlencoded`.
    Form(Vec<(String, String)>),
    /// Fields and files, as `multipart/form-data`.
    Multipart(Vec<Part>),
}

/// A part of a `multipart/form-data` body.
#[derive(Clone, PartialEq, Eq)]
pub struct Part {
    /// The field's name.
    pub name: String,
    /// The file's name and media type; none for a plain field.
    pub file: Option<(String, String)>,
    /// What it holds.
    pub bytes: Vec<u8>,
}

impl Part {
    /// A plain field.
    pub fn field(name: impl Into<String>, value: impl Into<String>) -> Self {
        Self { name: name.into(), file: None, bytes: value.into().into_bytes() }
    }

    /// A file.
    pub fn file(name: impl Into<String>, file_name: impl Into<String>, media_type: impl Into<String>, bytes: Vec<u8>) -> Self {
        Self { name: name.into(), file: Some((file_name.into(), media_type.into())), bytes }
    }
}

impl Payload {
    /// Its `Content-Type`.
    pub fn content_type(&self) -> String {
        match self {
            Self::Json(_) => "application/json".to_owned(),
            Self::Form(_) => "application/x-www-form-urlencoded".to_owned(),
            Self::Multipart(parts) => format!("multipart/form-data; boundary={}", boundary(parts)),
        }
    }

    /// As it is sent.
    pub fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Json(value) => value.to_string().into_bytes(),
            Self::Form(fields) => url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish().into_bytes(),
            Self::Multipart(parts) => multipart(parts),
        }
    }
}

/// What stands between parts. It is made from them: whatever they hold, they do not hold their own hash.
fn boundary(parts: &[Part]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.name.len() as u64).to_le_bytes());
        hash.update(&part.name);
        hash.update((part.bytes.len() as u64).to_le_bytes());
        hash.update(&part.bytes);
    }
    let mut boundary = String::from("framewright-");
    for byte in hash.finalize().iter().take(16) {
        // Writing to a text does not fail.
        let _ = write!(boundary, "{byte:02x}");
    }
    boundary
}

fn multipart(parts: &[Part]) -> Vec<u8> {
    let boundary = boundary(parts);
    let mut body = Vec::with_capacity(parts.iter().map(|part| part.bytes.len() + 256).sum());
    for part in parts {
        body.extend_from_slice(
            format!("--{boundary}\r\nContent-Disposition: form-data; name=\"{}\"", quoted(&part.name)).as_bytes(),
        );
        if let Some((file_name, media_type)) = &part.file {
            body.extend_from_slice(
                format!("; filename=\"{}\"\r\nContent-Type: {}", quoted(file_name), quoted(media_type)).as_bytes(),
            );
        }
        body.extend_from_slice(b"\r\n\r\n");
        body.extend_from_slice(&part.bytes);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
    body
}

/// A name as it stands between quotes in a part's head, as browsers write it: nothing in it ends the quotes or the line.
fn quoted(name: &str) -> String {
    name.replace('"', "%22").replace('\r', "%0D").replace('\n', "%0A")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(payload: &Payload) -> String {
        String::from_utf8(payload.bytes()).unwrap()
    }

    #[test]
    fn forms_are_encoded() {
        let form = Payload::Form(vec![("prompt".to_owned(), "a b&c=猫".to_owned()), ("n".to_owned(), "1".to_owned())]);
        assert_eq!(text(&form), "prompt=a+b%26c%3D%E7%8C%AB&n=1");
        assert_eq!(form.content_type(), "application/x-www-form-urlencoded");
    }

    #[test]
    fn parts_stand_between_boundaries_that_they_do_not_hold() {
        let parts = vec![
            Part::field("prompt", "a cat\r\n--framewright-"),
            Part::file("image[]", "a\".png", "image/png", vec![137, 80, 78, 71]),
        ];
        let payload = Payload::Multipart(parts.clone());
        let (bytes, content_type) = (payload.bytes(), payload.content_type());
        let boundary = content_type.strip_prefix("multipart/form-data; boundary=").unwrap();
        assert_eq!(boundary.len(), 44);
        let mut expected = Vec::new();
        expected.extend_from_slice(
            format!("--{boundary}\r\nContent-Disposition: form-data; name=\"prompt\"\r\n\r\na cat\r\n--framewright-\r\n")
                .as_bytes(),
        );
        expected.extend_from_slice(
            format!("--{boundary}\r\nContent-Disposition: form-data; name=\"image[]\"; filename=\"a%22.png\"\r\n").as_bytes(),
        );
        expected.extend_from_slice(b"Content-Type: image/png\r\n\r\n\x89PNG\r\n");
        expected.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
        assert_eq!(bytes, expected);
        // Whoever learns a boundary and sends it gets another one.
        let guessed = Payload::Multipart(vec![Part::field("prompt", format!("--{boundary}")), parts[1].clone()]);
        assert_ne!(guessed.content_type(), content_type);
    }

    #[test]
    fn no_name_adds_a_header() {
        let payload = Payload::Multipart(vec![Part::file("a\r\nX: 1", "b\nX: 2", "c\r\nX: 3", vec![])]);
        assert!(!text(&payload).contains("\nX:"), "{}", text(&payload));
    }
}
