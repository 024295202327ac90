//! The program of all tools: its name selects the tool, or its first argument (`subhost TOOL`).
#![no_main]

subhost::program!(subhost::cli::multi_call_main);
