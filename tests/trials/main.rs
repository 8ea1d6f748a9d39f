//! Whole servers: the real binary with its worker processes, sockets, databases and files, and what is done to them on bad days.
//!
//! One trial runs at a time, since most of them measure or wait. What they find is written to standard error as they run.
//! `FRAMEWRIGHT_LONG=1` gives the long forms, `FRAMEWRIGHT_SEED` repeats a run's random choices. The trials on PostgreSQL need the
//! variables that `scripts/postgres.sh run` sets, and say so when they are not there.

#[cfg(test)]
mod bad_days;
#[cfg(test)]
mod chaos;
#[cfg(test)]
mod films;
#[cfg(test)]
mod load;
#[cfg(test)]
mod pictures;
#[cfg(test)]
#[expect(dead_code, unused_imports, reason = "what is not needed here the executor's own tests use")]
#[path = "../support/providers/mod.rs"]
mod providers;
#[cfg(test)]
mod support;
