//! Pictures as floats and as bytes.

/// `height × width × channels` floats, channels last.
#[derive(Clone, Debug, PartialEq)]
pub struct Picture {
    /// Pixels down.
    pub height: usize,
    /// Pixels across.
    pub width: usize,
    /// 3 for RGB.
    pub channels: usize,
    /// `height · width · channels` values.
    pub values: Vec<f32>,
}

/// 8-bit RGB.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RgbPicture {
    /// Pixels down.
    pub height: usize,
    /// Pixels across.
    pub width: usize,
    /// `height · width · 3` bytes.
    pub bytes: Vec<u8>,
}

/// 8-bit grey.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GreyPicture {
    /// Pixels down.
    pub height: usize,
    /// Pixels across.
    pub width: usize,
    /// `height · width` bytes.
    pub bytes: Vec<u8>,
}

impl Picture {
    /// −1…1 to bytes as diffusers does: clamp(x/2 + ½, 0, 1)·255, rounded half to even. What is not a number becomes 0. Of other
    /// than three channels, missing ones repeat the last and further ones are left out.
    pub fn to_rgb(&self) -> RgbPicture {
        let byte = |value: f32| ((value / 2.0 + 0.5).clamp(0.0, 1.0) * 255.0).round_ties_even() as u8;
        let last = self.channels.max(1) - 1;
        let bytes = self
            .values
            .chunks_exact(self.channels.max(1))
            .flat_map(|pixel| [0, 1, 2].map(|channel: usize| byte(pixel[channel.min(last)])))
            .collect();
        RgbPicture { height: self.height, width: self.width, bytes }
    }
}

impl RgbPicture {
    /// Bytes to −1…1 as diffusers does: x/255·2 − 1.
    pub fn to_picture(&self) -> Picture {
        let values = self.bytes.iter().map(|byte| f32::from(*byte) / 255.0 * 2.0 - 1.0).collect();
        Picture { height: self.height, width: self.width, channels: 3, values }
    }

    /// How bright every pixel is, as Pillow's `convert("L")` weighs the colours.
    pub fn luminance(&self) -> GreyPicture {
        let grey = |[red, green, blue]: [u8; 3]| {
            let sum = u32::from(red) * 19_595 + u32::from(green) * 38_470 + u32::from(blue) * 7_471;
            ((sum + 0x8000) >> 16) as u8
        };
        let (pixels, _) = self.bytes.as_chunks::<3>();
        GreyPicture { height: self.height, width: self.width, bytes: pixels.iter().copied().map(grey).collect() }
    }

    /// Whether there are pixels, and as many bytes as the sides promise.
    pub fn is_whole(&self) -> bool {
        let pixels = self.height.checked_mul(self.width).filter(|pixels| *pixels > 0);
        pixels.and_then(|pixels| pixels.checked_mul(3)) == Some(self.bytes.len())
    }
}

impl GreyPicture {
    /// Whether there are pixels, and as many bytes as the sides promise.
    pub fn is_whole(&self) -> bool {
        let pixels = self.height.checked_mul(self.width).filter(|pixels| *pixels > 0);
        pixels == Some(self.bytes.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_survives_the_way_there_and_back() {
        let picture = RgbPicture { height: 16, width: 16, bytes: (0..=255).flat_map(|byte| [byte, 255 - byte, byte]).collect() };
        assert_eq!(picture.to_picture().to_rgb(), picture);
    }

    #[test]
    fn values_are_clamped_and_halves_go_to_even() {
        let half = |byte: f32| (byte + 0.5) / 255.0 * 2.0 - 1.0;
        let values = vec![-7.0, 7.0, f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 0.0];
        let picture = Picture { height: 1, width: 2, channels: 3, values };
        // 0 is 127.5, which goes to the even 128.
        assert_eq!(picture.to_rgb().bytes, [0, 255, 0, 255, 0, 128]);
        let grey = Picture { height: 1, width: 1, channels: 1, values: vec![half(99.9)] };
        assert_eq!(grey.to_rgb().bytes, [100, 100, 100]);
    }

    #[test]
    fn a_picture_is_whole_when_its_bytes_fill_it() {
        assert!(RgbPicture { height: 1, width: 2, bytes: vec![0; 6] }.is_whole());
        assert!(!RgbPicture { height: 1, width: 2, bytes: vec![0; 5] }.is_whole());
        assert!(!RgbPicture { height: 0, width: 2, bytes: vec![] }.is_whole());
        assert!(!RgbPicture { height: usize::MAX, width: 2, bytes: vec![] }.is_whole());
        assert!(GreyPicture { height: 1, width: 2, bytes: vec![0; 2] }.is_whole());
        assert!(!GreyPicture { height: 1, width: 2, bytes: vec![0; 6] }.is_whole());
        assert!(!GreyPicture { height: 0, width: 2, bytes: vec![] }.is_whole());
        assert!(!GreyPicture { height: usize::MAX, width: 2, bytes: vec![] }.is_whole());
    }

    #[test]
    fn luminance_is_pillows() {
        // Image.convert("L") of these pixels, Pillow 13.0.
        let bytes = vec![255, 0, 0, 0, 255, 0, 0, 0, 255, 12, 200, 99, 255, 255, 255, 77, 77, 77];
        let picture = RgbPicture { height: 2, width: 3, bytes };
        assert_eq!(picture.luminance(), GreyPicture { height: 2, width: 3, bytes: vec![76, 150, 29, 132, 255, 77] });
    }
}
