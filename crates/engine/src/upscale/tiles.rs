//! Pictures in parts (realesrgan `utils.py`, `tile_process`): every tile is enlarged with a margin of its surroundings, and the margin
//! thrown away.

use crate::error::Result;
use crate::vision::Picture;

/// Pixels of the surroundings that a tile sees on each side, as the reference has it.
///
/// Where no pixel depends on another that is further away (a compact network of at most 8 convolutions) tiles give the very bits of the
/// whole; in deeper networks the difference at the seams is what the reference shows too.
pub(super) const TILE_PAD: usize = 10;

/// A span of one axis: what is kept, and what is looked at for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Span {
    kept: (usize, usize),
    seen: (usize, usize),
}

/// The spans of an axis of `length`, in tiles of `side`.
fn spans(length: usize, side: usize) -> impl Iterator<Item = Span> + Clone {
    (0..length).step_by(side.max(1)).map(move |start| {
        let end = (start + side.max(1)).min(length);
        Span { kept: (start, end), seen: (start.saturating_sub(TILE_PAD), (end + TILE_PAD).min(length)) }
    })
}

/// Most pixels that a tile of a picture of `height × width` sees.
pub(super) fn most_seen(height: usize, width: usize, side: usize) -> usize {
    let longest = |length: usize| (side + 2 * TILE_PAD).min(length);
    longest(height) * longest(width)
}

/// `picture` enlarged `scale` times, tile by tile with `enlarge`, and what `take` makes of each kept line: `take(row, column, values)`
/// with the place of its first pixel in the result.
pub(super) fn process(
    picture: &Picture,
    side: usize,
    scale: usize,
    mut enlarge: impl FnMut(&Picture) -> Result<Picture>,
    mut take: impl FnMut(usize, usize, &[f32]),
) -> Result<()> {
    for rows in spans(picture.height, side) {
        for columns in spans(picture.width, side) {
            let tile = enlarge(&cut(picture, rows.seen, columns.seen))?;
            let (top, left) = ((rows.kept.0 - rows.seen.0) * scale, (columns.kept.0 - columns.seen.0) * scale);
            let width = (columns.kept.1 - columns.kept.0) * scale;
            for line in 0..(rows.kept.1 - rows.kept.0) * scale {
                let from = ((top + line) * tile.width + left) * tile.channels;
                take(rows.kept.0 * scale + line, columns.kept.0 * scale, &tile.values[from..from + width * tile.channels]);
            }
        }
    }
    Ok(())
}

fn cut(picture: &Picture, rows: (usize, usize), columns: (usize, usize)) -> Picture {
    let (height, width) = (rows.1 - rows.0, columns.1 - columns.0);
    let line = |y: usize| {
        let from = (y * picture.width + columns.0) * picture.channels;
        &picture.values[from..from + width * picture.channels]
    };
    let values = (rows.0..rows.1).flat_map(line).copied().collect();
    Picture { height, width, channels: picture.channels, values }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pixel_is_kept_once_with_its_surroundings() {
        for (length, side) in [(1, 16), (16, 16), (17, 16), (100, 16), (33, 1)] {
            let mut next = 0;
            for span in spans(length, side) {
                assert_eq!(span.kept.0, next);
                assert!(
                    span.seen.0 == span.kept.0.saturating_sub(TILE_PAD) && span.seen.1 == (span.kept.1 + TILE_PAD).min(length)
                );
                next = span.kept.1;
            }
            assert_eq!(next, length);
        }
    }

    #[test]
    fn tiles_of_a_pointwise_enlargement_join_without_a_trace() {
        let (height, width, scale) = (37, 50, 2);
        let values: Vec<f32> = (0..height * width).map(|index| index as f32).collect();
        let picture = Picture { height, width, channels: 1, values };
        let enlarge = |picture: &Picture| -> Result<Picture> {
            let (height, width) = (picture.height * scale, picture.width * scale);
            let value = |index: usize| picture.values[index / width / scale * picture.width + index % width / scale];
            Ok(Picture { height, width, channels: 1, values: (0..height * width).map(value).collect() })
        };
        let whole = enlarge(&picture).unwrap();
        for side in [1, 7, 16, 50, 1000] {
            let mut joined = vec![-1.0; whole.values.len()];
            process(&picture, side, scale, enlarge, |row, column, values| {
                joined[row * whole.width + column..][..values.len()].copy_from_slice(values);
            })
            .unwrap();
            assert_eq!(joined, whole.values, "{side}");
        }
    }
}
