//! Frames between frames.

use std::collections::VecDeque;

use ffmpeg_next::Rational;
use ffmpeg_next::format::Pixel;
use ffmpeg_next::frame::Video;

use super::blend::blend;
use super::error::MediaError;
use super::filter::{FilterChain, PictureFormat};
use super::frame::Frame;
use super::neighbours::{self, Between};
use crate::domain::FrameRate;

/// When the source's frames are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceTiming {
    /// The first and the last frame of source and result are the same moments, and all else lies evenly between: nothing stands still at the
    /// end, whatever the numbers are.
    Stretched,
    /// Source frame i is shown at i / `from`, result frame j at j / `to`. A source that is too long is cut; when it is too short, its last
    /// frame stays.
    At {
        /// Frames a second of the source.
        from: FrameRate,
        /// Frames a second of the result.
        to: FrameRate,
    },
}

/// How the frames between were made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interpolation {
    /// None were needed: every frame is the source's own.
    Copied,
    /// Along the motion that FFmpeg's minterpolate found.
    MotionCompensated,
    /// By blending neighbours: there were fewer than three frames, or they were too small or too many for the filter.
    Blended,
}

impl Interpolation {
    /// The name that results report.
    pub fn name(self) -> &'static str {
        match self {
            Self::Copied => "none",
            Self::MotionCompensated => "minterpolate",
            Self::Blended => "blend",
        }
    }
}

/// What goes in, and what shall come out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateConversion {
    /// Frames of the source, at least one.
    pub source_frames: u64,
    /// Frames of the result, at least one.
    pub frames: u64,
    /// When the source's frames are shown.
    pub timing: SourceTiming,
    /// Whether motion may be followed; else neighbours are blended.
    pub motion: bool,
}

/// Smallest side of a frame that motion is searched in: two blocks of the search.
const MIN_MOTION_SIDE: u32 = 32;

/// Units of the filter's output that its clock counts; any number does, since only ratios matter.
const NOMINAL_RATE: i32 = 25;

/// Motion along both directions, with blocks that overlap and split at edges.
const MOTION: &str = "mi_mode=mci:mc_mode=aobmc:me_mode=bidir:vsbmc=1";

/// Where result frames lie among the source's: result frame j is at source position j · step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Steps {
    /// Source frames.
    numerator: u64,
    /// Result frames.
    pub(super) denominator: u64,
}

impl RateConversion {
    pub(super) fn steps(&self) -> Steps {
        let (numerator, denominator) = match self.timing {
            SourceTiming::Stretched => (self.source_frames.saturating_sub(1), self.frames.saturating_sub(1).max(1)),
            SourceTiming::At { from, to } => (
                u64::from(from.numerator()) * u64::from(to.denominator()),
                u64::from(from.denominator()) * u64::from(to.numerator()),
            ),
        };
        let divisor = greatest_common_divisor(numerator, denominator);
        Steps { numerator: numerator / divisor, denominator: denominator / divisor }
    }

    /// The last source frame before (or at) a result frame, and how far the result lies beyond it, in `denominator`s of a frame.
    pub(super) fn position(&self, result: u64) -> (u64, u64) {
        let Steps { numerator, denominator } = self.steps();
        let product = u128::from(result) * u128::from(numerator);
        let whole = (product / u128::from(denominator)) as u64;
        let last = self.source_frames - 1;
        if whole >= last { (last, 0) } else { (whole, (product % u128::from(denominator)) as u64) }
    }

    fn is_copy(&self) -> bool {
        (0..self.frames).all(|result| self.position(result).1 == 0)
    }
}

fn greatest_common_divisor(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a.max(1)
}

/// Gives exactly the frames that were asked for, one by one, to `emit`. Result frames that fall on a source frame are that frame, bit for
/// bit. Memory: a dozen frames. The interrupt is looked at before every frame. Fails with [`MediaError::Setting`] for no frames, with
/// [`MediaError::TooFewFrames`] when the source ends early, and with whatever the source and `emit` fail with.
pub fn interpolate<E: From<MediaError>>(
    source: &mut dyn Iterator<Item = Result<Frame, E>>,
    conversion: &RateConversion,
    emit: &mut dyn FnMut(Frame) -> Result<(), E>,
    interrupted: &dyn Fn() -> bool,
) -> Result<Interpolation, E> {
    let mut source = Source::of(source, conversion, interrupted)?;
    let first = source.next()?;
    if conversion.is_copy() {
        neighbours::each(first, &mut source, conversion, &mut blended, emit)?;
        return Ok(Interpolation::Copied);
    }
    let small = first.width().min(first.height()) < MIN_MOTION_SIDE;
    let chain =
        if conversion.motion && conversion.source_frames >= 3 && !small { motion_chain(&first, conversion) } else { None };
    if let Some(chain) = chain {
        compensated(chain, first, &mut source, conversion, emit)?;
        return Ok(Interpolation::MotionCompensated);
    }
    neighbours::each(first, &mut source, conversion, &mut blended, emit)?;
    Ok(Interpolation::Blended)
}

/// Frames that are taken one by one.
pub(super) struct Source<'a, E> {
    frames: &'a mut dyn Iterator<Item = Result<Frame, E>>,
    taken: u64,
    needed: u64,
    interrupted: &'a dyn Fn() -> bool,
}

impl<'a, E: From<MediaError>> Source<'a, E> {
    pub(super) fn of(
        frames: &'a mut dyn Iterator<Item = Result<Frame, E>>,
        conversion: &RateConversion,
        interrupted: &'a dyn Fn() -> bool,
    ) -> Result<Self, MediaError> {
        if conversion.source_frames == 0 || conversion.frames == 0 {
            return Err(MediaError::setting("frames", "there must be at least one, before and after"));
        }
        Ok(Self { frames, taken: 0, needed: conversion.source_frames, interrupted })
    }

    pub(super) fn check(&self) -> Result<(), MediaError> {
        if (self.interrupted)() { Err(MediaError::Interrupted) } else { Ok(()) }
    }

    pub(super) fn next(&mut self) -> Result<Frame, E> {
        self.check()?;
        let short = MediaError::TooFewFrames { file: "the clip".to_owned(), frames: self.taken, needed: self.needed };
        let frame = self.frames.next().ok_or(short)??;
        self.taken += 1;
        Ok(frame)
    }
}

fn blended<E: From<MediaError>>(between: &Between<'_>) -> Result<Frame, E> {
    // Weights beyond 16 bits are no finer than the result.
    let Between { part, of, .. } = *between;
    let (part, steps) = if of > 65_536 { (part * 65_536 / of, 65_536) } else { (part, of) };
    Ok(blend(between.first, between.second, part as u32, steps as u32)?)
}

/// The filter, if the numbers are such that it can count them.
fn motion_chain(first: &Frame, conversion: &RateConversion) -> Option<FilterChain> {
    let steps = conversion.steps();
    // A source frame lasts denominator / numerator result frames; one unit of the clock is 1 / numerator of a result frame.
    let units_a_second = i32::try_from(steps.numerator.checked_mul(NOMINAL_RATE as u64)?).ok()?;
    let format = PictureFormat {
        pixel: Pixel::RGB24,
        width: first.width(),
        height: first.height(),
        time_base: Rational::new(1, units_a_second),
        frame_rate: Rational::new(units_a_second, i32::try_from(steps.denominator).ok()?),
    };
    let flags = "flags=bicubic+accurate_rnd+full_chroma_int+full_chroma_inp";
    let filters = format!(
        "scale={flags}:out_color_matrix=bt709:out_range=pc,format=yuv444p,minterpolate=fps={NOMINAL_RATE}:{MOTION},\
         scale={flags}:in_color_matrix=bt709:in_range=pc,format=rgb24"
    );
    FilterChain::of_pictures(format, &filters, "following motion").ok()
}

/// Ticks of the result's clock before the first source frame. The filter works between the second and the third of four frames that it
/// holds, and begins with what it got first: the first frame is given twice more ahead of itself, one tick apart.
const LEAD: u64 = 2;

fn compensated<E: From<MediaError>>(
    mut chain: FilterChain,
    first: Frame,
    source: &mut Source<'_, E>,
    conversion: &RateConversion,
    emit: &mut dyn FnMut(Frame) -> Result<(), E>,
) -> Result<(), E> {
    let Steps { numerator, denominator } = conversion.steps();
    let time_of = |index: u64| (LEAD * numerator + index * denominator) as i64;
    for tick in 0..LEAD {
        chain.push(first.to_ffmpeg((tick * numerator) as i64)?)?;
    }
    let mut results = Results { conversion, sources: VecDeque::new(), next: 0, emit };
    let mut current = first;
    for index in 0..conversion.source_frames {
        if index > 0 {
            current = source.next()?;
        }
        chain.push(current.to_ffmpeg(time_of(index))?)?;
        results.sources.push_back((index, current.clone()));
        results.take(&mut chain, source)?;
        if results.next == conversion.frames {
            return Ok(());
        }
    }
    // What it holds when frames end it keeps: the last one is given again until it has worked up to it.
    for index in conversion.source_frames..conversion.source_frames + 2 {
        chain.push(current.to_ffmpeg(time_of(index))?)?;
        results.take(&mut chain, source)?;
    }
    while results.next < conversion.frames {
        source.check()?;
        results.give(&current)?;
    }
    Ok(())
}

/// Result frames on their way out.
struct Results<'a, E> {
    conversion: &'a RateConversion,
    /// Source frames that results may still be, with their numbers.
    sources: VecDeque<(u64, Frame)>,
    /// The result frame that comes next.
    next: u64,
    emit: &'a mut dyn FnMut(Frame) -> Result<(), E>,
}

impl<E: From<MediaError>> Results<'_, E> {
    /// Takes what the filter has made; its clock is the result's, [`LEAD`] ticks early.
    fn take(&mut self, chain: &mut FilterChain, source: &Source<'_, E>) -> Result<(), E> {
        while let Some(made) = chain.pull::<Video>()? {
            let is_next = made.pts() == Some((self.next + LEAD) as i64);
            if !is_next || self.next == self.conversion.frames {
                continue;
            }
            source.check()?;
            self.give(&Frame::from_ffmpeg(&made)?)?;
        }
        Ok(())
    }

    /// Gives the next result: the source's own frame where it falls on one, else what was made.
    fn give(&mut self, made: &Frame) -> Result<(), E> {
        let (whole, part) = self.conversion.position(self.next);
        self.sources.retain(|(index, _)| *index >= whole);
        let own = self.sources.front().filter(|(index, _)| part == 0 && *index == whole);
        let frame = own.map_or(made, |(_, frame)| frame).clone();
        self.next += 1;
        (self.emit)(frame)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A grey ground with a white square that moves `speed` pixels to the right in each frame.
    fn moving(count: u64, speed: u32) -> Vec<Frame> {
        let frame = |number: u64| {
            Frame::from_fn(96, 64, |x, y| {
                let left = 8 + number as u32 * speed;
                let inside = (left..left + 24).contains(&x) && (20..44).contains(&y);
                if inside { [255; 3] } else { [(x % 8) as u8 * 4 + 40, (y % 8) as u8 * 4 + 40, 60] }
            })
            .unwrap()
        };
        (0..count).map(frame).collect()
    }

    fn run(frames: &[Frame], conversion: &RateConversion) -> (Vec<Frame>, Interpolation) {
        let mut results = Vec::new();
        let mut source = frames.iter().cloned().map(Ok);
        let mut emit = |frame| {
            results.push(frame);
            Ok(())
        };
        let how = interpolate::<MediaError>(&mut source, conversion, &mut emit, &|| false).unwrap();
        (results, how)
    }

    fn stretched(source_frames: u64, frames: u64) -> RateConversion {
        RateConversion { source_frames, frames, timing: SourceTiming::Stretched, motion: true }
    }

    /// Where the white square's left edge is, in pixels.
    fn left_edge(frame: &Frame) -> f64 {
        let bright = |x: u32| f64::from(frame.pixel(x, 32)[2].saturating_sub(60)) / 195.0;
        let covered: f64 = (0..96).map(bright).sum();
        let middle: f64 = (0..96).map(|x| bright(x) * f64::from(x)).sum::<f64>() / covered;
        middle - covered / 2.0 + 0.5
    }

    #[test]
    fn motion_is_followed_and_the_sources_frames_stay() {
        let frames = moving(9, 6);
        let (results, how) = run(&frames, &stretched(9, 33));
        assert_eq!(how, Interpolation::MotionCompensated);
        assert_eq!(results.len(), 33);
        for (number, result) in results.iter().enumerate() {
            if number % 4 == 0 {
                assert_eq!(*result, frames[number / 4], "{number}");
            }
            let expected = 8.0 + number as f64 * 1.5;
            assert!((left_edge(result) - expected).abs() < 1.6, "{number}: {} for {expected}", left_edge(result));
        }
    }

    #[test]
    fn there_are_always_as_many_as_were_asked_for() {
        let rate = |text: &str| text.parse().unwrap();
        let at = |from, to| SourceTiming::At { from: rate(from), to: rate(to) };
        for (source_frames, frames, timing) in [
            (4, 1, SourceTiming::Stretched),
            (4, 2, SourceTiming::Stretched),
            (4, 3, SourceTiming::Stretched),
            (5, 97, SourceTiming::Stretched),
            (14, 48, at("7", "24")),
            (14, 60, at("7", "24")),
            (14, 10, at("7", "24")),
            (12, 5, at("24", "10")),
            (6, 12, at("23.976", "30")),
            (6, 14, at("12.5", "29.97")),
        ] {
            let conversion = RateConversion { source_frames, frames, timing, motion: true };
            let sources = moving(source_frames, 3);
            let (results, how) = run(&sources, &conversion);
            assert_eq!(results.len() as u64, frames, "{conversion:?}");
            assert_eq!(how == Interpolation::Copied, conversion.is_copy());
            assert_eq!(results[0], sources[0]);
            for (number, result) in results.iter().enumerate() {
                let (whole, part) = conversion.position(number as u64);
                if part == 0 {
                    assert_eq!(*result, sources[whole as usize], "{number} of {conversion:?}");
                }
            }
        }
    }

    #[test]
    fn tiny_clips_are_blended_and_whole_steps_are_copied() {
        let dark_to_light = [0, 100].map(|value| Frame::filled(64, 64, [value; 3]).unwrap());
        let (results, how) = run(&dark_to_light, &stretched(2, 5));
        assert_eq!((how, how.name()), (Interpolation::Blended, "blend"));
        assert_eq!(results.iter().map(|frame| frame.pixel(5, 5)[0]).collect::<Vec<_>>(), [0, 25, 50, 75, 100]);
        let (results, how) = run(&dark_to_light[..1], &stretched(1, 3));
        assert_eq!((results.len(), how), (3, Interpolation::Copied));
        let frames = moving(9, 2);
        let (results, how) = run(&frames, &stretched(9, 9));
        assert_eq!((results, how), (frames.clone(), Interpolation::Copied));
        let (results, how) = run(&frames, &stretched(9, 5));
        assert_eq!((results.len(), how), (5, Interpolation::Copied));
        let blends = RateConversion { motion: false, ..stretched(9, 33) };
        assert_eq!(run(&frames, &blends).1, Interpolation::Blended);
    }

    #[test]
    fn what_ends_early_or_is_interrupted_is_an_error() {
        let frames = moving(3, 2);
        let mut emit = |_| Ok(());
        let short = interpolate(&mut frames.iter().cloned().map(Ok), &stretched(5, 20), &mut emit, &|| false).unwrap_err();
        assert!(matches!(short, MediaError::TooFewFrames { frames: 3, needed: 5, .. }), "{short}");
        let calls = std::cell::Cell::new(0);
        let stop = || {
            calls.set(calls.get() + 1);
            calls.get() > 4
        };
        let stopped = interpolate(&mut frames.into_iter().map(Ok), &stretched(3, 20), &mut emit, &stop).unwrap_err();
        assert!(matches!(stopped, MediaError::Interrupted));
        assert!(interpolate(&mut std::iter::empty(), &stretched(0, 20), &mut emit, &|| false).is_err());
    }
}
