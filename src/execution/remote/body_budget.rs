//! What bodies of creates may take of the memory while they are written and sent: pictures are many bytes, and each is there several times.
//!
//! A provider gets half of it at most, so that one that hangs leaves the others the rest.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::domain::{ProviderId, RemotePicture};

/// Bytes that all bodies with pictures may take together.
const MOST_BYTES: u64 = 256 << 20;
/// What is counted by.
const UNIT_BYTES: u64 = 64 << 10;
const UNITS: u32 = (MOST_BYTES / UNIT_BYTES) as u32;
/// What a provider's bodies may take.
const UNITS_OF_PROVIDER: u32 = UNITS / 2;
/// How often a picture's file may be there at once: as it was stored, as it is sent, in base64, in the body, and on its way.
const COPIES: u64 = 5;
/// Bytes of a decoded pixel.
const PIXEL_BYTES: u64 = 3;

/// The bound, shared by all that is sent.
#[derive(Debug)]
pub(super) struct BodyBudget {
    all: Arc<Semaphore>,
    of_providers: Mutex<HashMap<ProviderId, Arc<Semaphore>>>,
    /// Whose bodies are larger than a provider's part: one at a time.
    large: Arc<Semaphore>,
}

/// A body's part of it. Dropped, it is another's.
#[derive(Debug)]
pub(super) struct BodyShare {
    _permits: Vec<OwnedSemaphorePermit>,
}

impl BodyBudget {
    pub(super) fn new() -> Self {
        let all = Arc::new(Semaphore::new(UNITS as usize));
        Self { all, of_providers: Mutex::default(), large: Arc::new(Semaphore::new(1)) }
    }

    fn of_provider(&self, provider: &ProviderId) -> Arc<Semaphore> {
        let mut of_providers = self.of_providers.lock();
        let of_provider = of_providers.entry(provider.clone());
        of_provider.or_insert_with(|| Arc::new(Semaphore::new(UNITS_OF_PROVIDER as usize))).clone()
    }

    /// Waits until so many bytes are free for a provider, in the order in which they are asked for. A body that is larger than a provider's
    /// part takes all of that, and no other such body is there meanwhile.
    pub(super) fn take(&self, provider: &ProviderId, bytes: u64) -> impl Future<Output = BodyShare> + use<> {
        let units = u32::try_from(bytes.div_ceil(UNIT_BYTES)).unwrap_or(u32::MAX);
        let part = units.min(UNITS_OF_PROVIDER);
        let mut parts = Vec::new();
        if units > 0 {
            // In this order whoever waits for its provider's part, or for another large one, is in the way of that provider alone.
            parts.push((self.of_provider(provider), part));
            parts.extend((units > part).then(|| (self.large.clone(), 1)));
            parts.push((self.all.clone(), part));
        }
        async move {
            let mut permits = Vec::new();
            for (semaphore, count) in parts {
                // They are never closed.
                permits.extend(semaphore.acquire_many_owned(count).await.ok());
            }
            BodyShare { _permits: permits }
        }
    }
}

/// What a body with these pictures, whose files have so many bytes, takes while it is written and sent.
pub(super) fn bytes_of(pictures: &[RemotePicture], files: &[u64]) -> u64 {
    let pixels = pictures.iter().map(|picture| u64::from(picture.width) * u64::from(picture.height)).max().unwrap_or(0);
    let files = files.iter().fold(0_u64, |sum, bytes| sum.saturating_add(*bytes));
    // One after the other is decoded.
    files.saturating_mul(COPIES).saturating_add(pixels.saturating_mul(PIXEL_BYTES))
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;
    use crate::domain::PictureRole;

    const PART: u64 = MOST_BYTES / 2;

    fn provider(name: &str) -> ProviderId {
        name.parse().unwrap()
    }

    #[tokio::test]
    async fn bodies_wait_for_each_other_and_none_for_ever() {
        let (budget, one) = (BodyBudget::new(), provider("one"));
        let _prompt = budget.take(&one, 0).await;
        assert_eq!(budget.all.available_permits(), UNITS as usize, "a prompt takes nothing");
        let most = budget.take(&one, PART - UNIT_BYTES).await;
        let small = budget.take(&one, 1).await;
        assert!(budget.take(&one, 0).now_or_never().is_some());
        let mut next = Box::pin(budget.take(&one, 1));
        assert!((&mut next).now_or_never().is_none());
        drop(small);
        let next = next.await;
        drop((most, next));
        // Larger than all that there is.
        let huge = budget.take(&one, u64::MAX).await;
        assert!(budget.take(&one, 1).now_or_never().is_none());
        drop(huge);
        assert_eq!(budget.all.available_permits(), UNITS as usize);
    }

    #[tokio::test]
    async fn a_provider_that_hangs_leaves_the_others_the_rest() {
        let (budget, [hung, one, other]) = (BodyBudget::new(), ["hung", "one", "other"].map(provider));
        let large = budget.take(&hung, u64::MAX).await;
        let mut second = Box::pin(budget.take(&hung, u64::MAX));
        assert!((&mut second).now_or_never().is_none());
        let mut large_elsewhere = Box::pin(budget.take(&one, u64::MAX));
        assert!((&mut large_elsewhere).now_or_never().is_none(), "one of them at a time");
        assert!(budget.take(&one, 1).now_or_never().is_none(), "it comes after that provider's own");
        let part = budget.take(&other, PART).now_or_never().expect("the other half is there");
        drop(large);
        // Whoever asked first goes first, and both fit once the part is back.
        assert!((&mut large_elsewhere).now_or_never().is_some());
        drop((part, second));
        assert_eq!(budget.all.available_permits(), UNITS as usize);
    }

    #[test]
    fn a_body_takes_its_files_several_times_and_its_largest_picture() {
        let picture = |width, height| RemotePicture { role: PictureRole::Reference, file: None, width, height };
        assert_eq!(bytes_of(&[], &[]), 0);
        assert_eq!(bytes_of(&[picture(10, 10), picture(20, 10)], &[7, 3]), 5 * 10 + 3 * 200);
        assert_eq!(bytes_of(&[picture(u32::MAX, u32::MAX)], &[u64::MAX]), u64::MAX);
    }
}
