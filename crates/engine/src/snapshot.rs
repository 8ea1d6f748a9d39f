//! Saved states as bytes: little-endian, every length checked against what is left before anything is allocated.

use crate::latent::Latent;

/// Puts a state together.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    /// Begins with a four-letter tag and a version, which [`Reader::new`] asks for again.
    pub(crate) fn new(tag: [u8; 4], version: u8) -> Self {
        let mut bytes = tag.to_vec();
        bytes.push(version);
        Self { bytes }
    }

    pub(crate) fn finish(self) -> Vec<u8> {
        self.bytes
    }

    pub(crate) fn u8(&mut self, value: u8) {
        self.bytes.push(value);
    }

    pub(crate) fn u32(&mut self, value: u32) {
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    pub(crate) fn u64(&mut self, value: u64) {
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    pub(crate) fn size(&mut self, value: usize) {
        self.u64(value as u64);
    }

    pub(crate) fn bytes(&mut self, value: &[u8]) {
        self.size(value.len());
        self.bytes.extend_from_slice(value);
    }

    pub(crate) fn latent(&mut self, latent: &Latent) {
        for dimension in [latent.frames, latent.height, latent.width, latent.channels] {
            self.size(dimension);
        }
        self.bytes.extend(latent.values.iter().flat_map(|value| value.to_le_bytes()));
    }

    pub(crate) fn optional_latent(&mut self, latent: Option<&Latent>) {
        self.u8(u8::from(latent.is_some()));
        if let Some(latent) = latent {
            self.latent(latent);
        }
    }
}

/// Takes a state apart. Every method gives `None` when the bytes do not hold what is asked for.
#[derive(Debug)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8], tag: [u8; 4], version: u8) -> Option<Self> {
        let rest = bytes.strip_prefix(&tag)?.strip_prefix(&[version])?;
        Some(Self { rest })
    }

    /// `Some` when nothing is left over.
    pub(crate) fn finish(self) -> Option<()> {
        self.rest.is_empty().then_some(())
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.rest.split_first_chunk::<N>()?;
        self.rest = rest;
        Some(*head)
    }

    fn slice(&mut self, length: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Some(head)
    }

    pub(crate) fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    pub(crate) fn size(&mut self) -> Option<usize> {
        usize::try_from(self.u64()?).ok()
    }

    pub(crate) fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = self.size()?;
        self.slice(length)
    }

    pub(crate) fn latent(&mut self) -> Option<Latent> {
        let (frames, height, width, channels) = (self.size()?, self.size()?, self.size()?, self.size()?);
        let count = frames.checked_mul(height)?.checked_mul(width)?.checked_mul(channels)?;
        let bytes = self.slice(count.checked_mul(4)?)?;
        let (chunks, _) = bytes.as_chunks::<4>();
        let values = chunks.iter().map(|chunk| f32::from_le_bytes(*chunk)).collect();
        Some(Latent { frames, height, width, channels, values })
    }

    /// The outer `Option` says whether the bytes were good, the inner one whether a latent was saved.
    #[expect(clippy::option_option, reason = "two different absences, documented above")]
    pub(crate) fn optional_latent(&mut self) -> Option<Option<Latent>> {
        match self.u8()? {
            0 => Some(None),
            1 => self.latent().map(Some),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let latent = Latent { frames: 1, height: 2, width: 1, channels: 2, values: vec![1.0, -2.5, f32::MIN_POSITIVE, 0.0] };
        let mut writer = Writer::new(*b"TEST", 3);
        writer.u8(7);
        writer.u32(8);
        writer.u64(u64::MAX);
        writer.bytes(b"abc");
        writer.optional_latent(None);
        writer.optional_latent(Some(&latent));
        let bytes = writer.finish();

        let mut reader = Reader::new(&bytes, *b"TEST", 3).unwrap();
        assert_eq!(reader.u8(), Some(7));
        assert_eq!(reader.u32(), Some(8));
        assert_eq!(reader.u64(), Some(u64::MAX));
        assert_eq!(reader.bytes(), Some(&b"abc"[..]));
        assert_eq!(reader.optional_latent(), Some(None));
        assert_eq!(reader.optional_latent(), Some(Some(latent)));
        assert_eq!(reader.finish(), Some(()));
    }

    #[test]
    fn a_length_that_lies_allocates_nothing() {
        let mut writer = Writer::new(*b"TEST", 1);
        for dimension in [1 << 40, 1 << 40, 1, 1] {
            writer.size(dimension);
        }
        let bytes = writer.finish();
        assert_eq!(Reader::new(&bytes, *b"TEST", 1).unwrap().latent(), None);
        assert!(Reader::new(&bytes, *b"TEST", 2).is_none());
        assert!(Reader::new(&bytes, *b"BEST", 1).is_none());
    }
}
