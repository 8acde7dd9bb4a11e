//! The tour with a Kafka, of a program that was built without Kafka's client.
//!
//! The client is a third more to compile, and most who take the tour have no Kafka at hand: so only who
//! asks for it waits for it. What cargo has started has it start the same with the client.

use std::process::Command;

use crate::shop::Failure;

const HOW: &str = "this program was built without Kafka's client; build it with: \
    cargo run --release -p orders --features kafka -- tour --kafka HOST:PORT";

/// Builds the program with the client and runs it with the same arguments. Answers its exit code.
pub(super) fn run() -> Result<u8, Failure> {
    // Where cargo runs a program, it says where it is itself.
    let cargo = std::env::var_os("CARGO").ok_or(HOW)?;
    println!(
        "Kafka's client is not in this program. Cargo builds it in (a minute or two, once) ..."
    );
    let mut again = Command::new(cargo);
    again.args(["run", "--quiet", "--features", "kafka", "--manifest-path"]);
    again.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"));
    if !cfg!(debug_assertions) {
        again.arg("--release");
    }
    let status = again.arg("--").args(std::env::args_os().skip(1)).status()?;
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(crate::COULD_NOT_RUN))
}
