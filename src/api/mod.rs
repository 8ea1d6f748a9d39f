//! HTTP: each surface translates its own words into a [`NewJob`](crate::jobs::NewJob) and a job back into its own words.
//!
//! Invariants: nothing here touches a tensor, a database or a device; every failure is an [`error::ApiError`] and is rendered and
//! logged in one place; every route needs a key unless `router` says otherwise.

pub mod callback;
pub mod error;
pub mod init_image;
pub mod linked_file;
pub mod links;
pub mod router;
pub mod state;
pub mod tokens;

mod a1111;
mod authentication;
mod completion;
mod documentation;
mod extract;
mod film_submission;
mod ignored;
mod minimax;
mod model_choice;
mod native;
mod observe;
mod openai;
mod output_format;
mod quota_document;
mod rate_limit;
mod remote_submission;
mod shared_responses;
mod submission;
mod target;
mod tenancy;
mod unified;
mod whole_number;

pub use a1111::A1111Memory;
pub use links::LinkSigner;
pub use router::router;
pub use state::{ApiSettings, ApiState};
pub use tokens::TokenVerifier;
