//! Numbers, and texts that are some: clients send `5` and `"5"`.

use serde::Deserialize;
use serde_json::Value;

use crate::api::error::ApiError;
use crate::api::whole_number::WholeNumber;

/// A number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::api) struct Number(pub(super) f64);

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = match Value::deserialize(deserializer)? {
            Value::Number(number) => number.as_f64(),
            Value::String(text) => text.trim().parse().ok(),
            _ => None,
        };
        number.map(Self).ok_or_else(|| serde::de::Error::custom("invalid value, expected a number"))
    }
}

impl Number {
    /// The whole number that it is.
    pub(super) fn whole(self, field: &'static str) -> Result<i128, ApiError> {
        if self.0.is_finite() && self.0.fract() == 0.0 {
            return Ok(self.0 as i128);
        }
        Err(ApiError::invalid(field, format!("is {}; it must be a whole number", self.0)))
    }
}

/// A whole number of any size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::api) struct Whole(pub(super) i128);

impl<'de> Deserialize<'de> for Whole {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let whole = match Value::deserialize(deserializer)? {
            Value::String(text) => text.trim().parse().ok(),
            value => serde_json::from_value(value).ok().map(|WholeNumber(number)| number),
        };
        whole.map(Self).ok_or_else(|| serde::de::Error::custom("invalid value, expected a whole number"))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn texts_of_numbers_are_numbers() {
        for (value, number) in [(json!(5), 5.0), (json!("5"), 5.0), (json!(" 2.5 "), 2.5)] {
            assert_eq!(serde_json::from_value::<Number>(value).unwrap(), Number(number));
        }
        for value in [json!("five"), json!(true), json!([5])] {
            assert!(serde_json::from_value::<Number>(value.clone()).is_err(), "{value}");
            assert!(serde_json::from_value::<Whole>(value).is_err());
        }
        assert_eq!(serde_json::from_value::<Whole>(json!("18446744073709551615")).unwrap(), Whole(u64::MAX.into()));
        assert_eq!(serde_json::from_value::<Whole>(json!(7.0)).unwrap(), Whole(7));
        assert!(Number(2.5).whole("fps").is_err() && Number(f64::NAN).whole("fps").is_err());
    }
}
