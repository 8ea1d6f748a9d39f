//! Live events of jobs.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use parking_lot::Mutex;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};

use crate::domain::{EventId, JobEvent, JobEventKind, JobId, JobState, PreviewDemand, PreviewWish, Progress, UnixMs};

/// Events that a slow watcher may fall behind before it misses some (its receiver then says `Lagged`).
const BUFFERED_EVENTS: usize = 64;

/// Channels kept for jobs that nobody watches and that do not run, before they are swept.
const SWEEP_ABOVE: usize = 1024;

/// Broadcasts events to watchers: one channel per job that runs or is watched, closed when the job has ended.
///
/// Events are live only; what must survive is in the store before its event is published.
#[derive(Debug)]
pub struct EventHub {
    epoch: i64,
    live: Mutex<Live>,
}

#[derive(Debug, Default)]
struct Live {
    published: u64,
    channels: HashMap<JobId, Channel>,
}

#[derive(Debug, Default)]
struct Channel {
    /// Made for the first watcher: most jobs run unwatched.
    sender: Option<broadcast::Sender<JobEvent>>,
    /// While the job runs here.
    progress: Option<Progress>,
    /// The state that the watchers know.
    state: Option<JobState>,
    previews: PreviewDemand,
}

/// Whether a watcher wants previews. One that does not may still be told of those that another asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Previews {
    /// They are made for this watcher.
    Wanted,
    /// None are made for its sake.
    Unwanted,
}

/// A job's events from some moment on.
#[derive(Debug)]
pub struct JobEvents {
    receiver: broadcast::Receiver<JobEvent>,
    _wish: Option<PreviewWish>,
}

impl JobEvents {
    /// The next event. `Lagged` when this watcher was too slow and missed some, `Closed` after the last one.
    pub async fn recv(&mut self) -> Result<JobEvent, RecvError> {
        self.receiver.recv().await
    }

    /// The next event if there is one already.
    pub fn try_recv(&mut self) -> Result<JobEvent, TryRecvError> {
        self.receiver.try_recv()
    }
}

impl Channel {
    fn is_watched(&self) -> bool {
        self.sender.as_ref().is_some_and(|sender| sender.receiver_count() > 0)
    }

    fn is_idle(&self) -> bool {
        !self.is_watched() && self.progress.is_none()
    }
}

impl EventHub {
    /// A hub whose event ids carry the time of this start.
    pub fn new(started: UnixMs) -> Self {
        Self { epoch: started.0, live: Mutex::default() }
    }

    /// Every event of the job from now on. While the watcher lives and wants previews, the job's runner makes them.
    pub fn subscribe(&self, job: JobId, previews: Previews) -> JobEvents {
        let mut live = self.live.lock();
        if live.channels.len() > SWEEP_ABOVE {
            live.channels.retain(|_, channel| !channel.is_idle());
        }
        let channel = live.channels.entry(job).or_default();
        let wish = (previews == Previews::Wanted).then(|| channel.previews.wish());
        let sender = channel.sender.get_or_insert_with(|| broadcast::Sender::new(BUFFERED_EVENTS));
        JobEvents { receiver: sender.subscribe(), _wish: wish }
    }

    /// Tells the watchers of a job. A terminal state is the last event: the channel closes after it.
    pub fn publish(&self, job: JobId, kind: JobEventKind) {
        let mut live = self.live.lock();
        live.published += 1;
        let id = EventId { epoch: self.epoch, number: live.published };
        let ends = matches!(kind, JobEventKind::State { state, .. } if state.is_terminal());
        let Some(channel) = live.channels.get_mut(&job) else { return };
        match &kind {
            // Of a job that runs on another server the store knows better.
            JobEventKind::Progress(progress) => channel.progress = channel.progress.map(|_| *progress),
            JobEventKind::State { state, .. } => {
                channel.state = Some(*state);
                if *state != JobState::Running {
                    channel.progress = None;
                }
            }
            JobEventKind::Preview { .. } | JobEventKind::Task(_) => {}
        }
        if let Some(sender) = &channel.sender {
            // An error means that nobody listens, which is no error here.
            let _ = sender.send(JobEvent { id, job, kind });
        }
        // Of a job that goes back to the queue nobody may ever hear again here.
        if ends || channel.is_idle() {
            live.channels.remove(&job);
        }
    }

    /// Tells the watchers of a job that it runs, unless they know.
    pub fn publish_running(&self, job: JobId) {
        let is_known = self.live.lock().channels.get(&job).is_some_and(|channel| channel.state == Some(JobState::Running));
        if !is_known {
            self.publish(job, JobEventKind::State { state: JobState::Running, error: None });
        }
    }

    /// Opens the job's channel for a runner, who is told whether anybody wants previews. Unless other tasks of the job run here, it is as
    /// far as `progress`.
    pub fn open(&self, job: JobId, progress: Progress) -> PreviewDemand {
        let mut live = self.live.lock();
        let channel = live.channels.entry(job).or_default();
        channel.progress.get_or_insert(progress);
        channel.previews.clone()
    }

    /// Jobs that are watched here and do not run here, with the state that their watchers know: another server may run them.
    pub fn watched_elsewhere(&self) -> Vec<(JobId, Option<JobState>)> {
        let live = self.live.lock();
        let elsewhere = live.channels.iter().filter(|(_, channel)| channel.progress.is_none() && channel.is_watched());
        elsewhere.map(|(job, channel)| (*job, channel.state)).collect()
    }

    /// The job runs here no more, and what became of it is not known yet.
    pub fn leave(&self, job: JobId) {
        if let Entry::Occupied(mut channel) = self.live.lock().channels.entry(job) {
            channel.get_mut().progress = None;
            if channel.get().is_idle() {
                channel.remove();
            }
        }
    }

    /// The newest progress of a job that runs here.
    pub fn progress(&self, job: JobId) -> Option<Progress> {
        self.live.lock().channels.get(&job)?.progress
    }

    /// Ends a subscription to a job that turned out to have ended; gives a receiver that is closed already. Other watchers keep the
    /// channel until the runner has published the last event.
    pub fn unsubscribe(&self, job: JobId, events: JobEvents) -> JobEvents {
        drop(events);
        let mut live = self.live.lock();
        if live.channels.get(&job).is_some_and(Channel::is_idle) {
            live.channels.remove(&job);
        }
        JobEvents { receiver: broadcast::Sender::new(1).subscribe(), _wish: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::JobState;

    fn progress(step: u32) -> JobEventKind {
        JobEventKind::Progress(Progress { step, steps: 4 })
    }

    #[test]
    fn events_are_numbered_and_the_terminal_one_closes_the_channel() {
        let hub = EventHub::new(UnixMs(7));
        let job = JobId::generate();
        let mut receiver = hub.subscribe(job, Previews::Unwanted);
        hub.open(job, Progress::default());
        hub.publish(job, progress(1));
        hub.publish(JobId::generate(), progress(1));
        assert_eq!(hub.progress(job), Some(Progress { step: 1, steps: 4 }));
        hub.publish(job, JobEventKind::State { state: JobState::Completed, error: None });
        let first = receiver.try_recv().unwrap();
        let last = receiver.try_recv().unwrap();
        assert_eq!(first.id.to_string(), "7-1");
        assert!(first.id < last.id && last.job == job);
        assert!(matches!(receiver.try_recv(), Err(TryRecvError::Closed)));
        assert_eq!(hub.progress(job), None);
    }

    #[test]
    fn previews_are_wanted_while_a_watcher_wants_them() {
        let hub = EventHub::new(UnixMs(0));
        let job = JobId::generate();
        let waiting = hub.subscribe(job, Previews::Unwanted);
        let demand = hub.open(job, Progress::default());
        assert!(!demand.exists());
        let watching = hub.subscribe(job, Previews::Wanted);
        assert!(demand.exists());
        drop(watching);
        assert!(!demand.exists());
        drop(waiting);
    }

    #[test]
    fn abandoned_channels_are_swept_and_running_ones_kept() {
        let hub = EventHub::new(UnixMs(0));
        let running = JobId::generate();
        hub.open(running, Progress::default());
        for _ in 0..3 * SWEEP_ABOVE {
            drop(hub.subscribe(JobId::generate(), Previews::Unwanted));
        }
        let channels = hub.live.lock().channels.len();
        assert!(channels <= SWEEP_ABOVE + 1, "{channels}");
        assert_eq!(hub.progress(running), Some(Progress::default()));
    }

    #[test]
    fn what_runs_elsewhere_is_known_by_its_watchers() {
        let hub = EventHub::new(UnixMs(0));
        let (here, elsewhere, unwatched) = (JobId::generate(), JobId::generate(), JobId::generate());
        let _watching = [hub.subscribe(here, Previews::Unwanted), hub.subscribe(elsewhere, Previews::Unwanted)];
        hub.open(here, Progress::default());
        hub.open(unwatched, Progress::default());
        hub.publish(elsewhere, JobEventKind::State { state: JobState::Running, error: None });
        hub.publish(elsewhere, progress(1));
        assert_eq!(hub.watched_elsewhere(), [(elsewhere, Some(JobState::Running))]);
        assert_eq!(hub.progress(elsewhere), None, "the store knows better");
        hub.leave(here);
        assert_eq!(hub.watched_elsewhere().len(), 2);
    }

    #[test]
    fn jobs_that_left_and_that_nobody_watches_leave_no_channel() {
        let hub = EventHub::new(UnixMs(0));
        let (lost, released, watched) = (JobId::generate(), JobId::generate(), JobId::generate());
        let _watching = hub.subscribe(watched, Previews::Unwanted);
        for job in [lost, released, watched] {
            hub.open(job, Progress::default());
        }
        hub.leave(lost);
        for job in [released, watched] {
            hub.publish(job, JobEventKind::State { state: JobState::Queued, error: None });
        }
        assert_eq!(hub.live.lock().channels.keys().collect::<Vec<_>>(), [&watched]);
    }
}
