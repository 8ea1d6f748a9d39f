//! What the API calls, and the life of what sends.

use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;

use super::body::JobOutputs;
use super::pending_count;
use super::secret::WebhookSecrets;
use super::sender::{Sender, Shared};
use super::store::{Backlog, Delivery, DeliveryFilter, WebhookStore, WebhookStoreError};
use crate::domain::{Clock, DeliveryId, JobObserver, MinimaxWords, Principal, ProjectId};
use crate::jobs::store::JobStore;
use crate::net::egress::Egress;

/// What callbacks are made of and sent by.
#[derive(Clone, Debug)]
pub struct WebhookParts {
    /// The deliveries.
    pub store: Arc<dyn WebhookStore>,
    /// The jobs that they tell of.
    pub jobs: Arc<dyn JobStore>,
    /// The way out.
    pub egress: Egress,
    /// What they are signed with.
    pub secrets: WebhookSecrets,
    /// Where "now" comes from; that of the jobs.
    pub clock: Arc<dyn Clock>,
    /// Who counts.
    pub observer: Arc<dyn JobObserver>,
    /// Who shows what a job left.
    pub outputs: Arc<dyn JobOutputs>,
    /// The states' words in callbacks that speak as MiniMax does.
    pub minimax_words: MinimaxWords,
}

/// Callbacks: looked at, sent again, and sent. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Webhooks {
    shared: Arc<Shared>,
}

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum WebhookError {
    /// No such delivery, or not the caller's.
    #[error("there is no callback {0}")]
    NotFound(DeliveryId),
    /// The caller's key is bound to a project.
    #[error("this key is bound to project '{0}', and the secret is its user's; ask with a key that is bound to no project")]
    BoundKey(ProjectId),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] WebhookStoreError),
}

impl Webhooks {
    /// Begins to send what is due, now and from now on.
    pub fn start(parts: WebhookParts) -> Self {
        let shared = Arc::new(Shared::new(parts));
        shared.tasks.spawn(Sender::new(shared.clone()).run());
        shared.tasks.spawn(pending_count::run(shared.clone()));
        Self { shared }
    }

    /// What waits to be sent, as it was counted last, some seconds ago; nothing where it could not be counted.
    pub fn backlog(&self) -> Option<Backlog> {
        *self.shared.backlog.lock()
    }

    /// Looks for what is due at once. Without this it is looked for every second.
    pub fn wake(&self) {
        self.shared.wake.notify_one();
    }

    /// Sends nothing new; returns when what is under way has ended, after `patience` at most. What is cut off is sent again by the next
    /// start.
    pub async fn shut_down(&self, patience: Duration) {
        self.shared.stop.cancel();
        self.shared.tasks.close();
        if tokio::time::timeout(patience, self.shared.tasks.wait()).await.is_err() {
            tracing::warn!("Some callbacks were not answered within {} s and will be sent again", patience.as_secs());
            self.shared.cut_off.cancel();
            self.shared.tasks.wait().await;
        }
    }

    /// The caller's secret. It is the user's, so that it is shown to no key that is bound to a project.
    pub fn secret_of(&self, principal: &Principal) -> Result<SecretString, WebhookError> {
        match &principal.project {
            None => Ok(self.shared.parts.secrets.text_of(&principal.user)),
            Some(project) => Err(WebhookError::BoundKey(project.clone())),
        }
    }

    /// The deliveries that the caller may see and `filter` lets through, newest jobs first, after `before` in that order if given.
    pub async fn list(
        &self,
        principal: &Principal,
        filter: DeliveryFilter,
        before: Option<DeliveryId>,
        limit: u32,
    ) -> Result<Vec<Delivery>, WebhookError> {
        Ok(self.shared.parts.store.list(&within_sight(principal, filter), before, limit).await?)
    }

    /// Sends a delivery of the caller's once more, with the same id, whatever became of it.
    pub async fn replay(&self, principal: &Principal, id: DeliveryId) -> Result<Delivery, WebhookError> {
        let store = &self.shared.parts.store;
        let not_found = || WebhookError::NotFound(id);
        store.delivery(id).await?.filter(|delivery| may_see(principal, delivery)).ok_or_else(not_found)?;
        let replayed = store.replay(id, self.shared.parts.clock.now()).await?.ok_or_else(not_found)?;
        tracing::info!(delivery.id = %id, "Callback {id} is sent once more by hand");
        self.wake();
        Ok(replayed)
    }
}

/// Those of the own jobs, within the project of a project's key; administrators see all.
fn may_see(principal: &Principal, delivery: &Delivery) -> bool {
    principal.admin
        || (principal.user == delivery.user
            && principal.project.as_ref().is_none_or(|project| delivery.project.as_ref() == Some(project)))
}

/// The part of a filter that the caller may see.
fn within_sight(principal: &Principal, mut filter: DeliveryFilter) -> DeliveryFilter {
    if !principal.admin {
        filter.user = Some(principal.user.clone());
        if principal.project.is_some() {
            filter.project.clone_from(&principal.project);
        }
    }
    filter
}
