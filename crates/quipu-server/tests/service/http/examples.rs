use std::path::{Path, PathBuf};
use std::process::Command;

use super::client::World;

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples").join(name)
}

/// Runs an example against a server of its own. It succeeds only if both conflicts occurred.
async fn run(program: &'static str, name: &str) {
    let world = World::new().await;
    let mut command = Command::new(program);
    command.arg(example(name)).arg(format!("http://{}", world.address));

    let ran = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();

    let text = String::from_utf8_lossy(&ran.stdout);
    assert!(ran.status.success(), "{text}{}", String::from_utf8_lossy(&ran.stderr));
    assert_eq!(text.matches("conflict:").count(), 2, "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn python_appends_rebuilds_and_handles_conflicts() {
    if Command::new("python3").arg("--version").output().is_err() {
        eprintln!("SKIPPED: python3 is not installed");
        return;
    }
    run("python3", "python/order.py").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn typescript_appends_rebuilds_and_handles_conflicts() {
    let probe = "process.exit(process.features.typescript ? 0 : 1)";
    let strips_types = Command::new("node").args(["-e", probe]).status();
    if !strips_types.is_ok_and(|status| status.success()) {
        eprintln!("SKIPPED: there is no node that runs TypeScript, which 22.18 is the first to do");
        return;
    }
    run("node", "typescript/order.ts").await;
}
