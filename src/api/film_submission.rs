//! From a film in a surface's words to an accepted job.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;

use super::error::ApiError;
use super::init_image::InitImage;
use super::linked_file::{LinkedFiles, is_link};
use super::model_choice::model_of_request;
use super::remote_submission::Translation;
use super::state::ApiState;
use super::submission::{Commission, absent_seed};
use crate::domain::{Callback, ModelDescription, ModelKind, RemoteOptions};
use crate::jobs::{InputPurpose, NewInput, NewJob};
use crate::media::video::probe_audio;
use crate::models::film_parameters::{FilmParameters, resolve_film_request};
use crate::models::remote_parameters::{RemoteExtras, RemoteModel, film_to_remote};

/// Most pictures of who or what appears.
const MOST_REFERENCES: usize = 8;
/// Longest sound track that may be sent, bytes.
const MOST_AUDIO_BYTES: usize = 24 << 20;

/// What every surface hands over.
#[derive(Debug, Default)]
pub(super) struct FilmOrder {
    /// The film; the sizes of the scenes' pictures are filled in here.
    pub(super) parameters: FilmParameters,
    /// For each scene, the picture that it begins with.
    pub(super) images: Vec<Option<OrderedFile>>,
    /// A sound track.
    pub(super) audio: Option<OrderedFile>,
    /// The picture that the film ends with; only some providers' models take one.
    pub(super) last_frame: Option<OrderedFile>,
    /// Pictures of who or what appears; only some providers' models take them.
    pub(super) references: Vec<OrderedFile>,
    /// How long a scene is that names no duration, seconds, where a model of this server makes it; absent: one clip, as the model makes it.
    pub(super) default_seconds: Option<f64>,
    /// What only providers' models can be asked for. Models of this server ignore it.
    pub(super) options: RemoteOptions,
    /// The model of the scenes' first pictures.
    pub(super) image_model: Option<String>,
    /// Higher goes first; what the policies grant is added here.
    pub(super) priority: i32,
    /// The client's `Idempotency-Key`.
    pub(super) idempotency_key: Option<String>,
    /// Where the job tells what became of it.
    pub(super) callback: Option<Callback>,
}

/// A file as a client sent it.
#[derive(Clone, Debug)]
pub(super) enum OrderedFile {
    /// Base64, bare or in a data URL; or a link.
    Text(String),
    /// Its bytes.
    Bytes(Bytes),
}

impl Commission<'_> {
    /// The job that an order asks for, with every default filled in, and nothing reserved yet.
    pub(super) async fn fill_in_film(&self, state: &ApiState, order: FilmOrder) -> Result<NewJob, ApiError> {
        let FilmOrder {
            mut parameters,
            images,
            audio,
            last_frame,
            references,
            default_seconds,
            options,
            image_model,
            priority,
            idempotency_key,
            callback,
        } = order;
        // What is wrong with the numbers is told before pictures are decoded for it.
        let too_many = parameters.scenes.len() > crate::models::film_parameters::MOST_SCENES;
        let mut inputs = Vec::new();
        if !too_many {
            for (index, image) in images.into_iter().enumerate() {
                let Some(image) = image else { continue };
                let InitImage { png, size } = state.init_images.decode_file(format!("scenes[{index}].image"), image).await?;
                if let Some(scene) = parameters.scenes.get_mut(index) {
                    scene.image_size = Some(size);
                }
                inputs.push(NewInput { purpose: InputPurpose::Scene(index), bytes: png });
            }
        }
        if let Some(audio) = audio {
            parameters.has_audio = true;
            inputs.push(NewInput { purpose: InputPurpose::Audio, bytes: checked_audio(audio, &state.linked_files).await? });
        }
        let extras = self.extra_pictures(state, &parameters, last_frame, references, &mut inputs).await?;
        let extras = RemoteExtras { options, ..extras };
        let seed = absent_seed(self.principal, idempotency_key.as_deref())?;
        let said = ("film", &parameters, &extras, default_seconds, &image_model, priority);
        let idempotency_key = self.named(idempotency_key, &said)?;
        let needs_keyframes = parameters.scenes.iter().any(|scene| scene.image_size.is_none());
        let image_model = if needs_keyframes {
            let is_named = image_model.is_some();
            match model_of_request(state, self.principal, &self.tenancy, ModelKind::Image, image_model).await {
                Ok(model) => Some(model),
                Err(error) if is_named => return Err(error.with_field("image_model")),
                Err(_) => None,
            }
        } else {
            None
        };
        let local = |model: &ModelDescription| {
            if extras.last_frame_size.is_some() || !extras.reference_sizes.is_empty() {
                let problem = format!("'{}' takes no last frame and no references; leave them out", model.id);
                return Err(ApiError::invalid("model", problem));
            }
            let networks = &state.settings.networks;
            let mut parameters = parameters.clone();
            for scene in &mut parameters.scenes {
                scene.duration = scene.duration.or(default_seconds);
            }
            Ok(resolve_film_request(parameters, model, image_model.as_ref(), networks, seed)?.into())
        };
        let remote = |model: &RemoteModel| film_to_remote(&parameters, &extras, model);
        let request = self.translated(state, &Translation { local: &local, remote: &remote })?;
        Ok(NewJob {
            request,
            inputs,
            priority: state.tenants.priority(self.tenancy.user(), self.tenancy.project(), priority),
            project: self.tenancy.project().cloned(),
            reservations: Vec::new(),
            retry_of: None,
            idempotency_key,
            callback,
        })
    }
}

impl Commission<'_> {
    /// Decodes the pictures that only providers take, and puts them behind the first scene's.
    async fn extra_pictures(
        &self,
        state: &ApiState,
        parameters: &FilmParameters,
        last_frame: Option<OrderedFile>,
        references: Vec<OrderedFile>,
        inputs: &mut Vec<NewInput>,
    ) -> Result<RemoteExtras, ApiError> {
        if references.len() > MOST_REFERENCES {
            let problem = format!("are {}; at most {MOST_REFERENCES} are allowed", references.len());
            return Err(ApiError::invalid("references", problem));
        }
        let has_first = parameters.scenes.first().is_some_and(|scene| scene.image_size.is_some());
        let mut index = usize::from(has_first);
        let mut extras = RemoteExtras::default();
        if let Some(file) = last_frame {
            let InitImage { png, size } = state.init_images.decode_file("last_frame", file).await?;
            inputs.push(NewInput { purpose: InputPurpose::Picture(index), bytes: png });
            extras.last_frame_size = Some(size);
            index += 1;
        }
        for (number, file) in references.into_iter().enumerate() {
            let InitImage { png, size } = state.init_images.decode_file(format!("references[{number}]"), file).await?;
            inputs.push(NewInput { purpose: InputPurpose::Picture(index + number), bytes: png });
            extras.reference_sizes.push(size);
        }
        Ok(extras)
    }
}

/// The bytes of a sound track that can be decoded.
async fn checked_audio(file: OrderedFile, linked_files: &LinkedFiles) -> Result<Bytes, ApiError> {
    const FIELD: &str = "audio";
    let file = match file {
        OrderedFile::Text(link) if is_link(&link) => {
            OrderedFile::Bytes(linked_files.fetch(FIELD, &link, MOST_AUDIO_BYTES as u64).await?)
        }
        sent => sent,
    };
    let checking = tokio::task::spawn_blocking(move || {
        let bytes = match file {
            OrderedFile::Bytes(bytes) => bytes,
            OrderedFile::Text(text) => {
                let data = text.split_once(";base64,").map_or(text.as_str(), |(_, data)| data);
                let decoded = BASE64_STANDARD.decode(data.trim());
                decoded.map_err(|error| ApiError::invalid(FIELD, format!("is not base64 of a sound file: {error}")))?.into()
            }
        };
        if bytes.len() > MOST_AUDIO_BYTES {
            let problem = format!("has {} bytes; at most {MOST_AUDIO_BYTES} are allowed", bytes.len());
            return Err(ApiError::invalid(FIELD, problem));
        }
        let directory = scratch_directory()?;
        let path = directory.join("audio");
        let probed = std::fs::write(&path, &bytes).map_err(ApiError::internal).and_then(|()| {
            probe_audio(&path, &|| false).map_err(|error| ApiError::invalid(FIELD, format!("cannot be used: {error}")))
        });
        if let Err(error) = std::fs::remove_dir_all(&directory) {
            tracing::warn!(%error, "Cannot remove a sound file that was looked at: {error}");
        }
        probed.map(|_| bytes)
    });
    checking.await.map_err(ApiError::internal)?
}

/// A new directory for a file that is looked at once.
fn scratch_directory() -> Result<std::path::PathBuf, ApiError> {
    let name = format!("framewright-audio-{}", uuid::Uuid::now_v7().simple());
    let path = std::env::temp_dir().join(name);
    std::fs::create_dir(&path).map_err(ApiError::internal)?;
    Ok(path)
}
