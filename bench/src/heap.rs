//! How much memory is allocated, by count.
//!
//! Counting costs a little on every allocation, so it is switched on only in the processes that
//! measure memory, before they do anything else.
#![expect(unsafe_code, reason = "an allocator is unsafe to implement; this one only counts")]

use std::alloc::{GlobalAlloc, Layout};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use mimalloc::MiMalloc;

static IS_ON: AtomicBool = AtomicBool::new(false);
static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

/// The allocator that the `quipu` binary has, counted.
pub(crate) struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Counts from here on.
pub(crate) fn switch_on() {
    IS_ON.store(true, Ordering::SeqCst);
}

/// Bytes allocated and not freed: ours, and SQLite's, which has an allocator of its own.
pub(crate) fn live() -> usize {
    LIVE.load(Ordering::SeqCst).saturating_add(sqlite())
}

/// The most bytes that were allocated at one time since the last [`reset_peak`].
pub(crate) fn peak() -> usize {
    PEAK.load(Ordering::SeqCst).saturating_add(sqlite_peak())
}

/// Forgets the peak.
pub(crate) fn reset_peak() {
    PEAK.store(LIVE.load(Ordering::SeqCst), Ordering::SeqCst);
}

fn sqlite() -> usize {
    // SAFETY: the function only reads a counter that SQLite guards itself.
    let bytes = unsafe { rusqlite::ffi::sqlite3_memory_used() };
    usize::try_from(bytes).unwrap_or(0)
}

fn sqlite_peak() -> usize {
    // SAFETY: the function only reads a counter that SQLite guards itself.
    let bytes = unsafe { rusqlite::ffi::sqlite3_memory_highwater(0) };
    usize::try_from(bytes).unwrap_or(0)
}

fn grow(size: usize) {
    let live = LIVE.fetch_add(size, Ordering::Relaxed).wrapping_add(size);
    PEAK.fetch_max(live, Ordering::Relaxed);
}

fn shrink(size: usize) {
    // What was allocated before the count began may be freed after: never below zero.
    let less = |live: usize| Some(live.saturating_sub(size));
    // It cannot fail: the closure always answers a value.
    let _ = LIVE.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
}

// SAFETY: every call goes to the system's allocator as it came; counting touches only atomics.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if IS_ON.load(Ordering::Relaxed) {
            grow(layout.size());
        }
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { MiMalloc.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if IS_ON.load(Ordering::Relaxed) {
            grow(layout.size());
        }
        // SAFETY: the caller keeps the contract of `alloc_zeroed`.
        unsafe { MiMalloc.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, old: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if IS_ON.load(Ordering::Relaxed) {
            shrink(layout.size());
            grow(size);
        }
        // SAFETY: the caller keeps the contract of `realloc`.
        unsafe { MiMalloc.realloc(old, layout, size) }
    }

    unsafe fn dealloc(&self, old: *mut u8, layout: Layout) {
        if IS_ON.load(Ordering::Relaxed) {
            shrink(layout.size());
        }
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { MiMalloc.dealloc(old, layout) }
    }
}
