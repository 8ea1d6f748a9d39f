//! The texts within a PNG file.

use std::io::Cursor;

use super::decode::DecodeError;

/// What the chunks before the picture may take, all together.
const MOST_BYTES: usize = 32 << 20;
/// Longest text that is unpacked, bytes.
const MOST_TEXT_BYTES: usize = 1 << 20;
/// Texts that are read of a file.
const MOST_TEXTS: usize = 64;

/// The texts of a PNG file in their order, by keyword. Texts that are damaged or longer than a megabyte unpacked are left out, and so
/// is what follows the picture. Blocking.
pub fn read_png_texts(bytes: &[u8]) -> Result<Vec<(String, String)>, DecodeError> {
    if !bytes.starts_with(b"\x89PNG\r\n\x1a\n") {
        return Err(DecodeError::UnknownFormat);
    }
    let decoder = png::Decoder::new_with_limits(Cursor::new(bytes), png::Limits { bytes: MOST_BYTES });
    let reader = decoder.read_info().map_err(|error| DecodeError::Damaged(error.to_string()))?;
    let info = reader.info();
    let plain = info.uncompressed_latin1_text.iter().map(|chunk| (chunk.keyword.clone(), chunk.text.clone()));
    let packed = info.compressed_latin1_text.iter().filter_map(|chunk| {
        let mut chunk = chunk.clone();
        // Without this the text would be unpacked whatever its length.
        chunk.decompress_text_with_limit(MOST_TEXT_BYTES).ok()?;
        Some((chunk.keyword.clone(), chunk.get_text().ok()?))
    });
    let international = info.utf8_text.iter().filter_map(|chunk| {
        let mut chunk = chunk.clone();
        chunk.decompress_text_with_limit(MOST_TEXT_BYTES).ok()?;
        Some((chunk.keyword.clone(), chunk.get_text().ok()?))
    });
    Ok(plain.chain(packed).chain(international).take(MOST_TEXTS).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::encode::{PngText, encode_jpeg, encode_png};

    fn with_texts(add: impl FnOnce(&mut png::Encoder<'_, &mut Vec<u8>>)) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, 1, 1);
        encoder.set_color(png::ColorType::Rgb);
        add(&mut encoder);
        let mut writer = encoder.write_header().unwrap();
        writer.write_image_data(&[1, 2, 3]).unwrap();
        writer.finish().unwrap();
        bytes
    }

    #[test]
    fn every_kind_of_text_is_read() {
        let bytes = with_texts(|encoder| {
            encoder.add_text_chunk("parameters".to_owned(), "plain é".to_owned()).unwrap();
            encoder.add_ztxt_chunk("packed".to_owned(), "packed ".repeat(100)).unwrap();
            encoder.add_itxt_chunk("international".to_owned(), "红".to_owned()).unwrap();
        });
        let texts = read_png_texts(&bytes).unwrap();
        let expected =
            [("parameters", "plain é".to_owned()), ("packed", "packed ".repeat(100)), ("international", "红".to_owned())];
        assert_eq!(texts, expected.map(|(keyword, text)| (keyword.to_owned(), text)));
        let ours = PngText { parameters: Some("a\nSteps: 1".to_owned()), manifest: None };
        assert_eq!(
            read_png_texts(&encode_png(1, 1, &[0; 3], &ours).unwrap()).unwrap(),
            [("parameters".to_owned(), "a\nSteps: 1".to_owned())]
        );
    }

    #[test]
    fn a_text_that_unpacks_to_too_much_is_left_out() {
        let bytes = with_texts(|encoder| {
            encoder.add_ztxt_chunk("bomb".to_owned(), "a".repeat(MOST_TEXT_BYTES + 1)).unwrap();
            encoder.add_text_chunk("after".to_owned(), "b".to_owned()).unwrap();
        });
        assert!(bytes.len() < 20_000, "{}", bytes.len());
        assert_eq!(read_png_texts(&bytes).unwrap(), [("after".to_owned(), "b".to_owned())]);
    }

    #[test]
    fn what_is_no_png_has_no_texts() {
        let jpeg = encode_jpeg(1, 1, &[0; 3], 90).unwrap();
        assert!(matches!(read_png_texts(&jpeg), Err(DecodeError::UnknownFormat)));
        assert!(matches!(read_png_texts(b""), Err(DecodeError::UnknownFormat)));
        let whole = with_texts(|encoder| encoder.add_text_chunk("a".to_owned(), "b".repeat(1000)).unwrap());
        for length in 8..whole.len() {
            // Whatever is cut off, nothing panics.
            let _ = read_png_texts(&whole[..length]);
        }
        assert!(matches!(read_png_texts(&whole[..40]), Err(DecodeError::Damaged(_))));
    }
}
