//! The sizes of vidsme's pictures, which all models have.

use crate::providers::capabilities::{FrameRule, Mode, Model, OWN_PROMPT_BOUND, PromptRule, SizeRow, kept_text};
use crate::providers::frame::{PixelSize, Ratio};
use crate::providers::request::GenerationKind;

/// A model that the operator names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// Its name.
    pub name: String,
    /// What it is called in calls, where that is another name.
    pub wire_name: Option<String>,
}

/// What is sent when nothing is asked for.
pub(super) const USUAL_SIZE: PixelSize = PixelSize::new(512, 768);

static SIZES: [SizeRow; 3] = [
    SizeRow { size: USUAL_SIZE, tier: None, ratio: Ratio::new(2, 3) },
    SizeRow::new(None, 512, 512, (1, 1)),
    SizeRow::new(None, 768, 512, (3, 2)),
];

const fn text_to_image() -> Mode {
    let mut mode = Mode::plain(GenerationKind::TextToImage, PromptRule { required: true, most_characters: OWN_PROMPT_BOUND });
    mode.frame = FrameRule::Sizes { rows: &SIZES, default: Some(USUAL_SIZE), custom: None };
    mode
}

static MODES: [Mode; 1] = [text_to_image()];

/// A model's table.
pub(super) fn table(named: &Named) -> Model {
    Model { name: kept_text(named.name.clone()), aliases: &[], modes: &MODES }
}
