//! The arithmetic of the quota counters. Pure; the adapters apply it in the transaction of the job's change.

use std::collections::BTreeMap;

use crate::domain::{Adjustment, CounterKey, Meter, QuotaRefusal, Reservation, Spent};
use crate::quota;

/// Whether a counter that holds `used` lets the reservation through.
pub(super) fn lets_through(reservation: &Reservation, used: i64) -> bool {
    match reservation.limit {
        None => true,
        Some(limit) if reservation.amount == 0 => used < limit,
        Some(limit) => used.saturating_add(reservation.amount) <= limit,
    }
}

/// The first of `reservations` that a counter does not let through; `used` has what the counters hold, in the same order.
pub(super) fn refusal<'a>(reservations: impl IntoIterator<Item = (&'a Reservation, i64)>) -> Option<QuotaRefusal> {
    let (reservation, used) = reservations.into_iter().find(|(reservation, used)| !lets_through(reservation, *used))?;
    Some(QuotaRefusal { reservation: reservation.clone(), used })
}

/// Those of a job's reservations that may run out while it runs: nothing was taken for them beforehand, and there is a limit.
pub(super) fn watched(reservations: Vec<Reservation>) -> Vec<Reservation> {
    reservations.into_iter().filter(|reservation| reservation.amount == 0 && reservation.limit.is_some()).collect()
}

/// The first of `watched` of which nothing is left: what its counter holds (`used`, in the same order) is, together with what the job
/// has spent so far, as much as there may be.
pub(super) fn used_up(watched: &[Reservation], used: impl Fn(usize) -> i64, spent: &Spent) -> Option<QuotaRefusal> {
    watched.iter().enumerate().find_map(|(index, reservation)| {
        let used = used(index).saturating_add(quota::spent_on(reservation.key.meter, spent));
        (!lets_through(reservation, used)).then(|| QuotaRefusal { reservation: reservation.clone(), used })
    })
}

/// What the counters of kept bytes give up when the files of a settled job are removed.
pub(super) fn removal<'a>(reservations: &'a [Reservation], spent: &Spent) -> impl Iterator<Item = Adjustment> + 'a {
    let bytes = spent.storage_bytes;
    reservations
        .iter()
        .filter(move |reservation| bytes != 0 && reservation.key.meter == Meter::StorageBytes)
        .map(move |reservation| Adjustment { key: reservation.key.clone(), delta: -bytes })
}

/// What a task or a job cost at providers, corrected by `delta`.
pub(super) fn corrected(spent: Spent, delta: i64) -> Spent {
    Spent { cost_micros: spent.cost_micros.saturating_add(delta), ..spent }
}

/// What the counters of a settled job change by when it turns out to have spent otherwise.
pub(super) fn correction(reservations: &[Reservation], before: &Spent, after: &Spent) -> Vec<Adjustment> {
    let change = |reservation: &Reservation| {
        let meter = reservation.key.meter;
        let delta = quota::spent_on(meter, after).saturating_sub(quota::spent_on(meter, before));
        Adjustment { key: reservation.key.clone(), delta }
    };
    merged(reservations.iter().map(change))
}

/// One adjustment a counter, in the order of the counters.
pub(super) fn merged(adjustments: impl IntoIterator<Item = Adjustment>) -> Vec<Adjustment> {
    let mut by_counter: BTreeMap<CounterKey, i64> = BTreeMap::new();
    for Adjustment { key, delta } in adjustments {
        let sum = by_counter.entry(key).or_default();
        *sum = sum.saturating_add(delta);
    }
    by_counter.into_iter().filter(|(_, delta)| *delta != 0).map(|(key, delta)| Adjustment { key, delta }).collect()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::domain::{Holder, UnixMs};

    fn reservation(meter: Meter, amount: i64, limit: Option<i64>) -> Reservation {
        let key = CounterKey { holder: Holder::User("ann".parse().unwrap()), meter, window_start: UnixMs(0) };
        Reservation { key, amount, limit, resets: None }
    }

    #[rstest]
    #[case::the_last_unit(1, Some(10), 9, true)]
    #[case::one_too_many(2, Some(10), 9, false)]
    #[case::all_at_once(10, Some(10), 0, true)]
    #[case::more_than_there_ever_is(11, Some(10), 0, false)]
    #[case::unknown_amount_below(0, Some(10), 9, true)]
    #[case::unknown_amount_at_the_limit(0, Some(10), 10, false)]
    #[case::nothing_allowed(0, Some(0), 0, false)]
    #[case::only_counted(5, None, i64::MAX, true)]
    #[case::no_overflow(i64::MAX, Some(10), i64::MAX, false)]
    fn what_counters_let_through(#[case] amount: i64, #[case] limit: Option<i64>, #[case] used: i64, #[case] passes: bool) {
        assert_eq!(lets_through(&reservation(Meter::Images, amount, limit), used), passes);
    }

    #[test]
    fn only_kept_bytes_are_given_up_and_sums_are_per_counter() {
        let reservations = [reservation(Meter::Images, 1, None), reservation(Meter::StorageBytes, 0, None)];
        let spent = Spent { images: 1, gpu_ms: 5, storage_bytes: 7, ..Spent::default() };
        let both = removal(&reservations, &spent).chain(removal(&reservations, &spent));
        assert_eq!(merged(both), [Adjustment { key: reservations[1].key.clone(), delta: -14 }]);
        assert_eq!(removal(&reservations, &Spent::default()).count(), 0);
    }

    #[test]
    fn a_correction_changes_what_counts_costs_and_nothing_else() {
        let reservations = [reservation(Meter::CostMicros, 280, None), reservation(Meter::Videos, 1, None)];
        let before = Spent { videos: 1, cost_micros: 40, ..Spent::default() };
        for (delta, changed) in [(60, 60), (-30, -30), (-100, -40), (0, 0)] {
            let after = corrected(before, delta);
            assert_eq!((after.cost_micros, after.videos), (40 + delta, 1));
            let adjustments = correction(&reservations, &before, &after);
            let expected = Adjustment { key: reservations[0].key.clone(), delta: changed };
            assert_eq!(adjustments, if changed == 0 { vec![] } else { vec![expected] }, "{delta}");
        }
    }

    #[test]
    fn what_runs_out_on_the_way_had_a_limit_and_no_amount() {
        let reservations = vec![
            reservation(Meter::VideoMs, 9, Some(9)),
            reservation(Meter::GpuMs, 0, Some(10)),
            reservation(Meter::StorageBytes, 0, None),
        ];
        let watched = watched(reservations.clone());
        assert_eq!(watched, reservations[1..2]);
        let after = |gpu_ms| used_up(&watched, |_| 4, &Spent { gpu_ms, ..Spent::default() });
        assert_eq!(after(5), None);
        assert_eq!(after(6), Some(QuotaRefusal { reservation: reservations[1].clone(), used: 10 }));
    }
}
