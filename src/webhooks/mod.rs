//! Callbacks: a job tells a link of its user's what became of it.
//!
//! - What is to be told is a row that the database itself writes in the transaction of the job's change: triggers on `jobs`
//!   (`migrations/*_webhooks.sql`) look whether the job has a callback for what it became. So nothing is lost, whichever way a job changes,
//!   and a row's id, made of job and event, is there once.
//! - [`Webhooks`] sends what is due, one server at a time where several share a database, and writes down what became of it. A row is claimed
//!   before it is sent, by moving its time ahead: if this server dies, it becomes due again, with the same id.
//! - [`schedule`] says when it is sent again; pure.
//! - [`body`] says it in the words that the surface wants; [`challenge()`] asks a receiver whether it wants to be called at all.
//!
//! Everything goes through [`net::egress`](crate::net::egress): a link is judged again whenever it is called.

pub mod body;
mod challenge;
mod pending_count;
pub mod schedule;
mod secret;
mod sender;
mod service;
pub mod store;

pub use body::JobOutputs;
pub use challenge::{ChallengeError, challenge};
pub use secret::WebhookSecrets;
pub use service::{WebhookError, WebhookParts, Webhooks};
