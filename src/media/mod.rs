//! Pictures and films as files: hostile input decoded within bounds, output encoded with its provenance.

pub mod a1111;
pub mod camera;
pub mod decode;
pub mod encode;
pub mod mask;
pub mod png_text;
pub mod video;
