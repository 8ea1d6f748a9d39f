//! Takes changed files of users and projects while the server runs.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::config::tenants::{Change, TenantFiles};
use crate::tenants::Tenants;

/// How often the files are looked at.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Puts what the files say in force whenever they change, and calls `replaced` then, until `shutdown`; a broken file leaves the old
/// policies in force and says so.
pub async fn follow(mut files: TenantFiles, tenants: Tenants, replaced: impl Fn() + Send, shutdown: CancellationToken) {
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(LOOK_INTERVAL) => {}
        }
        // Directories are listed.
        let looked = tokio::task::spawn_blocking(move || {
            let change = files.changed();
            (files, change)
        });
        let Ok((same_files, change)) = looked.await else {
            tracing::error!("Looking at users/ and projects/ panicked; changes there are not seen until the next start");
            return;
        };
        files = same_files;
        match change {
            Some(Change::Policies { policies, mended }) => {
                let (users, projects) = (policies.users.len(), policies.projects.len());
                for notice in crate::config::tenants::notices(&policies) {
                    tracing::warn!("{}", notice.text);
                }
                tenants.replace(*policies);
                replaced();
                tracing::info!(users, projects, mended, "Took the changed files of {users} users and {projects} projects");
            }
            Some(Change::Broken(error)) => {
                tracing::error!(%error, "The files of users and projects stay as they were: {error}");
            }
            None => {}
        }
    }
}
