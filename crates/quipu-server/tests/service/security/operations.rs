//! Every operation that the server has, asked for by everybody.

use prost::Message;
use prost_types::FileDescriptorSet;
use quipu_server::security::{Action, Credentials, PERMISSIONS, Permission, Role};

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

/// Whether a role's rules let it at an operation.
fn is_right(role: Role, permission: &Permission) -> bool {
    let needed = |action: Action| permission.action == action || permission.or.contains(&action);
    permission.action == Action::Public || role.rules().iter().any(|rule| needed(rule.action))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_operation_is_refused_to_all_but_the_right_roles() {
    let mut credentials = Credentials::default();
    let tokens = Role::ALL.map(|role| (role, create(&mut credentials, role.as_str(), role).text));
    let expired = create_expired(&mut credentials, "expired", Role::Admin).text;
    let revoked = create(&mut credentials, "revoked", Role::Admin);
    credentials.revoke_token(&revoked.id).unwrap();
    let world = World::with(&credentials).await;

    let mut refused_count = 0;
    for permission in PERMISSIONS {
        let operation = permission.operation;
        // A login without a password is refused by its handler, not by the gate.
        if operation == "POST /session" {
            continue;
        }
        let is_public = permission.action == Action::Public;
        let expect = |verdict| if is_public { Verdict::Passed } else { verdict };
        let anonymous = world.ask(operation, &[]).await;
        let verdict = expect(Verdict::Unauthenticated);
        assert_eq!(anonymous.verdict(), verdict, "{operation}: {anonymous:?}");
        for (who, verdict) in
            [(&expired, Verdict::Unauthenticated), (&revoked.text, Verdict::Unauthenticated)]
        {
            let answer = world.ask_as(who, operation).await;
            assert_eq!(answer.verdict(), expect(verdict), "{operation}: {answer:?}");
        }
        for (role, token) in &tokens {
            let is_right = is_right(*role, permission);
            // It would stop the server.
            if is_right && operation.ends_with("Operations/Shutdown") {
                continue;
            }
            let answer = world.ask_as(token, operation).await;
            // An auditor reads `$audit` and nothing else: the gate lets them in, and what they ask
            // for here is refused behind it.
            if *role == Role::Auditor && is_right {
                continue;
            }
            let verdict = if is_right { Verdict::Passed } else { Verdict::Forbidden };
            assert_eq!(answer.verdict(), verdict, "{operation} as {role}: {answer:?}");
            refused_count += usize::from(!is_right);
        }
    }
    assert!(refused_count > methods().len(), "roles are told apart: {refused_count}");
}
