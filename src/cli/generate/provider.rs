//! A provider's model without a server: found by its name, and followed to its end by the same code that a server runs.

use std::path::Path;
use std::sync::Arc;

use anyhow::anyhow;
use tokio_util::sync::CancellationToken;

use super::credit;
use super::own_job::job;
use super::progress::ProgressDisplay;
use crate::app::signals::Signals;
use crate::cli::failure::{Failure, OrFail, Outcome};
use crate::cli::offline_providers::{self, OfflineProviders};
use crate::config::Config;
use crate::domain::{JobRequest, JobResult, ModelId, RemoteRequest, TaskId};
use crate::execution::remote::{OfferedModel, called};
use crate::execution::results::Attempt;
use crate::execution::{RemoteEnding, RemoteExecution, RemoteWork};
use crate::models::remote_parameters::{RemoteModel, native_field};
use crate::routes::Route;

/// A model of a provider, and what is needed to ask that.
pub(super) struct ProviderModel {
    providers: OfflineProviders,
    offered: OfferedModel,
}

/// The model of one of the configured providers that `name` names; none where it is a directory, or a model of this machine's, which go
/// first, as on a server. Nothing is opened where no provider is configured. Fails for the name of a route.
pub(super) async fn find(config: &Config, name: &str) -> Outcome<Option<ProviderModel>> {
    let Some(id) = name.parse::<ModelId>().ok().filter(|_| !Path::new(name).exists()) else { return Ok(None) };
    if crate::cli::models::catalog(config)?.describe(&id).is_ok() {
        return Ok(None);
    }
    if let Some(route) = config.routes.load().or_fail()?.get(&id) {
        return Err(is_a_route(route));
    }
    let settings = config.providers.load().or_fail()?;
    if settings.providers.values().all(|provider| !provider.is_enabled) {
        return Ok(None);
    }
    let providers = offline_providers::open(config).await?;
    let found = called(&providers.executor.describe(), &id, |_| true);
    Ok(found.map(|offered| ProviderModel { providers, offered }))
}

/// Which of its targets makes it, and what comes next where one fails, is a server's business.
fn is_a_route(route: &Route) -> Failure {
    let targets: Vec<&str> = route.targets.iter().map(|target| target.model.as_str()).collect();
    let problem = format!(
        "'{}' is a route to {}; name one of these, or a server that knows the route, with --server",
        route.name,
        targets.join(", ")
    );
    Failure::input("--model", problem)
}

/// What was made, and who is to be thanked.
pub(super) struct Made {
    /// Its files, in storage.
    pub(super) result: JobResult,
    /// By whom, and for how much.
    pub(super) credit: String,
}

impl ProviderModel {
    /// Refuses a device, which has no part in what a provider makes.
    pub(super) fn refuse_device(&self, device: Option<&str>) -> Outcome {
        let provider = &self.offered.provider;
        device.map_or(Ok(()), |_| Err(Failure::input("--device", format!("is none of {provider}'s; leave it out"))))
    }

    /// What went wrong with files that were made and paid for: they stay where they are, and the message says where.
    pub(super) fn keep_files(self, failure: Failure) -> Failure {
        let kept = self.providers.keep();
        let problem = format!("what {} made is kept in {}", self.offered.provider, kept.display());
        match failure {
            Failure::Input(text) => Failure::Input(format!("{text}; {problem}")),
            Failure::Other(error) => Failure::Other(error.context(problem)),
        }
    }

    /// How requests name it.
    pub(super) fn model(&self) -> RemoteModel {
        let OfferedModel { id, provider, name, .. } = &self.offered;
        RemoteModel { id: id.clone(), provider: provider.clone(), name: name.clone() }
    }

    /// Where pictures to begin with are put, and results are.
    pub(super) fn providers(&self) -> &OfflineProviders {
        &self.providers
    }

    /// Checks the request against the provider's limits, and notes what it will cost. `flag_of` names the flag that sets a native field.
    pub(super) fn price(&self, mut request: RemoteRequest, flag_of: impl Fn(&str) -> String) -> Outcome<RemoteRequest> {
        let priced = self.providers.executor.validate(&self.offered.provider, self.offered.id.as_str(), &request);
        let priced =
            priced.map_err(|refusal| Failure::input(&flag_of(native_field(refusal.field, &request)), refusal.problem()))?;
        request.estimated_cost_micros = priced.estimated.get();
        Ok(request)
    }

    /// Has it made.
    pub(super) async fn make(&self, request: RemoteRequest) -> Outcome<Made> {
        let result = run(&self.providers, request).await?;
        let credit = credit::of_provider(&result.manifest).unwrap_or_default();
        Ok(Made { result, credit })
    }
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
        request: request.clone(),
        stop: stop.clone(),
        leave: CancellationToken::new(),
        progress: Arc::new(told),
    };
    let mut signals = Signals::new().or_fail()?;
    let mut running = std::pin::pin!(providers.executor.run(work));
    let ending = loop {
        tokio::select! {
            ending = &mut running => break ending,
            () = signals.wait() => {
                if stop.is_cancelled() {
                    let provider = &request.provider;
                    return Err(Failure::Other(anyhow!("given up; what {provider} was asked for may be made there, and billed")));
                }
                stop.cancel();
                progress.task("stopping; what was sent is waited for, or press Ctrl-C again to give up");
            }
        }
    };
    match ending {
        RemoteEnding::Completed { result, .. } => Ok(result),
        RemoteEnding::Failed { error, .. } => Err(Failure::Other(anyhow!("{}", error.message))),
        RemoteEnding::Cancelled { .. } | RemoteEnding::Left => Err(Failure::Other(anyhow!("stopped"))),
    }
}
