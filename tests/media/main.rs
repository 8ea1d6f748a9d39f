//! Films as files, held against FFmpeg's own programs.

mod audio;
mod disk;
mod encoders;
mod films;
mod long_film;
mod pictures;
mod support;
