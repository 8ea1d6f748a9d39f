//! Pictures made in this process, by the same device code that the server's workers run.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use anyhow::anyhow;
use framewright_engine::ops::Interrupt;
use framewright_engine::vision::RgbPicture;

use super::files::{FinishedPicture, OutputFile};
use super::progress::ProgressDisplay;
use super::{ImageArguments, InitImage, parameters, refused, report};
use crate::app::compute;
use crate::cli::failure::{Failure, OrFail, Outcome};
use crate::cli::models::FoundModel;
use crate::config::{Config, Environment};
use crate::domain::{Clock, ErrorCode, ImageRequest, PreviewDemand, SystemClock};
use crate::execution::device::open_device;
use crate::execution::results::encode_pictures;
use crate::execution::{ImageOutput, ImageTask, Report, TaskFailure};
use crate::media::encode::PngText;
use crate::models::IdentityCache;
use crate::models::parameters::resolve_image_request;

/// Checks the request, loads the model, makes the pictures and writes the files.
pub(super) fn generate(
    arguments: &ImageArguments,
    init_image: Option<InitImage>,
    output: &OutputFile,
    out: &mut (dyn Write + Send),
) -> Outcome {
    let mut flags = arguments.common.flags();
    flags.device.clone_from(&arguments.device);
    let config = Config::load(&flags, Environment::read()?)?;
    let model = crate::cli::models::find(&config, &arguments.model)?;
    let mut request =
        resolve_image_request(parameters(arguments, init_image.as_ref()), &model.description, getrandom::u64().or_fail()?)
            .map_err(|error| refused(&error))?;
    request.init_image =
        arguments.init_image.as_deref().and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned());

    let made = run(&config, &model, &request, init_image)?;
    write_pictures(&made, &request, &model, output, out)
}

fn run(config: &Config, model: &FoundModel, request: &ImageRequest, init_image: Option<InitImage>) -> Outcome<ImageOutput> {
    let device = config.devices.first().ok_or_else(|| Failure::Other(anyhow!("no device is configured")))?;
    let progress = ProgressDisplay::start("loading the model");
    let mut device = open_device(*device, &compute::executor_options(config)).or_fail()?;
    let task = ImageTask {
        request: request.clone(),
        model_directory: model.directory.clone(),
        init_image: init_image.map(|image| Arc::new(picture(image))),
        interrupt: Interrupt::default(),
        previews: PreviewDemand::default(),
    };
    let mut show = |report| {
        if let Report::Evaluated { progress: at, .. } = report {
            progress.steps(at.step.into(), at.steps.into());
        }
    };
    device.run(&task, &mut show).map_err(|failure| match failure {
        // What the engine refuses about the request or the model's files is the user's input; everything else is not.
        TaskFailure::Failed(error) if error.code == ErrorCode::InvalidRequest => Failure::Input(error.message),
        TaskFailure::Failed(error) if error.code == ErrorCode::ModelUnavailable => Failure::input("--model", error.message),
        other => Failure::Other(other.into()),
    })
}

fn write_pictures(
    made: &ImageOutput,
    request: &ImageRequest,
    model: &FoundModel,
    output: &OutputFile,
    out: &mut (dyn Write + Send),
) -> Outcome {
    let pngs = if output.is_png() {
        // The manifest names the weights by their hashes, so they are read once more.
        let identity = IdentityCache::default().identify(&model.directory).or_fail()?;
        encode_pictures(made, request, &identity, SystemClock.now()).or_fail()?
    } else {
        Vec::new()
    };
    for (index, picture) in made.pictures.iter().enumerate() {
        let path = if let Some(encoded) = pngs.get(index) {
            output.write_bytes(index, &encoded.png)?
        } else {
            let finished = FinishedPicture { width: picture.width as u32, height: picture.height as u32, rgb: &picture.bytes };
            output.write_picture(index, finished, &PngText::default())?
        };
        report(out, &path, request.seed.wrapping_add(index as u64))?;
    }
    for warning in &made.facts.warnings {
        writeln!(out, "note: {warning}").or_fail()?;
    }
    Ok(())
}

fn picture(image: InitImage) -> RgbPicture {
    let pixels = image.pixels;
    RgbPicture { height: pixels.height as usize, width: pixels.width as usize, bytes: pixels.rgb }
}
