//! All tools in one program: by the name it is called by, or `subhost TOOL`.
#![no_main]

subhost::program!(subhost::cli::any);
