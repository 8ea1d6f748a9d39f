//! Files and frames in, frames out.

use std::path::Path;

use super::config::{COMPONENT, InterpolatorConfig, is_harmless};
use super::memory;
use super::network::{IfNet, MULTIPLE};
use crate::activation::{Activation, Shape};
use crate::error::{Error, Result};
use crate::ops::{DeviceFacts, Footprint, Interrupt, Ops};
use crate::vision::{Picture, RgbPicture};
use crate::weights::{Interruptible, Scope, WeightFile};

/// Pixels of the largest frame, padding included: 8,192 × 4,096. All is computed at once, about 400 bytes a pixel.
const MOST_PIXELS: usize = 1 << 25;

/// A network that makes frames between frames, with its packed weights.
#[derive(Debug)]
pub struct Interpolator {
    ops: Ops,
    config: InterpolatorConfig,
    network: IfNet,
}

/// A frame and its features, good for both of its neighbours and for any time between.
#[derive(Debug)]
pub struct Encoded {
    frame: RgbPicture,
    /// `[1, height, width, 3 + 4]`, sides padded with zeros.
    values: Activation,
}

impl Encoded {
    /// The frame.
    pub fn frame(&self) -> &RgbPicture {
        &self.frame
    }
}

impl Interpolator {
    /// Reads a published file, `flownet.pkl` or `.safetensors` by its content. A tensor that is missing, too many or of another shape is
    /// refused by name, but for those that only training needs.
    pub fn open(path: &Path, ops: &Ops, interrupt: &Interrupt) -> Result<Self> {
        let file = WeightFile::open(COMPONENT, path)?.without_prefix("module.")?;
        let config = InterpolatorConfig::detect(file.tensors())?;
        let interpolator = Self::load(ops, &Scope::root(&Interruptible::new(&file, interrupt)), config)?;
        file.finish(is_harmless)?;
        Ok(interpolator)
    }

    /// Which network a published file holds, by its header alone. What [`Self::open`] refuses is refused, but for values that cannot be read.
    pub fn inspect(path: &Path) -> Result<InterpolatorConfig> {
        let file = WeightFile::open(COMPONENT, path)?.without_prefix("module.")?.declaring();
        let config = InterpolatorConfig::detect(file.tensors())?;
        Self::load(&Ops::declaring(), &Scope::root(&file), config)?;
        file.finish(is_harmless)?;
        Ok(config)
    }

    /// A few words for reports: `RIFE 192-128-96-64-32`.
    pub fn description(&self) -> String {
        self.config.description()
    }

    /// Reads and packs every weight.
    pub fn load(ops: &Ops, scope: &Scope<'_>, config: InterpolatorConfig) -> Result<Self> {
        Ok(Self { ops: ops.clone(), network: IfNet::load(ops, scope, &config)?, config })
    }

    /// Memory of making one frame between two of `height × width` that are encoded: it grows with the frame and has no other bound than
    /// that of frames, 2^25 pixels.
    pub fn memory_estimate(&self, height: usize, width: usize) -> Footprint {
        let pixels = height.next_multiple_of(MULTIPLE).saturating_mul(width.next_multiple_of(MULTIPLE));
        memory::footprint(&self.config, pixels.min(MOST_PIXELS), DeviceFacts::of(&self.ops))
    }

    /// Looks at a frame once, for all frames that are made beside it.
    pub fn encode(&self, frame: &RgbPicture, interrupt: &Interrupt) -> Result<Encoded> {
        interrupt.check()?;
        let RgbPicture { height, width, ref bytes } = *frame;
        if !frame.is_whole() {
            return Err(Error::request("frame", "it has no pixels, or not as many as its sides say"));
        }
        let padded = height.checked_next_multiple_of(MULTIPLE).zip(width.checked_next_multiple_of(MULTIPLE));
        let padded = padded.filter(|(height, width)| height.saturating_mul(*width) <= MOST_PIXELS);
        let Some((padded_height, padded_width)) = padded else {
            let reason = format!("{width} × {height}; frames of at most {MOST_PIXELS} pixels can be interpolated");
            return Err(Error::request("frame", reason));
        };
        let shape = Shape::new(1, padded_height, padded_width, 3);
        let mut values = vec![0.0; shape.elements()];
        for (values, bytes) in values.chunks_exact_mut(padded_width * 3).zip(bytes.chunks_exact(width * 3)) {
            for (value, byte) in values.iter_mut().zip(bytes) {
                *value = f32::from(*byte) / 255.0;
            }
        }
        let values = self.network.encode(&self.ops, &self.ops.upload(shape, &values)?)?;
        Ok(Encoded { frame: frame.clone(), values })
    }

    /// The frame at `time` between two: 0 < `time` < 1. Between equal frames it is that frame.
    pub fn between(&self, first: &RgbPicture, second: &RgbPicture, time: f32, interrupt: &Interrupt) -> Result<RgbPicture> {
        check(first, second, time)?;
        if first == second {
            return Ok(first.clone());
        }
        self.between_encoded(&self.encode(first, interrupt)?, &self.encode(second, interrupt)?, time, interrupt)
    }

    /// The same of frames that were encoded by this network.
    pub fn between_encoded(&self, first: &Encoded, second: &Encoded, time: f32, interrupt: &Interrupt) -> Result<RgbPicture> {
        check(&first.frame, &second.frame, time)?;
        if first.frame == second.frame {
            return Ok(first.frame.clone());
        }
        let picture = self.evaluate(first, second, time, interrupt)?;
        self.ops.settle_scratch();
        let byte = |value: &f32| (value.clamp(0.0, 1.0) * 255.0).round_ties_even() as u8;
        Ok(RgbPicture { height: picture.height, width: picture.width, bytes: picture.values.iter().map(byte).collect() })
    }

    /// What the network gives, around 0…1, also for equal frames.
    pub fn evaluate(&self, first: &Encoded, second: &Encoded, time: f32, interrupt: &Interrupt) -> Result<Picture> {
        check(&first.frame, &second.frame, time)?;
        let output = self.network.between(&self.ops, [&first.values, &second.values], time, interrupt)?;
        let RgbPicture { height, width, .. } = first.frame;
        let line = output.shape().width * 3;
        let values = self.ops.download(&output)?;
        let values = values.chunks_exact(line).take(height).flat_map(|line| &line[..width * 3]).copied().collect();
        Ok(Picture { height, width, channels: 3, values })
    }
}

fn check(first: &RgbPicture, second: &RgbPicture, time: f32) -> Result<()> {
    if !(time > 0.0 && time < 1.0) {
        return Err(Error::request("time", format!("{time} is not between 0 and 1")));
    }
    if (first.height, first.width) != (second.height, second.width) {
        let reason =
            format!("{} × {} and {} × {}: both must have one size", first.width, first.height, second.width, second.height);
        return Err(Error::request("frame", reason));
    }
    Ok(())
}
