//! Results, fetched from wherever the provider keeps them, and kept here. Links live for an hour or a day: they are opened at once.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bytes::Bytes;
use secrecy::ExposeSecret;
use tokio_util::sync::CancellationToken;

use super::failures::class_word;
use super::follow::ask;
use super::run::Run;
use super::sending::outgoing;
use super::station::AccountLease;
use crate::domain::{Artifact, CallOutcome, JobKind, Sha256Digest, VideoFacts, WireCall};
use crate::execution::film::sheet;
use crate::execution::results::{Attempt, THUMBNAIL_SIDE, file_sha256};
use crate::media::decode::decode_image;
use crate::media::encode::thumbnail;
use crate::media::video::{self, MediaError};
use crate::net::egress::UserUrl;
use crate::net::exchange::SavedReply;
use crate::net::retry::{Failure, Repetition};
use crate::net::{FetchError, Limits};
use crate::providers::{FailureClass, ProviderFailure, RemoteResult, ResultSource, WireRequest};
use crate::storage::{ArtifactStorage, StorageError, sprite_sheet_key, thumbnail_key};

/// The largest film that is fetched.
const MOST_FILM_BYTES: u64 = 2 << 30;
/// The largest picture that is fetched.
const MOST_PICTURE_BYTES: u64 = 64 << 20;
/// How long a result may take to come.
const FETCH_TIME: Duration = Duration::from_mins(20);
/// Between two parts of it.
const IDLE_TIME: Duration = Duration::from_mins(1);
/// How often a link is tried that could be opened.
const MOST_TRIES: u32 = 3;
/// The pause before it is tried again; it doubles.
const PAUSE: Duration = Duration::from_millis(250);

/// Why a result is not here.
#[derive(Debug, thiserror::Error)]
pub(super) enum DownloadError {
    /// Its link is not valid any more.
    #[error("the result's link is not valid any more: {0}")]
    Expired(FetchError),
    /// It cannot be reached at the moment.
    #[error("the result cannot be fetched: {0}")]
    Unreachable(FetchError),
    /// It lies where this server does not go, or what comes is none.
    #[error("the result cannot be fetched: {0}")]
    Refused(FetchError),
    /// The provider does not give it.
    #[error("the result cannot be fetched: {0}")]
    Provider(ProviderFailure),
    /// What came is no picture and no film.
    #[error("what the provider gave is no {expected} that can be read: {reason}")]
    NotMedia {
        /// `picture` or `film`.
        expected: &'static str,
        /// Why.
        reason: String,
    },
    /// It cannot be kept.
    #[error("the result cannot be stored: {0}")]
    Storage(String),
    /// Somebody asked to stop.
    #[error("interrupted")]
    Interrupted,
}

impl DownloadError {
    /// Whether fresh links may help.
    pub(super) const fn may_be_asked_again(&self) -> bool {
        match self {
            Self::Expired(_) | Self::Unreachable(_) => true,
            // A task that failed after all has failed.
            Self::Provider(failure) => failure.class.may_read_again(),
            _ => false,
        }
    }

    /// What became of the call that was to bring a result, for those who count; none where none left this server, because its own rules
    /// refuse the link or a header cannot be sent, and where it says nothing of the provider.
    fn outcome(&self) -> Option<CallOutcome> {
        let class = match self {
            Self::Refused(error) if error.failure() == Failure::Refused => return None,
            Self::Unreachable(FetchError::NoAddress { is_refused: true, .. })
            | Self::Provider(_)
            | Self::NotMedia { .. }
            | Self::Storage(_)
            | Self::Interrupted => return None,
            Self::Unreachable(_) => FailureClass::Transient,
            Self::Expired(_) | Self::Refused(_) => FailureClass::Upstream,
        };
        Some(CallOutcome::Failed(class_word(class)))
    }

    fn of(error: FetchError) -> Self {
        match (&error, error.failure()) {
            (FetchError::Disk(_), _) => Self::Storage(error.to_string()),
            (FetchError::Status { status: 400 | 401 | 403 | 404 | 410, .. }, _) => Self::Expired(error),
            (_, failure) if failure.may_be_sent_again(Repetition::Harmless) => Self::Unreachable(error),
            (_, Failure::Answered { .. }) => Self::Expired(error),
            _ => Self::Refused(error),
        }
    }
}

impl From<StorageError> for DownloadError {
    fn from(error: StorageError) -> Self {
        Self::Storage(error.to_string())
    }
}

impl From<std::io::Error> for DownloadError {
    fn from(error: std::io::Error) -> Self {
        Self::Storage(error.to_string())
    }
}

/// What is kept of a task's results.
pub(super) struct Kept {
    /// The files.
    pub(super) artifacts: Vec<Artifact>,
    /// The links that they were fetched from.
    pub(super) links: Vec<String>,
}

/// Where a result's bytes are.
enum Place<'a> {
    Link(&'a str),
    Call(WireRequest),
    Here(&'a Bytes),
}

/// Fetches and keeps a task's results: as many as were asked for.
pub(super) async fn keep_all(run: &Run<'_>, lease: &AccountLease, results: &[RemoteResult]) -> Result<Kept, DownloadError> {
    let request = &run.work.request;
    let results = resolved(run, lease, results).await?;
    let mut kept = Kept { artifacts: Vec::new(), links: Vec::new() };
    for (index, result) in results.iter().take(request.count.max(1) as usize).enumerate() {
        let place = place_of(run, lease, result)?;
        let artifact = match request.output {
            JobKind::Film => film(run, index, &place).await?,
            JobKind::Image => picture(run, index, &place).await?,
        };
        kept.artifacts.push(artifact);
        match place {
            Place::Link(link) => kept.links.push(link.to_owned()),
            Place::Call(_) | Place::Here(_) => {}
        }
    }
    if kept.artifacts.is_empty() {
        return Err(DownloadError::Provider(ProviderFailure::new(FailureClass::TaskFailed, "no_result", "no result came")));
    }
    Ok(kept)
}

/// The results with those that are ids made links.
async fn resolved(run: &Run<'_>, lease: &AccountLease, results: &[RemoteResult]) -> Result<Vec<RemoteResult>, DownloadError> {
    let provider = lease.provider();
    let mut resolved = Vec::new();
    for result in results {
        match provider.fetch(result, run.inner.now()) {
            Some(wire) => {
                let answered = ask(run, lease, WireCall::Fetch, &wire, |answer| provider.read_fetched(result, answer)).await;
                resolved.extend(answered.map_err(DownloadError::Provider)?);
            }
            None => resolved.push(result.clone()),
        }
    }
    Ok(resolved)
}

fn place_of<'a>(run: &Run<'_>, lease: &AccountLease, result: &'a RemoteResult) -> Result<Place<'a>, DownloadError> {
    if let Some(wire) = lease.provider().download(result, run.inner.now()) {
        return Ok(Place::Call(wire));
    }
    match &result.source {
        ResultSource::Link(link) => Ok(Place::Link(link.expose_secret())),
        ResultSource::Inline { bytes, .. } => Ok(Place::Here(bytes)),
        ResultSource::File(_) => {
            let failure = ProviderFailure::new(FailureClass::Upstream, "no_link", "the result has no link");
            Err(DownloadError::Provider(failure))
        }
    }
}

/// Ends when somebody asks to stop.
async fn stopped(run: &Run<'_>) {
    tokio::select! {
        () = run.work.stop.cancelled() => {}
        () = run.work.leave.cancelled() => {}
    }
}

/// What `fetch` gives, tried again where that may help; nothing once somebody asks to stop.
async fn with_patience<T, F>(run: &Run<'_>, fetch: impl Fn() -> F) -> Result<T, DownloadError>
where
    F: Future<Output = Result<T, DownloadError>>,
{
    let mut tries = 1;
    loop {
        let fetched = tokio::select! {
            fetched = fetch() => fetched,
            () = stopped(run) => return Err(DownloadError::Interrupted),
        };
        match fetched {
            Err(DownloadError::Unreachable(_)) if tries < MOST_TRIES => tries += 1,
            fetched => return fetched,
        }
        tokio::select! {
            () = tokio::time::sleep(PAUSE * (1 << tries)) => {}
            () = stopped(run) => return Err(DownloadError::Interrupted),
        }
    }
}

/// Brings a result into a file, once.
async fn fetch_to_file(run: &Run<'_>, place: &Place<'_>, most_bytes: u64, path: &Path) -> Result<(), DownloadError> {
    let begun = Instant::now();
    let fetched = bring_to_file(run, place, most_bytes, path).await;
    let outcome = fetched.as_ref().map_or_else(DownloadError::outcome, |()| Some(CallOutcome::Answered));
    if let Some(outcome) = outcome.filter(|_| !matches!(place, Place::Here(_))) {
        run.called(WireCall::Download, outcome, begun.elapsed());
    }
    fetched
}

async fn bring_to_file(run: &Run<'_>, place: &Place<'_>, most_bytes: u64, path: &Path) -> Result<(), DownloadError> {
    let limits = Limits { max_bytes: most_bytes, total: FETCH_TIME, idle: IDLE_TIME };
    let policy = run.inner.parts.egress.policy();
    match place {
        Place::Link(link) => {
            let link = policy.check(link).map_err(|reason| DownloadError::Refused(reason.into()))?;
            open_link(run, &link, &limits, path).await
        }
        Place::Here(bytes) => {
            let (bytes, path) = ((*bytes).clone(), path.to_owned());
            let written = tokio::task::spawn_blocking(move || File::create(&path).and_then(|mut file| file.write_all(&bytes)));
            written.await.map_err(|error| DownloadError::Storage(error.to_string()))?.map_err(DownloadError::from)
        }
        Place::Call(wire) => {
            let refused = || DownloadError::Provider(ProviderFailure::not_sent("a header of the call cannot be sent"));
            let call = outgoing(wire).ok_or_else(refused)?;
            let host = || wire.url.host_str().unwrap_or_default().to_owned();
            let saved = run.inner.parts.exchange.send_to_file(call, &limits, path).await.map_err(DownloadError::of)?;
            match saved {
                SavedReply::Saved { .. } => Ok(()),
                // Without the credential, which is for the provider's own host.
                SavedReply::Elsewhere(link) => {
                    let refused = |reason| DownloadError::Refused(FetchError::Redirect { host: host(), reason });
                    open_link(run, &policy.check(&link).map_err(refused)?, &limits, path).await
                }
                SavedReply::Refused(reply) => {
                    Err(DownloadError::of(FetchError::Status { host: host(), status: reply.status, retry_after: None }))
                }
            }
        }
    }
}

async fn open_link(run: &Run<'_>, link: &UserUrl, limits: &Limits, path: &Path) -> Result<(), DownloadError> {
    run.inner.parts.egress.get_to_file(link, limits, path).await.map(drop).map_err(DownloadError::of)
}

async fn film(run: &Run<'_>, index: usize, place: &Place<'_>) -> Result<Artifact, DownloadError> {
    let (draft, work) = (draft(run, index).await?, run.work);
    with_patience(run, || fetch_to_file(run, place, MOST_FILM_BYTES, &draft)).await?;
    let (storage, attempt, seed) = (run.inner.parts.storage.clone(), work.attempt.clone(), work.request.seed.unwrap_or(0));
    let tokens = [work.stop.clone(), work.leave.clone()];
    let kept = tokio::task::spawn_blocking(move || keep_film(&storage, &attempt, index, &draft, seed, &tokens));
    kept.await.map_err(|error| DownloadError::Storage(error.to_string()))?
}

async fn picture(run: &Run<'_>, index: usize, place: &Place<'_>) -> Result<Artifact, DownloadError> {
    let (draft, work) = (draft(run, index).await?, run.work);
    with_patience(run, || fetch_to_file(run, place, MOST_PICTURE_BYTES, &draft)).await?;
    let (storage, attempt, seed) = (run.inner.parts.storage.clone(), work.attempt.clone(), work.request.seed.unwrap_or(0));
    let seed = seed.wrapping_add(index as u64);
    let kept = tokio::task::spawn_blocking(move || keep_picture(&storage, &attempt, index, &draft, seed));
    kept.await.map_err(|error| DownloadError::Storage(error.to_string()))?
}

/// Where a result is written until it is known to be one.
async fn draft(run: &Run<'_>, index: usize) -> Result<PathBuf, DownloadError> {
    let (storage, key) = (run.inner.parts.storage.clone(), run.work.attempt.key(index));
    let draft = tokio::task::spawn_blocking(move || storage.draft(&key));
    Ok(draft.await.map_err(|error| DownloadError::Storage(error.to_string()))??)
}

/// The ending and the media type of a film, by its first bytes.
fn film_type(head: &[u8]) -> Option<(&'static str, &'static str)> {
    match (head.get(..4)?, head.get(4..8), head.get(8..12)) {
        (b"\x1A\x45\xDF\xA3", _, _) => Some(("webm", "video/webm")),
        (_, Some(b"ftyp"), Some(b"qt  ")) => Some(("mov", "video/quicktime")),
        (_, Some(b"ftyp"), Some(_)) => Some(("mp4", "video/mp4")),
        _ => None,
    }
}

/// The ending and the media type of a picture, by its first bytes.
fn picture_type(head: &[u8]) -> Option<(&'static str, &'static str)> {
    match (head.get(..4)?, head.get(8..12)) {
        (b"\x89PNG", _) => Some(("png", "image/png")),
        ([0xFF, 0xD8, 0xFF, _], _) => Some(("jpg", "image/jpeg")),
        (b"RIFF", Some(b"WEBP")) => Some(("webp", "image/webp")),
        _ => None,
    }
}

/// Reads a fetched film, and gives it its name. Blocking.
fn keep_film(
    storage: &ArtifactStorage,
    attempt: &Attempt,
    index: usize,
    draft: &Path,
    seed: u64,
    tokens: &[CancellationToken; 2],
) -> Result<Artifact, DownloadError> {
    let interrupted = || tokens.iter().any(CancellationToken::is_cancelled);
    let not_film = |reason: String| DownloadError::NotMedia { expected: "film", reason };
    let unreadable = |error: MediaError| match error {
        MediaError::Interrupted => DownloadError::Interrupted,
        error => not_film(error.to_string()),
    };
    let mut head = Vec::new();
    File::open(draft)?.take(12).read_to_end(&mut head)?;
    let (ending, media_type) = film_type(&head).ok_or_else(|| not_film("it is neither MP4, WebM nor QuickTime".to_owned()))?;
    let facts = video::probe(draft, &interrupted).map_err(unreadable)?;
    let thumbnail = video::thumbnail(draft, facts.frames / 2, THUMBNAIL_SIDE, &interrupted).map_err(unreadable)?;
    let sheet = sheet(draft, &interrupted).map_err(unreadable)?;
    let (sha256, bytes) = (file_sha256(draft)?, std::fs::metadata(draft)?.len());
    let (usual, key) = (attempt.key(index), attempt.remote_key(index, ending));
    let named = storage.draft(&key)?;
    if named != draft {
        std::fs::rename(draft, named)?;
    }
    storage.keep(&key)?;
    let (thumbnail_key, sheet_key) = (thumbnail_key(&usual), sprite_sheet_key(&usual));
    storage.put_together(&[(&thumbnail_key, &thumbnail), (&sheet_key, &sheet)])?;
    Ok(Artifact {
        key,
        thumbnail_key,
        media_type: media_type.to_owned(),
        width: facts.width,
        height: facts.height,
        bytes,
        sha256,
        seed,
        video: Some(VideoFacts {
            frames: facts.frames,
            frame_rate: facts.frame_rate,
            duration_ms: (facts.duration * 1000.0).round() as i64,
            codec: facts.codec,
            sprite_sheet_key: Some(sheet_key),
        }),
    })
}

/// Reads a fetched picture, and stores it as it came. Blocking.
fn keep_picture(
    storage: &ArtifactStorage,
    attempt: &Attempt,
    index: usize,
    draft: &Path,
    seed: u64,
) -> Result<Artifact, DownloadError> {
    let not_picture = |reason: String| DownloadError::NotMedia { expected: "picture", reason };
    let bytes = std::fs::read(draft)?;
    // It is written anew under its name, which may have another ending.
    std::fs::remove_file(draft)?;
    let (ending, media_type) = picture_type(&bytes).ok_or_else(|| not_picture("it is neither PNG, JPEG nor WebP".to_owned()))?;
    let decoded = decode_image(&bytes).map_err(|error| not_picture(error.to_string()))?;
    let small = thumbnail(decoded.width, decoded.height, &decoded.rgb, THUMBNAIL_SIDE);
    let small = small.map_err(|error| not_picture(error.to_string()))?;
    let (key, thumbnail_key) = (attempt.remote_key(index, ending), thumbnail_key(&attempt.key(index)));
    storage.put_together(&[(&key, &bytes), (&thumbnail_key, &small)])?;
    Ok(Artifact {
        thumbnail_key,
        media_type: media_type.to_owned(),
        width: decoded.width,
        height: decoded.height,
        bytes: bytes.len() as u64,
        sha256: Sha256Digest::of(&bytes).to_string(),
        seed,
        video: None,
        key,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::egress::UrlRefusal;

    #[test]
    fn files_are_what_their_first_bytes_say() {
        for (head, film, picture) in [
            (&b"\0\0\0\x20ftypisom\0\0"[..], Some("mp4"), None),
            (b"\0\0\0\x14ftypqt  ", Some("mov"), None),
            (b"\x1A\x45\xDF\xA3\x01\0\0\0", Some("webm"), None),
            (b"\x89PNG\r\n\x1a\n", None, Some("png")),
            (b"\xFF\xD8\xFF\xE0\0\x10JFIF", None, Some("jpg")),
            (b"RIFF\x10\0\0\0WEBPVP8 ", None, Some("webp")),
            (b"RIFF\x10\0\0\0AVI ", None, None),
            (b"<!DOCTYPE html>", None, None),
            (b"{\"error\":1}", None, None),
            (b"ftyp", None, None),
            (b"", None, None),
        ] {
            assert_eq!(film_type(head).map(|(ending, _)| ending), film, "{head:?}");
            assert_eq!(picture_type(head).map(|(ending, _)| ending), picture, "{head:?}");
        }
    }

    #[test]
    fn fresh_links_are_asked_for_where_they_may_help() {
        let status = |status| FetchError::Status { host: "host".to_owned(), status, retry_after: None };
        for (error, again) in [
            (status(403), true),
            (status(404), true),
            (status(503), true),
            (status(429), true),
            (FetchError::TooLarge { host: "host".to_owned(), max_bytes: 1 }, false),
            (FetchError::Disk(std::io::Error::other("full")), false),
        ] {
            let error = DownloadError::of(error);
            assert_eq!(error.may_be_asked_again(), again, "{error}");
        }
    }

    #[test]
    fn what_never_left_this_server_is_no_call() {
        let host = || "host".to_owned();
        let status = |status| FetchError::Status { host: host(), status, retry_after: None };
        let redirect = FetchError::Redirect { host: host(), reason: UrlRefusal::Malformed };
        let refused = ProviderFailure::not_sent("a header of the call cannot be sent");
        for (error, word) in [
            (DownloadError::Refused(UrlRefusal::Malformed.into()), None),
            (DownloadError::of(UrlRefusal::Characters.into()), None),
            (DownloadError::Provider(refused), None),
            (DownloadError::of(FetchError::Disk(std::io::Error::other("full"))), None),
            (DownloadError::Interrupted, None),
            (DownloadError::Refused(redirect), Some("upstream")),
            (DownloadError::of(FetchError::TooLarge { host: host(), max_bytes: 1 }), Some("upstream")),
            (DownloadError::of(status(404)), Some("upstream")),
            (DownloadError::of(status(503)), Some("transient")),
            (DownloadError::of(FetchError::Slow { host: host(), limit: FETCH_TIME }), Some("transient")),
        ] {
            assert_eq!(error.outcome().map(CallOutcome::as_str), word, "{error}");
        }
    }
}
