//! What makes a function a trial: it has the machine to itself, and it says what it finds.

use std::io::Write;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};

static MACHINE: Mutex<()> = Mutex::new(());

/// Waits until no other trial runs; they are kept away for as long as this lives.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    MACHINE.lock()
}

/// Writes a line to standard error, past the capture of the test harness: what a trial measured is wanted when it passed, too.
pub(crate) fn say(line: &str) {
    // Whoever closed the stream does not want to hear it.
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Says that a trial, or a part of one, does not run here.
pub(crate) fn skip(what: &str, reason: &str) {
    say(&format!("SKIPPED: {what}: {reason}"));
}

/// Whether the long forms are wanted.
pub(crate) fn is_long() -> bool {
    variable("FRAMEWRIGHT_LONG").is_some_and(|value| value != "0")
}

/// The program on trial: the one that was built with the trials, unless `FRAMEWRIGHT_BINARY` names another.
pub(crate) fn binary() -> String {
    variable("FRAMEWRIGHT_BINARY").unwrap_or_else(|| env!("CARGO_BIN_EXE_framewright").to_owned())
}

/// A variable of the environment that is set to something.
#[expect(clippy::disallowed_methods, reason = "trials are told how to run by the environment; the server reads it in src/config")]
pub(crate) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Looks again and again, until `look` gives something. Panics with `what` when that takes longer than `limit`.
pub(crate) fn wait_for<T>(what: &str, limit: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    let mut pause = Duration::from_millis(5);
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begun.elapsed() < limit, "not within {limit:?}: {what}");
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(100));
    }
}
