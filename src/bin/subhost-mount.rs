//! subhost-mount(8).
#![no_main]

subhost::program!(subhost::cli::main::<subhost::cli::MountTool>);
