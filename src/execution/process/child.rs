//! A worker process: how it is started, and its three streams.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use framewright_device_worker::process::frame::{self, FrameError, HEADER_BYTES};
use framewright_device_worker::process::message::{ToServer, ToWorker};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf, pipe};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;

/// Characters of a line that are kept and logged.
const MOST_LINE_BYTES: usize = 2000;
/// How long the last words of a dead process are waited for: a process that it started may hold the stream.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// The variables that a device, and what it loads, may need: where things are, and how GPUs, threads and the log behave. Nothing else is
/// handed on: a server's environment holds its secrets, and its operator names those of providers' keys as he likes.
const NEEDED_VARIABLES: [&str; 10] = [
    "HOME",
    "LANG",
    "NVIDIA_DRIVER_CAPABILITIES",
    "NVIDIA_TF32_OVERRIDE",
    "NVIDIA_VISIBLE_DEVICES",
    "PATH",
    "TMPDIR",
    "TZ",
    "USER",
    "XDG_CACHE_HOME",
];
/// How the names of others of them begin. `NVIDIA_` is none: a service of that name has keys.
const NEEDED_BEGINNINGS: [&str; 10] =
    ["CUDA_", "FRAMEWRIGHT_", "GLIBC_", "LC_", "LD_", "LLVM_", "MALLOC_", "OMP_", "RAYON_", "RUST_"];

/// Whether a device may see a variable.
fn is_needed(name: &OsStr) -> bool {
    // What is no text is none of these.
    let Some(name) = name.to_str() else { return false };
    let may_be_secret = ["KEY", "TOKEN", "SECRET", "PASSWORD"].iter().any(|word| name.contains(word));
    NEEDED_VARIABLES.contains(&name) || (!may_be_secret && NEEDED_BEGINNINGS.iter().any(|beginning| name.starts_with(beginning)))
}

#[expect(clippy::disallowed_methods, reason = "it is passed on and not read; settings are read in src/config")]
fn handed_on() -> impl Iterator<Item = (OsString, OsString)> {
    std::env::vars_os().filter(|(name, _)| is_needed(name))
}

/// What to start.
#[derive(Clone, Debug)]
pub(super) struct Program {
    /// The file, or a name to find on the PATH.
    pub(super) path: PathBuf,
    /// Its arguments.
    pub(super) arguments: Vec<String>,
}

/// A running worker process. Killed when dropped.
#[derive(Debug)]
pub(super) struct WorkerProcess {
    pub(super) child: Child,
    pub(super) frames: FrameReader,
    messages: mpsc::UnboundedSender<ToWorker>,
    log: TaskTracker,
    last_line: Arc<Mutex<String>>,
}

impl WorkerProcess {
    /// Starts a process for the device `name`. Must be called within a runtime.
    pub(super) fn start(program: &Program, name: &str) -> io::Result<Self> {
        let (ours, theirs) = StdUnixStream::pair()?;
        // Stray prints of libraries must not meet the protocol: both usual outputs go to the log.
        let (log_reader, log_writer) = io::pipe()?;
        let mut command = Command::new(&program.path);
        let child = command
            .env_clear()
            .envs(handed_on())
            .args(&program.arguments)
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::from(OwnedFd::from(log_writer.try_clone()?)))
            .stderr(Stdio::from(OwnedFd::from(log_writer)))
            // GPUs are numbered as NVML numbers them.
            .env("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
            // A terminal's Ctrl-C is for the server, which ends its workers in order.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        ours.set_nonblocking(true)?;
        let (reader, writer) = UnixStream::from_std(ours)?.into_split();
        let (messages, receiver) = mpsc::unbounded_channel();
        // Ends with `messages`, or when the process reads no more.
        TaskTracker::new().spawn(write_messages(writer, receiver));
        let (log, last_line) = (TaskTracker::new(), Arc::default());
        let printed = pipe::Receiver::from_owned_fd(OwnedFd::from(log_reader))?;
        log.spawn(log_lines(printed, name.to_owned(), Arc::clone(&last_line)));
        log.close();
        Ok(Self { child, frames: FrameReader::new(reader), messages, log, last_line })
    }

    /// Sends a message; to a process that has gone, nothing happens.
    pub(super) fn send(&self, message: ToWorker) {
        let _ = self.messages.send(message);
    }

    /// Kills the process, which ends as soon as the system can.
    pub(super) fn kill(&mut self) {
        // One that has ended is not killed again.
        let _ = self.child.start_kill();
    }

    /// The last line that the process printed, after its death.
    pub(super) async fn last_line(&self) -> Option<String> {
        let _ = tokio::time::timeout(LAST_WORDS, self.log.wait()).await;
        let line = self.last_line.lock().clone();
        (!line.is_empty()).then_some(line)
    }
}

/// Writes messages, as many in a frame as there are.
async fn write_messages(mut stream: OwnedWriteHalf, mut messages: mpsc::UnboundedReceiver<ToWorker>) {
    let mut batch = Vec::new();
    while messages.recv_many(&mut batch, 64).await > 0 {
        let written = match frame::encode(&batch) {
            Ok(bytes) => stream.write_all(&bytes).await,
            Err(error) => {
                tracing::error!(%error, "A message to a device worker is lost: {error}");
                Ok(())
            }
        };
        if written.is_err() {
            return;
        }
        batch.clear();
    }
}

/// Logs what a process prints, line by line, and keeps the last one.
async fn log_lines(mut stream: pipe::Receiver, device: String, last_line: Arc<Mutex<String>>) {
    let mut line = Vec::new();
    let mut chunk = vec![0; 4096];
    loop {
        let length = match stream.read(&mut chunk).await {
            Ok(0) | Err(_) => break,
            Ok(length) => length,
        };
        for byte in &chunk[..length] {
            match byte {
                b'\n' => log_line(&mut line, &device, &last_line),
                _ if line.len() < MOST_LINE_BYTES => line.push(*byte),
                _ => {}
            }
        }
    }
    log_line(&mut line, &device, &last_line);
}

fn log_line(line: &mut Vec<u8>, device: &str, last_line: &Mutex<String>) {
    let text: String = String::from_utf8_lossy(line).chars().filter(|character| !character.is_control()).collect();
    line.clear();
    let text = text.trim();
    if text.is_empty() {
        return;
    }
    tracing::info!(device, "[{device}] {text}");
    text.clone_into(&mut last_line.lock());
}

/// Reads frames from a stream; a future of [`Self::next`] may be dropped without loss.
#[derive(Debug)]
pub(super) struct FrameReader {
    stream: OwnedReadHalf,
    buffer: bytes::BytesMut,
}

impl FrameReader {
    fn new(stream: OwnedReadHalf) -> Self {
        Self { stream, buffer: bytes::BytesMut::with_capacity(64 << 10) }
    }

    /// The next frame's messages; `None` when the stream has ended.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<ToServer>>, FrameError> {
        loop {
            if let Some(header) = self.buffer.first_chunk::<HEADER_BYTES>() {
                let length = frame::length(*header)?;
                if let Some(content) = self.buffer.get(HEADER_BYTES..HEADER_BYTES + length) {
                    let messages = frame::decode(content)?;
                    bytes::Buf::advance(&mut self.buffer, HEADER_BYTES + length);
                    return Ok(Some(messages));
                }
            }
            match self.stream.read_buf(&mut self.buffer).await {
                Ok(0) => return Ok(None),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_sees_what_it_needs() {
        for name in ["PATH", "CUDA_VISIBLE_DEVICES", "LD_LIBRARY_PATH", "RAYON_NUM_THREADS", "NVIDIA_VISIBLE_DEVICES"] {
            assert!(is_needed(OsStr::new(name)), "{name}");
        }
        for name in ["MINIMAX_API_KEY", "DATABASE_URL", "NVIDIA_API_KEY", "RUST_REGISTRY_TOKEN", "WHAT_OPENS_THE_HOUSE", "PATHS"]
        {
            assert!(!is_needed(OsStr::new(name)), "{name}");
        }
    }
}
