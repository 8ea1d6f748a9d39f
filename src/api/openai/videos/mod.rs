//! `/v1/videos`: OpenAI's words for films.

pub(in crate::api) mod content;
pub(in crate::api) mod create;
mod form;
pub(in crate::api) mod lookup;
mod object;
pub(in crate::api) mod variations;
