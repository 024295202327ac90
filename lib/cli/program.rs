//! The C main function of our programs, in place of the Rust runtime's.
//!
//! The start of the Rust runtime takes a fifth of the time of a short process. Mostly it reads
//! /proc/self/maps, to print a message at a stack overflow. Our programs do without that message.

use crate::sys;

/// Makes a function of type `fn() -> u8` the main function of a program. Its value is the exit status.
///
/// A crate with `#![no_main]` uses it once.
#[macro_export]
macro_rules! program {
    ($tool:path) => {
        /// Runs the program. The C start files call this symbol.
        // SAFETY: no other symbol has this name, because `#![no_main]` omits the Rust runtime's.
        #[allow(unsafe_code)]
        #[unsafe(no_mangle)]
        extern "C" fn main() -> i32 {
            $crate::cli::program::begin();
            i32::from($tool())
        }
    };
}

/// Does what we need of the Rust runtime's start. It opens the descriptors 0, 1 and 2 if they are closed, so
/// that no other file gets these numbers, and ignores SIGPIPE, so that a write to a closed pipe fails with
/// EPIPE.
pub fn begin() {
    sys::open_standard();
    sys::ignore_broken_pipes();
}
