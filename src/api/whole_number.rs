//! Whole numbers as clients write them.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, Visitor};
use serde::ser::{Serialize, Serializer};

use super::error::ApiError;

/// A whole number of any size: `20` and `20.0` are the same number in JSON, and a number far out of range still gets as far as the
/// check that names the range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct WholeNumber(pub(super) i128);

impl<'de> Deserialize<'de> for WholeNumber {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NumberVisitor;
        impl Visitor<'_> for NumberVisitor {
            type Value = WholeNumber;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a whole number")
            }
            fn visit_i64<E: de::Error>(self, value: i64) -> Result<WholeNumber, E> {
                Ok(WholeNumber(value.into()))
            }
            fn visit_u64<E: de::Error>(self, value: u64) -> Result<WholeNumber, E> {
                Ok(WholeNumber(value.into()))
            }
            fn visit_f64<E: de::Error>(self, value: f64) -> Result<WholeNumber, E> {
                if value.is_finite() && value.fract() == 0.0 {
                    // The cast saturates, which is as far out of every range as the number was.
                    Ok(WholeNumber(value as i128))
                } else {
                    Err(E::invalid_value(de::Unexpected::Float(value), &self))
                }
            }
        }
        deserializer.deserialize_any(NumberVisitor)
    }
}

impl Serialize for WholeNumber {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match (u64::try_from(self.0), i64::try_from(self.0)) {
            (Ok(number), _) => serializer.serialize_u64(number),
            (_, Ok(number)) => serializer.serialize_i64(number),
            // As large as that it was a fraction's notation.
            _ => serializer.serialize_f64(self.0 as f64),
        }
    }
}

/// A priority from −`most` to `most`.
pub(super) fn priority_within(number: WholeNumber, most: i128) -> Result<i32, ApiError> {
    match i32::try_from(number.0) {
        Ok(priority) if (-most..=most).contains(&number.0) => Ok(priority),
        _ => Err(ApiError::invalid("priority", format!("is {}; allowed: -{most} to {most}", number.0))),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("20", 20)]
    #[case("20.0", 20)]
    #[case("-1", -1)]
    #[case("18446744073709551615", (1 << 64) - 1)]
    #[case("1e300", i128::MAX)]
    fn numbers(#[case] json: &str, #[case] number: i128) {
        let read: WholeNumber = serde_json::from_str(json).unwrap();
        assert_eq!(read, WholeNumber(number));
        assert_eq!(serde_json::from_value::<WholeNumber>(serde_json::to_value(read).unwrap()).unwrap(), read);
    }

    #[rstest]
    #[case("20.5")]
    #[case("\"20\"")]
    #[case("true")]
    #[case("[20]")]
    fn other_things(#[case] json: &str) {
        let error = serde_json::from_str::<WholeNumber>(json).unwrap_err().to_string();
        assert!(error.contains("expected a whole number"), "{error}");
    }
}
