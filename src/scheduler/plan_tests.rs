use std::collections::HashMap;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::domain::{ErrorCode, JobId, ProjectId, UserId};
use crate::jobs::store::QueuedTask;
use crate::scheduler::fleet::{ResidentModel, RunningTaskView};

/// A world of plain numbers.
#[derive(Clone, Debug, Default)]
struct World {
    load_seconds: f64,
    user_weights: HashMap<String, f64>,
    project_weights: HashMap<String, f64>,
    user_cap: Option<u32>,
    project_cap: Option<u32>,
}

impl ModelFacts for World {
    fn weights_bytes(&self, model: &ModelId) -> Option<u64> {
        Some(if model.as_str() == "huge" { 1_000 } else { 10 })
    }
    fn activation_bytes(&self, batch: &BatchKey, rows: u32) -> Option<u64> {
        Some(u64::from(batch.width) * u64::from(rows))
    }
    fn seconds_per_work(&self, _: &BatchKey) -> Option<f64> {
        Some(1.0)
    }
    fn load_seconds(&self, _: &ModelId) -> Option<f64> {
        Some(self.load_seconds)
    }
}

impl Shares for World {
    fn user_weight(&self, user: &UserId) -> f64 {
        self.user_weights.get(user.as_str()).copied().unwrap_or(1.0)
    }
    fn project_weight(&self, project: Option<&ProjectId>) -> f64 {
        project.and_then(|project| self.project_weights.get(project.as_str()).copied()).unwrap_or(1.0)
    }
    fn user_concurrency(&self, _: &UserId) -> Option<u32> {
        self.user_cap
    }
    fn project_concurrency(&self, _: &ProjectId) -> Option<u32> {
        self.project_cap
    }
}

fn device(index: usize) -> DeviceView {
    DeviceView {
        index,
        accepts: true,
        max_batch_tasks: 4,
        max_batch_rows: 8,
        memory_bytes: Some(30),
        shares_memory: false,
        resident: Vec::new(),
        running: Vec::new(),
    }
}

fn fleet(devices: usize) -> Fleet {
    Fleet { devices: (0..devices).map(device).collect(), max_concurrent: 1_000 }
}

fn resident(model: &str, last_used: i64, pinned: bool) -> ResidentModel {
    ResidentModel { model: model.parse().unwrap(), weights_bytes: 10, last_used: UnixMs(last_used), pinned }
}

fn task(number: u32, user: &str, model: &str) -> QueuedTask {
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
        priority: 0,
        created: UnixMs(i64::from(number)),
        queued: UnixMs(i64::from(number)),
        run_after: None,
        alone: false,
        has_next_target: false,
        has_open_call: false,
    }
}

fn number(task: TaskId) -> u32 {
    let text = task.to_string();
    u32::from_str_radix(&text[text.len() - 8..], 16).unwrap()
}

fn numbers(dispatch: &Dispatch) -> Vec<u32> {
    dispatch.tasks.iter().copied().map(number).collect()
}

fn queue(tasks: impl IntoIterator<Item = QueuedTask>) -> QueueView {
    let mut queue = QueueView::default();
    for task in tasks {
        assert!(queue.insert(task));
    }
    queue
}

fn decide(queue: &QueueView, fleet: &Fleet) -> Plan {
    plan(queue, fleet, &World::default(), &World::default(), UnixMs(1_000))
}

/// Carries a decision out.
fn carry_out(plan: &Plan, queue: &mut QueueView, fleet: &mut Fleet) -> Vec<QueuedTask> {
    let mut started = Vec::new();
    for dispatch in &plan.dispatches {
        let device = &mut fleet.devices[dispatch.device];
        device.resident.retain(|resident| !dispatch.unload.contains(&resident.model));
        for &id in &dispatch.tasks {
            let task = queue.take(id, 10.0).expect("a task is given once");
            if !device.resident.iter().any(|resident| resident.model == task.batch.model) {
                device.resident.push(resident(task.batch.model.as_str(), 0, false));
            }
            device.running.push(RunningTaskView {
                task: task.task,
                user: task.user.clone(),
                project: task.project.clone(),
                batch: task.batch.clone(),
                rows: task.rows,
                alone: task.alone,
                expected_end: None,
            });
            started.push(task);
        }
    }
    started
}

#[test]
fn mates_share_an_idle_device_across_tenants_in_turn() {
    let queue = queue([task(1, "a", "m"), task(2, "a", "m"), task(3, "a", "m"), task(4, "b", "m"), task(5, "b", "m")]);
    let plan = decide(&queue, &fleet(1));
    assert_eq!(plan.dispatches.len(), 1);
    let mut first = numbers(&plan.dispatches[0]);
    first.sort_unstable();
    assert_eq!(first, [1, 2, 4, 5], "two of each tenant");
}

#[test]
fn idle_devices_share_the_work_before_a_batch_is_filled() {
    let queue = queue((1..=4).map(|n| task(n, "a", "m")));
    let plan = decide(&queue, &fleet(4));
    assert_eq!(plan.dispatches.iter().map(|dispatch| dispatch.tasks.len()).collect::<Vec<_>>(), [1, 1, 1, 1]);
}

#[test]
fn a_running_batch_takes_mates_up_to_its_rows_but_nobody_joins_one_that_is_alone() {
    for (alone, expected) in [(false, vec![2, 3]), (true, vec![])] {
        let mut fleet = fleet(1);
        let mut all = queue((1..=6).map(|n| QueuedTask { rows: 3, alone: alone && n == 1, ..task(n, "a", "m") }));
        let first = decide(&all, &fleet);
        let started = carry_out(&first, &mut all, &mut fleet);
        fleet.devices[0].running.truncate(1);
        let joins = decide(&all, &fleet);
        let joined: Vec<u32> = joins.dispatches.iter().flat_map(numbers).collect();
        assert_eq!(started.len(), if alone { 1 } else { 2 });
        assert_eq!(joined.len(), usize::from(!alone), "{expected:?}");
    }
}

#[test]
fn a_model_that_is_there_is_preferred_and_the_least_recently_used_goes() {
    let mut two = fleet(2);
    two.devices[1].resident.push(resident("m", 5, false));
    assert_eq!(decide(&queue([task(1, "a", "m")]), &two).dispatches[0].device, 1);
    let mut one = fleet(1);
    one.devices[0].resident = vec![resident("x", 9, false), resident("y", 3, true), resident("z", 5, false)];
    let plan = decide(&queue([task(1, "a", "m")]), &one);
    assert_eq!(plan.dispatches[0].unload, ["z".parse().unwrap(), "x".parse().unwrap()], "the pinned one stays");
    one.devices[0].resident.iter_mut().for_each(|resident| resident.pinned = true);
    assert_eq!(decide(&queue([task(1, "a", "m")]), &one), Plan::default());
}

#[test]
fn a_batch_that_does_not_fit_gets_fewer_mates_and_what_never_fits_is_said_so() {
    let wide = |n| QueuedTask { batch: BatchKey { width: 8, ..task(n, "a", "m").batch }, ..task(n, "a", "m") };
    let plan = decide(&queue((1..=4).map(wide)), &fleet(1));
    assert_eq!(numbers(&plan.dispatches[0]), [1, 2], "10 + 2 × 8 of 30");
    let plan = decide(&queue([task(1, "a", "huge"), task(2, "a", "m")]), &fleet(1));
    assert_eq!(numbers(&plan.dispatches[0]), [2]);
    let (id, error) = &plan.impossible[0];
    assert_eq!((number(*id), error.code), (1, ErrorCode::OutOfMemory));
    assert!(error.message.contains("'huge'") && error.message.contains("GB"), "{}", error.message);
    let mut unknown = fleet(2);
    unknown.devices[1].memory_bytes = None;
    let plan = decide(&queue([task(1, "a", "huge")]), &unknown);
    assert_eq!((plan.dispatches[0].device, plan.impossible.len()), (1, 0));
}

#[test]
fn priority_goes_first_among_tenants_and_within_one() {
    let urgent = |n, user| QueuedTask { priority: 5, ..task(n, user, "m") };
    let mut one = fleet(1);
    one.devices[0].max_batch_tasks = 1;
    assert_eq!(numbers(&decide(&queue([task(1, "a", "m"), urgent(2, "a")]), &one).dispatches[0]), [2]);
    assert_eq!(numbers(&decide(&queue([task(1, "a", "m"), urgent(2, "b")]), &one).dispatches[0]), [2]);
    let mut raised = queue([task(1, "a", "m"), task(2, "b", "m")]);
    raised.set_priority("job_00000000000000000000000000000002".parse().unwrap(), 5);
    assert_eq!(numbers(&decide(&raised, &one).dispatches[0]), [2]);
    assert_eq!(raised.depths(), [(0, 1, UnixMs(0)), (5, 1, UnixMs(0))]);
}

#[test]
fn a_pause_is_kept_unless_a_clock_jumped() {
    for (run_after, starts) in [(1_000, true), (1_001, false), (1_000 + 600_000, false), (1_000 + 600_001, true)] {
        let queue = queue([QueuedTask { run_after: Some(UnixMs(run_after)), ..task(1, "a", "m") }]);
        assert_eq!(decide(&queue, &fleet(1)).dispatches.len(), usize::from(starts), "{run_after}");
        assert_eq!(queue.next_due(UnixMs(1_000)), (!starts).then_some(UnixMs(run_after)));
    }
}

#[test]
fn draining_devices_and_full_fleets_get_nothing() {
    let queue = queue([task(1, "a", "m")]);
    let mut closed = fleet(1);
    closed.devices[0].accepts = false;
    assert_eq!(decide(&queue, &closed), Plan::default());
    assert_eq!(decide(&queue, &Fleet { max_concurrent: 0, ..fleet(1) }), Plan::default());
    assert_eq!(decide(&queue, &Fleet::default()), Plan::default());
}

#[test]
fn shares_follow_weights_of_projects_and_then_of_users() {
    let shares = World {
        user_weights: HashMap::from([("b".to_owned(), 3.0)]),
        project_weights: HashMap::from([("p".to_owned(), 2.0)]),
        ..World::default()
    };
    let mut queue = QueueView::new(Arc::new(shares.clone()));
    for n in 0..4_000 {
        let (user, project) = [("a", Some("p")), ("b", Some("p")), ("c", None), ("d", None)][n as usize % 4];
        queue.insert(QueuedTask { project: project.map(|project| project.parse().unwrap()), ..task(n, user, "m") });
    }
    let mut served: HashMap<String, u32> = HashMap::new();
    let mut one = fleet(1);
    one.devices[0].max_batch_tasks = 1;
    for _ in 0..1_200 {
        let plan = plan(&queue, &one, &shares, &shares, UnixMs(10_000));
        for task in carry_out(&plan, &mut queue, &mut one) {
            *served.entry(task.user.to_string()).or_default() += 1;
        }
        one.devices[0].running.clear();
    }
    // p has 2/3: a a quarter of it, b three; the rest is halved. Nobody is more than two tasks off.
    for (user, expected) in [("a", 200), ("b", 600), ("c", 200), ("d", 200)] {
        assert!(served[user].abs_diff(expected) <= 2, "{served:?}");
    }
}

#[test]
fn idling_earns_nothing_and_leaving_evades_nothing() {
    let mut queue = queue((0..100).map(|n| task(n, "a", "m")));
    for n in 0..50 {
        queue.take(task(n, "a", "m").task, 10.0);
    }
    // b comes late, and shares from now on; it leaves and comes back with what it owes.
    queue.insert(task(200, "b", "m"));
    queue.take(task(200, "b", "m").task, 1_000.0);
    queue.insert(task(201, "b", "m"));
    let mut one = fleet(1);
    one.devices[0].max_batch_tasks = 1;
    for expected in 50..80 {
        let plan = decide(&queue, &one);
        assert_eq!(numbers(&plan.dispatches[0]), [expected]);
        carry_out(&plan, &mut queue, &mut one);
        one.devices[0].running.clear();
    }
}

#[test]
fn forecasts_count_what_starts_before() {
    let queue = queue((0..20).map(|n| task(n, if n % 2 == 0 { "a" } else { "b" }, "m")));
    let one = fleet(1);
    let job = |n: u32| -> JobId { format!("job_{n:032x}").parse().unwrap() };
    let world = World::default();
    let outlook = super::super::forecast::Outlook::new(&queue, &one, &world, UnixMs(0));
    let forecast = |n| outlook.of_waiting(job(n)).unwrap();
    let positions: Vec<usize> = (0..20).map(|n| forecast(n).position).collect();
    for (n, position) in positions.iter().enumerate() {
        assert!(position.abs_diff(n + 1) <= 2, "{positions:?}");
    }
    assert!((forecast(18).seconds.unwrap() - forecast(0).seconds.unwrap() - 180.0).abs() <= 20.0);
    let new = outlook.of_new(&[(task(0, "c", "m").batch, 10.0)], 1.0);
    assert!(new.position <= 3, "{new:?}");
    assert_eq!(outlook.of_waiting(job(99)), None);
}

#[derive(Clone, Debug)]
enum Step {
    Submit { user: u8, project: u8, model: u8, width: u32, rows: u32, priority: i32, alone: bool },
    Cancel(usize),
    End(usize),
    Drain(usize, bool),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..4_u8, 0..3_u8, 0..4_u8, 1..4_u32, 1..4_u32, -3..3_i32, prop::bool::weighted(0.1))
            .prop_map(|(user, project, model, width, rows, priority, alone)| Step::Submit { user, project, model, width, rows, priority, alone }),
        1 => any::<usize>().prop_map(Step::Cancel),
        3 => any::<usize>().prop_map(Step::End),
        1 => (any::<usize>(), any::<bool>()).prop_map(|(device, accepts)| Step::Drain(device, accepts)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn devices_are_never_over_their_memory_caps_hold_and_no_device_idles(
        steps in prop::collection::vec(step(), 1..80),
        user_cap in prop::option::of(1..5_u32),
        project_cap in prop::option::of(1..5_u32),
        max_concurrent in 1..12_usize,
    ) {
        let world = World { load_seconds: 5.0, user_cap, project_cap, ..World::default() };
        let (mut queue, mut fleet) = (QueueView::new(Arc::new(world.clone())), Fleet { max_concurrent, ..fleet(3) });
        let mut waiting: Vec<QueuedTask> = Vec::new();
        for (n, step) in steps.into_iter().enumerate() {
            match step {
                Step::Submit { user, project, model, width, rows, priority, alone } => {
                    let task = QueuedTask {
                        project: (project > 0).then(|| format!("p{project}").parse().unwrap()),
                        position: 0,
                        lane: crate::domain::plan::Lane::Device,
                        batch: BatchKey { model: format!("m{model}").parse().unwrap(), width, height: 1 },
                        rows, priority, alone,
                        ..task(n as u32, &format!("u{user}"), "m")
                    };
                    waiting.push(task.clone());
                    prop_assert!(queue.insert(task.clone()));
                    prop_assert!(!queue.insert(task));
                }
                Step::Cancel(at) if !waiting.is_empty() => {
                    let task = waiting.remove(at % waiting.len());
                    prop_assert_eq!(queue.remove(task.task), Some(task));
                }
                Step::End(at) => {
                    let device = &mut fleet.devices[at % 3];
                    if !device.running.is_empty() {
                        device.running.remove(at % device.running.len());
                    }
                }
                Step::Drain(at, accepts) => fleet.devices[at % 3].accepts = accepts,
                Step::Cancel(_) => {}
            }
            let now = UnixMs(n as i64 * 1_000);
            let decision = plan(&queue, &fleet, &world, &world, now);
            prop_assert_eq!(&decision, &plan(&queue, &fleet, &world, &world, now));
            for dispatch in &decision.dispatches {
                prop_assert!(fleet.devices[dispatch.device].accepts);
                let running = &fleet.devices[dispatch.device].running;
                prop_assert!(running.iter().all(|task| !dispatch.unload.contains(&task.batch.model)));
            }
            for task in carry_out(&decision, &mut queue, &mut fleet) {
                let at = waiting.iter().position(|other| *other == task);
                prop_assert!(at.is_some());
                waiting.remove(at.unwrap());
            }
            prop_assert_eq!(queue.len(), waiting.len());
            let (mut by_user, mut by_project, mut running) = (HashMap::new(), HashMap::new(), 0);
            for device in &fleet.devices {
                let rows: u32 = device.running.iter().map(|task| task.rows).sum();
                let work = device.running.first().map_or(0, |task| u64::from(task.batch.width) * u64::from(rows));
                prop_assert!(device.resident.len() as u64 * 10 + work <= 30, "over its memory");
                prop_assert!(device.running.len() <= 4);
                prop_assert!(device.running.windows(2).all(|pair| pair[0].batch == pair[1].batch));
                prop_assert!(device.running.len() == 1 || device.running.iter().all(|task| !task.alone));
                for task in &device.running {
                    *by_user.entry(&task.user).or_insert(0) += 1;
                    if let Some(project) = &task.project {
                        *by_project.entry(project).or_insert(0) += 1;
                    }
                    running += 1;
                }
            }
            prop_assert!(running <= max_concurrent);
            prop_assert!(by_user.values().all(|count| user_cap.is_none_or(|cap| *count <= cap)));
            prop_assert!(by_project.values().all(|count| project_cap.is_none_or(|cap| *count <= cap)));
            // Work conserving: where a device idles, nobody waits who may run. Every task here fits on an empty device.
            if running < max_concurrent && fleet.devices.iter().any(|device| device.accepts && device.running.is_empty()) {
                for task in &waiting {
                    let user_free = user_cap.is_none_or(|cap| by_user.get(&task.user).copied().unwrap_or(0) < cap);
                    let project_free = task.project.as_ref().is_none_or(|project| {
                        project_cap.is_none_or(|cap| by_project.get(project).copied().unwrap_or(0) < cap)
                    });
                    prop_assert!(!user_free || !project_free, "a device idles while {task:?} waits");
                }
            }
        }
    }

    /// However much others submit, with whatever priority, a task starts before 200 tasks have gone before it.
    #[test]
    fn nobody_starves(rival_priority in 0..100_i32, own_priority in -100..0_i32, rivals in 1..4_u32, load_seconds in 0.0..5.0_f64) {
        let world = World { load_seconds, ..World::default() };
        let (mut queue, mut one) = (QueueView::new(Arc::new(world.clone())), fleet(1));
        one.devices[0].max_batch_tasks = 1;
        one.devices[0].memory_bytes = Some(15);
        let mut next = 0;
        queue.insert(QueuedTask { priority: own_priority, ..task(1_000_000, "own", "rare") });
        let bound = starvation_bound(rivals, load_seconds);
        let mut started = false;
        for _ in 0..bound {
            while queue.len() < 20 {
                next += 1;
                queue.insert(QueuedTask { priority: rival_priority, ..task(next, &format!("r{}", next % rivals), "m") });
            }
            let plan = plan(&queue, &one, &world, &world, UnixMs(0));
            started |= carry_out(&plan, &mut queue, &mut one).iter().any(|task| task.user.as_str() == "own");
            one.devices[0].running.clear();
            if started {
                break;
            }
        }
        prop_assert!(started, "not within {bound} tasks");
    }
}

/// Tasks of ten seconds that may go before one of a tenant among `rivals` others: the most that priorities move turns apart, the turn of a
/// lane, and a task of each.
fn starvation_bound(rivals: u32, load_seconds: f64) -> u32 {
    use crate::scheduler::fair_share::{LEVEL_SECONDS, MOST_SHARE_LEVELS};
    let apart = 2.0 * f64::from(MOST_SHARE_LEVELS) * LEVEL_SECONDS * f64::from(rivals + 1);
    let turn = affinity::turn_seconds(1, 2, 1, load_seconds);
    ((apart + turn) / 10.0) as u32 + rivals + 1
}
