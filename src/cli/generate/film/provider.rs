//! Films made by a provider without a server: one request, followed to its end by the same code that a server runs.

use std::io::Write;
use std::sync::Arc;

use anyhow::anyhow;
use tokio_util::sync::CancellationToken;

use super::super::progress::ProgressDisplay;
use super::local::job;
use super::output::FilmFile;
use super::{Order, VideoArguments};
use crate::app::signals::Signals;
use crate::cli::failure::{Failure, OrFail, Outcome};
use crate::cli::offline_providers::{self, OfflineProviders};
use crate::config::Config;
use crate::domain::film::InputFile;
use crate::domain::{JobRequest, JobResult, RemoteRequest, Sha256Digest, TaskId};
use crate::execution::remote::OfferedModel;
use crate::execution::results::Attempt;
use crate::execution::{RemoteEnding, RemoteExecution, RemoteWork};
use crate::media::decode::decode_image;
use crate::media::encode::{PngText, encode_png};
use crate::models::remote_parameters::{RemoteExtras, RemoteModel, film_to_remote};

/// Whether one of the configured providers offers a model of this name, and what is needed to ask it. Nothing is opened where no provider is
/// configured.
pub(super) async fn find(config: &Config, name: &str) -> Outcome<Option<(OfflineProviders, OfferedModel)>> {
    let settings = config.providers.load().or_fail()?;
    if settings.providers.values().all(|provider| !provider.is_enabled) {
        return Ok(None);
    }
    let providers = offline_providers::open(config).await?;
    let found = providers.executor.describe().into_iter().find(|model| model.id.as_str() == name);
    Ok(found.map(|model| (providers, model)))
}

/// Checks the request against the provider's limits, has it made, and writes the file.
pub(super) async fn generate(
    providers: &OfflineProviders,
    offered: &OfferedModel,
    arguments: &VideoArguments,
    order: Order,
    output: &FilmFile,
    out: &mut (dyn Write + Send),
) -> Outcome {
    output.check(crate::domain::VideoCodec::H264)?;
    if arguments.frames_dir.is_some() {
        return Err(Failure::input("--frames-dir", "a provider gives a film and no frames; leave it out"));
    }
    let model = RemoteModel { id: offered.id.clone(), provider: offered.provider.clone(), name: offered.name.clone() };
    let refused = film_to_remote(&order.parameters, &RemoteExtras::default(), &model);
    let mut request = refused.map_err(|error| arguments.refused(&error))?;
    let priced = providers.executor.validate(&offered.provider, offered.id.as_str(), &request);
    let priced = priced.map_err(|refusal| Failure::input("--model", refusal))?;
    request.estimated_cost_micros = priced.estimated.get();
    store_pictures(providers, &mut request, order)?;
    let result = run(providers, request).await?;
    let film = result.artifacts.first().ok_or_else(|| Failure::Other(anyhow!("the film has no file")))?;
    output.take(&providers.storage.local_path(&film.key).or_fail()?)?;
    let cost = &result.manifest["cost"];
    let cost = match (cost["amount"].as_str(), cost["currency"].as_str()) {
        (Some(amount), Some(currency)) if amount != "0" => format!(", {amount} {currency}"),
        _ => String::new(),
    };
    writeln!(out, "{} (by {}{cost})", output.path().display(), offered.provider).or_fail()
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

/// Follows the request to its end; asked to stop, it is cancelled at the provider, as far as that can be.
async fn run(providers: &OfflineProviders, request: RemoteRequest) -> Outcome<JobResult> {
    let progress = Arc::new(ProgressDisplay::start("asking the provider"));
    let told = {
        let progress = progress.clone();
        move |percent: u32| {
            progress.title("percent");
            progress.steps(percent.into(), 100);
        }
    };
    let job = job(&JobRequest::from(request.clone()));
    let stop = CancellationToken::new();
    let work = RemoteWork {
        task: TaskId::generate(),
        attempt: Attempt::new(&job, 0, 1),
        hold: None,
        has_next_target: false,
        waiting_since: job.created,
        job,
        request,
        stop: stop.clone(),
        leave: CancellationToken::new(),
        progress: Arc::new(told),
    };
    let mut signals = Signals::new().or_fail()?;
    let mut running = std::pin::pin!(providers.executor.run(work));
    let ending = loop {
        tokio::select! {
            ending = &mut running => break ending,
            () = signals.wait(), if !stop.is_cancelled() => stop.cancel(),
        }
    };
    match ending {
        RemoteEnding::Completed { result, .. } => Ok(result),
        RemoteEnding::Failed { error, .. } => Err(Failure::Other(anyhow!("{}", error.message))),
        RemoteEnding::Cancelled { .. } | RemoteEnding::Left => Err(Failure::Other(anyhow!("stopped"))),
    }
}
