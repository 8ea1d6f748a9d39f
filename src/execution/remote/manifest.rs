//! What the result of a provider's task says of itself.

use serde_json::{Value, json};

use super::download::Kept;
use super::run::Run;
use crate::domain::{Micros, UnixMs};
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
        "created": kept_at.to_string(),
    })
}
