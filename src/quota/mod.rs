//! Quotas: which counters a request takes from, and what goes back. Pure; the job store applies what is decided here in the
//! transaction of the job's state change.
//!
//! Invariants: every job counts for its user and, where it has one, for its project, with a limit or without, so that a limit set
//! tomorrow knows what was used today; reservations and adjustments are sorted by counter; what is given back goes to the window that
//! paid.
//!
//! A film is counted as a film: the pictures that its scenes begin with count as none.
//!
//! Device time is that of the attempts that end the job's tasks. Attempts before those (a worker or a server that died, a device that
//! had no memory left) are nobody's: their checkpoints make the last ones shorter, and whatever they lost is the server's loss.

mod admission;
mod counters;
mod text;
mod window;

#[cfg(test)]
mod tests;

use crate::domain::{Adjustment, Holder, JobRequest, ProjectId, Reservation, Spent, TenantPolicy, UnixMs, UserId};

pub use counters::{meters, spent_on};
pub use text::{explain, in_units, setting, wait_seconds};
pub use window::Window;

/// Whose quotas a request uses.
#[derive(Clone, Copy, Debug)]
pub struct Payers<'a> {
    /// The user and what it may do.
    pub user: (&'a UserId, &'a TenantPolicy),
    /// The project and what it may do.
    pub project: Option<(&'a ProjectId, &'a TenantPolicy)>,
}

impl<'a> Payers<'a> {
    /// The user, then the project.
    fn each(self) -> impl Iterator<Item = (Holder, &'a TenantPolicy)> {
        let user = (Holder::User(self.user.0.clone()), self.user.1);
        std::iter::once(user).chain(self.project.map(|(id, policy)| (Holder::Project(id.clone()), policy)))
    }
}

/// A request that no quota could ever allow, as opposed to one that has to wait for the next window.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Forbidden {
    /// Too large a picture, too many at once, too long a film, a model that is not on the list.
    #[error("{field}: {message}")]
    Limit {
        /// The request's field.
        field: &'static str,
        /// What is allowed, and by which setting of whom.
        message: String,
    },
}

/// What accepting this request takes, sorted by counter: for the user and for the project, by meter. Meters without a limit are
/// counted too. Days and months begin in `zone`.
pub fn reserve(
    request: &JobRequest,
    payers: Payers<'_>,
    zone: &jiff::tz::TimeZone,
    now: UnixMs,
) -> Result<Vec<Reservation>, Forbidden> {
    let (day, month) = (Window::day(zone, now), Window::month(zone, now));
    let mut reservations = Vec::with_capacity(8);
    for (holder, policy) in payers.each() {
        admission::check(request, &holder, policy)?;
        reservations.extend(counters::of_request(&holder, policy, day, month, request));
    }
    reservations.sort_by(|a, b| a.key.cmp(&b.key));
    Ok(reservations)
}

/// What an ended job gives back to, or still takes from, the counters that it reserved: each counter goes from the reserved amount to
/// what was spent; one whose reservation was exact is left out. A refund goes to the window that paid, whatever the time is now.
pub fn settle(reservations: &[Reservation], spent: &Spent) -> Vec<Adjustment> {
    let mut adjustments: Vec<Adjustment> = reservations
        .iter()
        .map(|reservation| Adjustment {
            key: reservation.key.clone(),
            delta: spent_on(reservation.key.meter, spent) - reservation.amount,
        })
        .filter(|adjustment| adjustment.delta != 0)
        .collect();
    adjustments.sort_by(|a, b| a.key.cmp(&b.key));
    adjustments
}
