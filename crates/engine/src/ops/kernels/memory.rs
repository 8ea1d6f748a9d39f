//! Aligned memory for activations and packed weights.

use std::alloc::{Layout, alloc, dealloc};
use std::ptr::NonNull;

use half::bf16;

use crate::error::{Error, Result};

/// Enough for every vector instruction and a cache line.
const LINE_BYTES: usize = 64;
/// Allocations from here on are aligned to huge pages and ask for them: fewer page faults and fewer address look-ups.
const HUGE_PAGE_BYTES: usize = 2 << 20;

/// Types for which any bit pattern is a value, so that zeroed and reused memory can be read as them.
///
/// # Safety
/// Every bit pattern must be valid, and the alignment at most [`LINE_BYTES`].
pub(crate) unsafe trait Plain: Copy + Send + Sync + 'static {}
// SAFETY: every bit pattern is a float.
unsafe impl Plain for f32 {}
// SAFETY: a transparent `u16`.
unsafe impl Plain for bf16 {}
// SAFETY: every bit pattern is a number.
unsafe impl Plain for u8 {}

/// The memory of `values`, byte by byte.
pub(crate) fn as_bytes<T: Plain>(values: &[T]) -> &[u8] {
    // SAFETY: floats have no padding, so every byte is initialised, and bytes have no alignment.
    unsafe { std::slice::from_raw_parts(values.as_ptr().cast(), size_of_val(values)) }
}

/// An owned, aligned, initialised piece of memory without a type.
pub(crate) struct AlignedMemory {
    pointer: NonNull<u8>,
    layout: Layout,
}

// SAFETY: the memory is owned and has no interior mutability: sharing goes through `&self` / `&mut self`.
unsafe impl Send for AlignedMemory {}
// SAFETY: as above.
unsafe impl Sync for AlignedMemory {}

impl AlignedMemory {
    /// No memory at all.
    pub(crate) const fn empty() -> Self {
        Self { pointer: NonNull::dangling(), layout: Layout::new::<()>() }
    }

    /// At least `bytes` bytes of zeros.
    pub(crate) fn zeroed(bytes: usize) -> Result<Self> {
        let alignment = if bytes >= 2 * HUGE_PAGE_BYTES { HUGE_PAGE_BYTES } else { LINE_BYTES };
        let refused = || Error::Device(format!("cannot allocate {bytes} bytes of memory"));
        let layout = Layout::from_size_align(bytes.max(LINE_BYTES), alignment).map_err(|_| refused())?;
        // SAFETY: the layout has a non-zero size.
        let pointer = NonNull::new(unsafe { alloc(layout) }).ok_or_else(refused)?;
        #[cfg(target_os = "linux")]
        if alignment == HUGE_PAGE_BYTES {
            // SAFETY: the range was just allocated and is page-aligned; the advice does not change its contents.
            // Failure only means ordinary pages.
            unsafe { libc::madvise(pointer.as_ptr().cast(), layout.size(), libc::MADV_HUGEPAGE) };
        }
        // SAFETY: the range was just allocated with this size.
        unsafe { pointer.as_ptr().write_bytes(0, layout.size()) };
        Ok(Self { pointer, layout })
    }

    /// Usable bytes.
    pub(crate) const fn capacity(&self) -> usize {
        self.layout.size()
    }

    /// The first `length` values.
    pub(crate) fn values<T: Plain>(&self, length: usize) -> &[T] {
        assert!(length <= self.capacity() / size_of::<T>(), "{length} values do not fit {} bytes", self.capacity());
        // SAFETY: in bounds by the assertion, initialised at allocation, aligned, and any bits are a `T`.
        unsafe { std::slice::from_raw_parts(self.aligned(), length) }
    }

    /// The first `length` values, to write.
    pub(crate) fn values_mut<T: Plain>(&mut self, length: usize) -> &mut [T] {
        assert!(length <= self.capacity() / size_of::<T>(), "{length} values do not fit {} bytes", self.capacity());
        // SAFETY: as in `values`, and the borrow is unique.
        unsafe { std::slice::from_raw_parts_mut(self.aligned(), length) }
    }

    /// The start as a pointer to `T`; the empty memory has no alignment of its own.
    fn aligned<T: Plain>(&self) -> *mut T {
        if self.capacity() == 0 { NonNull::<T>::dangling().as_ptr() } else { self.pointer.as_ptr().cast() }
    }
}

impl Drop for AlignedMemory {
    fn drop(&mut self) {
        if self.layout.size() > 0 {
            // SAFETY: allocated in `zeroed` with this layout.
            unsafe { dealloc(self.pointer.as_ptr(), self.layout) };
        }
    }
}

impl std::fmt::Debug for AlignedMemory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "AlignedMemory({} bytes)", self.capacity())
    }
}

/// A mutable slice that parallel tasks write to in disjoint pieces.
pub(crate) struct Shared<'a, T> {
    pointer: *mut T,
    length: usize,
    borrow: std::marker::PhantomData<&'a mut [T]>,
}

// SAFETY: the pieces handed out are disjoint by the promise made at creation, so threads never share a value.
unsafe impl<T: Send> Send for Shared<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Shared<'_, T> {}

impl<'a, T> Shared<'a, T> {
    /// Takes the slice for the time of the parallel work.
    ///
    /// # Safety
    /// Of the pieces taken from it, no two that live at the same time may overlap.
    pub(crate) unsafe fn new(slice: &'a mut [T]) -> Self {
        Self { pointer: slice.as_mut_ptr(), length: slice.len(), borrow: std::marker::PhantomData }
    }

    /// `length` values from `start`.
    #[inline]
    #[expect(clippy::mut_from_ref, reason = "disjointness was promised at creation")]
    pub(crate) fn piece(&self, start: usize, length: usize) -> &mut [T] {
        assert!(start <= self.length && length <= self.length - start, "a piece outside the shared slice");
        // SAFETY: in bounds by the assertion, disjoint from other pieces by the promise made at creation.
        unsafe { std::slice::from_raw_parts_mut(self.pointer.add(start), length) }
    }
}
