//! What is made from what.

use serde::{Deserialize, Serialize};

/// What is made from what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GenerationKind {
    /// A film from a prompt.
    TextToVideo,
    /// A film that begins with a picture.
    ImageToVideo,
    /// A film that begins with one picture and ends with another.
    FirstLastFrame,
    /// A film in which somebody or something from pictures appears.
    SubjectReference,
    /// A picture from a prompt.
    TextToImage,
}

impl GenerationKind {
    /// In words, for messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::TextToVideo => "text to video",
            Self::ImageToVideo => "image to video",
            Self::FirstLastFrame => "first and last frame to video",
            Self::SubjectReference => "subject reference to video",
            Self::TextToImage => "text to image",
        }
    }
}
