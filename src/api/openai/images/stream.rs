//! The answer as server-sent events.

use std::collections::VecDeque;
use std::convert::Infallible;

use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use futures_util::stream::{self, StreamExt};

use super::delivery::Delivery;
use super::partials::{PartialSchedule, enlarged_preview};
use super::response::{ImageEvent, Usage};
use crate::api::completion::{Happening, Waiting};
use crate::api::error::ApiError;
use crate::api::native::events::{KEEP_ALIVE, sse_event};
use crate::domain::{Job, JobResult};

/// The events of `job`: its partial pictures, then each picture, or an error.
pub(super) fn stream_response(waiting: Waiting, job: &Job, delivery: Delivery) -> Response {
    let generation = Generation {
        waiting,
        size: job.request.image().map(|request| (request.width, request.height)),
        created: job.created.seconds(),
        schedule: PartialSchedule::new(delivery.partial_images),
        delivery,
        last_preview: None,
        ready: VecDeque::new(),
        ended: false,
    };
    let events = stream::unfold(generation, Generation::next_event).map(Ok::<_, Infallible>);
    Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response()
}

/// One open stream.
struct Generation {
    waiting: Waiting,
    delivery: Delivery,
    /// What is asked for; `None` where that is a provider's to choose.
    size: Option<(u32, u32)>,
    created: i64,
    schedule: PartialSchedule,
    last_preview: Option<Bytes>,
    /// Written but not yet sent.
    ready: VecDeque<Event>,
    ended: bool,
}

impl Generation {
    async fn next_event(mut self) -> Option<(Event, Self)> {
        while self.ready.is_empty() && !self.ended {
            if let Err(error) = self.advance().await {
                error.log();
                self.ready.extend(sse_event("error", None, &error.openai_envelope()));
                self.ended = true;
            }
        }
        let event = self.ready.pop_front()?;
        Some((event, self))
    }

    async fn advance(&mut self) -> Result<(), ApiError> {
        match self.waiting.next().await? {
            Happening::Preview { progress, png } => {
                let due = self.schedule.due(progress);
                self.last_preview = Some(png.clone());
                self.push_partials(due, png).await
            }
            Happening::Progress(_) => Ok(()),
            Happening::Completed { result, .. } => {
                self.ended = true;
                self.push_pictures(result).await
            }
        }
    }

    async fn push_partials(&mut self, indices: std::ops::Range<u32>, png: Bytes) -> Result<(), ApiError> {
        if indices.is_empty() {
            return Ok(());
        }
        let (picture, size) = enlarged_preview(png, self.size, self.delivery.encoding).await?;
        for index in indices {
            let event = self.event(&picture, size, Some(index));
            self.ready.extend(sse_event(event.r#type, None, &event));
        }
        Ok(())
    }

    async fn push_pictures(&mut self, result: JobResult) -> Result<(), ApiError> {
        let storage = self.waiting.state().storage.clone();
        let rest = self.schedule.rest();
        for (index, artifact) in result.artifacts.iter().enumerate() {
            let stored = storage.get(&artifact.key).await?;
            let size = *self.size.get_or_insert((artifact.width, artifact.height));
            if index == 0 {
                // A run too short for any preview shows the picture itself.
                let preview = self.last_preview.take().unwrap_or_else(|| stored.clone());
                self.push_partials(rest.clone(), preview).await?;
            }
            let picture = self.delivery.encoding.encode(stored, &artifact.media_type).await?;
            let event = self.event(&picture, size, None);
            self.ready.extend(sse_event(event.r#type, None, &event));
        }
        Ok(())
    }

    /// The event of a partial picture, or of a finished one.
    fn event(&self, picture: &[u8], (width, height): (u32, u32), partial_image_index: Option<u32>) -> ImageEvent {
        let operation = self.delivery.operation;
        let is_partial = partial_image_index.is_some();
        ImageEvent {
            r#type: if is_partial { operation.partial_event() } else { operation.completed_event() },
            b64_json: BASE64_STANDARD.encode(picture),
            background: "opaque",
            created_at: self.created,
            output_format: self.delivery.encoding.format,
            partial_image_index,
            quality: self.delivery.event_quality(),
            size: format!("{width}x{height}"),
            usage: (!is_partial).then(Usage::default),
        }
    }
}
