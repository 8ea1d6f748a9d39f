//! `SRVGGNetCompact`: convolutions with slopes in turn, all on small pictures (basicsr `srvgg_arch.py`).

use super::config::{COLOURS, CompactConfig};
use crate::activation::Activation;
use crate::error::Result;
use crate::ops::{Conv2d, Epilogue, Interrupt, Ops, Output, Slopes};
use crate::unet::conv_3x3;
use crate::weights::Scope;

/// Convolutions between two looks at the interrupt.
const LOOK: usize = 4;

/// The network, without the shuffle and the enlarged picture at its end: those are pixels.
#[derive(Debug)]
pub(super) struct CompactNet {
    layers: Vec<(Conv2d, Slopes)>,
    last: Conv2d,
}

impl CompactNet {
    pub(super) fn load(ops: &Ops, scope: &Scope<'_>, config: CompactConfig) -> Result<Self> {
        let CompactConfig { features, convolutions, scale } = config;
        let body = scope.enter("body");
        let layer = |index: usize| {
            let inputs = if index == 0 { COLOURS } else { features };
            Ok((
                Conv2d::load(ops, &body.enter(2 * index), conv_3x3(inputs, features))?,
                Slopes::load(ops, &body.enter(2 * index + 1), features)?,
            ))
        };
        Ok(Self {
            layers: (0..=convolutions).map(layer).collect::<Result<_>>()?,
            last: Conv2d::load(ops, &body.enter(2 * convolutions + 2), conv_3x3(features, COLOURS * scale * scale))?,
        })
    }

    /// `[1, height, width, 3]` with values 0…1 to the `3 · scale²` channels that each position's pixels are to be shuffled out of: what
    /// the enlarged picture lacks.
    pub(super) fn forward(&self, ops: &Ops, input: &Activation, interrupt: &Interrupt) -> Result<Activation> {
        let mut hidden: Option<Activation> = None;
        for (index, (conv, slopes)) in self.layers.iter().enumerate() {
            if index % LOOK == 0 {
                interrupt.check()?;
            }
            let epilogue = Epilogue { slopes: Some(slopes), output: Output::Operand, ..Epilogue::default() };
            hidden = Some(conv.forward(ops, hidden.as_ref().unwrap_or(input), epilogue)?);
        }
        self.last.forward(ops, hidden.as_ref().unwrap_or(input), Epilogue::default())
    }
}
