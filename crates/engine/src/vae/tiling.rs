//! Decoding in overlapping tiles, as diffusers does (`autoencoder_kl.py`, `tiled_decode`, `blend_v`, `blend_h`).

use crate::error::{Error, Result};
use crate::latent::Latent;
use crate::vision::Picture;

/// Neighbouring tiles share this fraction of their side.
const OVERLAP: f64 = 0.25;

/// Where tiles begin and how far they blend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TileGrid {
    /// Side of a tile in latent positions.
    tile: usize,
    /// From the beginning of one tile to that of the next.
    stride: usize,
    /// Pixels over which a tile is blended into the one before it.
    blend: usize,
    /// Pixels of a tile that are kept.
    kept: usize,
}

impl TileGrid {
    /// Tiles that decode to `sample_size` pixels.
    pub(super) fn new(sample_size: usize, factor: usize) -> Self {
        let tile = (sample_size / factor).max(1);
        let blend = (sample_size as f64 * OVERLAP) as usize;
        let stride = ((tile as f64 * (1.0 - OVERLAP)) as usize).max(1);
        Self { tile, stride, blend, kept: (sample_size - blend).max(1) }
    }

    /// Side of a tile in latent positions.
    pub(super) const fn tile(&self) -> usize {
        self.tile
    }

    /// Tiles across `width` latent positions.
    pub(super) const fn columns(&self, width: usize) -> usize {
        width.div_ceil(self.stride)
    }
}

/// Decodes `latent` tile by tile with `decode`; only two rows of tiles are kept at a time.
pub(super) fn decode(grid: &TileGrid, latent: &Latent, decode: impl Fn(&Latent) -> Result<Picture>) -> Result<Picture> {
    let mut above: Vec<Picture> = Vec::new();
    let mut whole = Picture { height: 0, width: 0, channels: 0, values: Vec::new() };
    for top in (0..latent.height).step_by(grid.stride) {
        let mut row: Vec<Picture> = Vec::new();
        for (column, left) in (0..latent.width).step_by(grid.stride).enumerate() {
            let mut tile = decode(&cut(latent, top, left, grid.tile))?;
            if let Some(above) = above.get(column) {
                blend_down(above, &mut tile, grid.blend);
            }
            if let Some(before) = row.last() {
                blend_right(before, &mut tile, grid.blend);
            }
            row.push(tile);
        }
        let band = joined(&row, grid.kept);
        if whole.values.is_empty() {
            // The first band is as high as any.
            whole.values.reserve_exact(band.values.len() * latent.height.div_ceil(grid.stride));
        }
        whole = Picture { height: whole.height + band.height, width: band.width, channels: band.channels, values: whole.values };
        whole.values.extend_from_slice(&band.values);
        above = row;
    }
    if whole.values.is_empty() { Err(Error::request("latents", "there are none to decode")) } else { Ok(whole) }
}

/// The tile at `top`, `left`, smaller at the edges.
fn cut(latent: &Latent, top: usize, left: usize, side: usize) -> Latent {
    let (height, width) = (side.min(latent.height - top), side.min(latent.width - left));
    let row = |y: usize| {
        let start = ((top + y) * latent.width + left) * latent.channels;
        &latent.values[start..start + width * latent.channels]
    };
    Latent { frames: 1, height, width, channels: latent.channels, values: (0..height).flat_map(row).copied().collect() }
}

fn blend_down(above: &Picture, tile: &mut Picture, extent: usize) {
    let extent = extent.min(above.height).min(tile.height);
    let line = tile.width * tile.channels;
    for y in 0..extent {
        let from = &above.values[(above.height - extent + y) * line..][..line];
        mix(from, &mut tile.values[y * line..][..line], y as f32 / extent as f32);
    }
}

fn blend_right(before: &Picture, tile: &mut Picture, extent: usize) {
    let extent = extent.min(before.width).min(tile.width);
    let channels = tile.channels;
    for y in 0..tile.height {
        for x in 0..extent {
            let from = &before.values[(y * before.width + before.width - extent + x) * channels..][..channels];
            mix(from, &mut tile.values[(y * tile.width + x) * channels..][..channels], x as f32 / extent as f32);
        }
    }
}

fn mix(from: &[f32], into: &mut [f32], share: f32) {
    for (into, from) in into.iter_mut().zip(from) {
        *into = from * (1.0 - share) + *into * share;
    }
}

/// The kept part of each tile, side by side.
fn joined(row: &[Picture], kept: usize) -> Picture {
    let height = row.first().map_or(0, |tile| tile.height.min(kept));
    let channels = row.first().map_or(0, |tile| tile.channels);
    let width = row.iter().map(|tile| tile.width.min(kept)).sum();
    let mut values = Vec::with_capacity(height * width * channels);
    for y in 0..height {
        for tile in row {
            values.extend_from_slice(&tile.values[y * tile.width * channels..][..tile.width.min(kept) * channels]);
        }
    }
    Picture { height, width, channels, values }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A decoder without context: every position becomes `factor × factor` pixels of its value.
    fn enlarge(latent: &Latent, factor: usize) -> Picture {
        let (height, width, channels) = (latent.height * factor, latent.width * factor, latent.channels);
        let value = |y: usize, x: usize, c: usize| latent.values[((y / factor) * latent.width + x / factor) * channels + c];
        let values = (0..height)
            .flat_map(|y| (0..width).flat_map(move |x| (0..channels).map(move |c| (y, x, c))))
            .map(|(y, x, c)| value(y, x, c))
            .collect();
        Picture { height, width, channels, values }
    }

    #[test]
    fn tiles_of_a_pointwise_decoder_join_without_a_trace() {
        let factor = 4;
        for (height, width, sample_size) in [(8, 8, 32), (20, 9, 32), (7, 31, 32), (3, 5, 32), (33, 17, 16)] {
            let values = (0..height * width * 2).map(|index| (index * 37 % 101) as f32).collect();
            let latent = Latent { frames: 1, height, width, channels: 2, values };
            let tiled = decode(&TileGrid::new(sample_size, factor), &latent, |tile| Ok(enlarge(tile, factor))).unwrap();
            let whole = enlarge(&latent, factor);
            assert_eq!((tiled.height, tiled.width, tiled.channels), (whole.height, whole.width, whole.channels));
            for (given, expected) in tiled.values.iter().zip(&whole.values) {
                assert!((given - expected).abs() < 1e-3, "{height}×{width}");
            }
        }
    }

    #[test]
    fn sdxl_grid() {
        let grid = TileGrid::new(1024, 8);
        assert_eq!(grid, TileGrid { tile: 128, stride: 96, blend: 256, kept: 768 });
    }
}
