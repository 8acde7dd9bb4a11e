//! A shop: `cargo run -p orders` takes orders from their creation to their parcel, cancels one that
//! nobody pays, reads one of an earlier version of the program, lists them, and publishes what others
//! may know. `cargo run --release -p orders -- tour` shows and checks what all of it rests on.

#![expect(clippy::print_stdout, reason = "the example shows what it does")]

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

use arguments::{HELP, Wish};

/// The exit code of a program that could not do what it was asked for.
pub const COULD_NOT_RUN: u8 = 2;

/// Does what the arguments ask for. Answers the exit code.
///
/// # Errors
///
/// If it could not be done: what went wrong, in whichever part of the shop.
pub async fn run(arguments: &[String]) -> Result<u8, Box<dyn std::error::Error + Send + Sync>> {
    match arguments::parse(arguments)? {
        Wish::Help => println!("{HELP}"),
        Wish::Demo => demo::run().await?,
        Wish::Tour(options) => return tour::run(&options).await,
        Wish::Child(child) => tour::run_child(&child).await?,
    }
    Ok(0)
}
