//! A request that a provider fulfils, with every choice made: what a job stores and what is sent.

use serde::{Deserialize, Serialize};

use super::film::InputFile;
use super::frame::{Frame, PixelSize};
use super::ids::{ModelId, ProviderId};
use super::job_request::JobKind;

/// What a picture is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PictureRole {
    /// The film begins with it.
    FirstFrame,
    /// The film ends with it.
    LastFrame,
    /// Who or what is on it appears.
    Reference,
}

impl PictureRole {
    /// In words, for messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::FirstFrame => "first frame",
            Self::LastFrame => "last frame",
            Self::Reference => "reference",
        }
    }

    /// What refusals call the pictures of this role.
    pub const fn field(self) -> &'static str {
        match self {
            Self::FirstFrame => "first_frame",
            Self::LastFrame => "last_frame",
            Self::Reference => "references",
        }
    }
}

/// A picture that a provider is sent. Its file is a PNG in our own storage: what a client linked to was fetched when the job was accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemotePicture {
    /// What it is for.
    pub role: PictureRole,
    /// Where it lies; absent until the job is stored.
    pub file: Option<InputFile>,
    /// Pixels across.
    pub width: u32,
    /// Pixels down.
    pub height: u32,
}

impl RemotePicture {
    /// How large it is.
    pub const fn size(&self) -> PixelSize {
        PixelSize::new(self.width, self.height)
    }
}

/// What only some models can be asked for. Absent: the model's own choice.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RemoteOptions {
    /// Whether the film has sound that the model makes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audio: Option<bool>,
    /// Whether the provider puts its mark on the result.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub watermark: Option<bool>,
    /// Whether the provider's language model rewrites the prompt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt_extension: Option<bool>,
    /// Whether that rewriting is made shorter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fast_pretreatment: Option<bool>,
    /// Speed or quality, in the provider's words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quality: Option<String>,
    /// The style, in the provider's words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub style: Option<String>,
    /// How much moves, in the provider's words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub movement_amplitude: Option<String>,
    /// One shot or several, in the provider's words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shot_type: Option<String>,
}

/// What a provider is asked for. Immutable once its job is accepted; values have been checked against the model's limits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoteRequest {
    /// The model as the client named it.
    pub model: ModelId,
    /// Who makes it.
    pub provider: ProviderId,
    /// What the provider calls the model.
    pub provider_model: String,
    /// Pictures, or a film.
    pub output: JobKind,
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
    /// How many pictures; of films there is one.
    pub count: u32,
    /// The pictures it is made from.
    pub pictures: Vec<RemotePicture>,
    /// What only some models can be asked for.
    #[serde(default)]
    pub options: RemoteOptions,
    /// What it will probably cost, millionths of the currency that providers bill in; 0 where no price is configured.
    pub estimated_cost_micros: i64,
}

impl RemoteRequest {
    /// Length of the film that is counted before it is there, milliseconds; the usual 5 s where the model decides.
    pub fn duration_ms(&self) -> i64 {
        const USUAL_SECONDS: u32 = 5;
        i64::from(self.seconds.unwrap_or(USUAL_SECONDS)) * 1000
    }

    /// The files that came with it.
    pub fn inputs(&self) -> impl Iterator<Item = &InputFile> {
        self.pictures.iter().filter_map(|picture| picture.file.as_ref())
    }
}
