//! The allocator of the broker programs.
//!
//! Messages are allocated by one thread and released by another when they go from shard to shard,
//! and in floods they are many: there mimalloc costs a third less than the system's allocator, or
//! half. A program that embeds a broker chooses for itself.

use std::ffi::c_long;

/// What a program makes its `#[global_allocator]`.
pub use mimalloc::MiMalloc as Allocator;

/// For how long memory that nobody uses is kept, in milliseconds. With the second that is the
/// allocator's default, half as much again is held after many clients have come.
const PURGE_DELAY: c_long = 10;

/// The option's number in `mi_option_e` of mimalloc.h, versions 2 and 3: the crate does not name
/// it.
const PURGE_DELAY_OPTION: libmimalloc_sys::mi_option_t = 15;

/// To be called when the program begins. Without effect if its allocator is another one.
pub fn tune() {
    #[expect(unsafe_code, reason = "a call of C that sets a number")]
    // SAFETY: any number is allowed, at any time, from any thread.
    unsafe {
        libmimalloc_sys::mi_option_set(PURGE_DELAY_OPTION, PURGE_DELAY);
    }
}
