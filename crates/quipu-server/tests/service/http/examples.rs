//! The programs in other languages that talk plain HTTP.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use super::client::World;
use crate::tools;

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples").join(name)
}

/// Runs a program to its end while this server's tasks go on.
async fn output(mut command: Command) -> Output {
    tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap()
}

/// Runs an example against a server of its own. It succeeds only if both conflicts occurred.
async fn run(mut command: Command) {
    let world = World::new().await;
    command.arg(format!("http://{}", world.address));

    let ran = output(command).await;

    let text = String::from_utf8_lossy(&ran.stdout);
    assert!(ran.status.success(), "{text}{}", String::from_utf8_lossy(&ran.stderr));
    assert_eq!(text.matches("conflict:").count(), 2, "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn python_appends_rebuilds_and_handles_conflicts() {
    if Command::new("python3").arg("--version").output().is_err() {
        return tools::missing("python3 is not installed");
    }
    let mut command = Command::new("python3");
    command.arg(example("python/order.py"));
    run(command).await;
}

/// The example's types are checked, too: that is what its readers use them for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn typescript_appends_rebuilds_and_handles_conflicts() {
    let Some(modules) = tools::find("typescript", "node_modules") else { return };
    let compiled = tempfile::tempdir().unwrap();
    std::fs::write(compiled.path().join("package.json"), r#"{"type":"module"}"#).unwrap();
    let mut compile = Command::new("node");
    compile.arg(modules.join("typescript/bin/tsc"));
    compile.args(["--strict", "--target", "es2023", "--module", "esnext", "--lib", "es2023"]);
    compile.args(["--moduleResolution", "bundler", "--moduleDetection", "force"]);
    compile.args(["--types", "node", "--typeRoots"]).arg(modules.join("@types"));
    compile.arg("--outDir").arg(compiled.path()).arg(example("typescript/order.ts"));

    let said = output(compile).await;

    let text = String::from_utf8_lossy(&said.stdout);
    assert!(said.status.success(), "{text}{}", String::from_utf8_lossy(&said.stderr));
    let mut command = Command::new("node");
    command.arg(compiled.path().join("order.js"));
    run(command).await;
}
