//! The answer as server-sent events.

use std::collections::VecDeque;
use std::convert::Infallible;

use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream::{self, StreamExt};
use serde::Serialize;

use super::document::{ChatDelta, Head};
use crate::api::completion::{Happening, Waiting};
use crate::api::error::ApiError;
use crate::api::native::events::{KEEP_ALIVE, sse_data};
use crate::api::openai::result_links::result_links;

/// The events of an answer: the role, comments while it is made, the link, the end, and `[DONE]`. A failure takes the place of the link.
pub(super) fn stream_response(waiting: Waiting, head: Head, base_url: String, wants_usage: bool) -> Response {
    let mut answer = Answer { waiting, head, base_url, wants_usage, percent: 0, ready: VecDeque::new(), ended: false };
    answer.begin();
    let events = stream::unfold(answer, Answer::next_event).map(Ok::<_, Infallible>);
    Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response()
}

/// One open stream.
struct Answer {
    waiting: Waiting,
    head: Head,
    base_url: String,
    wants_usage: bool,
    /// What was said last of how far it is.
    percent: u32,
    /// Written but not yet sent.
    ready: VecDeque<Event>,
    ended: bool,
}

impl Answer {
    fn begin(&mut self) {
        for index in 0..self.head.choices {
            let delta = ChatDelta { role: Some("assistant"), content: Some(String::new()) };
            self.push(&self.head.chunk(index, delta, None, self.wants_usage));
        }
    }

    async fn next_event(mut self) -> Option<(Event, Self)> {
        while self.ready.is_empty() && !self.ended {
            if let Err(error) = self.advance().await {
                error.log();
                self.push(&error.openai_envelope());
                self.end();
            }
        }
        let event = self.ready.pop_front()?;
        Some((event, self))
    }

    async fn advance(&mut self) -> Result<(), ApiError> {
        match self.waiting.next().await? {
            Happening::Preview { .. } => {}
            Happening::Progress(progress) => {
                let percent = progress.percent();
                if percent > self.percent {
                    self.percent = percent;
                    self.ready.push_back(Event::default().comment(format!("{percent} %")));
                }
            }
            Happening::Completed { job, result } => {
                let urls = result_links(self.waiting.state(), &self.base_url, job.id, &result);
                for (index, url) in (0_u32..).zip(urls) {
                    let delta = ChatDelta { role: None, content: Some(self.head.content(&url)) };
                    self.push(&self.head.chunk(index, delta, None, self.wants_usage));
                    self.push(&self.head.chunk(index, ChatDelta::default(), Some("stop"), self.wants_usage));
                }
                if self.wants_usage {
                    self.push(&self.head.usage_chunk());
                }
                self.end();
            }
        }
        Ok(())
    }

    fn end(&mut self) {
        self.ready.push_back(Event::default().data("[DONE]"));
        self.ended = true;
    }

    fn push(&mut self, data: &impl Serialize) {
        self.ready.extend(sse_data(data));
    }
}
