//! A camera that moves over frames that are there already.

mod render;

pub use render::render;
