//! What a film needs besides devices: clips are kept without loss, scenes are made of clips, the film of scenes. Everything here blocks, and
//! works frame by frame.

mod assembly;
mod clip;
mod error;
mod manifest;
mod networks;
mod scene;
mod tools;

use framewright_engine::ops::Interrupt;

use super::results::Attempt;
use std::collections::BTreeMap;

use crate::domain::plan::{PlannedTask, TaskRole};
use crate::domain::{FilmRequest, JobResult, Spent, UnixMs};
use crate::storage::ArtifactStorage;

pub(in crate::execution) use assembly::sheet;
pub use clip::{last_frame, store_clip};
pub use error::FilmError;
pub use tools::{FilmTools, NetworkFile};

/// Who stops the work, and who hears how far it is.
pub struct HostProgress<'a> {
    /// Stops it.
    pub interrupt: &'a Interrupt,
    /// Frames done, frames in all.
    pub told: &'a dyn Fn(u32, u32),
}

impl HostProgress<'_> {
    fn is_interrupted(&self) -> bool {
        self.interrupt.is_cancelled()
    }
}

impl std::fmt::Debug for HostProgress<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HostProgress").field("interrupt", self.interrupt).finish_non_exhaustive()
    }
}

/// A task of a film.
#[derive(Clone, Copy, Debug)]
pub struct FilmTask<'a> {
    /// The film.
    pub film: &'a FilmRequest,
    /// Its plan.
    pub plan: &'a [PlannedTask],
    /// The task's place in the plan.
    pub position: u32,
    /// What the tasks before it have left, by position.
    pub finished: &'a BTreeMap<u32, JobResult>,
}

impl FilmTask<'_> {
    fn role(&self) -> Option<TaskRole> {
        self.plan.get(self.position as usize).map(|task| task.role)
    }

    /// What the tasks that it needs have left, in order.
    fn inputs(&self) -> impl Iterator<Item = &JobResult> {
        let planned = self.plan.get(self.position as usize);
        planned.into_iter().flat_map(|task| &task.after).filter_map(|position| self.finished.get(position))
    }
}

/// The picture that a clip begins with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FirstPicture {
    /// A stored picture.
    Picture(String),
    /// The last frame of a stored clip.
    LastFrameOf(String),
}

/// What the clip of a task begins with: a picture that came with the request, the scene's keyframe, or the clip before.
pub fn first_picture(task: &FilmTask<'_>, role: TaskRole) -> Option<FirstPicture> {
    let TaskRole::Clip { scene, clip } = role else { return None };
    let before = task.inputs().next().and_then(|result| result.artifacts.first()).map(|artifact| artifact.key.clone());
    let sent = task.film.scenes.get(scene).and_then(|scene| scene.init_image.as_ref()).map(|file| file.key.clone());
    match before {
        Some(key) if clip > 0 => Some(FirstPicture::LastFrameOf(key)),
        before => before.or(sent).map(FirstPicture::Picture),
    }
}

/// Makes what a task without a device makes, and stores it. Gives what the task leaves and what it takes from the quotas. After an error
/// nothing of it is stored.
pub fn make(
    task: &FilmTask<'_>,
    attempt: &Attempt,
    storage: &ArtifactStorage,
    tools: &FilmTools,
    now: UnixMs,
    progress: &HostProgress<'_>,
) -> Result<(JobResult, Spent), FilmError> {
    match task.role() {
        Some(TaskRole::Scene { scene }) => scene::make(scene, task, attempt, storage, tools, progress),
        Some(TaskRole::Film) => assembly::make(task, attempt, storage, tools.encoder, now, progress),
        role => Err(FilmError::NotHere(role.map_or("nothing", TaskRole::as_str))),
    }
}
