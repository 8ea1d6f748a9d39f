//! `/v1/images`: pictures from words, from pictures and words, and from pictures alone.

pub(in crate::api) mod edits;
pub(in crate::api) mod generations;
pub(in crate::api) mod variations;

pub(in crate::api::openai) mod answer;
pub(in crate::api::openai) mod order;

mod delivery;
mod partials;
mod response;
mod stream;
