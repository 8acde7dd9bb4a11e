//! Every operation that the server has, asked for by everybody.

use prost::Message;
use prost_types::FileDescriptorSet;
use quipu_server::security::{Action, Credentials, PERMISSIONS, Role, Secret};

use super::support::{Verdict, World, create, create_expired};

/// The methods of our own protocol.
fn methods() -> Vec<String> {
    let set = FileDescriptorSet::decode(quipu_wire::proto::DESCRIPTORS).unwrap();
    let mut methods = Vec::new();
    for file in &set.file {
        for service in &file.service {
            for method in &service.method {
                let (package, service) = (file.package(), service.name());
                methods.push(format!("/{package}.{service}/{}", method.name()));
            }
        }
    }
    methods
}

#[test]
fn every_method_of_the_protocol_is_in_the_table_once() {
    for method in methods() {
        let count = PERMISSIONS.iter().filter(|own| own.operation == method).count();
        assert_eq!(count, 1, "{method}");
    }
    for permission in PERMISSIONS {
        let same = PERMISSIONS.iter().filter(|own| own.operation == permission.operation).count();
        assert_eq!(same, 1, "{}", permission.operation);
    }
    assert!(!methods().is_empty());
}

/// A role that may do nothing of the kind.
fn wrong_role(action: Action) -> Role {
    match action {
        Action::Operate | Action::Administer | Action::Delete | Action::Metadata => Role::Reader,
        Action::Public | Action::Read | Action::Append | Action::Consume => Role::Operator,
    }
}

#[tokio::test]
async fn every_operation_is_refused_to_all_but_the_right_role() {
    let mut credentials = Credentials::default();
    let tokens = Role::ALL.map(|role| {
        let name = role.as_str();
        (role, create(&mut credentials, name, role).text)
    });
    let token =
        |wanted: Role| -> &Secret { &tokens.iter().find(|(role, _)| *role == wanted).unwrap().1 };
    let expired = create_expired(&mut credentials, "expired", Role::Admin).text;
    let revoked = create(&mut credentials, "revoked", Role::Admin);
    credentials.revoke_token(&revoked.id).unwrap();
    let world = World::with(&credentials).await;

    let mut asked_count = 0;
    for permission in PERMISSIONS {
        let operation = permission.operation;
        let is_public = permission.action == Action::Public;
        let expect = |verdict| if is_public { Verdict::Passed } else { verdict };
        // A login without a password is refused by its handler, not by the gate.
        if operation == "POST /session" {
            continue;
        }
        let anonymous = world.ask(operation, &[]).await;
        assert_eq!(
            anonymous.verdict(),
            expect(Verdict::Unauthenticated),
            "{operation}: {anonymous:?}"
        );
        for (who, verdict) in [
            (&expired, Verdict::Unauthenticated),
            (&revoked.text, Verdict::Unauthenticated),
            (token(wrong_role(permission.action)), Verdict::Forbidden),
        ] {
            let answer = world.ask_as(who, operation).await;
            assert_eq!(answer.verdict(), expect(verdict), "{operation}: {answer:?}");
        }
        let right = world.ask_as(token(Role::Admin), operation).await;
        assert_eq!(right.verdict(), Verdict::Passed, "{operation}: {right:?}");
        asked_count += 1;
    }
    assert!(asked_count >= methods().len());
}
