//! What users and projects may do, as the configuration says it.

use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::{Limits, Quotas, TenantPolicy};

/// Quotas and limits; null means without limit.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct PolicyDocument {
    quotas: QuotasDocument,
    limits: LimitsDocument,
}

/// How much may be used in a window.
#[derive(Debug, Serialize, ToSchema)]
struct QuotasDocument {
    images_per_day: Option<u64>,
    videos_per_day: Option<u64>,
    video_seconds_per_day: Option<u64>,
    gpu_seconds_per_day: Option<u64>,
    /// Millionths of the currency.
    cost_micros_per_month: Option<u64>,
    storage_bytes: Option<u64>,
    /// Long side × short side, pixels.
    #[schema(example = "1920x1080")]
    max_resolution: Option<String>,
}

/// What one request may ask, and how many may run.
#[derive(Debug, Serialize, ToSchema)]
struct LimitsDocument {
    /// Seconds.
    max_duration: Option<f64>,
    max_frames: Option<u64>,
    max_concurrent_jobs: Option<u32>,
    requests_per_minute: Option<u32>,
    /// Added to the priority of every task.
    priority: i32,
    /// Share among those who wait; null means 1.
    weight: Option<f64>,
    models: Option<Vec<String>>,
    providers: Option<Vec<String>>,
}

impl From<&TenantPolicy> for PolicyDocument {
    fn from(policy: &TenantPolicy) -> Self {
        Self { quotas: (&policy.quotas).into(), limits: (&policy.limits).into() }
    }
}

impl From<&Quotas> for QuotasDocument {
    fn from(quotas: &Quotas) -> Self {
        Self {
            images_per_day: quotas.images_per_day,
            videos_per_day: quotas.videos_per_day,
            video_seconds_per_day: quotas.video_seconds_per_day,
            gpu_seconds_per_day: quotas.gpu_seconds_per_day,
            cost_micros_per_month: quotas.cost_micros_per_month,
            storage_bytes: quotas.storage_bytes,
            max_resolution: quotas.max_resolution.map(|(long, short)| format!("{long}x{short}")),
        }
    }
}

impl From<&Limits> for LimitsDocument {
    fn from(limits: &Limits) -> Self {
        Self {
            max_duration: limits.max_duration_seconds,
            max_frames: limits.max_frames,
            max_concurrent_jobs: limits.max_concurrent_jobs,
            requests_per_minute: limits.requests_per_minute,
            priority: limits.priority,
            weight: limits.weight,
            models: limits.models.as_ref().map(|models| models.iter().map(ToString::to_string).collect()),
            providers: limits.providers.as_ref().map(|providers| providers.iter().cloned().collect()),
        }
    }
}
