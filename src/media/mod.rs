//! Pictures as files: hostile input decoded within bounds, output encoded with its provenance.

pub mod a1111;
pub mod decode;
pub mod encode;
