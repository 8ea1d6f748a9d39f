//! Masks that users send: which part of a picture is repainted. White is repainted; a device goes by brightness, black or white from one
//! half on.

use image::DynamicImage;

use super::decode::{DecodeError, DecodedImage, decode_pixels, laid_on};

/// What of a mask's file says where to repaint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MaskReading {
    /// What is bright. What is transparent is kept: there nothing was painted.
    Brightness,
    /// What is transparent, whatever its colour, as in OpenAI's API. A file without an alpha channel is refused.
    Transparency,
}

/// Decodes a user's mask, white where to repaint. Blocking: call it off the async threads.
pub fn decode_mask(bytes: &[u8], reading: MaskReading) -> Result<DecodedImage, DecodeError> {
    let image = decode_pixels(bytes)?;
    let (width, height) = (image.width(), image.height());
    let rgb = match reading {
        MaskReading::Brightness => laid_on(image, 0),
        MaskReading::Transparency if image.color().has_alpha() => transparency(image),
        MaskReading::Transparency => return Err(DecodeError::NoAlpha),
    };
    Ok(DecodedImage { width, height, rgb })
}

fn transparency(image: DynamicImage) -> Vec<u8> {
    image.into_rgba8().pixels().flat_map(|pixel| [255 - pixel.0[3]; 3]).collect()
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use image::{ImageBuffer, ImageFormat, Luma, Rgba, RgbaImage};

    use super::*;

    fn png(image: impl Into<DynamicImage>) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        image.into().write_to(&mut bytes, ImageFormat::Png).unwrap();
        bytes.into_inner()
    }

    #[test]
    fn each_reading_has_its_white() {
        let pixels = [[255, 255, 255, 255], [255, 255, 255, 0], [0, 0, 0, 255], [0, 0, 0, 0], [200, 10, 20, 128]];
        let image = RgbaImage::from_fn(5, 1, |x, _| Rgba(pixels[x as usize]));
        let read = |reading| {
            let mask = decode_mask(&png(image.clone()), reading).unwrap();
            assert_eq!((mask.width, mask.height), (5, 1));
            mask.rgb.as_chunks::<3>().0.to_vec()
        };
        assert_eq!(read(MaskReading::Brightness), [[255; 3], [0; 3], [0; 3], [0; 3], [100, 5, 10]]);
        assert_eq!(read(MaskReading::Transparency), [[0; 3], [255; 3], [0; 3], [255; 3], [127; 3]]);
    }

    #[test]
    fn a_grey_mask_is_bright_or_dark_and_has_no_transparency() {
        let grey = png(ImageBuffer::from_fn(2, 1, |x, _| Luma([200 * x as u8])));
        assert_eq!(decode_mask(&grey, MaskReading::Brightness).unwrap().rgb, [0, 0, 0, 200, 200, 200]);
        assert!(matches!(decode_mask(&grey, MaskReading::Transparency), Err(DecodeError::NoAlpha)));
        assert!(matches!(decode_mask(b"hello", MaskReading::Brightness), Err(DecodeError::UnknownFormat)));
    }
}
