use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::super::Action;
use super::*;

fn rule(text: &str) -> Rule {
    Rule::parse(Effect::Allow, text).unwrap()
}

fn path() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("auth.json");
    (directory, path)
}

#[test]
fn a_saved_file_comes_back_and_is_its_owners_alone() {
    let (_directory, path) = path();
    let mut credentials = Credentials::default();
    let (_, token) =
        credentials.create_token("orders", None, &[rule("append category:order")], None).unwrap();
    credentials.add_user("ada", Role::Admin, &Secret::new("a long enough one")).unwrap();
    credentials.add_certificate("orders", "dns:orders.example").unwrap();

    credentials.save(&path).unwrap();

    assert_eq!(Credentials::load(&path).unwrap(), credentials);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let text = fs::read_to_string(&path).unwrap();
    assert!(!text.contains(token.reveal().rsplit('_').next().unwrap()), "{text}");
    assert!(!text.contains("a long enough one"));
    assert!(text.contains("allow append category:order"), "{text}");
}

#[test]
fn a_file_that_others_may_read_is_refused() {
    let (_directory, path) = path();
    Credentials::default().save(&path).unwrap();

    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();

    let error = Credentials::load(&path).unwrap_err();
    assert!(error.to_string().contains("mode 0644"), "{error}");
    assert!(error.to_string().contains("chmod 600"), "{error}");
}

#[test]
fn a_file_that_is_wrong_is_refused_without_quoting_it() {
    let (_directory, path) = path();
    let principal =
        |rest: &str| format!(r#"{{"format":"quipu-auth-1","principals":[{{"name":"a"{rest}}}]}}"#);
    let token = |hash: &str| {
        principal(&format!(r#","tokens":[{{"id":"x","hash":"{hash}","created_at":0}}]"#))
    };
    for text in [
        String::new(),
        "{}".to_owned(),
        r#"{"format":"quipu-auth-2"}"#.to_owned(),
        principal(r#","passwort":"canary""#),
        principal(r#","password":"canary""#),
        principal(r#","roles":["canary"]"#),
        principal(r#","certificates":["canary"]"#),
        principal(r#"},{"name":"a""#),
        token("canary"),
        r#"{"format":"quipu-auth-1","rules":[{"id":1,"principal":"a","rule":"allow read all"}]}"#
            .to_owned(),
    ] {
        fs::write(&path, &text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();

        let error = Credentials::load(&path).unwrap_err();

        assert!(matches!(error, CredentialsError::Malformed { .. }), "{text}: {error}");
        assert!(!format!("{error} {error:?}").contains("canary"), "{error:?}");
    }
}

#[test]
fn an_edit_that_fails_leaves_the_file_as_it_was() {
    let (_directory, path) = path();
    let add = |own: &mut Credentials| {
        own.add_principal("a", Some(Role::Reader)).map_err(|error| error.to_string())
    };

    edit(&path, add).unwrap();
    let before = fs::read(&path).unwrap();
    let error = edit(&path, add).unwrap_err();

    assert_eq!(error, "there is a principal \"a\" already");
    assert_eq!(fs::read(&path).unwrap(), before);
}

struct Text(String);

impl From<CredentialsError> for Text {
    fn from(error: CredentialsError) -> Self {
        Self(error.to_string())
    }
}

fn edit(
    path: &Path,
    change: impl FnOnce(&mut Credentials) -> Result<(), String>,
) -> Result<(), String> {
    Credentials::edit(path, |own| change(own).map_err(Text)).map_err(|Text(text)| text)
}

#[test]
fn edits_at_once_are_all_kept() {
    let (_directory, path) = path();
    std::thread::scope(|scope| {
        for index in 0..8 {
            let path = &path;
            scope.spawn(move || {
                let name = format!("p{index}");
                edit(path, |own| {
                    own.add_principal(&name, Some(Role::Reader)).map_err(|it| it.to_string())
                })
                .unwrap();
            });
        }
    });

    assert_eq!(Credentials::load(&path).unwrap().principals.len(), 8);
}

#[test]
fn a_rule_that_limits_nothing_is_refused() {
    let mut credentials = Credentials::default();

    let error = credentials
        .create_token("billing", Some(Role::Reader), &[rule("read category:order")], None)
        .unwrap_err();

    assert!(error.to_string().contains("leave the role out"), "{error}");
    assert_eq!(credentials, Credentials::default(), "nothing was changed");
    let append = [rule("append category:order")];
    assert!(credentials.create_token("billing", Some(Role::Reader), &append, None).is_ok());
}

#[test]
fn a_second_token_does_not_change_what_the_principal_may_do() {
    let mut credentials = Credentials::default();
    credentials.create_token("a", Some(Role::Reader), &[], None).unwrap();

    assert!(credentials.create_token("a", None, &[], None).is_ok());
    assert!(credentials.create_token("a", Some(Role::Reader), &[], None).is_ok());
    let error = credentials.create_token("a", Some(Role::Admin), &[], None).unwrap_err();

    assert_eq!(error.to_string(), "the principal \"a\" has other roles already: reader");
    assert!(matches!(
        credentials.create_token("b", None, &[], None),
        Err(ChangeError::Nothing { .. })
    ));
}

#[test]
fn a_removed_principal_leaves_no_rules_for_its_successor() {
    let mut credentials = Credentials::default();
    credentials.create_token("a", None, &[rule("read all")], None).unwrap();

    credentials.remove_principal("a").unwrap();
    credentials.add_principal("a", None).unwrap();

    assert!(credentials.grants_of("a").check_action(Action::Read).is_err());
}

#[test]
fn names_are_fit_for_logs() {
    for name in ["", "a b", "a\nb", "ä", "a/b", &"a".repeat(65)] {
        let error = Credentials::default().add_principal(name, None).unwrap_err();
        assert_eq!(error, ChangeError::InvalidName, "{name}");
    }
}

#[test]
fn the_file_is_beside_the_data_directory() {
    let path = Credentials::default_path(Path::new("./quipu-data"));

    assert_eq!(path, Path::new("./quipu-data.auth.json"));
}
