//! Tensors that were made of a checkpoint's: scaled, cut, put in another order.

use std::collections::BTreeMap;

use super::source::{HostTensor, TensorSource};
use crate::error::{Error, Result};

/// A source of few tensors that lie in memory.
#[derive(Debug)]
pub struct Prepared {
    component: String,
    tensors: BTreeMap<String, HostTensor>,
}

impl Prepared {
    /// No tensors yet, of `component`.
    pub fn new(component: impl Into<String>) -> Self {
        Self { component: component.into(), tensors: BTreeMap::new() }
    }

    /// Has `tensor` from now on under `name`.
    pub fn insert(&mut self, name: impl Into<String>, tensor: HostTensor) {
        self.tensors.insert(name.into(), tensor);
    }
}

impl TensorSource for Prepared {
    fn component(&self) -> &str {
        &self.component
    }
    fn has(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }
    fn take(&self, name: &str, shape: &[usize]) -> Result<HostTensor> {
        match self.tensors.get(name) {
            Some(tensor) if tensor.shape() == shape => Ok(tensor.clone()),
            Some(tensor) => {
                let reason = format!("{name} has shape {:?}, expected {shape:?}", tensor.shape());
                Err(Error::checkpoint(&self.component, reason))
            }
            None => Err(Error::checkpoint(&self.component, format!("{name} is missing; expected shape {shape:?}"))),
        }
    }
}
