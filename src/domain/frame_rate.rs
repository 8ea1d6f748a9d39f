//! Frames a second, as an exact fraction.

use std::fmt::{self, Display, Formatter};
use std::str::FromStr;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Frames a second: a reduced fraction from 1 to 120, so that no timestamp ever drifts. NTSC's rates are 24000/1001 and the like, and are
/// what `23.976` means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FrameRate {
    numerator: u32,
    denominator: u32,
}

/// What is no frame rate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is no frame rate: a number from 1 to 120, such as 24 or 23.976, or a fraction such as 24000/1001")]
pub struct FrameRateError(String);

/// Fewest frames a second.
pub const MIN_FRAMES_PER_SECOND: u32 = 1;
/// Most frames a second.
pub const MAX_FRAMES_PER_SECOND: u32 = 120;

/// Largest denominator that is taken: 1001 is NTSC's, 1000 that of three decimals, and files measure theirs in microseconds at best.
const MAX_DENOMINATOR: u32 = 1_000_000;

impl FrameRate {
    /// 24 frames a second.
    pub const FILM: Self = Self { numerator: 24, denominator: 1 };

    /// `numerator / denominator` frames a second, reduced. The quotient must be from 1 to 120 and the denominator at most 1,000,000.
    pub fn new(numerator: u32, denominator: u32) -> Result<Self, FrameRateError> {
        let error = || FrameRateError(format!("{numerator}/{denominator}"));
        let within = (1..=MAX_DENOMINATOR).contains(&denominator)
            && numerator >= denominator * MIN_FRAMES_PER_SECOND
            && u64::from(numerator) <= u64::from(denominator) * u64::from(MAX_FRAMES_PER_SECOND);
        if !within {
            return Err(error());
        }
        let divisor = greatest_common_divisor(numerator, denominator);
        Ok(Self { numerator: numerator / divisor, denominator: denominator / divisor })
    }

    /// The frame rate that a decimal means: whole numbers are themselves, what lies within 0.005 of n · 1000/1001 is NTSC's, and all else
    /// is taken to three decimals.
    pub fn from_decimal(frames_per_second: f64) -> Result<Self, FrameRateError> {
        let error = || FrameRateError(frames_per_second.to_string());
        if !(1.0..=f64::from(MAX_FRAMES_PER_SECOND)).contains(&frames_per_second) {
            return Err(error());
        }
        let whole = frames_per_second.round();
        if (frames_per_second - whole).abs() < 1e-9 {
            return Self::new(whole as u32, 1).map_err(|_| error());
        }
        let nominal = (frames_per_second * 1.001).round();
        // 23.976, 23.98, 29.97, 47.952, 59.94, 119.88: the rates that have an NTSC form.
        let has_ntsc_form = [24.0, 30.0, 48.0, 60.0, 120.0].contains(&nominal);
        if has_ntsc_form && (frames_per_second - nominal / 1.001).abs() < 0.005 {
            return Self::new(nominal as u32 * 1000, 1001).map_err(|_| error());
        }
        Self::new((frames_per_second * 1000.0).round() as u32, 1000).map_err(|_| error())
    }

    /// Numerator of the reduced fraction.
    pub fn numerator(self) -> u32 {
        self.numerator
    }

    /// Denominator of the reduced fraction.
    pub fn denominator(self) -> u32 {
        self.denominator
    }

    /// Frames a second as a float, for what need not be exact.
    pub fn frames_per_second(self) -> f64 {
        f64::from(self.numerator) / f64::from(self.denominator)
    }

    /// How many frames are nearest to a duration, and at least one.
    pub fn frames_in(self, seconds: f64) -> u64 {
        ((seconds * self.frames_per_second()).round() as u64).max(1)
    }

    /// How long so many frames are shown, seconds.
    pub fn seconds_of(self, frames: u64) -> f64 {
        frames as f64 * f64::from(self.denominator) / f64::from(self.numerator)
    }

    /// How many units of `1 / units_per_second` seconds pass in so many frames, rounded down. Exact.
    pub fn units_of(self, frames: u64, units_per_second: u32) -> u64 {
        let units = u128::from(frames) * u128::from(self.denominator) * u128::from(units_per_second) / u128::from(self.numerator);
        u64::try_from(units).unwrap_or(u64::MAX)
    }
}

fn greatest_common_divisor(mut a: u32, mut b: u32) -> u32 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a.max(1)
}

impl Display for FrameRate {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        if self.denominator == 1 {
            write!(formatter, "{}", self.numerator)
        } else {
            write!(formatter, "{}/{}", self.numerator, self.denominator)
        }
    }
}

impl FromStr for FrameRate {
    type Err = FrameRateError;

    fn from_str(text: &str) -> Result<Self, FrameRateError> {
        let error = || FrameRateError(text.chars().take(40).collect());
        let trimmed = text.trim();
        if let Some((numerator, denominator)) = trimmed.split_once('/') {
            let numerator = numerator.trim().parse().map_err(|_| error())?;
            let denominator = denominator.trim().parse().map_err(|_| error())?;
            return Self::new(numerator, denominator).map_err(|_| error());
        }
        Self::from_decimal(trimmed.parse().map_err(|_| error())?).map_err(|_| error())
    }
}

impl Serialize for FrameRate {
    /// A number when it is whole, else a fraction in a string.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.denominator == 1 { serializer.serialize_u32(self.numerator) } else { serializer.collect_str(self) }
    }
}

impl<'de> Deserialize<'de> for FrameRate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Written;

        impl Visitor<'_> for Written {
            type Value = FrameRate;

            fn expecting(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
                formatter.write_str("frames a second: a number from 1 to 120, or a fraction such as \"24000/1001\"")
            }

            fn visit_u64<E: de::Error>(self, value: u64) -> Result<FrameRate, E> {
                self.visit_f64(value as f64)
            }

            fn visit_i64<E: de::Error>(self, value: i64) -> Result<FrameRate, E> {
                self.visit_f64(value as f64)
            }

            fn visit_f64<E: de::Error>(self, value: f64) -> Result<FrameRate, E> {
                FrameRate::from_decimal(value).map_err(E::custom)
            }

            fn visit_str<E: de::Error>(self, value: &str) -> Result<FrameRate, E> {
                value.parse().map_err(E::custom)
            }
        }

        deserializer.deserialize_any(Written)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_write_is_read() {
        for (text, numerator, denominator) in [
            ("24", 24, 1),
            (" 7 ", 7, 1),
            ("1", 1, 1),
            ("120", 120, 1),
            ("24.0", 24, 1),
            ("23.976", 24_000, 1001),
            ("23.98", 24_000, 1001),
            ("23.976023976", 24_000, 1001),
            ("29.97", 30_000, 1001),
            ("59.94", 60_000, 1001),
            ("24000/1001", 24_000, 1001),
            ("48/2", 24, 1),
            ("12.5", 25, 2),
            ("14.985", 2997, 200),
            ("6.25", 25, 4),
        ] {
            let rate: FrameRate = text.parse().unwrap();
            assert_eq!((rate.numerator(), rate.denominator()), (numerator, denominator), "{text}");
            assert_eq!(rate.to_string().parse::<FrameRate>().unwrap(), rate);
        }
        for text in
            ["", "0", "0.99", "121", "120.01", "-24", "NaN", "inf", "24/0", "0/1", "4294967295/1", "24/1/1", "fast", "1e9"]
        {
            let error = text.parse::<FrameRate>().unwrap_err().to_string();
            assert!(error.contains("1 to 120") && error.contains(text), "{error}");
        }
    }

    #[test]
    fn json_has_numbers_and_fractions() {
        for (json, written) in [("24", "24"), ("24.0", "24"), ("\"30000/1001\"", "\"30000/1001\""), ("29.97", "\"30000/1001\"")] {
            let rate: FrameRate = serde_json::from_str(json).unwrap();
            assert_eq!(serde_json::to_string(&rate).unwrap(), written);
        }
        for json in ["0", "-1", "121", "null", "[24]", "\"x\"", "1e300"] {
            assert!(serde_json::from_str::<FrameRate>(json).is_err(), "{json}");
        }
    }

    #[test]
    fn times_are_exact() {
        let ntsc = FrameRate::new(24_000, 1001).unwrap();
        assert_eq!(ntsc.units_of(24_000, 48_000), 1001 * 48_000);
        assert_eq!(FrameRate::FILM.units_of(1, 48_000), 2000);
        assert_eq!(FrameRate::FILM.frames_in(5.0), 120);
        assert_eq!(ntsc.frames_in(5.0), 120);
        assert_eq!(FrameRate::FILM.frames_in(0.0), 1);
        assert!((ntsc.seconds_of(24) - 1.001).abs() < 1e-12);
    }
}
