//! `framewright generate`: one request for pictures ([`ImageArguments`]) or for a film ([`film`]), in this process or on a server.

mod credit;
mod files;
pub(super) mod film;
mod local;
mod output_place;
mod own_job;
mod progress;
mod provider;
mod provider_pictures;
mod remote;
mod server_job;

pub(in crate::cli) use self::local::WorkDirectory;

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;
use secrecy::SecretString;
use serde_json::Value;

use self::files::OutputFile;
use super::failure::{Failure, OrFail, Outcome};
use super::options::CommonOptions;
use crate::config::{Config, Environment};
use crate::domain::ModelId;
use crate::media::decode::{DecodeError, DecodedImage, decode_image};
use crate::media::mask::{MaskReading, decode_mask};
use crate::models::parameters::{ImageParameters, ParameterError};

/// Flags of `generate image`. Numbers are as wide as any text may be, so that a refusal can quote the allowed range.
#[derive(Args, Debug)]
pub(super) struct ImageArguments {
    /// A model's id ('framewright models list', or a configured provider's), or a directory in the diffusers layout
    #[arg(long, value_name = "ID|DIR")]
    model: String,
    /// What the picture shows
    #[arg(long, value_name = "TEXT")]
    prompt: String,
    /// What it must not show
    #[arg(long, value_name = "TEXT")]
    negative_prompt: Option<String>,
    /// Pixels across [default: the model's]
    #[arg(long, value_name = "W", allow_negative_numbers = true)]
    width: Option<i128>,
    /// Pixels down [default: the model's]
    #[arg(long, value_name = "H", allow_negative_numbers = true)]
    height: Option<i128>,
    /// Sampler steps [default: the model's]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    steps: Option<i128>,
    /// Classifier-free guidance; 1 and below turn it off [default: the model's]
    #[arg(long, value_name = "G", allow_negative_numbers = true)]
    guidance_scale: Option<f64>,
    /// The sampler's name
    #[arg(
        long,
        value_name = "NAME",
        help = "euler, euler_ancestral, heun, ddim, dpmpp_2m, dpmpp_2m_sde, unipc, lcm, some with _karras [default: the checkpoint's]"
    )]
    sampler: Option<String>,
    /// Seed of the first picture; picture i uses seed + i [default: random, and reported]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    seed: Option<i128>,
    /// How many pictures; the second is written to out-2.png, and so on [default: 1]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    count: Option<i128>,
    /// Start from this picture (PNG, JPEG or WebP)
    #[arg(long, value_name = "FILE")]
    init_image: Option<PathBuf>,
    /// How much of the initial picture is noised away, above 0, at most 1 [default: the model's]
    #[arg(long, value_name = "S", allow_negative_numbers = true)]
    strength: Option<f64>,
    /// Repaint the initial picture where this one is white; what is black or transparent is kept
    #[arg(long, value_name = "FILE", requires = "init_image")]
    mask: Option<PathBuf>,
    /// Not supported yet
    #[arg(long, value_name = "FILE[:WEIGHT]")]
    lora: Vec<String>,
    /// The file to write: .png, .jpg or .webp
    #[arg(long, value_name = "FILE", default_value = "out.png")]
    output: PathBuf,
    /// cpu or cuda:N [default: the configuration's]
    #[arg(long, value_name = "DEVICE")]
    device: Option<String>,
    /// Make the picture on the framewright server at this address (http://host:port) instead of in this process
    #[arg(long, value_name = "URL", conflicts_with = "device")]
    server: Option<String>,
    /// The API key for --server
    #[arg(long, value_name = "K", requires = "server")]
    api_key: Option<SecretString>,
    #[command(flatten)]
    common: CommonOptions,
}

/// A picture to start from, or a mask: the file's bytes for a server, its pixels for this process.
struct InitImage {
    file: Vec<u8>,
    pixels: DecodedImage,
}

/// What pictures begin with.
#[derive(Default)]
struct Sources {
    init_image: Option<InitImage>,
    mask: Option<InitImage>,
}

/// Makes the pictures and writes the files. Everything that can be refused without the model is refused before anything is loaded.
pub(super) fn run(arguments: &ImageArguments, out: &mut (dyn Write + Send)) -> Outcome {
    if !arguments.lora.is_empty() {
        return Err(Failure::not_supported("--lora"));
    }
    if Path::new(&arguments.model).extension().is_some_and(|extension| extension.eq_ignore_ascii_case("safetensors")) {
        return Err(Failure::input(
            "--model",
            "single .safetensors files are not supported yet; name a directory in the diffusers layout or a model's id",
        ));
    }
    let output = OutputFile::new(&arguments.output)?;
    let init_image = arguments.init_image.as_deref().map(|path| read_init_image("--init-image", path)).transpose()?;
    let mask = arguments.mask.as_deref().map(read_mask).transpose()?;
    let sources = Sources { init_image, mask };
    if let Some(server) = &arguments.server {
        let server = crate::cli::server_client::Server::new(server, arguments.api_key.clone())?;
        let model = model_id(&arguments.model)?;
        let request = remote::Request { model, parameters: parameters(arguments, &sources), sources };
        super::runtime()?.block_on(remote::generate(&server, &request, &output, out))
    } else {
        let mut flags = arguments.common.flags();
        flags.device.clone_from(&arguments.device);
        let config = Config::load(&flags, Environment::read()?)?;
        let runtime = super::runtime()?;
        if let Some(model) = runtime.block_on(provider::find(&config, &arguments.model))? {
            model.refuse_device(arguments.device.as_deref())?;
            return runtime.block_on(provider_pictures::generate(model, arguments, &sources, &output, out));
        }
        drop(runtime);
        local::generate(&config, arguments, sources, &output, out)
    }
}

fn parameters(arguments: &ImageArguments, sources: &Sources) -> ImageParameters {
    ImageParameters {
        prompt: arguments.prompt.clone(),
        negative_prompt: arguments.negative_prompt.clone(),
        width: arguments.width,
        height: arguments.height,
        shape: None,
        num_inference_steps: arguments.steps,
        guidance_scale: arguments.guidance_scale,
        seed: arguments.seed,
        sampler: arguments.sampler.clone(),
        num_images: arguments.count,
        init_image_size: sources.init_image.as_ref().map(|image| (image.pixels.width, image.pixels.height)),
        strength: arguments.strength,
        has_mask: sources.mask.is_some(),
    }
}

/// The flag that sets a request's field.
fn flag_of(field: &str) -> String {
    match field {
        "num_inference_steps" => "--steps".to_owned(),
        "num_images" => "--count".to_owned(),
        "size" => "--width and --height".to_owned(),
        other => format!("--{}", other.replace('_', "-")),
    }
}

fn refused(error: &ParameterError) -> Failure {
    // The one problem that names a second field.
    Failure::input(&flag_of(&error.field), error.problem.replace("init_image", &flag_of("init_image")))
}

fn model_id(text: &str) -> Outcome<ModelId> {
    text.parse().map_err(|error| Failure::input("--model", error))
}

/// Larger files are not read at all; no picture within the decoder's pixel bound needs as much.
const MAX_INIT_IMAGE_BYTES: u64 = 256 << 20;

fn read_init_image(flag: &str, path: &Path) -> Outcome<InitImage> {
    read_with(flag, path, decode_image)
}

fn read_mask(path: &Path) -> Outcome<InitImage> {
    read_with("--mask", path, |bytes| decode_mask(bytes, MaskReading::Brightness))
}

fn read_with(flag: &str, path: &Path, decode: impl Fn(&[u8]) -> Result<DecodedImage, DecodeError>) -> Outcome<InitImage> {
    let refuse = |problem: String| Failure::input(flag, format!("{}: {problem}", path.display()));
    let metadata = std::fs::metadata(path).map_err(|error| refuse(error.to_string()))?;
    if !metadata.is_file() {
        return Err(refuse("is not a file".to_owned()));
    }
    if metadata.len() > MAX_INIT_IMAGE_BYTES {
        return Err(refuse(format!("has {} bytes; at most {MAX_INIT_IMAGE_BYTES}", metadata.len())));
    }
    let file = std::fs::read(path).map_err(|error| refuse(error.to_string()))?;
    let pixels = decode(&file).map_err(|error| refuse(error.to_string()))?;
    Ok(InitImage { file, pixels })
}

/// What is worth knowing of a finished picture or film.
fn notes(manifest: &Value, out: &mut dyn Write) -> Outcome {
    for warning in manifest["warnings"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        writeln!(out, "note: {warning}").or_fail()?;
    }
    Ok(())
}

/// One line per finished file on standard output: its path, and the seed that makes it again.
fn report(out: &mut dyn Write, path: &Path, seed: u64) -> Outcome {
    writeln!(out, "{} (seed {seed})", path.display()).or_fail()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_have_flags() {
        for (field, flag) in [
            ("width", "--width"),
            ("size", "--width and --height"),
            ("num_inference_steps", "--steps"),
            ("guidance_scale", "--guidance-scale"),
            ("num_images", "--count"),
        ] {
            assert_eq!(flag_of(field), flag);
        }
    }

    #[test]
    fn what_is_no_picture_is_refused_by_name() {
        let directory = tempfile::tempdir().unwrap();
        for (path, word) in [(directory.path().join("absent.png"), "absent.png"), (directory.path().to_owned(), "not a file")] {
            let message = read_init_image("--init-image", &path).err().unwrap().message();
            assert!(message.starts_with("error: --init-image: ") && message.contains(word), "{message}");
        }
    }
}
