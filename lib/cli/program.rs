//! Where a program of ours begins: before any tool, and in place of what std does there.
//!
//! Of the part millisecond that a process costs, std's own beginning takes a fifth: above all it reads
//! /proc/self/maps, to tell a stack overflow in words. Our tools do without the words.

use crate::sys;

/// Makes a function of type `fn() -> u8` the program: its value is the exit status.
///
/// To be used once, in a crate with `#![no_main]`.
#[macro_export]
macro_rules! program {
    ($tool:path) => {
        /// The symbol that C's start files call.
        // SAFETY: nothing else of this name is linked in: the crate has no main of Rust's.
        #[allow(unsafe_code)]
        #[unsafe(no_mangle)]
        extern "C" fn main() -> i32 {
            $crate::cli::program::begin();
            i32::from($tool())
        }
    };
}

/// What std does before `main` and we need: 0, 1 and 2 are open, so that nothing else gets these
/// numbers, and a reader that has gone away is an error and no signal.
pub fn begin() {
    sys::open_standard();
    sys::ignore_broken_pipes();
}
