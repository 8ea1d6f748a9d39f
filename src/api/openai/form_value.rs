//! Values as forms have them: all of them are texts, whatever they mean.

use serde::de::Error;
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use utoipa::ToSchema;

use crate::api::error::{ApiError, ErrorKind};
use crate::api::film_submission::OrderedFile;
use crate::api::whole_number::WholeNumber;

/// A number, or a text that is one.
#[derive(Clone, Copy, Debug)]
pub(in crate::api) struct Number(pub(super) f64);

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = match Value::deserialize(deserializer)? {
            Value::Number(number) => number.as_f64(),
            Value::String(text) => text.trim().parse().ok(),
            _ => None,
        };
        number.map(Self).ok_or_else(|| D::Error::custom("invalid value, expected a number"))
    }
}

impl Number {
    /// The whole number that it is; a fraction is out of every range.
    pub(super) fn whole(self, field: &'static str) -> Result<i128, ApiError> {
        if self.0.is_finite() && self.0.fract() == 0.0 {
            Ok(self.0 as i128)
        } else {
            Err(ApiError::invalid(field, format!("is {}; it must be a whole number", self.0)))
        }
    }
}

/// A whole number of any size, or a text that is one.
#[derive(Clone, Copy, Debug)]
pub(in crate::api) struct WholeOrText(pub(super) i128);

impl<'de> Deserialize<'de> for WholeOrText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::String(text) => {
                text.trim().parse().map(Self).map_err(|_| D::Error::custom("invalid value, expected a whole number"))
            }
            value => serde_json::from_value::<WholeNumber>(value).map(|number| Self(number.0)).map_err(D::Error::custom),
        }
    }
}

/// Yes or no, or a text that says so.
#[derive(Clone, Copy, Debug)]
pub(in crate::api) struct YesOrNo(pub(super) bool);

impl<'de> Deserialize<'de> for YesOrNo {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = match Value::deserialize(deserializer)? {
            Value::Bool(value) => Some(value),
            Value::String(text) => match text.trim().to_ascii_lowercase().as_str() {
                "true" | "1" => Some(true),
                "false" | "0" | "" => Some(false),
                _ => None,
            },
            _ => None,
        };
        value.map(Self).ok_or_else(|| D::Error::custom("invalid value, expected true or false"))
    }
}

/// A picture that a request names: a data URL or a link, or an object with exactly one of the two.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(try_from = "Value")]
pub(in crate::api) struct PictureReference {
    /// A data URL or a link.
    image_url: Option<String>,
    /// Not supported: this server keeps no files of clients.
    file_id: Option<String>,
}

impl TryFrom<Value> for PictureReference {
    type Error = &'static str;

    fn try_from(value: Value) -> Result<Self, Self::Error> {
        // The words behind the comma are what the answer says.
        const EXPECTED: &str = "invalid value, expected a data URL, a link, or {\"image_url\": one of these}";
        let fields = match value {
            Value::String(url) => return Ok(Self { image_url: Some(url), file_id: None }),
            Value::Object(fields) => fields,
            _ => return Err(EXPECTED),
        };
        let mut reference = Self { image_url: None, file_id: None };
        for (name, value) in fields {
            let field = match name.as_str() {
                "image_url" => &mut reference.image_url,
                "file_id" => &mut reference.file_id,
                _ => return Err(EXPECTED),
            };
            *field = match value {
                Value::String(text) => Some(text),
                Value::Null => None,
                _ => return Err(EXPECTED),
            };
        }
        Ok(reference)
    }
}

impl PictureReference {
    /// The picture, which the request calls `field`.
    pub(super) fn file(self, field: &'static str) -> Result<OrderedFile, ApiError> {
        if let Self { image_url: Some(url), file_id: None } = self {
            return Ok(OrderedFile::Text(url));
        }
        let problem = "must be a file in a form, a data URL, a link, or {\"image_url\": one of these}; this server keeps no files of clients";
        Err(ApiError::about(ErrorKind::UnsupportedField, field, problem))
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("true", Some(true))]
    #[case("\"True\"", Some(true))]
    #[case("\"1\"", Some(true))]
    #[case("false", Some(false))]
    #[case("\"\"", Some(false))]
    #[case("\"yes please\"", None)]
    #[case("1", None)]
    fn yes_and_no(#[case] json: &str, #[case] expected: Option<bool>) {
        assert_eq!(serde_json::from_str::<YesOrNo>(json).ok().map(|value| value.0), expected);
    }

    #[rstest]
    #[case(r#""https://host/a.png""#, Ok(Some("https://host/a.png")))]
    #[case(r#"{"image_url": "data:image/png;base64,AQID"}"#, Ok(Some("data:image/png;base64,AQID")))]
    #[case(r#"{"image_url": "https://host/a.png", "file_id": null}"#, Ok(Some("https://host/a.png")))]
    #[case(r#"{"file_id": "file_1"}"#, Ok(None))]
    #[case("{}", Ok(None))]
    #[case(r#"{"image_url": {"url": "https://host/a.png"}}"#, Err(()))]
    #[case(r#"{"url": "https://host/a.png"}"#, Err(()))]
    #[case("7", Err(()))]
    #[case(r#"["https://host/a.png"]"#, Err(()))]
    fn pictures(#[case] json: &str, #[case] expected: Result<Option<&str>, ()>) {
        let read = serde_json::from_str::<PictureReference>(json);
        if let Err(error) = &read {
            assert!(error.to_string().contains("expected a data URL, a link, or {\"image_url\": one of these}"), "{error}");
        }
        let url = read.map(|reference| reference.file("input_reference").ok());
        let url = url.map(|file| {
            file.map(|file| match file {
                OrderedFile::Text(url) => url,
                OrderedFile::Bytes(_) => panic!("a text became a file"),
            })
        });
        assert_eq!(url.as_ref().map(Option::as_deref).map_err(|_| ()), expected);
    }

    #[rstest]
    #[case("\" 18446744073709551615 \"", Some((1 << 64) - 1))]
    #[case("20.0", Some(20))]
    #[case("\"2.5\"", None)]
    #[case("\"\"", None)]
    #[case("[1]", None)]
    fn whole_numbers(#[case] json: &str, #[case] expected: Option<i128>) {
        assert_eq!(serde_json::from_str::<WholeOrText>(json).ok().map(|value| value.0), expected);
    }
}
