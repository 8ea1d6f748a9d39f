//! Which waiting task goes to which free device. Pure.

use crate::domain::ModelId;
use crate::jobs::store::ReadyTask;

/// A device that could take a task now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FreeDevice {
    /// Its place in the list of devices.
    pub index: usize,
    /// The model it has loaded.
    pub resident: Option<ModelId>,
}

/// A task for a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dispatch {
    /// The task.
    pub task: ReadyTask,
    /// The device's place in the list.
    pub device: usize,
}

/// Gives the first tasks of `ready` (which is in order of urgency) a device each, as far as `free` and `capacity` go. A task prefers a
/// device that has its model loaded, then an empty one, then one whose model no other waiting task needs, then any.
pub fn plan(ready: &[ReadyTask], free: &[FreeDevice], capacity: usize) -> Vec<Dispatch> {
    let mut free = free.to_vec();
    let mut dispatches = Vec::new();
    for task in ready.iter().take(capacity) {
        let cost = |device: &FreeDevice| match &device.resident {
            Some(model) if *model == task.model => 0,
            None => 1,
            Some(model) if !ready.iter().any(|other| other.model == *model) => 2,
            Some(_) => 3,
        };
        let Some(best) = (0..free.len()).min_by_key(|&position| cost(&free[position])) else { break };
        dispatches.push(Dispatch { task: task.clone(), device: free.remove(best).index });
    }
    dispatches
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::{JobId, TaskId};

    fn ready(models: &str) -> Vec<ReadyTask> {
        let task = |model: char| ReadyTask {
            task: TaskId::generate(),
            job: JobId::generate(),
            model: model.to_string().parse().unwrap(),
        };
        models.chars().map(task).collect()
    }

    /// `-` is an empty device.
    fn devices(residents: &str) -> Vec<FreeDevice> {
        let device = |(index, resident): (usize, char)| FreeDevice {
            index,
            resident: (resident != '-').then(|| resident.to_string().parse().unwrap()),
        };
        residents.chars().enumerate().map(device).collect()
    }

    #[test]
    fn tasks_go_where_their_model_is() {
        for (models, residents, capacity, expected) in [
            ("", "--", 9, vec![]),
            ("a", "", 9, vec![]),
            ("a", "-a", 9, vec![1]),
            ("a", "b-", 9, vec![1]),
            ("ab", "b-", 9, vec![1, 0]),
            ("ab", "bc", 9, vec![1, 0]),
            ("a", "bc", 9, vec![0]),
            ("aab", "a-b", 9, vec![0, 1, 2]),
            ("aaa", "---", 2, vec![0, 1]),
        ] {
            let ready = ready(models);
            let dispatches = plan(&ready, &devices(residents), capacity);
            let chosen: Vec<usize> = dispatches.iter().map(|dispatch| dispatch.device).collect();
            assert_eq!(chosen, expected, "{models} on {residents}");
        }
    }

    proptest! {
        #[test]
        fn urgency_decides_who_and_no_device_is_taken_twice(models in "[abc]{0,8}", residents in "[abc-]{0,6}", capacity in 0_usize..8) {
            let ready = ready(&models);
            let dispatches = plan(&ready, &devices(&residents), capacity);
            prop_assert_eq!(dispatches.len(), ready.len().min(residents.len()).min(capacity));
            for (dispatch, task) in dispatches.iter().zip(&ready) {
                prop_assert_eq!(&dispatch.task, task);
            }
            let mut taken: Vec<usize> = dispatches.iter().map(|dispatch| dispatch.device).collect();
            taken.sort_unstable();
            taken.dedup();
            prop_assert_eq!(taken.len(), dispatches.len());
        }
    }
}
