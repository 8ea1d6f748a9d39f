//! Takes changed files of settings while the server runs.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::config::{FileChange, WatchedFile};

/// How often a file is looked at.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Hands what the file `name` says to `take` whenever it changes, until `shutdown`. A broken file, or one whose settings cannot be taken,
/// leaves what was in force and says so.
pub(super) async fn follow<T: Send + 'static>(
    mut file: WatchedFile<T>,
    name: &'static str,
    take: impl Fn(T) -> Result<(), String> + Send,
    shutdown: CancellationToken,
) {
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(LOOK_INTERVAL) => {}
        }
        let looked = tokio::task::spawn_blocking(move || {
            let change = file.changed();
            (file, change)
        });
        let Ok((same_file, change)) = looked.await else {
            tracing::error!("Looking at {name} panicked; changes there are not seen until the next start");
            return;
        };
        file = same_file;
        match change {
            Some(FileChange::Settings(settings)) => match take(settings) {
                Ok(()) => tracing::info!("Took the changed {name}"),
                Err(reason) => tracing::error!("{name}: what it said before stays in force: {reason}"),
            },
            Some(FileChange::Broken(error)) => {
                tracing::error!(%error, "{name}: what it said before stays in force: {error}");
            }
            None => {}
        }
    }
}
