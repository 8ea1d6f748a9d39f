//! The pictures of a fake device.

use framewright_engine::vision::RgbPicture;

/// Four quarters of one colour each, chosen by the seed, in the shape of `width × height` with the longer side at most `most` pixels.
pub(super) fn pattern(width: u32, height: u32, most: u32, seed: u64) -> RgbPicture {
    let (width, height) = scaled_sides(width, height, most);
    // Knuth's multiplicative hash: neighbouring seeds look different.
    let colours = seed.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15).to_le_bytes();
    let row = |lower: bool| {
        let quarter = |right: bool| {
            let first = usize::from(lower) * 2 + usize::from(right);
            [colours[first], colours[first + 2], colours[first + 4]]
        };
        (0..width).flat_map(|x| quarter(x >= width / 2)).collect::<Vec<u8>>()
    };
    let (upper, lower) = (row(false), row(true));
    let bytes = (0..height).flat_map(|y| if y < height / 2 { &upper } else { &lower }).copied().collect();
    RgbPicture { height, width, bytes }
}

/// `width × height` with the longer side at most `most` pixels; none is 0.
pub(super) fn scaled_sides(width: u32, height: u32, most: u32) -> (usize, usize) {
    let longer = width.max(height).max(1);
    let scaled = |side: u32| {
        if longer <= most { side.max(1) } else { ((u64::from(side) * u64::from(most) / u64::from(longer)) as u32).max(1) }
    };
    (scaled(width) as usize, scaled(height) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_whole_small_and_differ_by_seed() {
        for (width, height, sides) in [(1024, 512, (32, 16)), (8, 16, (8, 16)), (2048, 1, (32, 1)), (32, 32, (32, 32))] {
            let picture = pattern(width, height, 32, 7);
            assert!(picture.is_whole());
            assert_eq!((picture.width, picture.height), sides);
            assert_ne!(picture, pattern(width, height, 32, 8));
        }
    }
}
