//! A bare `INSERT`, by `pgbench`.

use std::io::Write as _;
use std::process::{Command, Stdio};

use quipu_testing::postgres::{Server, USER};

use crate::Job;

pub(crate) fn prepare(server: &Server) {
    server.sql("bare", "create table bare (n bigserial primary key, data bytea)");
}

/// A program of the database's, with where to find it.
fn program(server: &Server, name: &str) -> Command {
    let mut program = server.command(name);
    program.arg("-h").arg(server.socket()).args(["-p", &server.port().to_string(), "-U", USER]);
    program
}

/// Events a second.
pub(crate) fn insert(server: &Server, job: Job, seconds: u64) -> f64 {
    let script = match job.events {
        1 => "insert into bare (data) values (decode(repeat('ab', 256), 'hex'));".to_owned(),
        count => format!(
            "insert into bare (data) select decode(repeat('ab', 256), 'hex') \
             from generate_series(1, {count});"
        ),
    };
    let mut pgbench = program(server, "pgbench");
    pgbench.args(["-n", "-M", "prepared", "-j", "2", "-f", "-"]);
    pgbench.args(["-c", &job.clients.to_string(), "-T", &seconds.to_string(), "bare"]);
    pgbench.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = pgbench.spawn().unwrap();
    child.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    let output = String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap();
    let tps = output.lines().find_map(|line| line.strip_prefix("tps = ")).expect("it ran");
    let tps: f64 = tps.split(' ').next().unwrap().parse().unwrap();
    tps * job.events as f64
}
