//! In which order what waits will probably start. Pure.
//!
//! The same approximation as [`super::forecast`]: a task's virtual start is its tenant's turn plus what the tenant has before it, over its
//! share; the smallest starts next. Costs as much as there are tenants and as is listed, never as there are tasks.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::fair_share::Tag;
use super::fleet::ModelFacts;
use super::queue_view::{Place, QueueView};
use crate::domain::TaskId;
use crate::jobs::speed::UNMEASURED_SECONDS_PER_WORK;
use crate::jobs::store::QueuedTask;

/// A tenant's tasks in the order of their ranks, over all its lanes.
struct Line {
    tenant: u32,
    /// The next place in each lane, and the lane.
    heads: BinaryHeap<Reverse<(Place, u32)>>,
    /// Virtual time that those before take.
    before: f64,
    last: f64,
}

/// The tasks that start after `skip` others, at most `limit`.
pub fn in_order(queue: &QueueView, models: &dyn ModelFacts, skip: usize, limit: usize) -> Vec<QueuedTask> {
    let mut lines: Vec<Line> = queue.fair().by_tag().map(|tenant| Line::new(queue, tenant)).collect();
    let mut next: BinaryHeap<Reverse<(Tag, usize)>> =
        lines.iter_mut().enumerate().filter_map(|(number, line)| Some(Reverse((line.start(queue)?, number)))).collect();
    let mut listed = Vec::new();
    for position in 0..skip.saturating_add(limit) {
        let Some(Reverse((_, number))) = next.pop() else { break };
        let line = &mut lines[number];
        if let Some(task) = line.advance(queue, models)
            && position >= skip
        {
            listed.extend(queue.get(task));
        }
        next.extend(line.start(queue).map(|start| Reverse((start, number))));
    }
    listed
}

impl Line {
    fn new(queue: &QueueView, tenant: u32) -> Self {
        let first = |lane| Some(Reverse((queue.places(tenant, lane, None).next()?, lane)));
        Self { tenant, heads: queue.lanes_of(tenant).filter_map(first).collect(), before: 0.0, last: f64::NEG_INFINITY }
    }

    /// The virtual start of the next task: never before the one before it.
    fn start(&mut self, queue: &QueueView) -> Option<Tag> {
        let Reverse(((_, slot), _)) = self.heads.peek()?;
        let turn = queue.fair().turn(self.tenant, queue.waiting(*slot)?.priority()).0;
        self.last = self.last.max(turn + self.before);
        Some(Tag(self.last))
    }

    /// Takes the next task.
    fn advance(&mut self, queue: &QueueView, models: &dyn ModelFacts) -> Option<TaskId> {
        let Reverse((place, lane)) = self.heads.pop()?;
        self.heads.extend(queue.places(self.tenant, lane, Some(place)).next().map(|next| Reverse((next, lane))));
        let waiting = queue.waiting(place.1)?;
        let measured = queue.lane(lane).and_then(|lane| models.seconds_per_work(&lane.batch));
        self.before += waiting.work * measured.unwrap_or(UNMEASURED_SECONDS_PER_WORK) / queue.fair().share(self.tenant);
        Some(waiting.task)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{BatchKey, ModelId, UnixMs};

    struct Nothing;

    impl ModelFacts for Nothing {
        fn weights_bytes(&self, _: &ModelId) -> Option<u64> {
            None
        }
        fn activation_bytes(&self, _: &BatchKey, _: u32) -> Option<u64> {
            None
        }
        fn seconds_per_work(&self, _: &BatchKey) -> Option<f64> {
            None
        }
        fn load_seconds(&self, _: &ModelId) -> Option<f64> {
            None
        }
    }

    fn task(number: u32, user: &str, model: &str, priority: i32) -> QueuedTask {
        QueuedTask {
            task: format!("piece_{number:032x}").parse().unwrap(),
            job: format!("job_{number:032x}").parse().unwrap(),
            user: user.parse().unwrap(),
            project: None,
            position: 0,
            lane: crate::domain::plan::Lane::Device,
            batch: BatchKey { model: model.parse().unwrap(), width: 1, height: 1 },
            rows: 1,
            work: 10.0,
            priority,
            created: UnixMs(i64::from(number)),
            queued: UnixMs(i64::from(number)),
            run_after: None,
            alone: false,
            has_next_target: false,
            has_open_call: false,
        }
    }

    fn numbers(queue: &QueueView, skip: usize, limit: usize) -> Vec<i64> {
        in_order(queue, &Nothing, skip, limit).into_iter().map(|task| task.created.0).collect()
    }

    #[test]
    fn tenants_take_turns_and_their_own_go_by_rank() {
        let mut queue = QueueView::default();
        for number in 0..4 {
            queue.insert(task(number, "anna", if number == 1 { "b" } else { "a" }, 0));
        }
        for number in 10..12 {
            queue.insert(task(number, "bert", "a", 0));
        }
        assert_eq!(numbers(&queue, 0, 100), [0, 10, 1, 11, 2, 3]);
        assert_eq!((numbers(&queue, 0, 2), numbers(&queue, 2, 3), numbers(&queue, 6, 3)), (vec![0, 10], vec![1, 11, 2], vec![]));
        let last = queue.get(task(3, "anna", "a", 0).task).unwrap().job;
        queue.set_priority(last, 5);
        assert_eq!(
            numbers(&queue, 0, 2),
            [3, 10],
            "a priority moves it before the user's own, and the user's turn before others'"
        );
    }

    #[test]
    fn every_task_is_listed_once() {
        let mut queue = QueueView::default();
        for number in 0..500 {
            let (user, model) = (format!("u{}", number % 7), format!("m{}", number % 3));
            queue.insert(task(number, &user, &model, (number % 5) as i32 - 2));
        }
        let mut all: Vec<i64> = (0..10).flat_map(|page| numbers(&queue, page * 50, 50)).collect();
        assert_eq!(numbers(&queue, 0, usize::MAX), all);
        all.sort_unstable();
        assert_eq!(all, (0..500).collect::<Vec<_>>());
    }
}
