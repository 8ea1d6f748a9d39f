//! The whole network (vs-rife `IFNet_HDv3_v4_25.py`, `IFNet`): a flow that is refined from coarse to fine, and both frames warped by it.

use super::block::{Block, BlockInput, FLOW, MASK};
use super::config::{BLOCKS, InterpolatorConfig};
use super::head::Head;
use crate::activation::Activation;
use crate::error::Result;
use crate::ops::blend::{MaskChannel, blend};
use crate::ops::elementwise::{add_to_channels, concatenate};
use crate::ops::warp::warp;
use crate::ops::{Interrupt, Ops};
use crate::weights::Scope;

/// Pixels along a side for each position that a block computes at.
const SCALES: [usize; BLOCKS] = [16, 8, 4, 2, 1];
/// Sides must be multiples of this: the coarsest block halves its positions twice.
pub(super) const MULTIPLE: usize = 64;
/// Where the second frame's flow begins.
const SECOND: usize = FLOW / 2;

#[derive(Debug)]
pub(super) struct IfNet {
    head: Head,
    blocks: Vec<Block>,
}

impl IfNet {
    pub(super) fn load(ops: &Ops, scope: &Scope<'_>, config: &InterpolatorConfig) -> Result<Self> {
        let block = |(index, (channels, scale)): (usize, (&usize, usize))| {
            Block::load(ops, &scope.enter(format!("block{index}")), *channels, scale, index > 0)
        };
        Ok(Self {
            head: Head::load(ops, &scope.enter("encode"))?,
            blocks: config.channels.iter().zip(SCALES).enumerate().map(block).collect::<Result<_>>()?,
        })
    }

    /// `frame` (`[1, height, width, 3]`, values 0…1, sides multiples of [`MULTIPLE`]) with its features beside it.
    pub(super) fn encode(&self, ops: &Ops, frame: &Activation) -> Result<Activation> {
        let features = self.head.forward(ops, frame)?;
        concatenate(ops, &[frame, &features])
    }

    /// The frame at `time` between two encoded ones: `[1, height, width, 3]`.
    pub(super) fn between(&self, ops: &Ops, frames: [&Activation; 2], time: f32, interrupt: &Interrupt) -> Result<Activation> {
        let mut state: Option<Activation> = None;
        for block in &self.blocks {
            state = Some(match state {
                None => block.forward(ops, BlockInput { frames, state: None, time }, interrupt)?,
                Some(before) => {
                    let [first, second] = warped(ops, frames, &before)?;
                    let input = BlockInput { frames: [&first, &second], state: Some(&before), time };
                    let mut refined = block.forward(ops, input, interrupt)?;
                    add_to_channels(ops, &mut refined, &before, FLOW)?;
                    refined
                }
            });
        }
        let Some(state) = state else { return Err(crate::Error::Device("a network of no blocks".into())) };
        let [first, second] = warped(ops, frames, &state)?;
        blend(ops, &first, &second, MaskChannel { activation: &state, channel: MASK }, 3)
    }
}

/// Both frames with their features, where the flow of `state` points.
fn warped(ops: &Ops, [first, second]: [&Activation; 2], state: &Activation) -> Result<[Activation; 2]> {
    Ok([warp(ops, first, state, 0)?, warp(ops, second, state, SECOND)?])
}
