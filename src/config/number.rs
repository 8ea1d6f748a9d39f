//! Numbers of the configuration, bounded where they are read, so that a refusal has a line and a column.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, Visitor};

/// A whole number of `LEAST` to `MOST`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Whole<const LEAST: u64, const MOST: u64>(pub(super) u64);

impl<'de, const LEAST: u64, const MOST: u64> Deserialize<'de> for Whole<LEAST, MOST> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = deserializer.deserialize_any(AnyScalar)?.and_then(|number| u64::try_from(number).ok());
        number
            .filter(|number| (LEAST..=MOST).contains(number))
            .map(Self)
            .ok_or_else(|| D::Error::custom(format!("must be a whole number of {LEAST} to {MOST}")))
    }
}

/// A whole number of -`MOST` to `MOST`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Signed<const MOST: i32>(pub(super) i32);

impl<'de, const MOST: i32> Deserialize<'de> for Signed<MOST> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = deserializer.deserialize_any(AnyScalar)?.and_then(|number| i32::try_from(number).ok());
        number
            .filter(|number| (-MOST..=MOST).contains(number))
            .map(Self)
            .ok_or_else(|| D::Error::custom(format!("must be a whole number of -{MOST} to {MOST}")))
    }
}

/// Takes every scalar, and says which of them is a whole number: so that whatever else is written is answered with the bounds that hold
/// for this key, and not with those of a machine's integers.
struct AnyScalar;

impl Visitor<'_> for AnyScalar {
    type Value = Option<i128>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a whole number")
    }

    fn visit_u64<E>(self, value: u64) -> Result<Self::Value, E> {
        Ok(Some(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Self::Value, E> {
        Ok(Some(value.into()))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }
}

/// A number of 0 to a billion, possibly with decimals: gigabytes, units of money, seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Amount(f64);

impl Amount {
    const MOST: f64 = 1e9;

    /// The number itself.
    pub(super) const fn get(self) -> f64 {
        self.0
    }

    /// Millionths of it.
    pub(super) fn millionths(self) -> u64 {
        (self.0 * 1e6).round() as u64
    }

    /// Bytes, for a number of gigabytes (10⁹ bytes).
    pub(super) fn gigabytes_in_bytes(self) -> u64 {
        (self.0 * 1e9).round() as u64
    }
}

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = f64::deserialize(deserializer)?;
        if (0.0..=Self::MOST).contains(&value) {
            Ok(Self(value))
        } else {
            Err(D::Error::custom(format!("must be a number of 0 to {}", Self::MOST)))
        }
    }
}

/// A number above 0 and at most a billion.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Positive(pub(super) Amount);

impl<'de> Deserialize<'de> for Positive {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = f64::deserialize(deserializer)?;
        if value > 0.0 && value <= Amount::MOST {
            Ok(Self(Amount(value)))
        } else {
            Err(D::Error::custom(format!("must be above 0 and at most {}", Amount::MOST)))
        }
    }
}
