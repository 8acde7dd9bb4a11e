//! A shop: `cargo run -p orders` takes orders from their creation to their parcel, cancels one that
//! nobody pays, reads one of an earlier version of the program, lists them, and publishes what others
//! may know. `cargo run --release -p orders -- tour` shows and checks what all of it rests on.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "the example shows what it does")]

mod arguments;
mod demo;
mod list;
mod order;
mod payment;
mod public;
mod shop;
#[cfg(test)]
mod tests;
mod tour;

use std::process::ExitCode;

use arguments::{HELP, Wish};
use shop::Failure;

/// The exit code of a program that could not do what it was asked for.
const COULD_NOT_RUN: u8 = 2;

// Some checks of the tour have two clerks wait for each other, each in a thread.
#[tokio::main(flavor = "multi_thread", worker_threads = 4)]
async fn main() -> ExitCode {
    match run().await {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            eprintln!("error: {failure}");
            let mut cause = failure.source();
            while let Some(error) = cause {
                eprintln!("cause: {error}");
                cause = error.source();
            }
            ExitCode::from(COULD_NOT_RUN)
        }
    }
}

async fn run() -> Result<u8, Failure> {
    match arguments::parse(&example_store::arguments())? {
        Wish::Help => println!("{HELP}"),
        Wish::Demo => demo::run().await?,
        Wish::Tour(options) => return tour::run(&options).await,
        Wish::Child(child) => tour::run_child(&child).await?,
    }
    Ok(0)
}
