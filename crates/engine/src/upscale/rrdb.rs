//! `RRDBNet`: residual-in-residual dense blocks (basicsr `rrdbnet_arch.py`).

use super::config::{COLOURS, RrdbConfig};
use crate::activation::{Activation, Shape};
use crate::error::Result;
use crate::ops::elementwise::{add_scaled, select_rows};
use crate::ops::upsample::upsample_nearest;
use crate::ops::{Conv2d, Epilogue, Growing, Interrupt, Ops, Output, Slopes};
use crate::unet::conv_3x3;
use crate::weights::{Prepared, Scope};

/// Of every leaky `ReLU`.
const SLOPE: f32 = 0.2;
/// What a block adds to its input is multiplied with this, within and without.
const RESIDUAL_SCALE: f32 = 0.2;
/// Convolutions of a dense block that add channels.
const GROWING: usize = 4;
/// Dense blocks of a block.
const DENSE_BLOCKS: usize = 3;

/// Four convolutions that each read all channels before them, and one that brings them together.
#[derive(Debug)]
struct DenseBlock {
    growing: Vec<Conv2d>,
    last: Conv2d,
}

impl DenseBlock {
    fn load(ops: &Ops, scope: &Scope<'_>, config: &RrdbConfig) -> Result<Self> {
        let RrdbConfig { features, growth, .. } = *config;
        let grow = |index: usize| {
            let scope = scope.enter(format!("conv{}", index + 1));
            Conv2d::load(ops, &scope, conv_3x3(features + index * growth, growth))
        };
        let inputs = features + GROWING * growth;
        // `x + 0.2 · conv(…)`: the factor goes into the weights.
        let scope = scope.enter(format!("conv{}", GROWING + 1));
        let mut scaled = Prepared::new(scope.component());
        for (name, shape) in [("weight", vec![features, inputs, 3, 3]), ("bias", vec![features])] {
            let scale = |values: &[f32]| values.iter().map(|value| value * RESIDUAL_SCALE).collect();
            scaled.insert(name, scope.take(name, &shape)?.reshaped(&shape, scale));
        }
        Ok(Self {
            growing: (0..GROWING).map(grow).collect::<Result<_>>()?,
            last: Conv2d::load(ops, &Scope::root(&scaled), conv_3x3(inputs, features))?,
        })
    }

    /// `channels` is memory that every block uses anew.
    fn forward(&self, ops: &Ops, input: &Activation, channels: &mut Growing, slopes: &Slopes) -> Result<Activation> {
        channels.clear();
        channels.push(ops, input)?;
        for conv in &self.growing {
            let epilogue = Epilogue { slopes: Some(slopes), output: Output::Operand, ..Epilogue::default() };
            let grown = conv.forward_grown(ops, channels, epilogue)?;
            channels.push(ops, &grown)?;
        }
        self.last.forward_grown(ops, channels, Epilogue { residual: Some(input), ..Epilogue::default() })
    }
}

/// The network.
#[derive(Debug)]
pub(super) struct RrdbNet {
    config: RrdbConfig,
    conv_first: Conv2d,
    blocks: Vec<[DenseBlock; DENSE_BLOCKS]>,
    conv_body: Conv2d,
    conv_up1: Conv2d,
    conv_up2: Conv2d,
    conv_hr: Conv2d,
    conv_last: Conv2d,
    growth_slopes: Slopes,
    feature_slopes: Slopes,
}

impl RrdbNet {
    pub(super) fn load(ops: &Ops, scope: &Scope<'_>, config: RrdbConfig) -> Result<Self> {
        let RrdbConfig { features, growth, blocks, unshuffle } = config;
        let conv = |name: &str, inputs: usize, outputs: usize| Conv2d::load(ops, &scope.enter(name), conv_3x3(inputs, outputs));
        let block = |index: usize| -> Result<[DenseBlock; DENSE_BLOCKS]> {
            let scope = scope.enter("body").enter(index);
            let dense = |name: &str| DenseBlock::load(ops, &scope.enter(name), &config);
            Ok([dense("rdb1")?, dense("rdb2")?, dense("rdb3")?])
        };
        Ok(Self {
            config,
            conv_first: conv("conv_first", COLOURS * unshuffle * unshuffle, features)?,
            blocks: (0..blocks).map(block).collect::<Result<_>>()?,
            conv_body: conv("conv_body", features, features)?,
            conv_up1: conv("conv_up1", features, features)?,
            conv_up2: conv("conv_up2", features, features)?,
            conv_hr: conv("conv_hr", features, features)?,
            conv_last: conv("conv_last", features, COLOURS)?,
            growth_slopes: Slopes::constant(ops, growth, SLOPE)?,
            feature_slopes: Slopes::constant(ops, features, SLOPE)?,
        })
    }

    /// `[1, height, width, 3 · unshuffle²]` with values 0…1 to a picture four times as high and wide, not clamped.
    pub(super) fn forward(&self, ops: &Ops, input: &Activation, interrupt: &Interrupt) -> Result<Activation> {
        let first = self.conv_first.forward(ops, input, Epilogue::default())?;
        let body = self.body(ops, &first, interrupt)?;
        let mut hidden = self.conv_body.forward(ops, &body, Epilogue { residual: Some(&first), ..Epilogue::default() })?;
        drop((body, first));
        let bent = Epilogue { slopes: Some(&self.feature_slopes), ..Epilogue::default() };
        for (conv, output) in [(&self.conv_up1, Output::Stream), (&self.conv_up2, Output::Operand)] {
            interrupt.check()?;
            let Shape { height, width, .. } = hidden.shape();
            let enlarged = upsample_nearest(ops, &hidden, 2 * height, 2 * width)?;
            drop(hidden);
            hidden = conv.forward(ops, &enlarged, Epilogue { output, ..bent })?;
        }
        interrupt.check()?;
        let operand = self.conv_hr.forward(ops, &hidden, Epilogue { output: Output::Operand, ..bent })?;
        drop(hidden);
        self.conv_last.forward(ops, &operand, Epilogue::default())
    }

    fn body(&self, ops: &Ops, first: &Activation, interrupt: &Interrupt) -> Result<Activation> {
        let RrdbConfig { features, growth, .. } = self.config;
        let mut channels = Growing::new(ops, first.shape().with_channels(features + GROWING * growth))?;
        let mut hidden = select_rows(ops, first, 0, first.shape().rows)?;
        for [one, two, three] in &self.blocks {
            interrupt.check()?;
            let mut added = one.forward(ops, &hidden, &mut channels, &self.growth_slopes)?;
            for dense in [two, three] {
                interrupt.check()?;
                added = dense.forward(ops, &added, &mut channels, &self.growth_slopes)?;
            }
            add_scaled(ops, &mut hidden, &added, RESIDUAL_SCALE)?;
        }
        Ok(hidden)
    }
}
