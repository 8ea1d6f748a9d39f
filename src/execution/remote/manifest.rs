//! What the result of a provider's task says of itself.

use serde_json::{Value, json};

use super::download::Kept;
use super::run::Run;
use crate::domain::{Artifact, Frame, JobKind, Micros, RemoteRequest, UnixMs};
use crate::ledger::NewCall;
use crate::providers::{Finished, RemoteTask};

/// The manifest. It is for the job's owner: the links in it may open without a key as long as they live, so it is not for logs.
pub(super) fn manifest(
    run: &Run<'_>,
    call: &NewCall,
    task: Option<&RemoteTask>,
    finished: &Finished,
    kept: &Kept,
    cost: Micros,
    times: [UnixMs; 2],
) -> Value {
    let request = &run.work.request;
    let [made, kept_at] = times;
    json!({
        "generator": format!("framewright {}", env!("CARGO_PKG_VERSION")),
        "provider": request.provider,
        "model": request.model,
        "provider_model": request.provider_model,
        "request": request,
        "seed": request.seed,
        "call": call.id.to_string(),
        "remote_task_id": task.map(|task| &task.id),
        "original_urls": kept.links,
        "rewritten_prompt": finished.rewritten_prompt,
        "usage": { "seconds": finished.usage.seconds, "pictures": finished.usage.pictures },
        "cost": { "micros": cost.get(), "amount": cost.to_string(), "currency": run.inner.currency() },
        "timings_ms": {
            "remote": made.0.saturating_sub(call.created.0),
            "download": kept_at.0.saturating_sub(made.0),
        },
        "warnings": warnings(request, kept),
        "created": kept_at.to_string(),
    })
}

/// What came otherwise than it was asked for.
fn warnings(request: &RemoteRequest, kept: &Kept) -> Vec<String> {
    let (provider, asked, made) = (&request.provider, request.count as usize, kept.artifacts.len());
    let what = if request.output == JobKind::Image { "pictures" } else { "films" };
    let fewer = (made < asked).then(|| format!("{asked} {what} were asked for; {provider} gave {made}"));
    let other_size = |artifact: &Artifact| match request.frame {
        Some(Frame::Size(size)) if (size.width, size.height) != (artifact.width, artifact.height) => {
            Some(format!("{}x{} was asked for; {provider} gave {}x{}", size.width, size.height, artifact.width, artifact.height))
        }
        _ => None,
    };
    fewer.into_iter().chain(kept.artifacts.iter().find_map(other_size)).collect()
}
