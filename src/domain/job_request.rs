//! What a job was asked for: pictures, or a film.

use serde::{Deserialize, Serialize};

use super::film::FilmRequest;
use super::ids::ModelId;
use super::image_request::ImageRequest;

/// The kinds of jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobKind {
    /// Pictures.
    Image,
    /// A film of one scene or more.
    Film,
}

impl JobKind {
    /// The word that the database uses.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Image => "image",
            Self::Film => "film",
        }
    }
}

/// A request with every default filled in. Immutable once its job is accepted. Its JSON is that of what it holds: the kind is kept beside it.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum JobRequest {
    /// Pictures.
    Image(ImageRequest),
    /// A film.
    Film(Box<FilmRequest>),
}

impl JobRequest {
    /// What it asks for.
    pub const fn kind(&self) -> JobKind {
        match self {
            Self::Image(_) => JobKind::Image,
            Self::Film(_) => JobKind::Film,
        }
    }

    /// The model that it names.
    pub const fn model(&self) -> &ModelId {
        match self {
            Self::Image(request) => &request.model,
            Self::Film(request) => &request.model,
        }
    }

    /// The request for pictures, if it is one.
    pub const fn image(&self) -> Option<&ImageRequest> {
        match self {
            Self::Image(request) => Some(request),
            Self::Film(_) => None,
        }
    }

    /// The request for a film, if it is one.
    pub fn film(&self) -> Option<&FilmRequest> {
        match self {
            Self::Image(_) => None,
            Self::Film(request) => Some(request),
        }
    }

    /// Seed of its first picture or scene.
    pub fn seed(&self) -> u64 {
        match self {
            Self::Image(request) => request.seed,
            Self::Film(request) => request.scenes.first().map_or(0, |scene| scene.seed),
        }
    }

    /// Storage keys of the files that came with it.
    pub fn inputs(&self) -> Vec<&str> {
        match self {
            Self::Image(request) => request.init_image.as_deref().into_iter().collect(),
            Self::Film(request) => request.inputs().map(|file| file.key.as_str()).collect(),
        }
    }

    /// Reads the JSON of a request of this kind.
    pub fn from_json(kind: &str, json: &str) -> Result<Self, JobRequestError> {
        match kind {
            "image" => Ok(Self::Image(serde_json::from_str(json)?)),
            "film" => Ok(Self::Film(serde_json::from_str(json)?)),
            other => Err(JobRequestError::Kind(other.chars().take(32).collect())),
        }
    }
}

impl From<ImageRequest> for JobRequest {
    fn from(request: ImageRequest) -> Self {
        Self::Image(request)
    }
}

impl From<FilmRequest> for JobRequest {
    fn from(request: FilmRequest) -> Self {
        Self::Film(Box::new(request))
    }
}

/// A stored request that this version cannot read.
#[derive(Debug, thiserror::Error)]
pub enum JobRequestError {
    /// Its kind is unknown.
    #[error("kind '{0}'")]
    Kind(String),
    /// It is not the JSON of its kind.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
}
