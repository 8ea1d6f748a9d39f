//! Room in the memory that devices share: who makes it, and who waits for it.

use hashbrown::HashSet;

use super::{LOOK, Planner};
use crate::domain::{BatchKey, ModelId};
use crate::scheduler::admission;
use crate::scheduler::fleet::DeviceView;

impl Planner<'_> {
    /// Has idle models leave the memory that devices share, where that lets a device that does nothing take the lane's next task.
    pub(super) fn make_room(&mut self, lane: u32) -> bool {
        let Some(batch) = self.queue.lane(lane).map(|lane| &lane.batch) else { return false };
        let shares = |&position: &usize| self.fleet.devices[position].shares_memory;
        if !self.unload.is_empty() || !self.idle.iter().any(shares) {
            return false;
        }
        let rows = self.picker.next(lane, None, |_| true).and_then(|slot| self.queue.waiting(slot)).map(|waiting| waiting.rows);
        let evictions = rows.and_then(|rows| self.shared.evictions(self.models, batch, rows));
        self.unload = evictions.unwrap_or_default();
        !self.unload.is_empty()
    }

    /// Where devices stay idle because of what they and their neighbours have loaded.
    pub(super) fn make_room_by_demand(&mut self) {
        if !self.idle.iter().any(|&position| self.fleet.devices[position].shares_memory) {
            return;
        }
        let mut refused = HashSet::new();
        while refused.len() < LOOK
            && let Some(model) = self.most_demanded(&[], &refused)
        {
            let lanes = self.queue.model(model).into_iter().flat_map(|model| &model.lanes);
            if lanes.take(LOOK).any(|&(_, lane)| self.make_room(lane)) {
                return;
            }
            refused.insert(model);
        }
    }

    /// Where only what devices hold together of the memory they share is in a task's way, all of them come free for it.
    pub(super) fn reserve_shared(&mut self, batch: &BatchKey) {
        let accepting = || self.fleet.devices.iter().enumerate().filter(|(_, device)| device.accepts);
        let sharing = || accepting().filter(|(_, device)| device.shares_memory);
        let fits_alone = |device: &DeviceView| admission::unloads(device, self.models, batch, 1, |_| false).is_some();
        let fits_beside = |device: &DeviceView| self.unloads_beside(device, batch, |_| false).is_some();
        if sharing().any(|(_, device)| fits_alone(device)) && !accepting().any(|(_, device)| fits_beside(device)) {
            self.shared.hold_for(&batch.model);
            self.reserved.extend(sharing().map(|(position, _)| position));
        }
    }

    /// [`admission::unloads`] for a first row, beside what others hold of shared memory.
    pub(super) fn unloads_beside(
        &self,
        device: &DeviceView,
        batch: &BatchKey,
        stays: impl Fn(&ModelId) -> bool,
    ) -> Option<Vec<ModelId>> {
        let beside = self.shared.beside_others(device, &batch.model);
        admission::unloads(beside.as_ref().unwrap_or(device), self.models, batch, 1, stays)
    }
}
