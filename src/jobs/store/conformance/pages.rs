//! Lists that are read by places.

use rstest::rstest;

use super::*;

/// The first `limit` of a list of everything, newest first.
fn window(limit: u32) -> JobWindow {
    JobWindow { order: JobOrder::NewestFirst, look_through: 1_000, skip: 0, limit }
}

/// Stores a job and gives its identifier.
async fn stored(store: &dyn JobStore, user: &str, model: &str) -> JobId {
    let mut record = record(user);
    let JobRequest::Image(request) = &mut record.job.request else { unreachable!() };
    request.model = model.parse().unwrap();
    store.insert(&record, LIMIT).await.unwrap();
    record.job.id
}

/// A part's identifiers, and the list's length.
async fn page(store: &dyn JobStore, filter: &JobFilter, window: &JobWindow) -> (Vec<JobId>, u64) {
    let JobPage { jobs, total } = store.page(filter, window).await.unwrap();
    (jobs.iter().map(|job| job.id).collect(), total)
}

#[rstest]
#[tokio::test]
async fn parts_of_a_list_are_read_by_their_places(#[values(Adapter::Sqlite, Adapter::Postgres)] adapter: Adapter) {
    let Some((store, _test)) = empty(adapter).await else { return };
    assert_eq!(store.page(&JobFilter::default(), &window(9)).await.unwrap(), JobPage::default());
    let mut ids = Vec::new();
    for (user, model) in [("ann", "m"), ("bob", "m"), ("ann", "n"), ("ann", "m"), ("bob", "n")] {
        ids.push(stored(&*store, user, model).await);
    }
    store.request_cancel(ids[0], NOW).await.unwrap();
    let all = JobFilter::default();
    let ann = JobFilter { user: Some("ann".parse().unwrap()), ..all.clone() };
    assert_eq!(page(&*store, &all, &window(2)).await, (vec![ids[4], ids[3]], 5));
    assert_eq!(page(&*store, &all, &JobWindow { skip: 2, ..window(2) }).await, (vec![ids[2], ids[1]], 5));
    assert_eq!(page(&*store, &ann, &JobWindow { skip: 2, ..window(2) }).await, (vec![ids[0]], 3));
    assert_eq!(page(&*store, &ann, &JobWindow { skip: 3, ..window(2) }).await, (vec![], 3), "behind the end");
    let oldest_first = JobWindow { order: JobOrder::OldestFirst, ..window(2) };
    assert_eq!(page(&*store, &ann, &oldest_first).await, (vec![ids[0], ids[2]], 3));
    let of_models = |models: &[&str]| models.iter().map(|model| model.parse().unwrap()).collect();
    let of_m = JobFilter { models: of_models(&["m"]), ..all.clone() };
    assert_eq!(page(&*store, &of_m, &window(9)).await, (vec![ids[3], ids[1], ids[0]], 3));
    let of_both = JobFilter { models: of_models(&["m", "n"]), ..ann.clone() };
    assert_eq!(page(&*store, &of_both, &window(1)).await, (vec![ids[3]], 3));
    let waiting_of_m = JobFilter { states: vec![JobState::Queued], ..of_m };
    assert_eq!(page(&*store, &waiting_of_m, &window(9)).await, (vec![ids[3], ids[1]], 2));
    assert_eq!(store.jobs(&waiting_of_m, None, 9).await.unwrap().len(), 2, "a list by identifiers has the same filter");
    let of_no_project = JobFilter { project: Some("film".parse().unwrap()), ..all };
    assert_eq!(page(&*store, &of_no_project, &window(9)).await, (vec![], 0));
}

#[rstest]
#[tokio::test]
async fn a_list_goes_through_no_more_jobs_than_it_may(#[values(Adapter::Sqlite, Adapter::Postgres)] adapter: Adapter) {
    let Some((store, _test)) = empty(adapter).await else { return };
    let mut ids = Vec::new();
    for user in ["ann", "ann", "bob", "bob", "bob"] {
        ids.push(stored(&*store, user, "m").await);
    }
    let (all, few) = (JobFilter::default(), JobWindow { look_through: 4, ..window(9) });
    assert_eq!(page(&*store, &all, &few).await, (vec![ids[4], ids[3], ids[2], ids[1]], 4));
    let oldest_first = JobWindow { order: JobOrder::OldestFirst, ..few };
    assert_eq!(page(&*store, &all, &oldest_first).await, (ids[..4].to_vec(), 4));
    // A user's own are not hidden by those of others, but everything else that is asked for is looked for among these few.
    let ann = JobFilter { user: Some("ann".parse().unwrap()), ..all.clone() };
    assert_eq!(page(&*store, &ann, &JobWindow { look_through: 1, ..few }).await, (vec![ids[1]], 1));
    store.request_cancel(ids[0], NOW).await.unwrap();
    let cancelled = JobFilter { states: vec![JobState::Cancelled], ..all };
    assert_eq!(page(&*store, &cancelled, &few).await, (vec![], 0));
    assert_eq!(page(&*store, &cancelled, &oldest_first).await, (vec![ids[0]], 1));
}

#[rstest]
#[tokio::test]
async fn a_projects_jobs_are_not_hidden_by_others(#[values(Adapter::Sqlite, Adapter::Postgres)] adapter: Adapter) {
    let Some((store, _test)) = empty(adapter).await else { return };
    let stored_in = async |user: &str, project: Option<&str>| {
        let mut record = record(user);
        record.job.project = project.map(|name| name.parse().unwrap());
        store.insert(&record, LIMIT).await.unwrap();
        record.job.id
    };
    let anns = [stored_in("ann", Some("film")).await, stored_in("ann", Some("film")).await];
    let bobs = stored_in("bob", Some("film")).await;
    for project in [None, Some("other"), None, Some("other")] {
        stored_in("ann", project).await;
    }
    let film = JobFilter { project: Some("film".parse().unwrap()), ..JobFilter::default() };
    let of = |user: &str| JobFilter { user: Some(user.parse().unwrap()), ..film.clone() };
    let two = JobWindow { look_through: 2, ..window(9) };
    assert_eq!(page(&*store, &film, &two).await, (vec![bobs, anns[1]], 2));
    assert_eq!(page(&*store, &of("ann"), &two).await, (vec![anns[1], anns[0]], 2));
    assert_eq!(page(&*store, &of("bob"), &two).await, (vec![bobs], 1));
    let listed = store.jobs(&of("ann"), None, 9).await.unwrap();
    assert_eq!(
        listed.iter().map(|job| job.id).collect::<Vec<_>>(),
        [anns[1], anns[0]],
        "a list by identifiers has the same filter"
    );
    store.request_cancel(anns[0], NOW).await.unwrap();
    let cancelled = JobFilter { states: vec![JobState::Cancelled], ..of("ann") };
    assert_eq!(page(&*store, &cancelled, &two).await, (vec![anns[0]], 1));
    assert_eq!(
        page(&*store, &cancelled, &JobWindow { look_through: 1, ..two }).await,
        (vec![], 0),
        "chosen from the newest alone"
    );
}

#[rstest]
#[tokio::test]
async fn jobs_that_wait_to_be_tried_again_are_told_from_new_ones(#[values(Adapter::Sqlite, Adapter::Postgres)] adapter: Adapter) {
    let Some((store, _test)) = empty(adapter).await else { return };
    let (tried, _new, running) = (inserted(&*store).await, inserted(&*store).await, inserted(&*store).await);
    let fence = claim(&*store, &tried).await.fence;
    store.release(&fence, &Release { charged: true, ..Release::default() }, NOW).await.unwrap();
    claim(&*store, &running).await;
    let again = JobFilter { is_waiting_again: true, ..JobFilter::default() };
    assert_eq!(page(&*store, &again, &window(9)).await, (vec![tried.job.id], 1));
    claim(&*store, &tried).await;
    assert_eq!(page(&*store, &again, &window(9)).await, (vec![], 0), "it runs");
}

#[rstest]
#[tokio::test]
async fn an_unreadable_job_keeps_its_place(#[values(Adapter::Sqlite, Adapter::Postgres)] adapter: Adapter) {
    let Some((store, test)) = empty(adapter).await else { return };
    let (first, second) = (stored(&*store, "ann", "m").await, stored(&*store, "ann", "m").await);
    stored(&*store, "bad", "m").await;
    test.execute("UPDATE jobs SET request = '{}' WHERE user_id = 'bad'").await.unwrap();
    assert_eq!(page(&*store, &JobFilter::default(), &window(2)).await, (vec![second], 3));
    assert_eq!(page(&*store, &JobFilter::default(), &JobWindow { skip: 2, ..window(2) }).await, (vec![first], 3));
}

/// What a page of a long list costs. Run by hand: `cargo test -p framewright --lib pages_of_a_long_list -- --ignored --nocapture`.
#[rstest]
#[tokio::test]
#[ignore = "a measurement"]
async fn pages_of_a_long_list(#[values(Adapter::Sqlite, Adapter::Postgres)] adapter: Adapter) {
    const JOBS: u32 = 400_000;
    let Some((store, test)) = empty(adapter).await else { return };
    let pattern = inserted(&*store).await.job.id;
    let numbers = match adapter {
        Adapter::Sqlite => {
            format!(
                "(WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {JOBS}) SELECT i FROM n) AS numbers"
            )
        }
        Adapter::Postgres => format!("generate_series(1, {JOBS}) AS numbers(i)"),
    };
    let id = match adapter {
        Adapter::Sqlite => "'job_' || printf('%032x', i)",
        Adapter::Postgres => "'job_' || lpad(to_hex(i), 32, '0')",
    };
    // Ended jobs have a request and a manifest of some kilobytes; every thousandth has failed. The older half is a project's.
    let fill = format!(
        "INSERT INTO jobs (id, user_id, project_id, kind, model_id, state, request, priority, result, reservations, request_sha256, created_ms, updated_ms)
         SELECT {id}, 'ann', CASE WHEN i <= {JOBS} / 2 THEN 'film' END, kind, 'm', CASE i % 1000 WHEN 0 THEN 'failed' ELSE 'completed' END, request, 0,
             '{{\"artifacts\":[],\"manifest\":\"{}\"}}', '[]', request_sha256, 1, 1
         FROM jobs, {numbers} WHERE jobs.id = '{pattern}'",
        "x".repeat(3_000)
    );
    test.execute(fill.leak()).await.unwrap();
    // What a database does by itself, some time after it was filled.
    let upkeep = match adapter {
        Adapter::Sqlite => "PRAGMA optimize",
        Adapter::Postgres => "VACUUM ANALYZE jobs",
    };
    test.execute(upkeep).await.unwrap();
    let everybody = JobFilter::default();
    let ann = JobFilter { user: Some("ann".parse().unwrap()), ..everybody.clone() };
    let film = JobFilter { project: Some("film".parse().unwrap()), ..ann.clone() };
    let failed_of = |filter: &JobFilter| JobFilter { states: vec![JobState::Failed], ..filter.clone() };
    let (near, deep) =
        (JobWindow { look_through: 100_000, ..window(10) }, JobWindow { look_through: 100_000, skip: 99_000, ..window(10) });
    let (near_of_all, again) = (
        JobWindow { look_through: 10_000, ..near },
        JobFilter { is_waiting_again: true, states: vec![JobState::Queued], ..ann.clone() },
    );
    for (what, filter, window) in [
        ("a user's first page", ann.clone(), near),
        ("a user's page 9,901", ann.clone(), deep),
        ("a user's failed ones", failed_of(&ann), near),
        ("a user's that wait to be tried again", again, near),
        ("a project's first page", film.clone(), near),
        ("a project's failed ones", failed_of(&film), near),
        ("everybody's first page", everybody.clone(), near_of_all),
        ("everybody's failed ones", failed_of(&everybody), near_of_all),
    ] {
        let began = std::time::Instant::now();
        let total = store.page(&filter, &window).await.unwrap().total;
        println!("{adapter:?}, {what} of {total}: {:.1} ms", began.elapsed().as_secs_f64() * 1_000.0);
    }
}
