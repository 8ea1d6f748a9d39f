//! What a user or a project may do, as the configuration says it.

use std::collections::BTreeSet;

use super::ids::{ModelId, ProjectId, UserId};

/// How much may be used in a window. Absent means without limit.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Quotas {
    /// Pictures a day.
    pub images_per_day: Option<u64>,
    /// Videos a day.
    pub videos_per_day: Option<u64>,
    /// Seconds of finished video a day.
    pub video_seconds_per_day: Option<u64>,
    /// Seconds of device time a day.
    pub gpu_seconds_per_day: Option<u64>,
    /// Millionths of the billing currency a month.
    pub cost_micros_per_month: Option<u64>,
    /// Bytes kept in the storage.
    pub storage_bytes: Option<u64>,
    /// Largest picture: long side, short side, pixels.
    pub max_resolution: Option<(u32, u32)>,
}

/// What one request may ask and how many may run. Absent means without limit.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Limits {
    /// Longest film, seconds.
    pub max_duration_seconds: Option<f64>,
    /// Most frames of a film.
    pub max_frames: Option<u64>,
    /// Jobs that run at once; more wait.
    pub max_concurrent_jobs: Option<u32>,
    /// Requests a minute.
    pub requests_per_minute: Option<u32>,
    /// Added to the priority of every job.
    pub priority: i32,
    /// Share among those who wait, relative to others; 1 unless configured.
    pub weight: Option<f64>,
    /// The only models that may be used.
    pub models: Option<BTreeSet<ModelId>>,
    /// The only providers that may be used (`local` among them).
    pub providers: Option<BTreeSet<String>>,
}

/// Quotas and limits together.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TenantPolicy {
    /// By window.
    pub quotas: Quotas,
    /// By request.
    pub limits: Limits,
}

/// Everything that the files in `users/` and `projects/` say, at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TenantPolicies {
    /// Users with a file.
    pub users: std::collections::BTreeMap<UserId, TenantPolicy>,
    /// `users/default.yaml`: users without a file.
    pub default_user: TenantPolicy,
    /// Projects: only those with a file exist.
    pub projects: std::collections::BTreeMap<ProjectId, ProjectPolicy>,
}

impl TenantPolicies {
    /// A user's policy.
    pub fn user(&self, user: &UserId) -> &TenantPolicy {
        self.users.get(user).unwrap_or(&self.default_user)
    }
}

/// A project.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ProjectPolicy {
    /// Quotas and limits of all its users together.
    pub policy: TenantPolicy,
    /// The preset of `styles.yaml` that its pictures use.
    pub style: Option<String>,
    /// The model, or engine, of requests that name none.
    pub default_engine: Option<String>,
    /// The file of its characters, relative to the project's file.
    pub character_profiles: Option<String>,
    /// The file of its scenes, relative to the project's file.
    pub scene_profiles: Option<String>,
}
