//! The executor of providers against providers that misbehave: nothing is made twice, nothing is lost that was paid for, and nobody is
//! believed.

#[cfg(test)]
mod abandoned;
#[cfg(test)]
mod cancellation;
#[cfg(test)]
mod clouds;
#[cfg(test)]
mod downloads;
#[cfg(test)]
mod failures;
#[cfg(test)]
mod hosted;
#[cfg(test)]
mod hosted_failures;
#[cfg(test)]
mod hosted_kinds;
#[cfg(test)]
mod keys;
#[cfg(test)]
mod kind_conformance;
#[cfg(test)]
#[path = "../support/providers/mod.rs"]
mod providers;
#[cfg(test)]
mod restarts;
#[cfg(test)]
mod signed_calls;
#[cfg(test)]
mod signed_kinds;
#[cfg(test)]
mod stage;
#[cfg(test)]
mod subject;
#[cfg(test)]
mod success;
#[cfg(test)]
mod told_kinds;
#[cfg(test)]
mod waiting;
