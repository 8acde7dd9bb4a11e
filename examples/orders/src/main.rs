//! The program: what it is asked for, and how it ends.

#![expect(clippy::print_stderr, reason = "what goes wrong is said")]

use std::process::ExitCode;

// Some checks of the tour have two clerks wait for each other, each in a thread.
#[tokio::main(flavor = "multi_thread", worker_threads = 4)]
async fn main() -> ExitCode {
    match orders::run(&example_store::arguments()).await {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            eprintln!("error: {failure}");
            let mut cause = failure.source();
            while let Some(error) = cause {
                eprintln!("cause: {error}");
                cause = error.source();
            }
            ExitCode::from(orders::COULD_NOT_RUN)
        }
    }
}
