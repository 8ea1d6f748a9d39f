//! Small checksums.

/// FNV-1a, 64 bits. Tells honest mistakes apart, not attacks.
#[derive(Debug)]
pub struct Fingerprint(u64);

impl Default for Fingerprint {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Fingerprint {
    /// The length goes in too, so that neighbours do not run into each other.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.absorb(bytes);
    }

    /// Eight bytes, little-endian.
    pub fn number(&mut self, number: u64) {
        self.absorb(&number.to_le_bytes());
    }

    /// The sum of all that went in.
    pub fn finish(&self) -> u64 {
        self.0
    }

    fn absorb(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}
