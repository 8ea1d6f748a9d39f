//! What this surface remembers of its callers: in memory, of the latest ones, and gone with the server.

use std::sync::Arc;

use parking_lot::Mutex;

use super::live_previews::LivePreviews;
use super::recent::Recent;
use crate::domain::{JobId, ModelId, Principal, ProjectId, UserId};

/// Callers whose checkpoint is remembered.
const MOST_CALLERS: usize = 4096;
/// Tasks that are remembered.
const MOST_TASKS: usize = 4096;

/// A user, perhaps within a project.
type CallerId = (UserId, Option<ProjectId>);

/// What was asked for, as far as the job does not tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Run {
    /// Into how many batches the client divides its pictures.
    pub(super) batches: u32,
    /// Its own name of the task.
    pub(super) task: Option<String>,
    /// The web UI's word for what is done.
    pub(super) job: &'static str,
}

/// What the web UI keeps for everybody and this server for each caller: the checkpoint that it chose, the names that it gave its
/// tasks, and the previews that it looks at. Cheap to clone.
#[derive(Clone, Debug)]
pub struct A1111Memory {
    shared: Arc<Mutex<Shared>>,
    /// The previews that are looked at.
    pub(super) previews: LivePreviews,
}

#[derive(Debug)]
struct Shared {
    checkpoints: Recent<CallerId, ModelId>,
    tasks: Recent<(CallerId, String), JobId>,
    runs: Recent<JobId, Run>,
}

impl Default for A1111Memory {
    fn default() -> Self {
        let shared =
            Shared { checkpoints: Recent::new(MOST_CALLERS), tasks: Recent::new(MOST_TASKS), runs: Recent::new(MOST_TASKS) };
        Self { shared: Arc::new(Mutex::new(shared)), previews: LivePreviews::default() }
    }
}

fn caller(principal: &Principal) -> CallerId {
    (principal.user.clone(), principal.project.clone())
}

impl A1111Memory {
    /// The model that the caller chose by its options.
    pub(super) fn checkpoint(&self, principal: &Principal) -> Option<ModelId> {
        self.shared.lock().checkpoints.get(&caller(principal))
    }

    /// Makes a model the caller's choice, or takes its choice back.
    pub(super) fn choose_checkpoint(&self, principal: &Principal, model: Option<ModelId>) {
        let mut shared = self.shared.lock();
        match model {
            Some(model) => shared.checkpoints.insert(caller(principal), model),
            None => shared.checkpoints.remove(&caller(principal)),
        }
    }

    /// Remembers what a job is to its client.
    pub(super) fn remember(&self, principal: &Principal, job: JobId, run: Run) {
        let mut shared = self.shared.lock();
        if let Some(task) = &run.task {
            shared.tasks.insert((caller(principal), task.clone()), job);
        }
        shared.runs.insert(job, run);
    }

    /// The job that the caller gave this name.
    pub(super) fn named(&self, principal: &Principal, task: &str) -> Option<JobId> {
        self.shared.lock().tasks.get(&(caller(principal), task.to_owned()))
    }

    /// What a job is to its client. One that is not remembered is a single batch without a name.
    pub(super) fn run(&self, job: JobId) -> Run {
        let run = self.shared.lock().runs.get(&job);
        run.unwrap_or(Run { batches: 1, task: None, job: "scripts_txt2img" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn principal(user: &str, project: Option<&str>) -> Principal {
        let project = project.map(|project| project.parse().unwrap());
        Principal { user: user.parse().unwrap(), project, admin: false, key: None }
    }

    #[test]
    fn callers_do_not_share() {
        let memory = A1111Memory::default();
        let (anna, film, bert) = (principal("anna", None), principal("anna", Some("film")), principal("bert", None));
        memory.choose_checkpoint(&anna, Some("one".parse().unwrap()));
        let (id, run) = (JobId::generate(), Run { batches: 2, task: Some("task(a)".to_owned()), job: "scripts_img2img" });
        memory.remember(&anna, id, run.clone());
        assert_eq!(memory.checkpoint(&anna).unwrap().as_str(), "one");
        assert_eq!((memory.named(&anna, "task(a)"), memory.run(id)), (Some(id), run));
        for other in [film, bert] {
            assert_eq!((memory.checkpoint(&other), memory.named(&other, "task(a)")), (None, None));
        }
        memory.choose_checkpoint(&anna, None);
        assert_eq!(memory.checkpoint(&anna), None);
    }
}
