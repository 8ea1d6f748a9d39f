//! What the dispatcher and its tasks make of claims, seats and devices that are not as they should be.

use async_trait::async_trait;
use sqlx::Connection;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use tokio::sync::{mpsc, watch};

use super::*;
use crate::domain::BatchKey;
use crate::execution::{
    DeviceMemory, DeviceTask, Executor, ExecutorHealth, ExecutorStatus, ExecutorUnavailable, TaskEvent, TaskFailure,
};
use crate::jobs::store::QueuedTask;
use crate::scheduler::device_pool::DevicePool;

/// The database behind the server's back.
async fn database_of(data: &Path) -> SqliteConnection {
    let file = SqliteConnectOptions::new().filename(data.join("jobs.db")).busy_timeout(Duration::from_secs(10));
    SqliteConnection::connect_with(&file).await.unwrap()
}

#[tokio::test]
async fn a_job_whose_end_cannot_be_written_goes_back_to_the_queue() {
    let data = data();
    let options = SchedulerOptions { lease: Duration::from_millis(300), ..SchedulerOptions::default() };
    let control = FakeControl::new(0);
    control.plan(FakeFailure::Hang { after_steps: 1 });
    let server = server_with(data.path(), &control, Wishes { options, ..Wishes::default() }).await;
    let id = server.submit().await;
    server.wait_for(id, |state| state == JobState::Running).await;
    let mut database = database_of(data.path()).await;
    sqlx::query("UPDATE jobs SET request = 'junk' WHERE id = ?1").bind(id.to_string()).execute(&mut database).await.unwrap();
    // A worker that is lost gives its task back, which cannot be written either.
    server.scheduler.shared.pool.executors()[0].shut_down().await;
    let mut look = tokio::time::interval(Duration::from_millis(20));
    let state = tokio::time::timeout(Duration::from_secs(20), async {
        loop {
            look.tick().await;
            let state: String = sqlx::query_scalar("SELECT state FROM jobs WHERE id = ?1")
                .bind(id.to_string())
                .fetch_one(&mut database)
                .await
                .unwrap();
            if state != "running" {
                return state;
            }
        }
    });
    assert_eq!(state.await.unwrap(), "queued");
    assert_eq!(server.scheduler.shared.pool.running(), 0);
}

#[tokio::test]
async fn a_task_that_must_be_alone_gets_no_mates_though_the_queue_did_not_know() {
    let data = data();
    let server = server_with(data.path(), &FakeControl::new(1), Wishes { max_batch: 8, ..Wishes::default() }).await;
    server.scheduler.drain("fake", true).unwrap();
    let jobs = [server.submit().await, server.submit().await, server.submit().await];
    let mut database = database_of(data.path()).await;
    // As another server's release would, before this one hears of it.
    let alone = sqlx::query("UPDATE tasks SET alone = 1 WHERE job_id = ?1").bind(jobs[1].to_string());
    assert_eq!(alone.execute(&mut database).await.unwrap().rows_affected(), 1);
    server.scheduler.drain("fake", false).unwrap();
    for job in jobs {
        assert_eq!(server.wait_for_end(job).await.state, JobState::Completed);
    }
    assert!(server.ended.batches.lock().iter().all(|tasks| *tasks <= 2), "{:?}", server.ended.batches.lock());
    let attempts = sqlx::query_scalar::<_, i64>("SELECT attempt FROM tasks WHERE job_id = ?1").bind(jobs[1].to_string());
    assert_eq!(attempts.fetch_one(&mut database).await.unwrap(), 2, "given back once, then alone");
}

fn waiting_task(model: &ModelId) -> QueuedTask {
    QueuedTask {
        task: crate::domain::TaskId::generate(),
        job: JobId::generate(),
        user: principal().user,
        project: None,
        position: 0,
        lane: crate::domain::plan::Lane::Device,
        batch: BatchKey { model: model.clone(), width: 64, height: 64 },
        rows: 1,
        work: 1.0,
        priority: 0,
        created: UnixMs(0),
        queued: UnixMs(0),
        run_after: None,
        alone: false,
        has_next_target: false,
        has_open_call: false,
    }
}

#[tokio::test]
async fn a_cleared_device_loses_all_else_before_its_next_task() {
    let data = data();
    let executor_options = ExecutorOptions {
        workers: WorkerKind::Thread,
        fake: FakeControl::new(0),
        run_directory: data.path().join("run"),
        ..ExecutorOptions::default()
    };
    let executors = open_executors(&[DeviceName::Fake], &executor_options).unwrap();
    let pool = Arc::new(DevicePool::new(executors, 4, &SchedulerOptions::default()));
    let models: [ModelId; 2] = ["m".parse().unwrap(), "other".parse().unwrap()];
    for model in &models {
        place_model(data.path(), model.as_str());
        pool.executors()[0].load(model, &data.path().join("models").join(model.as_str()), 0).await.unwrap();
    }
    pool.executors()[0].status().wait_for(|status| status.loaded.len() == 2).await.unwrap();
    let (seat, _) = pool.seat(0, waiting_task(&models[0]), false, UnixMs(1), None);
    seat.clear_device();
    assert!(pool.take_leaving(0, &models[0]).is_empty(), "the task is still there");
    seat.leave();
    assert_eq!(pool.take_leaving(0, &models[0]), models[1..]);
    assert!(pool.take_leaving(0, &models[0]).is_empty(), "once is enough");
    pool.pin(&models[1], true);
    let (seat, _) = pool.seat(0, waiting_task(&models[0]), false, UnixMs(1), None);
    seat.clear_device();
    seat.leave();
    assert!(pool.take_leaving(0, &models[0]).is_empty(), "what is pinned stays");
    pool.executors()[0].shut_down().await;
}

/// A device that does nothing but be as it is.
#[derive(Debug)]
struct Still(watch::Sender<ExecutorStatus>);

#[async_trait]
impl Executor for Still {
    fn name(&self) -> &'static str {
        "still"
    }
    fn status(&self) -> watch::Receiver<ExecutorStatus> {
        self.0.subscribe()
    }
    fn start(&self, _: DeviceTask) -> Result<mpsc::Receiver<TaskEvent>, ExecutorUnavailable> {
        Ok(mpsc::channel(1).1)
    }
    async fn load(&self, _: &ModelId, _: &Path, _: u64) -> Result<(), TaskFailure> {
        Ok(())
    }
    async fn unload(&self, _: &ModelId) -> Result<(), TaskFailure> {
        Ok(())
    }
    async fn shut_down(&self) {}
}

#[test]
fn devices_that_never_came_up_are_not_waited_for() {
    let memory = Some(DeviceMemory { total_bytes: 100, free_bytes: 100 });
    let dying = |deaths| ExecutorHealth::Restarting { reason: "killed".to_owned(), deaths };
    let cases = [
        (ExecutorHealth::Starting, None, 1),
        (ExecutorHealth::Ready, None, 1),
        (dying(1), None, 1),
        (dying(5), memory, 1),
        (dying(5), None, 0),
    ];
    for (health, memory, devices) in cases {
        let status = ExecutorStatus { health: health.clone(), memory, ..ExecutorStatus::starting() };
        let executor: Arc<dyn Executor> = Arc::new(Still(watch::Sender::new(status)));
        let pool = DevicePool::new(vec![executor], 1, &SchedulerOptions::default());
        assert_eq!(pool.fleet().devices.len(), devices, "{health:?} {memory:?}");
    }
}
