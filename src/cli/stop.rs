//! Ctrl-C: the work is asked to stop, so that nothing of it stays behind.

use framewright_engine::ops::Interrupt;
use tokio::runtime::Runtime;

use super::failure::{OrFail, Outcome};

/// What is cancelled when the program is asked to end, by SIGINT or SIGTERM. The work looks at it many times a second, and fails.
pub(super) fn on_signal(runtime: &Runtime) -> Outcome<Interrupt> {
    let interrupt = Interrupt::default();
    let _inside = runtime.enter();
    let mut signals = Signals::new().or_fail()?;
    let asked = interrupt.clone();
    runtime.spawn(async move {
        signals.wait().await;
        asked.cancel();
    });
    Ok(interrupt)
}

#[cfg(unix)]
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn new() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn wait(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// Ctrl-C is all there is.
#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self)
    }

    async fn wait(&mut self) {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
