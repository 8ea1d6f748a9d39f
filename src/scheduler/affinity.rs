//! When a device changes its model, or what it runs, for somebody else's sake: bounded unfairness instead of thrashing. Pure numbers.
//!
//! A device goes on with the models it has, whosever turn it is, until one of these holds; work that no device has a reason to refuse never
//! waits for an idle one.
//!
//! 1. **Overdue tenant.** A fluid server would have finished the tenant's next task by now ([`is_overdue`]): the tenant gets the device that
//!    is free soonest, and where its model is on none, or those that have it do not suffice, a load, once its arrears also cover
//!    [`OVERDUE_LOADS`] loads.
//! 2. **Passed-over lane.** So much has been served since a batch key was served last that each device could have given every waiting lane
//!    [`TURN_SECONDS`], or, where its model is on no device, every waiting model [`TURN_LOADS`] times the load ([`turn_seconds`]). So a
//!    model is exchanged at most once per [`TURN_LOADS`] loads and device, which bounds what loads cost to `1 / TURN_LOADS`.
//! 3. **Too few hosts.** An idle device leaves a model for one that has more waiting seconds a device even after the change
//!    ([`should_move`]); the reverse move is then not allowed, so the two cannot alternate.
//! 4. **Nothing to do.** An idle device whose models nobody waits for loads the model with the most waiting seconds per device that has it
//!    (counting half a device more): as many devices have a model as its demand is worth.
//!
//! Nobody starves: on a fleet of one device a tenant's first task starts at the latest when others were served [`turn_seconds`] and what
//! priorities can move turns apart, `2 × MOST_SHARE_LEVELS × LEVEL_SECONDS` for each tenant that waits, and one task each; on more devices
//! that much is served sooner.

/// Seconds of turn that a lane may expect of a device.
pub const TURN_SECONDS: f64 = 30.0;
/// A model stays at least about this many times its load.
pub const TURN_LOADS: f64 = 80.0;
/// Arrears, in loads, that buy a tenant a load of its own.
pub const OVERDUE_LOADS: f64 = 2.0;
/// A device changes models for demand only when it has this many times the load to do there.
pub const MOVE_LOADS: f64 = 20.0;
/// And only when the devices there have this many times as much to do each.
pub const MOVE_RATIO: f64 = 1.3;

/// Whether a tenant that has `tag`, `share` and a next task of `task_seconds` would have been done with it under fluid sharing, after
/// `load_seconds` of loading.
pub fn is_overdue(virtual_time: f64, tag: f64, share: f64, task_seconds: f64, load_seconds: f64) -> bool {
    virtual_time >= tag + (task_seconds + OVERDUE_LOADS * load_seconds) / share
}

/// Device seconds served to others after which a waiting lane is due, among `lanes` waiting lanes and `unhosted` waiting models that are on
/// none of `devices` devices. `load_seconds` is nothing where the lane's model is on a device.
pub fn turn_seconds(devices: usize, lanes: usize, unhosted: usize, load_seconds: f64) -> f64 {
    let turn = TURN_SECONDS * devices.max(lanes) as f64;
    if load_seconds > 0.0 { turn.max(TURN_LOADS * load_seconds * devices.max(unhosted) as f64) } else { turn }
}

/// Whether a device leaves a model with `from_seconds` waiting on `from_hosts` devices (itself one of them) for one with `to_seconds` waiting
/// on `to_hosts` others.
pub fn should_move(from_seconds: f64, from_hosts: u32, to_seconds: f64, to_hosts: u32, load_seconds: f64) -> bool {
    let to_each = to_seconds / f64::from(to_hosts + 1);
    let from_each = if from_hosts > 1 { from_seconds / f64::from(from_hosts - 1) } else { f64::INFINITY };
    to_each >= MOVE_LOADS * load_seconds && (from_seconds <= 0.0 || to_each > MOVE_RATIO * from_each)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_tenant_is_overdue_when_a_fluid_server_would_have_finished() {
        assert!(!is_overdue(99.0, 80.0, 0.5, 10.0, 0.0));
        assert!(is_overdue(100.0, 80.0, 0.5, 10.0, 0.0));
        assert!(!is_overdue(100.0, 80.0, 0.5, 10.0, 1.0));
    }

    #[test]
    fn a_model_that_is_nowhere_waits_longer_for_its_turn() {
        assert!((turn_seconds(8, 4, 0, 0.0) - 240.0).abs() < 1e-9);
        assert!((turn_seconds(8, 16, 0, 0.0) - 480.0).abs() < 1e-9);
        assert!((turn_seconds(8, 4, 2, 10.0) - 8.0 * TURN_LOADS * 10.0).abs() < 1e-9);
    }

    proptest! {
        #[test]
        fn two_models_do_not_alternate(a in 0.0_f64..1e6, b in 0.0_f64..1e6, hosts_a in 1_u32..100, hosts_b in 0_u32..100, load in 0.0_f64..10.0) {
            if should_move(a, hosts_a, b, hosts_b, load) && a > 0.0 {
                prop_assert!(!should_move(b, hosts_b + 1, a, hosts_a - 1, load));
            }
        }
    }
}
