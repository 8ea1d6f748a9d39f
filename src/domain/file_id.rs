//! The number by which MiniMax's clients fetch a film.
//!
//! They read it as a text of digits in one answer and as a 64-bit integer in another, so it has 63 bits: those of a job's identifier that
//! tell when it was made, to the millisecond, and 22 that are random. The job is found again among its owner's of that millisecond.

use std::fmt;

use super::ids::JobId;

/// Where its time begins: 2020-01-01T00:00:00Z, Unix milliseconds. 41 bits last until 2089.
const EPOCH_MS: u64 = 1_577_836_800_000;
const TIME_BITS: u32 = 41;
const RANDOM_BITS: u32 = 22;
/// Bits of an identifier behind its milliseconds.
const BITS_BEHIND_TIME: u32 = 80;

/// A film's file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileId(u64);

impl FileId {
    /// The film of a job.
    pub const fn of(job: JobId) -> Self {
        let bits = job.bits();
        let time = ((bits >> BITS_BEHIND_TIME) as u64).wrapping_sub(EPOCH_MS) & ((1 << TIME_BITS) - 1);
        Self((time << RANDOM_BITS) | (bits as u64 & ((1 << RANDOM_BITS) - 1)))
    }

    /// Reads digits.
    pub fn parse(text: &str) -> Option<Self> {
        let is_number = !text.is_empty() && text.len() <= 19 && text.bytes().all(|byte| byte.is_ascii_digit());
        let number: u64 = is_number.then(|| text.parse().ok())??;
        i64::try_from(number).is_ok().then_some(Self(number))
    }

    /// The number.
    pub const fn number(self) -> u64 {
        self.0
    }

    /// Later than its job and those of the same millisecond, and earlier than all that come after.
    pub const fn end_of_its_millisecond(self) -> JobId {
        JobId::from_bits(((self.made_ms() + 1) as u128) << BITS_BEHIND_TIME)
    }

    /// Whether a job was made in the same millisecond as its own.
    pub const fn is_of_the_time_of(self, job: JobId) -> bool {
        (job.bits() >> BITS_BEHIND_TIME) as u64 == self.made_ms()
    }

    const fn made_ms(self) -> u64 {
        (self.0 >> RANDOM_BITS) + EPOCH_MS
    }
}

impl fmt::Display for FileId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_number_says_when_its_job_was_made() {
        let job = JobId::generate();
        let file = FileId::of(job);
        assert!(file.is_of_the_time_of(job) && job < file.end_of_its_millisecond());
        assert!(!file.is_of_the_time_of(file.end_of_its_millisecond()));
        assert_eq!(FileId::parse(&file.to_string()), Some(file));
        let known = FileId::of("job_0199a5b6c7d87e0f8a1b2c3d4e5f6071".parse().unwrap());
        assert_eq!(known.to_string(), "761622873941958769");
    }

    #[test]
    fn jobs_of_one_millisecond_differ() {
        let numbers: std::collections::BTreeSet<u64> = (0..1000).map(|_| FileId::of(JobId::generate()).number()).collect();
        assert!(numbers.len() >= 999, "{} of 1000", numbers.len());
    }

    #[test]
    fn what_is_no_number_is_no_file() {
        for text in ["", "x", "-1", "1.5", "+1", " 1", "9223372036854775808", "99999999999999999999", "１"] {
            assert_eq!(FileId::parse(text), None, "{text}");
        }
        assert_eq!(FileId::parse("9223372036854775807").map(FileId::number), Some(i64::MAX as u64));
    }

    proptest! {
        #[test]
        fn every_job_has_one(bits in any::<u128>()) {
            let file = FileId::of(JobId::from_bits(bits));
            prop_assert!(i64::try_from(file.number()).is_ok());
            prop_assert_eq!(FileId::parse(&file.to_string()), Some(file));
        }
    }
}
