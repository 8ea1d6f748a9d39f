//! Providers for tests: servers that behave as the providers' documents say, unless a test scripts them otherwise, and write down what
//! they were asked. Shared, with `#[path]`, by the tests that speak with providers.
//!
//! A new one is a file with a type that implements [`server::Cloud`]: which of its routes a request is for, what it answers there, and which
//! requests it turns away.

mod aliyun;
mod books;
mod credentials;
mod fal;
mod films;
mod form;
mod kling;
mod mindvideo;
mod minimax;
mod openai;
mod reelworks;
mod replicate;
mod runway;
mod server;
mod stability;
mod veo;
mod vidsme;
mod zhipuai;

pub(crate) use aliyun::AliyunCloud;
pub(crate) use books::POOR_KEY;
pub(crate) use credentials::{KNOWN_KEYS, name_of_key, secret_of_key};
pub(crate) use fal::FalCloud;
pub(crate) use films::{film, picture};
pub(crate) use form::fields as form_fields;
pub(crate) use kling::KlingCloud;
pub(crate) use mindvideo::MindvideoCloud;
pub(crate) use minimax::MinimaxCloud;
pub(crate) use openai::OpenAiCloud;
pub(crate) use reelworks::ReelworksCloud;
pub(crate) use replicate::{ReplicateCloud, VERSION};
pub(crate) use runway::RunwayCloud;
pub(crate) use server::{Answer, Cloud, Gate, Mock, Recorded, Tasks};
pub(crate) use stability::StabilityCloud;
pub(crate) use veo::VeoCloud;
pub(crate) use vidsme::VidsmeCloud;
pub(crate) use zhipuai::ZhipuaiCloud;
