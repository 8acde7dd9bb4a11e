use super::*;
use crate::security::Action;
use crate::security::rules::Role;

fn token(credentials: &mut Credentials, name: &str, role: Role) -> (String, Secret) {
    credentials.create_token(name, Some(role), &[], None).unwrap()
}

fn proof(authority: &Authority, token: &Secret) -> Proof {
    authority.authenticate(token.reveal()).unwrap()
}

#[test]
fn a_token_counts_until_it_is_revoked_expired_or_its_principal_is_gone() {
    let mut credentials = Credentials::default();
    let (id, text) = token(&mut credentials, "a", Role::Reader);
    let authority = Authority::of(credentials.clone());
    let proof = proof(&authority, &text);
    assert_eq!(&*authority.resolve(&proof).unwrap().principal, "a");
    assert!(authority.last_used(&id).is_some());

    let mut revoked = credentials.clone();
    revoked.revoke_token(&id).unwrap();
    let mut disabled = credentials.clone();
    disabled.principals[0].disabled = true;
    let mut removed = credentials.clone();
    removed.remove_principal("a").unwrap();
    let mut expired = credentials.clone();
    expired.principals[0].tokens[0].expires_at = Some(Timestamp::now().as_micros());
    let mut another = Credentials::default();
    token(&mut another, "a", Role::Reader);
    another.principals[0].tokens[0].id = id;

    for wrong in [revoked, disabled, removed, expired, another] {
        authority.replace(wrong);
        assert_eq!(authority.resolve(&proof).unwrap_err(), Denied::Unauthenticated);
        authority.replace(credentials.clone());
        assert!(authority.resolve(&proof).is_ok());
    }
}

#[test]
fn what_a_principal_may_do_changes_with_the_credentials() {
    let mut credentials = Credentials::default();
    let (_, text) = token(&mut credentials, "a", Role::Reader);
    let authority = Authority::of(credentials.clone());
    let proof = proof(&authority, &text);
    let epoch = authority.epoch();

    credentials.principals[0].roles = vec![Role::Operator];
    authority.replace(credentials);

    let grants = authority.resolve(&proof).unwrap().grants;
    assert!(grants.check_action(Action::Read).is_err());
    assert!(grants.check_action(Action::Operate).is_ok());
    assert_eq!(authority.epoch(), epoch + 1);
}

#[test]
fn an_open_authority_lets_everybody_be_an_application() {
    let grants = Authority::open().resolve(&Proof::Nothing).unwrap().grants;

    for action in Action::GRANTED {
        let is_allowed = grants.check_action(action).is_ok();
        assert_eq!(is_allowed, action != Action::Administer, "{action}");
    }
}

#[tokio::test]
async fn a_password_is_exchanged_for_a_session_that_ends_with_it() {
    let password = Secret::new("correct horse battery");
    let mut credentials = Credentials::default();
    credentials.add_user("ada", Role::Reader, &password).unwrap();
    let authority = Authority::of(credentials.clone());

    let session = authority.log_in("ada", password.clone(), None).await.unwrap();
    let proof = proof(&authority, &session.token);

    assert_eq!(&*authority.resolve(&proof).unwrap().principal, "ada");
    assert!(authority.resolve_at(&proof, session.expires_at).is_err(), "it lasts twelve hours");
    credentials.set_password("ada", &Secret::new("another long password")).unwrap();
    authority.replace(credentials);
    assert!(authority.resolve(&proof).is_err());
}

#[tokio::test]
async fn wrong_passwords_are_refused_and_then_slowed_down() {
    let mut credentials = Credentials::default();
    credentials.add_user("ada", Role::Reader, &Secret::new("correct horse battery")).unwrap();
    let authority = Authority::of(credentials);
    let peer = Some(IpAddr::from([192, 0, 2, 1]));
    let wrong = || Secret::new("wrong horse battery");

    for user in ["ada", "nobody", "ada"] {
        let refused = authority.log_in(user, wrong(), peer).await.unwrap_err();
        assert_eq!(refused, LoginError::Wrong, "{user}");
    }
    let refused = authority.log_in("ada", wrong(), peer).await.unwrap_err();

    assert!(matches!(refused, LoginError::TooMany { .. }), "{refused:?}");
    assert_eq!(authority.take_refused(), [Refused { peer, count: 4 }]);
}

#[test]
fn a_file_that_turns_wrong_or_goes_away_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("auth.json");
    let authority = Authority::load(&path).unwrap();
    assert!(authority.is_open());
    let mut credentials = Credentials::default();
    let (_, text) = token(&mut credentials, "a", Role::Reader);

    credentials.save(&path).unwrap();
    let change = authority.refresh().unwrap().unwrap();
    assert!(change.old.principals.is_empty());
    assert!(!authority.is_open(), "the first token closes an open server");
    let proof = proof(&authority, &text);
    assert!(authority.refresh().unwrap().is_none());

    std::fs::write(&path, "{").unwrap();
    assert!(authority.refresh().is_err());
    assert!(authority.refresh().unwrap().is_none(), "it is reported once");
    std::fs::remove_file(&path).unwrap();
    assert!(authority.refresh().is_err());
    assert!(authority.resolve(&proof).is_ok());
    assert!(!authority.is_open());
}
