//! A sheet of a film's frames, for players that show where a jump would go.

use std::fmt::Write;
use std::path::Path;

use image::{ImageBuffer, Rgb, imageops};
use serde::Serialize;

use super::error::MediaError;
use super::frame::{Frame, check_size};
use super::probe::probe;
use super::reader::VideoReader;
use super::resize::{Fit, resize};

/// A sheet of frames and where each of them stands.
#[derive(Clone, Debug)]
pub struct SpriteSheet {
    /// The sheet: tiles row by row; places that the film is too short for are black.
    pub sheet: Frame,
    /// What stands on it.
    pub index: SpriteIndex,
}

/// What stands on a sheet. Its JSON is for clients that draw it themselves.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SpriteIndex {
    /// Tiles across.
    pub columns: u32,
    /// Tiles down.
    pub rows: u32,
    /// Pixels across a tile.
    pub tile_width: u32,
    /// Pixels down a tile.
    pub tile_height: u32,
    /// The tiles, row by row.
    pub tiles: Vec<SpriteTile>,
}

/// A tile of a sheet.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SpriteTile {
    /// Pixels from the sheet's left side.
    pub x: u32,
    /// Pixels from its top.
    pub y: u32,
    /// Number of the frame that it shows.
    pub frame: u64,
    /// When what it stands for begins, seconds.
    pub start: f64,
    /// When that ends, seconds.
    pub end: f64,
}

/// Most tiles of a sheet.
pub const MAX_TILES: u32 = 400;

/// A sheet of `columns · rows` frames of a film, evenly spread, each `tile_width` pixels wide and as high as the film's shape has it. A film
/// of fewer frames has fewer tiles. The film is read twice, frame by frame; the interrupt is looked at for every one. Fails with
/// [`MediaError::Setting`] for a sheet that is none or too large, and as reading does.
pub fn sprite_sheet(
    path: &Path,
    columns: u32,
    rows: u32,
    tile_width: u32,
    interrupted: &dyn Fn() -> bool,
) -> Result<SpriteSheet, MediaError> {
    let places = columns.checked_mul(rows).filter(|places| (1..=MAX_TILES).contains(places));
    let places = places.ok_or_else(|| MediaError::setting("tiles", format!("{columns} by {rows}; 1 to {MAX_TILES} in all")))?;
    let facts = probe(path, interrupted)?;
    let tile_height = (u64::from(tile_width) * u64::from(facts.height) / u64::from(facts.width)).clamp(1, 8192) as u32;
    let sides = (columns.saturating_mul(tile_width), rows.saturating_mul(tile_height));
    check_size(sides.0, sides.1)?;
    let mut sheet = ImageBuffer::from_pixel(sides.0, sides.1, Rgb([0_u8; 3]));
    let count = u64::from(places).min(facts.frames);
    let mut reader = VideoReader::open(path)?;
    let mut tiles = Vec::new();
    for place in 0..count {
        // The first frame of each of `count` equal parts.
        let (begins, ends) = (place * facts.frames / count, (place + 1) * facts.frames / count);
        while reader.position() < begins {
            if interrupted() {
                return Err(MediaError::Interrupted);
            }
            reader.skip_frame()?;
        }
        let frame = resize(&reader.read_needed(begins + 1)?, tile_width, tile_height, Fit::Stretch)?;
        let (x, y) = (place as u32 % columns * tile_width, place as u32 / columns * tile_height);
        let tile: Option<ImageBuffer<Rgb<u8>, Vec<u8>>> = ImageBuffer::from_raw(tile_width, tile_height, frame.into_rgb());
        if let Some(tile) = tile {
            imageops::replace(&mut sheet, &tile, i64::from(x), i64::from(y));
        }
        let rate = facts.frame_rate;
        tiles.push(SpriteTile { x, y, frame: begins, start: rate.seconds_of(begins), end: rate.seconds_of(ends) });
    }
    let sheet = Frame::new(sides.0, sides.1, sheet.into_raw())?;
    Ok(SpriteSheet { sheet, index: SpriteIndex { columns, rows, tile_width, tile_height, tiles } })
}

impl SpriteIndex {
    /// The tiles as WebVTT, which players read: each cue is a part of the film, and names the sheet's address and the tile's place on it.
    pub fn to_vtt(&self, sheet_url: &str) -> String {
        let mut text = "WEBVTT\n".to_owned();
        for tile in &self.tiles {
            let (start, end) = (clock(tile.start), clock(tile.end));
            let place = format!("{},{},{},{}", tile.x, tile.y, self.tile_width, self.tile_height);
            // Writing to a String cannot fail.
            let _ = write!(text, "\n{start} --> {end}\n{sheet_url}#xywh={place}\n");
        }
        text
    }
}

/// WebVTT's hours, minutes, seconds and milliseconds.
fn clock(seconds: f64) -> String {
    let milliseconds = (seconds * 1000.0).round() as u64;
    let (seconds, milliseconds) = (milliseconds / 1000, milliseconds % 1000);
    format!("{:02}:{:02}:{:02}.{milliseconds:03}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cues_name_times_and_places() {
        let tile = |x, frame, start, end| SpriteTile { x, y: 0, frame, start, end };
        let index = SpriteIndex {
            columns: 2,
            rows: 1,
            tile_width: 160,
            tile_height: 90,
            tiles: vec![tile(0, 0, 0.0, 1.5), tile(160, 36, 1.5, 3661.25)],
        };
        assert_eq!(
            index.to_vtt("sheet.jpg"),
            "WEBVTT\n\n00:00:00.000 --> 00:00:01.500\nsheet.jpg#xywh=0,0,160,90\n\n\
             00:00:01.500 --> 01:01:01.250\nsheet.jpg#xywh=160,0,160,90\n"
        );
    }
}
