//! OpenAI's surface, `/v1`: the same jobs in the words that OpenAI's clients use.

pub(super) mod images;
pub(super) mod models;

mod order;
mod partials;
mod picture_size;
mod response;
mod stream;
pub(super) mod videos;
