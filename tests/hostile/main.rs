//! Trees, images and processes made to harm: each is used or refused, within seconds, with an exit status of the
//! table, and nothing of the host outside the subhost's tree is opened, changed or mounted on.

mod canary;
mod cases;
#[path = "../common/mod.rs"]
mod common;
mod image;
mod process;
mod resolution;
mod shape;
mod tree;
