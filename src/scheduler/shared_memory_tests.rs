use std::collections::BTreeSet;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::domain::TaskId;
use crate::jobs::store::QueuedTask;
use crate::scheduler::fair_share::EqualShares;
use crate::scheduler::fleet::{ResidentModel, RunningTaskView};
use crate::scheduler::plan::{Plan, plan};
use crate::scheduler::queue_view::QueueView;

/// Every model takes 10, every row works in its width.
struct World;

impl ModelFacts for World {
    fn weights_bytes(&self, _: &ModelId) -> Option<u64> {
        Some(10)
    }
    fn activation_bytes(&self, batch: &BatchKey, rows: u32) -> Option<u64> {
        Some(u64::from(batch.width) * u64::from(rows))
    }
    fn seconds_per_work(&self, _: &BatchKey) -> Option<f64> {
        Some(1.0)
    }
    fn load_seconds(&self, _: &ModelId) -> Option<f64> {
        Some(0.1)
    }
}

fn id(model: &str) -> ModelId {
    model.parse().unwrap()
}

fn device(index: usize, capacity_bytes: u64, models: &[&str]) -> DeviceView {
    DeviceView {
        index,
        accepts: true,
        max_batch_tasks: 4,
        max_batch_rows: 8,
        memory_bytes: Some(capacity_bytes),
        shares_memory: true,
        resident: models.iter().map(|model| resident(model)).collect(),
        running: Vec::new(),
    }
}

fn resident(model: &str) -> ResidentModel {
    ResidentModel { model: id(model), weights_bytes: 10, last_used: UnixMs(0), pinned: false }
}

fn fleet(devices: impl IntoIterator<Item = DeviceView>) -> Fleet {
    Fleet { devices: devices.into_iter().collect(), max_concurrent: 1_000 }
}

fn task(number: u32, model: &str) -> QueuedTask {
    QueuedTask {
        task: format!("piece_{number:032x}").parse().unwrap(),
        job: format!("job_{number:032x}").parse().unwrap(),
        user: "anna".parse().unwrap(),
        project: None,
        position: 0,
        lane: crate::domain::plan::Lane::Device,
        batch: BatchKey { model: id(model), width: 1, height: 1 },
        rows: 1,
        work: 10.0,
        priority: 0,
        created: UnixMs(i64::from(number)),
        queued: UnixMs(i64::from(number)),
        run_after: None,
        alone: false,
        has_next_target: false,
        has_open_call: false,
    }
}

fn queue(tasks: &[(u32, &str)]) -> QueueView {
    let mut queue = QueueView::default();
    for &(number, model) in tasks {
        queue.insert(task(number, model));
    }
    queue
}

fn decide(queue: &QueueView, fleet: &Fleet) -> Plan {
    plan(queue, fleet, &World, &EqualShares, UnixMs(1_000))
}

fn started(plan: &Plan) -> usize {
    plan.dispatches.iter().map(|dispatch| dispatch.tasks.len()).sum()
}

#[test]
fn a_model_on_two_devices_takes_its_memory_once() {
    let two = |capacity| fleet([device(0, capacity, &["a"]), device(1, capacity, &["a"])]);
    let queue = queue(&[(1, "a"), (2, "a")]);
    assert_eq!(decide(&queue, &two(12)).dispatches.len(), 2, "10 of weights, 1 to work in for each");
    assert_eq!(decide(&queue, &two(11)).dispatches.len(), 1, "the other has nothing left to work in");
}

#[test]
fn two_models_that_do_not_fit_together_do_not_run_together() {
    let queue = queue(&[(1, "a"), (2, "b")]);
    let two = |capacity| fleet([device(0, capacity, &[]), device(1, capacity, &[])]);
    assert_eq!(started(&decide(&queue, &two(22))), 2);
    assert_eq!(started(&decide(&queue, &two(21))), 1);
    // A device that has memory of its own takes no part.
    let mut own = two(21);
    own.devices[1].shares_memory = false;
    assert_eq!(started(&decide(&queue, &own)), 2);
}

#[test]
fn what_idle_neighbours_have_loaded_makes_room() {
    let queue = queue(&[(1, "b")]);
    let idle = fleet([device(0, 15, &["a"]), device(1, 15, &["a"])]);
    let planned = decide(&queue, &idle);
    assert_eq!((started(&planned), &planned.unload), (0, &vec![(0, id("a")), (1, id("a"))]));
    let mut pinned = idle.clone();
    pinned.devices[1].resident[0].pinned = true;
    assert_eq!(decide(&queue, &pinned), Plan::default());
    let mut alone = idle;
    alone.devices.truncate(1);
    assert_eq!(decide(&queue, &alone).dispatches[0].unload, [id("a")]);
}

#[test]
fn nothing_is_added_up_where_nothing_is_known() {
    let mut unknown = fleet([device(0, 0, &["a"]), device(1, 0, &["b"])]);
    unknown.devices.iter_mut().for_each(|device| device.memory_bytes = None);
    assert_eq!(started(&decide(&queue(&[(1, "a"), (2, "b"), (3, "c")]), &unknown)), 2);
}

/// What devices that share memory take together: distinct models, and what each works in.
fn taken(fleet: &Fleet) -> u64 {
    let running = |device: &DeviceView| device.running.first().map(|task| task.batch.model.clone());
    let models: BTreeSet<ModelId> = fleet
        .devices
        .iter()
        .flat_map(|device| device.resident.iter().map(|resident| resident.model.clone()).chain(running(device)))
        .collect();
    10 * models.len() as u64 + fleet.devices.iter().map(|device| device.running.len() as u64).sum::<u64>()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn the_bound_holds_and_everybody_is_served(
        models in prop::collection::vec(0_usize..5, 1..60),
        devices in 1_usize..4,
        capacity in 14_u64..45,
    ) {
        let names = ["a", "b", "c", "d", "e"];
        let mut queue = QueueView::new(Arc::new(EqualShares));
        for (number, model) in models.iter().enumerate() {
            queue.insert(task(number as u32, names[*model]));
        }
        let mut fleet = fleet((0..devices).map(|index| device(index, capacity, &[])));
        let mut done: BTreeSet<TaskId> = BTreeSet::new();
        for round in 0..10 * models.len() {
            let planned = decide(&queue, &fleet);
            prop_assert!(planned.impossible.is_empty());
            for (device, model) in &planned.unload {
                let device = &mut fleet.devices[*device];
                prop_assert!(device.running.iter().all(|task| task.batch.model != *model), "in use");
                device.resident.retain(|resident| resident.model != *model);
            }
            for dispatch in &planned.dispatches {
                let device = &mut fleet.devices[dispatch.device];
                device.resident.retain(|resident| !dispatch.unload.contains(&resident.model));
                for task in &dispatch.tasks {
                    let task = queue.take(*task, 10.0).unwrap();
                    if device.resident.iter().all(|resident| resident.model != task.batch.model) {
                        device.resident.push(resident(task.batch.model.as_str()));
                    }
                    device.running.push(RunningTaskView {
                        task: task.task,
                        user: task.user,
                        project: None,
                        batch: task.batch,
                        rows: task.rows,
                        alone: false,
                        expected_end: Some(UnixMs(1_000 + round as i64)),
                    });
                }
            }
            prop_assert!(taken(&fleet) <= capacity, "{} of {capacity}: {fleet:?}", taken(&fleet));
            // The device that has run longest is done.
            let oldest = fleet.devices.iter_mut().filter(|device| !device.running.is_empty()).min_by_key(|device| device.running[0].expected_end);
            if let Some(device) = oldest {
                done.extend(device.running.drain(..).map(|task| task.task));
            }
        }
        prop_assert_eq!(done.len(), models.len(), "left: {:?}", fleet);
    }
}
