//! Other programs: where they run and what their failure says.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::output::note;

/// What a chore answers: nothing, or why it failed.
pub(crate) type Outcome = Result<(), String>;

/// The directory that holds the workspace.
pub(crate) fn root() -> PathBuf {
    // As cargo says when it runs this: a target directory may hold what another checkout compiled.
    let own = env::var_os("CARGO_MANIFEST_DIR");
    let own = own.map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from);
    own.parent().expect("xtask is a directory of the workspace").to_path_buf()
}

/// The cargo that runs this chore.
fn cargo() -> String {
    env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned())
}

/// A command of cargo's, to be run in the workspace.
pub(crate) fn cargo_command(args: &[&str]) -> Command {
    let mut command = Command::new(cargo());
    command.args(args).current_dir(root());
    // What cargo says to this program of its own package. Build scripts that look at it would run
    // again, and all that stands on them would be compiled again.
    let own = |name: &str| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_");
    for (name, _) in env::vars_os().filter(|(name, _)| name.to_str().is_some_and(own)) {
        command.env_remove(name);
    }
    command
}

/// Whether cargo has a subcommand, which is a component or a program of its own.
pub(crate) fn has_cargo(subcommand: &str) -> bool {
    let mut command = cargo_command(&[subcommand, "--version"]);
    let quiet = command.stdout(Stdio::null()).stderr(Stdio::null());
    quiet.status().is_ok_and(|status| status.success())
}

/// Says what it runs, runs it, and fails as it fails.
pub(crate) fn step(command: &mut Command) -> Outcome {
    let shown = show(command);
    note(&format!("$ {shown}"));
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("`{shown}` failed: {status}")),
        Err(cause) => Err(format!("`{shown}` could not be started: {cause}")),
    }
}

fn show(command: &Command) -> String {
    let set = command.get_envs().filter_map(|(name, value)| {
        Some(format!("{}={}", name.to_string_lossy(), value?.to_string_lossy()))
    });
    let program = Path::new(command.get_program()).file_name().unwrap_or_default();
    let args = command.get_args().map(|arg| arg.to_string_lossy().into_owned());
    let program = std::iter::once(program.to_string_lossy().into_owned());
    set.chain(program).chain(args).collect::<Vec<_>>().join(" ")
}
