use crate::support::Store;

const VERBS: &[&str] = &[
    "import",
    "export",
    "append",
    "read",
    "tail",
    "streams",
    "stats",
    "schemas",
    "projections",
    "parked",
    "relay",
    "verify",
    "rebuild-index",
    "scavenge",
    "stream",
    "backup",
    "restore",
    "serve",
    "config",
    "bench",
    "token",
    "user",
    "rule",
    "cert",
    "completions",
];

#[test]
fn the_version_is_printed() {
    let ran = Store::missing().run(&["--version"]).ok();

    assert_eq!(ran.out(), format!("quipu {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn help_names_every_verb() {
    let help = Store::missing().run(&["--help"]).ok().out();

    for verb in VERBS {
        assert!(help.contains(&format!("\n  {verb} ")), "{verb} in {help}");
    }
}

#[test]
fn every_verb_has_help_with_an_example() {
    let store = Store::missing();
    let stream_verbs = ["info", "metadata", "truncate", "delete", "tombstone"];
    let nested = stream_verbs.iter().map(|verb| vec!["stream", verb]);
    let projection_verbs = ["pause", "resume", "retry", "promote", "rebuild"];
    let nested = nested.chain(projection_verbs.iter().map(|verb| vec!["projections", verb]));
    let nested = nested.chain(["list", "retry", "drop"].iter().map(|verb| vec!["parked", verb]));
    let relay_verbs = ["run", "check", "list", "pause", "resume", "retry", "replay"];
    let nested = nested.chain(relay_verbs.iter().map(|verb| vec!["relay", verb]));
    let access_verbs = [
        ("token", &["create", "list", "revoke"][..]),
        ("user", &["add", "list", "remove", "passwd", "certificate"]),
        ("rule", &["add", "list", "remove"]),
        ("cert", &["init", "client"]),
    ];
    let access_verbs =
        access_verbs.iter().flat_map(|(verb, nested)| nested.iter().map(|it| vec![*verb, it]));
    let nested = nested.chain(access_verbs);
    let plain = VERBS.iter().filter(|verb| **verb != "stream").map(|verb| vec![*verb]);
    for verb in plain.chain(nested) {
        let help = store.run(&[&verb[..], &["--help"]].concat()).ok().out();

        assert!(help.contains("Example"), "{verb:?} in {help}");
        assert!(help.contains("  quipu "), "{verb:?} in {help}");
    }
}

#[test]
fn completions_are_printed_for_every_shell() {
    let store = Store::missing();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = store.run(&["completions", shell]).ok().out();

        assert!(script.contains("rebuild-index"), "{shell}");
    }
}

#[test]
fn the_directory_comes_from_the_environment_unless_it_is_named() {
    let store = Store::with("{\"stream\":\"a\",\"type\":\"T\"}");
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_quipu"));
    command.env("QUIPU_DATA", store.data()).args(["read", "a"]);

    let ran = crate::support::run(&mut command, b"").ok();
    let named = crate::support::run(command.args(["--data", "nowhere"]), b"");

    assert!(ran.out().contains('T'), "{ran}");
    named.fails("there is no directory nowhere");
}

#[test]
fn without_a_word_the_directory_is_quipu_data() {
    let store = Store::missing();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_quipu"));
    command.env_remove("QUIPU_DATA").current_dir(store.path("."));
    command.args(["append", "a", "--type", "T", "--json", "{}"]);

    crate::support::run(&mut command, b"").ok();

    assert!(store.path("quipu-data").is_dir());
}
