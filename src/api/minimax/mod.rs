//! MiniMax's video API, served for whichever model is named: this server's own, a provider's, or a route's.
//!
//! As MiniMax does, every answer has HTTP 200 and says in `base_resp` how it went; see [`error::minimax`](crate::api::error).

pub(super) mod callbacks;
pub(super) mod create;
pub(super) mod files;
pub(super) mod query;

mod film;
mod request;
