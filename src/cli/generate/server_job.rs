//! A job on a server, for as long as this process waits for it: whoever stops this process stops the job too, and is told its id.

use anyhow::anyhow;
use serde_json::Value;

use super::progress::ProgressDisplay;
use super::remote::{Task, accepted, follow, refusal_naming};
use crate::app::signals::Signals;
use crate::cli::failure::{Failure, OrFail, Outcome};
use crate::cli::server_client::{Server, describe};

/// What to ask a server for.
pub(super) struct Submission<'a> {
    /// The path of the API.
    pub(super) path: &'static str,
    /// The request.
    pub(super) body: &'a Value,
    /// The flag that sets a field of it.
    pub(super) flag_of: &'a dyn Fn(&str) -> String,
}

/// Submits a request, follows its job to the end and has `take` fetch what was made. Asked to end, by Ctrl-C or SIGTERM, it cancels the job
/// as it would end work of its own; asked again, it leaves the job to the server. Either way it fails, and says what becomes of the job.
pub(super) async fn run(
    server: &Server,
    submission: Submission<'_>,
    progress: &ProgressDisplay,
    take: impl AsyncFnOnce(&Task) -> Outcome,
) -> Outcome {
    let mut signals = Signals::new().or_fail()?;
    let (id, is_stopped) = submitted(server, submission, progress, &mut signals).await?;
    if !is_stopped {
        let making = async {
            let task = follow(server, &id, progress).await.or_fail()?;
            take(&task).await
        };
        tokio::select! {
            made = making => return made,
            () = signals.wait() => {}
        }
    }
    progress.task("cancelling the job, Ctrl-C leaves it to the server");
    let stopped = tokio::select! {
        stopped = cancel(server, &id) => stopped,
        () = signals.wait() => goes_on(server, &id),
    };
    Err(Failure::Other(anyhow!("{stopped}")))
}

/// The job's id, and whether somebody asked for the end meanwhile: what was sent may have been taken, so the answer is waited for.
async fn submitted(
    server: &Server,
    submission: Submission<'_>,
    progress: &ProgressDisplay,
    signals: &mut Signals,
) -> Outcome<(String, bool)> {
    let body = serde_json::to_vec(submission.body).or_fail()?;
    let mut answer = std::pin::pin!(server.post(submission.path, body));
    let mut is_stopped = false;
    let (status, answer) = loop {
        tokio::select! {
            answer = &mut answer => break answer.or_fail()?,
            () = signals.wait() => {
                if is_stopped {
                    return Err(Failure::Other(anyhow!("{}", may_go_on(server))));
                }
                is_stopped = true;
                progress.task("waiting for the job's id to cancel it, Ctrl-C leaves it to the server");
            }
        }
    };
    if !status.is_success() {
        return Err(refusal_naming(status, &answer, submission.flag_of));
    }
    Ok((accepted(&answer).or_fail()?, is_stopped))
}

/// Asks the server to stop the job; gives what there is to say.
async fn cancel(server: &Server, id: &str) -> String {
    match server.post(&format!("api/v1/tasks/{id}/cancel"), b"{}".to_vec()).await {
        Ok((status, answer)) if status.is_success() => {
            let task: Value = serde_json::from_slice(&answer).unwrap_or_default();
            match task["status"].as_str() {
                Some("cancelled") => format!("stopped; job {id} is cancelled"),
                _ => format!("stopped; job {id} is being cancelled: see {}", command(server, "show", id)),
            }
        }
        // It has ended.
        Ok((status, _)) if status.as_u16() == 409 => {
            format!("stopped; job {id} had ended before: see {}", command(server, "show", id))
        }
        Ok((status, answer)) => format!("{}: {}", goes_on(server, id), describe(status, &answer)),
        Err(error) => format!("{}: {error:#}", goes_on(server, id)),
    }
}

fn goes_on(server: &Server, id: &str) -> String {
    let (show, cancel) = (command(server, "show", id), command(server, "cancel", id));
    format!("stopped; job {id} goes on at the server (see {show}, stop it with {cancel})")
}

fn may_go_on(server: &Server) -> String {
    format!(
        "stopped before the server answered; it may have taken the job: see 'framewright jobs list --server {}'",
        server.address()
    )
}

fn command(server: &Server, verb: &str, id: &str) -> String {
    format!("'framewright jobs {verb} {id} --server {}'", server.address())
}
