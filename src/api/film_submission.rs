//! From a film in a surface's words to an accepted job.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;

use super::error::ApiError;
use super::init_image::InitImage;
use super::linked_file::{LinkedFiles, is_link};
use super::model_choice::model_of_request;
use super::state::ApiState;
use super::submission::{Commission, absent_seed};
use crate::domain::{Callback, ModelKind};
use crate::jobs::{InputPurpose, NewInput, NewJob};
use crate::media::video::probe_audio;
use crate::models::film_parameters::{FilmParameters, resolve_film_request};

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
        let FilmOrder { mut parameters, images, audio, image_model, priority, idempotency_key, callback } = order;
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
        let seed = absent_seed(self.principal, idempotency_key.as_deref())?;
        let film = resolve_film_request(parameters, &self.model, image_model.as_ref(), &state.settings.networks, seed)?;
        Ok(NewJob {
            request: film.into(),
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
