//! What providers cost.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::parsed;
use crate::api::error::{ApiError, Problem};
use crate::api::extract::QueryParameters;
use crate::api::state::ApiState;
use crate::domain::{Micros, UnixMs};
use crate::ledger::{CallFilter, CostSum, SumBy, grouped};

/// Milliseconds of the spend that is shown where nothing else is asked for: thirty days.
const USUAL_SPAN_MS: i64 = 30 * 24 * 3600 * 1000;

/// Which calls are summed up, and by what.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::api) struct SpendQuery {
    /// A user's.
    user: Option<String>,
    /// A project's.
    project: Option<String>,
    /// A provider's.
    provider: Option<String>,
    /// From when: a day (`2026-01-31`, which begins at midnight UTC), a time (RFC 3339), or Unix seconds; absent: thirty days ago.
    from: Option<String>,
    /// Until when, and not including that; absent: now.
    until: Option<String>,
}

/// A time of a query.
fn time(field: &'static str, text: &str) -> Result<UnixMs, ApiError> {
    // A few digits are a year or a day without its dashes, not the beginning of 1970.
    let is_date = (4..=8).contains(&text.trim().len());
    let of_seconds = |text: &str| Some(UnixMs(text.parse::<i64>().ok().filter(|_| !is_date)?.saturating_mul(1000)));
    let of_time = |text: &str| Some(UnixMs(text.parse::<jiff::Timestamp>().ok()?.as_millisecond()));
    let of_day = |text: &str| {
        // Of a time without its zone nobody knows which it is; a date's parser takes it for the day.
        let day = text.parse::<jiff::civil::Date>().ok().filter(|_| text.len() == "2026-01-31".len())?;
        Some(UnixMs(day.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_millisecond()))
    };
    let text = text.trim();
    of_seconds(text).or_else(|| of_time(text)).or_else(|| of_day(text)).ok_or_else(|| {
        ApiError::invalid(field, "must be a day such as 2026-01-31, a time such as 2026-01-31T12:00:00Z, or Unix seconds")
    })
}

/// What calls cost.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct Spend {
    /// The currency of all amounts.
    currency: String,
    /// All together.
    total: SpendSum,
    /// By user.
    users: BTreeMap<String, SpendSum>,
    /// By project; what belongs to none has an empty name.
    projects: BTreeMap<String, SpendSum>,
    /// By provider.
    providers: BTreeMap<String, SpendSum>,
    /// By model, as the provider calls it.
    models: BTreeMap<String, SpendSum>,
}

/// A sum of calls.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct SpendSum {
    /// How many.
    calls: i64,
    /// How many of them gave no results.
    failed: i64,
    /// What they cost, decimal: `12.345`.
    amount: String,
}

/// See what providers cost
#[utoipa::path(
    get, path = "/api/v1/admin/spend", tag = "administration", params(SpendQuery),
    responses(
        (status = 200, description = "Settled, and as estimated where a call still runs", body = Spend),
        (status = 422, description = "A name or a time cannot be used", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(in crate::api) async fn get_spend(
    State(state): State<ApiState>,
    QueryParameters(query): QueryParameters<SpendQuery>,
) -> Result<Json<Spend>, ApiError> {
    let now = state.clock.now();
    let filter = CallFilter {
        user: parsed("user", query.user)?,
        project: parsed("project", query.project)?,
        provider: parsed("provider", query.provider)?,
        ..CallFilter::default()
    };
    let at = |field, text: Option<String>, absent: i64| text.map_or(Ok(UnixMs(absent)), |text| time(field, &text));
    let from = at("from", query.from, now.0.saturating_sub(USUAL_SPAN_MS))?;
    let until = at("until", query.until, now.0.saturating_add(1))?;
    let sums = state.ledger.sums(&filter, from, until).await.map_err(ApiError::internal)?;
    let by = |by: SumBy| {
        let grouped = grouped(&sums, by).into_iter();
        grouped.map(|(name, (calls, failed, micros))| (name, SpendSum::new(calls, failed, micros))).collect()
    };
    let sum = |of: fn(&CostSum) -> i64| sums.iter().map(of).fold(0, i64::saturating_add);
    Ok(Json(Spend {
        currency: state.remote.currency(),
        total: SpendSum::new(sum(|sum| sum.calls), sum(|sum| sum.failed), sum(|sum| sum.micros)),
        users: by(SumBy::User),
        projects: by(SumBy::Project),
        providers: by(SumBy::Provider),
        models: by(SumBy::Model),
    }))
}

impl SpendSum {
    fn new(calls: i64, failed: i64, micros: i64) -> Self {
        Self { calls, failed, amount: Micros::new(micros).to_string() }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("1767225600", 1_767_225_600_000)]
    #[case(" 0 ", 0)]
    #[case("-1767225600", -1_767_225_600_000)]
    #[case("2026-01-01", 1_767_225_600_000)]
    #[case("2026-01-01T00:00:00.5Z", 1_767_225_600_500)]
    #[case("2026-01-01T02:00:00+02:00", 1_767_225_600_000)]
    fn times_may_be_written_in_three_ways(#[case] text: &str, #[case] expected_ms: i64) {
        assert_eq!(time("from", text).unwrap(), UnixMs(expected_ms));
    }

    #[rstest]
    #[case("")]
    #[case("yesterday")]
    #[case("2026")]
    #[case("20260131")]
    #[case("2026-13-01")]
    #[case("1767225600.5")]
    #[case("2026-01-01T00:00:00")]
    fn other_words_are_refused(#[case] text: &str) {
        assert!(time("from", text).is_err(), "{text}");
    }
}
