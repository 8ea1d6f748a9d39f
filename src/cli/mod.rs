//! The command line: flags in, one exit status out.
//!
//! Invariants: exit status 0 only when what was asked for was done, 2 with one line for input that cannot be used, 1 for everything
//! else. Results go to standard output, and everything meant for people (progress, errors) to standard error. Nothing here
//! computes: `generate` runs the engine, `serve` hands over to [`crate::app`].

mod device_worker;
mod doctor;
mod failure;
mod generate;
mod jobs;
mod keys;
mod models;
mod offered_models;
mod offline_providers;
mod options;
mod serve;
mod server_client;
mod stop;

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{Parser, Subcommand};

use failure::{Failure, OrFail, Outcome};

/// The whole command line.
#[derive(Parser, Debug)]
#[command(
    name = "framewright",
    version,
    about = "Makes pictures with SDXL and films with SVD: as a server, or once from the command line"
)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Start the server
    Serve(serve::ServeArguments),
    /// Make something without a server, or on another one with --server
    #[command(subcommand)]
    Generate(GenerateCommand),
    /// Look at installed models
    #[command(subcommand)]
    Models(models::ModelsCommand),
    /// Make, list and revoke API keys; works beside a running server
    #[command(subcommand)]
    Keys(keys::KeysCommand),
    /// Check this machine and the configuration, and say what to do
    Doctor(doctor::DoctorArguments),
    /// List, watch, cancel and retry jobs on a server
    #[command(subcommand)]
    Jobs(jobs::JobsCommand),
    /// Run a device for a server, which starts this itself
    #[command(hide = true)]
    DeviceWorker(device_worker::DeviceWorkerArguments),
}

#[derive(Subcommand, Debug)]
enum GenerateCommand {
    /// Make pictures from a prompt
    Image(Box<generate::ImageArguments>),
    /// Make a film from a prompt, a picture, or a file of scenes
    Video(Box<generate::film::VideoArguments>),
}

/// Runs the command line in `arguments` (the program's name first) and gives the process's exit status.
pub fn run<I, T>(arguments: I, out: &mut (dyn Write + Send), err: &mut (dyn Write + Send)) -> ExitCode
where
    I: IntoIterator<Item = T>,
    T: Into<OsString> + Clone,
{
    let outcome = match CommandLine::try_parse_from(arguments) {
        Ok(CommandLine { command: Command::DeviceWorker(arguments) }) => return device_worker::run(&arguments),
        Ok(command_line) => dispatch(command_line.command, out),
        Err(error) if !error.use_stderr() => return written(write!(out, "{}", error.render())),
        Err(error) if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            let _ = write!(err, "{}", error.render());
            return ExitCode::from(2);
        }
        Err(error) => Err(Failure::Input(first_paragraph(&error.render().to_string()))),
    };
    match outcome {
        Ok(()) => written(out.flush()),
        Err(failure) => {
            let _ = writeln!(err, "{}", failure.message());
            failure.exit_code()
        }
    }
}

fn dispatch(command: Command, out: &mut (dyn Write + Send)) -> Outcome {
    match command {
        Command::Serve(arguments) => {
            let runtime = runtime()?;
            let served = runtime.block_on(serve::run(&arguments, out));
            // A file that is being hashed must not hold up the end.
            runtime.shutdown_timeout(BLOCKING_WORK_TIMEOUT);
            served
        }
        Command::Generate(GenerateCommand::Image(arguments)) => generate::run(&arguments, out),
        Command::Generate(GenerateCommand::Video(arguments)) => generate::film::run(&arguments, out),
        Command::Models(command) => models::run(&command, out),
        Command::Keys(command) => runtime()?.block_on(keys::run(&command, out)),
        Command::Doctor(arguments) => runtime()?.block_on(doctor::run(&arguments, out)),
        Command::Jobs(command) => runtime()?.block_on(jobs::run(&command, out)),
        // Has an exit status of its own; see `run`.
        Command::DeviceWorker(_) => Ok(()),
    }
}

/// How long the end of `serve` waits for work on files that nobody needs any more.
const BLOCKING_WORK_TIMEOUT: Duration = Duration::from_secs(2);

fn runtime() -> Outcome<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().or_fail()
}

/// clap explains over several paragraphs; the first one says what is wrong.
fn first_paragraph(rendered: &str) -> String {
    let lines: Vec<&str> = rendered.lines().map(str::trim).take_while(|line| !line.is_empty()).collect();
    lines.join(" ").trim_start_matches("error: ").to_owned()
}

/// A closed pipe (`framewright models list | head`) is no failure to speak of, but it is no success either.
fn written(result: std::io::Result<()>) -> ExitCode {
    result.map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests;
