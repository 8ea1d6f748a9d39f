//! Providers: the clouds that generate in our stead, each with its own words. This module knows the words and nothing else.
//!
//! Everything here is a pure function over values: a request becomes a [`WireRequest`], a [`WireResponse`] becomes an outcome or a
//! [`ProviderFailure`]. No connection, no clock, no settings. Whoever sends the calls keeps the rest:
//!
//! - it follows no redirect with a credential, and asks no private address for a result;
//! - it fetches a result with [`Provider::download`] where there is such a call, and else its link, without a credential;
//! - it polls a task with the account that made it;
//! - it never sends a create again unless [`FailureClass::may_create_again`] allows it.
//!
//! Invariants: what a model cannot express is refused before a call is written; no body makes a reader panic or allocate beyond a small
//! multiple of [`WireRequest::most_answer_bytes`]; what stands in a URL was checked to mean nothing there; credentials and signed links do
//! not show themselves.

pub mod aliyun;
mod body;
pub mod capabilities;
pub mod declared;
pub mod described;
mod failure;
pub mod fal;
mod fields;
mod json_web_token;
pub mod kling;
pub mod mindvideo;
pub mod minimax;
pub mod openai;
mod outcome;
mod payload;
mod protocol;
mod randomness;
pub mod replicate;
mod request;
pub mod runway;
pub mod stability;
mod validate;
pub mod veo;
pub mod vidsme;
mod wire;
pub mod zhipuai;

#[cfg(test)]
mod tests;

pub use crate::domain::frame::{self, Frame, FrameError, PixelSize, Ratio, Tier};
pub use failure::{Action, FailureClass, KeyConsequence, ProviderFailure, SameKey};
pub use outcome::{Cancellation, Created, Finished, Polled, RemoteResult, ResultKind, ResultSource, Underway, Usage};
pub use payload::{Part, Payload};
pub use protocol::{CreateOptions, Known, Provider, RemoteTask, create, model};
pub use randomness::{NoRandomness, Randomness, SystemRandomness};
pub use request::{GenerationKind, GenerationRequest, Picture, PictureFormat, PictureRole, PictureSource};
pub use validate::{FrameChoice, RequestRefusal, Validated, validate};
pub use wire::{Account, AccountError, HeaderText, MOST_BODY_BYTES, MOST_PICTURES_BODY_BYTES, Method, WireRequest, WireResponse};
