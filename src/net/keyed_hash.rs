//! HMAC-SHA256 (RFC 2104), by which what leaves this server and comes back is known to be its own: links, tokens, addresses of callbacks.

use hmac::{Hmac, KeyInit};
use sha2::Sha256;

/// HMAC-SHA256 ready to be fed. A key that is not of the block's length is padded or hashed, as RFC 2104 has it.
pub fn keyed_hash(key: &[u8]) -> Hmac<Sha256> {
    const BLOCK: usize = 64;
    let mut block = hmac::digest::Key::<Hmac<Sha256>>::default();
    if key.len() <= BLOCK {
        block[..key.len()].copy_from_slice(key);
    } else {
        use sha2::Digest;
        block[..32].copy_from_slice(&Sha256::digest(key));
    }
    Hmac::new(&block)
}

#[cfg(test)]
mod tests {
    use hmac::Mac;

    use super::*;

    #[test]
    fn keyed_hash_is_hmac() {
        // RFC 4231, test cases 2 and 6 (a key longer than a block).
        let hex = |mac: Hmac<Sha256>| {
            let halves = mac.finalize().into_bytes();
            let half = |bytes: &[u8]| u128::from_be_bytes(bytes.try_into().unwrap());
            format!("{:032x}{:032x}", half(&halves[..16]), half(&halves[16..]))
        };
        let mut short = keyed_hash(b"Jefe");
        short.update(b"what do ya want for nothing?");
        assert_eq!(hex(short), "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
        let mut long = keyed_hash(&[0xaa; 131]);
        long.update(b"Test Using Larger Than Block-Size Key - Hash Key First");
        assert_eq!(hex(long), "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
    }
}
