//! MindVideo's one model that is known, and those that the operator knows.

use crate::providers::capabilities::{FrameRule, Mode, Model, OWN_PROMPT_BOUND, PromptRule, SecondsRule, SizeRow, kept_text};
use crate::providers::frame::{PixelSize, Tier};
use crate::providers::request::GenerationKind;

/// A model, and the bot that stands for it in calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bot {
    /// The model's name.
    pub model: String,
    /// The bot's number.
    pub id: u64,
}

const TALL: SizeRow = SizeRow::new(Some(Tier::P720), 720, 1280, (9, 16));

/// Sizes that were seen.
static SIZES: [SizeRow; 3] =
    [TALL, SizeRow::new(Some(Tier::P720), 1280, 720, (16, 9)), SizeRow::new(Some(Tier::P1080), 1920, 1080, (16, 9))];

const fn text_to_video() -> Mode {
    let mut mode = Mode::plain(GenerationKind::TextToVideo, PromptRule { required: true, most_characters: OWN_PROMPT_BOUND });
    let default: Option<PixelSize> = Some(TALL.size);
    mode.frame = FrameRule::Sizes { rows: &SIZES, default, custom: None };
    // The only length that was seen.
    mode.seconds = SecondsRule::Always { seconds: 15, sent: true };
    mode
}

static MODES: [Mode; 1] = [text_to_video()];

/// The known bot and the operator's; of one model, the operator's counts.
pub(super) fn all(told: &[Bot]) -> Vec<Bot> {
    let known = Bot { model: "sora-2-free".to_owned(), id: 153 };
    let mut bots: Vec<Bot> = Vec::new();
    for bot in told.iter().chain([&known]) {
        if !bots.iter().any(|other| other.model == bot.model) {
            bots.push(bot.clone());
        }
    }
    bots
}

/// A bot's table.
pub(super) fn table(bot: &Bot) -> Model {
    Model { name: kept_text(bot.model.clone()), aliases: &[], modes: &MODES }
}
