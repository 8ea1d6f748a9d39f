//! A request against a model's tables: either every field can be expressed, or the first that cannot is named with what is allowed.

use super::capabilities::{CustomSizes, FrameRule, Mode, Model, PictureRule, SecondsRule, SizeRow, Switch};
use super::frame::{Frame, PixelSize, Ratio, Tier};
use super::request::{GenerationRequest, Picture, PictureRole, PictureSource};
use crate::domain::camera::CameraScript;

/// Most bytes of a picture's link.
const MOST_LINK_BYTES: usize = 4096;
/// Most characters of a value that a message repeats.
const MOST_VALUE_CHARACTERS: usize = 60;

/// What is made of a shape by a model whose own usual size nobody told.
const USUAL_SIZE: PixelSize = PixelSize::new(1280, 720);

/// What a model cannot be asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}", problem = self.problem())]
pub struct RequestRefusal {
    /// The field, in the words of the tables; clients have others for it.
    pub field: &'static str,
    /// What was asked for, or how much of it there was.
    pub value: String,
    /// Of which model.
    pub model: String,
    /// What can be asked for.
    pub allowed: String,
}

impl RequestRefusal {
    /// A refusal. Long values are cut.
    #[expect(clippy::needless_pass_by_value, reason = "numbers, texts and values made for the message alone are given alike")]
    pub fn new(field: &'static str, value: impl ToString, model: &str, allowed: impl Into<String>) -> Self {
        let value = value.to_string().chars().take(MOST_VALUE_CHARACTERS).collect();
        Self { field, value, model: model.chars().take(MOST_VALUE_CHARACTERS).collect(), allowed: allowed.into() }
    }

    /// What is wrong, to stand behind whatever the field is called.
    pub fn problem(&self) -> String {
        let Self { field: _, value, model, allowed } = self;
        match allowed.strip_prefix("none") {
            // With the reason, where one is told.
            Some(reason) if reason.is_empty() || reason.starts_with(": ") => {
                format!("'{value}' is not possible with {model}, which takes none{reason}; leave it out")
            }
            _ => format!("'{value}' is not possible with {model}; allowed: {allowed}"),
        }
    }
}

/// A size as it is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameChoice {
    /// No field.
    Untold,
    /// Pixels.
    Size(PixelSize),
    /// A tier, a ratio, both or neither.
    TierAndRatio(Option<Tier>, Option<Ratio>),
}

impl FrameChoice {
    /// The same as a request says it; none where nothing is sent.
    pub const fn told(self) -> Option<Frame> {
        match self {
            Self::Untold | Self::TierAndRatio(None, None) => None,
            Self::Size(size) => Some(Frame::Size(size)),
            Self::TierAndRatio(Some(tier), None) => Some(Frame::Tier(tier)),
            Self::TierAndRatio(None, Some(ratio)) => Some(Frame::Ratio(ratio)),
            Self::TierAndRatio(Some(tier), Some(ratio)) => Some(Frame::TierAndRatio(tier, ratio)),
        }
    }
}

/// A request that keeps a mode's rules, with what follows from them.
#[derive(Clone, Copy, Debug)]
pub struct Validated<'a> {
    /// The request.
    pub request: &'a GenerationRequest,
    /// The rules.
    pub(super) mode: &'static Mode,
    /// The size as it is sent.
    pub frame: FrameChoice,
    /// The length as it is sent, seconds; none: no field.
    pub seconds: Option<u32>,
    /// The length that is made, seconds, where it is known: what may be billed.
    pub expected_seconds: Option<u32>,
}

impl Validated<'_> {
    /// A switch's value as it is sent; none: no field.
    pub(super) fn switch(switch: Switch, asked: Option<bool>) -> Option<bool> {
        match switch {
            Switch::Never | Switch::Always | Switch::Untold => None,
            Switch::Free => asked,
            Switch::Sent(default) => Some(asked.unwrap_or(default)),
        }
    }

    /// The first picture of a role, as a link or a `data:` URL.
    pub(super) fn picture(&self, role: PictureRole) -> Option<String> {
        self.request.pictures_of(role).next().map(Picture::url)
    }

    /// The prompt, unless it is empty.
    pub(super) fn prompt(&self) -> Option<&str> {
        Some(self.request.prompt.as_str()).filter(|prompt| !prompt.trim().is_empty())
    }
}

/// Checks a request against a model's tables. Fails with [`RequestRefusal`].
pub fn validate<'a>(model: &Model, request: &'a GenerationRequest) -> Result<Validated<'a>, RequestRefusal> {
    let Some(mode) = model.mode(request.kind) else {
        let kinds: Vec<&str> = model.modes.iter().map(|mode| mode.kind.name()).collect();
        return Err(RequestRefusal::new("kind", request.kind.name(), model.name, kinds.join(", ")));
    };
    let check = Check { model: model.name, mode, request };
    check.prompts()?;
    check.pictures()?;
    let frame = check.frame()?;
    let (seconds, expected_seconds) = check.seconds(frame)?;
    check.numbers()?;
    check.switches()?;
    check.words()?;
    Ok(Validated { request, mode, frame, seconds, expected_seconds })
}

struct Check<'a> {
    model: &'static str,
    mode: &'static Mode,
    request: &'a GenerationRequest,
}

impl Check<'_> {
    fn refuse<T>(&self, field: &'static str, value: impl ToString, allowed: impl Into<String>) -> Result<T, RequestRefusal> {
        Err(RequestRefusal::new(field, value, self.model, allowed))
    }

    fn prompts(&self) -> Result<(), RequestRefusal> {
        let rule = self.mode.prompt;
        let length = self.request.prompt.chars().count();
        let allowed = format!("{} to {} characters", u8::from(rule.required), rule.most_characters);
        if length > rule.most_characters {
            return self.refuse("prompt", format!("{length} characters"), allowed);
        }
        if rule.required && self.request.prompt.trim().is_empty() {
            return self.refuse("prompt", "", allowed);
        }
        // A model that knows no commands would read them as part of the scene.
        match CameraScript::from_prompt(&self.request.prompt) {
            Ok((_, script)) if script.shots().is_empty() || self.mode.camera => {}
            Ok((_, script)) => {
                let command = script.shots().first().and_then(|shot| shot.commands().first());
                let name = command.map_or_else(String::new, |command| format!("[{command}]"));
                return self.refuse("prompt", name, "a prompt without camera commands in square brackets");
            }
            Err(error) => return self.refuse("prompt", error, "up to 3 known camera commands in a pair of square brackets"),
        }
        let Some(negative) = self.request.negative_prompt.as_deref().filter(|negative| !negative.is_empty()) else {
            return Ok(());
        };
        let length = negative.chars().count();
        match self.mode.negative_prompt_characters {
            None => self.refuse("negative_prompt", negative, "none"),
            Some(most) if length > most => {
                self.refuse("negative_prompt", format!("{length} characters"), format!("0 to {most} characters"))
            }
            Some(_) => Ok(()),
        }
    }

    fn pictures(&self) -> Result<(), RequestRefusal> {
        let rule = &self.mode.pictures;
        for role in [PictureRole::FirstFrame, PictureRole::LastFrame, PictureRole::Reference] {
            let count = self.request.pictures_of(role).count();
            let slot = rule.slots.iter().find(|slot| slot.role == role);
            let (fewest, most) = slot.map_or((0, 0), |slot| (slot.fewest, slot.most));
            if count < fewest || count > most {
                let allowed = match most {
                    0 => "none".to_owned(),
                    most if fewest == most => most.to_string(),
                    most => format!("{fewest} to {most}"),
                };
                return self.refuse(role.field(), format!("{count} of the role {}", role.name()), allowed);
            }
        }
        self.request.pictures.iter().try_for_each(|picture| self.picture(rule, picture))?;
        let Some((from, to)) = rule.first_by_last_percent else { return Ok(()) };
        let pixels = |role| self.request.pictures_of(role).next().and_then(|picture| picture.size).map(PixelSize::pixels);
        let (Some(first), Some(last)) = (pixels(PictureRole::FirstFrame), pixels(PictureRole::LastFrame)) else { return Ok(()) };
        let within = first * 100 >= last * u64::from(from) && first * 100 <= last * u64::from(to);
        if within {
            return Ok(());
        }
        let allowed = format!("pixels of the first by those of the last frame from {} to {}", fraction(from), fraction(to));
        self.refuse(PictureRole::LastFrame.field(), format!("{first} and {last} pixels"), allowed)
    }

    fn picture(&self, rule: &PictureRule, picture: &Picture) -> Result<(), RequestRefusal> {
        let field = picture.role.field();
        match &picture.source {
            PictureSource::Link(_) if !rule.links => {
                return self.refuse(field, "a link", "the picture itself");
            }
            PictureSource::Link(link) => {
                let schemes: &[&str] = if rule.oss_links { &["https://", "http://", "oss://"] } else { &["https://", "http://"] };
                let known = schemes.iter().any(|scheme| link.len() > scheme.len() && link.starts_with(scheme));
                if !known
                    || link.len() > MOST_LINK_BYTES
                    || link.chars().any(|character| character.is_whitespace() || character.is_control())
                {
                    // The link itself may be signed, so it is not repeated.
                    let allowed = format!("up to {MOST_LINK_BYTES} bytes that begin with {}", schemes.join(" or "));
                    return self.refuse(field, format!("a link of {} bytes", link.len()), allowed);
                }
            }
            PictureSource::Bytes { format, bytes } => {
                if !rule.formats.contains(format) {
                    let formats: Vec<&str> = rule.formats.iter().map(|format| format.media_type()).collect();
                    return self.refuse(field, format.media_type(), formats.join(", "));
                }
                let length = bytes.len() as u64;
                if length == 0 || length > rule.most_bytes {
                    return self.refuse(field, format!("{length} bytes"), format!("1 to {} bytes", rule.most_bytes));
                }
            }
        }
        let Some(size) = picture.size else { return Ok(()) };
        if size.short_side() < rule.fewest_side || size.long_side() > rule.most_side {
            let allowed = format!("sides from {} to {} pixels", rule.fewest_side, rule.most_side);
            return self.refuse(field, size, allowed);
        }
        if u64::from(size.long_side()) * 100 > u64::from(size.short_side()) * u64::from(rule.most_aspect_percent) {
            let allowed = format!("long by short side up to {}", fraction(rule.most_aspect_percent));
            return self.refuse(field, size, allowed);
        }
        Ok(())
    }

    fn frame(&self) -> Result<FrameChoice, RequestRefusal> {
        let asked = self.request.frame;
        match self.mode.frame {
            FrameRule::Untold => match asked {
                None => Ok(FrameChoice::Untold),
                Some(frame) => self.refuse("size", frame, "none"),
            },
            FrameRule::Sizes { rows, default, custom } => {
                let chosen = match asked {
                    None => default,
                    Some(Frame::Size(size)) => {
                        let listed =
                            rows.iter().any(|row| row.size == size) || custom.is_some_and(|custom| custom.contains(size));
                        listed.then_some(size)
                    }
                    Some(frame) => row_of(rows, default, frame).or_else(|| custom?.of_shape(frame, default)),
                };
                match (chosen, asked) {
                    (Some(size), _) => Ok(FrameChoice::Size(size)),
                    (None, Some(frame)) => self.refuse("size", frame, sizes_in_words(rows, custom)),
                    (None, None) => Ok(FrameChoice::Untold),
                }
            }
            FrameRule::Tiers { tiers, default } => match asked {
                None => Ok(FrameChoice::TierAndRatio(default, None)),
                Some(Frame::Tier(tier)) if tiers.contains(&tier) => Ok(FrameChoice::TierAndRatio(Some(tier), None)),
                Some(frame) => {
                    self.refuse("size", frame, format!("{}; the picture or the model decides the shape", listed(tiers)))
                }
            },
            FrameRule::TiersAndRatios { tiers, default_tier, ratios, default_ratio, rows } => {
                let found = match asked {
                    None => Some((default_tier, default_ratio)),
                    Some(Frame::Tier(tier)) => Some((Some(tier), default_ratio)),
                    Some(Frame::Ratio(ratio)) => Some((default_tier, Some(ratio))),
                    Some(Frame::TierAndRatio(tier, ratio)) => Some((Some(tier), Some(ratio))),
                    Some(Frame::Size(size)) => match rows.iter().find(|row| row.size == size) {
                        Some(row) => Some((row.tier, Some(row.ratio))),
                        // Where there are only shapes, the size is the model's own.
                        None if tiers.is_empty() => {
                            ratios.iter().find(|ratio| size.has_shape(**ratio)).map(|ratio| (default_tier, Some(*ratio)))
                        }
                        None => None,
                    },
                };
                let possible = found.filter(|(tier, ratio)| {
                    tier.is_none_or(|tier| tiers.contains(&tier)) && ratio.is_none_or(|ratio| ratios.contains(&ratio))
                });
                match (possible, asked) {
                    (Some((tier, ratio)), _) => Ok(FrameChoice::TierAndRatio(tier, ratio)),
                    (None, Some(frame)) if ratios.is_empty() => self.refuse("size", frame, listed(tiers)),
                    (None, Some(frame)) if tiers.is_empty() => self.refuse("size", frame, listed(ratios)),
                    (None, Some(frame)) => self.refuse("size", frame, format!("{} with {}", listed(tiers), listed(ratios))),
                    (None, None) => Ok(FrameChoice::Untold),
                }
            }
        }
    }

    /// What is sent, and what is made.
    fn seconds(&self, frame: FrameChoice) -> Result<(Option<u32>, Option<u32>), RequestRefusal> {
        let asked = self.request.seconds;
        match self.mode.seconds {
            SecondsRule::Untold => match asked {
                None => Ok((None, None)),
                Some(seconds) => self.refuse("seconds", seconds, "none: the model decides"),
            },
            SecondsRule::Always { seconds, sent } => match asked {
                Some(asked) if asked != seconds => self.refuse("seconds", asked, seconds.to_string()),
                _ => Ok((sent.then_some(seconds), Some(seconds))),
            },
            SecondsRule::Listed { allowed, default } => {
                let seconds = asked.unwrap_or(default);
                if allowed.contains(&seconds) {
                    Ok((Some(seconds), Some(seconds)))
                } else {
                    self.refuse("seconds", seconds, listed(allowed))
                }
            }
            SecondsRule::Between { fewest, most, default } => match asked {
                Some(seconds) if !(fewest..=most).contains(&seconds) => {
                    self.refuse("seconds", seconds, format!("{fewest} to {most}"))
                }
                asked => {
                    let seconds = asked.or(default);
                    Ok((seconds, seconds))
                }
            },
            SecondsRule::ByTier { allowed, default } => {
                let seconds = asked.unwrap_or(default);
                let FrameChoice::TierAndRatio(Some(tier), _) = frame else {
                    return self.refuse("seconds", seconds, "a length with a tier");
                };
                let of_tier = allowed.iter().find(|(other, _)| *other == tier).map_or(&[][..], |(_, seconds)| *seconds);
                if of_tier.contains(&seconds) {
                    return Ok((Some(seconds), Some(seconds)));
                }
                self.refuse("seconds", seconds, format!("{} at {tier}", listed(of_tier)))
            }
        }
    }

    fn numbers(&self) -> Result<(), RequestRefusal> {
        if let Some(rate) = self.request.frames_per_second
            && !self.mode.frames_per_second.contains(&rate)
        {
            return self.refuse("fps", rate, listed(self.mode.frames_per_second));
        }
        if let Some(seed) = self.request.seed {
            match self.mode.most_seed {
                None => return self.refuse("seed", seed, "none"),
                Some(most) if seed > most => return self.refuse("seed", seed, format!("0 to {most}")),
                Some(_) => {}
            }
        }
        let count = self.request.count.unwrap_or(1);
        if !(1..=self.mode.most_results).contains(&count) {
            return self.refuse("n", count, format!("1 to {}", self.mode.most_results));
        }
        Ok(())
    }

    fn switches(&self) -> Result<(), RequestRefusal> {
        let request = self.request;
        for (field, switch, asked) in [
            ("audio", self.mode.audio, request.audio),
            ("watermark", self.mode.watermark, request.watermark),
            ("prompt_extension", self.mode.prompt_extension, request.prompt_extension),
            ("fast_pretreatment", self.mode.fast_pretreatment, request.fast_pretreatment),
        ] {
            match (switch, asked) {
                (Switch::Never, Some(true)) => return self.refuse(field, "true", "false"),
                (Switch::Always, Some(false)) => return self.refuse(field, "false", "true"),
                (Switch::Untold, Some(asked)) => return self.refuse(field, asked, "none"),
                _ => {}
            }
        }
        match request.audio_link.as_deref() {
            Some(_) if !self.mode.audio_link => self.refuse("audio_link", "a link", "none"),
            Some(link) if !(link.starts_with("https://") || link.starts_with("http://")) || link.len() > MOST_LINK_BYTES => {
                self.refuse("audio_link", format!("a link of {} bytes", link.len()), "up to 4096 bytes of http:// or https://")
            }
            _ => Ok(()),
        }
    }

    fn words(&self) -> Result<(), RequestRefusal> {
        let request = self.request;
        for (field, allowed, asked) in [
            ("quality", self.mode.qualities, &request.quality),
            ("style", self.mode.styles, &request.style),
            ("movement_amplitude", self.mode.movement_amplitudes, &request.movement_amplitude),
            ("shot_type", self.mode.shot_types, &request.shot_type),
        ] {
            if let Some(asked) = asked
                && !allowed.contains(&asked.as_str())
            {
                return self.refuse(field, asked, listed(allowed));
            }
        }
        Ok(())
    }
}

impl CustomSizes {
    /// Whether a size keeps the rules.
    pub fn contains(&self, size: PixelSize) -> bool {
        size.short_side() >= self.fewest_side
            && size.long_side() <= self.most_side
            && size.width.is_multiple_of(self.multiple)
            && size.height.is_multiple_of(self.multiple)
            && size.pixels() <= self.most_pixels
    }

    /// The size of a shape, with about as many pixels as the usual one; none where it does not keep the rules. Shapes beyond 3:1 are asked
    /// for in pixels, since models that bound shapes bound them there.
    fn of_shape(&self, frame: Frame, usual: Option<PixelSize>) -> Option<PixelSize> {
        let Frame::Ratio(Ratio { width: across, height: down }) = frame else { return None };
        if across.max(down) > across.min(down).saturating_mul(3) {
            return None;
        }
        let pixels = usual.unwrap_or(USUAL_SIZE).pixels().min(self.most_pixels) as f64;
        let multiple = f64::from(self.multiple.max(1));
        let side = |of: u32, by: u32| {
            let exact = (pixels * f64::from(of) / f64::from(by)).sqrt();
            ((exact / multiple).round() * multiple) as u32
        };
        Some(PixelSize::new(side(across, down), side(down, across))).filter(|size| self.contains(*size))
    }
}

/// The size that a tier, a ratio or both mean in a table: the default where it is meant too. A tier alone means the default's shape, a
/// ratio alone the default's tier, where the table has them; else the first row that fits.
fn row_of(rows: &[SizeRow], default: Option<PixelSize>, frame: Frame) -> Option<PixelSize> {
    let usual = rows.iter().find(|row| Some(row.size) == default);
    let (tier, ratio) = match frame {
        Frame::Size(_) => return None,
        Frame::Tier(tier) => (Some(tier), None),
        Frame::Ratio(ratio) => (None, Some(ratio)),
        Frame::TierAndRatio(tier, ratio) => (Some(tier), Some(ratio)),
    };
    let fits = |row: &&SizeRow| tier.is_none_or(|tier| row.tier == Some(tier)) && ratio.is_none_or(|ratio| row.ratio == ratio);
    let preferred =
        |row: &&SizeRow| usual.is_some_and(|usual| row.tier == tier.or(usual.tier) && row.ratio == ratio.unwrap_or(usual.ratio));
    let mut fitting = rows.iter().filter(fits);
    rows.iter().filter(fits).find(preferred).or_else(|| fitting.next()).map(|row| row.size)
}

fn listed(values: &[impl ToString]) -> String {
    if values.is_empty() {
        return "none".to_owned();
    }
    values.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn sizes_in_words(rows: &[SizeRow], custom: Option<CustomSizes>) -> String {
    let mut words: Vec<String> = rows.iter().map(|row| row.size.to_string()).collect();
    if let Some(CustomSizes { fewest_side, most_side, multiple, most_pixels }) = custom {
        words.push(format!("sides from {fewest_side} to {most_side} in steps of {multiple}, up to {most_pixels} pixels in all"));
    }
    words.join(", ")
}

/// Percent as a number with two digits.
fn fraction(percent: u32) -> String {
    format!("{}.{:02}", percent / 100, percent % 100)
}
