//! A create: the request with its pictures, written and sent, once or as often as is safe.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::body_budget::{self, BodyShare};
use super::failures::call_outcome;
use super::generation::{self, PictureError};
use super::patience::Patience;
use super::run::{LONGEST_WAIT, Run};
use super::sending::{Letter, Purpose, send};
use super::station::AccountLease;
use crate::domain::{RemotePicture, WireCall};
use crate::ledger::NewCall;
use crate::providers::capabilities::Model;
use crate::providers::{
    self, CreateOptions, Created, FailureClass, Finished, GenerationRequest, ProviderFailure, RemoteTask, RequestRefusal,
    Underway,
};

/// How often a create of unknown outcome is sent again where the provider knows it by our id.
const MOST_REPETITIONS: u32 = 2;
/// The pause before a create is sent again, milliseconds; it doubles.
pub(super) const CREATE_PAUSE_MS: u64 = 250;

/// What a create gave.
pub(super) enum Sent {
    /// A task to follow.
    Taken(RemoteTask, Underway),
    /// The results.
    Finished(Finished),
    /// Nothing.
    Failed(ProviderFailure),
}

/// A request that can be sent, and the memory that it takes.
pub(super) struct Sendable {
    request: Arc<GenerationRequest>,
    _share: BodyShare,
}

/// A failure before anything was sent.
pub(super) enum Unsendable {
    /// As the request is.
    Refused(String),
    /// A file of the request cannot be read.
    Unreadable(String),
}

impl Run<'_> {
    /// Sends a create, and again where its outcome is unknown and the provider knows it by our id. Once it is unknown (`is_unknown`: it was
    /// before), a failure says nothing of the send before: only what was accepted is known.
    pub(super) async fn create(
        &self,
        lease: &AccountLease,
        call: &NewCall,
        request: &Sendable,
        mut is_unknown: bool,
    ) -> Result<Sent, Unsendable> {
        let (provider, model) = (lease.provider(), call.model.as_str());
        let knows_our_id = lease.following(model).knows_our_id;
        let callbacks = self.inner.parts.callbacks.as_ref();
        let callback_url = callbacks.and_then(|callbacks| callbacks.url(lease.settings.entry.kind, &self.station.id));
        let options = CreateOptions { our_id: knows_our_id.then(|| call.our_id.clone()), callback_url };
        let mut repetitions = 0;
        loop {
            let letter = self.letter(lease, model, request, &options).await?;
            let begun = Instant::now();
            let answered = send(&self.inner.parts.exchange, letter, Purpose::Create, self.next_answer_place()).await;
            let created = answered.and_then(|(response, place)| {
                let created = provider.read_created(model, &response.wire());
                self.keep_place(place.filter(|_| matches!(created, Ok(Created::Finished(_)))));
                created
            });
            self.called(WireCall::Create, call_outcome(&created), begun.elapsed());
            let created = created.map_err(|failure| lease.without_secrets(failure));
            match created {
                Ok(Created::Accepted { task, state }) => return Ok(Sent::Taken(self.task(task), state)),
                Ok(Created::Finished(finished)) => return Ok(Sent::Finished(finished)),
                Err(failure)
                    if failure.class == FailureClass::OutcomeUnknown && knows_our_id && repetitions < MOST_REPETITIONS =>
                {
                    is_unknown = true;
                    repetitions += 1;
                    self.rest(Duration::from_millis(CREATE_PAUSE_MS << repetitions)).await;
                }
                Err(failure) if is_unknown => {
                    return Ok(Sent::Failed(ProviderFailure { class: FailureClass::OutcomeUnknown, ..failure }));
                }
                Err(failure) => return Ok(Sent::Failed(failure)),
            }
        }
    }

    /// The create. With pictures writing it takes a while, and is done off the async threads.
    async fn letter(
        &self,
        lease: &AccountLease,
        model: &str,
        request: &Sendable,
        options: &CreateOptions,
    ) -> Result<Letter, Unsendable> {
        let refused = |refusal: RequestRefusal| Unsendable::Refused(refusal.to_string());
        let (request, now) = (request.request.clone(), self.inner.now());
        if request.pictures.is_empty() {
            let wire = providers::create(lease.provider(), model, &request, options, now);
            return wire.map(|wire| Letter::of(&wire)).map_err(refused);
        }
        let (provider, model, options) = (lease.account.provider.clone(), model.to_owned(), options.clone());
        let written = tokio::task::spawn_blocking(move || {
            providers::create(&*provider, &model, &request, &options, now).map(|wire| Letter::of(&wire))
        });
        written.await.map_err(|error| Unsendable::Unreadable(error.to_string()))?.map_err(refused)
    }

    /// Bytes of the stored files of the request's pictures. What is not there is found when it is read.
    async fn file_bytes(&self) -> Vec<u64> {
        if self.work.request.pictures.is_empty() {
            return Vec::new();
        }
        let files = self.work.request.pictures.iter().filter_map(|picture| picture.file.as_ref());
        let paths: Vec<_> = files.filter_map(|file| self.inner.parts.storage.local_path(&file.key).ok()).collect();
        let sizes = tokio::task::spawn_blocking(move || {
            paths.iter().filter_map(|path| std::fs::metadata(path).ok()).map(|file| file.len()).collect()
        });
        sizes.await.unwrap_or_default()
    }

    /// What the request's body takes of the memory.
    pub(super) async fn body_bytes(&self) -> u64 {
        body_budget::bytes_of(&self.work.request.pictures, &self.file_bytes().await)
    }

    /// Waits for so much memory, without a bound: nobody else may need what the task holds meanwhile.
    pub(super) fn body_share(&self, bytes: u64) -> impl Future<Output = BodyShare> {
        self.inner.bodies.take(&self.station.id, bytes)
    }

    /// Waits for so much memory, as long as the task may wait; none where it may not any more, or is told to stop.
    pub(super) async fn wait_for_memory(&self, bytes: u64, patience: Patience) -> Option<BodyShare> {
        let mut share = std::pin::pin!(self.body_share(bytes));
        // A provider that has come to rest meanwhile is seen once there is memory.
        while patience.waits(self.inner.now(), None) {
            tokio::select! {
                share = &mut share => return Some(share),
                () = self.told_to_stop() => return None,
                () = tokio::time::sleep(LONGEST_WAIT) => {}
            }
        }
        None
    }

    /// The request with the bytes of its pictures, which there is memory for.
    pub(super) async fn request(&self, lease: &AccountLease, share: BodyShare) -> Result<Sendable, Unsendable> {
        let request = Arc::new(self.generation(lease).await?);
        Ok(Sendable { request, _share: share })
    }

    async fn generation(&self, lease: &AccountLease) -> Result<GenerationRequest, Unsendable> {
        let request = &self.work.request;
        let rule = providers::model(lease.provider(), &request.provider_model)
            .and_then(|model: &Model| model.mode(generation::kind_of(request)))
            .map(|mode| mode.pictures);
        let mut files: Vec<Bytes> = Vec::new();
        for picture in &request.pictures {
            let Some(file) = &picture.file else {
                return Err(Unsendable::Unreadable("a picture of the request is not stored".to_owned()));
            };
            let bytes = self.inner.parts.storage.get(&file.key).await;
            files.push(
                bytes.map_err(|error| Unsendable::Unreadable(format!("a picture of the request cannot be read: {error}")))?,
            );
        }
        let Some(rule) = rule.filter(|_| !files.is_empty()) else {
            return Ok(generation::generation(request, Vec::new()));
        };
        let pictures = request.pictures.clone();
        let encoded = tokio::task::spawn_blocking(move || {
            let encode = |(picture, bytes): (&RemotePicture, &Bytes)| generation::picture(picture, bytes, &rule);
            pictures.iter().zip(&files).map(encode).collect::<Result<Vec<_>, PictureError>>()
        });
        let unreadable = |error: &dyn std::fmt::Display| Unsendable::Unreadable(error.to_string());
        let pictures = encoded.await.map_err(|error| unreadable(&error))?.map_err(|error| unreadable(&error))?;
        Ok(generation::generation(request, pictures))
    }
}
