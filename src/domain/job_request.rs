//! What a job was asked for: pictures, or a film; of a model here, of a provider, or of whichever of several can.

use serde::ser::SerializeStruct;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;

use super::film::FilmRequest;
use super::ids::ModelId;
use super::image_request::ImageRequest;
use super::remote_request::RemoteRequest;
use super::route::RoutedRequest;

/// What jobs make.
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

/// A request with every default filled in. Immutable once its job is accepted.
///
/// The JSON of pictures and films is that of what they hold: the kind is kept beside it. A provider's is `{"remote": …}`, a routed one
/// `{"routed": …}`.
#[derive(Clone, Debug, PartialEq)]
pub enum JobRequest {
    /// Pictures by a model here.
    Image(ImageRequest),
    /// A film by models here.
    Film(Box<FilmRequest>),
    /// Pictures or a film by a provider.
    Remote(Box<RemoteRequest>),
    /// Pictures or a film by the first of several targets that can.
    Routed(Box<RoutedRequest>),
}

impl JobRequest {
    /// What it asks for.
    pub fn kind(&self) -> JobKind {
        match self {
            Self::Image(_) => JobKind::Image,
            Self::Film(_) => JobKind::Film,
            Self::Remote(request) => request.output,
            Self::Routed(request) => request.kind(),
        }
    }

    /// The model that it names.
    pub const fn model(&self) -> &ModelId {
        match self {
            Self::Image(request) => &request.model,
            Self::Film(request) => &request.model,
            Self::Remote(request) => &request.model,
            Self::Routed(request) => &request.model,
        }
    }

    /// The targets that may fulfil it, in order: itself, or those of a route.
    pub fn targets(&self) -> &[Self] {
        match self {
            Self::Routed(request) => request.targets(),
            _ => std::slice::from_ref(self),
        }
    }

    /// The target that is tried after `stage` others; the last one, where there are fewer.
    pub fn target(&self, stage: u32) -> &Self {
        let targets = self.targets();
        targets.get(stage as usize).or(targets.last()).unwrap_or(self)
    }

    /// The request for pictures by a model here, if it is one.
    pub const fn image(&self) -> Option<&ImageRequest> {
        match self {
            Self::Image(request) => Some(request),
            _ => None,
        }
    }

    /// The request for a film by models here, if it is one.
    pub fn film(&self) -> Option<&FilmRequest> {
        match self {
            Self::Film(request) => Some(request),
            _ => None,
        }
    }

    /// The request to a provider, if it is one.
    pub fn remote(&self) -> Option<&RemoteRequest> {
        match self {
            Self::Remote(request) => Some(request),
            _ => None,
        }
    }

    /// Whether its job may come to have more than one task.
    pub fn has_several_tasks(&self) -> bool {
        matches!(self, Self::Film(_) | Self::Routed(_))
    }

    /// Seed of its first picture or scene; 0 where a provider chooses it.
    pub fn seed(&self) -> u64 {
        match self {
            Self::Image(request) => request.seed,
            Self::Film(request) => request.scenes.first().map_or(0, |scene| scene.seed),
            Self::Remote(request) => request.seed.unwrap_or(0),
            Self::Routed(request) => request.targets().first().map_or(0, Self::seed),
        }
    }

    /// Storage keys of the files that came with it, each once.
    pub fn inputs(&self) -> Vec<&str> {
        match self {
            Self::Image(request) => request.init_image.iter().chain(&request.mask).map(String::as_str).collect(),
            Self::Film(request) => request.inputs().map(|file| file.key.as_str()).collect(),
            Self::Remote(request) => request.inputs().map(|file| file.key.as_str()).collect(),
            Self::Routed(request) => {
                let mut keys: Vec<&str> = request.targets().iter().flat_map(Self::inputs).collect();
                keys.sort_unstable();
                keys.dedup();
                keys
            }
        }
    }

    /// Reads the JSON of a request of this kind.
    pub fn from_json(kind: &str, json: &str) -> Result<Self, JobRequestError> {
        match Envelope::of(json) {
            Envelope::Remote => Ok(Self::Remote(Box::new(serde_json::from_str::<RemoteDocument>(json)?.remote))),
            Envelope::Routed => {
                let RoutedDocument { routed } = serde_json::from_str(json)?;
                let read = |target: TargetDocument| Self::from_json(target.kind.as_str(), &target.request.to_string());
                let targets = routed.targets.into_iter().map(read).collect::<Result<_, _>>()?;
                RoutedRequest::new(routed.model, targets)
                    .map(|routed| Self::Routed(Box::new(routed)))
                    .ok_or(JobRequestError::Route)
            }
            Envelope::None => match kind {
                "image" => Ok(Self::Image(serde_json::from_str(json)?)),
                "film" => Ok(Self::Film(serde_json::from_str(json)?)),
                other => Err(JobRequestError::Kind(other.chars().take(32).collect())),
            },
        }
    }

    /// Whether the job of a request with this kind and this JSON may come to have more than one task, without reading it.
    pub fn may_have_several_tasks(kind: &str, json: &str) -> bool {
        match Envelope::of(json) {
            Envelope::Remote => false,
            Envelope::Routed => true,
            Envelope::None => kind == JobKind::Film.as_str(),
        }
    }
}

/// What a request's JSON is wrapped in. Only [`JobRequest`] writes such JSON, always with this as the first key and without spaces.
enum Envelope {
    None,
    Remote,
    Routed,
}

impl Envelope {
    fn of(json: &str) -> Self {
        if json.starts_with(r#"{"remote":"#) {
            Self::Remote
        } else if json.starts_with(r#"{"routed":"#) {
            Self::Routed
        } else {
            Self::None
        }
    }
}

#[derive(Deserialize)]
struct RemoteDocument {
    remote: RemoteRequest,
}

#[derive(Deserialize)]
struct RoutedDocument {
    routed: RouteDocument,
}

#[derive(Deserialize)]
struct RouteDocument {
    model: ModelId,
    targets: Vec<TargetDocument>,
}

#[derive(Deserialize)]
struct TargetDocument {
    kind: JobKind,
    request: Value,
}

impl Serialize for JobRequest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Image(request) => request.serialize(serializer),
            Self::Film(request) => request.serialize(serializer),
            Self::Remote(request) => {
                let mut document = serializer.serialize_struct("Remote", 1)?;
                document.serialize_field("remote", request)?;
                document.end()
            }
            Self::Routed(request) => {
                let mut document = serializer.serialize_struct("Routed", 1)?;
                document.serialize_field("routed", &**request)?;
                document.end()
            }
        }
    }
}

impl Serialize for RoutedRequest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Target<'a> {
            kind: JobKind,
            request: &'a JobRequest,
        }
        let targets: Vec<Target<'_>> = self.targets().iter().map(|request| Target { kind: request.kind(), request }).collect();
        let mut document = serializer.serialize_struct("Route", 2)?;
        document.serialize_field("model", &self.model)?;
        document.serialize_field("targets", &targets)?;
        document.end()
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

impl From<RemoteRequest> for JobRequest {
    fn from(request: RemoteRequest) -> Self {
        Self::Remote(Box::new(request))
    }
}

impl From<RoutedRequest> for JobRequest {
    fn from(request: RoutedRequest) -> Self {
        Self::Routed(Box::new(request))
    }
}

/// A stored request that this version cannot read.
#[derive(Debug, thiserror::Error)]
pub enum JobRequestError {
    /// Its kind is unknown.
    #[error("kind '{0}'")]
    Kind(String),
    /// A route without targets, or with targets of several kinds.
    #[error("a route whose targets are not of one kind")]
    Route,
    /// It is not the JSON of its kind.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::domain::film::tests::film;
    use crate::domain::{Frame, RemoteOptions};

    /// A request for six seconds of film to a provider.
    pub(crate) fn remote(provider: &str) -> RemoteRequest {
        RemoteRequest {
            model: "MiniMax-Hailuo-02".parse().unwrap(),
            provider: provider.parse().unwrap(),
            provider_model: "MiniMax-Hailuo-02".to_owned(),
            output: JobKind::Film,
            prompt: "a ship [Push in]".to_owned(),
            negative_prompt: None,
            frame: Some("768P".parse::<Frame>().unwrap()),
            seconds: Some(6),
            frames_per_second: None,
            seed: None,
            count: 1,
            pictures: Vec::new(),
            options: RemoteOptions::default(),
            estimated_cost_micros: 280_000,
        }
    }

    #[test]
    fn every_request_is_read_as_it_was_written() {
        let routed = RoutedRequest::new(
            "best".parse().unwrap(),
            vec![remote("minimax").into(), film(&[24, 24]).into(), remote("aliyun").into()],
        );
        for (request, several) in [
            (JobRequest::from(remote("minimax")), false),
            (JobRequest::from(film(&[24])), true),
            (JobRequest::from(routed.unwrap()), true),
        ] {
            let json = serde_json::to_string(&request).unwrap();
            let kind = request.kind().as_str();
            assert_eq!(JobRequest::from_json(kind, &json).unwrap(), request);
            assert_eq!((request.has_several_tasks(), JobRequest::may_have_several_tasks(kind, &json)), (several, several));
        }
    }

    #[test]
    fn a_route_is_of_one_kind_and_of_no_routes() {
        let name = || "best".parse().unwrap();
        let pictures = RemoteRequest { output: JobKind::Image, ..remote("minimax") };
        assert!(RoutedRequest::new(name(), vec![]).is_none());
        assert!(RoutedRequest::new(name(), vec![remote("minimax").into(), pictures.into()]).is_none());
        let route = RoutedRequest::new(name(), vec![remote("minimax").into()]).unwrap();
        assert!(RoutedRequest::new(name(), vec![route.into()]).is_none());
    }

    #[test]
    fn targets_are_tried_in_order() {
        let (first, second) = (JobRequest::from(remote("minimax")), JobRequest::from(film(&[24])));
        let route = JobRequest::from(RoutedRequest::new("best".parse().unwrap(), vec![first.clone(), second.clone()]).unwrap());
        assert_eq!((route.target(0), route.target(1), route.target(9)), (&first, &second, &second));
        assert_eq!(first.target(0), &first);
    }
}
