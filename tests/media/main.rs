//! Films as files, held against FFmpeg's own programs.

#[cfg(test)]
mod audio;
#[cfg(test)]
mod disk;
#[cfg(test)]
mod encoders;
#[cfg(test)]
mod films;
#[cfg(test)]
mod long_film;
#[cfg(test)]
mod pictures;
#[cfg(test)]
mod support;
