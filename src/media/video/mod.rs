//! Films: frames to files and back, through FFmpeg's libraries.
//!
//! Everything here blocks, and works frame by frame: memory does not grow with a film's length. Whatever may take long takes a closure that
//! says whether to stop, and asks it for every frame. A file appears under its name only when it is whole.

mod assemble;
mod audio_source;
mod audio_track;
mod blend;
mod encoder;
mod error;
mod filter;
mod frame;
mod hvc1;
mod input;
mod installation;
mod interpolate;
mod library;
mod neighbours;
mod probe;
mod reader;
pub(in crate::media) mod resample;
mod resize;
mod settings;
mod sprite;
mod still;
mod unfinished;
mod writer;

pub use assemble::{Film, SceneClip, Transition, assemble};
pub use audio_source::{AudioFacts, probe_audio};
pub use blend::{blend, dim};
pub use error::MediaError;
pub use frame::{Frame, MAX_FRAME_PIXELS, MAX_FRAME_SIDE};
pub use installation::{Installation, gpu_encoder_opens, installation};
pub use interpolate::{Interpolation, RateConversion, SourceTiming, interpolate};
pub use neighbours::{Between, interpolate_by};
pub use probe::{ColourFacts, VideoFacts, probe};
pub use reader::VideoReader;
pub use resize::{Fit, resize};
pub use settings::{DEFAULT_QUALITY, EncoderPreference, FilmMetadata, MAX_ENCODER_THREADS, VideoSettings};
pub use sprite::{MAX_TILES, SpriteIndex, SpriteSheet, SpriteTile, sprite_sheet};
pub use still::{StillFormat, encode_still, frame_at, last_frame, poster, thumbnail};
pub use writer::{VideoWriter, WrittenFilm, encode};
