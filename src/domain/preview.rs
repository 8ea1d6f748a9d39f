//! Who wants to see a picture grow.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Counts those who want previews of a job; clones count together. Whoever runs the job asks it before a preview is made.
#[derive(Clone, Debug, Default)]
pub struct PreviewDemand {
    wishes: Arc<AtomicUsize>,
}

/// Wants previews until it is dropped.
#[derive(Debug)]
pub struct PreviewWish {
    demand: PreviewDemand,
}

impl PreviewDemand {
    /// One more who wants previews.
    pub fn wish(&self) -> PreviewWish {
        self.wishes.fetch_add(1, Ordering::Relaxed);
        PreviewWish { demand: self.clone() }
    }

    /// Whether anybody wants previews.
    pub fn exists(&self) -> bool {
        self.wishes.load(Ordering::Relaxed) > 0
    }
}

impl Drop for PreviewWish {
    fn drop(&mut self) {
        self.demand.wishes.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn previews_are_wanted_while_somebody_wants_them() {
        let demand = PreviewDemand::default();
        assert!(!demand.exists());
        let (first, second) = (demand.wish(), demand.clone().wish());
        drop(first);
        assert!(demand.exists());
        drop(second);
        assert!(!demand.exists());
    }
}
