//! What is asked of films, and what becomes of it.

use proptest::prelude::*;
use rstest::rstest;

use super::*;
use crate::domain::{Inpainting, ModelKind, NetworkIdentity};

fn limits(side_multiple: u32, default: (u32, u32)) -> ModelLimits {
    ModelLimits {
        min_side: 64,
        max_side: 1024,
        side_multiple,
        max_images: 1,
        max_steps: 50,
        max_guidance_scale: 30.0,
        max_prompt_characters: 100,
        default_width: default.0,
        default_height: default.1,
        default_steps: 8,
        default_guidance_scale: 3.0,
        default_strength: 1.0,
        samplers: Vec::new(),
        max_steps_by_sampler: std::collections::BTreeMap::new(),
    }
}

fn model(kind: ModelKind) -> ModelDescription {
    ModelDescription {
        id: if kind == ModelKind::Video { "svd" } else { "sdxl" }.parse().unwrap(),
        kind,
        family: "x".to_owned(),
        provider: "local".to_owned(),
        parameters: 1,
        weight_file_bytes: 1,
        created: 0,
        limits: limits(8, if kind == ModelKind::Video { (256, 144) } else { (256, 256) }),
        inpainting: (kind == ModelKind::Image).then_some(Inpainting { input_channels: 4, mask_required: false }),
        video: (kind == ModelKind::Video).then_some(VideoLimits {
            min_frames: 2,
            max_frames: 32,
            default_num_frames: 14,
            max_fps: 120,
            default_fps: 7,
            max_motion_bucket_id: 255,
            default_motion_bucket_id: 127,
            max_noise_aug_strength: 1.0,
            default_noise_aug_strength: 0.02,
            default_min_guidance_scale: 1.0,
            default_max_guidance_scale: 3.0,
            default_decode_chunk_size: 8,
        }),
    }
}

fn scene(duration: f64) -> SceneParameters {
    SceneParameters { prompt: Some("a red circle".to_owned()), duration: Some(duration), ..SceneParameters::default() }
}

fn film(scenes: Vec<SceneParameters>) -> FilmParameters {
    FilmParameters { scenes, ..FilmParameters::default() }
}

fn resolve(parameters: FilmParameters) -> Result<FilmRequest, ParameterError> {
    let (video, image) = (model(ModelKind::Video), model(ModelKind::Image));
    resolve_film_request(parameters, &video, Some(&image), &InstalledNetworks::default(), 40)
}

#[test]
fn absent_parameters_become_the_models_defaults() {
    let request = resolve(film(vec![SceneParameters { prompt: Some("x".to_owned()), ..SceneParameters::default() }])).unwrap();
    assert_eq!(
        (request.frames(), request.frame_rate.to_string(), request.interpolation),
        (14, "7".to_owned(), Interpolation::None)
    );
    assert_eq!((request.width, request.height), (256, 144));
    let clips = &request.clips;
    assert_eq!((clips.width, clips.height, clips.num_frames, clips.fps, clips.motion_bucket_id), (256, 144, 14, 7, 127));
    assert_eq!((clips.num_inference_steps, clips.decode_chunk_size), (8, 8));
    assert_eq!((request.scenes[0].id.as_str(), request.scenes[0].seed), ("s1", 40));
    let keyframes = request.keyframes.unwrap();
    assert_eq!((keyframes.model.as_str(), keyframes.width, keyframes.height), ("sdxl", 256, 144));
}

#[test]
fn a_network_for_inpainting_makes_no_first_picture() {
    let (video, mut image) = (model(ModelKind::Video), model(ModelKind::Image));
    image.inpainting = Some(Inpainting { input_channels: 9, mask_required: true });
    let resolve = |parameters| resolve_film_request(parameters, &video, Some(&image), &InstalledNetworks::default(), 40);
    let error = resolve(film(vec![scene(1.0)])).unwrap_err();
    assert_eq!(error.field, "image_model");
    assert!(resolve(film(vec![SceneParameters { image_size: Some((256, 144)), ..scene(1.0) }])).is_ok());
}

#[test]
fn a_film_has_exactly_the_frames_that_were_asked_for() {
    let mut parameters = film(vec![scene(2.0), scene(0.3), scene(1.26)]);
    parameters.fps = Some(23.976);
    parameters.scenes[0].transition = Some(TransitionParameters { kind: "crossfade".to_owned(), duration: None });
    parameters.scenes[1].transition = Some(TransitionParameters { kind: "fade".to_owned(), duration: Some(0.1) });
    parameters.scenes[2].transition = Some(TransitionParameters { kind: "fade".to_owned(), duration: Some(99.0) });
    let request = resolve(parameters).unwrap();
    let frames: Vec<u32> = request.scenes.iter().map(|scene| scene.frames).collect();
    assert_eq!((frames, request.frames()), (vec![48, 7, 30], 85));
    let transitions: Vec<Transition> = request.scenes.iter().map(|scene| scene.transition).collect();
    assert_eq!(transitions, [Transition::Crossfade { frames: 3 }, Transition::Fade { frames: 2 }, Transition::Cut]);
    assert_eq!(request.interpolation, Interpolation::MotionCompensated);
}

#[test]
fn exactly_the_models_frames_at_any_rate() {
    let mut parameters = film(vec![SceneParameters { image_size: Some((300, 200)), ..SceneParameters::default() }]);
    (parameters.num_frames, parameters.fps) = (Some(5), Some(12.0));
    let request = resolve(parameters).unwrap();
    assert_eq!((request.frames(), request.clips.fps, request.frame_rate.to_string()), (5, 12, "12".to_owned()));
    assert_eq!((request.interpolation, request.keyframes.is_none()), (Interpolation::None, true));
    assert_eq!(
        (request.width, request.height, request.clips.width, request.clips.height),
        (232, 160, 232, 160),
        "the picture's shape"
    );
}

#[test]
fn exactly_the_models_frames_at_any_size_that_it_can_do() {
    let size = |duration, width, height| {
        let scene = SceneParameters { image_size: Some((300, 200)), duration, ..SceneParameters::default() };
        let mut parameters = film(vec![scene]);
        (parameters.size.width, parameters.size.height) = (Some(width), Some(height));
        let request = resolve(parameters).unwrap();
        ((request.width, request.height), (request.clips.width, request.clips.height))
    };
    assert_eq!(size(None, 320, 256), ((320, 256), (320, 256)));
    let (film, clip) = size(Some(1.0), 320, 256);
    assert!(film == (320, 256) && clip.0 * clip.1 < 256 * 160, "{clip:?}: the usual area, then enlarged");
    let (film, clip) = size(None, 322, 256);
    assert!(film == (322, 256) && clip.0 % 8 == 0 && clip.1 % 8 == 0, "{clip:?}: not a size of the model's");
}

#[test]
fn camera_commands_are_taken_out_of_the_prompt() {
    let of = |prompt: &str, camera: Option<&str>| {
        let scene = SceneParameters { prompt: Some(prompt.to_owned()), camera: camera.map(str::to_owned), ..scene(1.0) };
        resolve(film(vec![scene])).map(|film| (film.scenes[0].prompt.clone(), film.scenes[0].camera.clone()))
    };
    let (prompt, camera) = of("a boat [推进] at sea", None).unwrap();
    assert!(!prompt.contains('[') && camera.is_some_and(|camera| camera.contains("Push in")), "{prompt}");
    assert!(of("a boat", Some("Pan left, Zoom in")).unwrap().1.is_some());
    assert_eq!(of("a boat", None).unwrap().1, None);
    assert_eq!(of("a boat", Some("Fly")).unwrap_err().field, "scenes[0].camera");
    assert_eq!(of("a boat [Zoom in]", Some("Zoom in")).unwrap_err().field, "scenes[0].camera");
}

#[rstest]
#[case::none(|p: &mut FilmParameters| p.scenes.clear(), "scenes is empty; a film has 1 to 200 scenes")]
#[case::ten_thousand(|p: &mut FilmParameters| p.scenes = vec![scene(1.0); 10_000], "scenes has 10000; a film has 1 to 200 scenes")]
#[case::negative(|p: &mut FilmParameters| p.scenes[0].duration = Some(-1.0), "scenes[0].duration is -1; allowed: above 0, at most 3600 seconds")]
#[case::zero(|p: &mut FilmParameters| p.scenes[0].duration = Some(0.0), "scenes[0].duration is 0; allowed: above 0, at most 3600 seconds")]
#[case::enormous(|p: &mut FilmParameters| p.scenes[0].duration = Some(1e300), "allowed: above 0, at most 3600 seconds")]
#[case::nan(|p: &mut FilmParameters| p.scenes[0].duration = Some(f64::NAN), "scenes[0].duration is NaN; allowed: above 0, at most 3600 seconds")]
#[case::too_long_together(|p: &mut FilmParameters| p.scenes = vec![scene(3600.0); 7], "scenes last 25200 seconds together; at most 3600 are allowed")]
#[case::missing_duration(|p: &mut FilmParameters| p.scenes[1].duration = None, "scenes[1].duration is missing; other scenes have one")]
#[case::fps_zero(|p: &mut FilmParameters| p.fps = Some(0.0), "fps is 0; allowed: 1 to 120 frames a second")]
#[case::fps_thousand(|p: &mut FilmParameters| p.fps = Some(1000.0), "fps is 1000; allowed: 1 to 120 frames a second")]
#[case::fast_gif(|p: &mut FilmParameters| (p.fps, p.codec) = (Some(60.0), Some("gif".to_owned())), "fps is 60; a gif has at most 50 frames a second")]
#[case::fps_nan(|p: &mut FilmParameters| p.fps = Some(f64::NAN), "fps is NaN; allowed: 1 to 120 frames a second")]
#[case::odd_width(|p: &mut FilmParameters| (p.size.width, p.size.height) = (Some(255), Some(144)), "width is 255; allowed: 16 to 8192, even for h264")]
#[case::odd_height(|p: &mut FilmParameters| p.size.resolution = Some("256x145".to_owned()), "height is 145; allowed: 16 to 8192, even for h264")]
#[case::huge(|p: &mut FilmParameters| p.size.width = Some(i128::MAX), "width is 170141183460469231731687303715884105727")]
#[case::thin(|p: &mut FilmParameters| p.size.resolution = Some("100:1".to_owned()), "size 100:1 is too thin for the model, whose sides are 64 to 1024 pixels")]
#[case::thin_pixels(|p: &mut FilmParameters| p.size.resolution = Some("8192x16".to_owned()), "size 8192x16 is too thin for the model")]
#[case::resolution(|p: &mut FilmParameters| p.size.resolution = Some("large".to_owned()), "resolution 'large' is unknown")]
#[case::both_sizes(|p: &mut FilmParameters| { p.size.width = Some(256); p.size.resolution = Some("720P".to_owned()); }, "resolution is given together with width or height; use one of the two")]
#[case::codec(|p: &mut FilmParameters| p.codec = Some("mpeg2".to_owned()), "codec 'mpeg2' is unknown; allowed: h264, h265, vp9, av1, gif, webp")]
#[case::work_codec(|p: &mut FilmParameters| p.codec = Some("ffv1".to_owned()), "codec 'ffv1' is unknown")]
#[case::audio(|p: &mut FilmParameters| { p.codec = Some("gif".to_owned()); p.has_audio = true; }, "audio has no place in gif")]
#[case::frames(|p: &mut FilmParameters| p.num_frames = Some(1), "num_frames is 1; allowed: 2 to 32")]
#[case::bucket(|p: &mut FilmParameters| p.motion_bucket_id = Some(-1), "motion_bucket_id is -1; allowed: 0 to 255")]
#[case::noise(|p: &mut FilmParameters| p.noise_aug_strength = Some(f64::INFINITY), "noise_aug_strength is inf; allowed: 0 to 1")]
#[case::guidance(|p: &mut FilmParameters| p.max_guidance_scale = Some(31.0), "max_guidance_scale is 31; allowed: 0 to 30")]
#[case::chunk(|p: &mut FilmParameters| p.decode_chunk_size = Some(0), "decode_chunk_size is 0; allowed: 1 to 32")]
#[case::same_id(|p: &mut FilmParameters| p.scenes[1].id = Some("s1".to_owned()), "scenes[1].id 's1' is another scene's too")]
#[case::bad_id(|p: &mut FilmParameters| p.scenes[1].id = Some("../x".to_owned()), "scenes[1].id must be 1 to 64 letters, digits, '.', '_' or '-'")]
#[case::no_words(|p: &mut FilmParameters| p.scenes[1].prompt = None, "scenes[1].prompt is missing; a scene needs a prompt or an image")]
#[case::long_prompt(|p: &mut FilmParameters| p.scenes[1].prompt = Some("x".repeat(101)), "scenes[1].prompt has 101 characters; at most 100 are allowed")]
#[case::seed(|p: &mut FilmParameters| p.scenes[1].seed = Some(-1), "scenes[1].seed is -1")]
#[case::transition(|p: &mut FilmParameters| p.scenes[0].transition = Some(TransitionParameters { kind: "wipe".to_owned(), duration: None }), "scenes[0].transition 'wipe' is unknown; allowed: cut, crossfade, fade")]
#[case::long_transition(|p: &mut FilmParameters| p.scenes[0].transition = Some(TransitionParameters { kind: "fade".to_owned(), duration: Some(3.0) }), "scenes[0].transition lasts 3 seconds; allowed: above 0, at most 0.500 (half of the shorter scene)")]
#[case::rife(|p: &mut FilmParameters| p.interpolation = Some("rife".to_owned()), "interpolation 'rife' is not configured on this server")]
#[case::esrgan(|p: &mut FilmParameters| p.upscale = Some("realesrgan".to_owned()), "upscale 'realesrgan' is not configured on this server")]
fn refusals_name_the_field_and_the_range(#[case] change: fn(&mut FilmParameters), #[case] text: &str) {
    let mut parameters = film(vec![scene(2.0), scene(1.0)]);
    change(&mut parameters);
    let message = resolve(parameters).unwrap_err().to_string();
    assert!(message.contains(text), "{message}");
}

#[test]
fn without_an_image_model_a_prompt_is_not_enough() {
    let video = model(ModelKind::Video);
    let error = resolve_film_request(film(vec![scene(1.0)]), &video, None, &InstalledNetworks::default(), 1).unwrap_err();
    assert_eq!(error.field, "scenes[0].image");
    let with_image = SceneParameters { image_size: Some((64, 64)), ..scene(1.0) };
    resolve_film_request(film(vec![with_image]), &video, None, &InstalledNetworks::default(), 1).unwrap();
    let image = model(ModelKind::Image);
    let error = resolve_film_request(film(vec![scene(1.0)]), &image, None, &InstalledNetworks::default(), 1).unwrap_err();
    assert_eq!(error.to_string(), "model 'sdxl' makes pictures, not films");
}

#[rstest]
#[case("720P", (1280, 720))]
#[case("720P 9:16", (720, 1280))]
#[case("512p", (910, 512))]
#[case("1280x768", (1280, 768))]
#[case("1:1", (192, 192))]
fn resolutions_are_understood(#[case] text: &str, #[case] size: (u32, u32)) {
    let mut parameters = film(vec![scene(1.0)]);
    parameters.size.resolution = Some(text.to_owned());
    let request = resolve(parameters).unwrap();
    assert_eq!((request.width, request.height), size);
    let area = request.clips.width * request.clips.height;
    assert!((20_000..=45_000).contains(&area), "clips keep the model's area: {area}");
}

proptest! {
    #[test]
    fn whatever_is_accepted_can_be_made(
        durations in proptest::collection::vec(any::<f64>().prop_map(|d| (d % 50.0).abs()), 1..6),
        fps in proptest::option::of(0.0_f64..200.0),
        width in proptest::option::of(-10_i128..3000),
        height in proptest::option::of(-10_i128..3000),
        num_frames in proptest::option::of(-2_i128..40),
        image in proptest::option::of((0_u32..5000, 0_u32..5000)),
        fade in proptest::option::of(0.0_f64..3.0),
    ) {
        let mut parameters = film(durations.iter().map(|duration| scene(*duration)).collect());
        parameters.fps = fps;
        parameters.size = AskedSize { width, height, resolution: None };
        parameters.num_frames = num_frames;
        parameters.scenes[0].image_size = image;
        parameters.scenes[0].transition = fade.map(|seconds| TransitionParameters { kind: "crossfade".to_owned(), duration: Some(seconds) });
        if let Ok(request) = resolve(parameters) {
            let rate = request.frame_rate;
            let asked: u64 = durations.iter().map(|duration| rate.frames_in(*duration)).sum();
            prop_assert_eq!(request.frames(), asked);
            prop_assert!(request.width % 2 == 0 && request.height % 2 == 0);
            let (clips, limits) = (&request.clips, model(ModelKind::Video).limits);
            for side in [clips.width, clips.height] {
                prop_assert!(side % 8 == 0 && (limits.min_side..=limits.max_side).contains(&side));
            }
            for (index, scene) in request.scenes.iter().enumerate() {
                prop_assert!(scene.frames >= 1 && request.clips_of(index) >= 1);
                if let (Transition::Crossfade { frames } | Transition::Fade { frames }, Some(next)) = (scene.transition, request.scenes.get(index + 1)) {
                    prop_assert!(frames * 2 <= scene.frames && frames * 2 <= next.frames);
                }
            }
        }
    }
}

#[test]
fn networks_that_are_installed_are_used_where_they_are_needed_and_named() {
    let network = |digit: &str| Some(NetworkIdentity { sha256: digit.repeat(64), precision: "f32".to_owned() });
    let installed = InstalledNetworks { rife: network("1"), realesrgan: network("2") };
    let made = |width: i128, height: i128| {
        let (video, image) = (model(ModelKind::Video), model(ModelKind::Image));
        let mut parameters = film(vec![scene(1.0)]);
        (parameters.size.width, parameters.size.height) = (Some(width), Some(height));
        resolve_film_request(parameters, &video, Some(&image), &installed, 40).unwrap()
    };
    let larger = made(512, 288);
    assert_eq!((larger.interpolation, larger.upscaling), (Interpolation::Rife, Upscaling::RealEsrgan));
    assert_eq!((&larger.interpolation_network, &larger.upscaling_network), (&installed.rife, &installed.realesrgan));
    let same = made(256, 144);
    assert_eq!((same.upscaling, &same.upscaling_network), (Upscaling::Lanczos, &None), "nothing is enlarged");
    assert_eq!(same.interpolation_network, installed.rife);
}
