//! The quota counters. Always the last locks that a transaction takes, in the order of [`CounterKey`].

use std::collections::HashMap;

use sqlx::PgConnection;

use crate::domain::{Adjustment, CounterKey, QuotaRefusal, Reservation, Spent, UnixMs};
use crate::jobs::store::StoreError;
use crate::jobs::store::ledger;
use crate::jobs::store::rows::counter_columns;

/// Adds `$4` to a counter if it then holds at most `$5`. The first condition is that of a counter that is not there yet.
const TAKE: &str = "
    INSERT INTO quota_counters AS held (holder, meter, window_start_ms, used)
        SELECT $1, $2, $3, $4 WHERE $5::bigint IS NULL OR $4 <= $5
    ON CONFLICT (holder, meter, window_start_ms) DO UPDATE SET used = held.used + excluded.used
        WHERE $5::bigint IS NULL OR held.used + excluded.used <= $5";

/// Adds to counters in the order given. A refund to a counter that has been forgotten is forgotten too.
const ADJUST: &str = "
    INSERT INTO quota_counters AS held (holder, meter, window_start_ms, used)
        SELECT change.holder, change.meter, change.window_start_ms, change.delta
        FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[]) WITH ORDINALITY
            AS change (holder, meter, window_start_ms, delta, place)
        WHERE change.delta > 0 OR EXISTS (SELECT 1 FROM quota_counters AS there WHERE there.holder = change.holder
            AND there.meter = change.meter AND there.window_start_ms = change.window_start_ms)
        ORDER BY change.place
    ON CONFLICT (holder, meter, window_start_ms) DO UPDATE SET used = held.used + excluded.used";

/// Takes the reservations, or says which one cannot be taken; then the transaction must be given up.
pub(super) async fn take(connection: &mut PgConnection, reservations: &[Reservation]) -> Result<(), StoreError> {
    for reservation in reservations {
        let taken = if reservation.amount > 0 {
            let (holder, meter, window_start_ms) = counter_columns(&reservation.key);
            let taken = sqlx::query(TAKE)
                .bind(holder)
                .bind(meter)
                .bind(window_start_ms)
                .bind(reservation.amount)
                .bind(reservation.limit)
                .execute(&mut *connection)
                .await?;
            taken.rows_affected() == 1
        } else {
            // Nothing to add: the counter only has to be below its limit.
            reservation.limit.is_none()
        };
        if !taken {
            let used = held(connection, &[&reservation.key]).await?.get(&0).copied().unwrap_or(0);
            if reservation.amount > 0 || !ledger::lets_through(reservation, used) {
                return Err(StoreError::Quota(Box::new(QuotaRefusal { reservation: reservation.clone(), used })));
            }
        }
    }
    Ok(())
}

/// Adds to and subtracts from the counters; `adjustments` are in their order.
pub(super) async fn adjust(connection: &mut PgConnection, adjustments: &[Adjustment]) -> Result<(), StoreError> {
    if adjustments.is_empty() {
        return Ok(());
    }
    let (holders, meters, windows) = columns(adjustments.iter().map(|adjustment| &adjustment.key));
    let deltas: Vec<i64> = adjustments.iter().map(|adjustment| adjustment.delta).collect();
    sqlx::query(ADJUST).bind(holders).bind(meters).bind(windows).bind(deltas).execute(connection).await?;
    Ok(())
}

pub(super) async fn usage(connection: &mut PgConnection, counters: &[CounterKey]) -> Result<Vec<(CounterKey, i64)>, StoreError> {
    let used = held(connection, &counters.iter().collect::<Vec<_>>()).await?;
    Ok(counters.iter().enumerate().filter_map(|(index, key)| Some((key.clone(), *used.get(&index)?))).collect())
}

/// What a running job has used up, if it has, of what it took nothing of beforehand. Other jobs may be settled meanwhile: a look locks
/// nothing.
pub(super) async fn used_up(
    connection: &mut PgConnection,
    reservations: Vec<Reservation>,
    spent: &Spent,
) -> Result<Option<QuotaRefusal>, StoreError> {
    let watched = ledger::watched(reservations);
    if watched.is_empty() {
        return Ok(None);
    }
    let keys: Vec<&CounterKey> = watched.iter().map(|reservation| &reservation.key).collect();
    let used = held(connection, &keys).await?;
    Ok(ledger::used_up(&watched, |index| used.get(&index).copied().unwrap_or(0), spent))
}

/// What the counters hold, by their place in `keys`.
async fn held(connection: &mut PgConnection, keys: &[&CounterKey]) -> Result<HashMap<usize, i64>, StoreError> {
    let (holders, meters, windows) = columns(keys.iter().copied());
    let rows: Vec<(i64, i64)> = sqlx::query_as(
        "SELECT wanted.place, used FROM quota_counters
         JOIN unnest($1::text[], $2::text[], $3::bigint[]) WITH ORDINALITY AS wanted (holder, meter, window_start_ms, place)
             USING (holder, meter, window_start_ms)",
    )
    .bind(holders)
    .bind(meters)
    .bind(windows)
    .fetch_all(connection)
    .await?;
    // Places are counted from 1.
    Ok(rows.into_iter().filter_map(|(place, used)| Some((usize::try_from(place - 1).ok()?, used))).collect())
}

fn columns<'a>(keys: impl Iterator<Item = &'a CounterKey>) -> (Vec<String>, Vec<&'static str>, Vec<i64>) {
    let (mut holders, mut meters, mut windows) = (Vec::new(), Vec::new(), Vec::new());
    for (holder, meter, window_start_ms) in keys.map(counter_columns) {
        holders.push(holder);
        meters.push(meter);
        windows.push(window_start_ms);
    }
    (holders, meters, windows)
}

pub(super) async fn forget(connection: &mut PgConnection, before: UnixMs) -> Result<u64, StoreError> {
    // Counters without a window have 0 there, and stay.
    let forgotten = sqlx::query("DELETE FROM quota_counters WHERE window_start_ms < $1 AND window_start_ms <> 0")
        .bind(before.0)
        .execute(connection)
        .await?;
    Ok(forgotten.rows_affected())
}
