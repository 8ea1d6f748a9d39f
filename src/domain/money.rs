//! Amounts of money as whole millionths of a currency, so that sums are exact.

use std::fmt;
use std::str::FromStr;

/// Digits behind the point that are kept.
const DECIMALS: usize = 6;
/// Millionths in one.
const ONE: i64 = 1_000_000;
/// The largest amount that is read: a billion of the currency.
const MOST: i64 = 1_000_000_000 * ONE;

/// Millionths of a currency, never below zero. Read from what people write: `0.24`, `12`, with at most six digits behind the point.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Micros(i64);

/// What is no amount.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be an amount of 0 to 1000000000 with at most six digits behind the point, such as 0.24")]
pub struct MicrosError;

impl Micros {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// So many millionths; what is below zero is nothing.
    pub const fn new(micros: i64) -> Self {
        Self(if micros < 0 { 0 } else { micros })
    }

    /// The millionths.
    pub const fn get(self) -> i64 {
        self.0
    }

    /// Both together; more than there are numbers for is the largest number.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// `count` of it.
    #[must_use]
    pub const fn times(self, count: u32) -> Self {
        Self(self.0.saturating_mul(count as i64))
    }

    /// What `milliseconds` cost, of which a thousand cost this: to the nearest millionth, halves up.
    #[must_use]
    pub fn for_milliseconds(self, milliseconds: u64) -> Self {
        let exact = i128::from(self.0) * i128::from(milliseconds);
        Self(i64::try_from((exact + 500) / 1000).unwrap_or(i64::MAX))
    }
}

impl fmt::Display for Micros {
    /// As it is read: `0.24`.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let decimals = format!("{:06}", self.0 % ONE);
        let decimals = decimals.trim_end_matches('0');
        write!(formatter, "{}", self.0 / ONE)?;
        if decimals.is_empty() { Ok(()) } else { write!(formatter, ".{decimals}") }
    }
}

impl FromStr for Micros {
    type Err = MicrosError;

    fn from_str(text: &str) -> Result<Self, MicrosError> {
        let (whole, decimals) = text.split_once('.').unwrap_or((text, "0"));
        let digits = |text: &str, most: usize| {
            let are_digits = text.bytes().all(|byte| byte.is_ascii_digit());
            (are_digits && (1..=most).contains(&text.len())).then(|| text.parse::<i64>().ok()).flatten().ok_or(MicrosError)
        };
        let (whole, parsed) = (digits(whole, 10)?, digits(decimals, DECIMALS)?);
        let behind = (decimals.len()..DECIMALS).fold(parsed, |number, _| number * 10);
        let micros = whole * ONE + behind;
        if micros <= MOST { Ok(Self(micros)) } else { Err(MicrosError) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn amounts_are_exact() {
        for (text, micros) in [
            ("0", 0),
            ("0.24", 240_000),
            ("0.1", 100_000),
            ("0.000001", 1),
            ("12", 12_000_000),
            ("1000000000", MOST),
            ("0.070000", 70_000),
        ] {
            assert_eq!(text.parse(), Ok(Micros(micros)), "{text}");
        }
        for text in ["", ".", "1.", ".5", "-1", "+1", "1e3", "0.0000001", "1,5", "1000000000.000001", "99999999999", "inf", "0x1"]
        {
            assert_eq!(text.parse::<Micros>(), Err(MicrosError), "{text}");
        }
    }

    #[test]
    fn parts_of_a_second_are_rounded_to_the_nearest() {
        let price: Micros = "0.24".parse().unwrap();
        assert_eq!(price.for_milliseconds(5000), Micros(1_200_000));
        assert_eq!(Micros(1).for_milliseconds(499), Micros(0));
        assert_eq!(Micros(1).for_milliseconds(500), Micros(1));
        assert_eq!(Micros(i64::MAX).for_milliseconds(u64::MAX), Micros(i64::MAX));
    }

    proptest! {
        #[test]
        fn what_is_shown_is_read_again(micros in 0..=MOST) {
            prop_assert_eq!(Micros(micros).to_string().parse(), Ok(Micros(micros)));
        }

        #[test]
        fn no_text_panics(text in "\\PC{0,30}") {
            let _ = text.parse::<Micros>();
        }
    }
}
