//! `/sdapi/v1/samplers` and `/sdapi/v1/schedulers`.

use axum::Json;
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::media::a1111::{SAMPLERS, SCHEDULES, Sampler, Schedule};

/// A sampler.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct SamplerItem {
    /// What `sampler_name` takes.
    #[schema(value_type = String, example = "DPM++ 2M")]
    name: &'static str,
    /// Other names that it takes.
    #[schema(value_type = Vec<String>)]
    aliases: &'static [&'static str],
    /// What the web UI says of it: `scheduler`, the one that "Automatic" means, and `second_order`.
    #[schema(value_type = Object)]
    options: Map<String, Value>,
}

/// A schedule.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct SchedulerItem {
    /// What `scheduler` takes.
    #[schema(value_type = String, example = "karras")]
    name: &'static str,
    /// It takes this as well.
    #[schema(value_type = String, example = "Karras")]
    label: &'static str,
    /// Always null.
    #[schema(value_type = Option<Vec<String>>)]
    aliases: Option<[&'static str; 0]>,
    /// Its ρ; −1 where it has none.
    default_rho: f64,
    /// Whether it asks the model for its noise levels.
    need_inner_model: bool,
}

impl From<&Sampler> for SamplerItem {
    fn from(sampler: &Sampler) -> Self {
        let mut options = Map::new();
        if !sampler.automatic.needs_model {
            options.insert("scheduler".to_owned(), Value::from(sampler.automatic.name));
        }
        if sampler.second_order {
            options.insert("second_order".to_owned(), Value::from(true));
        }
        Self { name: sampler.name, aliases: sampler.aliases, options }
    }
}

impl From<&Schedule> for SchedulerItem {
    fn from(schedule: &Schedule) -> Self {
        Self {
            name: schedule.name,
            label: schedule.label,
            aliases: None,
            default_rho: schedule.default_rho,
            need_inner_model: schedule.needs_model,
        }
    }
}

/// List the samplers
#[utoipa::path(get, path = "/sdapi/v1/samplers", tag = "a1111", responses((status = 200, description = "Every sampler", body = Vec<SamplerItem>)))]
pub(in crate::api) async fn list_samplers() -> Json<Vec<SamplerItem>> {
    Json(SAMPLERS.iter().map(SamplerItem::from).collect())
}

/// List the schedules
#[utoipa::path(get, path = "/sdapi/v1/schedulers", tag = "a1111", responses((status = 200, description = "Every schedule", body = Vec<SchedulerItem>)))]
pub(in crate::api) async fn list_schedulers() -> Json<Vec<SchedulerItem>> {
    Json(SCHEDULES.iter().map(SchedulerItem::from).collect())
}
