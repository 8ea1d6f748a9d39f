//! Whether what is left is what was accepted.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use framewright::domain::{Clock, Sha256Digest, SystemClock};

use super::Run;
use super::cluster::{PROJECT, USERS};
use super::orders::{Fate, Order};
use crate::support::random::Random;
use crate::support::task::Task;
use crate::support::trial;

/// How long upkeep may take to remove what cut-off attempts have left.
const CLEANING_LIMIT: Duration = Duration::from_secs(30);
/// Longer than anything is kept that nobody knows.
const LONG_AGO: Duration = Duration::from_hours(3);
/// Accepted orders that are made again.
const REPEATED: usize = 20;

/// Panics with what is not as it should be.
pub(super) fn check(run: &Run, random: &mut Random) {
    let tasks = run.history.tasks();
    let book = run.book.lock();
    let filed: Vec<(&Order, &Task)> = book
        .filed
        .iter()
        .filter_map(|(order, task)| Some((order, task.as_ref()?)))
        .map(|(order, task)| (order, tasks.get(task).unwrap_or_else(|| panic!("{task} was accepted, and is not there"))))
        .collect();
    report(&filed, book.filed.len());
    assert_eq!(run.history.violations(), Vec::<String>::new());
    every_job_is_somebodys(&tasks, &filed);
    for (order, task) in &filed {
        its_end_is_its_fate(order, task);
    }
    repeated_orders_are_the_same_jobs(run, &filed, random);
    every_artifact_exists_once(&run.cluster.outputs(), tasks.values());
    the_ledger_equals_the_jobs(run, &tasks);
    // An orderly stop and start, much later, is one more chance to change what has ended.
    run.cluster.stop_all();
    let left = run.cluster.work_left();
    for directory in &left {
        age(directory);
    }
    run.cluster.start_all();
    none_is_left("work directories of ended tasks", || run.cluster.work_left());
    trial::say(&format!("  {} work directories of cut-off attempts were found and removed an hour later", left.len()));
    run.history.look(&run.cluster.administrator);
    assert_eq!(run.history.violations(), Vec::<String>::new());
    assert_eq!(run.history.tasks(), tasks);
}

/// Waits until upkeep has removed everything that should not be there.
fn none_is_left(what: &str, look: impl Fn() -> Vec<PathBuf>) {
    let begun = Instant::now();
    loop {
        let left = look();
        if left.is_empty() {
            return;
        }
        assert!(begun.elapsed() < CLEANING_LIMIT, "{what}, {CLEANING_LIMIT:?} later: {left:#?}");
        thread::sleep(Duration::from_millis(100));
    }
}

/// Makes a directory and its files look as if nobody had touched them for hours: upkeep removes only those.
fn age(directory: &Path) {
    let long_ago = SystemTime::UNIX_EPOCH + Duration::from_millis(SystemClock.now().0.unsigned_abs()) - LONG_AGO;
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    for path in entries.map(|entry| entry.path()).chain([directory.to_owned()]) {
        File::open(path).and_then(|file| file.set_modified(long_ago)).expect("its time can be set");
    }
}

fn report(filed: &[(&Order, &Task)], orders: usize) {
    let mut outcomes = BTreeMap::new();
    for (_, task) in filed {
        let outcome = if task.error_code().is_empty() { task.status.clone() } else { format!("failed ({})", task.error_code()) };
        *outcomes.entry(outcome).or_insert(0) += 1;
    }
    let outcomes: Vec<String> = outcomes.iter().map(|(outcome, number)| format!("{number} {outcome}")).collect();
    trial::say(&format!("  {}; {} orders refused for want of quota", outcomes.join(", "), orders - filed.len()));
}

/// An answer that was lost is no reason for a second job.
fn every_job_is_somebodys(tasks: &BTreeMap<String, Task>, filed: &[(&Order, &Task)]) {
    let accepted: BTreeSet<&str> = filed.iter().map(|(_, task)| task.id.as_str()).collect();
    assert_eq!(accepted.len(), filed.len(), "two orders became one job");
    let unknown: Vec<&String> = tasks.keys().filter(|id| !accepted.contains(id.as_str())).collect();
    assert!(unknown.is_empty(), "nobody was told of {unknown:?}");
}

fn its_end_is_its_fate(order: &Order, task: &Task) {
    let end = (task.status.as_str(), task.error_code());
    let is_expected = match order.fate {
        // A job whose workers were killed under it as often as is allowed fails as a poison task does: nobody can tell them apart.
        Fate::Plain => matches!(end, ("completed", "") | ("failed", "worker_lost")),
        Fate::Poison => matches!(end, ("failed", "worker_lost")),
        Fate::Fails => matches!(end, ("failed", "device_failed" | "worker_lost")),
        Fate::Cancelled(_) => matches!(end, ("completed" | "cancelled", "") | ("failed", "worker_lost")),
    };
    assert!(is_expected, "{order:?} became {task:?}");
    let pictures = if task.is_completed() { order.images as usize } else { 0 };
    assert_eq!(task.outputs.len(), pictures, "{task:?}");
    assert!(task.finished.is_some(), "{task:?}");
}

fn repeated_orders_are_the_same_jobs(run: &Run, filed: &[(&Order, &Task)], random: &mut Random) {
    for _ in 0..REPEATED {
        let (order, task) = random.pick(filed);
        let again = order.repeated().place(&run.cluster);
        assert_eq!(again.as_deref(), Some(task.id.as_str()));
    }
    run.history.look(&run.cluster.administrator);
    assert_eq!(run.history.tasks().len(), filed.len(), "an order that was made again became another job");
}

fn every_artifact_exists_once<'a>(outputs: &Path, tasks: impl Iterator<Item = &'a Task>) {
    let mut wanted = BTreeSet::new();
    for output in tasks.flat_map(|task| &task.outputs) {
        let bytes = fs::read(outputs.join(&output.path)).unwrap_or_else(|error| panic!("{}: {error}", output.path));
        let sha256 = Sha256Digest::of(&bytes).to_string();
        assert_eq!((bytes.len() as u64, &sha256), (output.bytes, &output.sha256), "{}", output.path);
        assert!(wanted.insert(PathBuf::from(&output.path)), "two pictures are {}", output.path);
        let stem = Path::new(&output.path).file_stem().expect("a picture has a name").to_string_lossy().into_owned();
        wanted.insert(PathBuf::from(format!("thumbnails/{stem}.jpg")));
    }
    let missing: Vec<_> = wanted.difference(&files(outputs, Path::new(""))).cloned().collect();
    assert!(missing.is_empty(), "missing: {missing:?}");
    none_is_left("files in the storage that no completed job has", || {
        files(outputs, Path::new("")).difference(&wanted).cloned().collect()
    });
}

fn files(base: &Path, below: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(base.join(below)).into_iter().flatten().flatten() {
        let path = below.join(entry.file_name());
        if entry.path().is_dir() {
            found.extend(files(base, &path));
        } else {
            found.insert(path);
        }
    }
    found
}

/// Pictures by the day they were ordered on, bytes for as long as they are kept.
fn the_ledger_equals_the_jobs(run: &Run, tasks: &BTreeMap<String, Task>) {
    let administrator = &run.cluster.administrator;
    let today = || SystemClock.now().to_string().split('T').next().map(ToOwned::to_owned).unwrap_or_default();
    let check = |holder: &str, is_theirs: &dyn Fn(&Task) -> bool| {
        let (before, usage, day) = (today(), administrator.usage(holder), today());
        let theirs = || tasks.values().filter(|task| is_theirs(task));
        let bytes: u64 = theirs().flat_map(|task| &task.outputs).map(|output| output.bytes).sum();
        let counter = |meter: &str| usage.get(meter).copied().unwrap_or(0);
        assert_eq!(counter("storage_bytes"), bytes.cast_signed(), "storage_bytes of {holder}");
        // At midnight there is nothing to compare.
        if before == day {
            let pictures: usize = theirs().filter(|task| task.created.starts_with(&day)).map(|task| task.outputs.len()).sum();
            assert_eq!(counter("images"), pictures as i64, "images of {holder}");
        }
    };
    for user in USERS {
        check(&format!("user={user}"), &|task| task.user == user);
    }
    check(&format!("project={PROJECT}"), &|task| task.project.as_deref() == Some(PROJECT));
}
