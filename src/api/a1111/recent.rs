//! A map that forgets what was longest not used.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

/// At most so many entries; a new one takes the place of that which was longest not used.
#[derive(Debug)]
pub(super) struct Recent<K, V> {
    most: usize,
    next: u64,
    entries: HashMap<K, (u64, V)>,
    /// Keys by when they were used.
    order: BTreeMap<u64, K>,
}

impl<K: Clone + Eq + Hash, V: Clone> Recent<K, V> {
    /// An empty map for at most `most` entries.
    pub(super) fn new(most: usize) -> Self {
        Self { most, next: 0, entries: HashMap::new(), order: BTreeMap::new() }
    }

    /// Puts an entry in, or in place of another.
    pub(super) fn insert(&mut self, key: K, value: V) {
        self.remove(&key);
        while self.entries.len() >= self.most.max(1) {
            let Some((_, oldest)) = self.order.pop_first() else { break };
            self.entries.remove(&oldest);
        }
        self.order.insert(self.next, key.clone());
        self.entries.insert(key, (self.next, value));
        self.next += 1;
    }

    /// An entry's value, which counts as a use.
    pub(super) fn get(&mut self, key: &K) -> Option<V> {
        let (used, value) = self.entries.get_mut(key)?;
        self.order.remove(used);
        *used = self.next;
        self.order.insert(self.next, key.clone());
        self.next += 1;
        Some(value.clone())
    }

    /// Forgets an entry.
    pub(super) fn remove(&mut self, key: &K) {
        if let Some((used, _)) = self.entries.remove(key) {
            self.order.remove(&used);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_longest_not_used_goes_first() {
        let mut recent = Recent::new(2);
        recent.insert("a", 1);
        recent.insert("b", 2);
        assert_eq!(recent.get(&"a"), Some(1));
        recent.insert("c", 3);
        assert_eq!((recent.get(&"a"), recent.get(&"b"), recent.get(&"c")), (Some(1), None, Some(3)));
        recent.insert("a", 4);
        recent.remove(&"c");
        recent.insert("d", 5);
        assert_eq!((recent.get(&"a"), recent.get(&"c"), recent.get(&"d")), (Some(4), None, Some(5)));
        assert_eq!((recent.entries.len(), recent.order.len()), (2, 2));
    }
}
