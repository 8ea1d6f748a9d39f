//! What calls cost together.

use std::collections::BTreeMap;

use crate::domain::{ProjectId, ProviderId, UserId};

/// What the calls of a user, in a project, to a model of a provider cost together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CostSum {
    /// Whose.
    pub user: UserId,
    /// Of which project.
    pub project: Option<ProjectId>,
    /// To which provider.
    pub provider: ProviderId,
    /// To which model.
    pub model: String,
    /// How many.
    pub calls: i64,
    /// How many of them gave no results, and do not run.
    pub failed: i64,
    /// Millionths of the currency: what was settled, and what is estimated of those that are open.
    pub micros: i64,
}

/// What sums are told apart by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SumBy {
    /// Users.
    User,
    /// Projects; what belongs to none has an empty name.
    Project,
    /// Providers.
    Provider,
    /// Models.
    Model,
}

/// The sums by one thing: its names, in order, with calls, failed ones and millionths.
pub fn grouped(sums: &[CostSum], by: SumBy) -> BTreeMap<String, (i64, i64, i64)> {
    let mut grouped: BTreeMap<String, (i64, i64, i64)> = BTreeMap::new();
    for sum in sums {
        let name = match by {
            SumBy::User => sum.user.to_string(),
            SumBy::Project => sum.project.as_ref().map(ToString::to_string).unwrap_or_default(),
            SumBy::Provider => sum.provider.to_string(),
            SumBy::Model => sum.model.clone(),
        };
        let (calls, failed, micros) = grouped.entry(name).or_default();
        *calls = calls.saturating_add(sum.calls);
        *failed = failed.saturating_add(sum.failed);
        *micros = micros.saturating_add(sum.micros);
    }
    grouped
}
