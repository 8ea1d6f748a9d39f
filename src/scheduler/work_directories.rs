//! The directories in which tasks keep their checkpoints, removed when their tasks have ended.

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use tokio::sync::mpsc;

use crate::domain::TaskId;

/// Directories that are removed together, in one visit to the disk.
const REMOVED_TOGETHER: usize = 256;

/// `<data-dir>/work`, with one directory for each task.
#[derive(Clone, Debug)]
pub(super) struct WorkDirectories {
    root: PathBuf,
    ended: mpsc::UnboundedSender<TaskId>,
}

impl WorkDirectories {
    /// The directories below `root`, and what [`remove_ended`] follows.
    pub(super) fn new(root: PathBuf) -> (Self, mpsc::UnboundedReceiver<TaskId>) {
        let (ended, receiver) = mpsc::unbounded_channel();
        (Self { root, ended }, receiver)
    }

    /// A task's own directory, which its device makes.
    pub(super) fn of(&self, task: TaskId) -> PathBuf {
        self.root.join(task.to_string())
    }

    /// Has a task's directory removed soon.
    pub(super) fn remove_soon(&self, task: TaskId) {
        // At the very end nobody removes them any more; the next start's upkeep does.
        let _ = self.ended.send(task);
    }

    /// Tasks that left a directory which nobody has touched for `age`. Blocking.
    pub(super) fn untouched(&self, age: Duration, now: SystemTime) -> io::Result<Vec<TaskId>> {
        let entries = match std::fs::read_dir(&self.root) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut tasks = Vec::new();
        for entry in entries.flatten() {
            let Ok(task) = entry.file_name().to_string_lossy().parse::<TaskId>() else { continue };
            let touched = newest(&entry.path());
            if touched.is_some_and(|touched| now.duration_since(touched).is_ok_and(|since| since >= age)) {
                tasks.push(task);
            }
        }
        Ok(tasks)
    }
}

/// When a directory or a file in it last changed.
fn newest(directory: &Path) -> Option<SystemTime> {
    let of = |path: &Path| std::fs::metadata(path).and_then(|metadata| metadata.modified()).ok();
    let files = std::fs::read_dir(directory).ok()?.flatten().filter_map(|entry| of(&entry.path()));
    files.chain(of(directory)).max()
}

/// Removes the directories of ended tasks, many at a time, until their sender has gone.
pub(super) async fn remove_ended(directories: PathBuf, mut ended: mpsc::UnboundedReceiver<TaskId>) {
    let mut tasks = Vec::new();
    while ended.recv_many(&mut tasks, REMOVED_TOGETHER).await > 0 {
        let (root, together) = (directories.clone(), std::mem::take(&mut tasks));
        let removing = tokio::task::spawn_blocking(move || together.into_iter().for_each(|task| remove(&root, task)));
        if removing.await.is_err() {
            tracing::error!("Removing work directories panicked");
        }
    }
}

/// Removes a task's directory; absent is fine. Blocking.
pub(super) fn remove(root: &Path, task: TaskId) {
    match std::fs::remove_dir_all(root.join(task.to_string())) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(%error, "Cannot remove the work directory of {task}: {error}");
        }
        _ => {}
    }
}

/// Of these tasks, those that nobody here knows.
pub(super) fn unknown(candidates: Vec<TaskId>, waiting: &HashSet<TaskId>, runs: impl Fn(TaskId) -> bool) -> Vec<TaskId> {
    candidates.into_iter().filter(|task| !waiting.contains(task) && !runs(*task)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn ended_tasks_leave_nothing() {
        let root = tempfile::tempdir().unwrap();
        let (directories, receiver) = WorkDirectories::new(root.path().to_owned());
        let (ended, going_on, never_made) = (TaskId::generate(), TaskId::generate(), TaskId::generate());
        for task in [ended, going_on] {
            std::fs::create_dir(directories.of(task)).unwrap();
            std::fs::write(directories.of(task).join("picture-0.checkpoint"), "x").unwrap();
        }
        directories.remove_soon(ended);
        directories.remove_soon(never_made);
        let going_on_directory = directories.of(going_on);
        drop(directories);
        remove_ended(root.path().to_owned(), receiver).await;
        assert!(going_on_directory.is_dir());
        assert_eq!(root.path().read_dir().unwrap().count(), 1);
    }

    #[test]
    fn only_old_directories_of_tasks_are_found() {
        let root = tempfile::tempdir().unwrap();
        let (directories, _receiver) = WorkDirectories::new(root.path().join("work"));
        assert!(directories.untouched(Duration::ZERO, SystemTime::UNIX_EPOCH).unwrap().is_empty(), "nothing there yet");
        let task = TaskId::generate();
        std::fs::create_dir_all(directories.of(task)).unwrap();
        std::fs::create_dir_all(root.path().join("work/lost+found")).unwrap();
        let made = std::fs::metadata(directories.of(task)).unwrap().modified().unwrap();
        let hour = Duration::from_hours(1);
        assert!(directories.untouched(hour, made + hour / 2).unwrap().is_empty());
        assert_eq!(directories.untouched(hour, made + hour).unwrap(), [task]);
        let waiting = HashSet::from([task]);
        assert!(unknown(vec![task], &waiting, |_| false).is_empty());
        assert!(unknown(vec![task], &HashSet::new(), |_| true).is_empty());
        assert_eq!(unknown(vec![task], &HashSet::new(), |_| false), [task]);
    }
}
