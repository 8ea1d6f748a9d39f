//! Which network a file holds.
//!
//! Published files have no configuration: everything follows from the shapes of their tensors.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use crate::error::{Error, Result, shortened};

/// The component's name in errors.
pub(super) const COMPONENT: &str = "upscaler";

/// More features, growth and layers than any published network has.
const CHANNELS: RangeInclusive<usize> = 2..=512;
const LAYERS: RangeInclusive<usize> = 1..=64;
/// Colours.
pub(super) const COLOURS: usize = 3;

/// `RRDBNet`: residual-in-residual dense blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RrdbConfig {
    /// Channels between the blocks; 64.
    pub features: usize,
    /// Channels that each convolution of a dense block adds; 32.
    pub growth: usize,
    /// Blocks; 23, for anime 6.
    pub blocks: usize,
    /// Pixels of `unshuffle × unshuffle` are taken as one position of so many more channels: 1 enlarges four times, 2 (x2plus) twice.
    pub unshuffle: usize,
}

/// `SRVGGNetCompact`: a row of convolutions whose last one gives all the pixels of a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompactConfig {
    /// Channels between the convolutions; 64.
    pub features: usize,
    /// Convolutions between the first and the last; 16 or 32.
    pub convolutions: usize,
    /// Pixels along a side that a pixel becomes; 4.
    pub scale: usize,
}

/// A network that enlarges pictures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpscalerConfig {
    /// `RRDBNet`.
    Rrdb(RrdbConfig),
    /// `SRVGGNetCompact`.
    Compact(CompactConfig),
}

impl UpscalerConfig {
    /// The network that tensors of these names and shapes belong to.
    pub fn detect<'a>(tensors: impl IntoIterator<Item = (&'a str, &'a [usize])>) -> Result<Self> {
        let tensors: BTreeMap<&str, &[usize]> = tensors.into_iter().collect();
        if tensors.contains_key("conv_first.weight") {
            return detect_rrdb(&tensors).map(Self::Rrdb);
        }
        if tensors.contains_key("body.0.weight") {
            return detect_compact(&tensors).map(Self::Compact);
        }
        if tensors.contains_key("model.0.weight") {
            return Err(refused(
                "the tensors have the names of ESRGAN's first version (model.0, …), which are not supported; use a Real-ESRGAN file",
            ));
        }
        let first = tensors.keys().next().map_or_else(|| "no tensors".to_owned(), |name| shortened(name));
        Err(refused(format!("neither RRDBNet (conv_first.weight) nor SRVGGNetCompact (body.0.weight), but {first}, …")))
    }

    /// A few words for reports: `RRDBNet 64×23, 4×`.
    pub fn description(&self) -> String {
        let (name, features, layers) = match self {
            Self::Rrdb(config) => ("RRDBNet", config.features, config.blocks),
            Self::Compact(config) => ("SRVGGNetCompact", config.features, config.convolutions),
        };
        format!("{name} {features}×{layers}, {}×", self.scale())
    }

    /// Pixels along a side that a pixel becomes.
    pub fn scale(&self) -> usize {
        match self {
            Self::Rrdb(config) => 4 / config.unshuffle.max(1),
            Self::Compact(config) => config.scale,
        }
    }
}

fn refused(reason: impl Into<String>) -> Error {
    Error::checkpoint(COMPONENT, reason)
}

/// A four-dimensional shape of 3 × 3 convolutions: outputs and inputs.
fn convolution(tensors: &BTreeMap<&str, &[usize]>, name: &str) -> Result<(usize, usize)> {
    match tensors.get(name) {
        Some([outputs, inputs, 3, 3]) => Ok((*outputs, *inputs)),
        Some(shape) => Err(refused(format!("{name} has shape {shape:?}, expected a 3 × 3 convolution"))),
        None => Err(refused(format!("{name} is missing"))),
    }
}

fn within(what: &str, number: usize, range: RangeInclusive<usize>) -> Result<usize> {
    if range.contains(&number) {
        Ok(number)
    } else {
        Err(refused(format!("{number} {what}; from {} to {} are supported", range.start(), range.end())))
    }
}

fn even(what: &str, number: usize) -> Result<usize> {
    // Operands go in pairs.
    if number.is_multiple_of(2) {
        within(what, number, CHANNELS)
    } else {
        Err(refused(format!("{number} {what}; only even numbers are supported")))
    }
}

/// One more than the highest number that stands between `prefix` and the next point.
fn count(tensors: &BTreeMap<&str, &[usize]>, prefix: &str) -> usize {
    let numbers = tensors.keys().filter_map(|name| name.strip_prefix(prefix)?.split('.').next()?.parse::<usize>().ok());
    numbers.max().map_or(0, |highest| highest.saturating_add(1))
}

fn detect_rrdb(tensors: &BTreeMap<&str, &[usize]>) -> Result<RrdbConfig> {
    let (features, inputs) = convolution(tensors, "conv_first.weight")?;
    let (growth, _) = convolution(tensors, "body.0.rdb1.conv1.weight")?;
    let unshuffle = match inputs {
        COLOURS => 1,
        12 => 2,
        other => {
            return Err(refused(format!(
                "conv_first.weight takes {other} channels; 3 (four times) and 12 (twice) are supported"
            )));
        }
    };
    Ok(RrdbConfig {
        features: even("features", features)?,
        growth: even("channels of growth", growth)?,
        blocks: within("blocks", count(tensors, "body."), LAYERS)?,
        unshuffle,
    })
}

fn detect_compact(tensors: &BTreeMap<&str, &[usize]>) -> Result<CompactConfig> {
    let (features, inputs) = convolution(tensors, "body.0.weight")?;
    if inputs != COLOURS {
        return Err(refused(format!("body.0.weight takes {inputs} channels; pictures have 3")));
    }
    let layers = count(tensors, "body.");
    // First convolution and slopes, then both again and again, then the last convolution.
    let Some(convolutions) = layers.checked_sub(3).filter(|layers| layers.is_multiple_of(2)).map(|layers| layers / 2) else {
        return Err(refused(format!("{layers} layers; expected convolutions and slopes in turn, then a last convolution")));
    };
    within("convolutions", convolutions.max(1), LAYERS)?;
    let (outputs, _) = convolution(tensors, &format!("body.{}.weight", layers - 1))?;
    let scale = [2, 4].into_iter().find(|scale| outputs == COLOURS * scale * scale);
    let scale =
        scale.ok_or_else(|| refused(format!("{outputs} channels at the end; 12 (twice) and 48 (four times) are supported")))?;
    Ok(CompactConfig { features: within("features", features, CHANNELS)?, convolutions, scale })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn detect(tensors: &[(&str, &[usize])]) -> Result<UpscalerConfig> {
        UpscalerConfig::detect(tensors.iter().copied())
    }

    #[test]
    fn published_shapes_are_recognised() {
        let rrdb = |inputs: usize, last: &'static str| {
            detect(&[
                ("conv_first.weight", &[64, inputs, 3, 3]),
                ("body.0.rdb1.conv1.weight", &[32, 64, 3, 3]),
                (last, &[64, 192, 3, 3]),
            ])
            .unwrap()
        };
        let config = RrdbConfig { features: 64, growth: 32, blocks: 23, unshuffle: 1 };
        assert_eq!(rrdb(3, "body.22.rdb3.conv5.weight"), UpscalerConfig::Rrdb(config));
        assert_eq!(rrdb(12, "body.22.rdb3.conv5.weight"), UpscalerConfig::Rrdb(RrdbConfig { unshuffle: 2, ..config }));
        assert_eq!(rrdb(3, "body.5.rdb3.conv5.weight"), UpscalerConfig::Rrdb(RrdbConfig { blocks: 6, ..config }));
        assert_eq!((rrdb(3, "body.5.x").scale(), rrdb(12, "body.5.x").scale()), (4, 2));
        let compact = detect(&[("body.0.weight", &[64, 3, 3, 3]), ("body.34.weight", &[48, 64, 3, 3])]).unwrap();
        assert_eq!(compact, UpscalerConfig::Compact(CompactConfig { features: 64, convolutions: 16, scale: 4 }));
        assert_eq!(compact.scale(), 4);
    }

    #[test]
    fn what_is_none_of_them_is_refused_by_name() {
        type Tensors = [(&'static str, &'static [usize])];
        let cases: &[(&str, &Tensors)] = &[
            ("no tensors", &[]),
            ("but a.weight", &[("a.weight", &[1])]),
            ("first version", &[("model.0.weight", &[64, 3, 3, 3])]),
            ("body.0.rdb1.conv1.weight is missing", &[("conv_first.weight", &[64, 3, 3, 3])]),
            ("expected a 3 × 3", &[("conv_first.weight", &[64, 3, 5, 5])]),
            ("takes 48 channels", &[("conv_first.weight", &[64, 48, 3, 3]), ("body.0.rdb1.conv1.weight", &[32, 64, 3, 3])]),
            ("even", &[("conv_first.weight", &[63, 3, 3, 3]), ("body.0.rdb1.conv1.weight", &[32, 63, 3, 3])]),
            ("from 2 to 512", &[("conv_first.weight", &[1 << 40, 3, 3, 3]), ("body.0.rdb1.conv1.weight", &[32, 63, 3, 3])]),
            (
                "blocks",
                &[
                    ("conv_first.weight", &[64, 3, 3, 3]),
                    ("body.0.rdb1.conv1.weight", &[32, 64, 3, 3]),
                    ("body.18446744073709551615.x", &[1]),
                ],
            ),
            ("4 layers", &[("body.0.weight", &[64, 3, 3, 3]), ("body.3.weight", &[48, 64, 3, 3])]),
            ("27 channels at the end", &[("body.0.weight", &[64, 3, 3, 3]), ("body.4.weight", &[27, 64, 3, 3])]),
            ("convolutions", &[("body.0.weight", &[64, 3, 3, 3]), ("body.9999999998.weight", &[48, 64, 3, 3])]),
        ];
        for (said, tensors) in cases {
            let error = detect(tensors).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
    }
}
