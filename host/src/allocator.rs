//! The allocator of the broker programs.
//!
//! Messages are allocated by one thread and released by another when they go from shard to shard,
//! and in floods they are many: there mimalloc costs a third less than the system's allocator, or
//! half. A program that embeds a broker chooses for itself.

use std::alloc::{GlobalAlloc, Layout};
use std::ffi::{c_long, c_void};

use libmimalloc_sys as mi;

/// What a program makes its `#[global_allocator]`.
///
/// The crate `mimalloc` has one too, which asks for the alignment each time: above a kibibyte that
/// takes 200 instructions more than to ask for memory alone, which is aligned for all but a few.
#[derive(Debug)]
pub struct Allocator;

/// All that mimalloc returns is aligned to this many bytes.
const ALIGNED: usize = align_of::<usize>();

#[expect(unsafe_code, reason = "an allocator cannot be had otherwise")]
// SAFETY: mimalloc keeps the contract: it returns null or a block of that size that nobody else
// has until it is freed, aligned as asked for, or, where it was not asked, to `ALIGNED` at least.
// Blocks from all of its functions are freed and resized alike.
unsafe impl GlobalAlloc for Allocator {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: see above; the size is not zero.
        let block = unsafe {
            match layout.align() {
                ..=ALIGNED => mi::mi_malloc(layout.size()),
                align => mi::mi_malloc_aligned(layout.size(), align),
            }
        };
        block.cast()
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: see above; the size is not zero.
        let block = unsafe {
            match layout.align() {
                ..=ALIGNED => mi::mi_zalloc(layout.size()),
                align => mi::mi_zalloc_aligned(layout.size(), align),
            }
        };
        block.cast()
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, _: Layout) {
        // SAFETY: see above; the block is one of these.
        unsafe { mi::mi_free(block.cast::<c_void>()) }
    }

    #[inline]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let block = block.cast::<c_void>();
        // SAFETY: see above; the block is one of these, and the new size is not zero.
        let block = unsafe {
            match layout.align() {
                ..=ALIGNED => mi::mi_realloc(block, size),
                align => mi::mi_realloc_aligned(block, size, align),
            }
        };
        block.cast()
    }
}

/// For how long memory that nobody uses is kept, in milliseconds. With the second that is the
/// allocator's default, half as much again is held after many clients have come.
const PURGE_DELAY: c_long = 10;

/// The option's number in `mi_option_e` of mimalloc.h, versions 2 and 3: the crate does not name
/// it.
const PURGE_DELAY_OPTION: mi::mi_option_t = 15;

/// To be called when the program begins. Without effect if its allocator is another one.
pub fn tune() {
    #[expect(unsafe_code, reason = "a call of C that sets a number")]
    // SAFETY: any number is allowed, at any time, from any thread.
    unsafe {
        mi::mi_option_set(PURGE_DELAY_OPTION, PURGE_DELAY);
    }
}
