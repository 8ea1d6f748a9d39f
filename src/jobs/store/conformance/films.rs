//! Jobs of several tasks: each exists once, when its turn comes, and goes with its job.

use std::collections::BTreeSet;

use rstest::rstest;

use super::*;
use crate::domain::film::tests::film;

pub(super) fn film_of(frames: &[u32]) -> NewRecord {
    with_request("ann", film(frames).into())
}

pub(super) async fn inserted_film(store: &dyn JobStore, frames: &[u32]) -> NewRecord {
    let record = film_of(frames);
    assert_eq!(store.insert(&record, LIMIT).await.unwrap(), Inserted::New);
    record
}

/// What the task at a position leaves: a file of 10 bytes.
pub(super) fn left(position: u32) -> JobResult {
    let Outcome::Completed(mut result) = completed() else { unreachable!() };
    result.artifacts[0].key = format!("parts/{position}.png");
    result
}

pub(super) fn done(claim: &Claim) -> Ending {
    ending(&claim.fence, Outcome::Completed(left(claim.position)))
}

pub(super) async fn claim_all(store: &dyn JobStore, owner: &str) -> Vec<Claim> {
    let mut claims = store.claim(&waiting(store).await, owner, NOW, LEASE_END).await.unwrap();
    claims.sort_by_key(|claim| claim.position);
    claims
}

pub(super) async fn states(store: &dyn JobStore, record: &NewRecord) -> Vec<(u32, JobState)> {
    store.tasks_of(record.job.id).await.unwrap().into_iter().map(|task| (task.position, task.state)).collect()
}

fn positions(tasks: &[QueuedTask]) -> Vec<u32> {
    tasks.iter().map(|task| task.position).collect()
}

#[rstest]
#[tokio::test]
async fn a_film_is_made_task_by_task(#[values(Adapter::Sqlite, Adapter::Postgres)] adapter: Adapter) {
    let Some((store, test)) = empty(adapter).await else { return };
    // Two scenes alike: their tasks have the same keys, and are two all the same.
    let record = inserted_film(&*store, &[24, 24]).await;
    let plan = plan(&record.job.request);
    assert_eq!((plan.len(), plan[1].key), (7, plan[4].key));
    assert_eq!(store.job(record.job.id).await.unwrap(), record.job);
    let first = store.queued(START, 9).await.unwrap();
    assert_eq!(
        first.iter().map(|task| (task.position, task.lane, task.alone)).collect::<Vec<_>>(),
        [(0, Lane::Device, false), (3, Lane::Device, false)]
    );

    let keyframes = claim_all(&*store, "owner").await;
    assert!(keyframes.iter().all(|claim| claim.finished.is_empty() && claim.job.started == Some(NOW)));
    let ended = store.finish(&done(&keyframes[0]), UnixMs(3_000)).await.unwrap();
    assert_eq!((ended.job.state, ended.job.result, ended.job.updated), (JobState::Running, None, UnixMs(3_000)));
    assert_eq!(
        ended.arrived,
        [QueuedTask {
            task: ended.arrived[0].task,
            job: record.job.id,
            user: record.job.user.clone(),
            project: None,
            position: 1,
            lane: Lane::Device,
            batch: BatchKey { model: "svd".parse().unwrap(), width: 128, height: 128 },
            rows: 2,
            work: plan[1].work,
            priority: 0,
            created: UnixMs(1_000),
            queued: UnixMs(3_000),
            run_after: None,
            alone: true,
            has_next_target: false,
            has_open_call: false,
        }]
    );
    assert_eq!(store.queued(START, 9).await.unwrap(), ended.arrived);
    let clip = store.claim(&[ended.arrived[0].task], "owner", UnixMs(3_500), LEASE_END).await.unwrap().pop().unwrap();
    assert_eq!((clip.job.started, clip.alone, clip.position), (Some(NOW), true, 1), "the job has begun long ago");
    assert_eq!(clip.finished, BTreeMap::from([(0, left(0))]));
    assert_eq!(store.queued(START, 9).await.unwrap(), []);
    let ended = store.finish(&done(&clip), UnixMs(4_000)).await.unwrap();
    let scene = &ended.arrived[0];
    assert_eq!((scene.position, scene.lane, scene.rows, scene.alone), (2, Lane::Host, 1, false));
    assert_eq!(scene.batch, BatchKey { model: "svd".parse().unwrap(), width: 0, height: 0 });
    assert_eq!(store.queued(START, 9).await.unwrap(), ended.arrived);

    // The rest, whatever waits.
    store.finish(&done(&keyframes[1]), UnixMs(4_500)).await.unwrap();
    let mut order = Vec::new();
    let last = loop {
        let claim = claim_all(&*store, "owner").await.remove(0);
        order.push(claim.position);
        let fence = claim.fence.clone();
        assert!(plan[claim.position as usize].after.iter().all(|needed| claim.finished.get(needed) == Some(&left(*needed))));
        let ended = store.finish(&done(&claim), UnixMs(5_000)).await.unwrap();
        if ended.job.state.is_terminal() {
            assert_eq!(ended.arrived, []);
            break (fence, ended.job);
        }
        // Those that were claimed with it go back, so that they are claimed again.
        store.give_back_expired("", true, UnixMs(5_000)).await.unwrap();
    };
    assert_eq!((order.len(), order.last()), (4, Some(&6)));
    assert_eq!((last.1.state, &last.1.result, last.1.finished), (JobState::Completed, &Some(left(6)), Some(UnixMs(5_000))));
    assert_eq!(store.job(record.job.id).await.unwrap(), last.1);
    let tasks = store.tasks_of(record.job.id).await.unwrap();
    assert_eq!(tasks.iter().map(|task| task.position).collect::<Vec<_>>(), [0, 1, 2, 3, 4, 5, 6]);
    assert!(tasks.iter().all(|task| task.state == JobState::Completed && task.result == Some(left(task.position))));
    assert_eq!((store.counts().await.unwrap(), test.jobs("completed").await), (Vec::new(), 1));
    let again = store.finish(&ending(&last.0, Outcome::Completed(left(6))), UnixMs(6_000)).await.unwrap();
    assert_eq!(again, Ended { job: last.1, arrived: Vec::new() });
}

#[rstest]
#[tokio::test]
async fn an_ending_that_is_told_twice_is_written_once(#[values(Adapter::Sqlite, Adapter::Postgres)] adapter: Adapter) {
    let Some((store, _test)) = empty(adapter).await else { return };
    let record = inserted_film(&*store, &[24]).await;
    let keyframe = claim_all(&*store, "owner").await.remove(0);
    let once = store.finish(&done(&keyframe), UnixMs(3_000)).await.unwrap();
    assert_eq!(store.finish(&done(&keyframe), UnixMs(4_000)).await.unwrap(), once, "what follows is told again");
    assert_eq!(states(&*store, &record).await, [(0, JobState::Completed), (1, JobState::Queued)]);
    for other in [completed(), failed(), Outcome::Cancelled] {
        let late = store.finish(&ending(&keyframe.fence, other), UnixMs(4_000)).await;
        assert!(matches!(late, Err(StoreError::LeaseLost)), "{late:?}");
    }
    assert_eq!(store.job(record.job.id).await.unwrap(), once.job);
}

#[rstest]
#[tokio::test]
async fn one_failure_ends_the_film_and_all_learn_of_it(#[values(Adapter::Sqlite, Adapter::Postgres)] adapter: Adapter) {
    let Some((store, _test)) = empty(adapter).await else { return };
    let record = inserted_film(&*store, &[24, 24, 24]).await;
    let [first, second] = [0, 1].map(|index| record.tasks[index].id);
    let claims = store.claim(&[first], "a", NOW, LEASE_END).await.unwrap();
    let lost = store.claim(&[second], "b", NOW, LEASE_END).await.unwrap().remove(0);
    let end = ending(&claims[0].fence, failed());
    let ended = store.finish(&end, UnixMs(3_000)).await.unwrap();
    assert_eq!((ended.job.state, ended.job.error.is_some(), ended.arrived.len()), (JobState::Failed, true, 0));
    assert_eq!(states(&*store, &record).await, [(0, JobState::Failed), (3, JobState::Cancelled), (6, JobState::Cancelled)]);
    assert_eq!(store.finish(&end, UnixMs(3_500)).await.unwrap(), ended);
    let renewal = Renewal { fence: lost.fence.clone(), progress: Progress::default() };
    assert_eq!(store.renew(&[renewal], UnixMs(3_500), LEASE_END).await.unwrap(), [Renewed::Lost]);
    for outcome in [completed(), failed(), Outcome::Cancelled] {
        assert!(matches!(store.finish(&ending(&lost.fence, outcome), UnixMs(3_500)).await, Err(StoreError::LeaseLost)));
    }
    assert!(matches!(store.release(&lost.fence, &Release::default(), UnixMs(3_500)).await, Err(StoreError::LeaseLost)));
    assert!(store.give_back_expired("", true, UnixMs(99_000)).await.unwrap().is_empty());
    assert!(waiting(&*store).await.is_empty());
    assert_eq!(store.insert(&super::record("bob"), 1).await.unwrap(), Inserted::New, "nothing of it waits any more");
}

#[rstest]
#[tokio::test]
async fn cancel_ends_what_waits_and_tells_what_runs(
    #[values(Adapter::Sqlite, Adapter::Postgres)] adapter: Adapter,
    #[values(0, 1, 2)] way: usize,
) {
    let Some((store, _test)) = empty(adapter).await else { return };
    let record = inserted_film(&*store, &[24, 24, 24]).await;
    let claims = store.claim(&[record.tasks[0].id, record.tasks[1].id], "owner", NOW, LEASE_END).await.unwrap();
    let (before, job) = store.request_cancel(record.job.id, UnixMs(3_000)).await.unwrap();
    assert_eq!((before, job.state), (JobState::Running, JobState::Running));
    assert_eq!(store.job(record.job.id).await.unwrap(), job);
    assert_eq!(states(&*store, &record).await, [(0, JobState::Running), (3, JobState::Running), (6, JobState::Cancelled)]);
    assert!(waiting(&*store).await.is_empty());
    let renewals = [0, 1].map(|index: usize| Renewal { fence: claims[index].fence.clone(), progress: Progress::default() });
    let told = store.renew(&renewals, UnixMs(3_000), LEASE_END).await.unwrap();
    assert_eq!(told, [Renewed::Held { cancel_requested: true }; 2]);
    let ended = match way {
        // Done in the same moment: the file is there, and nothing follows.
        0 => store.finish(&done(&claims[0]), UnixMs(4_000)).await.unwrap().job,
        1 => store.finish(&ending(&claims[0].fence, Outcome::Cancelled), UnixMs(4_000)).await.unwrap().job,
        _ => {
            let released = store.release(&claims[0].fence, &Release::default(), UnixMs(3_500)).await.unwrap();
            assert_eq!(released.state, JobState::Running, "another of its tasks still runs");
            assert!(waiting(&*store).await.is_empty());
            store.release(&claims[1].fence, &Release::default(), UnixMs(4_000)).await.unwrap()
        }
    };
    assert_eq!((ended.state, ended.finished), (JobState::Cancelled, Some(UnixMs(4_000))));
    assert_eq!(store.job(record.job.id).await.unwrap(), ended);
    let late = store.finish(&ending(&claims[1].fence, Outcome::Cancelled), UnixMs(4_000)).await;
    assert!(matches!(late, Err(StoreError::LeaseLost)), "{late:?}");
    assert!(store.tasks_of(record.job.id).await.unwrap().iter().all(|task| task.state.is_terminal()));
}

#[rstest]
#[tokio::test]
async fn a_film_that_waits_between_its_tasks_is_cancelled_at_once(
    #[values(Adapter::Sqlite, Adapter::Postgres)] adapter: Adapter,
) {
    let Some((store, _test)) = empty(adapter).await else { return };
    let record = inserted_film(&*store, &[24]).await;
    let keyframe = claim_all(&*store, "owner").await.remove(0);
    store.finish(&done(&keyframe), UnixMs(3_000)).await.unwrap();
    let (before, job) = store.request_cancel(record.job.id, UnixMs(4_000)).await.unwrap();
    assert_eq!((before, job.state, job.finished), (JobState::Running, JobState::Cancelled, Some(UnixMs(4_000))));
    assert_eq!(states(&*store, &record).await, [(0, JobState::Completed), (1, JobState::Cancelled)]);
    assert_eq!(store.insert(&super::record("bob"), 1).await.unwrap(), Inserted::New);
}

#[rstest]
#[tokio::test]
async fn a_film_runs_while_any_of_its_tasks_runs(#[values(Adapter::Sqlite, Adapter::Postgres)] adapter: Adapter) {
    let Some((store, _test)) = empty(adapter).await else { return };
    let record = inserted_film(&*store, &[24, 24]).await;
    let claim_both = async || {
        let first = store.claim(&[record.tasks[0].id], "dead", NOW, LEASE_END).await.unwrap().remove(0);
        let second = store.claim(&[record.tasks[1].id], "me", NOW, LEASE_END).await.unwrap().remove(0);
        (first, second)
    };
    let (first, second) = claim_both().await;
    let progress = Progress { step: 5, steps: 40 };
    let renewals = [
        Renewal { fence: first.fence.clone(), progress: Progress { step: 3, steps: 40 } },
        Renewal { fence: second.fence, progress },
    ];
    store.renew(&renewals, NOW, LEASE_END).await.unwrap();
    let back = store.give_back_expired("me", false, UnixMs(9_001)).await.unwrap();
    assert_eq!(back.len(), 1);
    assert_eq!((&back[0].fence, back[0].job.state, back[0].position), (&first.fence, JobState::Running, 0));
    assert_eq!(waiting(&*store).await, [record.tasks[0].id]);
    let job = store.job(record.job.id).await.unwrap();
    assert_eq!((job.state, job.started, job.progress), (JobState::Running, Some(NOW), progress), "what is done stays done");
    let again = store.claim(&[record.tasks[0].id], "dead", NOW, LEASE_END).await.unwrap().remove(0);
    assert_eq!((again.fence.attempt, again.job.started), (2, Some(NOW)));
    // Both at once.
    let back = store.give_back_expired("", true, UnixMs(9_001)).await.unwrap();
    assert_eq!(back.iter().map(|claim| (claim.job.state, claim.job.started)).collect::<Vec<_>>(), [(JobState::Queued, None); 2]);
    assert_eq!(waiting(&*store).await.len(), 2);
    // One by one.
    let (first, second) = claim_both().await;
    assert_eq!(store.release(&first.fence, &Release::default(), UnixMs(9_500)).await.unwrap().state, JobState::Running);
    let job = store.release(&second.fence, &Release::default(), UnixMs(9_500)).await.unwrap();
    assert_eq!((job.state, job.progress), (JobState::Queued, progress));
}

#[rstest]
#[tokio::test]
async fn a_clip_stays_alone_when_it_goes_back(#[values(Adapter::Sqlite, Adapter::Postgres)] adapter: Adapter) {
    let Some((store, _test)) = empty(adapter).await else { return };
    inserted_film(&*store, &[24]).await;
    let keyframe = claim_all(&*store, "owner").await.remove(0);
    store.finish(&done(&keyframe), UnixMs(3_000)).await.unwrap();
    let clip = claim_all(&*store, "owner").await.remove(0);
    let release = Release { charged: true, ..Release::default() };
    store.release(&clip.fence, &release, UnixMs(3_500)).await.unwrap();
    let clip = claim_all(&*store, "owner").await.remove(0);
    assert_eq!((clip.alone, clip.failures, clip.finished), (true, 1, BTreeMap::from([(0, left(0))])));
}

#[rstest]
#[tokio::test]
async fn what_was_taken_over_is_not_made_again(#[values(Adapter::Sqlite, Adapter::Postgres)] adapter: Adapter) {
    let Some((store, _test)) = empty(adapter).await else { return };
    let mut record = film_of(&[24, 24]);
    let plan = plan(&record.job.request);
    let task = |position: u32, result: Option<JobResult>| NewTask {
        id: TaskId::generate(),
        position,
        planned: plan[position as usize].clone(),
        result,
    };
    record.tasks = vec![task(0, Some(left(0))), task(1, Some(left(1))), task(2, Some(left(2))), task(3, None)];
    let bytes = quotas::reservation(Meter::StorageBytes, 0, 0, None);
    record.reservations = vec![bytes.clone()];
    record.job.progress = Progress { step: 21, steps: 44 };
    store.insert(&record, LIMIT).await.unwrap();
    assert_eq!(store.job(record.job.id).await.unwrap().progress, record.job.progress, "what was taken over counts");
    assert_eq!(positions(&store.queued(START, 9).await.unwrap()), [3]);
    let taken = store.tasks_of(record.job.id).await.unwrap();
    let expected: Vec<_> = (0..3).map(|position| (0, Some(left(position)))).chain([(0, None)]).collect();
    assert_eq!(taken.into_iter().map(|task| (task.attempt, task.result)).collect::<Vec<_>>(), expected);
    let mut made = BTreeSet::new();
    loop {
        let claim = claim_all(&*store, "owner").await.remove(0);
        assert!((0..3).all(|position| claim.finished.contains_key(&position)));
        made.insert(claim.position);
        let spent = Spent { storage_bytes: 10, ..Spent::default() };
        let ended = store.finish(&Ending { spent, ..done(&claim) }, UnixMs(3_000)).await.unwrap();
        if ended.job.state == JobState::Completed {
            break;
        }
        assert_eq!(positions(&ended.arrived), [claim.position + 1]);
    }
    assert_eq!(made, BTreeSet::from([3, 4, 5, 6]));
    assert_eq!(quotas::used(&*store, &bytes.key).await, Some(70), "the copies are kept too");
}

#[rstest]
#[tokio::test]
async fn films_count_in_the_queue_and_move_in_it(#[values(Adapter::Sqlite, Adapter::Postgres)] adapter: Adapter) {
    let Some((store, _test)) = empty(adapter).await else { return };
    let film = film_of(&[24, 24]);
    assert_eq!(store.insert(&film, 1).await.unwrap(), Inserted::New, "there was room for one more");
    let full = async |limit| matches!(store.insert(&record("bob"), limit).await, Err(StoreError::QueueFull(_)));
    assert!(full(2).await);
    let keyframe = store.claim(&[film.tasks[0].id], "owner", NOW, LEASE_END).await.unwrap().remove(0);
    assert!(full(1).await);
    let ended = store.finish(&done(&keyframe), UnixMs(3_000)).await.unwrap();
    assert!(full(2).await, "what follows counts, and is never refused");
    // The clip and the other keyframe move, and what follows comes with the new priority.
    let moved = store.set_priority(film.job.id, 9, UnixMs(4_000)).await.unwrap();
    assert_eq!((moved.priority, moved.state), (9, JobState::Running));
    let waits = store.queued(START, 9).await.unwrap();
    assert!(waits.iter().all(|task| (task.priority, task.queued) == (9, UnixMs(4_000))) && waits.len() == 2);
    let clip = store.claim(&[ended.arrived[0].task], "owner", NOW, LEASE_END).await.unwrap().remove(0);
    let ended = store.finish(&done(&clip), UnixMs(5_000)).await.unwrap();
    assert_eq!((ended.arrived[0].priority, ended.arrived[0].position), (9, 2));
    // One that was asked to stop does not move any more.
    store.claim(&[ended.arrived[0].task], "owner", NOW, LEASE_END).await.unwrap();
    let (_, stopping) = store.request_cancel(film.job.id, UnixMs(6_000)).await.unwrap();
    assert_eq!(store.set_priority(film.job.id, 3, UnixMs(7_000)).await.unwrap(), stopping);
}

#[rstest]
#[tokio::test]
async fn an_unreadable_film_fails_with_all_its_tasks(#[values(Adapter::Sqlite, Adapter::Postgres)] adapter: Adapter) {
    let Some((store, test)) = empty(adapter).await else { return };
    let record = inserted_film(&*store, &[24, 24, 24]).await;
    let keyframe = store.claim(&[record.tasks[0].id], "owner", NOW, LEASE_END).await.unwrap().remove(0);
    store.finish(&done(&keyframe), UnixMs(3_000)).await.unwrap();
    test.execute("UPDATE tasks SET result = '?' WHERE state = 'completed'").await.unwrap();
    assert!(store.claim(&[record.tasks[1].id], "owner", NOW, LEASE_END).await.unwrap().is_empty());
    assert_eq!(test.jobs("failed").await, 1);
    assert!(waiting(&*store).await.is_empty());
    assert_eq!(store.insert(&super::record("bob"), 1).await.unwrap(), Inserted::New, "none of them waits any more");
}
