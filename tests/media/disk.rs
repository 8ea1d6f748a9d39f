//! A disk that is full.

use std::fs;
use std::process::Command;

use framewright::domain::{FrameRate, VideoCodec};
use framewright::media::video::{FilmMetadata, Frame, MediaError, VideoSettings, encode};
use tempfile::TempDir;

use crate::support::never;

/// A file system of its own, if this user may mount one.
struct SmallDisk(TempDir);

impl SmallDisk {
    fn mount() -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", "size=1m", "small"]).arg(directory.path()).output();
        mount.is_ok_and(|output| output.status.success()).then_some(Self(directory))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.0.path()).status();
    }
}

#[test]
fn a_full_disk_is_said_and_leaves_nothing() {
    let Some(disk) = SmallDisk::mount() else {
        println!("SKIPPED: a small file system cannot be mounted here; run as root");
        return;
    };
    // Noise, that no codec can shrink.
    let mut state = 1_u32;
    let mut noise = || {
        Frame::from_fn(256, 256, |_, _| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state.to_be_bytes()[..3].try_into().unwrap()
        })
    };
    let frames: Vec<Frame> = (0..60).map(|_| noise().unwrap()).collect();
    for codec in [VideoCodec::Ffv1, VideoCodec::H264, VideoCodec::Gif] {
        let path = disk.0.path().join(format!("film.{}", codec.extension()));
        let settings = VideoSettings { quality: 100, ..VideoSettings::new(256, 256, FrameRate::FILM).with_codec(codec) };
        let error = encode(&path, &settings, &FilmMetadata::default(), frames.iter().cloned().map(Ok), &never).unwrap_err();
        assert!(matches!(error, MediaError::StorageFull { .. }), "{codec:?}: {error}");
        assert!(error.to_string().contains(&format!("'film.{}'", codec.extension())), "{error}");
        assert_eq!(fs::read_dir(disk.0.path()).unwrap().count(), 0, "{codec:?}");
    }
}
