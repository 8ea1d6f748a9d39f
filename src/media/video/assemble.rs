//! A film made of its scenes' clips.

use std::path::{Path, PathBuf};

use super::blend::{blend, dim};
use super::error::MediaError;
use super::frame::Frame;
use super::reader::VideoReader;
use super::settings::{FilmMetadata, VideoSettings};
use super::writer::{VideoWriter, WrittenFilm};

/// How a scene gives way to the next. Whatever it is, a film has exactly the sum of its scenes' frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Transition {
    /// At once.
    #[default]
    Cut,
    /// The scene's clip has so many frames more than its own, and those are blended with the first ones of the next scene.
    Crossfade {
        /// Frames of both.
        frames: u32,
    },
    /// The last half of so many frames goes to black, and the next scene's first half comes from black. No extra frames.
    Fade {
        /// Frames of both scenes together.
        frames: u32,
    },
}

impl Transition {
    /// Frames that the scene's clip must have beyond its own.
    pub fn extra_frames(self) -> u64 {
        if let Self::Crossfade { frames } = self { u64::from(frames) } else { 0 }
    }

    /// Frames of one side of a fade.
    fn half(self) -> u64 {
        if let Self::Fade { frames } = self { u64::from(frames) / 2 } else { 0 }
    }
}

/// A scene of a film.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SceneClip {
    /// Its clip, of the film's size; frames beyond what is needed are left alone.
    pub path: PathBuf,
    /// Frames that the scene has in the film, beginning with the clip's first.
    pub frames: u64,
    /// How it gives way to the next scene. The last scene's must be a cut.
    pub transition: Transition,
}

impl SceneClip {
    /// Frames that its clip must have: its own, and those that a crossfade shows under the next scene.
    pub fn frames_needed(&self) -> u64 {
        self.frames + self.transition.extra_frames()
    }
}

/// What a film is made of.
#[derive(Clone, Copy, Debug)]
pub struct Film<'a> {
    /// Its scenes, in order.
    pub scenes: &'a [SceneClip],
    /// What it shall be like.
    pub settings: &'a VideoSettings,
    /// A file of sound, cut or followed by silence so that it is as long as the film.
    pub audio: Option<&'a Path>,
    /// What it says of itself.
    pub metadata: &'a FilmMetadata,
}

/// Puts a film together and writes it. At most two clips are open at once, and a few frames in memory, however long the film is.
/// `progress` is told frames done and frames in all; the interrupt is looked at before every frame. Fails with [`MediaError::Setting`] for
/// transitions that do not fit their scenes, with [`MediaError::TooFewFrames`] for clips that are too short, and as reading and writing do;
/// then there is no file.
pub fn assemble(
    path: &Path,
    film: &Film<'_>,
    progress: &mut dyn FnMut(u64, u64),
    interrupted: &dyn Fn() -> bool,
) -> Result<WrittenFilm, MediaError> {
    check(film.scenes)?;
    let total = film.scenes.iter().map(|scene| scene.frames).sum();
    let mut writer = VideoWriter::create_with_audio(path, film.settings, film.metadata, film.audio)?;
    let mut before: Option<Before> = None;
    for scene in film.scenes {
        let mut clip = VideoReader::open(&scene.path)?;
        for number in 0..scene.frames {
            if interrupted() {
                return Err(MediaError::Interrupted);
            }
            let own = clip.read_needed(scene.frames_needed())?;
            let mixed = match &mut before {
                Some(before) => before.over(own, number)?,
                None => own,
            };
            let mixed = fading_out(mixed, number, scene)?;
            writer.push(&mixed)?;
            progress(writer.frames(), total);
        }
        before = Some(Before { clip, needed: scene.frames_needed(), transition: scene.transition });
    }
    writer.finish()
}

/// The scene before the one that is shown.
struct Before {
    clip: VideoReader,
    needed: u64,
    transition: Transition,
}

impl Before {
    /// What the next scene's frame of a number looks like as the transition has it.
    fn over(&mut self, frame: Frame, number: u64) -> Result<Frame, MediaError> {
        match self.transition {
            Transition::Crossfade { frames } if number < u64::from(frames) => {
                let tail = self.clip.read_needed(self.needed)?;
                // The first of k is one part new in k + 1, so that neither end repeats what stands beside it.
                blend(&tail, &frame, number as u32 + 1, frames + 1)
            }
            transition if number < transition.half() => dim(&frame, number as u32, transition.half() as u32),
            _ => Ok(frame),
        }
    }
}

/// The frame as its own scene's fade has it: the last one is black.
fn fading_out(frame: Frame, number: u64, scene: &SceneClip) -> Result<Frame, MediaError> {
    let half = scene.transition.half();
    let left = scene.frames - 1 - number;
    if left < half { dim(&frame, left as u32, half as u32) } else { Ok(frame) }
}

/// Fails unless every transition fits the scenes on both of its sides.
fn check(scenes: &[SceneClip]) -> Result<(), MediaError> {
    if scenes.is_empty() {
        return Err(MediaError::setting("scenes", "a film has at least one"));
    }
    for (index, scene) in scenes.iter().enumerate() {
        let number = index + 1;
        if scene.frames == 0 {
            return Err(MediaError::setting("scenes", format!("scene {number} has no frames")));
        }
        let Some(next) = scenes.get(index + 1) else {
            if scene.transition == Transition::Cut {
                continue;
            }
            return Err(MediaError::setting("transition", "the last scene has none after it to go over into"));
        };
        let (of_this, of_next) = match scene.transition {
            Transition::Cut => (0, 0),
            Transition::Crossfade { frames } => (0, u64::from(frames)),
            Transition::Fade { .. } => (scene.transition.half(), scene.transition.half()),
        };
        if of_this > scene.frames || of_next > next.frames {
            let reason = format!(
                "between scenes {number} and {} it takes {of_this} and {of_next} frames, and they have {} and {}",
                number + 1,
                scene.frames,
                next.frames
            );
            return Err(MediaError::setting("transition", reason));
        }
    }
    Ok(())
}
