//! What models can do, as data. [`super::validate`] is the only reader of the rules; every provider has its tables beside its wire.

use super::frame::{PixelSize, Ratio, Tier};
use super::request::{GenerationKind, PictureFormat, PictureRole};

/// Characters of a prompt where the provider names no bound: ours.
pub const OWN_PROMPT_BOUND: usize = 10_000;

/// A model and what can be asked of it.
#[derive(Clone, Copy, Debug)]
pub struct Model {
    /// Its name at the provider.
    pub name: &'static str,
    /// Other names of the same model, as regions have them.
    pub aliases: &'static [&'static str],
    /// What it makes, each with its rules; one of a kind.
    pub modes: &'static [Mode],
}

impl Model {
    /// The rules for a kind.
    pub fn mode(&self, kind: GenerationKind) -> Option<&'static Mode> {
        self.modes.iter().find(|mode| mode.kind == kind)
    }

    /// Whether `name` means this model: its name, an alias, or one of these with a date behind it (`wan2.7-t2v-2026-06-12`).
    pub fn is_called(&self, name: &str) -> bool {
        let undated = without_date(name);
        std::iter::once(&self.name).chain(self.aliases).any(|known| *known == name || *known == undated)
    }
}

/// A list that the configuration tells, for as long as the process lives, as the tables in the code do: models are told once, at the start,
/// and whoever checked a request holds on to their rules.
pub fn kept<T>(values: Vec<T>) -> &'static [T] {
    if values.is_empty() { &[] } else { values.leak() }
}

/// A text that the configuration tells, kept as [`kept`] keeps lists.
pub fn kept_text(text: String) -> &'static str {
    text.leak()
}

/// A name without the `-yyyy-mm-dd` behind it.
fn without_date(name: &str) -> &str {
    let Some(at) = name.len().checked_sub("-2026-06-12".len()) else { return name };
    let Some((front, date)) = name.split_at_checked(at) else { return name };
    let is_date = date.bytes().enumerate().all(|(index, byte)| match index {
        0 | 5 | 8 => byte == b'-',
        _ => byte.is_ascii_digit(),
    });
    if is_date { front } else { name }
}

/// The rules of one kind of request to one model.
#[derive(Clone, Copy, Debug)]
pub struct Mode {
    /// What is made from what.
    pub kind: GenerationKind,
    /// The prompt.
    pub prompt: PromptRule,
    /// Most characters of a negative prompt; none where there is no such field.
    pub negative_prompt_characters: Option<usize>,
    /// The sizes.
    pub frame: FrameRule,
    /// The lengths.
    pub seconds: SecondsRule,
    /// Frames a second that can be asked for; empty where nothing can.
    pub frames_per_second: &'static [u32],
    /// The largest seed; none where there is no such field.
    pub most_seed: Option<u64>,
    /// Most results of one request. Where it is more than one, their number is always sent, since providers' defaults are billed.
    pub most_results: u32,
    /// The pictures.
    pub pictures: PictureRule,
    /// Sound that the model makes.
    pub audio: Switch,
    /// Sound that is brought by a link.
    pub audio_link: bool,
    /// The provider's mark.
    pub watermark: Switch,
    /// Rewriting of the prompt.
    pub prompt_extension: Switch,
    /// Shorter rewriting.
    pub fast_pretreatment: Switch,
    /// Words for `quality`; empty where there is no such field.
    pub qualities: &'static [&'static str],
    /// Words for `style`.
    pub styles: &'static [&'static str],
    /// Words for `movement_amplitude`.
    pub movement_amplitudes: &'static [&'static str],
    /// Words for `shot_type`.
    pub shot_types: &'static [&'static str],
    /// Whether commands to the camera in the prompt are understood.
    pub camera: bool,
}

impl Mode {
    /// A mode that can be asked for nothing but a prompt; tables say what else there is.
    pub const fn plain(kind: GenerationKind, prompt: PromptRule) -> Self {
        Self {
            kind,
            prompt,
            negative_prompt_characters: None,
            frame: FrameRule::Untold,
            seconds: SecondsRule::Untold,
            frames_per_second: &[],
            most_seed: None,
            most_results: 1,
            pictures: PictureRule::NONE,
            audio: Switch::Never,
            audio_link: false,
            watermark: Switch::Untold,
            prompt_extension: Switch::Never,
            fast_pretreatment: Switch::Never,
            qualities: &[],
            styles: &[],
            movement_amplitudes: &[],
            shot_types: &[],
            camera: false,
        }
    }
}

/// The prompt's rules.
#[derive(Clone, Copy, Debug)]
pub struct PromptRule {
    /// Whether there must be one.
    pub required: bool,
    /// Most characters. Some providers cut silently what is more; here it is refused.
    pub most_characters: usize,
}

/// Something that is on or off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Switch {
    /// It is never on: off can be asked for, on cannot.
    Never,
    /// It is always on: on can be asked for, off cannot.
    Always,
    /// Nothing is known of it, so nothing can be asked for.
    Untold,
    /// Both can be asked for; what is not asked for is the provider's default.
    Free,
    /// Both can be asked for; what is not asked for is sent as this.
    Sent(bool),
}

/// A size with its names.
#[derive(Clone, Copy, Debug)]
pub struct SizeRow {
    /// The pixels.
    pub size: PixelSize,
    /// The tier it belongs to, where it belongs to one.
    pub tier: Option<Tier>,
    /// The shape it stands for: `1088x832` is `4:3`.
    pub ratio: Ratio,
}

impl SizeRow {
    /// A row of a table.
    pub const fn new(tier: Option<Tier>, width: u32, height: u32, ratio: (u32, u32)) -> Self {
        Self { size: PixelSize::new(width, height), tier, ratio: Ratio::new(ratio.0, ratio.1) }
    }
}

/// How a size is told.
#[derive(Clone, Copy, Debug)]
pub enum FrameRule {
    /// It is not: the model, or the picture, decides.
    Untold,
    /// As pixels of a list. Tiers and ratios are looked up in it.
    Sizes {
        /// The list.
        rows: &'static [SizeRow],
        /// What is sent when nothing is asked for; none: nothing is.
        default: Option<PixelSize>,
        /// Sizes beside the list.
        custom: Option<CustomSizes>,
    },
    /// As a tier; the picture decides the shape.
    Tiers {
        /// The tiers.
        tiers: &'static [Tier],
        /// What is sent when nothing is asked for; none: nothing is.
        default: Option<Tier>,
    },
    /// As a tier and a ratio.
    TiersAndRatios {
        /// The tiers.
        tiers: &'static [Tier],
        /// The tier when nothing is asked for; none: nothing is sent.
        default_tier: Option<Tier>,
        /// The ratios.
        ratios: &'static [Ratio],
        /// The ratio when nothing is asked for; none: nothing is sent.
        default_ratio: Option<Ratio>,
        /// Sizes that are known to be what a tier and a ratio give.
        rows: &'static [SizeRow],
    },
}

impl FrameRule {
    /// Whether a tier can be asked for.
    pub fn has_tier(&self, tier: Tier) -> bool {
        match self {
            Self::Untold => false,
            Self::Sizes { rows, .. } => rows.iter().any(|row| row.tier == Some(tier)),
            Self::Tiers { tiers, .. } | Self::TiersAndRatios { tiers, .. } => tiers.contains(&tier),
        }
    }
}

/// Sizes that may be chosen freely.
#[derive(Clone, Copy, Debug)]
pub struct CustomSizes {
    /// Shortest side, pixels.
    pub fewest_side: u32,
    /// Longest side, pixels.
    pub most_side: u32,
    /// Both sides are multiples of it.
    pub multiple: u32,
    /// Most pixels in all.
    pub most_pixels: u64,
}

/// How a length is told.
#[derive(Clone, Copy, Debug)]
pub enum SecondsRule {
    /// It is not, and is not known.
    Untold,
    /// It is always this; only `sent` where the provider has the field.
    Always {
        /// Seconds.
        seconds: u32,
        /// Whether it is told.
        sent: bool,
    },
    /// One of a list.
    Listed {
        /// Seconds.
        allowed: &'static [u32],
        /// What is sent when nothing is asked for.
        default: u32,
    },
    /// Anything from one to another.
    Between {
        /// Seconds.
        fewest: u32,
        /// Seconds.
        most: u32,
        /// What is sent when nothing is asked for; none: nothing is.
        default: Option<u32>,
    },
    /// One of a list that depends on the tier.
    ByTier {
        /// Tiers and their seconds.
        allowed: &'static [(Tier, &'static [u32])],
        /// What is sent when nothing is asked for.
        default: u32,
    },
}

/// How many pictures of a role.
#[derive(Clone, Copy, Debug)]
pub struct PictureSlot {
    /// What they are for.
    pub role: PictureRole,
    /// At least.
    pub fewest: usize,
    /// At most.
    pub most: usize,
}

/// The pictures' rules. Pixels are checked where they are known, bytes and formats where they are here.
#[derive(Clone, Copy, Debug)]
pub struct PictureRule {
    /// Which there are.
    pub slots: &'static [PictureSlot],
    /// Their formats.
    pub formats: &'static [PictureFormat],
    /// Most bytes of each file.
    pub most_bytes: u64,
    /// Shortest side, pixels.
    pub fewest_side: u32,
    /// Longest side, pixels.
    pub most_side: u32,
    /// Long side by short side, at most, in percent; 400 is 4:1.
    pub most_aspect_percent: u32,
    /// Pixels of the first frame by those of the last, in percent, from and to.
    pub first_by_last_percent: Option<(u32, u32)>,
    /// Whether links are taken, or only pictures themselves.
    pub links: bool,
    /// Whether `oss://` links, from the provider's own store, are taken too.
    pub oss_links: bool,
}

impl PictureRule {
    /// No pictures.
    pub const NONE: Self = Self {
        slots: &[],
        formats: &[PictureFormat::Jpeg, PictureFormat::Png],
        most_bytes: 20 << 20,
        fewest_side: 1,
        most_side: 65_536,
        most_aspect_percent: u32::MAX,
        first_by_last_percent: None,
        links: true,
        oss_links: false,
    };
}

/// How a provider's tasks are followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Following {
    /// Pause before the first poll, milliseconds.
    pub first_pause_ms: u32,
    /// Longest pause, milliseconds.
    pub most_pause_ms: u32,
    /// How long a task may take, seconds.
    pub deadline_seconds: u32,
    /// How long a result's link is sure to live, seconds. Where that is not known, an hour.
    pub link_seconds: u32,
    /// Whether a task can be cancelled before it runs. Whether it can while it runs, [`super::Provider::cancel`] says by having a call.
    pub cancels_queued: bool,
    /// Whether a create carries an id of ours by which the provider knows it again.
    pub knows_our_id: bool,
}

impl Following {
    /// The pause before poll `polls` + 1, milliseconds: a quarter longer each time, up to the longest.
    pub fn pause_ms(self, polls: u32) -> u32 {
        let mut pause = self.first_pause_ms;
        for _ in 0..polls.min(64) {
            pause = pause.saturating_add(pause / 4);
            if pause >= self.most_pause_ms {
                return self.most_pause_ms;
            }
        }
        pause.min(self.most_pause_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dated_names_are_the_model_without_the_date() {
        let model = Model { name: "wan2.7-t2v", aliases: &["wan-other"], modes: &[] };
        for name in ["wan2.7-t2v", "wan2.7-t2v-2026-06-12", "wan-other"] {
            assert!(model.is_called(name), "{name}");
        }
        for name in
            ["", "wan2.7", "wan2.7-t2v-", "wan2.7-t2v-2026-6-12", "wan2.7-t2v-2026-06-12x", "-2026-06-12", "万wan2.7-t2v-20"]
        {
            assert!(!model.is_called(name), "{name}");
        }
    }

    #[test]
    fn pauses_grow_up_to_the_longest() {
        let following = Following {
            first_pause_ms: 10_000,
            most_pause_ms: 15_000,
            deadline_seconds: 1200,
            link_seconds: 3600,
            cancels_queued: false,
            knows_our_id: false,
        };
        assert_eq!([0, 1, 2, 1000].map(|polls| following.pause_ms(polls)), [10_000, 12_500, 15_000, 15_000]);
    }
}
