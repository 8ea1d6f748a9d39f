//! mt19937 (Matsumoto and Nishimura, 1998).

/// Words of state.
pub(super) const WORDS: usize = 624;
const MIDDLE: usize = 397;

/// The Mersenne twister with 32-bit output.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct MersenneTwister {
    words: Box<[u32; WORDS]>,
    /// The next word to give out; `WORDS` when a new block is due.
    next: usize,
}

impl MersenneTwister {
    /// The classic `init_genrand`.
    pub(super) fn new(seed: u32) -> Self {
        let mut words = Box::new([0_u32; WORDS]);
        let mut word = seed;
        for (index, slot) in words.iter_mut().enumerate() {
            if index > 0 {
                word = (word ^ (word >> 30)).wrapping_mul(1_812_433_253).wrapping_add(index as u32);
            }
            *slot = word;
        }
        Self { words, next: WORDS }
    }

    /// A generator from its state; `None` when `next` is out of range.
    pub(super) fn from_parts(words: Box<[u32; WORDS]>, next: usize) -> Option<Self> {
        (next <= WORDS).then_some(Self { words, next })
    }

    pub(super) fn words(&self) -> &[u32; WORDS] {
        &self.words
    }

    pub(super) fn next_index(&self) -> usize {
        self.next
    }

    pub(super) fn next_u32(&mut self) -> u32 {
        if self.next == WORDS {
            self.refill();
        }
        let mut word = self.words[self.next];
        self.next += 1;
        word ^= word >> 11;
        word ^= (word << 7) & 0x9d2c_5680;
        word ^= (word << 15) & 0xefc6_0000;
        word ^ (word >> 18)
    }

    fn refill(&mut self) {
        for index in 0..WORDS {
            let joined = (self.words[index] & 0x8000_0000) | (self.words[(index + 1) % WORDS] & 0x7fff_ffff);
            let twist = if joined & 1 == 1 { 0x9908_b0df } else { 0 };
            self.words[index] = self.words[(index + MIDDLE) % WORDS] ^ (joined >> 1) ^ twist;
        }
        self.next = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ten_thousandth_number_is_the_one_of_the_c_plus_plus_standard() {
        let mut twister = MersenneTwister::new(5489);
        let last = (0..10_000).map(|_| twister.next_u32()).last();
        assert_eq!(last, Some(4_123_659_995));
    }
}
