//! A frame of a film, and its way into and out of FFmpeg.

use ffmpeg_next::format::Pixel;
use ffmpeg_next::frame::Video;

use super::error::MediaError;

/// Bytes a pixel.
const CHANNELS: usize = 3;

/// One picture of a film: 8-bit RGB, sRGB as screens show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    width: u32,
    height: u32,
    rgb: Vec<u8>,
}

/// Most pixels of one side of a film.
pub const MAX_FRAME_SIDE: u32 = 8192;
/// Most pixels of a frame.
pub const MAX_FRAME_PIXELS: u64 = 33_554_432;

/// Fails unless a frame of the size may be.
pub(crate) fn check_size(width: u32, height: u32) -> Result<(), MediaError> {
    let sides = 1..=MAX_FRAME_SIDE;
    if sides.contains(&width) && sides.contains(&height) && u64::from(width) * u64::from(height) <= MAX_FRAME_PIXELS {
        return Ok(());
    }
    Err(MediaError::setting(
        "size",
        format!("{width}x{height} pixels; 1 to {MAX_FRAME_SIDE} a side and at most {MAX_FRAME_PIXELS} in all"),
    ))
}

impl Frame {
    /// A frame of `width · height · 3` bytes, rows from the top, pixels from the left. Fails with [`MediaError::Setting`] when the bytes
    /// are fewer or more, or the size is none that a film may have.
    pub fn new(width: u32, height: u32, rgb: Vec<u8>) -> Result<Self, MediaError> {
        check_size(width, height)?;
        let wanted = width as usize * height as usize * CHANNELS;
        if rgb.len() != wanted {
            return Err(MediaError::setting("frame", format!("{} bytes; {width}x{height} pixels are {wanted}", rgb.len())));
        }
        Ok(Self { width, height, rgb })
    }

    /// A frame of one colour.
    pub fn filled(width: u32, height: u32, colour: [u8; 3]) -> Result<Self, MediaError> {
        check_size(width, height)?;
        Self::new(width, height, colour.repeat(width as usize * height as usize))
    }

    /// A frame whose pixel at (x, y) is what the function says.
    pub fn from_fn(width: u32, height: u32, mut pixel: impl FnMut(u32, u32) -> [u8; 3]) -> Result<Self, MediaError> {
        check_size(width, height)?;
        let positions = (0..height).flat_map(|y| (0..width).map(move |x| (x, y)));
        Self::new(width, height, positions.flat_map(|(x, y)| pixel(x, y)).collect())
    }

    /// Pixels across.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Pixels down.
    pub fn height(&self) -> u32 {
        self.height
    }

    /// `width · height · 3` bytes.
    pub fn rgb(&self) -> &[u8] {
        &self.rgb
    }

    /// `width · height · 3` bytes.
    pub fn into_rgb(self) -> Vec<u8> {
        self.rgb
    }

    /// The pixel at (x, y), which must lie within.
    pub fn pixel(&self, x: u32, y: u32) -> [u8; 3] {
        let at = (y as usize * self.width as usize + x as usize) * CHANNELS;
        [self.rgb[at], self.rgb[at + 1], self.rgb[at + 2]]
    }

    /// The part from (x, y) of a size. Fails with [`MediaError::Setting`] when that does not lie within the frame.
    pub fn crop(&self, x: u32, y: u32, width: u32, height: u32) -> Result<Self, MediaError> {
        let within = |from: u32, length: u32, side: u32| from.checked_add(length).is_some_and(|end| end <= side);
        if !within(x, width, self.width) || !within(y, height, self.height) {
            let reason = format!("{width}x{height} pixels from ({x}, {y}) of {}x{}", self.width, self.height);
            return Err(MediaError::setting("crop", reason));
        }
        let rows = self.rgb.chunks_exact(self.row_bytes()).skip(y as usize).take(height as usize);
        let columns = x as usize * CHANNELS..(x as usize + width as usize) * CHANNELS;
        Self::new(width, height, rows.flat_map(|row| &row[columns.clone()]).copied().collect())
    }

    /// Bytes of a row.
    fn row_bytes(&self) -> usize {
        self.width as usize * CHANNELS
    }

    /// A copy for FFmpeg, shown as the frame of this number.
    pub(super) fn to_ffmpeg(&self, number: i64) -> Result<Video, MediaError> {
        let mut video = Video::new(Pixel::RGB24, self.width, self.height);
        if video.planes() == 0 {
            return Err(MediaError::Failed { doing: "allocating a frame", reason: "out of memory".to_owned() });
        }
        let stride = video.stride(0);
        let row_bytes = self.row_bytes();
        for (to, from) in video.data_mut(0).chunks_mut(stride).zip(self.rgb.chunks_exact(row_bytes)) {
            to[..row_bytes].copy_from_slice(from);
        }
        video.set_pts(Some(number));
        Ok(video)
    }

    /// A copy of FFmpeg's, which must be RGB24.
    pub(super) fn from_ffmpeg(video: &Video) -> Result<Self, MediaError> {
        let (width, height) = (video.width(), video.height());
        check_size(width, height)?;
        if video.format() != Pixel::RGB24 || video.planes() == 0 {
            return Err(MediaError::Failed { doing: "converting a frame", reason: format!("{:?} came out", video.format()) });
        }
        let row_bytes = width as usize * CHANNELS;
        let mut rgb = Vec::with_capacity(row_bytes * height as usize);
        for row in video.data(0).chunks(video.stride(0)).take(height as usize) {
            rgb.extend_from_slice(&row[..row_bytes]);
        }
        Self::new(width, height, rgb)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ffmpeg_gives_back_what_it_got() {
        for (width, height) in [(1, 1), (17, 5), (64, 48), (641, 3)] {
            let frame = Frame::from_fn(width, height, |x, y| [x as u8, y as u8, (x * 7 + y * 3) as u8]).unwrap();
            assert_eq!(Frame::from_ffmpeg(&frame.to_ffmpeg(3).unwrap()).unwrap(), frame);
        }
    }

    #[test]
    fn sizes_are_checked() {
        assert!(Frame::new(2, 2, vec![0; 11]).is_err());
        assert!(Frame::new(0, 2, Vec::new()).is_err());
        for (width, height) in [(8193, 1), (1, 8193), (8192, 8192), (0, 0), (u32::MAX, u32::MAX)] {
            assert!(Frame::filled(width, height, [0; 3]).is_err(), "{width}x{height}");
        }
    }
}
