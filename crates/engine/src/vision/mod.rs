//! Pictures: pixel formats and Pillow-compatible resizing.

pub mod picture;
pub mod resize;

pub use picture::{Picture, RgbPicture};
