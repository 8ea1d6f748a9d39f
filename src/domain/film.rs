//! A request for a film with every default filled in: what a job stores, and what its tasks follow from.

use serde::{Deserialize, Serialize};

use super::frame_rate::FrameRate;
use super::ids::ModelId;
use super::image_request::ImageRequest;
use super::networks::{InstalledNetworks, NetworkIdentity};
use super::video_codec::VideoCodec;

/// A film. Immutable once its job is accepted; values have been checked against the models' limits.
///
/// The film has exactly as many frames as its scenes together. A scene's source is a chain of clips, each begun with the last frame of the
/// one before it; the source is brought to the film's frame rate and size, and the scenes are joined.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FilmRequest {
    /// The video model.
    pub model: ModelId,
    /// The model of the pictures that scenes without one begin with; absent where every scene brings its own.
    pub keyframes: Option<KeyframeSettings>,
    /// The scenes, in order; at least one.
    pub scenes: Vec<Scene>,
    /// Frames a second of the film.
    pub frame_rate: FrameRate,
    /// Pixels across, of the film.
    pub width: u32,
    /// Pixels down, of the film.
    pub height: u32,
    /// How clips are made.
    pub clips: ClipSettings,
    /// How the source is brought to the film's frame rate.
    pub interpolation: Interpolation,
    /// The network that makes frames between frames; absent where none does, and in requests of before it was written down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interpolation_network: Option<NetworkIdentity>,
    /// How the source is brought to the film's size where that is larger.
    pub upscaling: Upscaling,
    /// The network that enlarges; absent where none does, and in requests of before it was written down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upscaling_network: Option<NetworkIdentity>,
    /// How the film is encoded.
    pub codec: VideoCodec,
    /// A sound track.
    pub audio: Option<InputFile>,
}

/// A file that came with a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputFile {
    /// Its storage key.
    pub key: String,
    /// SHA-256 of its bytes, hexadecimal: what it is to those who compare requests.
    pub sha256: String,
}

/// A scene.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scene {
    /// Its name within the film.
    pub id: String,
    /// What it shows, camera commands taken out.
    pub prompt: String,
    /// What it must not show.
    pub negative_prompt: Option<String>,
    /// Frames that the film shows of it.
    pub frames: u32,
    /// The picture that it begins with; absent: one is made from the prompt.
    pub init_image: Option<InputFile>,
    /// Seed of its first picture and of its first clip; clip i uses `seed + i` (wrapping).
    pub seed: u64,
    /// How the camera moves, as [`crate::domain::camera`] reads it; absent: not at all.
    pub camera: Option<String>,
    /// How the next scene follows; the last scene's has no effect.
    pub transition: Transition,
}

/// How a scene is followed by the next one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Transition {
    /// At once.
    #[default]
    Cut,
    /// The scene goes on below the next one's first frames and fades into them; what it goes on with is made in addition.
    Crossfade {
        /// How long, in frames of the film.
        frames: u32,
    },
    /// The scene fades to black in the first half, the next one comes out of it in the second.
    Fade {
        /// How long, in frames of the film.
        frames: u32,
    },
}

impl Transition {
    /// Frames of the scene that are made beyond those that the film shows of it alone.
    pub const fn extra_frames(self) -> u32 {
        match self {
            Self::Crossfade { frames } => frames,
            Self::Cut | Self::Fade { .. } => 0,
        }
    }
}

/// How the pictures that scenes begin with are made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KeyframeSettings {
    /// The image model.
    pub model: ModelId,
    /// Pixels across.
    pub width: u32,
    /// Pixels down.
    pub height: u32,
    /// Sampler steps.
    pub num_inference_steps: u32,
    /// Classifier-free guidance.
    pub guidance_scale: f32,
}

/// How clips are made; the names are diffusers'.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClipSettings {
    /// Pixels across.
    pub width: u32,
    /// Pixels down.
    pub height: u32,
    /// Frames of a clip.
    pub num_frames: u32,
    /// Sampler steps.
    pub num_inference_steps: u32,
    /// Guidance of the first frame.
    pub min_guidance_scale: f32,
    /// Guidance of the last frame.
    pub max_guidance_scale: f32,
    /// Frames a second that the model is told, and that its frames are meant for.
    pub fps: u32,
    /// How much moves: larger is more.
    pub motion_bucket_id: u32,
    /// Noise added to the first picture.
    pub noise_aug_strength: f32,
    /// Frames that are decoded together.
    pub decode_chunk_size: u32,
}

/// How a frame rate is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Interpolation {
    /// Not at all: the frames are the model's.
    None,
    /// FFmpeg's motion-compensated filter.
    MotionCompensated,
    /// The RIFE network.
    Rife,
}

/// How a size is raised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Upscaling {
    /// Lanczos.
    Lanczos,
    /// The Real-ESRGAN network, then Lanczos to the exact size.
    RealEsrgan,
}

/// A clip as a device makes it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClipRequest {
    /// The video model.
    pub model: ModelId,
    /// Seed of its noise.
    pub seed: u64,
    /// The rest.
    #[serde(flatten)]
    pub settings: ClipSettings,
}

impl FilmRequest {
    /// The files that came with it.
    pub fn inputs(&self) -> impl Iterator<Item = &InputFile> {
        self.scenes.iter().filter_map(|scene| scene.init_image.as_ref()).chain(&self.audio)
    }

    /// Frames of the whole film.
    pub fn frames(&self) -> u64 {
        self.scenes.iter().map(|scene| u64::from(scene.frames)).sum()
    }

    /// Length of the whole film, milliseconds.
    pub fn duration_ms(&self) -> i64 {
        (self.frame_rate.seconds_of(self.frames()) * 1000.0).round() as i64
    }

    /// Frames that are made for a scene: those that the film shows, and those that fade away below the next scene.
    pub fn frames_made(&self, scene: usize) -> u32 {
        let is_last = scene + 1 >= self.scenes.len();
        self.scenes
            .get(scene)
            .map_or(0, |scene| scene.frames.saturating_add(if is_last { 0 } else { scene.transition.extra_frames() }))
    }

    /// Whether its frames are enlarged by a network: only where they have to become larger.
    pub fn is_enlarged(&self) -> bool {
        let is_larger = self.width > self.clips.width || self.height > self.clips.height;
        self.upscaling == Upscaling::RealEsrgan && is_larger
    }

    /// Whether a network makes frames of its scenes.
    pub fn needs_network(&self) -> bool {
        self.interpolation == Interpolation::Rife || self.is_enlarged()
    }

    /// Names the networks that it is made with: of those that it needs the installed ones. One that is needed and not installed stays what
    /// it was.
    pub fn name_networks(&mut self, installed: &InstalledNetworks) {
        if self.interpolation == Interpolation::Rife && installed.rife.is_some() {
            self.interpolation_network.clone_from(&installed.rife);
        }
        if self.is_enlarged() && installed.realesrgan.is_some() {
            self.upscaling_network.clone_from(&installed.realesrgan);
        }
    }

    /// Frames that the clips of a scene must give together.
    ///
    /// Frame j of the scene shows the moment `j / frame_rate`, and source frame i the moment `i / clips.fps`.
    pub fn source_frames(&self, scene: usize) -> u32 {
        let made = u64::from(self.frames_made(scene));
        if self.interpolation == Interpolation::None {
            return made as u32;
        }
        let last = made.saturating_sub(1) * u64::from(self.clips.fps) * u64::from(self.frame_rate.denominator());
        (last.div_ceil(u64::from(self.frame_rate.numerator())) as u32).saturating_add(1)
    }

    /// Clips of a scene. Each but the first begins with the last frame of the one before it, which is not shown twice.
    pub fn clips_of(&self, scene: usize) -> u32 {
        let further = self.clips.num_frames.saturating_sub(1).max(1);
        self.source_frames(scene).saturating_sub(1).div_ceil(further).max(1)
    }

    /// A clip of a scene.
    pub fn clip(&self, scene: usize, index: u32) -> ClipRequest {
        let seed = self.scenes.get(scene).map_or(0, |scene| scene.seed).wrapping_add(u64::from(index));
        ClipRequest { model: self.model.clone(), seed, settings: self.clips.clone() }
    }

    /// The picture that a scene begins with, where one is made.
    pub fn keyframe(&self, scene: usize) -> Option<ImageRequest> {
        let scene = self.scenes.get(scene).filter(|scene| scene.init_image.is_none())?;
        let settings = self.keyframes.as_ref()?;
        Some(ImageRequest {
            model: settings.model.clone(),
            prompt: scene.prompt.clone(),
            negative_prompt: scene.negative_prompt.clone(),
            width: settings.width,
            height: settings.height,
            num_inference_steps: settings.num_inference_steps,
            guidance_scale: settings.guidance_scale,
            seed: scene.seed,
            sampler: None,
            num_images: 1,
            init_image: None,
            strength: 1.0,
            mask: None,
        })
    }
}

impl ClipRequest {
    /// Whether an evaluation has two rows.
    pub fn is_guided(&self) -> bool {
        self.settings.max_guidance_scale > 1.0
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A film of scenes of so many frames, at 24 frames a second from clips of 14 frames at 7.
    pub(crate) fn film(frames: &[u32]) -> FilmRequest {
        let scene = |(index, frames): (usize, &u32)| Scene {
            id: format!("s{}", index + 1),
            prompt: "a circle".to_owned(),
            negative_prompt: None,
            frames: *frames,
            init_image: None,
            seed: 7,
            camera: None,
            transition: Transition::Cut,
        };
        FilmRequest {
            model: "svd".parse().unwrap(),
            keyframes: Some(KeyframeSettings {
                model: "sdxl".parse().unwrap(),
                width: 128,
                height: 128,
                num_inference_steps: 20,
                guidance_scale: 5.0,
            }),
            scenes: frames.iter().enumerate().map(scene).collect(),
            frame_rate: FrameRate::FILM,
            width: 256,
            height: 256,
            clips: ClipSettings {
                width: 128,
                height: 128,
                num_frames: 14,
                num_inference_steps: 8,
                min_guidance_scale: 1.0,
                max_guidance_scale: 3.0,
                fps: 7,
                motion_bucket_id: 127,
                noise_aug_strength: 0.02,
                decode_chunk_size: 8,
            },
            interpolation: Interpolation::MotionCompensated,
            interpolation_network: None,
            upscaling: Upscaling::Lanczos,
            upscaling_network: None,
            codec: VideoCodec::H264,
            audio: None,
        }
    }

    #[test]
    fn clips_cover_a_scene_and_no_more_than_that() {
        for frames in 1..400 {
            let film = film(&[frames]);
            let source = film.source_frames(0);
            // The last frame of the scene lies between two source frames, or on one.
            let position = f64::from(frames - 1) * 7.0 / 24.0;
            assert!(f64::from(source - 1) >= position && f64::from(source - 1) < position + 1.0, "{frames}: {source}");
            let clips = film.clips_of(0);
            assert!(clips * 13 + 1 >= source && (clips == 1 || (clips - 1) * 13 + 1 < source), "{frames}: {clips} of {source}");
        }
    }

    #[test]
    fn without_interpolation_the_source_is_the_scene() {
        let film = FilmRequest { interpolation: Interpolation::None, ..film(&[14, 15]) };
        assert_eq!((film.source_frames(0), film.clips_of(0)), (14, 1));
        assert_eq!((film.source_frames(1), film.clips_of(1)), (15, 2));
    }

    #[test]
    fn a_network_enlarges_only_what_becomes_larger() {
        let film = FilmRequest { upscaling: Upscaling::RealEsrgan, ..film(&[24]) };
        let sized = |width, height| FilmRequest { width, height, ..film.clone() };
        assert!(film.is_enlarged() && sized(128, 130).is_enlarged());
        assert!(!sized(128, 128).is_enlarged() && !sized(64, 64).is_enlarged());
        assert!(!FilmRequest { upscaling: Upscaling::Lanczos, ..film.clone() }.is_enlarged());
    }

    #[test]
    fn networks_are_named_where_they_are_needed_and_old_requests_are_read() {
        let network = |digit: &str| Some(NetworkIdentity { sha256: digit.repeat(64), precision: "f32".to_owned() });
        let installed = InstalledNetworks { rife: network("1"), realesrgan: network("2") };
        let mut plain = film(&[24]);
        plain.name_networks(&installed);
        assert_eq!(plain, film(&[24]), "none is needed");
        let text = serde_json::to_string(&plain).unwrap();
        assert!(!text.contains("_network"), "{text}");
        assert_eq!(serde_json::from_str::<FilmRequest>(&text).unwrap(), plain);

        let mut both = FilmRequest { interpolation: Interpolation::Rife, upscaling: Upscaling::RealEsrgan, ..film(&[24]) };
        assert!(both.needs_network() && !film(&[24]).needs_network());
        both.name_networks(&installed);
        assert_eq!((&both.interpolation_network, &both.upscaling_network), (&installed.rife, &installed.realesrgan));
        assert_eq!(serde_json::from_value::<FilmRequest>(serde_json::to_value(&both).unwrap()).unwrap(), both);
        both.name_networks(&InstalledNetworks { rife: network("3"), realesrgan: None });
        assert_eq!((&both.interpolation_network, &both.upscaling_network), (&network("3"), &installed.realesrgan));
    }

    #[test]
    fn a_crossfade_is_made_in_addition_and_the_film_keeps_its_length() {
        let mut film = film(&[48, 48]);
        film.scenes[0].transition = Transition::Crossfade { frames: 12 };
        film.scenes[1].transition = Transition::Crossfade { frames: 12 };
        assert_eq!((film.frames_made(0), film.frames_made(1)), (60, 48), "nothing follows the last scene");
        assert_eq!((film.frames(), film.duration_ms()), (96, 4000));
    }
}
