//! How tasks were seen, from the first look to the last: what has ended stays as it ended.

use std::collections::BTreeMap;

use parking_lot::Mutex;

use crate::support::client::Client;
use crate::support::task::Task;

/// Every task that was ever seen, as it was last seen.
#[derive(Debug, Default)]
pub(super) struct History {
    tasks: Mutex<BTreeMap<String, Task>>,
    violations: Mutex<Vec<String>>,
    /// One look at a time, so that what comes later was seen later.
    looking: Mutex<()>,
}

impl History {
    /// Looks at every task, and holds it against what was seen before.
    pub(super) fn look(&self, administrator: &Client) {
        let _looking = self.looking.lock();
        let seen = administrator.tasks();
        let mut tasks = self.tasks.lock();
        for task in seen {
            if let Some(before) = tasks.get(&task.id)
                && before.is_terminal()
                && *before != task
            {
                self.violations.lock().push(format!("{before:?} had ended, and became {task:?}"));
            }
            tasks.insert(task.id.clone(), task);
        }
    }

    /// How many have ended.
    pub(super) fn ended(&self) -> usize {
        self.tasks.lock().values().filter(|task| task.is_terminal()).count()
    }

    pub(super) fn tasks(&self) -> BTreeMap<String, Task> {
        self.tasks.lock().clone()
    }

    pub(super) fn violations(&self) -> Vec<String> {
        self.violations.lock().clone()
    }
}
