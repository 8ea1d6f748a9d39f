//! `/v1/chat/completions`: a picture or a film as the answer to what somebody says.

pub(in crate::api) mod completions;

mod document;
mod request;
mod stream;
