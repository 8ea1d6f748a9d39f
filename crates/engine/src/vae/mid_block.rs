//! The smallest level of either half: resnet, attention, resnet.

use super::VaeConfig;
use super::attention::SpatialAttention;
use super::resnet_config;
use crate::activation::Activation;
use crate::error::Result;
use crate::ops::{Interrupt, Ops};
use crate::unet::Resnet;
use crate::weights::Scope;

#[derive(Debug)]
pub(super) struct MidBlock {
    first: Resnet,
    attention: Option<SpatialAttention>,
    second: Resnet,
}

impl MidBlock {
    pub(super) fn load(ops: &Ops, scope: &Scope<'_>, config: &VaeConfig, channels: usize) -> Result<Self> {
        let resnet =
            |index: usize| Resnet::load(ops, &scope.enter("resnets").enter(index), resnet_config(config, channels, channels));
        Ok(Self {
            first: resnet(0)?,
            attention: config
                .mid_block_add_attention
                .then(|| SpatialAttention::load(ops, &scope.enter("attentions").enter(0), config, channels))
                .transpose()?,
            second: resnet(1)?,
        })
    }

    pub(super) fn forward(&self, ops: &Ops, input: &Activation, interrupt: &Interrupt) -> Result<Activation> {
        let mut hidden = self.first.forward(ops, input, None, interrupt)?;
        if let Some(attention) = &self.attention {
            interrupt.check()?;
            hidden = attention.forward(ops, &hidden, interrupt)?;
        }
        self.second.forward(ops, &hidden, None, interrupt)
    }
}
