//! Tasks that wait for the server's own processor. Few at a time, so a plain list will do.

use std::collections::BTreeMap;

use super::ageing;
use crate::domain::{JobId, TaskId, UnixMs};
use crate::jobs::store::QueuedTask;

/// What waits, and for how long.
#[derive(Debug, Default)]
pub(super) struct LaneQueue {
    tasks: BTreeMap<TaskId, QueuedTask>,
}

impl LaneQueue {
    /// Adds a task; one that is known joins anew if this is news of it.
    pub(super) fn insert(&mut self, task: QueuedTask) {
        if self.tasks.get(&task.task).is_none_or(|known| known.queued < task.queued) {
            self.tasks.insert(task.task, task);
        }
    }

    pub(super) fn remove(&mut self, task: TaskId) {
        self.tasks.remove(&task);
    }

    pub(super) fn remove_job(&mut self, job: JobId) {
        self.tasks.retain(|_, task| task.job != job);
    }

    pub(super) fn set_priority(&mut self, job: JobId, priority: i32) {
        self.tasks.values_mut().filter(|task| task.job == job).for_each(|task| task.priority = priority);
    }

    pub(super) fn tasks(&self) -> impl Iterator<Item = (TaskId, UnixMs)> {
        self.tasks.values().map(|task| (task.task, task.queued))
    }

    /// The task that runs next: of those that are due and that there is room for, the one of the highest rank, which grows with age and
    /// priority.
    pub(super) fn first(&self, now: UnixMs, has_room: impl Fn(&QueuedTask) -> bool) -> Option<&QueuedTask> {
        let due = self.tasks.values().filter(|task| ageing::is_due(task.run_after, now));
        let admitted = due.filter(|task| has_room(task));
        admitted.min_by_key(|task| (ageing::rank(task.created, task.priority), task.task))
    }

    /// When a task that still pauses may start.
    pub(super) fn next_due(&self, now: UnixMs) -> Option<UnixMs> {
        self.tasks.values().filter(|task| !ageing::is_due(task.run_after, now)).filter_map(|task| task.run_after).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::BatchKey;
    use crate::domain::plan::Lane;

    fn task(created: i64, priority: i32, run_after: Option<i64>) -> QueuedTask {
        QueuedTask {
            task: TaskId::generate(),
            job: JobId::generate(),
            user: "ann".parse().unwrap(),
            project: None,
            position: 3,
            lane: Lane::Host,
            batch: BatchKey { model: "m".parse().unwrap(), width: 0, height: 0 },
            rows: 1,
            work: 0.0,
            priority,
            created: UnixMs(created),
            queued: UnixMs(created),
            run_after: run_after.map(UnixMs),
            alone: false,
            has_next_target: false,
            has_open_call: false,
        }
    }

    #[test]
    fn the_oldest_and_most_important_goes_first_once_it_is_due() {
        let mut queue = LaneQueue::default();
        let (old, new, urgent, pausing) = (task(0, 0, None), task(1000, 0, None), task(2000, 50, None), task(0, 100, Some(9000)));
        for task in [&new, &old, &urgent, &pausing] {
            queue.insert(task.clone());
        }
        let now = UnixMs(3000);
        assert_eq!(queue.next_due(now), Some(UnixMs(9000)));
        let mut order = Vec::new();
        while let Some(first) = queue.first(now, |_| true).map(|task| task.task) {
            order.push(first);
            queue.remove(first);
        }
        assert_eq!(order, [urgent.task, old.task, new.task]);
        assert_eq!(queue.first(UnixMs(9000), |_| true).map(|task| task.task), Some(pausing.task));
    }

    #[test]
    fn one_that_is_alone_waits_for_the_other_and_lets_the_rest_pass() {
        let cheap = |created| task(created, 0, None);
        let dear = |created| QueuedTask { alone: true, ..task(created, 0, None) };
        for (waiting, one_alone_runs, expected) in [
            (vec![dear(0), cheap(1000)], false, Some(0)),
            (vec![dear(0), cheap(1000)], true, Some(1)),
            (vec![cheap(0), dear(1000)], true, Some(0)),
            (vec![dear(0), dear(1000)], false, Some(0)),
            (vec![dear(0), dear(1000)], true, None),
            (vec![], false, None),
        ] {
            let mut queue = LaneQueue::default();
            for task in &waiting {
                queue.insert(task.clone());
            }
            let first = queue.first(UnixMs(2000), |task| !(task.alone && one_alone_runs)).map(|task| task.task);
            assert_eq!(first, expected.map(|index: usize| waiting[index].task), "{waiting:?}");
        }
    }

    #[test]
    fn a_job_leaves_with_all_its_tasks_and_old_words_change_nothing() {
        let mut queue = LaneQueue::default();
        let first = task(5, 0, None);
        let second = QueuedTask { task: TaskId::generate(), ..first.clone() };
        queue.insert(first.clone());
        queue.insert(second);
        queue.set_priority(first.job, 7);
        queue.insert(first.clone());
        assert_eq!(queue.first(UnixMs(5), |_| true).map(|task| task.priority), Some(7));
        queue.insert(QueuedTask { queued: UnixMs(6), ..first.clone() });
        assert_eq!(queue.tasks().count(), 2);
        queue.remove_job(first.job);
        assert_eq!(queue.tasks().count(), 0);
    }
}
