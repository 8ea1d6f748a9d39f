//! What is counted, for whom, and in which window. Plain data: `quota` decides, the job store adds and subtracts.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::clock::UnixMs;
use super::ids::{ProjectId, UserId};

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Meter {
    /// Pictures, by day.
    Images,
    /// Videos, by day.
    Videos,
    /// Milliseconds of finished video, by day.
    VideoMs,
    /// Milliseconds of device time, by day.
    GpuMs,
    /// Millionths of the currency that providers bill in, by month.
    CostMicros,
    /// Bytes kept in the storage, now.
    StorageBytes,
}

impl Meter {
    /// Every meter.
    pub const ALL: [Self; 6] = [Self::Images, Self::Videos, Self::VideoMs, Self::GpuMs, Self::CostMicros, Self::StorageBytes];

    /// The word that the APIs and the database use.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Images => "images",
            Self::Videos => "videos",
            Self::VideoMs => "video_ms",
            Self::GpuMs => "gpu_ms",
            Self::CostMicros => "cost_micros",
            Self::StorageBytes => "storage_bytes",
        }
    }
}

/// Whose counter it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Holder {
    /// A user.
    User(UserId),
    /// A project.
    Project(ProjectId),
}

impl fmt::Display for Holder {
    /// `user:anna`, `project:film`: the form in the database.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(user) => write!(f, "user:{user}"),
            Self::Project(project) => write!(f, "project:{project}"),
        }
    }
}

/// A counter. Counters are touched in their order, so that two transactions never wait for each other in a circle.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CounterKey {
    /// Whose.
    pub holder: Holder,
    /// Of what.
    pub meter: Meter,
    /// When its window began; 0 for a counter without a window.
    pub window_start: UnixMs,
}

/// What accepting a job takes from a counter. Kept with the job until it ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reservation {
    /// The counter.
    pub key: CounterKey,
    /// How much is taken; 0 where the amount is known only afterwards.
    pub amount: i64,
    /// What the counter may hold with `amount`; with an amount of 0, what it must stay below. Absent: it only counts.
    pub limit: Option<i64>,
    /// When the window ends.
    pub resets: Option<UnixMs>,
}

/// A reservation that did not go through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuotaRefusal {
    /// What was asked.
    pub reservation: Reservation,
    /// What the counter held.
    pub used: i64,
}

/// What a job took in fact.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spent {
    /// Pictures delivered.
    pub images: i64,
    /// Films delivered.
    #[serde(default)]
    pub videos: i64,
    /// Milliseconds of films delivered.
    #[serde(default)]
    pub video_ms: i64,
    /// Milliseconds of device time.
    pub gpu_ms: i64,
    /// Millionths of the currency that providers bill in.
    #[serde(default)]
    pub cost_micros: i64,
    /// Bytes of its artifacts.
    pub storage_bytes: i64,
}

impl Spent {
    /// What both took.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self {
            images: self.images.saturating_add(other.images),
            videos: self.videos.saturating_add(other.videos),
            video_ms: self.video_ms.saturating_add(other.video_ms),
            gpu_ms: self.gpu_ms.saturating_add(other.gpu_ms),
            cost_micros: self.cost_micros.saturating_add(other.cost_micros),
            storage_bytes: self.storage_bytes.saturating_add(other.storage_bytes),
        }
    }
}

/// A change of a counter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Adjustment {
    /// The counter.
    pub key: CounterKey,
    /// What is added.
    pub delta: i64,
}
