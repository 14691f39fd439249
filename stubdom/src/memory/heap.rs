// SPDX-License-Identifier: MIT OR Apache-2.0
//! The heap: filled at start, then locked. Nothing on the lending path can allocate.

use core::alloc::{GlobalAlloc, Layout};
use core::sync::atomic::{AtomicBool, Ordering};

use embedded_alloc::LlffHeap;

/// The heap behind `alloc`.
struct LockableHeap {
    heap: LlffHeap,
    locked: AtomicBool,
}

#[global_allocator]
static HEAP: LockableHeap = LockableHeap { heap: LlffHeap::empty(), locked: AtomicBool::new(false) };

// SAFETY: hands on to the heap; a panic instead of memory is not a return.
unsafe impl GlobalAlloc for LockableHeap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        assert!(!self.locked.load(Ordering::Relaxed), "allocation of {} bytes after start", layout.size());
        // SAFETY: the caller's promises are this method's own.
        unsafe { self.heap.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { self.heap.dealloc(pointer, layout) };
    }
}

/// Gives the heap its memory.
///
/// # Safety
/// Called once; the span is mapped, writable RAM that nothing else uses.
pub unsafe fn init(start: u64, end: u64) {
    // SAFETY: as the caller promises.
    unsafe { HEAP.heap.init(start as usize, (end - start) as usize) };
}

/// From now on an allocation is a bug and panics.
pub fn lock() {
    HEAP.locked.store(true, Ordering::Relaxed);
}

/// One more borrower needs its tables: until [`lock`].
pub fn unlock() {
    HEAP.locked.store(false, Ordering::Relaxed);
}

/// Bytes in use and free.
pub fn usage() -> (usize, usize) {
    (HEAP.heap.used(), HEAP.heap.free())
}

/// One vCPU without interrupts: every section is critical.
struct NoOtherFlow;
critical_section::set_impl!(NoOtherFlow);

// SAFETY: no second flow of control exists (`crate::single`).
unsafe impl critical_section::Impl for NoOtherFlow {
    unsafe fn acquire() -> critical_section::RawRestoreState {}
    unsafe fn release((): critical_section::RawRestoreState) {}
}
