//! Executors over real devices: what both kinds promise, and what a worker process survives.

#[cfg(test)]
mod conformance;
#[cfg(test)]
mod deaths;
#[cfg(test)]
mod imposters;
#[cfg(test)]
mod stage;
