//! `framewright jobs`: what a server has been asked to do, over its native API.

use std::fmt::Write as _;
use std::io::Write;
use std::time::Duration;

use anyhow::{Context, anyhow};
use clap::{Args, Subcommand};
use reqwest::StatusCode;
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::Value;

use super::failure::{Failure, OrFail, Outcome};
use super::server_client::{Server, describe};
use crate::domain::{JobId, JobState, ProjectId};

/// Between two looks at a watched job.
const POLL_INTERVAL: Duration = Duration::from_millis(500);
/// Looks that may fail in a row before the server counts as gone (it may be restarting; the job survives that).
const MOST_FAILED_LOOKS: u32 = 40;

/// What to do with jobs.
#[derive(Subcommand, Debug)]
pub(super) enum JobsCommand {
    /// List jobs, newest first: yours, or everybody's with an administrator's key
    List(ListArguments),
    /// Show all that is known of a job, as JSON
    Show(JobArguments),
    /// Follow a job to its end; exit status 0 when it completes
    Watch(JobArguments),
    /// Stop a job
    Cancel(JobArguments),
    /// Submit a failed or cancelled job again, as a new job, and print its id; with --scene, one scene of a film
    Retry(RetryArguments),
    /// Remove an ended job and its files
    Delete(JobArguments),
}

/// Which server.
#[derive(Args, Debug)]
pub(super) struct ServerOptions {
    /// The server's address
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8000")]
    server: String,
    /// The API key
    #[arg(long, value_name = "K")]
    api_key: Option<SecretString>,
}

/// Flags of `jobs list`.
#[derive(Args, Debug)]
pub(super) struct ListArguments {
    /// Only jobs in one of these states: queued, running, completed, failed, cancelled
    #[arg(long, value_name = "STATE", value_delimiter = ',', value_parser = parse_state)]
    status: Vec<JobState>,
    /// Only jobs of this project
    #[arg(long, value_name = "PROJECT")]
    project: Option<ProjectId>,
    /// How many, 1 to 100
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=100))]
    limit: u32,
    #[command(flatten)]
    server: ServerOptions,
}

/// A job and where it is.
#[derive(Args, Debug)]
pub(super) struct JobArguments {
    /// The job's id: job_…
    #[arg(value_name = "ID")]
    id: JobId,
    #[command(flatten)]
    server: ServerOptions,
}

/// Flags of `jobs retry`.
#[derive(Args, Debug)]
pub(super) struct RetryArguments {
    /// The job's id: job_…
    #[arg(value_name = "ID")]
    id: JobId,
    /// The scene of a film that is made anew; the others are taken over
    #[arg(long, value_name = "SCENE")]
    scene: Option<String>,
    /// That scene's seed [default: random]
    #[arg(long, value_name = "N", requires = "scene")]
    seed: Option<u64>,
    #[command(flatten)]
    server: ServerOptions,
}

fn parse_state(text: &str) -> Result<JobState, String> {
    let known = JobState::ALL.map(JobState::as_str).join(", ");
    JobState::ALL.into_iter().find(|state| state.as_str() == text).ok_or_else(|| format!("allowed: {known}"))
}

/// The part of a task that is shown.
#[derive(Debug, Deserialize)]
struct Task {
    #[serde(rename = "task_id")]
    id: String,
    status: String,
    #[serde(default)]
    progress: f64,
    #[serde(default)]
    user_id: String,
    #[serde(default)]
    model: String,
    #[serde(default)]
    priority: i32,
    queue_position: Option<usize>,
    estimated_time: Option<f64>,
    #[serde(default)]
    created_at: String,
    error: Option<TaskError>,
    #[serde(default)]
    scenes: Vec<SceneStanding>,
}

/// A scene of a film.
#[derive(Debug, Deserialize)]
struct SceneStanding {
    id: String,
    status: String,
}

#[derive(Debug, Deserialize)]
struct TaskError {
    message: String,
}

#[derive(Debug, Deserialize)]
struct TaskList {
    tasks: Vec<Task>,
    next: Option<String>,
}

impl ServerOptions {
    fn connect(&self) -> Outcome<Server> {
        Server::new(&self.server, self.api_key.clone())
    }
}

impl Task {
    /// One line: how far it is, and what comes next.
    fn standing(&self) -> String {
        let mut line = self.status.clone();
        match self.status.as_str() {
            "queued" => {
                if let Some(position) = self.queue_position {
                    let _ = write!(line, ", place {position}");
                }
                if let Some(seconds) = self.estimated_time {
                    let _ = write!(line, ", done in about {seconds:.0} s");
                }
            }
            "running" => {
                let _ = write!(line, " {:.0} %", self.progress.clamp(0.0, 1.0) * 100.0);
                for scene in &self.scenes {
                    let _ = write!(line, ", {} {}", scene.id, scene.status);
                }
            }
            _ => {}
        }
        line
    }

    fn row(&self) -> String {
        let Self { id, user_id, model, priority, created_at, .. } = self;
        format!("{id}  {user_id}  {model}  priority {priority}  created {created_at}  {}", self.standing())
    }

    /// `None` while it has not ended.
    fn end(&self) -> Option<Outcome> {
        match self.status.as_str() {
            "completed" => Some(Ok(())),
            "failed" => {
                let reason = self.error.as_ref().map_or("no reason given", |error| &error.message);
                Some(Err(Failure::Other(anyhow!("the job failed: {reason}"))))
            }
            "cancelled" => Some(Err(Failure::Other(anyhow!("the job was cancelled")))),
            _ => None,
        }
    }
}

/// Runs one of them.
pub(super) async fn run(command: &JobsCommand, out: &mut (dyn Write + Send)) -> Outcome {
    match command {
        JobsCommand::List(arguments) => list(arguments, out).await,
        JobsCommand::Show(JobArguments { id, server }) => {
            let answer = server.connect()?.get(&path_of(*id)).await.or_fail()?;
            let task: Value = read(answer)?;
            writeln!(out, "{task:#}").or_fail()
        }
        JobsCommand::Watch(JobArguments { id, server }) => watch(&server.connect()?, *id, out).await,
        JobsCommand::Cancel(JobArguments { id, server }) => {
            let answer = server.connect()?.post(&format!("{}/cancel", path_of(*id)), b"{}".to_vec()).await.or_fail()?;
            let task: Task = read(answer)?;
            writeln!(out, "{}", task.standing()).or_fail()
        }
        JobsCommand::Retry(RetryArguments { id, scene, seed, server }) => {
            let body = serde_json::to_vec(&serde_json::json!({ "scene": scene, "seed": seed })).or_fail()?;
            let answer = server.connect()?.post(&format!("{}/retry", path_of(*id)), body).await.or_fail()?;
            let task: Task = read(answer)?;
            writeln!(out, "{}", task.id).or_fail()
        }
        JobsCommand::Delete(JobArguments { id, server }) => {
            let (status, answer) = server.connect()?.delete(&path_of(*id)).await.or_fail()?;
            if status.is_success() { writeln!(out, "deleted").or_fail() } else { Err(refusal(status, &answer)) }
        }
    }
}

async fn list(arguments: &ListArguments, out: &mut (dyn Write + Send)) -> Outcome {
    let mut path = format!("api/v1/tasks?limit={}", arguments.limit);
    if !arguments.status.is_empty() {
        let states: Vec<&str> = arguments.status.iter().map(|state| state.as_str()).collect();
        let _ = write!(path, "&status={}", states.join(","));
    }
    if let Some(project) = &arguments.project {
        let _ = write!(path, "&project_id={project}");
    }
    let list: TaskList = read(arguments.server.connect()?.get(&path).await.or_fail()?)?;
    for task in &list.tasks {
        writeln!(out, "{}", task.row()).or_fail()?;
    }
    if list.next.is_some() {
        writeln!(out, "… and older ones; --limit shows more").or_fail()?;
    }
    Ok(())
}

/// Prints a line whenever the job's standing changes.
async fn watch(server: &Server, id: JobId, out: &mut (dyn Write + Send)) -> Outcome {
    let (path, mut shown, mut failed_looks) = (path_of(id), String::new(), 0);
    loop {
        match server.get(&path).await {
            Ok((status, answer)) if !status.is_server_error() => {
                failed_looks = 0;
                let task: Task = read((status, answer))?;
                let standing = task.standing();
                if standing != shown {
                    writeln!(out, "{standing}").and_then(|()| out.flush()).or_fail()?;
                    shown = standing;
                }
                if let Some(end) = task.end() {
                    return end;
                }
            }
            unavailable => {
                failed_looks += 1;
                if failed_looks >= MOST_FAILED_LOOKS {
                    let (status, answer) = unavailable.or_fail()?;
                    return Err(refusal(status, &answer));
                }
            }
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

fn path_of(id: JobId) -> String {
    format!("api/v1/tasks/{id}")
}

fn read<T: for<'de> Deserialize<'de>>((status, answer): (StatusCode, Vec<u8>)) -> Outcome<T> {
    if !status.is_success() {
        return Err(refusal(status, &answer));
    }
    serde_json::from_slice(&answer).context("the server's answer is not what was asked for").or_fail()
}

/// A job that is not there, or in no state for it, is the user's input; any other refusal is not.
fn refusal(status: StatusCode, answer: &[u8]) -> Failure {
    let text = describe(status, answer);
    match status {
        StatusCode::NOT_FOUND | StatusCode::CONFLICT | StatusCode::UNPROCESSABLE_ENTITY => Failure::Input(text),
        _ => Failure::Other(anyhow!(text)),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    fn task(fields: &Value) -> Task {
        let mut task = json!({"task_id": "job_1", "status": "queued"});
        task.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        serde_json::from_value(task).unwrap()
    }

    #[rstest]
    #[case(json!({}), "queued")]
    #[case(json!({"queue_position": 3, "estimated_time": 12.4}), "queued, place 3, done in about 12 s")]
    #[case(json!({"status": "running", "progress": 0.256}), "running 26 %")]
    #[case(json!({"status": "completed", "progress": 1.0}), "completed")]
    fn standings(#[case] fields: Value, #[case] line: &str) {
        assert_eq!(task(&fields).standing(), line);
    }

    #[test]
    fn only_a_completed_job_ends_well() {
        assert!(task(&json!({"status": "running"})).end().is_none());
        assert!(matches!(task(&json!({"status": "completed"})).end(), Some(Ok(()))));
        let failed = task(&json!({"status": "failed", "error": {"code": "stalled", "message": "no progress"}})).end();
        assert_eq!(failed.unwrap().unwrap_err().message(), "error: the job failed: no progress");
        assert!(matches!(task(&json!({"status": "cancelled"})).end(), Some(Err(_))));
    }

    #[test]
    fn a_job_that_is_not_there_is_bad_input() {
        let answer = br#"{"detail":"no task job_1"}"#;
        assert!(
            matches!(refusal(StatusCode::NOT_FOUND, answer), Failure::Input(text) if text == "the server says: no task job_1")
        );
        assert!(matches!(refusal(StatusCode::UNAUTHORIZED, b""), Failure::Other(_)));
    }
}
