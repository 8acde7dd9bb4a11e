//! What the page's first steps show for Rust compiles as it stands: the programs are files of the page,
//! and modules here. That the page shows these very files is seen in `tests/browser/edges.test.mjs`.

#![expect(dead_code, clippy::print_stdout, reason = "programs to copy, which print")]

#[path = "../../ui/append.rs"]
mod append;
#[path = "../../ui/read.rs"]
mod read;
#[path = "../../ui/subscribe.rs"]
mod subscribe;
