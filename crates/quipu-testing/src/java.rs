//! Programs in Java: run from their source, with the jars that the install scripts have fetched.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The version of Kafka that is fetched and tested against.
pub const KAFKA_VERSION: &str = "4.3.1";

/// Where Kafka's jars are; `None`, and a line that says so, where they or Java are not installed.
pub fn kafka() -> Option<PathBuf> {
    let jar = format!("kafka_2.13-{KAFKA_VERSION}.jar");
    jars(&format!("kafka-{KAFKA_VERSION}"), &jar, "Kafka (.ci/install/kafka)")
}

/// Where Debezium's jars are; `None`, and a line that says so, where they or Java are not installed.
pub fn debezium() -> Option<PathBuf> {
    jars("debezium", "pom", "Debezium (.ci/install/debezium)")
}

/// A program in one file with these jars.
pub fn program(jars: &Path, source: &Path) -> Command {
    let mut java = Command::new("java");
    java.args(["-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp"]);
    java.arg(jars.join("*")).arg(source);
    java
}

fn jars(name: &str, file: &str, service: &str) -> Option<PathBuf> {
    let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    let cache = std::env::var_os("XDG_CACHE_HOME").map_or(home.join(".cache"), PathBuf::from);
    let jars = cache.join("quipu").join(name);
    let has_java = Command::new("java").arg("-version").stderr(Stdio::null()).status().is_ok();
    if has_java && jars.join(file).exists() {
        return Some(jars);
    }
    crate::skip(service);
    None
}
