//! The ledger: what was asked of providers, and what does it cost?
//!
//! A row is a call that makes something at a provider and may be billed. It is on the disk before the call is sent, so that whoever finds a
//! row in the state `sending` knows that nobody knows what became of it. What has ended never changes; amounts are whole millionths, so
//! that sums are exact.

mod call;
mod store;
mod sums;

pub use call::{AbandonedFilter, CallEnding, CallFilter, CallState, KeptAnswer, NewCall, ProviderCall, TaskHold};
pub use store::{Ledger, LedgerError, PostgresLedger, SqliteLedger, open};
pub(crate) use store::{end_in_postgres, end_in_sqlite};
pub use sums::{CostSum, SumBy, grouped};
