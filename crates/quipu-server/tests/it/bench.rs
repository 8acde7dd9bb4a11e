use std::fs;

use crate::support::Store;

#[test]
fn a_short_measurement_prints_its_rows_and_leaves_nothing() {
    let store = Store::missing();

    let rows = store.json(&["bench", "--seconds", "1"]);

    let what: Vec<_> = rows.iter().map(|row| row["what"].as_str().unwrap()).collect();
    let expected = ["append 1 event", "append 100 events", "append 1 event, 64 threads", "scan"];
    assert_eq!(what, expected);
    let count = |index: usize| rows[index]["events"].as_u64().unwrap();
    assert!(count(0) > 0 && count(1) > 0 && count(2) > 0);
    assert_eq!(count(3), count(0) + count(1) + count(2));
    assert_eq!(fs::read_dir(store.path(".")).unwrap().count(), 0);
}
