//! The file that a film is written to.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;

use super::super::output_place;
use crate::cli::failure::{Failure, OrFail, Outcome};
use crate::domain::VideoCodec;

/// Where the film goes. Checked before any work is done.
#[derive(Clone, Debug)]
pub(super) struct FilmFile {
    path: PathBuf,
    codec: VideoCodec,
}

impl FilmFile {
    /// Checks the extension, and that the file can be written.
    pub(super) fn new(path: &Path) -> Outcome<Self> {
        let extension = path.extension().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
        let codec = match extension.as_str() {
            "mp4" => VideoCodec::H264,
            "webm" => VideoCodec::Vp9,
            "gif" => VideoCodec::Gif,
            "webp" => VideoCodec::WebP,
            _ => return Err(Failure::input("--output", format!("'{}' must end in .mp4, .webm, .gif or .webp", path.display()))),
        };
        output_place::check(path)?;
        Ok(Self { path: path.to_owned(), codec })
    }

    /// The codec of films whose names end so.
    pub(super) const fn usual_codec(&self) -> VideoCodec {
        self.codec
    }

    /// Refuses a codec whose films do not end so.
    pub(super) fn check(&self, codec: VideoCodec) -> Outcome {
        if codec.extension() == self.codec.extension() {
            return Ok(());
        }
        Err(Failure::input(
            "--codec",
            format!("{} is not for {}, but for .{}", codec.name(), self.path.display(), codec.extension()),
        ))
    }

    /// Refuses an ending that says more of a provider's film than is known: it is not encoded anew.
    pub(super) fn check_kept(&self) -> Outcome {
        match self.codec {
            VideoCodec::H264 => Ok(()),
            _ => Err(Failure::input("--output", "a film of a provider is kept as it comes; use .mp4")),
        }
    }

    /// The path.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Takes a finished file over: a file of the name is always a whole one.
    pub(super) fn take(&self, finished: &Path) -> Outcome {
        let temporary = self.temporary();
        let taken = fs::copy(finished, &temporary).and_then(|_| fs::rename(&temporary, &self.path));
        self.cleaned(taken, &temporary)
    }

    /// Writes a whole file.
    pub(super) fn write(&self, bytes: &[u8]) -> Outcome {
        let temporary = self.temporary();
        let written = fs::File::create(&temporary)
            .and_then(|mut file| file.write_all(bytes))
            .and_then(|()| fs::rename(&temporary, &self.path));
        self.cleaned(written, &temporary)
    }

    fn temporary(&self) -> PathBuf {
        let mut temporary = self.path.clone().into_os_string();
        temporary.push(format!(".{}.tmp", std::process::id()));
        temporary.into()
    }

    fn cleaned(&self, written: std::io::Result<()>, temporary: &Path) -> Outcome {
        if written.is_err() {
            let _ = fs::remove_file(temporary);
        }
        written.with_context(|| format!("cannot write {}", self.path.display())).or_fail()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extensions_say_how_a_film_is_encoded() {
        let directory = tempfile::tempdir().unwrap();
        let file = |name: &str| FilmFile::new(&directory.path().join(name));
        assert_eq!(file("a.mp4").unwrap().usual_codec(), VideoCodec::H264);
        assert_eq!(file("a.WEBM").unwrap().usual_codec(), VideoCodec::Vp9);
        file("a.mp4").unwrap().check(VideoCodec::H265).unwrap();
        let message = file("a.mp4").unwrap().check(VideoCodec::Av1).unwrap_err().message();
        assert!(message.contains("--codec") && message.contains(".webm"), "{message}");
        for bad in ["a", "a.avi", "no/a.mp4"] {
            assert!(file(bad).is_err(), "{bad}");
        }
        file("a.mp4").unwrap().write(b"film").unwrap();
        file("b.mp4").unwrap().take(&directory.path().join("a.mp4")).unwrap();
        assert_eq!(fs::read(directory.path().join("b.mp4")).unwrap(), b"film");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2);
    }
}
