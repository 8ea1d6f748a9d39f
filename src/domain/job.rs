//! A job's life.

use serde::{Deserialize, Serialize};

use super::clock::UnixMs;
use super::frame_rate::FrameRate;
use super::ids::{JobId, ProjectId, UserId};
use super::job_request::JobRequest;

/// `queued → running → completed | failed | cancelled`; a terminal job stays so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// Accepted, waiting for a device.
    Queued,
    /// On a device.
    Running,
    /// Its artifacts are stored.
    Completed,
    /// It ended with an error.
    Failed,
    /// Somebody stopped it.
    Cancelled,
}

impl JobState {
    /// Every state.
    pub const ALL: [Self; 5] = [Self::Queued, Self::Running, Self::Completed, Self::Failed, Self::Cancelled];

    /// Whether nothing follows.
    pub const fn is_terminal(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled)
    }

    /// Whether a job may go from `self` to `next`. `Running → Queued` is the return of a job whose server died.
    pub const fn may_become(self, next: Self) -> bool {
        matches!(
            (self, next),
            (Self::Queued, Self::Running | Self::Cancelled | Self::Failed)
                | (Self::Running, Self::Queued | Self::Completed | Self::Failed | Self::Cancelled)
        )
    }

    /// The word that the APIs and the database use.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// Why a job failed, in classes that clients can act on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// The model's files are missing or broken.
    ModelUnavailable,
    /// It did not fit into the device's memory.
    OutOfMemory,
    /// The device failed.
    DeviceFailed,
    /// Its device worker died under it as often as is allowed.
    WorkerLost,
    /// It made no progress for too long.
    Stalled,
    /// The request turned out to be impossible for the model.
    InvalidRequest,
    /// The artifact could not be stored.
    StorageFailed,
    /// A quota ran out on the way.
    QuotaExceeded,
    /// The provider does not take the request.
    ProviderRefused,
    /// The provider's moderation refused the prompt, a picture or the result. The request is not carried to another provider.
    ModerationBlocked,
    /// The provider cannot be reached, or takes nothing from this server's accounts at the moment.
    ProviderUnavailable,
    /// The provider did not say whether it took the request: it may run and be billed, so it was not sent again.
    OutcomeUnknown,
    /// The provider took the request and could not fulfil it.
    ProviderFailed,
    /// The provider took longer than its deadline.
    TimedOut,
    /// Anything else; the log has the cause.
    Internal,
}

impl ErrorCode {
    /// Whether it is the target that failed, and not what was asked: another target of a route may do better.
    pub const fn is_of_the_target(self) -> bool {
        match self {
            Self::ModelUnavailable
            | Self::OutOfMemory
            | Self::DeviceFailed
            | Self::WorkerLost
            | Self::Stalled
            | Self::ProviderUnavailable => true,
            // A provider may have begun, and bills it: it is not tried elsewhere at the same user's cost.
            Self::InvalidRequest
            | Self::StorageFailed
            | Self::QuotaExceeded
            | Self::ProviderRefused
            | Self::ModerationBlocked
            | Self::OutcomeUnknown
            | Self::ProviderFailed
            | Self::TimedOut
            | Self::Internal => false,
        }
    }
}

/// A failure as users see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobError {
    /// The class.
    pub code: ErrorCode,
    /// One line.
    pub message: String,
}

/// How far a running job is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Model evaluations done, over all pictures.
    pub step: u32,
    /// Model evaluations in all.
    pub steps: u32,
}

impl Progress {
    /// 0…1.
    pub fn fraction(self) -> f32 {
        if self.steps == 0 { 0.0 } else { self.step as f32 / self.steps as f32 }
    }

    /// 0…100, rounded down.
    pub fn percent(self) -> u32 {
        let percent = u64::from(self.step) * 100 / u64::from(self.steps.max(1));
        percent.min(100) as u32
    }
}

/// A stored file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Artifact {
    /// Storage key, relative to the storage base: `images/…png`.
    pub key: String,
    /// Storage key of the thumbnail.
    pub thumbnail_key: String,
    /// `image/png`.
    pub media_type: String,
    /// Pixels across.
    pub width: u32,
    /// Pixels down.
    pub height: u32,
    /// Length.
    pub bytes: u64,
    /// SHA-256 of the file, hexadecimal.
    pub sha256: String,
    /// Seed of this picture.
    pub seed: u64,
    /// What only moving pictures have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub video: Option<VideoFacts>,
}

/// What a stored file with moving pictures is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VideoFacts {
    /// Its frames, exactly.
    pub frames: u64,
    /// Frames a second.
    pub frame_rate: FrameRate,
    /// Its length, milliseconds.
    pub duration_ms: i64,
    /// How it is encoded: `h264`.
    pub codec: String,
    /// Storage key of a sheet of small pictures of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sprite_sheet_key: Option<String>,
}

/// What a completed job left.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobResult {
    /// The files, in order.
    pub artifacts: Vec<Artifact>,
    /// Where and how it was made: device, precision, sampler, timings; the same document that the files carry.
    pub manifest: serde_json::Value,
}

impl JobResult {
    /// The seed that makes a file of this result again; none where a provider made it and no seed is known.
    pub fn seed_of(&self, artifact: &Artifact) -> Option<u64> {
        let is_known = !self.manifest["provider"].is_string() || self.manifest["seed"].is_u64();
        is_known.then_some(artifact.seed)
    }
}

/// A job.
#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    /// Its identifier.
    pub id: JobId,
    /// Whose it is.
    pub user: UserId,
    /// The project that it belongs to, and whose quotas it uses too.
    pub project: Option<ProjectId>,
    /// The ended job that this one tries again.
    pub retry_of: Option<JobId>,
    /// Where it stands.
    pub state: JobState,
    /// What was asked.
    pub request: JobRequest,
    /// Higher goes first.
    pub priority: i32,
    /// Last known progress.
    pub progress: Progress,
    /// When it was accepted.
    pub created: UnixMs,
    /// When it last began to run.
    pub started: Option<UnixMs>,
    /// When it ended.
    pub finished: Option<UnixMs>,
    /// Last change.
    pub updated: UnixMs,
    /// When completed.
    pub result: Option<JobResult>,
    /// When failed.
    pub error: Option<JobError>,
}
