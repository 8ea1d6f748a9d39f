//! Frames made of the two frames that they lie between.

use super::error::MediaError;
use super::frame::Frame;
use super::interpolate::{RateConversion, Source};

/// A frame that is to be made, and its neighbours in the source.
#[derive(Clone, Copy, Debug)]
pub struct Between<'a> {
    /// Number of the source frame before it, from 0.
    pub number: u64,
    /// That frame.
    pub first: &'a Frame,
    /// The next one.
    pub second: &'a Frame,
    /// How far it lies from the first to the second, in parts of the way: at least 1, fewer than `of`.
    pub part: u64,
    /// Parts of the whole way.
    pub of: u64,
}

impl Between<'_> {
    /// How far it lies from the first to the second, above 0 and below 1.
    pub fn time(&self) -> f32 {
        let time = (self.part as f64 / self.of as f64) as f32;
        time.clamp(f32::MIN_POSITIVE, 1.0 - f32::EPSILON / 2.0)
    }
}

/// Gives exactly the frames that were asked for, one by one, to `emit`: what falls on a source frame is that frame, bit for bit, and what
/// lies between two is what `make` makes of them. Gives how many were made. Memory: two frames beside what `make` holds. The interrupt is
/// looked at before every frame. Fails with [`MediaError::Setting`] for no frames, with [`MediaError::TooFewFrames`] when the source ends
/// early, and with whatever the source, `make` and `emit` fail with.
pub fn interpolate_by<E: From<MediaError>>(
    source: &mut dyn Iterator<Item = Result<Frame, E>>,
    conversion: &RateConversion,
    make: &mut dyn FnMut(&Between<'_>) -> Result<Frame, E>,
    emit: &mut dyn FnMut(Frame) -> Result<(), E>,
    interrupted: &dyn Fn() -> bool,
) -> Result<u64, E> {
    let mut source = Source::of(source, conversion, interrupted)?;
    let first = source.next()?;
    each(first, &mut source, conversion, make, emit)
}

/// The same, with the first frame taken already.
pub(super) fn each<E: From<MediaError>>(
    first: Frame,
    source: &mut Source<'_, E>,
    conversion: &RateConversion,
    make: &mut dyn FnMut(&Between<'_>) -> Result<Frame, E>,
    emit: &mut dyn FnMut(Frame) -> Result<(), E>,
) -> Result<u64, E> {
    let of = conversion.steps().denominator;
    let mut window = (first, None::<Frame>);
    let (mut at, mut made) = (0, 0);
    for result in 0..conversion.frames {
        source.check()?;
        let (number, part) = conversion.position(result);
        while at < number {
            let next = match window.1.take() {
                Some(next) => next,
                None => source.next()?,
            };
            window.0 = next;
            at += 1;
        }
        if part == 0 {
            emit(window.0.clone())?;
            continue;
        }
        let second = match &window.1 {
            Some(next) => next,
            None => window.1.insert(source.next()?),
        };
        emit(make(&Between { number, first: &window.0, second, part, of })?)?;
        made += 1;
    }
    Ok(made)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::video::SourceTiming;

    /// Frame i is of level 10 i.
    fn levels(count: u64) -> impl Iterator<Item = Result<Frame, MediaError>> {
        (0..count).map(|number| Frame::filled(4, 4, [number as u8 * 10; 3]))
    }

    fn conversion(source_frames: u64, frames: u64, from: &str, to: &str) -> RateConversion {
        let timing = SourceTiming::At { from: from.parse().unwrap(), to: to.parse().unwrap() };
        RateConversion { source_frames, frames, timing, motion: false }
    }

    #[test]
    fn what_lies_between_is_made_of_its_neighbours_and_the_rest_stays() {
        for (source_frames, frames, from, to) in [
            (3, 5, "7", "24"),
            (14, 48, "7", "24"),
            (5, 12, "12.5", "29.97"),
            (6, 3, "24", "10"),
            (2, 9, "7", "24"),
            (1, 1, "7", "24"),
        ] {
            let conversion = conversion(source_frames, frames, from, to);
            let (mut asked, mut given) = (Vec::new(), Vec::new());
            let mut make = |between: &Between<'_>| {
                assert_eq!(between.first.pixel(0, 0)[0], between.number as u8 * 10);
                assert_eq!(between.second.pixel(0, 0)[0], between.number as u8 * 10 + 10);
                let time = between.time();
                assert!(time > 0.0 && time < 1.0);
                asked.push(between.number as f64 + f64::from(time));
                Frame::filled(4, 4, [255; 3])
            };
            let mut emit = |frame: Frame| {
                given.push(frame.pixel(0, 0)[0]);
                Ok(())
            };
            let made =
                interpolate_by::<MediaError>(&mut levels(source_frames), &conversion, &mut make, &mut emit, &|| false).unwrap();
            assert_eq!((given.len() as u64, asked.len() as u64), (frames, made), "{conversion:?}");
            let mut asked = asked.into_iter();
            for (number, level) in given.into_iter().enumerate() {
                let (whole, part) = conversion.position(number as u64);
                if part == 0 {
                    assert_eq!(u64::from(level), whole * 10, "{number} of {conversion:?}");
                    continue;
                }
                let [from, to] = [from, to].map(|text| text.parse::<crate::domain::FrameRate>().unwrap().frames_per_second());
                let expected = number as f64 * from / to;
                assert!((asked.next().unwrap() - expected).abs() < 1e-4, "{number} of {conversion:?}");
            }
        }
    }

    #[test]
    fn it_stops_and_says_what_is_missing() {
        let conversion = conversion(3, 8, "7", "24");
        let run = |frames: u64, interrupted: &dyn Fn() -> bool| {
            let mut make = |between: &Between<'_>| Ok(between.first.clone());
            interpolate_by::<MediaError>(&mut levels(frames), &conversion, &mut make, &mut |_| Ok(()), interrupted)
        };
        assert_eq!(run(3, &|| false).unwrap(), 6, "the first frame, and the last one for want of another");
        assert!(matches!(run(3, &|| true), Err(MediaError::Interrupted)));
        assert!(matches!(run(2, &|| false), Err(MediaError::TooFewFrames { frames: 2, needed: 3, .. })));
    }
}
