//! `quipu token`, `user`, `rule` and `cert`.

use std::os::unix::fs::PermissionsExt;

use crate::support::{Store, field};

#[test]
fn the_first_token_makes_the_file_and_is_shown_once() {
    let store = Store::missing();

    let ran =
        store.run(&["token", "create", "orders", "--role", "writer", "--expires", "90d"]).ok();

    let token = ran.out().trim().to_owned();
    assert!(token.starts_with("qp_") && !token.contains(char::is_whitespace), "{ran}");
    let file = store.path("data.auth.json");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(!text.contains(token.rsplit('_').next().unwrap()), "only its hash is kept");
    let list = store.json(&["token", "list"]);
    assert_eq!(field(&list, "principal"), ["orders"]);
    assert_eq!(field(&list, "state"), ["valid"]);
    assert_eq!(field(&list, "id"), [token.split('_').nth(1).unwrap()]);
    assert!(!store.data().exists(), "the store is not touched");
}

#[test]
fn a_revoked_token_stays_in_the_list() {
    let store = Store::missing();
    let made = store.json(&["token", "create", "a", "--role", "reader"]);
    let id = field(&made, "id")[0].to_owned();

    store.run(&["token", "revoke", &id]).ok();

    assert_eq!(field(&store.json(&["token", "list"]), "state"), ["revoked"]);
    store.run(&["token", "revoke", "nothing"]).no("there is no token \"nothing\"");
}

#[test]
fn a_rule_that_would_not_limit_a_role_is_refused() {
    let store = Store::missing();
    let create = ["token", "create", "billing", "--allow", "read category:order"];

    let both = [&create[..], &["--role", "reader"]].concat();
    store.run(&both).no("leave the role out");
    store.run(&create).ok();

    store.run(&["rule", "add", "deny", "billing", "append prefix:order-9"]).ok();
    let rules = store.json(&["rule", "list"]);
    assert_eq!(field(&rules, "rule"), ["read category:order", "append prefix:order-9"]);
    store.run(&["rule", "remove", "1"]).ok();
    assert_eq!(store.json(&["rule", "list"]).len(), 1);
    store.run(&["rule", "add", "allow", "billing", "reed all"]).fails("that is no rule");
    store.run(&["token", "create", "nobody"]).no("give it a role or a rule");
}

#[test]
fn a_user_has_a_password_from_standard_input() {
    let store = Store::missing();

    store.run_with_input(&["user", "add", "ada", "--role", "admin"], "change\n").no("8 bytes");
    store
        .run_with_input(&["user", "add", "ada", "--role", "admin"], "correct horse battery\n")
        .ok();
    store.run_with_input(&["user", "passwd", "ada"], "another long password").ok();
    store.run(&["user", "certificate", "ada", "cn:ada"]).ok();

    let users = store.run(&["user", "list"]).ok().out();
    assert!(
        users.contains("ada") && users.contains("admin") && users.contains("cn:ada"),
        "{users}"
    );
    store.run(&["user", "remove", "ada"]).ok();
    store.run(&["user", "passwd", "ada"]).no("there is no principal");
}

#[test]
fn a_file_that_others_may_read_is_refused() {
    let store = Store::missing();
    store.run(&["token", "create", "a", "--role", "reader"]).ok();
    let file = store.path("data.auth.json");

    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640)).unwrap();

    store.run(&["token", "list"]).fails("chmod 600");
}

#[test]
fn another_file_may_be_named() {
    let store = Store::missing();
    let file = store.path("elsewhere.json").display().to_string();

    store.run(&["token", "create", "a", "--role", "reader", "--auth", &file]).ok();

    assert_eq!(store.json(&["token", "list", "--auth", &file]).len(), 1);
    assert!(store.json(&["token", "list"]).is_empty());
}

#[test]
fn a_key_is_never_written_over() {
    let store = Store::missing();
    let dir = store.path("tls").display().to_string();

    store.run(&["cert", "init", &dir, "--host", "db.example", "--host", "192.0.2.7"]).ok();
    store.run(&["cert", "client", "orders", "--dir", &dir]).ok();

    store.run(&["cert", "init", &dir]).no("is there already");
    store.run(&["cert", "client", "orders", "--dir", &dir]).no("is there already");
    store.run(&["cert", "client", "../orders", "--dir", &dir]).no("a name has");
    store.run(&["cert", "client", "b", "--dir", "nowhere"]).fails("could not read");
}
