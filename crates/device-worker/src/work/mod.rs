//! What a task keeps in its directory, so that a later attempt goes on from there.
//!
//! Every file is written under another name and renamed. `picture-<i>.checkpoint` says what there is of picture `i`: a step machine's
//! state, or that `picture-<i>.rgb` is the finished picture. A checkpoint that is damaged, or that another build, device, model or
//! request made, counts as none.

pub mod cadence;
mod checkpoint;

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use framewright_engine::vision::RgbPicture;

use crate::task::{ImageRequest, ModelFiles, PictureFile};
use checkpoint::{MOST_BYTES, State};

/// What was kept of a picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kept {
    /// A step machine's state.
    Machine(Vec<u8>),
    /// The finished picture.
    Finished {
        /// Where it lies.
        file: PictureFile,
        /// Whether it was decoded in tiles, which its viewer should know.
        tiled: bool,
    },
}

/// A task's directory, for one kind of device and one request.
#[derive(Clone, Debug)]
pub struct WorkDirectory {
    path: PathBuf,
    tag: String,
}

impl WorkDirectory {
    /// The directory at `path`, which need not exist. What is kept there is good for the same build, `device` (which names its
    /// kernels and precision), model files and request alone.
    pub fn new(path: &Path, device: &str, model: &ModelFiles, request: &ImageRequest) -> Self {
        let request = serde_json::to_string(request).unwrap_or_default();
        let tag = format!("framewright {} | {device} | {} {:016x} | {request}", crate::build(), model.name, model.fingerprint);
        Self { path: path.to_owned(), tag }
    }

    /// What there is of picture `index`, of the given sides; anything that is not beyond doubt is none.
    pub fn read(&self, index: u32, width: u32, height: u32) -> Option<Kept> {
        let bytes = read_at_most(&self.checkpoint_path(index), MOST_BYTES)?;
        match checkpoint::decode(&bytes, &self.tag, index)? {
            State::Machine(state) => Some(Kept::Machine(state.to_vec())),
            State::Finished { checksum, tiled } => {
                let file = PictureFile { path: self.picture_path(index), width, height };
                let picture = file.read().ok()?;
                (checkpoint::checksum(&picture.bytes) == checksum).then_some(Kept::Finished { file, tiled })
            }
        }
    }

    /// Keeps a step machine's state.
    pub fn keep_machine(&self, index: u32, state: &[u8]) -> io::Result<()> {
        let bytes = checkpoint::encode(&self.tag, index, State::Machine(state));
        self.write(&self.checkpoint_path(index), &bytes)
    }

    /// Keeps a finished picture; `tiled`: it was decoded in tiles.
    pub fn keep_picture(&self, index: u32, picture: &RgbPicture, tiled: bool) -> io::Result<PictureFile> {
        let file = PictureFile { path: self.picture_path(index), width: picture.width as u32, height: picture.height as u32 };
        self.write(&file.path, &picture.bytes)?;
        let finished = State::Finished { checksum: checkpoint::checksum(&picture.bytes), tiled };
        self.write(&self.checkpoint_path(index), &checkpoint::encode(&self.tag, index, finished))?;
        Ok(file)
    }

    fn checkpoint_path(&self, index: u32) -> PathBuf {
        self.path.join(format!("picture-{index}.checkpoint"))
    }

    fn picture_path(&self, index: u32) -> PathBuf {
        self.path.join(format!("picture-{index}.rgb"))
    }

    /// Not synced to disk: what a power failure damages is found damaged.
    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        write_renamed(path, bytes).or_else(|error| {
            if error.kind() != io::ErrorKind::NotFound {
                return Err(error);
            }
            fs::create_dir_all(&self.path)?;
            write_renamed(path, bytes)
        })
    }
}

/// Writes a whole file under another name and renames it.
pub fn write_renamed(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".tmp");
    let written = File::create(&temporary).and_then(|mut file| file.write_all(bytes)).and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written
}

fn read_at_most(path: &Path, most_bytes: u64) -> Option<Vec<u8>> {
    let file = File::open(path).ok()?;
    let mut bytes = Vec::new();
    file.take(most_bytes + 1).read_to_end(&mut bytes).ok()?;
    (bytes.len() as u64 <= most_bytes).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> ImageRequest {
        ImageRequest {
            prompt: "p".to_owned(),
            negative_prompt: None,
            width: 2,
            height: 1,
            num_inference_steps: 4,
            guidance_scale: 5.0,
            seed: 1,
            sampler: None,
            num_images: 2,
            strength: 1.0,
        }
    }

    fn model(fingerprint: u64) -> ModelFiles {
        ModelFiles { name: "m".to_owned(), directory: "m".into(), fingerprint }
    }

    #[test]
    fn what_is_kept_is_found_and_what_is_foreign_or_damaged_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a/b");
        let work = WorkDirectory::new(&path, "cpu (gemm, f32)", &model(7), &request());
        assert_eq!(work.read(0, 2, 1), None);
        work.keep_machine(0, b"state").unwrap();
        let picture = RgbPicture { height: 1, width: 2, bytes: vec![1, 2, 3, 4, 5, 6] };
        for tiled in [false, true] {
            let file = work.keep_picture(1, &picture, tiled).unwrap();
            assert_eq!(work.read(1, 2, 1), Some(Kept::Finished { file, tiled }));
        }
        let file = work.keep_picture(1, &picture, true).unwrap();
        assert_eq!(work.read(0, 2, 1), Some(Kept::Machine(b"state".to_vec())));
        assert_eq!(file.read().unwrap(), picture);

        let other_request = ImageRequest { seed: 2, ..request() };
        for other in [
            WorkDirectory::new(&path, "cpu (avx512, f32)", &model(7), &request()),
            WorkDirectory::new(&path, "cpu (gemm, f32)", &model(8), &request()),
            WorkDirectory::new(&path, "cpu (gemm, f32)", &model(7), &other_request),
        ] {
            assert_eq!(other.read(0, 2, 1), None);
            assert_eq!(other.read(1, 2, 1), None);
        }
        // Another picture's checkpoint under this one's name.
        fs::copy(path.join("picture-0.checkpoint"), path.join("picture-3.checkpoint")).unwrap();
        assert_eq!(work.read(3, 2, 1), None);

        let good = fs::read(path.join("picture-0.checkpoint")).unwrap();
        for position in 0..good.len() {
            let mut damaged = good.clone();
            damaged[position] ^= 0x10;
            fs::write(path.join("picture-0.checkpoint"), &damaged).unwrap();
            assert_eq!(work.read(0, 2, 1), None, "byte {position}");
            fs::write(path.join("picture-0.checkpoint"), &good[..position]).unwrap();
            assert_eq!(work.read(0, 2, 1), None, "cut at {position}");
        }
        fs::write(&file.path, [1, 2, 3, 4, 5, 7]).unwrap();
        assert_eq!(work.read(1, 2, 1), None, "another picture");
        fs::remove_file(&file.path).unwrap();
        assert_eq!(work.read(1, 2, 1), None);
    }

    #[test]
    fn an_endless_file_is_not_read() {
        let directory = tempfile::tempdir().unwrap();
        File::create(directory.path().join("picture-0.checkpoint")).unwrap().set_len(1 << 40).unwrap();
        assert_eq!(WorkDirectory::new(directory.path(), "d", &model(1), &request()).read(0, 2, 1), None);
    }
}
