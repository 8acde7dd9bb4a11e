//! The process map of a real log, against a count over its file; and its exports, against the tool
//! that is to read them.

use std::collections::{BTreeMap, HashMap};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;

use rustix::process::Signal;
use serde_json::Value;

use crate::support::{PATIENCE, Running, Store, program, real_log, skip};

/// Where `.ci/install/pm4py` puts it.
const PYTHON: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/pm4py/bin/python");

/// A served log.
struct Served {
    store: Store,
    running: Running,
    address: String,
}

impl Served {
    fn of_loans() -> Option<Self> {
        let Some(path) = real_log("loans.jsonl.gz") else {
            eprintln!("SKIPPED: there is no shared/data/loans.jsonl.gz in or above the workspace");
            return None;
        };
        let store = Store::missing();
        store.run(&["import", "--keep-time", &path.display().to_string()]).ok();
        let running = store.start(&["serve", "--listen", "127.0.0.1:0", "--print-address"]);
        let address = running.line().strip_prefix("http://").unwrap().to_owned();
        Some(Self { store, running, address })
    }

    /// The body of the answer to a GET over HTTP/1.0: it ends with the connection.
    fn get(&self, path: &str, accept: &str) -> Vec<u8> {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let host = &self.address;
        write!(stream, "GET {path} HTTP/1.0\r\nhost: {host}\r\naccept: {accept}\r\n\r\n").unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let head = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
        let status = String::from_utf8_lossy(&answer[..head]).into_owned();
        assert!(status.starts_with("HTTP/1.0 200"), "{path}: {status}");
        answer.split_off(head + 4)
    }

    fn json(&self, path: &str) -> Value {
        serde_json::from_slice(&self.get(path, "application/json")).unwrap()
    }

    fn end(self) {
        self.running.signal(Signal::TERM);
        assert_eq!(self.running.end(), Some(0));
    }
}

/// What the file says, counted in the plainest way.
#[derive(Default)]
struct Counted {
    types: BTreeMap<String, u64>,
    starts: BTreeMap<String, u64>,
    waits: BTreeMap<(String, String), Vec<i64>>,
    cases: BTreeMap<String, Vec<String>>,
}

fn count(until: Option<&str>) -> Counted {
    let file = std::fs::File::open(real_log("loans.jsonl.gz").unwrap()).unwrap();
    let lines = BufReader::new(flate2::read::MultiGzDecoder::new(file)).lines();
    let mut counted = Counted::default();
    let mut last: HashMap<String, (String, i64)> = HashMap::new();
    // The store never lets a time go back: a line's time is at least that of the one before.
    let mut at = i64::MIN;
    for line in lines {
        let event: Value = serde_json::from_str(&line.unwrap()).unwrap();
        let text = |name: &str| event[name].as_str().unwrap().to_owned();
        if until.is_some_and(|until| text("time").as_str() > until) {
            break;
        }
        let time: jiff::Timestamp = text("time").parse().unwrap();
        at = at.max(time.as_microsecond());
        let (stream, event_type) = (text("stream"), text("type"));
        *counted.types.entry(event_type.clone()).or_default() += 1;
        match last.insert(stream.clone(), (event_type.clone(), at)) {
            None => *counted.starts.entry(event_type.clone()).or_default() += 1,
            Some((before, since)) => {
                counted.waits.entry((before, event_type.clone())).or_default().push(at - since);
            }
        }
        counted.cases.entry(stream).or_default().push(event_type);
    }
    counted.waits.values_mut().for_each(|waits| waits.sort_unstable());
    counted
}

fn assert_is_what_was_counted(map: &Value, counted: &Counted) {
    let number = |value: &Value| value.as_u64().unwrap();
    let types: BTreeMap<String, u64> = map["types"]
        .as_array()
        .unwrap()
        .iter()
        .map(|own| (own["type"].as_str().unwrap().to_owned(), number(&own["count"])))
        .collect();
    assert_eq!(types, counted.types);
    assert_eq!(number(&map["case_count"]), counted.cases.len() as u64);
    for own in map["types"].as_array().unwrap() {
        let name = own["type"].as_str().unwrap();
        let starts = counted.starts.get(name).copied().unwrap_or_default();
        let ends = counted.cases.values().filter(|case| case.last().unwrap() == name).count();
        assert_eq!((number(&own["start_count"]), number(&own["end_count"])), (starts, ends as u64));
    }
    let edges = map["edges"].as_array().unwrap();
    assert_eq!(edges.len(), counted.waits.len());
    for edge in edges {
        let name = |end: &str| edge[end].as_str().unwrap().to_owned();
        let waits = &counted.waits[&(name("from"), name("to"))];
        assert_eq!(number(&edge["count"]), waits.len() as u64, "{edge}");
        for (percent, told) in [(50, &edge["median_us"]), (90, &edge["p90_us"])] {
            let exact = waits[(waits.len() * percent).div_ceil(100) - 1].unsigned_abs();
            let error = number(told).abs_diff(exact);
            assert!(error <= exact / 100, "{percent} % of {edge} is {exact}");
        }
    }
    let mut paths: HashMap<&[String], u64> = HashMap::new();
    for case in counted.cases.values() {
        *paths.entry(case).or_default() += 1;
    }
    assert_eq!(number(&map["path_count"]), paths.len() as u64);
    for path in map["paths"].as_array().unwrap() {
        let types: Vec<String> = serde_json::from_value(path["types"].clone()).unwrap();
        assert_eq!(paths.get(types.as_slice()), Some(&number(&path["count"])), "{path}");
    }
    let most = paths.values().max().unwrap();
    assert_eq!(number(&map["paths"][0]["count"]), *most);
}

#[test]
fn the_map_of_a_real_log_is_what_counting_finds_now_and_as_of_then() {
    let Some(served) = Served::of_loans() else { return };

    let map = served.json("/process-map?query=category:loan");
    let by_tag = served.json("/process-map?case=tag:loan");
    let then = served.json("/process-map?as_of=2011-12-24T00:00:00Z");
    let told = served.get("/process-map?query=category:loan&as_of=200000", "text/event-stream");

    assert_is_what_was_counted(&map, &count(None));
    assert_is_what_was_counted(&by_tag, &count(None));
    assert_is_what_was_counted(&then, &count(Some("2011-12-24T00:00:00")));
    let told = String::from_utf8(told).unwrap();
    assert!(told.starts_with("event: progress\ndata: {\"position\":"), "{told}");
    assert!(told.contains("\n\nevent: map\ndata: {\"position\":200000,"), "{told}");
    served.end();
}

#[test]
fn a_map_goes_on_from_where_it_was() {
    let Some(served) = Served::of_loans() else { return };
    let before = served.json("/process-map?query=category:loan");

    let url = format!("http://{}", served.address);
    let (stream, kind) = ("loan-new", "ApplicationSubmitted");
    for _ in 0..2 {
        let args = ["append", "--url", &url, stream, "--type", kind, "--json", "{}"];
        served.store.run(&args).ok();
    }

    let after = served.json("/process-map?query=category:loan");
    let count = |map: &Value, name: &str| map[name].as_u64().unwrap();
    assert_eq!(count(&after, "case_count"), count(&before, "case_count") + 1);
    assert_eq!(count(&after, "event_count"), count(&before, "event_count") + 2);
    let loop_of = |map: &Value| {
        let edges = map["edges"].as_array().unwrap();
        edges.iter().find(|edge| edge["from"] == kind && edge["to"] == kind).cloned()
    };
    assert!(loop_of(&before).is_none());
    assert_eq!(loop_of(&after).unwrap()["count"], 1);
    served.end();
}

#[test]
fn the_cases_behind_an_edge_are_all_found() {
    let Some(served) = Served::of_loans() else { return };
    let counted = count(None);
    let edge = ("ApplicationPreaccepted".to_owned(), "WorkItemScheduled".to_owned());
    let wanted = counted.waits[&edge].len();

    let mut found = Vec::new();
    let mut next = Some(format!(
        "/process-map/cases?query=category:loan&from={}&to={}&limit=200",
        edge.0, edge.1
    ));
    while let Some(path) = next {
        let page = served.json(&path);
        found.extend(page["cases"].as_array().unwrap().iter().cloned());
        next = page["next"].as_str().map(str::to_owned);
        // The first thousand tell.
        if found.len() >= 1_000 {
            break;
        }
    }

    assert!(found.len() >= wanted.min(1_000), "{} of {wanted}", found.len());
    for case in &found {
        let types = &counted.cases[case["case"].as_str().unwrap()];
        assert!(types.windows(2).any(|two| two[0] == edge.0 && two[1] == edge.1), "{case}");
    }
    let places: Vec<u64> = found.iter().map(|own| own["to"].as_u64().unwrap()).collect();
    assert!(places.is_sorted_by(|a, b| a > b), "the newest first, none twice");
    served.end();
}

/// What pm4py reads, as JSON. XES comes with its cases, OCEL with events, objects and relations.
const READER: &str = "
import json, sys, warnings
warnings.filterwarnings('ignore')
import pm4py
log = pm4py.read_xes(sys.argv[1])
dfg, starts, ends = pm4py.discover_dfg(log)
ocel = pm4py.read_ocel2_json(sys.argv[2])
print('RESULT ' + json.dumps({
    'events': len(log), 'cases': int(log['case:concept:name'].nunique()),
    'dfg': [[a, b, int(n)] for (a, b), n in dfg.items()],
    'ocel_events': len(ocel.events), 'objects': len(ocel.objects), 'relations': len(ocel.relations),
    'types': sorted(pm4py.ocel_get_object_types(ocel)),
}))
";

#[test]
fn what_is_exported_is_what_pm4py_reads() {
    if !Path::new(PYTHON).is_file() || program("python3").is_none() {
        return skip("pm4py is missing: run .ci/install/pm4py");
    }
    let Some(served) = Served::of_loans() else { return };
    let query = "as_of=60000&query=category:loan";
    let map = served.json(&format!("/process-map?{query}"));
    let xes = served.get(&format!("/process-map/export?format=xes&{query}"), "*/*");
    let ocel = served.get(&format!("/process-map/export?format=ocel&{query}"), "*/*");
    let (xes, ocel) = (served.store.file("log.xes", xes), served.store.file("log.jsonocel", ocel));

    let output = Command::new(PYTHON).args(["-c", READER, &xes, &ocel]).output().unwrap();

    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    let result = text.lines().find_map(|line| line.strip_prefix("RESULT "));
    let read: Value = serde_json::from_str(result.unwrap_or_else(|| panic!("{errors}"))).unwrap();
    assert_eq!(read["events"], 60_000);
    assert_eq!(read["cases"], map["case_count"]);
    let edges = map["edges"].as_array().unwrap().iter();
    let ours: BTreeMap<(String, String), u64> = edges
        .map(|edge| {
            let name = |end: &str| edge[end].as_str().unwrap().to_owned();
            ((name("from"), name("to")), edge["count"].as_u64().unwrap())
        })
        .collect();
    let theirs: Vec<(String, String, u64)> = serde_json::from_value(read["dfg"].clone()).unwrap();
    let theirs: BTreeMap<_, _> = theirs.into_iter().map(|(a, b, n)| ((a, b), n)).collect();
    assert_eq!(theirs, ours, "pm4py's own graph of what follows what is ours");
    assert_eq!(read["ocel_events"], 60_000);
    assert_eq!(read["types"], serde_json::json!(["loan", "loan stream", "resource"]));
    let objects = read["objects"].as_u64().unwrap();
    assert!(objects > 2 * map["case_count"].as_u64().unwrap(), "{objects}");
    served.end();
}
