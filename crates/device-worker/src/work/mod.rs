//! What a task keeps in its directory, so that a later attempt goes on from there.
//!
//! Every file is written under another name and renamed. `picture-<i>.checkpoint` says what there is of picture `i`: a step machine's
//! state, or that `picture-<i>.rgb` is the finished picture. The frames of a clip are finished pictures; `clip.checkpoint` is the state
//! of their one step machine. A checkpoint that is damaged, or that another build, device, model, request, initial picture or mask
//! made, counts as none.

pub mod cadence;
mod checkpoint;

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use framewright_engine::vision::{GreyPicture, RgbPicture};

use crate::task::{ModelFiles, PictureFile, Request};
use checkpoint::{MOST_BYTES, State};

/// The index in a clip's own checkpoint: no frame's.
const CLIP_INDEX: u32 = u32::MAX;

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
    /// kernels and precision), model files, request and initial picture alone; see [`Self::with_mask`].
    pub fn new(path: &Path, device: &str, model: &ModelFiles, request: &Request, init_image: Option<&RgbPicture>) -> Self {
        let request = serde_json::to_string(request).unwrap_or_default();
        let picture = init_image.map_or_else(String::new, |picture| {
            format!(" | {}x{} {:016x}", picture.width, picture.height, checkpoint::checksum(&picture.bytes))
        });
        let model = format!("{} {:016x}", model.name, model.fingerprint);
        let tag = format!("framewright {} | {device} | {model} | {request}{picture}", crate::build());
        Self { path: path.to_owned(), tag }
    }

    /// The same for a request that has this mask, if it has one.
    #[must_use]
    pub fn with_mask(mut self, mask: Option<&GreyPicture>) -> Self {
        if let Some(mask) = mask {
            let checksum = checkpoint::checksum(&mask.bytes);
            self.tag = format!("{} | mask {}x{} {checksum:016x}", self.tag, mask.width, mask.height);
        }
        self
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

    /// What there is of a clip's step machine.
    pub fn read_clip(&self) -> Option<Vec<u8>> {
        let bytes = read_at_most(&self.clip_path(), MOST_BYTES)?;
        match checkpoint::decode(&bytes, &self.tag, CLIP_INDEX)? {
            State::Machine(state) => Some(state.to_vec()),
            State::Finished { .. } => None,
        }
    }

    /// Keeps the state of a clip's step machine.
    pub fn keep_clip(&self, state: &[u8]) -> io::Result<()> {
        let bytes = checkpoint::encode(&self.tag, CLIP_INDEX, State::Machine(state));
        self.write(&self.clip_path(), &bytes)
    }

    fn clip_path(&self) -> PathBuf {
        self.path.join("clip.checkpoint")
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
    if file.metadata().ok()?.len() > most_bytes {
        return None;
    }
    let mut bytes = Vec::new();
    file.take(most_bytes + 1).read_to_end(&mut bytes).ok()?;
    (bytes.len() as u64 <= most_bytes).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::task::ImageRequest;

    fn image_request() -> ImageRequest {
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

    fn request() -> Request {
        image_request().into()
    }

    fn model(fingerprint: u64) -> ModelFiles {
        ModelFiles { name: "m".to_owned(), directory: "m".into(), fingerprint }
    }

    #[test]
    fn what_is_kept_is_found_and_what_is_foreign_or_damaged_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a/b");
        let work = WorkDirectory::new(&path, "cpu (gemm, f32)", &model(7), &request(), None);
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

        let mask = GreyPicture { height: 1, width: 2, bytes: vec![0, 255] };
        let other_request = ImageRequest { seed: 2, ..image_request() }.into();
        for other in [
            WorkDirectory::new(&path, "cpu (avx512, f32)", &model(7), &request(), None),
            WorkDirectory::new(&path, "cpu (gemm, f32)", &model(8), &request(), None),
            WorkDirectory::new(&path, "cpu (gemm, f32)", &model(7), &other_request, None),
            WorkDirectory::new(&path, "cpu (gemm, f32)", &model(7), &request(), Some(&picture)),
            WorkDirectory::new(&path, "cpu (gemm, f32)", &model(7), &request(), None).with_mask(Some(&mask)),
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
    fn a_clip_keeps_its_machine_beside_its_frames() {
        let directory = tempfile::tempdir().unwrap();
        let picture = |byte| RgbPicture { height: 1, width: 2, bytes: vec![byte; 6] };
        let of = |byte| WorkDirectory::new(directory.path(), "d", &model(1), &request(), Some(&picture(byte)));
        let work = of(1);
        assert_eq!(work.read_clip(), None);
        work.keep_clip(b"state").unwrap();
        let file = work.keep_picture(0, &picture(9), false).unwrap();
        assert_eq!(work.read_clip(), Some(b"state".to_vec()));
        assert_eq!(work.read(0, 2, 1), Some(Kept::Finished { file, tiled: false }));
        assert_eq!((of(2).read_clip(), of(2).read(0, 2, 1)), (None, None), "it begins with another picture");
        // A picture's machine is no clip's.
        work.keep_machine(3, b"other").unwrap();
        fs::copy(directory.path().join("picture-3.checkpoint"), directory.path().join("clip.checkpoint")).unwrap();
        assert_eq!(work.read_clip(), None);
    }

    #[test]
    fn an_endless_file_is_not_read() {
        let directory = tempfile::tempdir().unwrap();
        File::create(directory.path().join("picture-0.checkpoint")).unwrap().set_len(1 << 40).unwrap();
        assert_eq!(WorkDirectory::new(directory.path(), "d", &model(1), &request(), None).read(0, 2, 1), None);
    }
}
