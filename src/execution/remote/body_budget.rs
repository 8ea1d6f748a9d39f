//! What bodies of creates may take of the memory while they are written and sent: pictures are many bytes, and each is there several times.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::domain::RemotePicture;

/// Bytes that all bodies with pictures may take together.
const MOST_BYTES: u64 = 256 << 20;
/// What is counted by.
const UNIT_BYTES: u64 = 64 << 10;
const UNITS: u32 = (MOST_BYTES / UNIT_BYTES) as u32;
/// How often a picture's file may be there at once: as it was stored, as it is sent, in base64, in the body, and on its way.
const COPIES: u64 = 5;
/// Bytes of a decoded pixel.
const PIXEL_BYTES: u64 = 3;

/// The bound, shared by all that is sent.
#[derive(Clone, Debug)]
pub(super) struct BodyBudget(Arc<Semaphore>);

/// A body's part of it. Dropped, it is another's.
#[derive(Debug)]
pub(super) struct BodyShare {
    _permit: Option<OwnedSemaphorePermit>,
}

impl BodyBudget {
    pub(super) fn new() -> Self {
        Self(Arc::new(Semaphore::new(UNITS as usize)))
    }

    /// Waits until so many bytes are free. A body that is larger than all that there is goes alone.
    pub(super) async fn take(&self, bytes: u64) -> BodyShare {
        let units = u32::try_from(bytes.div_ceil(UNIT_BYTES)).unwrap_or(UNITS).min(UNITS);
        if units == 0 {
            return BodyShare { _permit: None };
        }
        // It is never closed.
        BodyShare { _permit: self.0.clone().acquire_many_owned(units).await.ok() }
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

    #[tokio::test]
    async fn bodies_wait_for_each_other_and_none_for_ever() {
        let budget = BodyBudget::new();
        let _prompt = budget.take(0).await;
        assert_eq!(budget.0.available_permits(), UNITS as usize, "a prompt takes nothing");
        let most = budget.take(MOST_BYTES - UNIT_BYTES).await;
        let small = budget.take(1).await;
        assert!(budget.take(0).now_or_never().is_some());
        let mut next = Box::pin(budget.take(1));
        assert!((&mut next).now_or_never().is_none());
        drop(small);
        let next = next.await;
        drop((most, next));
        // Larger than all that there is.
        let huge = budget.take(u64::MAX).await;
        assert!(budget.take(1).now_or_never().is_none());
        drop(huge);
        assert_eq!(budget.0.available_permits(), UNITS as usize);
    }

    #[test]
    fn a_body_takes_its_files_several_times_and_its_largest_picture() {
        let picture = |width, height| RemotePicture { role: PictureRole::Reference, file: None, width, height };
        assert_eq!(bytes_of(&[], &[]), 0);
        assert_eq!(bytes_of(&[picture(10, 10), picture(20, 10)], &[7, 3]), 5 * 10 + 3 * 200);
        assert_eq!(bytes_of(&[picture(u32::MAX, u32::MAX)], &[u64::MAX]), u64::MAX);
    }
}
