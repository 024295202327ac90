//! subhost-init(8): PID 1 inside.
#![no_main]

subhost::program!(subhost::cli::init::main);
