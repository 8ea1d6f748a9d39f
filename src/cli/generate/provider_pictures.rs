//! Pictures made by a provider without a server.

use std::io::Write;
use std::path::PathBuf;

use super::files::{FinishedPicture, OutputFile};
use super::provider::ProviderModel;
use super::{ImageArguments, Sources, flag_of, notes, parameters, refused};
use crate::cli::failure::{OrFail, Outcome};
use crate::domain::Artifact;
use crate::media::decode::decode_image;
use crate::media::encode::PngText;
use crate::models::remote_parameters::image_to_remote;

/// Checks the request against the provider's limits, has it made, and writes the files.
pub(super) async fn generate(
    model: ProviderModel,
    arguments: &ImageArguments,
    sources: &Sources,
    output: &OutputFile,
    out: &mut (dyn Write + Send),
) -> Outcome {
    let request = image_to_remote(&parameters(arguments, sources), &model.model());
    let request = model.price(request.map_err(|error| refused(&error))?, flag_of)?;
    let made = model.make(request).await?;
    let mut written = Vec::new();
    for (index, picture) in made.result.artifacts.iter().enumerate() {
        match write(&model, picture, index, output).await {
            Ok(path) => written.push(path),
            Err(failure) => return Err(model.keep_files(failure)),
        }
    }
    // Whoever stops listening loses no picture.
    written.iter().try_for_each(|path| writeln!(out, "{} ({})", path.display(), made.credit)).or_fail()?;
    notes(&made.result.manifest, out)
}

async fn write(model: &ProviderModel, picture: &Artifact, index: usize, output: &OutputFile) -> Outcome<PathBuf> {
    let file = model.providers().storage.get(&picture.key).await.or_fail()?;
    if output.takes(&picture.media_type) {
        return output.write_bytes(index, &file);
    }
    let decoded = decode_image(&file).or_fail()?;
    let finished = FinishedPicture { width: decoded.width, height: decoded.height, rgb: &decoded.rgb };
    output.write_picture(index, finished, &PngText::default())
}
