//! Stopping a running evaluation, and seeing that it is alive.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::error::{Error, Result};

/// A flag to stop work within a block, and a counter that rises while work goes on. Clones share both.
#[derive(Clone, Debug, Default)]
pub struct Interrupt {
    cancelled: Arc<AtomicBool>,
    ticks: Arc<AtomicU64>,
}

impl Interrupt {
    /// Asks the work to stop at its next check.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }
    /// Whether stopping was asked for.
    pub fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }
    /// How many checks have passed; a watchdog reads this.
    pub fn ticks(&self) -> u64 {
        self.ticks.load(Ordering::Relaxed)
    }
    /// Called by networks in every block: counts a tick, and fails with [`Error::Cancelled`] when stopping was asked for.
    pub fn check(&self) -> Result<()> {
        self.ticks.fetch_add(1, Ordering::Relaxed);
        if self.is_cancelled() { Err(Error::Cancelled) } else { Ok(()) }
    }
}
