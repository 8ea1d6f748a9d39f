//! Providers for tests: servers that behave as the providers' documents say, unless a test scripts them otherwise, and write down what
//! they were asked. Shared, with `#[path]`, by the tests that speak with providers.
//!
//! A new one is a file with a type that implements [`server::Cloud`]: which of its routes a request is for, and what it answers there.

mod aliyun;
mod films;
mod minimax;
mod openai;
mod reelworks;
mod server;
mod zhipuai;

pub(crate) use aliyun::AliyunCloud;
pub(crate) use films::{film, picture};
pub(crate) use minimax::MinimaxCloud;
pub(crate) use openai::OpenAiCloud;
pub(crate) use reelworks::ReelworksCloud;
pub(crate) use server::{Answer, Gate, Mock, Recorded};
pub(crate) use zhipuai::ZhipuaiCloud;
