//! subhost-config(8).
#![no_main]

subhost::program!(subhost::cli::main::<subhost::cli::ConfigTool>);
