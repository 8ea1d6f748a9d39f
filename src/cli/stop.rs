//! Ctrl-C: the work is asked to stop, so that nothing of it stays behind.

use framewright_engine::ops::Interrupt;
use tokio::runtime::Runtime;

use super::failure::{OrFail, Outcome};
use crate::app::signals::Signals;

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
