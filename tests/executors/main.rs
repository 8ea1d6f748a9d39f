//! Executors over real devices: what both kinds promise, and what a worker process survives.

mod conformance;
mod deaths;
mod stage;
