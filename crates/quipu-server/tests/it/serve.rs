//! `quipu serve`, as those who operate it see it: where it listens, how it reloads, how it ends.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::support::{PATIENCE, Running, Store, lines};

/// A server of a store, on a port that the system chose.
fn serve(store: &Store, options: &[&str]) -> (Running, String) {
    let fixed = ["serve", "--listen", "127.0.0.1:0", "--print-address"];
    let running = store.start(&[&fixed[..], options].concat());
    let url = running.line();
    let address = url.strip_prefix("http://").expect("a URL is printed").to_owned();
    (running, address)
}

/// What the server answers to a GET: the status and the body.
fn get(address: &str, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    let body = answer.split_once("\r\n\r\n").unwrap().1;
    (status, body.to_owned())
}

fn metric(address: &str, name: &str) -> Option<f64> {
    let (_, text) = get(address, "/metrics");
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
    line.parse().ok()
}

#[test]
fn an_empty_directory_is_served_and_ends_in_order() {
    let store = Store::missing();
    let begun = Instant::now();

    let (running, address) = serve(&store, &[]);

    // The promise is a tenth of a second; a machine that runs all tests at once gets more.
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    assert_eq!(get(&address, "/health/live"), (200, "live\n".to_owned()));
    assert_eq!(get(&address, "/health/ready"), (200, "ready\n".to_owned()));
    let (status, page) = get(&address, "/");
    assert!(status == 200 && page.contains("<title>Quipu</title>"), "{page}");
    running.signal(Signal::TERM);
    assert_eq!(running.end(), Some(0));
    assert!(TcpStream::connect(&address).is_err());
    store.run(&["verify"]).ok();
}

#[test]
fn what_the_directory_holds_is_what_is_served() {
    let store = Store::with(&lines(7));

    let (running, address) = serve(&store, &[]);

    assert_eq!(metric(&address, "quipu_frontier"), Some(7.0));
    assert!(metric(&address, "quipu_open_files").unwrap() > 3.0);
    running.signal(Signal::INT);
    assert_eq!(running.end(), Some(0));
}

#[test]
fn people_are_told_what_is_served_and_where() {
    let store = Store::with(&lines(2));
    let running = store.start(&["serve", "--listen", "127.0.0.1:0", "--format", "jsonl"]);

    let facts: serde_json::Value = serde_json::from_str(&running.line()).unwrap();

    assert_eq!(facts["last"], 2);
    assert_eq!(facts["data"], store.data().display().to_string());
    let url = facts["url"].as_str().unwrap();
    assert_eq!(get(url.strip_prefix("http://").unwrap(), "/health/live").0, 200);
}

#[test]
fn a_log_in_memory_leaves_nothing_behind() {
    let store = Store::missing();

    let (running, address) = serve(&store, &["--memory"]);

    assert_eq!(metric(&address, "quipu_frontier"), Some(0.0));
    running.signal(Signal::TERM);
    assert_eq!(running.end(), Some(0));
    assert!(!store.data().exists());
}

#[test]
fn the_sample_has_a_past_and_goes_on() {
    let store = Store::missing();

    let (mut running, address) = serve(&store, &["--sample"]);

    // Its history is appended in batches; what comes after that are single events.
    running.until(|| metric(&address, "quipu_frontier").is_some_and(|last| last > 4_000.0));
    let now = metric(&address, "quipu_frontier").unwrap();
    running.until(|| metric(&address, "quipu_frontier").is_some_and(|last| last > now));
    running.signal(Signal::TERM);
    assert_eq!(running.end(), Some(0));
    assert!(!store.data().exists());
}

#[test]
fn a_second_server_of_a_directory_is_refused() {
    let store = Store::missing();
    let (_running, _) = serve(&store, &[]);

    let second = store.run(&["serve", "--listen", "127.0.0.1:0"]);

    second.fails("hint: end the other process first");
}

#[test]
fn an_address_that_is_taken_is_named() {
    let store = Store::missing();
    let (_running, address) = serve(&store, &["--memory"]);

    let second = store.run(&["serve", "--memory", "--listen", &address]);

    second.fails(&format!("could not listen on {address}"));
}

#[test]
fn a_hang_up_reads_the_configuration_again_and_keeps_it_if_it_is_wrong() {
    let store = Store::missing();
    let file = store.file("quipu.toml", "in_flight_max = 5\nlog_level = \"info\"\n");
    let (mut running, address) = serve(&store, &["--memory", "--config", &file]);

    store.file("quipu.toml", "in_flight_max = \"many\"\n");
    running.signal(Signal::HUP);

    let reloads =
        |outcome: &str| metric(&address, &format!("quipu_reloads_total{{outcome=\"{outcome}\"}}"));
    running.until(|| reloads("failed") == Some(1.0));
    store.file("quipu.toml", "in_flight_max = 6\n");
    running.signal(Signal::HUP);
    running.until(|| reloads("done") == Some(1.0));
    running.signal(Signal::TERM);
    assert_eq!(running.end(), Some(0));
}

#[test]
fn a_configuration_is_shown_with_where_it_comes_from() {
    let store = Store::missing();
    let file = store.file("quipu.toml", "listen = \"127.0.0.1:9000\"\n");

    let shown = store.json(&["config", "show", "--config", &file, "--in-flight-max", "3"]);

    let of = |name: &str| {
        let own = shown.iter().find(|own| own["setting"] == name);
        own.map(|own| (own["value"].clone(), own["from"].clone())).unwrap()
    };
    assert_eq!(of("listen"), ("127.0.0.1:9000".into(), "file".into()));
    assert_eq!(of("in_flight_max"), ("3".into(), "flag or environment".into()));
    assert_eq!(of("drain_seconds"), ("10".into(), "default".into()));
    assert_eq!(of("data").1, "flag or environment");
}

#[test]
fn a_wrong_configuration_is_refused_with_its_place() {
    let store = Store::missing();
    let file = store.file("quipu.toml", "listen = \"127.0.0.1:9000\"\nlisten_on = 3\n");

    store.run(&["serve", "--config", &file]).fails("listen_on");
    store.run(&["config", "show", "--config", &file]).fails("line 2");
    store.run(&["serve", "--config", "missing.toml"]).fails("could not read missing.toml");
}

#[test]
fn the_access_log_has_a_line_for_each_request_and_only_where_it_is_wanted() {
    for (options, is_wanted) in [(&["--access-log"][..], true), (&[], false)] {
        let store = Store::missing();
        let log = store.path("log");
        let mut command = store.command();
        command.args(["serve", "--listen", "127.0.0.1:0", "--print-address"]);
        command.args(["--log-format", "json"]).args(options);
        command.stderr(std::fs::File::create(&log).unwrap());
        let running = Running::start_with_errors_elsewhere(&mut command);
        let address = running.line().replace("http://", "");

        get(&address, "/streams/canary-1");
        get(&address, "/nothing/here");
        running.signal(Signal::TERM);
        assert_eq!(running.end(), Some(0));

        let text = std::fs::read_to_string(&log).unwrap();
        let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
        let lines: Vec<serde_json::Value> =
            lines.filter(|line: &serde_json::Value| line["target"] == "quipu::access").collect();
        assert_eq!(lines.len(), if is_wanted { 2 } else { 0 }, "{text}");
        if is_wanted {
            assert_eq!(lines[0]["span"]["operation"], "GET /streams/{stream}");
            assert_eq!(lines[0]["span"]["principal"], "anonymous");
            assert_eq!(lines[0]["fields"]["status"], 200);
            assert_eq!(lines[0]["fields"]["outcome"], "done");
            assert_eq!(lines[1]["fields"]["outcome"], "invalid");
            assert_eq!(lines[1]["span"]["operation"], "unknown");
            assert!(!text.contains("canary") && !text.contains("nothing"), "{text}");
        }
    }
}
