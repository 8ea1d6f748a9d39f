//! Which previews become partial pictures: exactly as many as were asked for, spread evenly over the evaluations.

use std::ops::Range;

use bytes::Bytes;
use image::imageops::{self, FilterType};

use crate::api::error::ApiError;
use crate::api::output_format::OutputEncoding;
use crate::domain::Progress;
use crate::media::decode::decode_image;

/// Counts partial pictures. Partial k of p (from 0) is due once (k + 1) / (p + 1) of the evaluations are done; those that never
/// came due, because there were fewer previews than partials, are due at the end.
#[derive(Clone, Debug)]
pub(super) struct PartialSchedule {
    wanted: u32,
    sent: u32,
}

impl PartialSchedule {
    /// A schedule of `wanted` partial pictures.
    pub(super) const fn new(wanted: u32) -> Self {
        Self { wanted, sent: 0 }
    }

    /// Indices to send with the preview of `progress`.
    pub(super) fn due(&mut self, progress: Progress) -> Range<u32> {
        let (step, steps) = (u64::from(progress.step), u64::from(progress.steps.max(1)));
        let parts = u64::from(self.wanted) + 1;
        let reached = (step * parts / steps).min(u64::from(self.wanted)) as u32;
        self.advance_to(reached)
    }

    /// Indices to send when there will be no more previews.
    pub(super) fn rest(&mut self) -> Range<u32> {
        self.advance_to(self.wanted)
    }

    fn advance_to(&mut self, reached: u32) -> Range<u32> {
        let begin = self.sent;
        self.sent = begin.max(reached);
        begin..self.sent
    }
}

/// A preview at the size of the picture that it precedes, or at its own where that is not known, in that picture's format; and the size.
pub(super) async fn enlarged_preview(
    png: Bytes,
    size: Option<(u32, u32)>,
    encoding: OutputEncoding,
) -> Result<(Bytes, (u32, u32)), ApiError> {
    tokio::task::spawn_blocking(move || {
        let preview = decode_image(&png).map_err(ApiError::internal)?;
        let (width, height) = size.unwrap_or((preview.width, preview.height));
        let pixels = image::RgbImage::from_raw(preview.width, preview.height, preview.rgb)
            .ok_or_else(|| ApiError::internal("a preview's pixels do not fit its size"))?;
        let enlarged = imageops::resize(&pixels, width, height, FilterType::Triangle);
        Ok((encoding.encode_rgb(width, height, enlarged.as_raw())?, (width, height)))
    })
    .await
    .map_err(ApiError::internal)?
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::one(1, 20, vec![10])]
    #[case::two(2, 20, vec![7, 14])]
    #[case::three(3, 20, vec![5, 10, 15])]
    #[case::as_many_as_evaluations(3, 3, vec![1, 2, 3])]
    #[case::none(0, 20, vec![])]
    fn partials_are_spread_evenly(#[case] wanted: u32, #[case] steps: u32, #[case] expected: Vec<u32>) {
        let mut schedule = PartialSchedule::new(wanted);
        let seen: Vec<u32> = (1..=steps).flat_map(|step| schedule.due(Progress { step, steps }).map(move |_| step)).collect();
        assert_eq!(seen, expected);
        assert!(schedule.rest().is_empty());
    }

    proptest! {
        #[test]
        fn every_request_gets_exactly_the_partials_it_asked_for(
            steps in 1_u32..200,
            wanted in 0_u32..=3,
            // Previews may be dropped, repeated, or come late.
            seen in proptest::collection::vec(0_u32..=200, 0..40),
        ) {
            let mut schedule = PartialSchedule::new(wanted);
            let mut indices = Vec::new();
            for step in seen {
                indices.extend(schedule.due(Progress { step: step.min(steps), steps }));
            }
            indices.extend(schedule.rest());
            prop_assert_eq!(indices, (0..wanted).collect::<Vec<_>>());
            prop_assert!(schedule.rest().is_empty());
        }

        #[test]
        fn nothing_overflows(step in any::<u32>(), steps in any::<u32>()) {
            let due = PartialSchedule::new(3).due(Progress { step, steps });
            prop_assert!(due.end <= 3);
        }
    }
}
