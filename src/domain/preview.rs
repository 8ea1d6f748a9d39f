//! Who wants to see a picture grow.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Previews that one picture's run makes at most, spread evenly: past this they cost more than they show.
const MOST_PREVIEWS: usize = 50;

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

    /// Whether to make a preview after evaluation `done` (from 1) of the `all` that a picture takes.
    pub fn is_due(&self, done: usize, all: usize) -> bool {
        self.exists() && (done == all || done.is_multiple_of(all.div_ceil(MOST_PREVIEWS).max(1)))
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
    fn previews_are_due_while_somebody_wants_them() {
        let demand = PreviewDemand::default();
        assert!(!demand.is_due(1, 1));
        let (first, second) = (demand.wish(), demand.clone().wish());
        drop(first);
        assert!(demand.is_due(1, 1));
        drop(second);
        assert!(!demand.is_due(1, 1));
    }

    #[test]
    fn long_runs_are_not_shown_at_every_evaluation() {
        let demand = PreviewDemand::default();
        let _wish = demand.wish();
        let shown = |all: usize| (1..=all).filter(|&done| demand.is_due(done, all)).collect::<Vec<_>>();
        assert_eq!(shown(3), [1, 2, 3]);
        assert_eq!(shown(50).len(), 50);
        assert_eq!(shown(51).len(), 26);
        assert_eq!(*shown(299).last().unwrap(), 299);
        assert!((1..2000).all(|all| shown(all).len() <= MOST_PREVIEWS + 1));
    }
}
