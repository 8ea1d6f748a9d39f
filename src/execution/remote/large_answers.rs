//! How many large answers are in the memory at once: pictures that come in an answer are there as its bytes, as text and as files, until they
//! are stored.
//!
//! An answer may be as large as its call allows, 64 MiB unless a declaration says more. So together they take four times three times that at
//! most, and what is small, of every task that is followed.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::domain::ProviderId;

/// Bytes of an answer that are read without asking.
pub(super) const SMALL_BYTES: usize = 1 << 20;
/// Large answers at once.
const MOST: usize = 4;
/// Those of one provider, so that one that is slow to give them leaves the others some.
const MOST_OF_PROVIDER: usize = 2;

/// The bound, shared by all that is read.
#[derive(Debug)]
pub(super) struct LargeAnswers {
    all: Arc<Semaphore>,
    of_providers: Mutex<HashMap<ProviderId, Arc<Semaphore>>>,
}

/// A large answer's place. Dropped, it is another's.
#[derive(Debug)]
pub(super) struct AnswerPlace {
    _permits: Vec<OwnedSemaphorePermit>,
}

impl LargeAnswers {
    pub(super) fn new() -> Self {
        Self { all: Arc::new(Semaphore::new(MOST)), of_providers: Mutex::default() }
    }

    /// Waits for a place for an answer of a provider, in the order in which they are asked for. Whoever has one waits for nothing but the
    /// provider and the disk.
    pub(super) fn take(&self, provider: &ProviderId) -> impl Future<Output = AnswerPlace> + use<> {
        let of_provider = {
            let mut of_providers = self.of_providers.lock();
            let of_provider = of_providers.entry(provider.clone());
            of_provider.or_insert_with(|| Arc::new(Semaphore::new(MOST_OF_PROVIDER))).clone()
        };
        // In this order whoever waits for its provider's part is in the way of that provider alone.
        let semaphores = [of_provider, self.all.clone()];
        async move {
            let mut permits = Vec::new();
            for semaphore in semaphores {
                // They are never closed.
                permits.extend(semaphore.acquire_owned().await.ok());
            }
            AnswerPlace { _permits: permits }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn a_provider_has_a_part_and_all_have_a_bound() {
        let answers = LargeAnswers::new();
        let take = |name: &str| answers.take(&name.parse().unwrap());
        let first = take("one").await;
        let _second = take("one").await;
        let mut third = std::pin::pin!(take("one"));
        assert!(third.as_mut().now_or_never().is_none(), "it has its part");
        let others = [take("two").await, take("two").await];
        let mut fifth = std::pin::pin!(take("three"));
        assert!(fifth.as_mut().now_or_never().is_none(), "all places are taken");
        drop(first);
        assert!(fifth.as_mut().now_or_never().is_some() || third.as_mut().now_or_never().is_some());
        drop(others);
    }
}
