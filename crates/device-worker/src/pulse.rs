//! Whether the device's thread makes progress, and how to stop what it is in the middle of. Read by other threads.

use std::sync::Arc;

use framewright_engine::ops::Interrupt;
use parking_lot::Mutex;

/// The work that a device's thread does now. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Pulse {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    /// Ticks of work that has ended.
    passed: u64,
    /// What the work now under way looks at.
    current: Interrupt,
    /// The tasks that it is for.
    members: Vec<Interrupt>,
}

impl Pulse {
    /// Says that work for these tasks begins, and gives the interrupt that it must look at. Work for one task stops with the task;
    /// shared work stops only when nobody is left who wants it.
    pub fn enter(&self, members: &[Interrupt]) -> Interrupt {
        let mut state = self.state.lock();
        state.passed = state.passed.wrapping_add(state.current.ticks()).wrapping_add(1);
        state.current = match members {
            [only] => only.clone(),
            _ => Interrupt::default(),
        };
        state.members = members.to_vec();
        // A task's own interrupt has ticked before.
        state.passed = state.passed.wrapping_sub(state.current.ticks());
        state.current.clone()
    }

    /// A number that rises while there is progress.
    pub fn ticks(&self) -> u64 {
        let state = self.state.lock();
        state.passed.wrapping_add(state.current.ticks())
    }

    /// Stops shared work when all of its tasks have been interrupted. To be called after one was.
    pub fn settle(&self) {
        let state = self.state.lock();
        if !state.members.is_empty() && state.members.iter().all(Interrupt::is_cancelled) {
            state.current.cancel();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_rise_with_work_of_every_kind() {
        let pulse = Pulse::default();
        let task = Interrupt::default();
        let mut last = pulse.ticks();
        for members in [vec![task.clone()], vec![task.clone(), Interrupt::default()], vec![task.clone()], vec![]] {
            let interrupt = pulse.enter(&members);
            assert!(pulse.ticks() > last);
            last = pulse.ticks();
            interrupt.check().unwrap();
            assert_eq!(pulse.ticks(), last + 1);
            last += 1;
        }
    }

    #[test]
    fn shared_work_stops_with_the_last_who_wants_it() {
        let (pulse, first, second) = (Pulse::default(), Interrupt::default(), Interrupt::default());
        let shared = pulse.enter(&[first.clone(), second.clone()]);
        first.cancel();
        pulse.settle();
        assert!(!shared.is_cancelled());
        second.cancel();
        pulse.settle();
        assert!(shared.is_cancelled());
        assert!(!pulse.enter(&[Interrupt::default()]).is_cancelled());
    }
}
