//! Encoding results.

use image::codecs::jpeg::JpegEncoder;
use image::codecs::webp::WebPEncoder;
use image::imageops;
use image::{ExtendedColorType, ImageBuffer, Rgb};

/// Text chunks of a PNG file.
#[derive(Clone, Debug, Default)]
pub struct PngText {
    /// A1111's `parameters` line.
    pub parameters: Option<String>,
    /// Our manifest, JSON, under the key `framewright`.
    pub manifest: Option<String>,
}

/// Why encoding failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot encode the picture: {0}")]
pub struct EncodeError(pub String);

impl EncodeError {
    fn new(error: impl std::fmt::Display) -> Self {
        Self(error.to_string())
    }
}

/// JPEG quality of thumbnails.
const THUMBNAIL_QUALITY: u8 = 85;

/// 8-bit RGB as PNG (iTXt for the texts).
pub fn encode_png(width: u32, height: u32, rgb: &[u8], text: &PngText) -> Result<Vec<u8>, EncodeError> {
    check_length(width, height, rgb)?;
    let mut bytes = Vec::with_capacity(rgb.len() / 2 + 1024);
    let mut encoder = png::Encoder::new(&mut bytes, width, height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    for (keyword, value) in [("parameters", &text.parameters), ("framewright", &text.manifest)] {
        if let Some(value) = value {
            encoder.add_itxt_chunk(keyword.to_owned(), value.clone()).map_err(EncodeError::new)?;
        }
    }
    let mut writer = encoder.write_header().map_err(EncodeError::new)?;
    writer.write_image_data(rgb).map_err(EncodeError::new)?;
    writer.finish().map_err(EncodeError::new)?;
    Ok(bytes)
}

/// 8-bit RGB as JPEG, quality 1…100.
pub fn encode_jpeg(width: u32, height: u32, rgb: &[u8], quality: u8) -> Result<Vec<u8>, EncodeError> {
    check_length(width, height, rgb)?;
    let mut bytes = Vec::new();
    JpegEncoder::new_with_quality(&mut bytes, quality.clamp(1, 100))
        .encode(rgb, width, height, ExtendedColorType::Rgb8)
        .map_err(EncodeError::new)?;
    Ok(bytes)
}

/// 8-bit RGB as lossless WebP.
pub fn encode_webp(width: u32, height: u32, rgb: &[u8]) -> Result<Vec<u8>, EncodeError> {
    check_length(width, height, rgb)?;
    let mut bytes = Vec::new();
    WebPEncoder::new_lossless(&mut bytes).encode(rgb, width, height, ExtendedColorType::Rgb8).map_err(EncodeError::new)?;
    Ok(bytes)
}

/// The picture scaled down so that its longer side is at most `max_side`, as JPEG.
pub fn thumbnail(width: u32, height: u32, rgb: &[u8], max_side: u32) -> Result<Vec<u8>, EncodeError> {
    check_length(width, height, rgb)?;
    let longer = width.max(height);
    if longer <= max_side {
        return encode_jpeg(width, height, rgb, THUMBNAIL_QUALITY);
    }
    let scaled = |side: u32| ((u64::from(side) * u64::from(max_side) / u64::from(longer)) as u32).max(1);
    let picture: ImageBuffer<Rgb<u8>, &[u8]> =
        ImageBuffer::from_raw(width, height, rgb).ok_or_else(|| EncodeError::new("too few bytes"))?;
    let small = imageops::thumbnail(&picture, scaled(width), scaled(height));
    encode_jpeg(small.width(), small.height(), small.as_raw(), THUMBNAIL_QUALITY)
}

fn check_length(width: u32, height: u32, rgb: &[u8]) -> Result<(), EncodeError> {
    let wanted = u128::from(width) * u128::from(height) * 3;
    if wanted == 0 || rgb.len() as u128 != wanted {
        return Err(EncodeError(format!("{} bytes for {width}x{height} pixels, {wanted} expected", rgb.len())));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::decode::decode_image;

    /// The texts of a PNG file.
    fn texts(bytes: &[u8]) -> Vec<(String, String)> {
        let reader = png::Decoder::new(std::io::Cursor::new(bytes)).read_info().unwrap();
        reader.info().utf8_text.iter().map(|chunk| (chunk.keyword.clone(), chunk.get_text().unwrap())).collect()
    }

    #[test]
    fn texts_come_back_whole() {
        let parameters = "红色的圆 — \"red\"\nNegative prompt: blurry\nSteps: 20".to_owned();
        let manifest = "{\"a\":[1,2]}".to_owned();
        let text = PngText { parameters: Some(parameters.clone()), manifest: Some(manifest.clone()) };
        let bytes = encode_png(2, 1, &[1, 2, 3, 4, 5, 6], &text).unwrap();
        assert_eq!(texts(&bytes), [("parameters".to_owned(), parameters), ("framewright".to_owned(), manifest)]);
        assert_eq!(decode_image(&bytes).unwrap().rgb, [1, 2, 3, 4, 5, 6]);
        assert!(texts(&encode_png(1, 1, &[0; 3], &PngText::default()).unwrap()).is_empty());
    }

    #[test]
    fn thumbnails_keep_the_shape_and_never_grow() {
        for ((width, height), expected) in
            [((1024, 512), (256, 128)), ((512, 1024), (128, 256)), ((100, 50), (100, 50)), ((2048, 1), (256, 1))]
        {
            let bytes = thumbnail(width, height, &vec![90; (width * height * 3) as usize], 256).unwrap();
            let decoded = decode_image(&bytes).unwrap();
            assert_eq!((decoded.width, decoded.height), expected);
            assert!(decoded.rgb.iter().all(|value| value.abs_diff(90) <= 2));
        }
    }

    #[test]
    fn a_wrong_length_is_an_error() {
        for (width, height, length) in [(2, 2, 11), (2, 2, 13), (0, 0, 0), (u32::MAX, u32::MAX, 3)] {
            let rgb = vec![0; length];
            assert!(encode_png(width, height, &rgb, &PngText::default()).is_err());
            assert!(encode_jpeg(width, height, &rgb, 90).is_err());
            assert!(encode_webp(width, height, &rgb).is_err());
            assert!(thumbnail(width, height, &rgb, 256).is_err());
        }
    }
}
