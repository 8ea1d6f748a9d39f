//! The quota counters.

use std::collections::HashMap;

use sqlx::SqliteConnection;

use crate::domain::{Adjustment, CounterKey, QuotaRefusal, Reservation, Spent, UnixMs};
use crate::jobs::store::StoreError;
use crate::jobs::store::ledger;
use crate::jobs::store::rows::{counter_columns, to_json};

/// Adds `?1`, a JSON array of counters with amounts. A refund to a counter that has been forgotten is forgotten too.
const ADJUST: &str = "
    INSERT INTO quota_counters (holder, meter, window_start_ms, used)
        SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3 FROM json_each(?1) AS change
        WHERE value ->> 3 > 0 OR EXISTS (SELECT 1 FROM quota_counters AS held
            WHERE held.holder = change.value ->> 0 AND held.meter = change.value ->> 1 AND held.window_start_ms = change.value ->> 2)
    ON CONFLICT DO UPDATE SET used = used + excluded.used";

/// Takes the reservations, or says which one cannot be taken.
pub(super) async fn take(connection: &mut SqliteConnection, reservations: &[Reservation]) -> Result<(), StoreError> {
    if reservations.iter().any(|reservation| reservation.limit.is_some()) {
        let keys: Vec<&CounterKey> = reservations.iter().map(|reservation| &reservation.key).collect();
        // Nobody else writes between this look and the addition: the transaction has the file's only write lock.
        let used = held(&mut *connection, &keys).await?;
        let with_use =
            reservations.iter().enumerate().map(|(index, reservation)| (reservation, used.get(&index).copied().unwrap_or(0)));
        if let Some(refusal) = ledger::refusal(with_use) {
            return Err(StoreError::Quota(Box::new(refusal)));
        }
    }
    let taken = reservations.iter().map(|reservation| Adjustment { key: reservation.key.clone(), delta: reservation.amount });
    adjust(connection, &ledger::merged(taken)).await
}

/// Adds to and subtracts from the counters.
pub(super) async fn adjust(connection: &mut SqliteConnection, adjustments: &[Adjustment]) -> Result<(), StoreError> {
    if adjustments.is_empty() {
        return Ok(());
    }
    let rows: Vec<_> = adjustments
        .iter()
        .map(|Adjustment { key, delta }| {
            let (holder, meter, window_start_ms) = counter_columns(key);
            (holder, meter, window_start_ms, delta)
        })
        .collect();
    sqlx::query(ADJUST).bind(to_json(&rows)?).execute(connection).await?;
    Ok(())
}

pub(super) async fn usage(
    connection: &mut SqliteConnection,
    counters: &[CounterKey],
) -> Result<Vec<(CounterKey, i64)>, StoreError> {
    let used = held(connection, &counters.iter().collect::<Vec<_>>()).await?;
    Ok(counters.iter().enumerate().filter_map(|(index, key)| Some((key.clone(), *used.get(&index)?))).collect())
}

/// What a running job has used up, if it has, of what it took nothing of beforehand.
pub(super) async fn used_up(
    connection: &mut SqliteConnection,
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
async fn held(connection: &mut SqliteConnection, keys: &[&CounterKey]) -> Result<HashMap<usize, i64>, StoreError> {
    let columns: Vec<_> = keys.iter().map(|key| counter_columns(key)).collect();
    let rows: Vec<(i64, i64)> = sqlx::query_as(
        "SELECT wanted.key, used FROM json_each(?1) AS wanted CROSS JOIN quota_counters
         WHERE holder = wanted.value ->> 0 AND meter = wanted.value ->> 1 AND window_start_ms = wanted.value ->> 2",
    )
    .bind(to_json(&columns)?)
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().filter_map(|(index, used)| Some((usize::try_from(index).ok()?, used))).collect())
}

pub(super) async fn forget(connection: &mut SqliteConnection, before: UnixMs) -> Result<u64, StoreError> {
    // Counters without a window have 0 there, and stay.
    let forgotten = sqlx::query("DELETE FROM quota_counters WHERE window_start_ms < ?1 AND window_start_ms <> 0")
        .bind(before.0)
        .execute(connection)
        .await?;
    Ok(forgotten.rows_affected())
}
