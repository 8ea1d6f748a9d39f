//! The files that `generate` writes.

use std::ffi::OsString;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;

use super::super::failure::{Failure, OrFail, Outcome};
use super::output_place;
use crate::media::encode::{self, PngText};

/// A format, by the file's extension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Png,
    Jpeg,
    WebP,
}

/// JPEG quality: visually lossless for generated pictures.
const JPEG_QUALITY: u8 = 95;

/// Where pictures go. Checked before any work is done.
#[derive(Clone, Debug)]
pub(super) struct OutputFile {
    path: PathBuf,
    format: Format,
}

/// A finished picture, 8-bit RGB.
#[derive(Clone, Copy, Debug)]
pub(super) struct FinishedPicture<'a> {
    /// Pixels across.
    pub(super) width: u32,
    /// Pixels down.
    pub(super) height: u32,
    /// `width · height · 3` bytes.
    pub(super) rgb: &'a [u8],
}

impl OutputFile {
    /// Checks the extension, and that the file can be written.
    pub(super) fn new(path: &Path) -> Outcome<Self> {
        let extension = path.extension().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
        let format = match extension.as_str() {
            "png" => Format::Png,
            "jpg" | "jpeg" => Format::Jpeg,
            "webp" => Format::WebP,
            _ => return Err(Failure::input("--output", format!("'{}' must end in .png, .jpg or .webp", path.display()))),
        };
        output_place::check(path)?;
        Ok(Self { path: path.to_owned(), format })
    }

    /// The file of picture `index`: the name as given for the first, `-2`, `-3`, … before the extension for the others.
    pub(super) fn path(&self, index: usize) -> PathBuf {
        if index == 0 {
            return self.path.clone();
        }
        let mut name: OsString = self.path.file_stem().unwrap_or_default().to_owned();
        name.push(format!("-{}.", index + 1));
        name.push(self.path.extension().unwrap_or_default());
        self.path.with_file_name(name)
    }

    /// Whether a finished file of this media type may be written as it is.
    pub(super) fn takes(&self, media_type: &str) -> bool {
        let own = match self.format {
            Format::Png => "image/png",
            Format::Jpeg => "image/jpeg",
            Format::WebP => "image/webp",
        };
        media_type == own
    }

    /// Encodes a picture and writes it whole. `text` goes into PNG files.
    pub(super) fn write_picture(&self, index: usize, picture: FinishedPicture<'_>, text: &PngText) -> Outcome<PathBuf> {
        let FinishedPicture { width, height, rgb } = picture;
        let bytes = match self.format {
            Format::Png => encode::encode_png(width, height, rgb, text),
            Format::Jpeg => encode::encode_jpeg(width, height, rgb, JPEG_QUALITY),
            Format::WebP => encode::encode_webp(width, height, rgb),
        };
        self.write_bytes(index, &bytes.or_fail()?)
    }

    /// Writes a whole file under a temporary name and renames it, so that a file of the name is always a whole one.
    pub(super) fn write_bytes(&self, index: usize, bytes: &[u8]) -> Outcome<PathBuf> {
        let path = self.path(index);
        let mut temporary = path.clone().into_os_string();
        temporary.push(format!(".{}.tmp", std::process::id()));
        let written =
            fs::File::create(&temporary).and_then(|mut file| file.write_all(bytes)).and_then(|()| fs::rename(&temporary, &path));
        if written.is_err() {
            let _ = fs::remove_file(&temporary);
        }
        written.with_context(|| format!("cannot write {}", path.display())).or_fail()?;
        Ok(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_further_pictures() {
        for (given, second) in [("out.png", "out-2.png"), ("a/b.c.WEBP", "a/b.c-2.WEBP")] {
            let file = OutputFile { path: PathBuf::from(given), format: Format::Png };
            assert_eq!(file.path(0), Path::new(given));
            assert_eq!(file.path(1), Path::new(second));
        }
    }

    #[test]
    fn only_places_that_can_be_written_are_taken() {
        let directory = tempfile::tempdir().unwrap();
        for good in ["a.png", "a.PNG", "a.jpg", "a.jpeg", "a.webp"] {
            OutputFile::new(&directory.path().join(good)).unwrap();
        }
        OutputFile::new(Path::new("a.png")).unwrap();
        fs::create_dir(directory.path().join("d.png")).unwrap();
        for bad in ["a", "a.gif", ".png", "no/a.png", "d.png"] {
            assert!(OutputFile::new(&directory.path().join(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_failed_write_leaves_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let output = OutputFile::new(&directory.path().join("a.png")).unwrap();
        assert_eq!(output.write_bytes(0, b"whole").unwrap(), directory.path().join("a.png"));
        fs::create_dir(directory.path().join("a-2.png")).unwrap();
        let message = output.write_bytes(1, b"x").unwrap_err().message();
        assert!(message.contains("a-2.png"), "{message}");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2);
    }
}
