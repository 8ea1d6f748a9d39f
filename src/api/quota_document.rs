//! Quotas as clients see them.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;

use super::error::ApiError;
use super::state::ApiState;
use crate::domain::{CounterKey, Meter, QuotaRefusal, Reservation};
use crate::quota;

/// How many counters one look at the database asks for.
const COUNTERS_AT_A_TIME: usize = 500;

/// A counter of a user or a project, in its window.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct QuotaDocument {
    /// Whose: `user:NAME` or `project:NAME`.
    #[schema(example = "user:anna")]
    holder: String,
    /// What is counted: `images`, `videos`, `video_ms`, `gpu_ms` (milliseconds), `cost_micros` (millionths of the currency) or
    /// `storage_bytes`.
    #[schema(value_type = String, example = "images")]
    meter: &'static str,
    /// The setting that limits it.
    #[schema(value_type = String, example = "images_per_day")]
    setting: &'static str,
    /// What is used, with what accepted tasks have reserved, in the meter's unit.
    used: i64,
    /// What may be used, in the meter's unit; null without a limit.
    limit: Option<i64>,
    /// What is left of it; null without a limit.
    remaining: Option<i64>,
    /// When the window ends, RFC 3339; null where nothing but removal makes room.
    resets_at: Option<String>,
}

/// A counter, and what a request needs of it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(super) struct NeededQuota {
    #[serde(flatten)]
    quota: QuotaDocument,
    /// What the request takes at once, in the meter's unit; 0 where that is known only afterwards.
    needed: i64,
}

/// Reservations, and what their counters hold.
#[derive(Debug)]
pub(super) struct Standing {
    counters: Vec<(Reservation, i64)>,
}

impl Standing {
    /// What the counters of `reservations` hold now.
    pub(super) async fn read(state: &ApiState, reservations: Vec<Reservation>) -> Result<Self, ApiError> {
        let keys: Vec<CounterKey> = reservations.iter().map(|reservation| reservation.key.clone()).collect();
        let mut held = BTreeMap::new();
        for keys in keys.chunks(COUNTERS_AT_A_TIME) {
            held.extend(state.jobs.usage(keys).await?);
        }
        let with_use = |reservation: Reservation| {
            let used = held.get(&reservation.key).copied().unwrap_or(0);
            (reservation, used)
        };
        Ok(Self { counters: reservations.into_iter().map(with_use).collect() })
    }

    /// The counters of several holders, in their order, read together.
    pub(super) async fn read_each(state: &ApiState, reservations: Vec<Vec<Reservation>>) -> Result<Vec<Self>, ApiError> {
        let lengths: Vec<usize> = reservations.iter().map(Vec::len).collect();
        let mut counters = Self::read(state, reservations.into_iter().flatten().collect()).await?.counters.into_iter();
        Ok(lengths.into_iter().map(|length| Self { counters: counters.by_ref().take(length).collect() }).collect())
    }

    /// The first counter that has not enough left.
    pub(super) fn refusal(&self) -> Option<QuotaRefusal> {
        let lacks = |(reservation, used): &&(Reservation, i64)| !has_room(reservation, *used);
        let refused = |(reservation, used): &(Reservation, i64)| QuotaRefusal { reservation: reservation.clone(), used: *used };
        self.counters.iter().find(lacks).map(refused)
    }

    /// Every counter.
    pub(super) fn documents(&self) -> Vec<QuotaDocument> {
        self.counters.iter().map(|(reservation, used)| document(reservation, *used)).collect()
    }

    /// Every counter with what is needed of it.
    pub(super) fn needed(&self) -> Vec<NeededQuota> {
        let needed = |(reservation, used): &(Reservation, i64)| NeededQuota {
            quota: document(reservation, *used),
            needed: reservation.amount,
        };
        self.counters.iter().map(needed).collect()
    }

    /// What the request costs in the currency that providers bill in; the dearest payer's, since all pay the same bill.
    pub(super) fn cost(&self) -> f64 {
        let costs = self.counters.iter().filter(|(reservation, _)| reservation.key.meter == Meter::CostMicros);
        let micros = costs.map(|(reservation, _)| reservation.amount).max().unwrap_or(0);
        quota::in_units(Meter::CostMicros, micros)
    }
}

/// Whether a counter that holds `used` lets a reservation through; the store decides the same when it takes it.
fn has_room(reservation: &Reservation, used: i64) -> bool {
    match reservation.limit {
        None => true,
        Some(limit) if reservation.amount == 0 => used < limit,
        Some(limit) => used.saturating_add(reservation.amount) <= limit,
    }
}

fn document(reservation: &Reservation, used: i64) -> QuotaDocument {
    let Reservation { key, limit, resets, .. } = reservation;
    QuotaDocument {
        holder: key.holder.to_string(),
        meter: key.meter.as_str(),
        setting: quota::setting(key.meter),
        used,
        limit: *limit,
        remaining: limit.map(|limit| limit.saturating_sub(used).max(0)),
        resets_at: resets.map(|at| at.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::domain::{Holder, UnixMs};

    fn reservation(amount: i64, limit: Option<i64>) -> Reservation {
        let holder = Holder::User("anna".parse().unwrap());
        Reservation { key: CounterKey { holder, meter: Meter::Images, window_start: UnixMs(0) }, amount, limit, resets: None }
    }

    #[rstest]
    #[case::without_limit(5, None, i64::MAX, true)]
    #[case::the_last(1, Some(10), 9, true)]
    #[case::one_too_many(1, Some(10), 10, false)]
    #[case::unknown_amount_below(0, Some(10), 9, true)]
    #[case::unknown_amount_at_the_limit(0, Some(10), 10, false)]
    #[case::overflow(i64::MAX, Some(10), i64::MAX, false)]
    fn room(#[case] amount: i64, #[case] limit: Option<i64>, #[case] used: i64, #[case] fits: bool) {
        assert_eq!(has_room(&reservation(amount, limit), used), fits);
    }

    #[test]
    fn nothing_is_left_below_zero() {
        assert_eq!(document(&reservation(0, Some(3)), 5).remaining, Some(0));
    }
}
