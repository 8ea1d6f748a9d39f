//! What the network takes of the picture, computed once per request.

use crate::activation::{Activation, Shape};
use crate::error::{Error, Result};
use crate::ops::Ops;

/// What attention to the picture adds in every layer.
///
/// The picture is a single token. A softmax over one key is 1 whatever the query, so that the attention gives the same vector at every
/// position: the token's value through the output projection. It is computed once and added from then on.
#[derive(Clone, Debug)]
pub struct SvdContext {
    /// Per layer, in the order of the network (down, mid, up): what is added in the spatial part, and in the temporal part.
    pub(super) vectors: Vec<[Vec<f32>; 2]>,
}

impl SvdContext {
    /// Bytes that it takes.
    pub fn bytes(&self) -> usize {
        self.vectors.iter().flatten().map(|vector| vector.len() * size_of::<f32>()).sum()
    }
}

/// Which of a layer's vectors.
#[derive(Clone, Copy, Debug)]
pub(super) enum Part {
    Spatial,
    Temporal,
}

/// The vectors of layer number `layer`, one per clip.
pub(super) fn vectors(ops: &Ops, contexts: &[&SvdContext], layer: usize, part: Part, channels: usize) -> Result<Activation> {
    let mut values = Vec::with_capacity(contexts.len() * channels);
    for context in contexts {
        let [spatial, temporal] = context
            .vectors
            .get(layer)
            .filter(|vectors| vectors.iter().all(|vector| vector.len() == channels))
            .ok_or_else(|| Error::request("context", "was made by another network"))?;
        values.extend_from_slice(match part {
            Part::Spatial => spatial,
            Part::Temporal => temporal,
        });
    }
    ops.upload(Shape::vectors(contexts.len(), channels), &values)
}
