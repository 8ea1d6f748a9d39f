//! The pixels of a PNG file, apart from what else it says.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

/// A decoded picture.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Picture {
    width: u32,
    height: u32,
    pixels: Vec<u8>,
}

impl Picture {
    pub(crate) fn read(path: &Path) -> Self {
        let file = File::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let mut reader = png::Decoder::new(BufReader::new(file)).read_info().expect("a PNG file");
        let mut pixels = vec![0; reader.output_buffer_size().expect("its size is known")];
        let frame = reader.next_frame(&mut pixels).expect("a whole picture");
        pixels.truncate(frame.buffer_size());
        Self { width: frame.width, height: frame.height, pixels }
    }
}

/// A picture of one colour as base64 of a PNG file.
pub(crate) fn png_base64(width: u32, height: u32) -> String {
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, width, height);
    encoder.set_color(png::ColorType::Rgb);
    let pixels = [200, 30, 40].repeat((width * height) as usize);
    encoder.write_header().and_then(|mut writer| writer.write_image_data(&pixels)).expect("it can be encoded");
    BASE64_STANDARD.encode(file)
}
