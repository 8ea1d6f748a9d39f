//! From checked words of a surface to an accepted job.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::error::ApiError;
use super::film_submission::OrderedFile;
use super::model_choice::target_of_request;
use super::remote_submission::Translation;
use super::state::ApiState;
use super::target::Target;
use super::tenancy::Tenancy;
use crate::domain::{
    Callback, FilmRequest, Job, JobId, JobObserver, JobRequest, JobState, ModelDescription, ModelKind, Principal, RemoteOptions,
    RemoteRequest, Sha256Digest,
};
use crate::jobs::{InputPurpose, JobServiceError, NamedRequest, NewInput, NewJob, Retry, retry as again};
use crate::media::mask::MaskReading;
use crate::models::parameters::{ImageParameters, resolve_image_request};
use crate::models::remote_parameters::{RemoteModel, image_to_remote};
use crate::scheduler::forecast::Forecast;

const MAX_IDEMPOTENCY_KEY_BYTES: usize = 255;

/// What every surface hands over.
#[derive(Debug, Default)]
pub(super) struct Submission {
    /// The picture's parameters; the size of the initial picture, and whether it has a mask, are filled in here.
    pub(super) parameters: ImageParameters,
    /// The picture to start from, as the client sent it.
    pub(super) init_image: Option<OrderedFile>,
    /// What of it is repainted.
    pub(super) mask: Option<SentMask>,
    /// What only providers' models can be asked for. Models of this server ignore it.
    pub(super) options: RemoteOptions,
    /// Higher goes first; what the policies grant is added here.
    pub(super) priority: i32,
    /// The client's `Idempotency-Key`.
    pub(super) idempotency_key: Option<String>,
    /// Where the job tells what became of it.
    pub(super) callback: Option<Callback>,
}

/// A mask as a client sent it.
#[derive(Clone, Debug)]
pub(super) struct SentMask {
    /// The picture.
    pub(super) file: OrderedFile,
    /// What of it says where to repaint.
    pub(super) reading: MaskReading,
}

/// Who asks, for whom, and which model is meant.
#[derive(Debug)]
pub(super) struct Commission<'a> {
    pub(super) principal: &'a Principal,
    pub(super) tenancy: Tenancy,
    /// The model in the words of this server's own, whoever runs it.
    pub(super) model: ModelDescription,
    /// Who runs it.
    pub(super) target: Target,
    /// Who is asked for what, in the client's words.
    asked: AskedModel,
}

/// The model and the provider that a client named.
#[derive(Clone, Debug, Serialize)]
struct AskedModel {
    model: Option<String>,
    provider: Option<String>,
}

impl<'a> Commission<'a> {
    /// Finds the project and the model that a request for what a `kind` of model makes means.
    pub(super) async fn new(
        state: &ApiState,
        principal: &'a Principal,
        project_id: Option<&str>,
        kind: ModelKind,
        model: Option<String>,
    ) -> Result<Self, ApiError> {
        Self::to_provider(state, principal, project_id, kind, None, model).await
    }

    /// The same of a provider that the request names: `local`, or one of the configured ones.
    pub(super) async fn to_provider(
        state: &ApiState,
        principal: &'a Principal,
        project_id: Option<&str>,
        kind: ModelKind,
        provider: Option<&str>,
        model: Option<String>,
    ) -> Result<Self, ApiError> {
        let tenancy = Tenancy::of_request(state, principal, project_id)?;
        let asked = AskedModel { model: model.clone(), provider: provider.map(str::to_owned) };
        let (model, target) = target_of_request(state, principal, &tenancy, kind, provider, model).await?;
        Ok(Self { principal, tenancy, model, target, asked })
    }

    /// The request under the client's name for it; `said` is all that the client said beside model, provider, files, project and callback.
    pub(super) fn named(&self, name: Option<String>, said: &impl Serialize) -> Result<Option<NamedRequest>, ApiError> {
        let Some(name) = name else { return Ok(None) };
        let json = serde_json::to_vec(&(&self.asked, said)).map_err(ApiError::internal)?;
        Ok(Some(NamedRequest { name, asked: Sha256Digest::of(&json) }))
    }

    /// The job that a submission asks for, with every default filled in, and nothing reserved yet.
    pub(super) async fn fill_in(&self, state: &ApiState, submission: Submission) -> Result<NewJob, ApiError> {
        let Submission { mut parameters, init_image, mask, options, priority, idempotency_key, callback } = submission;
        let mut inputs = Vec::new();
        if let Some(file) = init_image {
            let picture = state.init_images.decode_file("init_image", file).await?;
            parameters.init_image_size = Some(picture.size);
            inputs.push(NewInput { purpose: InputPurpose::InitImage, bytes: picture.png });
        }
        if let Some(SentMask { file, reading }) = mask {
            let mask = state.init_images.decode_mask("mask", file, reading).await?;
            parameters.has_mask = true;
            inputs.push(NewInput { purpose: InputPurpose::Mask, bytes: mask.png });
        }
        let seed = absent_seed(self.principal, idempotency_key.as_deref())?;
        let idempotency_key = self.named(idempotency_key, &("pictures", &parameters, &options, priority))?;
        let local = |model: &ModelDescription| Ok(resolve_image_request(parameters.clone(), model, seed)?.into());
        let remote = |model: &RemoteModel| {
            let request = image_to_remote(&parameters, model)?;
            Ok(RemoteRequest { options: options.clone(), ..request })
        };
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

    /// The request to whoever runs the model.
    pub(super) fn translated(&self, state: &ApiState, translation: &Translation<'_>) -> Result<JobRequest, ApiError> {
        match &self.target {
            Target::Local => (translation.local)(&self.model),
            Target::Offered(offered) => translation.offered(state, offered),
            Target::Route(route) => translation.routed(state, &self.tenancy, route),
        }
    }

    /// Checks and submits.
    pub(super) async fn submit(&self, state: &ApiState, submission: Submission) -> Result<Job, ApiError> {
        let job = self.fill_in(state, submission).await?;
        self.submit_filled(state, job).await
    }

    /// Submits a job that has been filled in.
    pub(super) async fn submit_filled(&self, state: &ApiState, mut job: NewJob) -> Result<Job, ApiError> {
        job.reservations = self.tenancy.reserve(state, &job.request)?;
        state.jobs.submit(self.principal, job).await.map_err(|error| not_accepted(state, error))
    }
}

/// The seed of a request that names none.
pub(super) fn absent_seed(principal: &Principal, idempotency_key: Option<&str>) -> Result<u64, ApiError> {
    match idempotency_key {
        Some(key) => Ok(repeatable_seed(principal, key)),
        None => Ok(getrandom::u32().map_err(|error| ApiError::internal(error.to_string()))?.into()),
    }
}

/// Submits the request of an ended job again; its user and its project pay for it once more.
pub(super) async fn retry(state: &ApiState, principal: &Principal, id: JobId, retry: Retry) -> Result<Job, ApiError> {
    let job = state.jobs.get(principal, id).await?;
    let request = again::request(&job, &retry)?;
    let reservations = Tenancy::of_job(state, principal, &job)?.reserve(state, &request)?;
    state.jobs.retry(principal, id, retry, reservations).await.map_err(|error| not_accepted(state, error))
}

/// Submits a film that was made from an ended one's request, with the networks of now; the earlier one's user and project pay for it.
pub(super) async fn submit_derived(
    state: &ApiState,
    principal: &Principal,
    earlier: &Job,
    mut film: FilmRequest,
    inputs: Vec<NewInput>,
) -> Result<Job, ApiError> {
    film.name_networks(&state.settings.networks);
    let request = JobRequest::from(film);
    let reservations = Tenancy::of_job(state, principal, earlier)?.reserve(state, &request)?;
    state.jobs.derive(principal, earlier.id, request, inputs, reservations).await.map_err(|error| not_accepted(state, error))
}

/// A refusal by a quota says which and until when, and is counted.
fn not_accepted(state: &ApiState, error: JobServiceError) -> ApiError {
    match error {
        JobServiceError::Quota(refusal) => {
            state.metrics.quota_refused(refusal.reservation.key.meter);
            ApiError::quota(&refusal, state.tenants.zone(), state.clock.now())
        }
        other => other.into(),
    }
}

/// What a waiting job can expect; `None` when it does not wait.
pub(super) fn forecast(state: &ApiState, job: &Job) -> Option<Forecast> {
    if job.state == JobState::Queued { state.scheduler.forecast(job.id) } else { None }
}

/// The same for a page of jobs, in their order.
pub(super) fn forecasts(state: &ApiState, jobs: &[Job]) -> Vec<Option<Forecast>> {
    let waiting: Vec<JobId> = jobs.iter().filter(|job| job.state == JobState::Queued).map(|job| job.id).collect();
    let mut forecasts = state.scheduler.forecasts(&waiting).into_iter();
    jobs.iter().map(|job| if job.state == JobState::Queued { forecasts.next().flatten() } else { None }).collect()
}

/// The same for a job that was accepted a moment ago, which the scheduler may not have seen yet.
pub(super) fn forecast_accepted(state: &ApiState, job: &Job) -> Option<Forecast> {
    let is_waiting = job.state == JobState::Queued;
    is_waiting.then(|| state.scheduler.forecast(job.id).unwrap_or_else(|| state.scheduler.forecast_new(&job.request)))
}

/// The seed of a request that names none but has an idempotency key: sent again, it must be the same request.
///
/// Like the random ones it has 32 bits, which every other program's seed field and JSON's numbers can hold.
fn repeatable_seed(principal: &Principal, idempotency_key: &str) -> u64 {
    let hash = Sha256::new().chain_update(principal.user.as_str()).chain_update([0]).chain_update(idempotency_key).finalize();
    u64::from(u32::from_le_bytes([hash[0], hash[1], hash[2], hash[3]]))
}

/// The `Idempotency-Key` header.
pub(super) struct IdempotencyKey(pub(super) Option<String>);

impl<S: Sync> FromRequestParts<S> for IdempotencyKey {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let Some(value) = parts.headers.get("idempotency-key") else { return Ok(Self(None)) };
        match value.to_str() {
            Ok(key) if !key.is_empty() && key.len() <= MAX_IDEMPOTENCY_KEY_BYTES => Ok(Self(Some(key.to_owned()))),
            _ => Err(ApiError::invalid(
                "Idempotency-Key",
                format!("must be 1 to {MAX_IDEMPOTENCY_KEY_BYTES} visible ASCII characters"),
            )),
        }
    }
}
