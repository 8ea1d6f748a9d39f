//! Decoding pictures that users send.

use std::io::Cursor;

use image::{DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader, Limits};

/// A decoded picture: 8-bit RGB, EXIF orientation applied, alpha dropped onto white, metadata gone.
#[derive(Clone, Debug)]
pub struct DecodedImage {
    /// Pixels across.
    pub width: u32,
    /// Pixels down.
    pub height: u32,
    /// `width · height · 3` bytes.
    pub rgb: Vec<u8>,
}

/// Why a picture was refused.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// Not PNG, JPEG or WebP by its bytes.
    #[error("not a PNG, JPEG or WebP picture")]
    UnknownFormat,
    /// Too many pixels, whatever the file's length.
    #[error("{width}x{height} pixels; at most {max_side} a side and {max_pixels} in all")]
    TooLarge {
        /// Pixels across.
        width: u32,
        /// Pixels down.
        height: u32,
        /// Largest side.
        max_side: u32,
        /// Most pixels.
        max_pixels: u64,
    },
    /// A mask whose transparency counts, and that can have none.
    #[error("it has no alpha channel, and what is transparent says where to repaint; send a PNG or WebP file that has one")]
    NoAlpha,
    /// Broken data.
    #[error("the picture is damaged: {0}")]
    Damaged(String),
}

/// Largest side of a picture that users may send, pixels.
pub const MAX_SIDE: u32 = 8192;
/// Most pixels of a picture that users may send.
pub const MAX_PIXELS: u64 = 33_554_432;

/// What a decoder may allocate: the largest picture in the widest format (16-bit RGBA), and as much again to work in.
const MAX_DECODER_BYTES: u64 = 2 * 8 * MAX_PIXELS;

/// Decodes a user's picture; dimensions are checked before pixels are allocated. Blocking: call it off the async threads.
pub fn decode_image(bytes: &[u8]) -> Result<DecodedImage, DecodeError> {
    let image = decode_pixels(bytes)?;
    let (width, height) = (image.width(), image.height());
    Ok(DecodedImage { width, height, rgb: laid_on(image, 255) })
}

/// A user's picture upright, in whatever colours it has.
pub(super) fn decode_pixels(bytes: &[u8]) -> Result<DynamicImage, DecodeError> {
    let mut reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format().map_err(|_| DecodeError::UnknownFormat)?;
    if !matches!(reader.format(), Some(ImageFormat::Png | ImageFormat::Jpeg | ImageFormat::WebP)) {
        return Err(DecodeError::UnknownFormat);
    }
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(MAX_DECODER_BYTES);
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(damaged)?;
    let (width, height) = decoder.dimensions();
    if width > MAX_SIDE || height > MAX_SIDE || u64::from(width) * u64::from(height) > MAX_PIXELS {
        return Err(DecodeError::TooLarge { width, height, max_side: MAX_SIDE, max_pixels: MAX_PIXELS });
    }
    if width == 0 || height == 0 {
        return Err(DecodeError::Damaged("it has no pixels".to_owned()));
    }
    // A picture with broken metadata is still a picture.
    let orientation = decoder.orientation().ok();
    let mut image = DynamicImage::from_decoder(decoder).map_err(damaged)?;
    if let Some(orientation) = orientation {
        image.apply_orientation(orientation);
    }
    Ok(image)
}

fn damaged(error: ImageError) -> DecodeError {
    DecodeError::Damaged(match error {
        ImageError::Limits(_) => "decoding it would take too much memory".to_owned(),
        other => other.to_string(),
    })
}

/// RGB bytes: `alpha · colour + (1 − alpha) · background`, rounded.
pub(super) fn laid_on(image: DynamicImage, background: u8) -> Vec<u8> {
    if !image.color().has_alpha() {
        return image.into_rgb8().into_raw();
    }
    let background = u32::from(background);
    let rgba = image.into_rgba8();
    let mut rgb = Vec::with_capacity(rgba.len() / 4 * 3);
    for pixel in rgba.pixels() {
        let [red, green, blue, alpha] = pixel.0.map(u32::from);
        rgb.extend([red, green, blue].map(|colour| ((colour * alpha + background * (255 - alpha) + 127) / 255) as u8));
    }
    rgb
}

#[cfg(test)]
mod tests {
    use image::{ImageBuffer, Luma, LumaA, Rgb, RgbImage, Rgba};

    use super::*;
    use crate::media::encode::{PngText, encode_jpeg, encode_png, encode_webp};

    fn png_bytes(image: impl Into<DynamicImage>) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        image.into().write_to(&mut bytes, ImageFormat::Png).unwrap();
        bytes.into_inner()
    }

    /// A PNG header that claims any size, with a right checksum and next to no data.
    fn claiming(width: u32, height: u32) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, 1, 1);
        encoder.set_color(png::ColorType::Rgb);
        let mut writer = encoder.write_header().unwrap();
        writer.write_image_data(&[1, 2, 3]).unwrap();
        writer.finish().unwrap();
        bytes[16..20].copy_from_slice(&width.to_be_bytes());
        bytes[20..24].copy_from_slice(&height.to_be_bytes());
        let checksum = crc32(&bytes[12..29]);
        bytes[29..33].copy_from_slice(&checksum.to_be_bytes());
        bytes
    }

    fn crc32(bytes: &[u8]) -> u32 {
        let mut crc = u32::MAX;
        for &byte in bytes {
            crc ^= u32::from(byte);
            for _ in 0..8 {
                crc = if crc & 1 == 1 { (crc >> 1) ^ 0xEDB8_8320 } else { crc >> 1 };
            }
        }
        !crc
    }

    #[test]
    fn every_format_comes_back_as_rgb() {
        let rgb: Vec<u8> = (0..16 * 8 * 3).map(|value| (value / 3) as u8).collect();
        let png = encode_png(16, 8, &rgb, &PngText::default()).unwrap();
        let webp = encode_webp(16, 8, &rgb).unwrap();
        for bytes in [png, webp] {
            let decoded = decode_image(&bytes).unwrap();
            assert_eq!((decoded.width, decoded.height, &decoded.rgb), (16, 8, &rgb));
        }
        let jpeg = decode_image(&encode_jpeg(16, 8, &rgb, 95).unwrap()).unwrap();
        assert_eq!((jpeg.width, jpeg.height), (16, 8));
        assert!(jpeg.rgb.iter().zip(&rgb).all(|(a, b)| a.abs_diff(*b) < 16));
    }

    #[test]
    fn depth_grey_and_alpha_become_rgb_on_white() {
        let one = |bytes: Vec<u8>| decode_image(&bytes).unwrap().rgb;
        assert_eq!(one(png_bytes(ImageBuffer::from_pixel(1, 1, Luma([77_u8])))), [77, 77, 77]);
        assert_eq!(one(png_bytes(ImageBuffer::from_pixel(1, 1, Rgb([0xFFFF_u16, 0, 0x8080])))), [255, 0, 128]);
        assert_eq!(one(png_bytes(ImageBuffer::from_pixel(1, 1, Rgba([9_u8, 9, 9, 0])))), [255, 255, 255]);
        assert_eq!(one(png_bytes(ImageBuffer::from_pixel(1, 1, Rgba([200_u8, 0, 100, 255])))), [200, 0, 100]);
        assert_eq!(one(png_bytes(ImageBuffer::from_pixel(1, 1, LumaA([0_u8, 128])))), [127, 127, 127]);
    }

    #[test]
    fn exif_orientation_is_applied() {
        // A little-endian TIFF block with one entry: Orientation (0x0112), SHORT, 1 value, 6 = turn 90° clockwise.
        let exif = [b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0".as_slice()].concat();
        let mut bytes = Vec::new();
        let mut info = png::Info::with_size(2, 1);
        info.color_type = png::ColorType::Rgb;
        info.bit_depth = png::BitDepth::Eight;
        info.exif_metadata = Some(exif.into());
        let mut writer = png::Encoder::with_info(&mut bytes, info).unwrap().write_header().unwrap();
        writer.write_image_data(&[255, 0, 0, 0, 0, 255]).unwrap();
        writer.finish().unwrap();
        let decoded = decode_image(&bytes).unwrap();
        assert_eq!((decoded.width, decoded.height), (1, 2));
        assert_eq!(decoded.rgb, [255, 0, 0, 0, 0, 255]);
    }

    #[test]
    fn bombs_are_refused_by_their_claim() {
        for (width, height) in [(60_000, 60_000), (8193, 1), (1, 8193), (8192, 8192)] {
            let error = decode_image(&claiming(width, height)).unwrap_err();
            assert!(matches!(error, DecodeError::TooLarge { width: w, height: h, .. } if (w, h) == (width, height)), "{error}");
        }
        assert!(decode_image(&claiming(0x7FFF_FFFF, 0x7FFF_FFFF)).is_err());
        assert!(matches!(decode_image(&claiming(0, 4)), Err(DecodeError::Damaged(_))));
        assert!(matches!(decode_image(&claiming(64, 64)), Err(DecodeError::Damaged(_))), "fewer pixels than claimed");
    }

    #[test]
    fn what_is_no_picture_is_refused() {
        for bytes in [b"".as_slice(), b"hello", b"GIF89a\x01\0\x01\0\0\0\0;", b"<svg/>", b"%PDF-1.7"] {
            assert!(matches!(decode_image(bytes), Err(DecodeError::UnknownFormat)), "{bytes:?}");
        }
        let whole = [
            png_bytes(RgbImage::from_fn(32, 32, |x, y| Rgb([x as u8, y as u8, (x * y) as u8]))),
            encode_jpeg(32, 32, &[99; 32 * 32 * 3], 90).unwrap(),
            encode_webp(32, 32, &[99; 32 * 32 * 3]).unwrap(),
        ];
        for bytes in whole {
            for length in [13, 20, bytes.len() / 2] {
                // A JPEG decoder may fill in what is missing; none may panic, and lossless formats must notice.
                let result = decode_image(&bytes[..length.min(bytes.len())]);
                assert!(result.is_err() || bytes.starts_with(&[0xFF, 0xD8]), "{length}");
            }
        }
    }
}
