use super::*;

const fn field(name: &'static str, ty: &'static str, optional: bool) -> FieldShape {
    FieldShape { name, ty, tag: "", serde: "", optional }
}

/// Leaks the fields, as derives have them for ever.
fn shape(version: u32, fields: Vec<FieldShape>) -> EventShape {
    EventShape {
        event_type: "order.placed",
        version,
        content_type: "application/json",
        serde: "",
        fields: fields.leak(),
    }
}

fn v1() -> EventShape {
    shape(1, vec![field("order", "OrderId", false), field("cents", "u64", false)])
}

/// A lock file that has version 1 of the event.
fn locked() -> (tempfile::TempDir, std::path::PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("events.lock");
    compare(&path, &[v1()], Mode::Update).unwrap();
    (directory, path)
}

fn breaking(shape: EventShape) -> String {
    let (_directory, path) = locked();
    let before = fs::read_to_string(&path).unwrap();

    let refused = compare(&path, &[shape], Mode::Update).unwrap_err();

    assert!(matches!(refused, LockError::Breaking { .. }), "{refused}");
    assert_eq!(fs::read_to_string(&path).unwrap(), before, "an update never breaks the file");
    refused.to_string()
}

#[test]
fn a_missing_file_is_out_of_date_until_it_is_updated() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("events.lock");

    let missing = compare(&path, &[v1()], Mode::Check).unwrap_err();
    compare(&path, &[v1()], Mode::Update).unwrap();

    assert!(missing.to_string().contains("order.placed version 1 is new"), "{missing}");
    assert!(missing.to_string().contains("UPDATE=1"), "{missing}");
    assert!(compare(&path, &[v1()], Mode::Check).is_ok());
}

#[test]
fn the_file_is_written_for_people() {
    let (_directory, path) = locked();

    let text = fs::read_to_string(path).unwrap();

    let expected = "# The shapes of stored events, kept by quipu::lock::check!. Commit this file.\n\
                    \n1 order.placed | application/json\n  order | OrderId\n  cents | u64\n";
    assert_eq!(text, expected);
}

#[test]
fn a_new_optional_field_only_extends() {
    let (_directory, path) = locked();
    let extended = shape(
        1,
        vec![
            field("order", "OrderId", false),
            field("cents", "u64", true),
            field("note", "Option<String>", true),
        ],
    );

    let outdated = compare(&path, &[extended], Mode::Check).unwrap_err().to_string();
    compare(&path, &[extended], Mode::Update).unwrap();

    assert!(outdated.contains("a new field `note`"), "{outdated}");
    assert!(outdated.contains("the field `cents` of order.placed is optional now"), "{outdated}");
    assert!(compare(&path, &[extended], Mode::Check).is_ok());
}

#[test]
fn a_new_version_keeps_the_old_one_in_the_file() {
    let (_directory, path) = locked();
    let second = shape(2, vec![field("total", "Money", false)]);

    compare(&path, &[second], Mode::Update).unwrap();

    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains("1 order.placed") && text.contains("2 order.placed"), "{text}");
    let back = compare(&path, &[v1()], Mode::Update).unwrap_err().to_string();
    assert!(back.contains("went back from version 2 to 1"), "{back}");
    assert!(compare(&path, &[v1(), second], Mode::Check).is_ok(), "both may be in use");
}

#[test]
fn what_old_data_does_not_fit_is_refused_with_what_changed() {
    let lost = breaking(shape(1, vec![field("order", "OrderId", false)]));
    assert!(lost.contains("lost the field `cents`") && lost.contains("version 2"), "{lost}");

    let changed =
        breaking(shape(1, vec![field("order", "OrderId", false), field("cents", "i64", false)]));
    assert!(changed.contains("\"cents | u64\" and is \"cents | i64\""), "{changed}");

    let required = breaking(shape(
        1,
        vec![
            field("order", "OrderId", false),
            field("cents", "u64", false),
            field("currency", "String", false),
        ],
    ));
    assert!(required.contains("new field `currency` that old data lacks"), "{required}");

    let codec = breaking(EventShape { content_type: "application/cbor", ..v1() });
    assert!(codec.contains("application/cbor"), "{codec}");

    let gone = breaking(EventShape { event_type: "order.paid", ..v1() });
    assert!(gone.contains("order.placed version 1 is in"), "{gone}");
}

#[test]
fn a_file_that_is_none_is_refused_with_its_line() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("events.lock");
    for text in ["  field | u8\n", "# fine\nnonsense\n", "x order | json\n", "1 a | j\n\n1 a | j\n"]
    {
        fs::write(&path, text).unwrap();

        let refused = compare(&path, &[v1()], Mode::Update).unwrap_err();

        assert!(matches!(refused, LockError::Malformed { .. }), "{text:?}: {refused}");
    }
}
