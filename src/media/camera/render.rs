//! What a camera sees of a frame.

use crate::domain::camera::CameraPose;
use crate::media::video::resample::{CUBIC, resample, taps};
use crate::media::video::{Frame, MediaError};

/// Samples that a point is made of, across and down.
const TAPS: usize = 4;
/// Steps between two pixels for which weights are kept.
const STEPS: usize = 256;
/// Bits behind the point of a weight. Sixteen products of two weights of 1 and a byte stay within 32 bits.
const WEIGHT_BITS: u32 = 11;

/// The frame as the camera sees it: bicubic samples (Keys 1981, a = −1/2), which at a zoom of 1 or more need no smoothing; a pose of a path
/// never looks beyond the frame's border. A pose of [`CameraPose::WHOLE`] gives the frame back, bit for
/// bit. Fails with [`MediaError::Setting`] for a zoom that is no positive number.
pub fn render(frame: &Frame, pose: &CameraPose) -> Result<Frame, MediaError> {
    if *pose == CameraPose::WHOLE {
        return Ok(frame.clone());
    }
    if !(pose.zoom.is_finite() && pose.zoom > 0.0) {
        return Err(MediaError::setting("camera", format!("a zoom of {}", pose.zoom)));
    }
    if pose.roll == 0.0 {
        return upright(frame, pose);
    }
    turned(frame, pose)
}

/// Columns and rows apart: several times as fast.
fn upright(frame: &Frame, pose: &CameraPose) -> Result<Frame, MediaError> {
    let seen = |side: u32, middle: f64| {
        let length = f64::from(side);
        let positions = (0..side).map(move |pixel| length * (0.5 + middle) + (f64::from(pixel) + 0.5 - length / 2.0) / pose.zoom);
        taps(positions, 1.0, CUBIC, side as usize)
    };
    resample(frame, &seen(frame.width(), pose.x), &seen(frame.height(), pose.y))
}

fn turned(frame: &Frame, pose: &CameraPose) -> Result<Frame, MediaError> {
    let (width, height) = (f64::from(frame.width()), f64::from(frame.height()));
    let weights = weights();
    let (sine, cosine) = pose.roll.sin_cos();
    let (across, down) = (cosine / pose.zoom, sine / pose.zoom);
    let middle = (width * (0.5 + pose.x), height * (0.5 + pose.y));
    let row_bytes = frame.width() as usize * 3;
    let mut rgb = Vec::with_capacity(frame.rgb().len());
    for y in 0..frame.height() {
        let dy = f64::from(y) + 0.5 - height / 2.0;
        for x in 0..frame.width() {
            let dx = f64::from(x) + 0.5 - width / 2.0;
            // From the middle of the view, turned and made smaller, to the middle of a pixel of the scene.
            let from_x = middle.0 + dx * across - dy * down - 0.5;
            let from_y = middle.1 + dx * down + dy * across - 0.5;
            let (left, weights_x) = place(from_x, &weights);
            let (top, weights_y) = place(from_y, &weights);
            let mut sums = [0_i32; 3];
            for (row, weight_y) in (top..).zip(weights_y) {
                let row = row.clamp(0, i64::from(frame.height()) - 1) as usize * row_bytes;
                let mut row_sums = [0_i32; 3];
                for (column, weight_x) in (left..).zip(weights_x) {
                    let at = row + column.clamp(0, i64::from(frame.width()) - 1) as usize * 3;
                    for (sum, value) in row_sums.iter_mut().zip(&frame.rgb()[at..at + 3]) {
                        *sum += weight_x * i32::from(*value);
                    }
                }
                for (sum, row_sum) in sums.iter_mut().zip(row_sums) {
                    // A row's sum is at most 1.25 · 255 in 11 bits behind the point: two bits fewer keep the product within 32.
                    *sum += weight_y * (row_sum >> 2);
                }
            }
            let shift = 2 * WEIGHT_BITS - 2;
            rgb.extend(sums.map(|sum| ((sum + (1 << (shift - 1))) >> shift).clamp(0, 255) as u8));
        }
    }
    Frame::new(frame.width(), frame.height(), rgb)
}

/// The first of four samples around a place, and their weights.
fn place(position: f64, weights: &[[i32; TAPS]]) -> (i64, [i32; TAPS]) {
    let steps = (position * STEPS as f64).round() as i64;
    let (whole, step) = (steps.div_euclid(STEPS as i64), steps.rem_euclid(STEPS as i64));
    (whole - 1, weights[step as usize])
}

/// Keys' weights for every step between two pixels; each four sum to 1 exactly, so that a plain colour stays as it is.
fn weights() -> Vec<[i32; TAPS]> {
    let one = 1 << WEIGHT_BITS;
    (0..STEPS)
        .map(|step| {
            let part = step as f64 / STEPS as f64;
            let [a, _, c, d] = [1.0 + part, part, 1.0 - part, 2.0 - part]
                .map(|distance| ((CUBIC.weight)(distance) * f64::from(one)).round() as i32);
            [a, one - a - c - d, c, d]
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::FrameRate;
    use crate::domain::camera::{CameraCommand, CameraPath};

    const SIZE: (u32, u32) = (160, 96);
    const FRAMES: u64 = 25;

    /// A scene of soft blobs, so that movement can be measured below a pixel.
    fn scene() -> Frame {
        Frame::from_fn(SIZE.0, SIZE.1, |x, y| {
            let (x, y) = (f64::from(x), f64::from(y));
            let wave = |phase: f64, by_x: f64, by_y: f64| (127.5 + 110.0 * (phase + x * by_x + y * by_y).sin()) as u8;
            [wave(0.0, 0.11, 0.03), wave(1.0, -0.05, 0.13), wave(2.0, 0.07, 0.09)]
        })
        .unwrap()
    }

    fn filmed(script: &str) -> Vec<Frame> {
        let path = CameraPath::new(&script.parse().unwrap(), FRAMES, FrameRate::FILM, SIZE.0, SIZE.1, 7);
        (0..FRAMES).map(|frame| render(&scene(), &path.pose(frame)).unwrap()).collect()
    }

    /// How far a patch of the first frame has gone in the second, in whole pixels, by the least squared difference.
    fn movement(first: &Frame, second: &Frame) -> (i32, i32) {
        let difference = |dx: i32, dy: i32| -> i64 {
            let patch = (32..48).flat_map(|y| (64..96).map(move |x| (x, y)));
            patch
                .map(|(x, y): (u32, u32)| {
                    let (a, b) = (first.pixel(x, y), second.pixel((x as i32 + dx) as u32, (y as i32 + dy) as u32));
                    a.iter().zip(b).map(|(a, b)| i64::from(*a) - i64::from(b)).map(|d| d * d).sum::<i64>()
                })
                .sum()
        };
        let offsets = (-20..=20).flat_map(|dy| (-34..=34).map(move |dx| (dx, dy)));
        offsets.min_by_key(|(dx, dy)| difference(*dx, *dy)).unwrap()
    }

    fn mean_difference(first: &Frame, second: &Frame) -> f64 {
        let sum: u64 = first.rgb().iter().zip(second.rgb()).map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
        sum as f64 / first.rgb().len() as f64
    }

    #[test]
    fn a_camera_that_stands_changes_no_bit() {
        assert!(filmed("Static shot").iter().all(|frame| *frame == scene()));
    }

    #[test]
    fn what_is_seen_moves_against_the_camera() {
        for (script, x, y) in [
            ("Truck left", 1, 0),
            ("Truck right", -1, 0),
            ("Pan left", 1, 0),
            ("Pan right", -1, 0),
            ("Pedestal up", 0, 1),
            ("Pedestal down", 0, -1),
            ("Tilt up", 0, 1),
            ("Tilt down", 0, -1),
        ] {
            let frames = filmed(script);
            let (dx, dy) = movement(&frames[8], &frames[16]);
            assert_eq!((dx.signum(), dy.signum()), (x, y), "{script}: {dx} {dy}");
            assert!(dx.abs().max(dy.abs()) >= 4, "{script}: {dx} {dy}");
        }
    }

    #[test]
    fn zooming_spreads_what_is_seen() {
        for (script, sign) in [("Push in", 1), ("Zoom in", 1), ("Pull out", -1), ("Zoom out", -1)] {
            let frames = filmed(script);
            // The left third goes left when the view narrows, and the right third right.
            let shifted = |frame: &Frame, x: u32| frame.crop(x, 0, 128, 96).unwrap();
            let left = movement(&shifted(&frames[6], 0), &shifted(&frames[18], 0)).0;
            let right = movement(&shifted(&frames[6], 32), &shifted(&frames[18], 32)).0;
            assert!((right - left) * sign > 0, "{script}: {left} {right}");
        }
    }

    #[test]
    fn frames_follow_one_another_without_a_jump() {
        let small = scene().crop(0, 0, 64, 48).unwrap();
        for command in CameraCommand::ALL {
            let script = format!("[{command}][Pan right, Zoom in]").parse().unwrap();
            let path = CameraPath::new(&script, FRAMES, FrameRate::FILM, 64, 48, 7);
            let frames: Vec<Frame> = (0..FRAMES).map(|frame| render(&small, &path.pose(frame)).unwrap()).collect();
            let steps: Vec<f64> = frames.windows(2).map(|pair| mean_difference(&pair[0], &pair[1])).collect();
            assert!(steps.iter().all(|step| *step < 18.0), "{command}: {steps:?}");
        }
        assert!(mean_difference(&filmed("Shake")[12], &filmed("Shake")[13]) > 0.2);
    }

    #[test]
    fn both_ways_see_the_same() {
        let pose = CameraPose { zoom: 1.3, x: 0.05, y: -0.03, roll: 0.0 };
        let (upright, turned) = (upright(&scene(), &pose).unwrap(), turned(&scene(), &pose).unwrap());
        let farthest = upright.rgb().iter().zip(turned.rgb()).map(|(a, b)| a.abs_diff(*b)).max();
        assert!(farthest <= Some(2), "{farthest:?}");
    }

    #[test]
    fn a_plain_colour_stays_and_borders_are_never_black() {
        let plain = Frame::filled(64, 48, [250, 128, 3]).unwrap();
        for script in ["Pan left, Tilt up, Zoom in", "[Shake][Pull out]"] {
            let path = CameraPath::new(&script.parse().unwrap(), 9, FrameRate::FILM, 64, 48, 1);
            for frame in 0..9 {
                assert_eq!(render(&plain, &path.pose(frame)).unwrap(), plain);
            }
        }
        assert!(render(&plain, &CameraPose { zoom: 0.0, ..CameraPose::WHOLE }).is_err());
    }
}
