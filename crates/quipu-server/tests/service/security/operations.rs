//! Every operation that the server has, asked for by everybody.

use std::sync::Arc;

use prost::Message;
use prost_types::FileDescriptorSet;
use quipu_server::security::{Action, Credentials, PERMISSIONS, Permission, Role, Secret};
use tokio::task::JoinSet;

use super::support::{Answer, Verdict, World, create, create_expired};

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

/// A server, and everybody who asks it.
struct Callers {
    world: World,
    tokens: [(Role, Secret); Role::ALL.len()],
    expired: Secret,
    revoked: Secret,
}

impl Callers {
    /// Has everybody ask for an operation, and answers how many roles were refused.
    async fn ask(&self, permission: &Permission) -> usize {
        let operation = permission.operation;
        let is_public = permission.action == Action::Public;
        let expect = |verdict| if is_public { Verdict::Passed } else { verdict };
        let anonymous = self.world.ask(operation, &[]).await;
        let verdict = expect(Verdict::Unauthenticated);
        assert_eq!(anonymous.verdict(), verdict, "{operation}: {anonymous:?}");
        for who in [&self.expired, &self.revoked] {
            let answer = self.world.ask_as(who, operation).await;
            assert_eq!(answer.verdict(), verdict, "{operation}: {answer:?}");
        }
        let mut refused_count = 0;
        for (role, token) in &self.tokens {
            let is_right = is_right(*role, permission);
            // It would stop the server.
            if is_right && operation.ends_with("Operations/Shutdown") {
                continue;
            }
            let answer = self.world.ask_as(token, operation).await;
            // Whom the gate lets in their handler may refuse, by what they ask for. An auditor reads
            // `$audit` and nothing else: not what is asked for here.
            if *role == Role::Auditor && is_right {
                continue;
            }
            let is_let_in = answer.verdict() == Verdict::Passed || is_by_handler(&answer);
            assert_eq!(is_let_in, is_right, "{operation} as {role}: {answer:?}");
            refused_count += usize::from(!is_right);
        }
        refused_count
    }
}

/// Whether a refusal is a handler's, which says more than the gate does.
fn is_by_handler(answer: &Answer) -> bool {
    answer.header("grpc-status-details-bin").is_some() || answer.0.contains("/problems/forbidden")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_operation_is_refused_to_all_but_the_right_roles() {
    let mut credentials = Credentials::default();
    let tokens = Role::ALL.map(|role| (role, create(&mut credentials, role.as_str(), role).text));
    let expired = create_expired(&mut credentials, "expired", Role::Admin).text;
    let revoked = create(&mut credentials, "revoked", Role::Admin);
    credentials.revoke_token(&revoked.id).unwrap();
    let world = World::with(&credentials).await;

    let callers = Arc::new(Callers { world, tokens, expired, revoked: revoked.text });
    let mut asked = JoinSet::new();
    // All at once: whoever shows a wrong token waits for the answer.
    for permission in PERMISSIONS {
        // A login without a password is refused by its handler, not by the gate.
        if permission.operation != "POST /session" {
            let callers = Arc::clone(&callers);
            asked.spawn(async move { callers.ask(permission).await });
        }
    }
    let refused_count: usize = asked.join_all().await.into_iter().sum();
    assert!(refused_count > methods().len(), "roles are told apart: {refused_count}");
}
