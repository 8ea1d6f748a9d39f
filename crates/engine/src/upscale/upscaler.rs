//! Files in, pictures out.

use std::path::Path;

use super::compact::CompactNet;
use super::config::{COLOURS, COMPONENT, RrdbConfig, UpscalerConfig};
use super::rrdb::RrdbNet;
use super::{memory, tiles};
use crate::activation::Shape;
use crate::error::{Error, Result};
use crate::ops::{DeviceFacts, Footprint, Interrupt, Ops};
use crate::vision::{Picture, RgbPicture};
use crate::weights::{Interruptible, Scope, WeightFile};

/// Side of a tile, in pixels of the picture. With [`tiles::TILE_PAD`] on each side, `RRDBNet` in f32 takes about 0.7 GB for it.
const TILE: usize = 256;
/// Pixels of the largest result: 32,768 × 16,384.
const MOST_PIXELS: usize = 1 << 29;

/// A network that enlarges pictures, with its packed weights.
#[derive(Debug)]
pub struct Upscaler {
    ops: Ops,
    config: UpscalerConfig,
    network: Network,
    tile: usize,
}

#[derive(Debug)]
enum Network {
    Rrdb(Box<RrdbNet>),
    Compact(Box<CompactNet>),
}

impl Upscaler {
    /// Reads a published file, `.pth` or `.safetensors` by its content. Which network it holds follows from its shapes; another network,
    /// and every tensor that is missing, too many or of another shape, is refused by name.
    pub fn open(path: &Path, ops: &Ops, interrupt: &Interrupt) -> Result<Self> {
        let file = WeightFile::open(COMPONENT, path)?.without_prefix("module.")?;
        let config = UpscalerConfig::detect(file.tensors())?;
        let upscaler = Self::load(ops, &Scope::root(&Interruptible::new(&file, interrupt)), config)?;
        file.finish(|_| false)?;
        Ok(upscaler)
    }

    /// Which network a published file holds, by its header alone. What [`Self::open`] refuses is refused, but for values that cannot be read.
    pub fn inspect(path: &Path) -> Result<UpscalerConfig> {
        let file = WeightFile::open(COMPONENT, path)?.without_prefix("module.")?.declaring();
        let config = UpscalerConfig::detect(file.tensors())?;
        Self::load(&Ops::declaring(), &Scope::root(&file), config)?;
        file.finish(|_| false)?;
        Ok(config)
    }

    /// Reads and packs every weight of the network that `config` describes.
    pub fn load(ops: &Ops, scope: &Scope<'_>, config: UpscalerConfig) -> Result<Self> {
        let network = match config {
            UpscalerConfig::Rrdb(config) => Network::Rrdb(Box::new(RrdbNet::load(ops, scope, config)?)),
            UpscalerConfig::Compact(config) => Network::Compact(Box::new(CompactNet::load(ops, scope, config)?)),
        };
        Ok(Self { ops: ops.clone(), config, network, tile: TILE })
    }

    /// The same network with tiles of `side` pixels, rounded up to an even number.
    #[must_use]
    pub fn with_tile(self, side: usize) -> Self {
        Self { tile: side.clamp(2, 1 << 16).next_multiple_of(2), ..self }
    }

    /// Pixels along a side that a pixel becomes.
    pub fn scale(&self) -> usize {
        self.config.scale()
    }

    /// A few words for reports: `RRDBNet 64×23, 4×`.
    pub fn description(&self) -> String {
        self.config.description()
    }

    /// Memory of enlarging a picture of `height × width`. Activations have a bound, since a tile does; what grows with the picture is 20
    /// bytes (at scale 4, one third of it at scale 2) for each of its values on the host.
    pub fn memory_estimate(&self, height: usize, width: usize) -> Footprint {
        let seen = tiles::most_seen(height, width, self.tile);
        memory::footprint(&self.config, (height, width), seen, DeviceFacts::of(&self.ops))
    }

    /// `picture`, [`Self::scale`] times as high and wide, in tiles.
    pub fn upscale(&self, picture: &RgbPicture, interrupt: &Interrupt) -> Result<RgbPicture> {
        let scale = self.scale();
        if !picture.is_whole() {
            return Err(Error::request("image", "it has no pixels, or not as many as its sides say"));
        }
        let (height, width) = (picture.height.saturating_mul(scale), picture.width.saturating_mul(scale));
        if height.saturating_mul(width) > MOST_PIXELS {
            let most = MOST_PIXELS / (scale * scale);
            let reason = format!("{} × {} pixels; at most {most} can be enlarged", picture.width, picture.height);
            return Err(Error::request("image", reason));
        }
        let values = picture.bytes.iter().map(|byte| f32::from(*byte) / 255.0).collect();
        let source = Picture { height: picture.height, width: picture.width, channels: COLOURS, values };
        let mut result = RgbPicture { height, width, bytes: vec![0; height * width * COLOURS] };
        let enlarge = |tile: &Picture| self.enlarge(tile, interrupt);
        let processed = tiles::process(&source, self.tile, scale, enlarge, |row, column, values| {
            let from = (row * width + column) * COLOURS;
            for (byte, value) in result.bytes[from..from + values.len()].iter_mut().zip(values) {
                *byte = (value.clamp(0.0, 1.0) * 255.0).round_ties_even() as u8;
            }
        });
        self.ops.settle_scratch();
        processed.map(|()| result)
    }

    /// A picture of values 0…1 as the network gives it: whole, not clamped.
    pub fn enlarge(&self, picture: &Picture, interrupt: &Interrupt) -> Result<Picture> {
        let Picture { height, width, channels, ref values } = *picture;
        if channels != COLOURS || height == 0 || width == 0 || values.len() != height * width * channels {
            return Err(Error::request("image", format!("{height} × {width} × {channels} is no picture of three colours")));
        }
        match &self.network {
            Network::Rrdb(network) => {
                let UpscalerConfig::Rrdb(RrdbConfig { unshuffle, .. }) = self.config else { return Err(mismatched()) };
                let (shape, values) = unshuffled(picture, unshuffle);
                let output = network.forward(&self.ops, &self.ops.upload(shape, &values)?, interrupt)?;
                let values = self.ops.download(&output)?;
                Ok(cropped(values, output.shape().width, (height * self.scale(), width * self.scale())))
            }
            Network::Compact(network) => {
                let input = self.ops.upload(Shape::new(1, height, width, COLOURS), values)?;
                let details = self.ops.download(&network.forward(&self.ops, &input, interrupt)?)?;
                Ok(shuffled(picture, &details, self.scale()))
            }
        }
    }
}

fn mismatched() -> Error {
    Error::checkpoint(COMPONENT, "the configuration is of another network")
}

/// torch's `pixel_unshuffle`: `[1, height / factor, width / factor, 3 · factor²]`. Sides that `factor` does not divide are continued by
/// reflection.
fn unshuffled(picture: &Picture, factor: usize) -> (Shape, Vec<f32>) {
    let (height, width) = (picture.height.div_ceil(factor), picture.width.div_ceil(factor));
    let shape = Shape::new(1, height, width, COLOURS * factor * factor);
    // The first beyond the edge is the last but one within; of a single pixel it is that one.
    let reflected = |at: usize, length: usize| if at < length { at } else { (2 * (length - 1)).saturating_sub(at) };
    let mut values = Vec::with_capacity(shape.elements());
    for position in 0..height * width {
        let (y, x) = (position / width * factor, position % width * factor);
        for colour in 0..COLOURS {
            for (down, across) in (0..factor).flat_map(|down| (0..factor).map(move |across| (down, across))) {
                let (y, x) = (reflected(y + down, picture.height), reflected(x + across, picture.width));
                values.push(picture.values[(y * picture.width + x) * COLOURS + colour]);
            }
        }
    }
    (shape, values)
}

/// The upper left `height × width` of a picture whose lines have `line` pixels.
fn cropped(values: Vec<f32>, line: usize, (height, width): (usize, usize)) -> Picture {
    let values = if line == width && values.len() == height * width * COLOURS {
        values
    } else {
        let lines = values.chunks_exact(line * COLOURS).take(height);
        lines.flat_map(|line| &line[..width * COLOURS]).copied().collect()
    };
    Picture { height, width, channels: COLOURS, values }
}

/// torch's `PixelShuffle` of `details`, plus the nearest pixel of `picture`.
fn shuffled(picture: &Picture, details: &[f32], scale: usize) -> Picture {
    let (height, width, square) = (picture.height * scale, picture.width * scale, scale * scale);
    let mut values = Vec::with_capacity(height * width * COLOURS);
    for pixel in 0..height * width {
        let (y, x) = (pixel / width, pixel % width);
        let position = y / scale * picture.width + x / scale;
        for colour in 0..COLOURS {
            let detail = (position * COLOURS + colour) * square + y % scale * scale + x % scale;
            values.push(details[detail] + picture.values[position * COLOURS + colour]);
        }
    }
    Picture { height, width, channels: COLOURS, values }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_sides_are_continued_by_reflection() {
        let picture = |height: usize, width: usize| {
            let values = (0..height * width).flat_map(|index| [index as f32; 3]).collect();
            Picture { height, width, channels: 3, values }
        };
        let (shape, values) = unshuffled(&picture(3, 3), 2);
        assert_eq!(shape, Shape::new(1, 2, 2, 12));
        assert_eq!(values[..4], [0.0, 1.0, 3.0, 4.0]);
        assert_eq!(values[12..16], [2.0, 1.0, 5.0, 4.0]);
        assert_eq!(values[36..40], [8.0, 7.0, 5.0, 4.0]);
        assert_eq!(unshuffled(&picture(1, 1), 2).1, [0.0; 12]);
    }
}
