//! The audit of administration: who was added, removed or revoked, and who was refused.
//!
//! One task looks at the credentials file four times a second and keeps the stream [`AUDIT_STREAM`]. What
//! it writes has names and ids, never secrets or their hashes: events are kept for ever.

use std::collections::BTreeSet;
use std::time::Duration;

use quipu_core::{Append, ExpectedRevision, NewEvent, StreamName};
use serde_json::{Value, json};

use super::access::Access;
use super::authority::{EditError, Refused};
use super::credentials::{ChangeError, Credentials};
use crate::service::Service;

/// The stream that the audit is in.
pub const AUDIT_STREAM: &str = "$audit";

/// How often the credentials file is looked at.
const INTERVAL: Duration = Duration::from_millis(250);
/// After how many looks the refused logins are written down: a minute.
const LOOKS_PER_REPORT: u32 = 240;
/// The most events that wait for a store that does not take them. More are dropped, with a warning.
const PENDING_COUNT_MAX: usize = 10_000;

/// Keeps the authority at what its file says, and the audit, until the service stops.
pub(crate) async fn keep(service: Service) {
    let mut audit = Audit { service: service.clone(), pending: Vec::new() };
    if let Some(credentials) = service.authority().credentials() {
        audit.note([loaded(&credentials)]);
    }
    let mut interval = tokio::time::interval(INTERVAL);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let stopping = service.stopping();
    tokio::pin!(stopping);
    let mut look_count = 0_u32;
    loop {
        let is_stopping = tokio::select! {
            () = &mut stopping => true,
            _ = interval.tick() => false,
        };
        look_count = look_count.wrapping_add(1);
        audit.refresh().await;
        if is_stopping || look_count.is_multiple_of(LOOKS_PER_REPORT) {
            audit.note(service.authority().take_refused().into_iter().map(refused));
        }
        audit.write().await;
        if is_stopping {
            return;
        }
    }
}

/// Puts on record that somebody began a task on the store. Where nobody is told apart, nobody is
/// named, and nothing recorded.
pub(crate) async fn record_task(service: &Service, principal: &str, task: &'static str) {
    if service.authority().is_open() {
        return;
    }
    let begun = entry("TaskBegun", json!({ "principal": principal, "task": task }));
    let mut audit = Audit { service: service.clone(), pending: vec![begun] };
    audit.write().await;
}

/// Changes the credentials for somebody. On `Ok` the change counts, is durable, and who made it is on
/// record.
pub(crate) async fn administer<T: Send + 'static>(
    access: &Access,
    change: impl FnOnce(&mut Credentials) -> Result<T, ChangeError> + Send + 'static,
) -> Result<T, EditError> {
    let service = access.service();
    let authority = service.authority().clone();
    // Passwords are hashed slowly, and the file is synced.
    let edited = tokio::task::spawn_blocking(move || authority.edit(change)).await;
    let (answer, change) = edited.map_err(|_| EditError::Interrupted)??;
    let entries = change.map(|change| differences(&change.old, &change.new)).unwrap_or_default();
    let by = |mut own: Entry| {
        own.data["by"] = access.principal().into();
        own
    };
    let pending = entries.into_iter().map(by).collect();
    Audit { service: service.clone(), pending }.write().await;
    Ok(answer)
}

struct Audit {
    service: Service,
    /// What the store has not taken yet.
    pending: Vec<Entry>,
}

/// An event of the audit.
#[derive(Clone, Debug, PartialEq)]
struct Entry {
    event_type: &'static str,
    data: Value,
}

fn entry(event_type: &'static str, data: Value) -> Entry {
    Entry { event_type, data }
}

impl Audit {
    async fn refresh(&mut self) {
        let authority = self.service.authority().clone();
        // The file may be on a slow disk: whoever waits for it must not hold up the others.
        let looked = tokio::task::spawn_blocking(move || authority.refresh()).await;
        match looked {
            Ok(Ok(None)) => {}
            Ok(Ok(Some(change))) => {
                tracing::info!("the credentials have changed");
                self.note(differences(&change.old, &change.new));
            }
            Ok(Err(error)) => {
                tracing::error!(%error, "the credentials file is wrong; what it said before counts");
                let data = json!({ "reason": error.to_string() });
                self.note([entry("CredentialsRefused", data)]);
            }
            Err(error) => tracing::error!(%error, "could not look at the credentials file"),
        }
    }

    fn note(&mut self, entries: impl IntoIterator<Item = Entry>) {
        for entry in entries {
            if self.pending.len() >= PENDING_COUNT_MAX {
                tracing::warn!("the store does not take the audit; an entry was dropped");
                return;
            }
            self.pending.push(entry);
        }
    }

    async fn write(&mut self) {
        if self.pending.is_empty() {
            return;
        }
        let stream = StreamName::new(AUDIT_STREAM).expect("it is a name");
        let events = self.pending.iter().take(1_000).map(|entry| {
            NewEvent::json(entry.event_type, entry.data.to_string()).expect("it is a name")
        });
        let append = Append::to_stream(stream, ExpectedRevision::Any, events.collect::<Vec<_>>());
        let count = append.events.len();
        match self.service.system().append(append).await {
            Ok(_) => {
                self.pending.drain(..count);
            }
            // They stay, and the next look tries again.
            Err(error) => tracing::warn!(%error, "the audit was not written"),
        }
    }
}

fn refused(refused: Refused) -> Entry {
    let peer = refused.peer.map(|peer| peer.to_string());
    entry("LoginsRefused", json!({ "peer": peer, "count": refused.count }))
}

/// What the server goes by when it starts: changes that were made meanwhile show as differences to
/// the last such event.
fn loaded(credentials: &Credentials) -> Entry {
    let principals = credentials.principals.iter().map(|own| {
        let tokens: Vec<&str> =
            own.tokens.iter().filter(|it| !it.revoked).map(|it| it.id.as_str()).collect();
        json!({
            "name": own.name,
            "roles": own.roles,
            "disabled": own.disabled,
            "tokens": tokens,
            "has_password": own.password.is_some(),
            "certificates": own.certificates,
        })
    });
    let principals: Vec<Value> = principals.collect();
    let rules: Vec<Value> = credentials
        .rules
        .iter()
        .map(|own| json!({ "principal": own.principal, "rule": own.rule.to_string() }))
        .collect();
    entry("CredentialsLoaded", json!({ "principals": principals, "rules": rules }))
}

/// What has changed, one entry each.
fn differences(old: &Credentials, new: &Credentials) -> Vec<Entry> {
    let mut entries = Vec::new();
    for gone in old.principals.iter().filter(|own| new.principal(&own.name).is_none()) {
        entries.push(entry("PrincipalRemoved", json!({ "principal": gone.name })));
    }
    for own in &new.principals {
        let before = old.principal(&own.name);
        if before.is_none() {
            let data = json!({ "principal": own.name, "roles": own.roles });
            entries.push(entry("PrincipalAdded", data));
        } else if before.is_some_and(|it| it.roles != own.roles || it.disabled != own.disabled) {
            let data =
                json!({ "principal": own.name, "roles": own.roles, "disabled": own.disabled });
            entries.push(entry("PrincipalChanged", data));
        }
        if before.and_then(|it| it.password.as_ref()) != own.password.as_ref() {
            entries.push(entry("PasswordChanged", json!({ "principal": own.name })));
        }
        if before.map_or(&[][..], |it| &it.certificates) != own.certificates {
            let data = json!({ "principal": own.name, "certificates": own.certificates });
            entries.push(entry("CertificatesChanged", data));
        }
        let tokens = |principal: Option<&super::Principal>, is_revoked: bool| -> BTreeSet<String> {
            let all = principal.map_or(&[][..], |it| &it.tokens);
            all.iter().filter(|it| it.revoked == is_revoked).map(|it| it.id.clone()).collect()
        };
        let (had, has) = (tokens(before, false), tokens(Some(own), false));
        for token in has.difference(&had) {
            let data = json!({ "principal": own.name, "token": token });
            entries.push(entry("TokenCreated", data));
        }
        for token in had.difference(&has) {
            let data = json!({ "principal": own.name, "token": token });
            entries.push(entry("TokenRevoked", data));
        }
    }
    let is_new = |rule: &&super::NumberedRule| !old.rules.contains(rule);
    let is_gone = |rule: &&super::NumberedRule| !new.rules.contains(rule);
    let data = |own: &super::NumberedRule| json!({ "id": own.id, "principal": own.principal, "rule": own.rule.to_string() });
    entries.extend(old.rules.iter().filter(is_gone).map(|own| entry("RuleRemoved", data(own))));
    entries.extend(new.rules.iter().filter(is_new).map(|own| entry("RuleAdded", data(own))));
    entries
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::security::rules::{Effect, Role, Rule};
    use crate::security::secret::Secret;

    fn types(entries: &[Entry]) -> Vec<&str> {
        entries.iter().map(|entry| entry.event_type).collect()
    }

    #[test]
    fn each_change_is_told_without_secrets() {
        let old = Credentials::default();
        let mut new = old.clone();
        let rule = Rule::parse(Effect::Allow, "append category:order").unwrap();
        let (id, token) = new.create_token("orders", None, &[rule], None).unwrap();
        new.add_user("ada", Role::Admin, &Secret::new("correct horse battery")).unwrap();

        let added = differences(&old, &new);
        let mut later = new.clone();
        later.revoke_token(&id).unwrap();
        later.set_password("ada", &Secret::new("another long password")).unwrap();
        later.remove_rule(1).unwrap();
        let changed = differences(&new, &later);
        let mut last = later.clone();
        last.remove_principal("ada").unwrap();

        let expected =
            ["PrincipalAdded", "TokenCreated", "PrincipalAdded", "PasswordChanged", "RuleAdded"];
        assert_eq!(types(&added), expected);
        assert_eq!(types(&changed), ["TokenRevoked", "PasswordChanged", "RuleRemoved"]);
        assert_eq!(types(&differences(&later, &last)), ["PrincipalRemoved"]);
        assert!(differences(&last, &last).is_empty());
        let told = format!("{added:?}{changed:?}{:?}", loaded(&new));
        assert!(told.contains(&id));
        let kept = &new.principals[0].tokens[0].hash;
        for secret in [token.reveal(), kept.reveal(), "$argon2id$", "horse"] {
            let secret = secret.rsplit('_').next().unwrap();
            assert!(!told.contains(secret), "{secret} in {told}");
        }
    }
}
