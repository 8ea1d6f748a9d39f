//! Films made by a provider without a server.

use std::io::Write;

use anyhow::anyhow;

use super::super::notes;
use super::super::provider::ProviderModel;
use super::output::FilmFile;
use super::{Order, VideoArguments};
use crate::cli::failure::{Failure, OrFail, Outcome};
use crate::cli::offline_providers::OfflineProviders;
use crate::domain::film::InputFile;
use crate::domain::{RemoteRequest, Sha256Digest};
use crate::media::decode::decode_image;
use crate::media::encode::{PngText, encode_png};
use crate::models::remote_parameters::{RemoteExtras, film_to_remote};

/// Checks the request against the provider's limits, has it made, and writes the file.
pub(super) async fn generate(
    model: ProviderModel,
    arguments: &VideoArguments,
    order: Order,
    output: &FilmFile,
    out: &mut (dyn Write + Send),
) -> Outcome {
    output.check_kept()?;
    let provider = &model.model().provider;
    if arguments.image_model.is_some() {
        let problem = format!("{provider} needs no picture of another model to begin with; leave it out");
        return Err(Failure::input("--image-model", problem));
    }
    if arguments.frames_dir.is_some() {
        return Err(Failure::input("--frames-dir", "a provider gives a film and no frames; leave it out"));
    }
    let request = film_to_remote(&order.parameters, &RemoteExtras::default(), &model.model());
    let mut request = model.price(request.map_err(|error| arguments.refused(&error))?, |field| arguments.flag_of(field))?;
    store_pictures(model.providers(), &mut request, order)?;
    let made = model.make(request).await?;
    let film = made.result.artifacts.first().ok_or_else(|| Failure::Other(anyhow!("the film has no file")))?;
    let written = model.providers().storage.local_path(&film.key).or_fail().and_then(|path| output.take(&path));
    written.map_err(|failure| model.keep_files(failure))?;
    writeln!(out, "{} ({})", output.path().display(), made.credit).or_fail()?;
    notes(&made.result.manifest, out)
}

/// Puts the picture that the film begins with where the executor finds it.
fn store_pictures(providers: &OfflineProviders, request: &mut RemoteRequest, order: Order) -> Outcome {
    for (picture, file) in request.pictures.iter_mut().zip(order.images.into_iter().flatten()) {
        let decoded = decode_image(&file).or_fail()?;
        let png = encode_png(decoded.width, decoded.height, &decoded.rgb, &PngText::default()).or_fail()?;
        let key = "inputs/0.png".to_owned();
        providers.storage.put_together(&[(&key, &png)]).or_fail()?;
        picture.file = Some(InputFile { sha256: Sha256Digest::of(&png).to_string(), key });
    }
    Ok(())
}
