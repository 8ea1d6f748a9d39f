//! Pictures between a server and its devices: by file, or in memory.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use framewright_engine::vision::RgbPicture;
use serde::{Deserialize, Serialize};

/// RGB bytes in a file, rows from the top.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PictureFile {
    /// The file.
    pub path: PathBuf,
    /// Pixels across.
    pub width: u32,
    /// Pixels down.
    pub height: u32,
}

impl PictureFile {
    /// `width · height · 3`.
    pub fn length_bytes(&self) -> u64 {
        u64::from(self.width) * u64::from(self.height) * 3
    }

    /// The pixels; a file of another length is an error.
    pub fn read(&self) -> io::Result<RgbPicture> {
        use io::Read;
        let file = std::fs::File::open(&self.path)?;
        let found = file.metadata()?.len();
        if found != self.length_bytes() {
            let message = format!("{} has {found} bytes and not {}", self.path.display(), self.length_bytes());
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
        let mut bytes = Vec::with_capacity(found as usize);
        file.take(found).read_to_end(&mut bytes)?;
        let picture = RgbPicture { height: self.height as usize, width: self.width as usize, bytes };
        picture.is_whole().then_some(picture).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }
}

/// A picture that goes to a device or comes from one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Picture {
    /// In memory; between processes only small ones.
    Pixels(#[serde(with = "rgb")] Arc<RgbPicture>),
    /// In a file.
    File(PictureFile),
}

impl Picture {
    /// The pixels. Blocks on the file.
    pub fn read(&self) -> io::Result<Arc<RgbPicture>> {
        match self {
            Self::Pixels(picture) => Ok(Arc::clone(picture)),
            Self::File(file) => file.read().map(Arc::new),
        }
    }
}

/// Pixels in JSON; sides that do not agree with the bytes are an error.
mod rgb {
    use std::sync::Arc;

    use framewright_engine::vision::RgbPicture;
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

    #[derive(Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Rgb {
        width: usize,
        height: usize,
        #[serde(with = "crate::task::base64_bytes")]
        bytes: Vec<u8>,
    }

    pub(super) fn serialize<S: Serializer>(picture: &Arc<RgbPicture>, serializer: S) -> Result<S::Ok, S::Error> {
        Rgb { width: picture.width, height: picture.height, bytes: picture.bytes.clone() }.serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Arc<RgbPicture>, D::Error> {
        let Rgb { width, height, bytes } = Rgb::deserialize(deserializer)?;
        let picture = RgbPicture { height, width, bytes };
        if picture.is_whole() { Ok(Arc::new(picture)) } else { Err(de::Error::custom("the sides do not fit the pixels")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_survive_the_way_between_processes_and_lies_do_not() {
        let picture = Picture::Pixels(Arc::new(RgbPicture { height: 1, width: 2, bytes: vec![0, 1, 2, 253, 254, 255] }));
        let text = serde_json::to_string(&picture).unwrap();
        assert_eq!(serde_json::from_str::<Picture>(&text).unwrap(), picture);
        let lie = text.replace("\"width\":2", "\"width\":18446744073709551615");
        assert!(serde_json::from_str::<Picture>(&lie).unwrap_err().to_string().contains("sides"));
    }

    #[test]
    fn a_picture_file_must_have_the_promised_length() {
        let directory = tempfile::tempdir().unwrap();
        let file = PictureFile { path: directory.path().join("x.rgb"), width: 2, height: 1 };
        std::fs::write(&file.path, [1; 6]).unwrap();
        assert_eq!(file.read().unwrap().bytes, [1; 6]);
        std::fs::write(&file.path, [1; 7]).unwrap();
        assert!(file.read().unwrap_err().to_string().contains("has 7 bytes"));
    }
}
