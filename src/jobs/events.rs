//! Live events of jobs.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use tokio::sync::broadcast;

use crate::domain::{EventId, JobEvent, JobEventKind, JobId, Progress, UnixMs};

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

#[derive(Debug)]
struct Channel {
    sender: broadcast::Sender<JobEvent>,
    progress: Option<Progress>,
    previews_wanted: Arc<AtomicBool>,
}

impl Channel {
    fn new() -> Self {
        Self { sender: broadcast::Sender::new(BUFFERED_EVENTS), progress: None, previews_wanted: Arc::default() }
    }

    fn is_idle(&self) -> bool {
        self.sender.receiver_count() == 0 && self.progress.is_none()
    }
}

impl EventHub {
    /// A hub whose event ids carry the time of this start.
    pub fn new(started: UnixMs) -> Self {
        Self { epoch: started.0, live: Mutex::default() }
    }

    /// Every event of the job from now on. From now on its runner makes previews.
    pub fn subscribe(&self, job: JobId) -> broadcast::Receiver<JobEvent> {
        let mut live = self.live.lock();
        if live.channels.len() > SWEEP_ABOVE {
            live.channels.retain(|_, channel| !channel.is_idle());
        }
        let channel = live.channels.entry(job).or_insert_with(Channel::new);
        channel.previews_wanted.store(true, Ordering::Relaxed);
        channel.sender.subscribe()
    }

    /// Tells the watchers of a job. A terminal state is the last event: the channel closes after it.
    pub fn publish(&self, job: JobId, kind: JobEventKind) {
        let mut live = self.live.lock();
        live.published += 1;
        let id = EventId { epoch: self.epoch, number: live.published };
        let ends = matches!(kind, JobEventKind::State { state, .. } if state.is_terminal());
        let Some(channel) = live.channels.get_mut(&job) else { return };
        match &kind {
            JobEventKind::Progress(progress) => channel.progress = Some(*progress),
            JobEventKind::State { .. } => channel.progress = None,
            JobEventKind::Preview { .. } => {}
        }
        // An error means that nobody listens, which is no error here.
        let _ = channel.sender.send(JobEvent { id, job, kind });
        channel.previews_wanted.store(channel.sender.receiver_count() > 0, Ordering::Relaxed);
        if ends {
            live.channels.remove(&job);
        }
    }

    /// Opens the job's channel for a runner; the flag says whether anybody wants previews, and follows the watchers.
    pub fn open(&self, job: JobId) -> Arc<AtomicBool> {
        let mut live = self.live.lock();
        let channel = live.channels.entry(job).or_insert_with(Channel::new);
        channel.progress = Some(Progress::default());
        channel.previews_wanted.clone()
    }

    /// The newest progress of a running job.
    pub fn progress(&self, job: JobId) -> Option<Progress> {
        self.live.lock().channels.get(&job)?.progress
    }

    /// Ends a subscription to a job that turned out to have ended; gives a receiver that is closed already. Other watchers keep the
    /// channel until the runner has published the last event.
    pub fn unsubscribe(&self, job: JobId, receiver: broadcast::Receiver<JobEvent>) -> broadcast::Receiver<JobEvent> {
        drop(receiver);
        let mut live = self.live.lock();
        if live.channels.get(&job).is_some_and(Channel::is_idle) {
            live.channels.remove(&job);
        }
        broadcast::Sender::new(1).subscribe()
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
        let mut receiver = hub.subscribe(job);
        hub.open(job);
        hub.publish(job, progress(1));
        hub.publish(JobId::generate(), progress(1));
        assert_eq!(hub.progress(job), Some(Progress { step: 1, steps: 4 }));
        hub.publish(job, JobEventKind::State { state: JobState::Completed, error: None });
        let first = receiver.try_recv().unwrap();
        let last = receiver.try_recv().unwrap();
        assert_eq!(first.id.to_string(), "7-1");
        assert!(first.id < last.id && last.job == job);
        assert!(matches!(receiver.try_recv(), Err(broadcast::error::TryRecvError::Closed)));
        assert_eq!(hub.progress(job), None);
    }

    #[test]
    fn previews_are_wanted_while_somebody_watches() {
        let hub = EventHub::new(UnixMs(0));
        let job = JobId::generate();
        let wanted = hub.open(job);
        assert!(!wanted.load(Ordering::Relaxed));
        let receiver = hub.subscribe(job);
        assert!(wanted.load(Ordering::Relaxed));
        hub.publish(job, progress(1));
        assert!(wanted.load(Ordering::Relaxed));
        drop(receiver);
        hub.publish(job, progress(2));
        assert!(!wanted.load(Ordering::Relaxed));
    }

    #[test]
    fn abandoned_channels_are_swept_and_running_ones_kept() {
        let hub = EventHub::new(UnixMs(0));
        let running = JobId::generate();
        hub.open(running);
        for _ in 0..3 * SWEEP_ABOVE {
            drop(hub.subscribe(JobId::generate()));
        }
        let channels = hub.live.lock().channels.len();
        assert!(channels <= SWEEP_ABOVE + 1, "{channels}");
        assert_eq!(hub.progress(running), Some(Progress::default()));
    }
}
