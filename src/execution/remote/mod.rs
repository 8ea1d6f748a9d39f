//! The executor of providers: a request goes out, its task is followed, and what comes of it is kept.
//!
//! - [`RemoteExecutor`] is what the scheduler and the administration speak with.
//! - [`keys`], [`breaker`], [`price`], [`latency`], [`generation`] and [`failures`] decide, and are pure.
//! - The rest is a thin shell: it sends what wires write, and hands them what comes.
//!
//! Invariants:
//!
//! - A create is in the ledger, on the disk, before it is sent. One that is found there unanswered is not sent again, unless the provider
//!   knows it by an id of ours.
//! - A task is polled with the account that made it, also after a restart, and its deadline counts from its create.
//! - What moderation refused is carried neither to another key nor to another provider.
//! - Links to results are opened by [`net::egress`](crate::net::egress), with no credential; what comes is believed to be nothing before it
//!   was read as a picture or a film.

mod abandoned;
mod accounts;
mod answer;
mod body_budget;
pub mod breaker;
mod callbacks;
mod create;
mod delivery;
mod download;
mod ending;
mod executor;
pub mod failures;
mod follow;
pub mod generation;
pub mod keys;
mod large_answers;
pub mod latency;
mod manifest;
pub mod offer;
pub mod patience;
pub mod price;
mod probe;
mod remarks;
mod run;
mod sending;
mod station;
mod told;

pub use accounts::{OpenError, ProviderSetupError, ReadDeclaration};
pub use callbacks::CallbackAddresses;
pub use executor::{KeyStatus, ProviderHealth, ProviderStatus, RemoteExecutor, RemoteParts};
pub use failures::class_word;
pub use keys::ModelRest;
pub use offer::{OfferedModel, Priced, called};
pub use probe::{Probe, ProbeResult};
pub use told::ToldError;
