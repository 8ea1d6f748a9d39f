//! Pictures: pixel formats, Pillow-compatible resizing, and CLIP's image encoder.

pub mod antialias;
pub mod image_encoder;
pub mod image_encoder_config;
pub mod normalisation;
pub mod picture;
pub mod resize;

pub use image_encoder::ImageEncoder;
pub use image_encoder_config::ImageEncoderConfig;
pub use normalisation::Normalisation;
pub use picture::{GreyPicture, Picture, RgbPicture};
