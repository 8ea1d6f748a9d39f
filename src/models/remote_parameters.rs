//! From what somebody asked for, in the words of our own models, to what a provider is asked for. What a provider has no word for is refused
//! here, before anything is spent; ranges are its tables' business.

use serde::Serialize;

use super::film_parameters::{FilmParameters, SceneParameters};
use super::film_size::AskedSize;
use super::parameters::{ImageParameters, ParameterError, refuse};
use crate::domain::camera::{CameraError, CameraScript};
use crate::domain::{Frame, JobKind, ModelId, PictureRole, PixelSize, ProviderId, RemoteOptions, RemotePicture, RemoteRequest};

/// Largest side that is read, pixels.
const MOST_SIDE: i128 = 16_384;
/// Most pictures of one request.
const MOST_PICTURES: i128 = 16;
/// Longest film, seconds.
const MOST_SECONDS: f64 = 600.0;

/// A model of a provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteModel {
    /// What the client called it.
    pub id: ModelId,
    /// Whose it is.
    pub provider: ProviderId,
    /// What the provider calls it.
    pub name: String,
}

/// What requests for films can say beyond what our own models understand.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct RemoteExtras {
    /// Width and height of the picture that the film ends with, when there is one.
    pub last_frame_size: Option<(u32, u32)>,
    /// Widths and heights of pictures of who or what appears.
    pub reference_sizes: Vec<(u32, u32)>,
    /// Switches and words.
    pub options: RemoteOptions,
}

/// A request for pictures. Its cost is not known yet.
pub fn image_to_remote(parameters: &ImageParameters, model: &RemoteModel) -> Result<RemoteRequest, ParameterError> {
    let unknown = [
        ("num_inference_steps", parameters.num_inference_steps.is_some()),
        ("guidance_scale", parameters.guidance_scale.is_some()),
        ("sampler", parameters.sampler.is_some()),
        ("init_image", parameters.init_image_size.is_some()),
        ("strength", parameters.strength.is_some()),
        ("mask", parameters.has_mask),
    ];
    refuse_unknown(&unknown, model)?;
    Ok(RemoteRequest {
        prompt: parameters.prompt.clone(),
        negative_prompt: parameters.negative_prompt.clone(),
        frame: match parameters.shape {
            Some(shape) => Some(Frame::Ratio(shape)),
            None => frame(parameters.width, parameters.height, None)?,
        },
        seed: seed(parameters.seed)?,
        count: whole("num_images", parameters.num_images.unwrap_or(1), MOST_PICTURES)?,
        ..nothing_asked(model, JobKind::Image)
    })
}

/// A request for a film of one scene. Its pictures have no files yet, and its cost is not known.
pub fn film_to_remote(
    parameters: &FilmParameters,
    extras: &RemoteExtras,
    model: &RemoteModel,
) -> Result<RemoteRequest, ParameterError> {
    let [scene] = &*parameters.scenes else {
        let scenes = parameters.scenes.len();
        let problem = format!("has {scenes}; '{}' of provider '{}' makes films of one scene", model.id, model.provider);
        return refuse("scenes", problem);
    };
    let unknown = [
        ("upscale", parameters.upscale.is_some()),
        ("interpolation", parameters.interpolation.is_some()),
        ("codec", parameters.codec.as_deref().is_some_and(|codec| codec != "h264")),
        ("audio", parameters.has_audio),
        ("num_frames", parameters.num_frames.is_some()),
        ("num_inference_steps", parameters.num_inference_steps.is_some()),
        ("min_guidance_scale", parameters.min_guidance_scale.is_some()),
        ("max_guidance_scale", parameters.max_guidance_scale.is_some()),
        ("motion_bucket_id", parameters.motion_bucket_id.is_some()),
        ("noise_aug_strength", parameters.noise_aug_strength.is_some()),
        ("decode_chunk_size", parameters.decode_chunk_size.is_some()),
        ("scenes[0].transition", scene.transition.as_ref().is_some_and(|transition| transition.kind != "cut")),
    ];
    refuse_unknown(&unknown, model)?;
    let picture = |role, (width, height)| RemotePicture { role, file: None, width, height };
    let mut pictures: Vec<RemotePicture> = Vec::new();
    pictures.extend(scene.image_size.map(|size| picture(PictureRole::FirstFrame, size)));
    pictures.extend(extras.last_frame_size.map(|size| picture(PictureRole::LastFrame, size)));
    pictures.extend(extras.reference_sizes.iter().map(|size| picture(PictureRole::Reference, *size)));
    let AskedSize { width, height, resolution } = &parameters.size;
    Ok(RemoteRequest {
        prompt: prompt(scene)?,
        negative_prompt: scene.negative_prompt.clone(),
        frame: frame(*width, *height, resolution.as_deref())?,
        seconds: scene.duration.map(seconds).transpose()?,
        frames_per_second: parameters.fps.map(|fps| frames_per_second(fps, model)).transpose()?,
        seed: seed(scene.seed.or(parameters.seed))?,
        pictures,
        options: extras.options.clone(),
        ..nothing_asked(model, JobKind::Film)
    })
}

/// What native requests call a field in which a provider's table refuses a request that was made here.
pub fn native_field(field: &'static str, request: &RemoteRequest) -> &'static str {
    let is_film = request.output == JobKind::Film;
    match field {
        "prompt" if is_film => "scenes[0].prompt",
        "negative_prompt" if is_film => "scenes[0].negative_prompt",
        "seconds" => "scenes[0].duration",
        "first_frame" if is_film => "scenes[0].image",
        "first_frame" => "init_image",
        // Pixels have two fields, and are named by neither.
        "size" if is_film && !matches!(request.frame, None | Some(Frame::Size(_))) => "resolution",
        "n" => "num_images",
        // Whether the model makes such things at all, and who has it.
        "kind" | "provider" => "model",
        other => other,
    }
}

fn nothing_asked(model: &RemoteModel, output: JobKind) -> RemoteRequest {
    RemoteRequest {
        model: model.id.clone(),
        provider: model.provider.clone(),
        provider_model: model.name.clone(),
        output,
        prompt: String::new(),
        negative_prompt: None,
        frame: None,
        seconds: None,
        frames_per_second: None,
        seed: None,
        count: 1,
        pictures: Vec::new(),
        options: RemoteOptions::default(),
        estimated_cost_micros: 0,
    }
}

fn refuse_unknown(fields: &[(&'static str, bool)], model: &RemoteModel) -> Result<(), ParameterError> {
    match fields.iter().find(|(_, is_given)| *is_given) {
        Some((field, _)) => {
            refuse(*field, format!("cannot be told to '{}' of provider '{}'; leave it out", model.id, model.provider))
        }
        None => Ok(()),
    }
}

/// The prompt, with the camera's commands in brackets behind it.
fn prompt(scene: &SceneParameters) -> Result<String, ParameterError> {
    let prompt = scene.prompt.clone().unwrap_or_default();
    let Some(camera) = &scene.camera else { return Ok(prompt) };
    let refused = |problem: String| ParameterError { field: "scenes[0].camera".into(), problem };
    let script: CameraScript = camera.parse().map_err(|error: CameraError| refused(error.to_string()))?;
    let shots = script.shots().iter().map(|shot| {
        let names: Vec<&str> = shot.commands().iter().map(|command| command.name()).collect();
        format!("[{}]", names.join(","))
    });
    let commands: String = shots.collect();
    Ok(if prompt.is_empty() { commands } else { format!("{prompt} {commands}") })
}

fn frame(width: Option<i128>, height: Option<i128>, resolution: Option<&str>) -> Result<Option<Frame>, ParameterError> {
    match (width, height, resolution) {
        (None, None, None) => Ok(None),
        (None, None, Some(text)) => {
            let read: Result<Frame, _> = text.parse();
            read.map(Some).or_else(|_| {
                let shown: String = text.chars().take(40).collect();
                refuse("resolution", format!("is '{shown}'; write 1280x720, 720P, 16:9, or 720P 16:9"))
            })
        }
        (Some(width), Some(height), None) => {
            let size = PixelSize::new(whole("width", width, MOST_SIDE)?, whole("height", height, MOST_SIDE)?);
            Ok(Some(Frame::Size(size)))
        }
        (Some(_), None, None) => refuse("height", "is missing; width and height go together".to_owned()),
        (None, Some(_), None) => refuse("width", "is missing; width and height go together".to_owned()),
        (_, _, Some(_)) => refuse("resolution", "is given together with width or height; use one of the two".to_owned()),
    }
}

fn whole(field: &'static str, value: i128, most: i128) -> Result<u32, ParameterError> {
    match u32::try_from(value) {
        Ok(number) if (1..=most).contains(&value) => Ok(number),
        _ => refuse(field, format!("is {value}; allowed: 1 to {most}")),
    }
}

fn seed(asked: Option<i128>) -> Result<Option<u64>, ParameterError> {
    let Some(value) = asked else { return Ok(None) };
    u64::try_from(value).map(Some).or_else(|_| refuse("seed", format!("is {value}; allowed: 0 to {}", u64::MAX)))
}

fn seconds(asked: f64) -> Result<u32, ParameterError> {
    if asked.fract() == 0.0 && (1.0..=MOST_SECONDS).contains(&asked) {
        return Ok(asked as u32);
    }
    refuse("scenes[0].duration", format!("is {asked}; providers make films of whole seconds, 1 to {MOST_SECONDS}"))
}

fn frames_per_second(asked: f64, model: &RemoteModel) -> Result<u32, ParameterError> {
    if asked.fract() == 0.0 && (1.0..=240.0).contains(&asked) {
        return Ok(asked as u32);
    }
    refuse("fps", format!("is {asked}; '{}' of provider '{}' takes whole numbers", model.id, model.provider))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::models::film_parameters::TransitionParameters;

    fn model() -> RemoteModel {
        RemoteModel { id: "hailuo".parse().unwrap(), provider: "minimax".parse().unwrap(), name: "MiniMax-Hailuo-02".to_owned() }
    }

    fn film() -> FilmParameters {
        let scene = SceneParameters { prompt: Some("a ship".to_owned()), duration: Some(6.0), ..SceneParameters::default() };
        FilmParameters { scenes: vec![scene], ..FilmParameters::default() }
    }

    #[test]
    fn what_a_provider_can_be_told_is_told() {
        let mut parameters = film();
        parameters.size.resolution = Some("768P".to_owned());
        parameters.seed = Some(7);
        parameters.scenes[0].camera = Some("Push in".to_owned());
        parameters.scenes[0].image_size = Some((640, 480));
        let extras = RemoteExtras { last_frame_size: Some((320, 240)), ..RemoteExtras::default() };
        let request = film_to_remote(&parameters, &extras, &model()).unwrap();
        assert_eq!(request.prompt, "a ship [Push in]");
        assert_eq!((request.seconds, request.seed, request.frame), (Some(6), Some(7), Some("768P".parse().unwrap())));
        let roles: Vec<_> = request.pictures.iter().map(|picture| (picture.role, picture.width)).collect();
        assert_eq!(roles, [(PictureRole::FirstFrame, 640), (PictureRole::LastFrame, 320)]);
        assert_eq!((request.model.as_str(), request.provider_model.as_str()), ("hailuo", "MiniMax-Hailuo-02"));
    }

    #[rstest]
    #[case::scenes("scenes", |film: &mut FilmParameters| film.scenes.push(SceneParameters::default()))]
    #[case::no_scene("scenes", |film: &mut FilmParameters| film.scenes.clear())]
    #[case::steps("num_inference_steps", |film: &mut FilmParameters| film.num_inference_steps = Some(4))]
    #[case::motion("motion_bucket_id", |film: &mut FilmParameters| film.motion_bucket_id = Some(4))]
    #[case::audio("audio", |film: &mut FilmParameters| film.has_audio = true)]
    #[case::codec("codec", |film: &mut FilmParameters| film.codec = Some("gif".to_owned()))]
    #[case::half_seconds("scenes[0].duration", |film: &mut FilmParameters| film.scenes[0].duration = Some(5.5))]
    #[case::no_seconds("scenes[0].duration", |film: &mut FilmParameters| film.scenes[0].duration = Some(f64::NAN))]
    #[case::size("resolution", |film: &mut FilmParameters| film.size.resolution = Some("HD".to_owned()))]
    #[case::half_a_size("height", |film: &mut FilmParameters| film.size.width = Some(640))]
    #[case::too_wide("width", |film: &mut FilmParameters| (film.size.width, film.size.height) = (Some(1 << 40), Some(4)))]
    #[case::seed("seed", |film: &mut FilmParameters| film.seed = Some(-1))]
    #[case::fade("scenes[0].transition", |film: &mut FilmParameters| {
        film.scenes[0].transition = Some(TransitionParameters { kind: "fade".to_owned(), duration: None });
    })]
    fn what_it_cannot_be_told_is_refused(#[case] field: &str, #[case] change: fn(&mut FilmParameters)) {
        let mut parameters = film();
        change(&mut parameters);
        let error = film_to_remote(&parameters, &RemoteExtras::default(), &model()).unwrap_err();
        assert_eq!(error.field, field, "{error}");
    }

    #[test]
    fn what_tables_refuse_has_the_names_of_native_requests() {
        let mut film = film_to_remote(&film(), &RemoteExtras::default(), &model()).unwrap();
        let pictures = ImageParameters { prompt: "a ship".to_owned(), ..ImageParameters::default() };
        let pictures = image_to_remote(&pictures, &model()).unwrap();
        for (field, of_films, of_pictures) in [
            ("prompt", "scenes[0].prompt", "prompt"),
            ("negative_prompt", "scenes[0].negative_prompt", "negative_prompt"),
            ("seconds", "scenes[0].duration", "scenes[0].duration"),
            ("first_frame", "scenes[0].image", "init_image"),
            ("last_frame", "last_frame", "last_frame"),
            ("size", "size", "size"),
            ("n", "num_images", "num_images"),
            ("kind", "model", "model"),
            ("fps", "fps", "fps"),
        ] {
            assert_eq!((native_field(field, &film), native_field(field, &pictures)), (of_films, of_pictures), "{field}");
        }
        for (frame, field) in [("640x480", "size"), ("768P", "resolution"), ("16:9", "resolution"), ("768P 16:9", "resolution")] {
            film.frame = Some(frame.parse().unwrap());
            assert_eq!(native_field("size", &film), field, "{frame}");
        }
    }

    #[test]
    fn pictures_are_made_from_words_alone() {
        let asked = ImageParameters { prompt: "a ship".to_owned(), num_images: Some(2), ..ImageParameters::default() };
        let request = image_to_remote(&asked, &model()).unwrap();
        assert_eq!((request.count, request.output, request.frame), (2, JobKind::Image, None));
        let refused = [
            (ImageParameters { guidance_scale: Some(3.0), ..asked.clone() }, "guidance_scale"),
            (ImageParameters { init_image_size: Some((8, 8)), ..asked.clone() }, "init_image"),
            (ImageParameters { num_images: Some(0), ..asked.clone() }, "num_images"),
            (ImageParameters { height: Some(8), ..asked.clone() }, "width"),
        ];
        for (parameters, field) in refused {
            assert_eq!(image_to_remote(&parameters, &model()).unwrap_err().field, field);
        }
    }
}
