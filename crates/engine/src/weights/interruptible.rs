//! Loading that can be stopped.

use super::source::{HostTensor, TensorSource};
use crate::error::Result;
use crate::ops::Interrupt;

/// A source that looks at an [`Interrupt`] before every tensor: a large network takes seconds to load.
#[derive(Clone, Copy)]
pub struct Interruptible<'a> {
    source: &'a dyn TensorSource,
    interrupt: &'a Interrupt,
}

impl<'a> Interruptible<'a> {
    /// The same tensors, until `interrupt` is cancelled.
    pub fn new(source: &'a dyn TensorSource, interrupt: &'a Interrupt) -> Self {
        Self { source, interrupt }
    }
}

impl TensorSource for Interruptible<'_> {
    fn component(&self) -> &str {
        self.source.component()
    }
    fn has(&self, name: &str) -> bool {
        self.source.has(name)
    }
    fn take(&self, name: &str, shape: &[usize]) -> Result<HostTensor> {
        self.interrupt.check()?;
        self.source.take(name, shape)
    }
    fn skip(&self, name: &str, shape: &[usize]) -> Result<()> {
        self.interrupt.check()?;
        self.source.skip(name, shape)
    }
}

impl std::fmt::Debug for Interruptible<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Interruptible({})", self.component())
    }
}
