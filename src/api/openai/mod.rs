//! OpenAI's surface, `/v1`: the same jobs in the words that OpenAI's clients use.

pub(super) mod chat;
pub(super) mod images;
pub(super) mod models;
pub(super) mod task_stream;
pub(super) mod videos;

mod form;
mod form_value;
mod result_links;
