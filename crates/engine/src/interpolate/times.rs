//! Which frames a change of the rate needs.

/// For each of `target_frames`, spread evenly from the first of `source_frames` to the last: the source frame at or before it, and the
/// time from there towards the next one, 0 ≤ time < 1. At time 0 it is that very frame, and nothing is to be made.
///
/// The first target is the first source frame and the last one the last, exactly; a single target is the first.
pub fn resample_times(source_frames: usize, target_frames: usize) -> Vec<(usize, f32)> {
    let Some(last_source) = source_frames.checked_sub(1) else { return Vec::new() };
    let steps = target_frames.saturating_sub(1).max(1) as u128;
    let place = |target: usize| {
        // Exact: a product of two sizes fits into twice as many bits.
        let place = target as u128 * last_source as u128;
        let time = (place % steps) as f64 / steps as f64;
        // A time that rounds to 1 would be the next frame's.
        ((place / steps) as usize, (time as f32).min(1.0 - f32::EPSILON / 2.0))
    };
    (0..target_frames).map(place).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn few_frames() {
        assert_eq!(resample_times(0, 5), []);
        assert_eq!(resample_times(5, 0), []);
        assert_eq!(resample_times(5, 1), [(0, 0.0)]);
        assert_eq!(resample_times(1, 3), [(0, 0.0); 3]);
        assert_eq!(resample_times(2, 5), [(0, 0.0), (0, 0.25), (0, 0.5), (0, 0.75), (1, 0.0)]);
        assert_eq!(resample_times(5, 3), [(0, 0.0), (2, 0.0), (4, 0.0)]);
        let times = resample_times(3, 6);
        assert_eq!(times[2], (0, 0.8));
        assert_eq!(times[3], (1, 0.2));
    }

    proptest! {
        #[test]
        fn ends_are_exact_and_time_goes_on(source in 1_usize..400, target in 2_usize..2000) {
            let times = resample_times(source, target);
            prop_assert_eq!(times.len(), target);
            prop_assert_eq!(times[0], (0, 0.0));
            prop_assert_eq!(times[target - 1], (source - 1, 0.0));
            for (index, (frame, time)) in times.iter().enumerate() {
                prop_assert!((0.0..1.0).contains(time));
                // There is a next frame wherever one is needed.
                prop_assert!(*time == 0.0 || frame + 1 < source);
                let exact = index as f64 * (source - 1) as f64 / (target - 1) as f64;
                prop_assert!((*frame as f64 + f64::from(*time) - exact).abs() < 1e-4);
            }
            for pair in times.windows(2) {
                prop_assert!(pair[0] <= pair[1]);
                prop_assert!(source < target || pair[0] < pair[1]);
            }
        }

        #[test]
        fn equal_rates_make_nothing(frames in 1_usize..1000) {
            prop_assert!(resample_times(frames, frames).into_iter().eq((0..frames).map(|frame| (frame, 0.0))));
        }

        #[test]
        fn whole_multiples_keep_every_frame(source in 2_usize..200, factor in 1_usize..8) {
            let times = resample_times(source, (source - 1) * factor + 1);
            for frame in 0..source {
                prop_assert_eq!(times[frame * factor], (frame, 0.0));
            }
        }
    }
}
