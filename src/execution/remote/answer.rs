//! Results that came with the answer to a create: what the ledger keeps of them until they are fetched. The provider has no task that could be
//! asked for them again.

use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};

use crate::execution::results::Attempt;
use crate::ledger::KeptAnswer;
use crate::providers::{Finished, RemoteResult, ResultKind, ResultSource, Usage};
use crate::storage::{ArtifactStorage, StorageError};

/// Why a kept answer is of no use.
#[derive(Debug, thiserror::Error)]
pub(super) enum AnswerError {
    /// It was written by another version.
    #[error("what was kept of the provider's answer cannot be read: {0}")]
    Unreadable(#[from] serde_json::Error),
    /// The files that came with it.
    #[error("the results that came with the provider's answer: {0}")]
    Storage(#[from] StorageError),
}

#[derive(Serialize, Deserialize)]
struct Document {
    results: Vec<Entry>,
    billed_seconds: Option<f64>,
    billed_pictures: Option<u32>,
    rewritten_prompt: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct Entry {
    is_film: bool,
    source: Source,
    seconds: Option<f64>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Source {
    Link(String),
    File(String),
    /// The key of the file in the storage.
    Stored {
        key: String,
        media_type: Option<String>,
    },
}

/// Keeps results: the files of those that are here, and a text that says where all of them are. No more than `most` of them.
pub(super) async fn keep(
    storage: &ArtifactStorage,
    attempt: &Attempt,
    finished: &Finished,
    most: usize,
) -> Result<KeptAnswer, AnswerError> {
    let mut results = Vec::new();
    for (index, result) in finished.results.iter().take(most).enumerate() {
        let source = match &result.source {
            ResultSource::Link(link) => Source::Link(link.expose_secret().to_owned()),
            ResultSource::File(id) => Source::File(id.clone()),
            ResultSource::Inline { media_type, bytes } => {
                let key = attempt.answer_key(index);
                storage.put(&key, bytes.clone()).await?;
                Source::Stored { key, media_type: media_type.clone() }
            }
        };
        results.push(Entry { is_film: result.kind == ResultKind::Video, source, seconds: result.seconds });
    }
    let Usage { seconds, pictures } = finished.usage;
    let document = Document {
        results,
        billed_seconds: seconds,
        billed_pictures: pictures,
        rewritten_prompt: finished.rewritten_prompt.clone(),
    };
    Ok(KeptAnswer::new(serde_json::to_string(&document)?))
}

/// The results, with the bytes of those that are stored here where `with_files` says so, and without where they only count.
pub(super) async fn read(storage: &ArtifactStorage, answer: &KeptAnswer, with_files: bool) -> Result<Finished, AnswerError> {
    let document: Document = serde_json::from_str(answer.expose())?;
    let mut results = Vec::new();
    for Entry { is_film, source, seconds } in document.results {
        let source = match source {
            Source::Link(link) => ResultSource::link(link),
            Source::File(id) => ResultSource::File(id),
            Source::Stored { key, media_type } => {
                let bytes = if with_files { storage.get(&key).await? } else { bytes::Bytes::new() };
                ResultSource::Inline { media_type, bytes }
            }
        };
        let kind = if is_film { ResultKind::Video } else { ResultKind::Picture };
        results.push(RemoteResult { source, kind, seconds, size: None });
    }
    let usage = Usage { seconds: document.billed_seconds, pictures: document.billed_pictures };
    Ok(Finished { results, usage, rewritten_prompt: document.rewritten_prompt })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::job_request::tests::remote;
    use crate::domain::{Job, JobId, JobKind, JobRequest, JobState, Progress, RemoteRequest, UnixMs};

    fn attempt(number: i64) -> Attempt {
        let request = RemoteRequest { output: JobKind::Image, count: 3, ..remote("openai") };
        let job = Job {
            id: JobId::generate(),
            user: "ann".parse().unwrap(),
            project: None,
            retry_of: None,
            state: JobState::Running,
            request: JobRequest::from(request),
            priority: 0,
            progress: Progress::default(),
            created: UnixMs(0),
            started: None,
            finished: None,
            updated: UnixMs(0),
            result: None,
            error: None,
        };
        Attempt::new(&job, 0, number)
    }

    #[tokio::test]
    async fn what_was_kept_is_read_again() {
        let directory = tempfile::tempdir().unwrap();
        let storage = ArtifactStorage::local(directory.path()).unwrap();
        let attempt = attempt(1);
        let sources = [
            ResultSource::link("https://host/?Signature=s"),
            ResultSource::File("file-1".to_owned()),
            ResultSource::Inline { media_type: Some("image/png".to_owned()), bytes: "a picture".into() },
            ResultSource::link("https://host/one-too-many"),
        ];
        let result = |source| RemoteResult { source, kind: ResultKind::Picture, seconds: Some(5.5), size: None };
        let mut finished = Finished {
            results: sources.map(result).into(),
            usage: Usage { seconds: Some(5.25), pictures: Some(2) },
            rewritten_prompt: Some("a ship, rewritten".to_owned()),
        };
        let kept = keep(&storage, &attempt, &finished, 3).await.unwrap();
        finished.results.truncate(3);
        assert_eq!(read(&storage, &kept, true).await.unwrap(), finished);
        attempt.delete_answer(&storage).await;
        assert!(matches!(read(&storage, &kept, true).await, Err(AnswerError::Storage(_))), "the file is gone");
        assert_eq!(read(&storage, &kept, false).await.unwrap().results.len(), 3, "for the bill they count");
        let strange = KeptAnswer::new("{}".to_owned());
        assert!(matches!(read(&storage, &strange, true).await, Err(AnswerError::Unreadable(_))));
    }
}
