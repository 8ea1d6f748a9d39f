//! Chance that can be repeated.

use super::trial;

/// `SplitMix64`: enough for choosing victims, and the same sequence for the same seed everywhere.
#[derive(Debug)]
pub(crate) struct Random(u64);

impl Random {
    /// The sequence of a seed.
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// `FRAMEWRIGHT_SEED`, or a new seed.
    pub(crate) fn seed() -> u64 {
        match trial::variable("FRAMEWRIGHT_SEED") {
            Some(text) => text.parse().expect("FRAMEWRIGHT_SEED is a whole number"),
            // The random bits of a version 7 identifier; short enough to be typed again.
            None => uuid::Uuid::now_v7().as_u64_pair().1 & 0xFFFF_FFFF,
        }
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number of `low..high`.
    pub(crate) fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.next() % (high - low)
    }

    /// True so many times in a hundred.
    pub(crate) fn percent(&mut self, chance: u64) -> bool {
        self.between(0, 100) < chance
    }

    /// One of several.
    pub(crate) fn pick<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[self.next() as usize % choices.len()]
    }
}
