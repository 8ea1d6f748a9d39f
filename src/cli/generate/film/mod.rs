//! `framewright generate video`: one film, in this process or on a server.

mod local;
mod output;
mod provider;
mod remote;
mod scenes_file;

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::{ArgGroup, Args};
use secrecy::SecretString;

use self::output::FilmFile;
use self::scenes_file::ScenesFile;
use super::super::failure::{Failure, Outcome};
use super::super::options::CommonOptions;
use super::read_init_image;
use crate::config::{Config, Environment};
use crate::media::video::probe_audio;
use crate::models::film_parameters::{FilmParameters, SceneParameters};
use crate::models::film_size::AskedSize;
use crate::models::parameters::ParameterError;

/// Flags of `generate video`. Numbers are as wide as any text may be, so that a refusal can quote the allowed range.
#[derive(Args, Debug)]
#[command(group = ArgGroup::new("what").required(true).multiple(true).args(["prompt", "image", "scenes"]))]
pub(in crate::cli) struct VideoArguments {
    /// A video model's id ('framewright models list' shows them), a directory in the diffusers layout, or a .safetensors file
    #[arg(long, value_name = "ID|DIR|FILE")]
    model: String,
    /// What the film shows, with camera commands in brackets if you like: "a boat [Push in]"
    #[arg(long, value_name = "TEXT", conflicts_with = "scenes")]
    prompt: Option<String>,
    /// What it must not show
    #[arg(long, value_name = "TEXT", conflicts_with = "scenes")]
    negative_prompt: Option<String>,
    /// The picture that the film begins with (PNG, JPEG or WebP); without it one is made from the prompt
    #[arg(long, value_name = "FILE", conflicts_with = "scenes")]
    image: Option<PathBuf>,
    /// A YAML file with scenes, for a film of several
    #[arg(long, value_name = "FILE")]
    scenes: Option<PathBuf>,
    /// The model of pictures that are made from prompts, by id or directory [default: the configuration's, or the only one installed]
    #[arg(long, value_name = "ID|DIR")]
    image_model: Option<String>,
    /// Pixels across [default: the model's]
    #[arg(long, value_name = "W", allow_negative_numbers = true)]
    width: Option<i128>,
    /// Pixels down [default: the model's]
    #[arg(long, value_name = "H", allow_negative_numbers = true)]
    height: Option<i128>,
    /// 512P, 720P, 768P or 1080P (the short side), 1280x720, 16:9
    #[arg(long, value_name = "R", conflicts_with_all = ["width", "height"])]
    resolution: Option<String>,
    /// Seconds; without it the film is one clip, as the model makes it
    #[arg(long, value_name = "S", allow_negative_numbers = true, conflicts_with = "scenes")]
    duration: Option<f64>,
    /// Frames of a clip; without --duration exactly the film's [default: the model's]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    num_frames: Option<i128>,
    /// Frames a second [default: 24 with a duration, else the model's]
    #[arg(long, value_name = "F", allow_negative_numbers = true)]
    fps: Option<f64>,
    /// Sampler steps of a clip [default: the model's]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    steps: Option<i128>,
    /// Seed; scene i uses seed + i [default: random, and reported]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    seed: Option<i128>,
    /// How much moves; larger is more [default: the model's]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    motion_bucket_id: Option<i128>,
    /// Noise added to a clip's first picture [default: the model's]
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    noise_aug_strength: Option<f64>,
    /// Guidance of a clip's first frame [default: the model's]
    #[arg(long, value_name = "G", allow_negative_numbers = true)]
    min_guidance_scale: Option<f64>,
    /// Guidance of a clip's last frame [default: the model's]
    #[arg(long, value_name = "G", allow_negative_numbers = true)]
    max_guidance_scale: Option<f64>,
    /// Frames that are decoded together [default: the model's]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    decode_chunk_size: Option<i128>,
    /// Camera commands, instead of those in the prompt: "Pan left, Zoom in"
    #[arg(long, value_name = "COMMANDS", conflicts_with = "scenes")]
    camera: Option<String>,
    /// h264, h265, vp9, av1, gif, webp [default: by the output's extension]
    #[arg(long, value_name = "CODEC")]
    codec: Option<String>,
    /// A sound file, cut to the film's length
    #[arg(long, value_name = "FILE")]
    audio: Option<PathBuf>,
    /// Also write every frame as it left the model's decoder: 0000.png onward
    #[arg(long, value_name = "DIR", conflicts_with = "server")]
    frames_dir: Option<PathBuf>,
    /// The file to write: .mp4, .webm, .gif or .webp
    #[arg(long, value_name = "FILE", default_value = "output.mp4")]
    output: PathBuf,
    /// cpu or cuda:N [default: the configuration's]
    #[arg(long, value_name = "DEVICE")]
    device: Option<String>,
    /// Make the film on the framewright server at this address (http://host:port) instead of in this process
    #[arg(long, value_name = "URL", conflicts_with = "device")]
    server: Option<String>,
    /// The API key for --server
    #[arg(long, value_name = "K", requires = "server")]
    api_key: Option<SecretString>,
    #[command(flatten)]
    common: CommonOptions,
}

/// A film that was asked for: its words and numbers, and its files.
struct Order {
    parameters: FilmParameters,
    /// For each scene, the bytes of the picture that it begins with.
    images: Vec<Option<Vec<u8>>>,
    audio: Option<Vec<u8>>,
}

/// Makes the film and writes the file. Everything that can be refused without the model is refused before anything is loaded.
pub(in crate::cli) fn run(arguments: &VideoArguments, out: &mut (dyn Write + Send)) -> Outcome {
    let output = FilmFile::new(&arguments.output)?;
    if let Some(directory) = &arguments.frames_dir {
        std::fs::create_dir_all(directory)
            .map_err(|error| Failure::input("--frames-dir", format!("{}: {error}", directory.display())))?;
    }
    let order = order(arguments, &output)?;
    if let Some(server) = &arguments.server {
        let server = crate::cli::server_client::Server::new(server, arguments.api_key.clone())?;
        let body = remote::body(&arguments.model, arguments.image_model.as_deref(), &order);
        crate::cli::runtime()?.block_on(remote::generate(&server, &body, arguments, &output, out))
    } else {
        let mut flags = arguments.common.flags();
        flags.device.clone_from(&arguments.device);
        let config = Config::load(&flags, Environment::read()?)?;
        let runtime = crate::cli::runtime()?;
        if let Some(model) = runtime.block_on(super::provider::find(&config, &arguments.model))? {
            model.refuse_device(arguments.device.as_deref())?;
            return runtime.block_on(provider::generate(model, arguments, order, &output, out));
        }
        drop(runtime);
        local::generate(&config, arguments, order, &output, out)
    }
}

fn order(arguments: &VideoArguments, output: &FilmFile) -> Outcome<Order> {
    let ScenesFile { scenes, images, config } = if let Some(path) = &arguments.scenes {
        scenes_file::read(path)?
    } else {
        let image = arguments.image.as_deref().map(|path| read_picture("--image", path)).transpose()?;
        let (image_size, bytes) = image.unzip();
        let scene = SceneParameters {
            prompt: arguments.prompt.clone(),
            negative_prompt: arguments.negative_prompt.clone(),
            duration: arguments.duration,
            image_size,
            camera: arguments.camera.clone(),
            ..SceneParameters::default()
        };
        ScenesFile { scenes: vec![scene], images: vec![bytes], config: scenes_file::VideoConfig::default() }
    };
    let audio = match arguments.audio.as_ref().or(config.audio.as_ref()) {
        Some(path) => Some(read_sound(&arguments.flag_of("audio"), path)?),
        None => None,
    };
    let size = if arguments.names_a_size() {
        AskedSize { width: arguments.width, height: arguments.height, resolution: arguments.resolution.clone() }
    } else {
        AskedSize { width: config.width.map(i128::from), height: config.height.map(i128::from), resolution: config.resolution }
    };
    let codec = arguments.codec.clone().or(config.codec).unwrap_or_else(|| output.usual_codec().name().to_owned());
    let parameters = FilmParameters {
        scenes,
        fps: arguments.fps.or(config.fps),
        size,
        upscale: config.upscale,
        interpolation: config.interpolation,
        codec: Some(codec),
        has_audio: audio.is_some(),
        num_frames: arguments.num_frames,
        num_inference_steps: arguments.steps,
        min_guidance_scale: arguments.min_guidance_scale,
        max_guidance_scale: arguments.max_guidance_scale,
        motion_bucket_id: arguments.motion_bucket_id,
        noise_aug_strength: arguments.noise_aug_strength,
        decode_chunk_size: arguments.decode_chunk_size,
        seed: arguments.seed,
    };
    Ok(Order { parameters, images, audio })
}

/// A picture's size and its file's bytes.
fn read_picture(flag: &str, path: &Path) -> Outcome<((u32, u32), Vec<u8>)> {
    let image = read_init_image(flag, path)?;
    Ok(((image.pixels.width, image.pixels.height), image.file))
}

/// Sound files longer than this are not read.
const MOST_AUDIO_BYTES: u64 = 1 << 30;

/// The bytes of a file that is sound.
fn read_sound(flag: &str, path: &Path) -> Outcome<Vec<u8>> {
    let refuse = |problem: String| Failure::input(flag, format!("{}: {problem}", path.display()));
    let metadata = std::fs::metadata(path).map_err(|error| refuse(error.to_string()))?;
    if !metadata.is_file() || metadata.len() > MOST_AUDIO_BYTES {
        return Err(refuse(format!("must be a file of at most {MOST_AUDIO_BYTES} bytes")));
    }
    probe_audio(path, &|| false).map_err(|error| Failure::input(flag, error))?;
    std::fs::read(path).map_err(|error| refuse(error.to_string()))
}

impl VideoArguments {
    /// The flag, or the key of the scenes' file, that sets a request's field.
    fn flag_of(&self, field: &str) -> String {
        let is_given = match field {
            "fps" => self.fps.is_some(),
            "codec" => self.codec.is_some(),
            "audio" => self.audio.is_some(),
            "width" | "height" | "size" | "resolution" => self.names_a_size(),
            _ => true,
        };
        match field {
            other if self.scenes.is_some() && other.starts_with("scenes") => format!("--scenes: {other}"),
            "upscale" | "interpolation" => format!("--scenes: video_config.{field}"),
            _ if self.scenes.is_some() && !is_given => format!("--scenes: video_config.{field}"),
            "width" | "height" | "size" if self.resolution.is_some() => "--resolution".to_owned(),
            "size" => "--width and --height".to_owned(),
            // Then it is the output's ending that says it.
            "codec" if self.codec.is_none() => "--output".to_owned(),
            "num_inference_steps" => "--steps".to_owned(),
            other => format!("--{}", other.strip_prefix("scenes[0].").unwrap_or(other).replace('_', "-")),
        }
    }

    fn names_a_size(&self) -> bool {
        self.width.is_some() || self.height.is_some() || self.resolution.is_some()
    }

    fn refused(&self, error: &ParameterError) -> Failure {
        Failure::input(&self.flag_of(&error.field), &error.problem)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct CommandLine {
        #[command(flatten)]
        video: VideoArguments,
    }

    fn flag(arguments: &[&str], field: &str) -> String {
        let line = [&["generate", "--model", "m"], arguments].concat();
        CommandLine::try_parse_from(line).unwrap().video.flag_of(field)
    }

    #[test]
    fn fields_have_flags_or_keys() {
        for (arguments, field, named) in [
            (&["--prompt", "x"][..], "num_inference_steps", "--steps"),
            (&["--prompt", "x"], "scenes[0].negative_prompt", "--negative-prompt"),
            (&["--prompt", "x"], "fps", "--fps"),
            (&["--prompt", "x"], "codec", "--output"),
            (&["--prompt", "x", "--codec", "av1"], "codec", "--codec"),
            (&["--prompt", "x"], "size", "--width and --height"),
            (&["--prompt", "x", "--resolution", "9:1"], "size", "--resolution"),
            (&["--scenes", "s.yaml"], "scenes[0].prompt", "--scenes: scenes[0].prompt"),
            (&["--scenes", "s.yaml"], "fps", "--scenes: video_config.fps"),
            (&["--scenes", "s.yaml", "--fps", "0"], "fps", "--fps"),
            (&["--scenes", "s.yaml"], "motion_bucket_id", "--motion-bucket-id"),
        ] {
            assert_eq!(flag(arguments, field), named, "{arguments:?} {field}");
        }
    }
}
