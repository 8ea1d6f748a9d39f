//! Mixing frames, bit for bit the same everywhere.

use super::error::MediaError;
use super::frame::Frame;

/// `from · (1 − position / steps) + to · position / steps`, rounded to the nearest. Fails with [`MediaError::FrameSize`] when the sizes
/// differ. `position` is at most `steps`.
pub fn blend(from: &Frame, to: &Frame, position: u32, steps: u32) -> Result<Frame, MediaError> {
    if (from.width(), from.height()) != (to.width(), to.height()) {
        return Err(MediaError::FrameSize {
            width: to.width(),
            height: to.height(),
            film_width: from.width(),
            film_height: from.height(),
        });
    }
    let steps = u64::from(steps.max(1));
    let position = u64::from(position).min(steps);
    let mixed =
        |(from, to): (&u8, &u8)| ((u64::from(*from) * (steps - position) + u64::from(*to) * position + steps / 2) / steps) as u8;
    Frame::new(from.width(), from.height(), from.rgb().iter().zip(to.rgb()).map(mixed).collect())
}

/// `frame · level / steps`, rounded to the nearest: 0 is black. `level` is at most `steps`.
pub fn dim(frame: &Frame, level: u32, steps: u32) -> Result<Frame, MediaError> {
    let steps = u64::from(steps.max(1));
    let level = u64::from(level).min(steps);
    let table: Vec<u8> = (0..=255_u64).map(|value| ((value * level + steps / 2) / steps) as u8).collect();
    Frame::new(frame.width(), frame.height(), frame.rgb().iter().map(|value| table[usize::from(*value)]).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grey(value: u8) -> Frame {
        Frame::filled(2, 1, [value; 3]).unwrap()
    }

    #[test]
    fn blending_is_linear_and_rounds() {
        for (from, to, position, steps, expected) in [
            (0, 255, 0, 4, 0),
            (0, 255, 1, 4, 64),
            (0, 255, 2, 4, 128),
            (0, 255, 3, 4, 191),
            (0, 255, 4, 4, 255),
            (255, 0, 1, 3, 170),
            (10, 11, 1, 2, 11),
            (200, 200, 1, 7, 200),
            (0, 255, 9, 4, 255),
        ] {
            assert_eq!(blend(&grey(from), &grey(to), position, steps).unwrap(), grey(expected), "{from} {to} {position}/{steps}");
        }
        assert!(blend(&grey(0), &Frame::filled(1, 2, [0; 3]).unwrap(), 1, 2).is_err());
    }

    #[test]
    fn dimming_ends_in_black() {
        for (value, level, expected) in [(255, 0, 0), (255, 1, 85), (255, 2, 170), (255, 3, 255), (100, 1, 33), (100, 9, 100)] {
            assert_eq!(dim(&grey(value), level, 3).unwrap(), grey(expected));
        }
    }
}
