//! Text to conditioning: CLIP's tokenizer and its text encoders.

pub mod config;
pub mod encoder;
pub(crate) mod layer;
pub mod tokenizer;
mod tokenizer_files;

pub use config::TextEncoderConfig;
pub use encoder::{TextEncoder, TextEncoding};
pub use tokenizer::{Tokenizer, Tokens};
