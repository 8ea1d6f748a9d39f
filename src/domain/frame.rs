//! How large a result is, in the words that providers use: a size, a tier, an aspect ratio.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Largest side that is read, pixels.
const MOST_SIDE: u32 = 16_384;

/// A class of sizes, named after the short side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Tier {
    /// About 480 lines.
    P480,
    /// About 512 lines.
    P512,
    /// About 720 lines.
    P720,
    /// About 768 lines.
    P768,
    /// About 1080 lines.
    P1080,
    /// MiniMax's `2K`.
    K2,
    /// 2160 lines.
    K4,
}

impl Tier {
    /// All of them.
    pub const ALL: [Self; 7] = [Self::P480, Self::P512, Self::P720, Self::P768, Self::P1080, Self::K2, Self::K4];

    /// As providers write it: `720P`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::P480 => "480P",
            Self::P512 => "512P",
            Self::P720 => "720P",
            Self::P768 => "768P",
            Self::P1080 => "1080P",
            Self::K2 => "2K",
            Self::K4 => "4K",
        }
    }

    /// The size that most models make of it, lying: what is counted of a tier before its result is there.
    pub const fn usual_size(self) -> PixelSize {
        match self {
            Self::P480 => PixelSize::new(832, 480),
            Self::P512 => PixelSize::new(910, 512),
            Self::P720 => PixelSize::new(1280, 720),
            Self::P768 => PixelSize::new(1366, 768),
            Self::P1080 => PixelSize::new(1920, 1080),
            Self::K2 => PixelSize::new(2560, 1440),
            Self::K4 => PixelSize::new(3840, 2160),
        }
    }

    /// The same in a shape of its own: the short side is the tier's.
    pub fn usual_size_of(self, ratio: Ratio) -> PixelSize {
        let short = self.usual_size().short_side();
        let (least, most) = (ratio.width.min(ratio.height).max(1), ratio.width.max(ratio.height).max(1));
        let long = u64::from(short) * u64::from(most) / u64::from(least);
        let long = u32::try_from(long).unwrap_or(u32::MAX);
        if ratio.width < ratio.height { PixelSize::new(short, long) } else { PixelSize::new(long, short) }
    }
}

impl fmt::Display for Tier {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// An aspect ratio as it is written, so `4:3` and not `8:6`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Ratio {
    /// Before the colon.
    pub width: u32,
    /// Behind it.
    pub height: u32,
}

impl Ratio {
    /// `width:height`, as written.
    pub const fn new(width: u32, height: u32) -> Self {
        Self { width, height }
    }
}

impl fmt::Display for Ratio {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.width, self.height)
    }
}

/// A width and a height, pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PixelSize {
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
}

impl PixelSize {
    /// `width` × `height` pixels.
    pub const fn new(width: u32, height: u32) -> Self {
        Self { width, height }
    }

    /// Pixels in all.
    pub const fn pixels(self) -> u64 {
        self.width as u64 * self.height as u64
    }

    /// Whether it has exactly this shape.
    pub const fn has_shape(self, ratio: Ratio) -> bool {
        self.width as u64 * ratio.height as u64 == self.height as u64 * ratio.width as u64
    }

    /// The shorter side, pixels.
    pub const fn short_side(self) -> u32 {
        if self.width < self.height { self.width } else { self.height }
    }

    /// The longer side, pixels.
    pub const fn long_side(self) -> u32 {
        if self.width < self.height { self.height } else { self.width }
    }
}

impl fmt::Display for PixelSize {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}x{}", self.width, self.height)
    }
}

/// What a request says of the size. In JSON as it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Frame {
    /// Exactly these pixels.
    Size(PixelSize),
    /// A tier, in whatever shape the model has by default.
    Tier(Tier),
    /// A shape, in whatever tier the model has by default.
    Ratio(Ratio),
    /// Both.
    TierAndRatio(Tier, Ratio),
}

impl fmt::Display for Frame {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Size(size) => write!(formatter, "{size}"),
            Self::Tier(tier) => write!(formatter, "{tier}"),
            Self::Ratio(ratio) => write!(formatter, "{ratio}"),
            Self::TierAndRatio(tier, ratio) => write!(formatter, "{tier} {ratio}"),
        }
    }
}

/// What is no size, tier or ratio.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("size: '{0}' is none; write 1280x720, 720P, 16:9, or 720P 16:9")]
pub struct FrameError(String);

impl FromStr for Frame {
    type Err = FrameError;

    /// Reads `1280x720` (also with `*` or `×`), `720P`, `16:9`, `720P 16:9`, without regard to case.
    fn from_str(text: &str) -> Result<Self, FrameError> {
        let refused = || FrameError(text.chars().take(40).collect());
        let mut words = text.split_whitespace();
        let (first, second) = (words.next().ok_or_else(refused)?, words.next());
        if words.next().is_some() {
            return Err(refused());
        }
        let first = word(first).ok_or_else(refused)?;
        match (first, second.map(word)) {
            (frame, None) => Ok(frame),
            (Self::Tier(tier), Some(Some(Self::Ratio(ratio)))) | (Self::Ratio(ratio), Some(Some(Self::Tier(tier)))) => {
                Ok(Self::TierAndRatio(tier, ratio))
            }
            _ => Err(refused()),
        }
    }
}

impl TryFrom<String> for Frame {
    type Error = FrameError;

    fn try_from(text: String) -> Result<Self, FrameError> {
        text.parse()
    }
}

impl From<Frame> for String {
    fn from(frame: Frame) -> Self {
        frame.to_string()
    }
}

fn word(text: &str) -> Option<Frame> {
    if let Some(tier) = Tier::ALL.into_iter().find(|tier| tier.name().eq_ignore_ascii_case(text)) {
        return Some(Frame::Tier(tier));
    }
    let pair = |separators: [char; 4]| {
        let (width, height) = text.split_once(separators)?;
        Some((positive(width)?, positive(height)?))
    };
    if let Some((width, height)) = pair([':'; 4]) {
        return Some(Frame::Ratio(Ratio { width, height }));
    }
    pair(['x', 'X', '*', '×']).map(|(width, height)| Frame::Size(PixelSize { width, height }))
}

fn positive(text: &str) -> Option<u32> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit());
    let number = text.parse().ok().filter(|number| (1..=MOST_SIDE).contains(number))?;
    plain.then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_write_a_size_is_read() {
        let hd = Frame::Size(PixelSize::new(1280, 720));
        for (text, frame) in [
            ("1280x720", hd),
            ("1280*720", hd),
            ("1280×720", hd),
            (" 1280X720 ", hd),
            ("720P", Frame::Tier(Tier::P720)),
            ("720p", Frame::Tier(Tier::P720)),
            ("2k", Frame::Tier(Tier::K2)),
            ("16:9", Frame::Ratio(Ratio::new(16, 9))),
            ("720P 16:9", Frame::TierAndRatio(Tier::P720, Ratio::new(16, 9))),
            ("1:1 480p", Frame::TierAndRatio(Tier::P480, Ratio::new(1, 1))),
        ] {
            assert_eq!(text.parse(), Ok(frame), "{text}");
            assert_eq!(frame.to_string().parse(), Ok(frame), "{text}");
        }
        for text in
            ["", "720", "0x5", "-1x5", "+1x5", "1x", "x1", "1x2x3", "99999x1", "16:9 4:3", "720P 720P", "720P 16:9 x", "HD"]
        {
            assert_eq!(text.parse::<Frame>(), Err(FrameError(text.to_owned())), "{text}");
        }
    }

    #[test]
    fn tiers_have_usual_sizes_in_every_shape() {
        for (text, size) in [
            ("720P 16:9", PixelSize::new(1280, 720)),
            ("1080P 9:16", PixelSize::new(1080, 1920)),
            ("768P 1:1", PixelSize::new(768, 768)),
            ("2K 16384:1", PixelSize::new(1440 * 16_384, 1440)),
        ] {
            let Ok(Frame::TierAndRatio(tier, ratio)) = text.parse() else { panic!("{text}") };
            assert_eq!(tier.usual_size_of(ratio), size, "{text}");
        }
        let of = |tier: Tier| (tier.usual_size().short_side(), tier.usual_size().long_side());
        assert!(Tier::ALL.windows(2).all(|pair| of(pair[0]) < of(pair[1])), "each is larger than the one before it");
    }
}
