//! Keys and values of the cross-attentions, computed once per request.

use crate::activation::Activation;
use crate::error::{Error, Result};
use crate::ops::{RowKeysValues, Slice};

/// Keys and values of one prompt in every cross-attention, computed once per request.
#[derive(Debug)]
pub struct Context {
    /// Per cross-attention, in the order of the network (down, mid, up): one row, keys then values side by side in the channels.
    pub(super) keys_values: Vec<Activation>,
}

impl Context {
    /// Keys and values of cross-attention number `layer`, which has `channels` channels of each.
    ///
    /// Whatever else an image adapter lets a row attend to comes here, as further pairs for the same queries.
    pub(super) fn layer(&self, layer: usize, channels: usize) -> Result<RowKeysValues<'_>> {
        let activation = self
            .keys_values
            .get(layer)
            .filter(|activation| activation.shape().channels == 2 * channels)
            .ok_or_else(|| Error::request("context", "was made by another network"))?;
        Ok(RowKeysValues { keys: Slice { activation, offset: 0 }, values: Slice { activation, offset: channels } })
    }
}
