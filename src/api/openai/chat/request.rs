//! What a conversation asks for: the last words of the user are the prompt, a picture with them is the one to begin with.

use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::api::error::{ApiError, ErrorKind};
use crate::api::film_submission::{FilmOrder, OrderedFile};
use crate::api::openai::form_value::Number;
use crate::api::openai::images::order::{AskedPixels, asked_pixels, checked_count};
use crate::api::submission::Submission;
use crate::api::whole_number::WholeNumber;
use crate::domain::ModelLimits;
use crate::models::film_parameters::{FilmParameters, SceneParameters};
use crate::models::film_size::AskedSize;
use crate::models::parameters::ImageParameters;

/// The field that prompt and picture are in.
pub(super) const MESSAGES: &str = "messages";

/// A conversation, and the extensions that other servers of such models take. Fields that only models of words understand
/// (`temperature` and the like) are taken and not looked at.
#[derive(Debug, Deserialize, ToSchema)]
pub(in crate::api) struct ChatRequest {
    /// The model, of pictures or of films; absent: the default image model.
    pub(super) model: Option<String>,
    /// The conversation. The last message of the user is the prompt; a picture in it is the one to begin with.
    messages: Vec<ChatMessage>,
    /// Answer with server-sent events.
    pub(super) stream: Option<bool>,
    /// What the events have beside the answer.
    stream_options: Option<ChatStreamOptions>,
    /// How many answers, each with a picture of its own; absent: 1.
    #[schema(value_type = Option<u32>)]
    n: Option<WholeNumber>,
    /// Seed of the first picture; absent: random.
    #[schema(value_type = Option<u64>)]
    seed: Option<WholeNumber>,
    /// Refused unless empty: no model here calls any.
    #[schema(value_type = Option<Vec<Object>>)]
    tools: Option<Vec<Value>>,
    /// Refused unless empty, as `tools`.
    #[schema(value_type = Option<Vec<Object>>)]
    functions: Option<Vec<Value>>,
    /// Extension: `auto`, `WxH` in pixels, or a shape such as `16:9`.
    size: Option<String>,
    /// Extension: what must not be shown.
    negative_prompt: Option<String>,
    /// Extension: how much of a picture that came with the prompt is noised away.
    strength: Option<f64>,
    /// Extension: sampler steps.
    #[schema(value_type = Option<u32>)]
    num_inference_steps: Option<WholeNumber>,
    /// Extension: guidance.
    guidance_scale: Option<f64>,
    /// Extension: how long a film is, a number or a text.
    #[schema(value_type = Option<String>)]
    seconds: Option<Number>,
    /// Extension: frames a second of a film.
    fps: Option<f64>,
    /// Extension: frames of a film's clip.
    #[schema(value_type = Option<u32>)]
    num_frames: Option<WholeNumber>,
}

/// What the events have beside the answer.
#[derive(Debug, Deserialize, ToSchema)]
struct ChatStreamOptions {
    /// A last chunk with token counts.
    include_usage: Option<bool>,
}

/// Something that was said.
#[derive(Debug, Deserialize, ToSchema)]
struct ChatMessage {
    /// `user`; what others said is not looked at.
    role: String,
    /// A text, or parts.
    #[schema(value_type = Option<Object>)]
    content: Option<MessageContent>,
}

/// A message's words and pictures.
#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "invalid value, expected a text or a list of parts")]
enum MessageContent {
    Text(String),
    Parts(Vec<MessagePart>),
}

/// A part of a message.
#[derive(Debug, Deserialize)]
struct MessagePart {
    r#type: String,
    text: Option<String>,
    image_url: Option<PictureUrl>,
}

/// Where a picture is.
#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "invalid value, expected {\"url\": a data URL or a link}")]
enum PictureUrl {
    Object { url: String },
    Text(String),
}

/// What a conversation asks for, in neutral words.
#[derive(Debug)]
pub(super) struct Wish {
    prompt: String,
    picture: Option<OrderedFile>,
    request: ChatRequest,
}

impl ChatRequest {
    /// Whether events end with token counts.
    pub(super) fn wants_usage(&self) -> bool {
        self.stream_options.as_ref().and_then(|options| options.include_usage).unwrap_or(false)
    }

    /// Finds prompt and picture.
    pub(super) fn into_wish(mut self) -> Result<Wish, ApiError> {
        for (field, list) in [("tools", &self.tools), ("functions", &self.functions)] {
            if list.as_ref().is_some_and(|list| !list.is_empty()) {
                let problem = "cannot be used: a model of pictures or films calls nothing; leave it out";
                return Err(ApiError::about(ErrorKind::UnsupportedField, field, problem));
            }
        }
        let messages = std::mem::take(&mut self.messages);
        let last = messages.into_iter().rev().find(|message| message.role == "user");
        let content =
            last.ok_or_else(|| ApiError::about(ErrorKind::MissingField, MESSAGES, "has nothing that a user says"))?.content;
        let (prompt, picture) = words_and_picture(content)?;
        if prompt.trim().is_empty() && picture.is_none() {
            let problem = "has neither words nor a picture in the user's last message, which is the prompt";
            return Err(ApiError::about(ErrorKind::MissingField, MESSAGES, problem));
        }
        Ok(Wish { prompt, picture, request: self })
    }
}

fn words_and_picture(content: Option<MessageContent>) -> Result<(String, Option<OrderedFile>), ApiError> {
    let parts = match content {
        None => return Ok((String::new(), None)),
        Some(MessageContent::Text(text)) => return Ok((text, None)),
        Some(MessageContent::Parts(parts)) => parts,
    };
    let (mut words, mut picture) = (Vec::new(), None);
    for MessagePart { r#type, text, image_url } in parts {
        match (r#type.as_str(), text, image_url) {
            ("text" | "input_text", Some(text), _) => words.push(text),
            ("image_url" | "input_image", _, Some(PictureUrl::Object { url } | PictureUrl::Text(url))) => {
                if picture.replace(OrderedFile::Text(url)).is_some() {
                    let problem =
                        "has more than one picture in the user's last message, and no model here begins with more; send one";
                    return Err(ApiError::about(ErrorKind::UnsupportedField, MESSAGES, problem));
                }
            }
            (kind, ..) => {
                let shown: String = kind.chars().take(32).collect();
                let problem =
                    format!("has a part '{shown}' that cannot be used; allowed: text with 'text', image_url with 'image_url'");
                return Err(ApiError::about(ErrorKind::UnsupportedField, MESSAGES, problem));
            }
        }
    }
    Ok((words.join("\n"), picture))
}

impl Wish {
    /// The pictures that a model of pictures makes of it.
    pub(super) fn into_submission(self, limits: &ModelLimits) -> Result<Submission, ApiError> {
        let Self { prompt, picture, request } = self;
        for (field, is_there) in
            [("seconds", request.seconds.is_some()), ("fps", request.fps.is_some()), ("num_frames", request.num_frames.is_some())]
        {
            if is_there {
                return Err(ApiError::about(ErrorKind::UnsupportedField, field, "has a meaning only with a model of films"));
            }
        }
        let AskedPixels { width, height, shape } = asked_pixels(request.size.as_deref(), limits)?;
        let parameters = ImageParameters {
            prompt,
            negative_prompt: request.negative_prompt,
            width,
            height,
            shape,
            num_inference_steps: request.num_inference_steps.map(|number| number.0),
            guidance_scale: request.guidance_scale,
            seed: request.seed.map(|number| number.0),
            num_images: checked_count(request.n.map(|number| number.0), limits)?,
            strength: request.strength,
            ..ImageParameters::default()
        };
        Ok(Submission { parameters, init_image: picture, ..Submission::default() })
    }

    /// The film that a model of films makes of it.
    pub(super) fn into_film_order(self) -> Result<FilmOrder, ApiError> {
        let Self { prompt, picture, request } = self;
        if request.n.is_some_and(|number| number.0 != 1) {
            return Err(ApiError::invalid("n", "is not 1, but a model of films makes one"));
        }
        if request.strength.is_some() {
            return Err(ApiError::about(ErrorKind::UnsupportedField, "strength", "has a meaning only with a model of pictures"));
        }
        let scene = SceneParameters {
            prompt: Some(prompt),
            negative_prompt: request.negative_prompt,
            duration: request.seconds.map(|number| number.0),
            ..SceneParameters::default()
        };
        let parameters = FilmParameters {
            scenes: vec![scene],
            fps: request.fps,
            size: AskedSize { resolution: request.size, ..AskedSize::default() },
            num_frames: request.num_frames.map(|number| number.0),
            num_inference_steps: request.num_inference_steps.map(|number| number.0),
            max_guidance_scale: request.guidance_scale,
            seed: request.seed.map(|number| number.0),
            ..FilmParameters::default()
        };
        Ok(FilmOrder { parameters, images: vec![picture], ..FilmOrder::default() })
    }
}

/// Native field names become this route's own.
pub(super) fn in_chat_words(error: ApiError) -> ApiError {
    match error.field() {
        // The words say which of the two sides it is.
        Some("width" | "height") => error.with_field("size"),
        Some("resolution") => error.renamed("size"),
        Some("num_images") => error.renamed("n"),
        Some("scenes[0].duration") => error.renamed("seconds"),
        Some("scenes[0].negative_prompt") => error.renamed("negative_prompt"),
        Some("max_guidance_scale") => error.renamed("guidance_scale"),
        // `messages` has both; the words say which.
        Some("prompt" | "scenes[0].prompt") => error.renamed("prompt").with_field(MESSAGES),
        Some("init_image" | "scenes[0].image") => error.renamed("image_url").with_field(MESSAGES),
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    fn wish(messages: &Value) -> Result<Wish, ApiError> {
        let request: ChatRequest = serde_json::from_value(json!({"messages": messages, "temperature": 0.7})).unwrap();
        request.into_wish()
    }

    #[rstest]
    #[case::last(json!([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}]), "c", None)]
    #[case::before_an_answer(json!([{"role": "user", "content": "a"}, {"role": "assistant", "content": null}]), "a", None)]
    #[case::parts(
        json!([{"role": "user", "content": [
            {"type": "text", "text": "a"},
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA", "detail": "auto"}},
            {"type": "text", "text": "b"},
        ]}]),
        "a\nb",
        Some("data:image/png;base64,AA")
    )]
    #[case::bare_url(json!([{"role": "user", "content": [{"type": "image_url", "image_url": "AA"}]}]), "", Some("AA"))]
    fn the_last_words_of_the_user_are_the_prompt(#[case] messages: Value, #[case] prompt: &str, #[case] picture: Option<&str>) {
        let wish = wish(&messages).unwrap();
        let seen = match &wish.picture {
            Some(OrderedFile::Text(text)) => Some(text.as_str()),
            Some(OrderedFile::Bytes(_)) => panic!("no file came"),
            None => None,
        };
        assert_eq!((wish.prompt.as_str(), seen), (prompt, picture));
    }

    #[rstest]
    #[case::nobody(json!([]), "has nothing that a user says")]
    #[case::only_system(json!([{"role": "system", "content": "x"}]), "has nothing that a user says")]
    #[case::silence(json!([{"role": "user", "content": " "}]), "has neither words nor a picture")]
    #[case::nothing(json!([{"role": "user", "content": []}]), "has neither words nor a picture")]
    #[case::sound(json!([{"role": "user", "content": [{"type": "input_audio"}]}]), "has a part 'input_audio'")]
    #[case::empty_part(json!([{"role": "user", "content": [{"type": "image_url"}]}]), "has a part 'image_url'")]
    #[case::two(
        json!([{"role": "user", "content": [{"type": "image_url", "image_url": "A"}, {"type": "image_url", "image_url": "B"}]}]),
        "more than one picture"
    )]
    fn what_cannot_be_made_is_refused(#[case] messages: Value, #[case] words: &str) {
        let error = wish(&messages).unwrap_err();
        assert_eq!(error.field(), Some(MESSAGES));
        assert!(error.message().contains(words), "{}", error.message());
    }
}
