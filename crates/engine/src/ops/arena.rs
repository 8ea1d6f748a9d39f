//! The scratch arena: memory that is used again from operation to operation and from evaluation to evaluation.
//!
//! A fresh allocation of an activation's size costs more in page faults than most operations cost in arithmetic.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::kernels::memory::{AlignedMemory, Plain};
use crate::error::Result;

/// Sizes are rounded up to this.
const GRAIN_BYTES: usize = 4096;
/// Unused memory that is always worth keeping.
const SPARE_BYTES: usize = 64 << 20;
/// Finished pictures, this one included, whose needs decide what is kept. Large and small ones may take turns without memory going
/// back and forth; one huge picture is forgotten after as many others.
const REMEMBERED_PICTURES: usize = 8;

/// Bytes of all memory together, in use or kept, where at most `peak_live_bytes` are in use at once: half as much again, because free
/// pieces do not always fit, and a little to spare.
pub(crate) const fn most_bytes(peak_live_bytes: usize) -> usize {
    peak_live_bytes.saturating_add(peak_live_bytes / 2).saturating_add(SPARE_BYTES)
}

/// Unused memory, smallest first, and the counts that bound it.
#[derive(Debug, Default)]
struct Shelf {
    free: Vec<AlignedMemory>,
    free_bytes: usize,
    live_bytes: usize,
    /// Most bytes in use at once since the last picture was finished, and for each of the pictures before it, newest first.
    peaks_live_bytes: [usize; REMEMBERED_PICTURES],
}

impl Shelf {
    /// The smallest memory of at least `bytes`, unless it is more than half as large again.
    fn take(&mut self, bytes: usize) -> Option<AlignedMemory> {
        let index = self.free.partition_point(|memory| memory.capacity() < bytes);
        let capacity = self.free.get(index)?.capacity();
        if capacity > bytes + bytes / 2 {
            return None;
        }
        self.free_bytes -= capacity;
        Some(self.free.remove(index))
    }

    fn put(&mut self, memory: AlignedMemory) {
        let index = self.free.partition_point(|other| other.capacity() < memory.capacity());
        self.free_bytes += memory.capacity();
        self.free.insert(index, memory);
    }

    fn count_live(&mut self, bytes: usize) {
        self.live_bytes += bytes;
        self.peaks_live_bytes[0] = self.peaks_live_bytes[0].max(self.live_bytes);
    }

    /// Begins another picture. The oldest of the remembered ones is forgotten.
    fn settle(&mut self) -> Vec<AlignedMemory> {
        self.peaks_live_bytes.rotate_right(1);
        // The oldest came to the front.
        self.peaks_live_bytes[0] = self.live_bytes;
        self.surplus(0)
    }

    /// Takes out what is beyond the bound once `bytes` more are in use: all memory together stays within [`most_bytes`] of what the
    /// remembered pictures needed.
    fn surplus(&mut self, bytes: usize) -> Vec<AlignedMemory> {
        let live = self.live_bytes + bytes;
        let peak = self.peaks_live_bytes.iter().fold(live, |most, peak| most.max(*peak));
        let mut surplus = Vec::new();
        while live + self.free_bytes > most_bytes(peak) {
            let Some(memory) = self.free.pop() else { break };
            self.free_bytes -= memory.capacity();
            surplus.push(memory);
        }
        surplus
    }
}

/// A pool of memory. Everything taken from it comes back when it is dropped.
#[derive(Debug, Default)]
pub(crate) struct Arena {
    shelf: Mutex<Shelf>,
}

impl Arena {
    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Memory for `length` values, whatever they were before.
    pub(crate) fn take<T: Plain>(self: &Arc<Self>, length: usize) -> Result<Scratch<T>> {
        let bytes = length.saturating_mul(size_of::<T>()).clamp(1, isize::MAX as usize / 2).next_multiple_of(GRAIN_BYTES);
        let (found, surplus) = {
            let mut shelf = self.shelf();
            let found = shelf.take(bytes);
            let surplus = if found.is_none() { shelf.surplus(bytes) } else { Vec::new() };
            (found, surplus)
        };
        drop(surplus);
        let memory = match found {
            Some(memory) => memory,
            None => AlignedMemory::zeroed(bytes)?,
        };
        self.shelf().count_live(memory.capacity());
        Ok(Scratch { memory, length, arena: Arc::clone(self), values: std::marker::PhantomData })
    }

    /// Gives unused memory back to the system.
    pub(crate) fn release(&self) {
        let freed = {
            let mut shelf = self.shelf();
            shelf.free_bytes = 0;
            shelf.peaks_live_bytes = [shelf.live_bytes; REMEMBERED_PICTURES];
            std::mem::take(&mut shelf.free)
        };
        drop(freed);
    }

    /// A picture is done. Memory that none of the last ones needed goes back to the system; pictures like them find theirs.
    pub(crate) fn settle(&self) {
        let surplus = self.shelf().settle();
        drop(surplus);
    }

    /// Bytes kept for use.
    pub(crate) fn kept_bytes(&self) -> usize {
        self.shelf().free_bytes
    }

    /// Most bytes in use at once since the last picture was finished.
    #[cfg(test)]
    pub(crate) fn peak_live_bytes(&self) -> usize {
        self.shelf().peaks_live_bytes[0]
    }

    /// Bytes in use and bytes kept for use.
    #[cfg(test)]
    fn bytes(&self) -> (usize, usize) {
        let shelf = self.shelf();
        (shelf.live_bytes, shelf.free_bytes)
    }
}

/// Values in memory from an [`Arena`].
pub(crate) struct Scratch<T: Plain> {
    memory: AlignedMemory,
    length: usize,
    arena: Arc<Arena>,
    values: std::marker::PhantomData<T>,
}

impl<T: Plain> Deref for Scratch<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        self.memory.values(self.length)
    }
}

impl<T: Plain> DerefMut for Scratch<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        self.memory.values_mut(self.length)
    }
}

impl<T: Plain> Drop for Scratch<T> {
    fn drop(&mut self) {
        let memory = std::mem::replace(&mut self.memory, AlignedMemory::empty());
        let mut shelf = self.arena.shelf();
        shelf.live_bytes -= memory.capacity();
        shelf.put(memory);
    }
}

impl<T: Plain> std::fmt::Debug for Scratch<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Scratch<{}>({})", std::any::type_name::<T>(), self.length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_comes_back_and_is_used_again() {
        let arena = Arc::new(Arena::default());
        let first = arena.take::<f32>(100_000).unwrap();
        let address = first.as_ptr();
        assert_eq!(arena.bytes(), (401_408, 0));
        drop(first);
        assert_eq!(arena.bytes(), (0, 401_408));
        let second = arena.take::<half::bf16>(150_000).unwrap();
        assert_eq!(second.as_ptr().addr(), address.addr());
        assert_eq!(second.len(), 150_000);
        // half of it would be wasted: not handed out
        drop(second);
        let third = arena.take::<f32>(10_000).unwrap();
        assert_ne!(third.as_ptr(), address);
        arena.release();
        assert_eq!(arena.bytes().1, 0);
    }

    #[test]
    fn unused_memory_is_bounded() {
        let arena = Arc::new(Arena::default());
        for index in 0..24_usize {
            drop(arena.take::<f32>((1 << 20) + index * (1 << 20)).unwrap());
            let (live, free) = arena.bytes();
            assert!(live + free <= (24 << 22) * 3 / 2 + SPARE_BYTES);
        }
        assert!(arena.take::<f32>(usize::MAX / 2).is_err());
        let (live, _) = arena.bytes();
        assert_eq!(live, 0);
    }
    /// One picture: three pieces at once, another mix than before, and what is kept for the rest of the run.
    fn picture(arena: &Arc<Arena>, mebibytes: usize) -> usize {
        let length = mebibytes << 18;
        let pieces = [length, length / 2, length / 4].map(|length| arena.take::<f32>(length).unwrap());
        let address = pieces[0].as_ptr().addr();
        drop(pieces);
        arena.settle();
        address
    }

    #[test]
    fn a_huge_picture_is_forgotten() {
        let arena = Arc::new(Arena::default());
        let context = arena.take::<f32>(1000).unwrap();
        picture(&arena, 200);
        let all = arena.bytes().1;
        assert_eq!(all, 350 << 20);
        for index in 1..=REMEMBERED_PICTURES + 1 {
            picture(&arena, 8);
            let free = arena.bytes().1;
            assert!((free >= all) == (index + 1 < REMEMBERED_PICTURES), "{index}: {free} of {all}");
        }
        let (live, free) = arena.bytes();
        assert!(live + free <= most_bytes((14 << 20) + live));
        drop(context);
    }

    #[test]
    fn equal_and_alternating_pictures_keep_their_memory() {
        let arena = Arc::new(Arena::default());
        let sizes = [96, 24, 48];
        let first = sizes.map(|mebibytes| picture(&arena, mebibytes));
        let kept = arena.bytes();
        for _ in 0..2 * REMEMBERED_PICTURES {
            assert_eq!(sizes.map(|mebibytes| picture(&arena, mebibytes)), first);
            assert_eq!(arena.bytes(), kept);
        }
    }
}
