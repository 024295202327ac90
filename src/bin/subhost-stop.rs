//! subhost-stop(8).
#![no_main]

subhost::program!(subhost::cli::main::<subhost::cli::StopTool>);
