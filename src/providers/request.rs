//! What is asked for, in no provider's words.

use std::fmt;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use super::frame::{Frame, PixelSize};
pub use crate::domain::{GenerationKind, PictureRole};

/// A picture's file format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PictureFormat {
    /// JPEG.
    Jpeg,
    /// PNG.
    Png,
    /// WebP.
    Webp,
    /// Windows bitmap.
    Bmp,
}

impl PictureFormat {
    /// The media type.
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Jpeg => "image/jpeg",
            Self::Png => "image/png",
            Self::Webp => "image/webp",
            Self::Bmp => "image/bmp",
        }
    }
}

/// Where a picture's bytes are.
#[derive(Clone, PartialEq, Eq)]
pub enum PictureSource {
    /// At a link that the provider will open.
    Link(String),
    /// Here.
    Bytes {
        /// Their format.
        format: PictureFormat,
        /// The file.
        bytes: Vec<u8>,
    },
}

impl fmt::Debug for PictureSource {
    /// Without the bytes, and without the link: it may be signed.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Link(_) => formatter.write_str("Link"),
            Self::Bytes { format, bytes } => write!(formatter, "Bytes({}, {} bytes)", format.media_type(), bytes.len()),
        }
    }
}

/// A picture that a film is made from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// What it is for.
    pub role: PictureRole,
    /// Where it is.
    pub source: PictureSource,
    /// How large it is, where that is known. What is not known is not checked.
    pub size: Option<PixelSize>,
}

impl Picture {
    /// The link, or the bytes as a `data:` URL with its media type.
    pub(super) fn url(&self) -> String {
        match &self.source {
            PictureSource::Link(link) => link.clone(),
            PictureSource::Bytes { format, bytes } => {
                format!("data:{};base64,{}", format.media_type(), BASE64_STANDARD.encode(bytes))
            }
        }
    }
}

/// One request. What is `None` or empty is the model's own choice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GenerationRequest {
    /// What is made from what.
    pub kind: GenerationKind,
    /// The prompt; commands to the camera stand in it in square brackets.
    pub prompt: String,
    /// What should not be seen.
    pub negative_prompt: Option<String>,
    /// How large.
    pub frame: Option<Frame>,
    /// Length of the film, seconds.
    pub seconds: Option<u32>,
    /// Frames a second.
    pub frames_per_second: Option<u32>,
    /// The seed.
    pub seed: Option<u64>,
    /// How many pictures; one unless said otherwise. Of films there is always one.
    pub count: Option<u32>,
    /// The pictures it is made from.
    pub pictures: Vec<Picture>,
    /// Whether the film has sound that the model makes.
    pub audio: Option<bool>,
    /// A link to sound that the film shall go with.
    pub audio_link: Option<String>,
    /// Whether the provider puts its mark on the result.
    pub watermark: Option<bool>,
    /// Whether the provider's language model rewrites the prompt.
    pub prompt_extension: Option<bool>,
    /// Whether that rewriting is made shorter.
    pub fast_pretreatment: Option<bool>,
    /// Speed or quality, in the provider's words.
    pub quality: Option<String>,
    /// The style, in the provider's words.
    pub style: Option<String>,
    /// How much moves, in the provider's words.
    pub movement_amplitude: Option<String>,
    /// One shot or several, in the provider's words.
    pub shot_type: Option<String>,
}

impl GenerationRequest {
    /// A request with a prompt and nothing else.
    pub fn new(kind: GenerationKind, prompt: impl Into<String>) -> Self {
        Self {
            kind,
            prompt: prompt.into(),
            negative_prompt: None,
            frame: None,
            seconds: None,
            frames_per_second: None,
            seed: None,
            count: None,
            pictures: Vec::new(),
            audio: None,
            audio_link: None,
            watermark: None,
            prompt_extension: None,
            fast_pretreatment: None,
            quality: None,
            style: None,
            movement_amplitude: None,
            shot_type: None,
        }
    }

    /// The pictures of a role, in order.
    pub fn pictures_of(&self, role: PictureRole) -> impl Iterator<Item = &Picture> {
        self.pictures.iter().filter(move |picture| picture.role == role)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_become_a_data_url_and_do_not_show_themselves() {
        let source = PictureSource::Bytes { format: PictureFormat::Png, bytes: vec![1, 2, 3] };
        let picture = Picture { role: PictureRole::FirstFrame, source, size: None };
        assert_eq!(picture.url(), "data:image/png;base64,AQID");
        assert!(format!("{picture:?}").contains("Bytes(image/png, 3 bytes)"));
        let source = PictureSource::Link("https://host/a.png?Signature=s".to_owned());
        let picture = Picture { role: PictureRole::FirstFrame, source, size: None };
        assert!(!format!("{picture:?}").contains("Signature"));
    }
}
