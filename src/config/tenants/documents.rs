//! The files as people write them, and the policies that they mean.

use std::collections::BTreeSet;
use std::path::{Component, Path};

use serde::Deserialize;

use crate::config::number::{Amount, Positive, Signed, Whole};
use crate::domain::{Limits, ModelId, ProjectPolicy, Quotas, TenantPolicy};

/// A number of things in a window; far more than anybody makes, and a thousand times as many still fit into a counter.
type Count = Whole<0, 1_000_000_000_000>;

/// `users/{user_id}.yaml`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct UserDocument {
    quotas: QuotasSection,
    limits: LimitsSection,
}

impl UserDocument {
    pub(super) fn into_policy(self) -> TenantPolicy {
        TenantPolicy { quotas: self.quotas.into(), limits: self.limits.into() }
    }
}

/// `projects/{project_id}.yaml`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ProjectDocument {
    character_profiles: Option<ProfilesFile>,
    scene_profiles: Option<ProfilesFile>,
    style: Option<Name>,
    default_engine: Option<Name>,
    quotas: QuotasSection,
    limits: LimitsSection,
}

impl ProjectDocument {
    pub(super) fn into_policy(self) -> ProjectPolicy {
        ProjectPolicy {
            policy: TenantPolicy { quotas: self.quotas.into(), limits: self.limits.into() },
            style: self.style.map(|name| name.0),
            default_engine: self.default_engine.map(|name| name.0),
            character_profiles: self.character_profiles.map(|file| file.0),
            scene_profiles: self.scene_profiles.map(|file| file.0),
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct QuotasSection {
    images_per_day: Option<Count>,
    videos_per_day: Option<Count>,
    max_resolution: Option<Resolution>,
    gpu_seconds_per_day: Option<Count>,
    video_seconds_per_day: Option<Count>,
    cost_per_month: Option<Amount>,
    storage_gb: Option<Amount>,
}

impl From<QuotasSection> for Quotas {
    fn from(section: QuotasSection) -> Self {
        let count = |count: Option<Count>| count.map(|count| count.0);
        Self {
            images_per_day: count(section.images_per_day),
            videos_per_day: count(section.videos_per_day),
            video_seconds_per_day: count(section.video_seconds_per_day),
            gpu_seconds_per_day: count(section.gpu_seconds_per_day),
            cost_micros_per_month: section.cost_per_month.map(Amount::millionths),
            storage_bytes: section.storage_gb.map(Amount::gigabytes_in_bytes),
            max_resolution: section.max_resolution.map(|resolution| (resolution.long, resolution.short)),
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct LimitsSection {
    max_duration: Option<Positive>,
    max_frames: Option<Whole<1, 1_000_000_000>>,
    max_concurrent_jobs: Option<Whole<1, 1_000_000>>,
    requests_per_minute: Option<Whole<1, 1_000_000>>,
    priority: Option<Signed<100>>,
    weight: Option<Weight>,
    models: Option<BTreeSet<ModelId>>,
    providers: Option<BTreeSet<Name>>,
}

impl From<LimitsSection> for Limits {
    fn from(section: LimitsSection) -> Self {
        Self {
            max_duration_seconds: section.max_duration.map(|seconds| seconds.0.get()),
            max_frames: section.max_frames.map(|frames| frames.0),
            max_concurrent_jobs: section.max_concurrent_jobs.map(|jobs| jobs.0 as u32),
            requests_per_minute: section.requests_per_minute.map(|requests| requests.0 as u32),
            priority: section.priority.map_or(0, |priority| priority.0),
            weight: section.weight.map(|weight| weight.0),
            models: section.models,
            providers: section.providers.map(|names| names.into_iter().map(|name| name.0).collect()),
        }
    }
}

/// `"1920x1080"`, in either order.
#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
struct Resolution {
    long: u32,
    short: u32,
}

impl TryFrom<String> for Resolution {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let side = |digits: &str| {
            let plain = digits.len() <= 5 && digits.bytes().all(|byte| byte.is_ascii_digit());
            digits.parse::<u32>().ok().filter(|pixels| plain && *pixels > 0)
        };
        text.split_once('x')
            .and_then(|(width, height)| Some((side(width)?, side(height)?)))
            .map(|(width, height)| Self { long: width.max(height), short: width.min(height) })
            .ok_or_else(|| "must be written as \"1920x1080\": pixels of one side, x, pixels of the other".to_owned())
    }
}

/// A share in relation to others'. Bounded, so that the smallest is never starved by rounding.
#[derive(Debug, Deserialize)]
#[serde(try_from = "f64")]
struct Weight(f64);

impl TryFrom<f64> for Weight {
    type Error = &'static str;
    fn try_from(value: f64) -> Result<Self, Self::Error> {
        if (0.01..=100.0).contains(&value) { Ok(Self(value)) } else { Err("must be a number of 0.01 to 100") }
    }
}

/// The name of a style, an engine, a provider.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
struct Name(String);

impl TryFrom<String> for Name {
    type Error = &'static str;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        let plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'));
        let first = text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
        if plain && first && text.len() <= 128 {
            Ok(Self(text))
        } else {
            Err("must be a name of 1 to 128 letters, digits, '.', '_' or '-', beginning with a letter or digit")
        }
    }
}

/// A file of profiles, below the directory that the project's file lies in.
#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
struct ProfilesFile(String);

impl TryFrom<String> for ProfilesFile {
    type Error = &'static str;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        let path = Path::new(&text);
        let below = path.components().all(|component| matches!(component, Component::Normal(_)));
        if below
            && path.extension().is_some_and(|extension| extension == "yaml")
            && text.len() <= 256
            && !text.contains(['\0', '\\'])
        {
            Ok(Self(text))
        } else {
            Err("must be a .yaml file beside or below the project's file, such as character_profiles.yaml")
        }
    }
}
