//! Which network a file holds. Published files have no configuration: widths follow from the shapes of their tensors.

use std::ops::RangeInclusive;

use crate::error::{Error, Result};

/// The component's name in errors.
pub(super) const COMPONENT: &str = "interpolator";
/// Refinements of the flow.
pub(super) const BLOCKS: usize = 5;
/// Wider than any published block.
const CHANNELS: RangeInclusive<usize> = 4..=512;

/// Tensors that published files hold and no frame needs: what their names begin with, and why they are harmless.
const HARMLESS: [(&str, &str); 3] = [
    ("teacher.", "the network that this one was taught by"),
    ("block_tea.", "the same, in older files"),
    ("caltime.", "a guess of the time between frames, for training"),
];

/// Whether `name` may be left over.
pub(super) fn is_harmless(name: &str) -> bool {
    HARMLESS.iter().any(|(prefix, _)| name.starts_with(prefix))
}

/// The widths of a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InterpolatorConfig {
    /// Channels of each block; 192, 128, 96, 64 and 32.
    pub channels: [usize; BLOCKS],
}

impl InterpolatorConfig {
    /// RIFE 4.25 and 4.26.
    pub const PUBLISHED: Self = Self { channels: [192, 128, 96, 64, 32] };

    /// A few words for reports: `RIFE 192-128-96-64-32`.
    pub fn description(&self) -> String {
        format!("RIFE {}", self.channels.map(|channels| channels.to_string()).join("-"))
    }

    /// The network that tensors of these names and shapes belong to.
    pub fn detect<'a>(tensors: impl IntoIterator<Item = (&'a str, &'a [usize])>) -> Result<Self> {
        let mut channels = [0; BLOCKS];
        for (name, shape) in tensors {
            let number = name.strip_prefix("block").and_then(|rest| rest.strip_suffix(".conv0.1.0.weight"));
            if let Some(channels) = number.and_then(|number| channels.get_mut(number.parse::<usize>().ok()?)) {
                *channels = shape.first().copied().unwrap_or_default();
            }
        }
        for (block, channels) in channels.iter().enumerate() {
            let name = format!("block{block}.conv0.1.0.weight");
            if *channels == 0 {
                return Err(Error::checkpoint(COMPONENT, format!("{name} is missing: not RIFE 4.25 or 4.26")));
            }
            if !CHANNELS.contains(channels) || !channels.is_multiple_of(2) {
                let reason = format!("{name}: {channels} channels; even numbers from {} to {}", CHANNELS.start(), CHANNELS.end());
                return Err(Error::checkpoint(COMPONENT, reason));
            }
        }
        Ok(Self { channels })
    }
}
