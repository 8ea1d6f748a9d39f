//! Answers of `/v1/chat/completions`: a whole one, and the chunks of a stream.

use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::domain::{Job, JobKind};

/// What all parts of an answer say.
#[derive(Clone, Debug)]
pub(super) struct Head {
    /// `chatcmpl-` and the task's number.
    pub(super) id: String,
    /// Unix seconds.
    pub(super) created: i64,
    /// The model that answers.
    pub(super) model: String,
    /// What is made.
    pub(super) kind: JobKind,
    /// How many answers there are.
    pub(super) choices: u32,
}

impl Head {
    /// The head of the answer that `job` makes.
    pub(super) fn of(job: &Job) -> Self {
        let id = job.id.to_string();
        let image = job.request.image();
        Self {
            id: format!("chatcmpl-{}", id.trim_start_matches("job_")),
            created: job.created.seconds(),
            model: job.request.model().to_string(),
            kind: job.request.kind(),
            choices: image.map_or(1, |request| request.num_images),
        }
    }

    /// What is said: a link in Markdown, which shows a picture.
    pub(super) fn content(&self, url: &str) -> String {
        match self.kind {
            JobKind::Image => format!("![picture]({url})"),
            JobKind::Film => format!("[film]({url})"),
        }
    }

    /// The whole answer.
    pub(super) fn completion(&self, urls: &[String]) -> ChatCompletion {
        let choice = |(index, url): (usize, &String)| ChatChoice {
            index: index as u32,
            message: AnsweredMessage { role: "assistant", content: self.content(url), refusal: None, annotations: Vec::new() },
            logprobs: None,
            finish_reason: "stop",
        };
        ChatCompletion {
            id: self.id.clone(),
            object: "chat.completion",
            created: self.created,
            model: self.model.clone(),
            choices: urls.iter().enumerate().map(choice).collect(),
            usage: ChatUsage::default(),
            system_fingerprint: None,
        }
    }

    /// A chunk with one change of one answer. With `counts_follow` it says that its own counts are not there.
    pub(super) fn chunk(
        &self,
        index: u32,
        delta: ChatDelta,
        finish_reason: Option<&'static str>,
        counts_follow: bool,
    ) -> ChatChunk {
        let choices = vec![ChunkChoice { index, delta, logprobs: None, finish_reason }];
        ChatChunk { choices, usage: counts_follow.then_some(Value::Null), ..self.empty_chunk() }
    }

    /// The last chunk of a client that wants token counts.
    pub(super) fn usage_chunk(&self) -> ChatChunk {
        ChatChunk { usage: serde_json::to_value(ChatUsage::default()).ok(), ..self.empty_chunk() }
    }

    fn empty_chunk(&self) -> ChatChunk {
        ChatChunk {
            id: self.id.clone(),
            object: "chat.completion.chunk",
            created: self.created,
            model: self.model.clone(),
            choices: Vec::new(),
            system_fingerprint: None,
            usage: None,
        }
    }
}

/// The whole answer.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct ChatCompletion {
    /// `chatcmpl-` and the task's number.
    id: String,
    #[schema(value_type = String, example = "chat.completion")]
    object: &'static str,
    /// Unix seconds.
    created: i64,
    /// The model.
    model: String,
    /// An answer for each picture, or one with the film.
    choices: Vec<ChatChoice>,
    /// Nothing here is counted in tokens.
    usage: ChatUsage,
    /// Always null.
    system_fingerprint: Option<String>,
}

/// One answer.
#[derive(Debug, Serialize, ToSchema)]
struct ChatChoice {
    /// From 0.
    index: u32,
    /// What is said.
    message: AnsweredMessage,
    /// Always null.
    #[schema(value_type = Option<Object>)]
    logprobs: Option<Value>,
    /// Always `stop`.
    #[schema(value_type = String, example = "stop")]
    finish_reason: &'static str,
}

/// What is said.
#[derive(Debug, Serialize, ToSchema)]
struct AnsweredMessage {
    #[schema(value_type = String, example = "assistant")]
    role: &'static str,
    /// `![picture](URL)`, or of a film `[film](URL)`; the link needs no key for an hour.
    #[schema(
        example = "![picture](http://localhost:8000/api/v1/tasks/job_0199a5b6c7d87e0f8a1b2c3d4e5f6071/result/0?expires=1&token=x)"
    )]
    content: String,
    /// Always null.
    refusal: Option<String>,
    /// Always empty.
    annotations: Vec<String>,
}

/// Token counts: all 0, since nothing here is counted in tokens; clients want the keys.
#[derive(Clone, Copy, Debug, Default, Serialize, ToSchema)]
#[expect(clippy::struct_field_names, reason = "the names are OpenAI's")]
pub(super) struct ChatUsage {
    prompt_tokens: u64,
    completion_tokens: u64,
    total_tokens: u64,
}

/// A part of a streamed answer.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct ChatChunk {
    /// The same in all chunks of an answer.
    id: String,
    #[schema(value_type = String, example = "chat.completion.chunk")]
    object: &'static str,
    /// Unix seconds.
    created: i64,
    /// The model.
    model: String,
    /// What is new.
    choices: Vec<ChunkChoice>,
    /// Always null.
    system_fingerprint: Option<String>,
    /// With `stream_options.include_usage`: null, and in the last chunk token counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<ChatUsage>)]
    usage: Option<Value>,
}

/// What is new in an answer.
#[derive(Debug, Serialize, ToSchema)]
struct ChunkChoice {
    /// From 0.
    index: u32,
    /// What is new.
    delta: ChatDelta,
    /// Always null.
    #[schema(value_type = Option<Object>)]
    logprobs: Option<Value>,
    /// `stop` at the end.
    #[schema(value_type = Option<String>)]
    finish_reason: Option<&'static str>,
}

/// What is new in a message.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(super) struct ChatDelta {
    /// In the first chunk.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub(super) role: Option<&'static str>,
    /// The link.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) content: Option<String>,
}
