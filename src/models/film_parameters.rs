//! From a film that somebody asked for to what devices run: defaults and range checks, the same for every surface and the command line.

use std::collections::BTreeSet;

use serde::Serialize;

use super::film_size::{self, AskedSize};
use super::named_size::size_for_aspect;
use super::parameters::{ParameterError, check_prompt, count, refuse, seed, steps};
use crate::domain::camera::CameraScript;
use crate::domain::film::{ClipSettings, Interpolation, KeyframeSettings, Scene, Transition, Upscaling};
use crate::domain::{FilmRequest, FrameRate, InstalledNetworks, ModelDescription, ModelLimits, VideoCodec, VideoLimits};

/// Most scenes of a film.
pub const MOST_SCENES: usize = 200;
/// Longest scene, seconds.
pub const MOST_SCENE_SECONDS: f64 = 3600.0;
/// Longest film, seconds: some two thousand clips, whose tasks are looked at together whenever one of them ends.
pub const MOST_FILM_SECONDS: f64 = 3600.0;
/// How long a transition takes that names no duration, seconds.
pub const TRANSITION_SECONDS: f64 = 0.5;
/// Longest name of a scene, characters.
const MOST_ID_CHARACTERS: usize = 64;

/// What was asked, before defaults and checks. Numbers are wide enough to hold any lie, so that the refusal can quote the range.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct FilmParameters {
    /// The scenes.
    pub scenes: Vec<SceneParameters>,
    /// Frames a second of the film.
    pub fps: Option<f64>,
    /// How large it shall be.
    pub size: AskedSize,
    /// `auto`, `lanczos`, `realesrgan`.
    pub upscale: Option<String>,
    /// `auto`, `minterpolate`, `rife`.
    pub interpolation: Option<String>,
    /// `h264`, `h265`, `vp9`, `av1`, `gif`, `webp`.
    pub codec: Option<String>,
    /// Whether a sound track comes with it.
    pub has_audio: bool,
    /// Frames of a clip; for a scene without a duration, exactly the scene's.
    pub num_frames: Option<i128>,
    /// Sampler steps of a clip.
    pub num_inference_steps: Option<i128>,
    /// Guidance of a clip's first frame.
    pub min_guidance_scale: Option<f64>,
    /// Guidance of a clip's last frame.
    pub max_guidance_scale: Option<f64>,
    /// How much moves.
    pub motion_bucket_id: Option<i128>,
    /// Noise added to a clip's first picture.
    pub noise_aug_strength: Option<f64>,
    /// Frames that are decoded together.
    pub decode_chunk_size: Option<i128>,
    /// Seed of the scenes that name none; scene i uses `seed + i`.
    pub seed: Option<i128>,
}

/// A scene that was asked for.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct SceneParameters {
    /// Its name; absent: `s1`, `s2`, ….
    pub id: Option<String>,
    /// What it shows, with or without camera commands in brackets.
    pub prompt: Option<String>,
    /// What it must not show.
    pub negative_prompt: Option<String>,
    /// How long, seconds.
    pub duration: Option<f64>,
    /// Width and height of the picture that it begins with, when there is one.
    pub image_size: Option<(u32, u32)>,
    /// Its seed.
    pub seed: Option<i128>,
    /// Camera commands without brackets; then the prompt must have none.
    pub camera: Option<String>,
    /// How the next scene follows.
    pub transition: Option<TransitionParameters>,
}

/// How a scene is to be followed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TransitionParameters {
    /// `cut`, `crossfade`, `fade`.
    pub kind: String,
    /// How long, seconds.
    pub duration: Option<f64>,
}

/// Checks `parameters` against the models' limits and fills in their defaults. `image_model` makes the first pictures of scenes that bring
/// none; `random_seed` is used where no seed is given. The request's files are set by whoever stores them: a scene with an `image_size` has
/// none yet.
pub fn resolve_film_request(
    parameters: FilmParameters,
    model: &ModelDescription,
    image_model: Option<&ModelDescription>,
    networks: &InstalledNetworks,
    random_seed: u64,
) -> Result<FilmRequest, ParameterError> {
    let Some(video) = &model.video else {
        return refuse("model", format!("'{}' makes pictures, not films", model.id));
    };
    match parameters.scenes.len() {
        0 => return refuse("scenes", format!("is empty; a film has 1 to {MOST_SCENES} scenes")),
        scenes if scenes > MOST_SCENES => return refuse("scenes", format!("has {scenes}; a film has 1 to {MOST_SCENES} scenes")),
        _ => {}
    }
    let first_size = parameters.scenes.iter().find_map(|scene| scene.image_size);
    let codec = codec(parameters.codec.as_deref(), parameters.has_audio)?;
    let is_exact = parameters.scenes.iter().all(|scene| scene.duration.is_none());
    let size = film_size::resolve(&parameters.size, first_size, &model.limits, codec, is_exact)?;
    let num_frames = frames_of_a_clip(parameters.num_frames, video)?;
    let (frame_rate, clip_fps) = rates(parameters.fps, is_exact, video)?;
    if let Some(most) = codec.max_frames_per_second()
        && frame_rate.frames_per_second() > f64::from(most)
    {
        return refuse("fps", format!("is {frame_rate}; a {} has at most {most} frames a second", codec.name()));
    }
    let clips = clip_settings(&parameters, &model.limits, video, size.clip, num_frames, clip_fps)?;
    let base_seed = seed(parameters.seed, random_seed)?;
    let interpolation = interpolation(parameters.interpolation.as_deref(), is_exact, frame_rate, clip_fps, networks)?;
    let keyframes = keyframes(&parameters.scenes, image_model, size.clip)?;

    let mut names = BTreeSet::new();
    let mut scenes = Vec::with_capacity(parameters.scenes.len());
    let mut transitions = Vec::with_capacity(parameters.scenes.len());
    let prompt_limits = image_model.map_or(&model.limits, |model| &model.limits);
    for (index, asked) in parameters.scenes.into_iter().enumerate() {
        let at = |field: &str| format!("scenes[{index}].{field}");
        let id = scene_id(asked.id, index, &mut names)?;
        let frames = match asked.duration {
            Some(seconds) => frames_of(seconds, frame_rate, at("duration"))?,
            None if is_exact => num_frames,
            None => return refuse(at("duration"), "is missing; other scenes have one".to_owned()),
        };
        let (prompt, camera) = words(&asked.prompt.unwrap_or_default(), asked.camera, &at)?;
        check_prompt(at("prompt"), &prompt, prompt_limits)?;
        if let Some(negative_prompt) = &asked.negative_prompt {
            check_prompt(at("negative_prompt"), negative_prompt, prompt_limits)?;
        }
        let seed = match asked.seed {
            Some(_) => seed(asked.seed, 0).map_err(|error| ParameterError { field: at("seed").into(), ..error })?,
            None => base_seed.wrapping_add(index as u64),
        };
        transitions.push(asked.transition);
        scenes.push(Scene {
            id,
            prompt,
            negative_prompt: asked.negative_prompt,
            frames,
            init_image: None,
            seed,
            camera: camera.map(|script| script.to_string()),
            transition: Transition::Cut,
        });
    }
    set_transitions(&mut scenes, transitions, frame_rate)?;
    let is_larger = size.film.0 > clips.width || size.film.1 > clips.height;
    let mut film = FilmRequest {
        model: model.id.clone(),
        keyframes,
        scenes,
        frame_rate,
        width: size.film.0,
        height: size.film.1,
        clips,
        interpolation,
        interpolation_network: None,
        upscaling: upscaling(parameters.upscale.as_deref(), is_larger, networks)?,
        upscaling_network: None,
        codec,
        audio: None,
    };
    film.name_networks(networks);
    let seconds = frame_rate.seconds_of(film.frames());
    if seconds > MOST_FILM_SECONDS {
        return refuse("scenes", format!("last {seconds:.0} seconds together; at most {MOST_FILM_SECONDS} are allowed"));
    }
    Ok(film)
}

fn scene_id(asked: Option<String>, index: usize, names: &mut BTreeSet<String>) -> Result<String, ParameterError> {
    let id = asked.unwrap_or_else(|| format!("s{}", index + 1));
    let is_plain = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.');
    let characters = id.chars().count();
    if characters == 0 || characters > MOST_ID_CHARACTERS || !id.chars().all(is_plain) {
        let problem = format!("must be 1 to {MOST_ID_CHARACTERS} letters, digits, '.', '_' or '-'");
        return refuse(format!("scenes[{index}].id"), problem);
    }
    if !names.insert(id.clone()) {
        return refuse(format!("scenes[{index}].id"), format!("'{id}' is another scene's too"));
    }
    Ok(id)
}

/// The prompt without camera commands, and the commands.
fn words(
    prompt: &str,
    camera: Option<String>,
    at: &impl Fn(&str) -> String,
) -> Result<(String, Option<CameraScript>), ParameterError> {
    let (prompt, inside) = CameraScript::from_prompt(prompt)
        .map_err(|error| ParameterError { field: at("prompt").into(), problem: error.to_string() })?;
    let has_commands = !inside.shots().is_empty();
    let Some(camera) = camera else { return Ok((prompt, has_commands.then_some(inside))) };
    if has_commands {
        return refuse(at("camera"), "is given, and the prompt has camera commands in brackets; use one of the two".to_owned());
    }
    match CameraScript::from_field(&camera) {
        Ok(script) => Ok((prompt, (!script.shots().is_empty()).then_some(script))),
        Err(error) => refuse(at("camera"), format!("{error}")),
    }
}

/// A scene's prompt without camera commands, and those in their canonical form.
pub fn prompt_and_camera(prompt: &str) -> Result<(String, Option<String>), ParameterError> {
    let (prompt, camera) = words(prompt, None, &|field| field.to_owned())?;
    Ok((prompt, camera.map(|script| script.to_string())))
}

/// Frames of a scene of so many seconds; `field` is where they were asked for.
pub fn scene_frames(seconds: f64, rate: FrameRate, field: &str) -> Result<u32, ParameterError> {
    frames_of(seconds, rate, field.to_owned())
}

fn frames_of(seconds: f64, rate: FrameRate, field: String) -> Result<u32, ParameterError> {
    // Not a number is in no range.
    if seconds > 0.0 && seconds <= MOST_SCENE_SECONDS {
        return Ok(rate.frames_in(seconds) as u32);
    }
    refuse(field, format!("is {seconds}; allowed: above 0, at most {MOST_SCENE_SECONDS} seconds"))
}

fn frames_of_a_clip(asked: Option<i128>, video: &VideoLimits) -> Result<u32, ParameterError> {
    let value = asked.unwrap_or_else(|| i128::from(video.default_num_frames));
    match u32::try_from(value) {
        Ok(frames) if (video.min_frames..=video.max_frames).contains(&frames) => Ok(frames),
        _ => refuse("num_frames", format!("is {value}; allowed: {} to {}", video.min_frames, video.max_frames)),
    }
}

/// The film's frame rate, and the one that the model is told. Without durations nothing is interpolated, so both are the same.
fn rates(asked: Option<f64>, is_exact: bool, video: &VideoLimits) -> Result<(FrameRate, u32), ParameterError> {
    let asked = match asked {
        Some(fps) => match FrameRate::from_decimal(fps) {
            Ok(rate) => Some(rate),
            Err(_) => return refuse("fps", format!("is {fps}; allowed: 1 to 120 frames a second")),
        },
        None => None,
    };
    if !is_exact {
        return Ok((asked.unwrap_or(FrameRate::FILM), video.default_fps));
    }
    let rate = match asked {
        Some(rate) => rate,
        None => FrameRate::new(video.default_fps.max(1), 1).unwrap_or(FrameRate::FILM),
    };
    Ok((rate, (rate.frames_per_second().round() as u32).clamp(1, video.max_fps)))
}

fn interpolation(
    asked: Option<&str>,
    is_exact: bool,
    rate: FrameRate,
    clip_fps: u32,
    networks: &InstalledNetworks,
) -> Result<Interpolation, ParameterError> {
    let is_needed = !is_exact && (rate.denominator() != 1 || rate.numerator() != clip_fps);
    match asked.unwrap_or("auto") {
        "rife" if networks.rife.is_none() => {
            refuse("interpolation", "'rife' is not configured on this server; allowed: auto, minterpolate".to_owned())
        }
        "auto" | "rife" | "minterpolate" if !is_needed => Ok(Interpolation::None),
        "rife" => Ok(Interpolation::Rife),
        "auto" if networks.rife.is_some() => Ok(Interpolation::Rife),
        "auto" | "minterpolate" => Ok(Interpolation::MotionCompensated),
        other => {
            let shown: String = other.chars().take(32).collect();
            refuse("interpolation", format!("'{shown}' is unknown; allowed: auto, minterpolate, rife"))
        }
    }
}

/// How a size is raised; `auto` asks for a network only where it `is_larger`.
fn upscaling(asked: Option<&str>, is_larger: bool, networks: &InstalledNetworks) -> Result<Upscaling, ParameterError> {
    match asked.unwrap_or("auto") {
        "realesrgan" if networks.realesrgan.is_none() => {
            refuse("upscale", "'realesrgan' is not configured on this server; allowed: auto, lanczos".to_owned())
        }
        "realesrgan" => Ok(Upscaling::RealEsrgan),
        "auto" if is_larger && networks.realesrgan.is_some() => Ok(Upscaling::RealEsrgan),
        "auto" | "lanczos" => Ok(Upscaling::Lanczos),
        other => {
            let shown: String = other.chars().take(32).collect();
            refuse("upscale", format!("'{shown}' is unknown; allowed: auto, lanczos, realesrgan"))
        }
    }
}

/// What a film may be encoded as: all but what is only for work in progress.
fn codec(asked: Option<&str>, has_audio: bool) -> Result<VideoCodec, ParameterError> {
    let allowed = || VideoCodec::ALL.into_iter().filter(|codec| *codec != VideoCodec::Ffv1);
    let codec = match asked {
        None => VideoCodec::default(),
        Some(name) => {
            let Some(codec) = allowed().find(|codec| codec.name() == name) else {
                let shown: String = name.chars().take(32).collect();
                let known: Vec<&str> = allowed().map(VideoCodec::name).collect();
                return refuse("codec", format!("'{shown}' is unknown; allowed: {}", known.join(", ")));
            };
            codec
        }
    };
    if has_audio && !codec.carries_audio() {
        return refuse("audio", format!("has no place in {}; use h264, h265, vp9 or av1", codec.name()));
    }
    Ok(codec)
}

fn clip_settings(
    asked: &FilmParameters,
    limits: &ModelLimits,
    video: &VideoLimits,
    (width, height): (u32, u32),
    num_frames: u32,
    fps: u32,
) -> Result<ClipSettings, ParameterError> {
    let within = |field: &'static str, asked: Option<f64>, default: f32, most: f32| match asked {
        None => Ok(default),
        Some(value) if (0.0..=f64::from(most)).contains(&value) => Ok(value as f32),
        Some(value) => refuse(field, format!("is {value}; allowed: 0 to {most}")),
    };
    let guidance = limits.max_guidance_scale;
    let min_guidance_scale = within("min_guidance_scale", asked.min_guidance_scale, video.default_min_guidance_scale, guidance)?;
    // Who asks for a higher first guidance alone means at least that at the end.
    let default_max = video.default_max_guidance_scale.max(min_guidance_scale);
    let motion_bucket_id = match asked.motion_bucket_id {
        None => video.default_motion_bucket_id,
        Some(value) => match u32::try_from(value) {
            Ok(bucket) if bucket <= video.max_motion_bucket_id => bucket,
            _ => return refuse("motion_bucket_id", format!("is {value}; allowed: 0 to {}", video.max_motion_bucket_id)),
        },
    };
    let default_chunk = video.default_decode_chunk_size.clamp(1, num_frames);
    Ok(ClipSettings {
        width,
        height,
        num_frames,
        num_inference_steps: steps(asked.num_inference_steps, None, limits)?,
        min_guidance_scale,
        max_guidance_scale: within("max_guidance_scale", asked.max_guidance_scale, default_max, guidance)?,
        fps,
        motion_bucket_id,
        noise_aug_strength: within(
            "noise_aug_strength",
            asked.noise_aug_strength,
            video.default_noise_aug_strength,
            video.max_noise_aug_strength,
        )?,
        decode_chunk_size: count("decode_chunk_size", asked.decode_chunk_size, default_chunk, video.max_frames)?.min(num_frames),
    })
}

/// How the first pictures are made; `None` when every scene brings its own.
fn keyframes(
    scenes: &[SceneParameters],
    image_model: Option<&ModelDescription>,
    clip: (u32, u32),
) -> Result<Option<KeyframeSettings>, ParameterError> {
    let Some(index) = scenes.iter().position(|scene| scene.image_size.is_none()) else { return Ok(None) };
    if let Some(lonely) = scenes
        .iter()
        .position(|scene| scene.image_size.is_none() && scene.prompt.as_ref().is_none_or(|prompt| prompt.trim().is_empty()))
    {
        return refuse(format!("scenes[{lonely}].prompt"), "is missing; a scene needs a prompt or an image".to_owned());
    }
    let Some(model) = image_model else {
        let problem = "needs an image: no image model makes the first picture of a prompt (name one with image_model)";
        return refuse(format!("scenes[{index}].image"), problem.to_owned());
    };
    if model.inpainting.is_some_and(|inpainting| inpainting.mask_required) {
        let problem = format!("'{}' repaints parts of pictures, and makes no first picture; name another model", model.id);
        return refuse("image_model", problem);
    }
    // The clip's shape at the size that the image model is best at, unless it can do the clip's own.
    let limits = &model.limits;
    let sides = limits.min_side..=limits.max_side;
    let multiple = limits.side_multiple.max(1);
    let fits = |side: u32| sides.contains(&side) && side.is_multiple_of(multiple);
    let area = |(width, height): (u32, u32)| f64::from(width) * f64::from(height);
    let default_area = area((limits.default_width, limits.default_height));
    let is_near = area(clip) >= 0.5 * default_area && area(clip) <= 2.0 * default_area;
    let (width, height) = if fits(clip.0) && fits(clip.1) && is_near {
        clip
    } else {
        size_for_aspect(limits, f64::from(clip.0), f64::from(clip.1))
    };
    if !fits(width) || !fits(height) {
        let problem = format!("of {}x{} has a shape that the image model '{}' cannot do", clip.0, clip.1, model.id);
        return refuse("size", problem);
    }
    Ok(Some(KeyframeSettings {
        model: model.id.clone(),
        width,
        height,
        num_inference_steps: limits.default_steps,
        guidance_scale: limits.default_guidance_scale,
    }))
}

fn set_transitions(
    scenes: &mut [Scene],
    asked: Vec<Option<TransitionParameters>>,
    rate: FrameRate,
) -> Result<(), ParameterError> {
    for (index, asked) in asked.into_iter().enumerate() {
        let Some(TransitionParameters { kind, duration }) = asked else { continue };
        let field = || format!("scenes[{index}].transition");
        let make: fn(u32) -> Transition = match kind.as_str() {
            "cut" => |_| Transition::Cut,
            "crossfade" => |frames| Transition::Crossfade { frames },
            "fade" => |frames| Transition::Fade { frames },
            other => {
                let shown: String = other.chars().take(32).collect();
                return refuse(field(), format!("'{shown}' is unknown; allowed: cut, crossfade, fade"));
            }
        };
        if kind == "cut" {
            continue;
        }
        let Some(next) = scenes.get(index + 1) else {
            // Nothing follows the last scene.
            continue;
        };
        let most = scenes[index].frames.min(next.frames) / 2;
        let frames = match duration {
            // As long as is usual, or as the shorter scene bears.
            None => (rate.frames_in(TRANSITION_SECONDS) as u32).min(most),
            Some(seconds) if seconds > 0.0 && seconds <= rate.seconds_of(u64::from(most)) + 1e-9 => {
                (rate.frames_in(seconds) as u32).min(most)
            }
            Some(seconds) => {
                let longest = rate.seconds_of(u64::from(most));
                let problem =
                    format!("lasts {seconds} seconds; allowed: above 0, at most {longest:.3} (half of the shorter scene)");
                return refuse(field(), problem);
            }
        };
        if frames > 0 {
            scenes[index].transition = make(frames);
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "film_parameters_tests.rs"]
mod tests;
