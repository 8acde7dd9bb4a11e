//! The credentials file: principals, what they show to prove who they are, and rules.
//!
//! It is a file of its own, beside the data directory and never in it: events are kept for ever and
//! copied to backups, and credentials must not be. It holds hashes, not tokens or passwords. Every
//! change writes a whole new file and renames it into place.

mod file;

use std::path::{Path, PathBuf};

use quipu_core::Timestamp;
use serde::{Deserialize, Serialize};

use super::password::{self, PasswordError};
use super::permissions::Action;
use super::rules::{Effect, Grants, ParseRuleError, Role, Rule, Scope};
use super::secret::{API_PREFIX, NewToken, Secret, TokenHash};

pub use file::CredentialsError;
pub(crate) use file::Stamp;

/// Everything that the credentials file says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Credentials {
    format: Format,
    /// Who may ask.
    #[serde(default)]
    pub principals: Vec<Principal>,
    /// What they may do beside what their roles allow.
    #[serde(default)]
    pub rules: Vec<NumberedRule>,
}

/// The version of the file's layout.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
enum Format {
    #[default]
    #[serde(rename = "quipu-auth-1")]
    One,
}

/// Somebody who may ask: a program or a person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Principal {
    /// How logs, rules and the audit call it.
    pub name: String,
    /// What it may do everywhere.
    #[serde(default)]
    pub roles: Vec<Role>,
    /// Whether all its credentials are refused.
    #[serde(default)]
    pub disabled: bool,
    /// The Argon2id hash of its password, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "secret_text")]
    pub(crate) password: Option<Secret>,
    /// Its tokens.
    #[serde(default)]
    pub tokens: Vec<Token>,
    /// Names in client certificates that stand for it: `dns:NAME`, `uri:URI` or `cn:NAME`.
    #[serde(default)]
    pub certificates: Vec<String>,
    /// What KurrentDB's clients say about it, if one of them made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    profile: Option<Profile>,
}

/// What KurrentDB's clients say about a user.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(clippy::exhaustive_structs, reason = "the protocol has these two")]
pub struct Profile {
    /// What people call them.
    pub full_name: String,
    /// The groups they are in. `$admins` and `$ops` are roles; the others say nothing here.
    pub groups: Vec<String>,
}

impl Profile {
    /// The roles of whoever is in the groups: everybody may use streams.
    fn roles(&self) -> Vec<Role> {
        let is_in = |group: &str| self.groups.iter().any(|own| own == group);
        match (is_in("$admins"), is_in("$ops")) {
            (true, _) => vec![Role::Admin],
            (false, true) => vec![Role::Operator, Role::Writer],
            (false, false) => vec![Role::Writer],
        }
    }
}

/// What is kept of a token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Token {
    /// The token's public half.
    pub id: String,
    /// The SHA-256 of the token.
    #[serde(with = "secret_text_required")]
    pub(crate) hash: Secret,
    /// When it was made, in microseconds since 1970.
    pub created_at: i64,
    /// When it ends, in microseconds since 1970, if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<i64>,
    /// Whether it was revoked.
    #[serde(default)]
    pub revoked: bool,
}

/// A rule about a principal, with the number that removes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct NumberedRule {
    /// The rule's number.
    pub id: u64,
    /// Whom it is about.
    pub principal: String,
    /// What it says.
    #[serde(with = "rule_text")]
    pub rule: Rule,
}

/// Why a change of the credentials is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChangeError {
    /// The name is not fit for logs and rules.
    #[error("a principal's name has 1 to 64 letters, digits, dots, hyphens, @ and underscores")]
    InvalidName,
    /// Somebody has that name already.
    #[error("there is a principal \"{name}\" already")]
    Exists {
        /// The name.
        name: String,
    },
    /// Nobody has that name.
    #[error("there is no principal \"{name}\"")]
    NoPrincipal {
        /// The name.
        name: String,
    },
    /// No token has that id.
    #[error("there is no token \"{id}\"")]
    NoToken {
        /// The id.
        id: String,
    },
    /// No rule has that number.
    #[error("there is no rule {id}")]
    NoRule {
        /// The number.
        id: u64,
    },
    /// The rule allows what is allowed already, so that it would not limit anything.
    #[error(
        "\"{rule}\" adds nothing for {principal}: rules only add to roles. To allow only part of \
         the log, leave the role out"
    )]
    AddsNothing {
        /// Whom it is about.
        principal: String,
        /// The rule.
        rule: String,
    },
    /// The principal exists with another role.
    #[error("the principal \"{name}\" has other roles already: {roles}")]
    OtherRoles {
        /// The name.
        name: String,
        /// Its roles.
        roles: String,
    },
    /// A new principal would be allowed nothing.
    #[error("the principal \"{name}\" would be allowed nothing: give it a role or a rule")]
    Nothing {
        /// The name.
        name: String,
    },
    /// A certificate's name is already somebody's, or is no such name.
    #[error("\"{name}\" is no free certificate name such as dns:orders.example or cn:orders")]
    Certificate {
        /// The name.
        name: String,
    },
    /// The text cannot be a password.
    #[error(transparent)]
    Password(#[from] PasswordError),
    /// The text is no rule.
    #[error(transparent)]
    Rule(#[from] ParseRuleError),
}

impl Credentials {
    /// The file that goes with a data directory, unless another one is named: beside it.
    pub fn default_path(data: &Path) -> PathBuf {
        let mut name =
            data.file_name().map_or_else(|| "quipu".into(), std::ffi::OsStr::to_os_string);
        name.push(".auth.json");
        data.with_file_name(name)
    }

    /// The principal of that name.
    pub fn principal(&self, name: &str) -> Option<&Principal> {
        self.principals.iter().find(|own| own.name == name)
    }

    /// Makes a token for a principal, and the principal if there is none of that name. The token is
    /// answered with its id; it cannot be had again.
    ///
    /// # Errors
    ///
    /// See [`ChangeError`]; nothing was changed.
    pub fn create_token(
        &mut self,
        name: &str,
        role: Option<Role>,
        allow: &[Rule],
        expires_at: Option<Timestamp>,
    ) -> Result<(String, Secret), ChangeError> {
        let mut next = self.clone();
        if next.principal(name).is_none() {
            next.add_principal(name, role)?;
        } else if let Some(role) = role {
            next.has_role(name, role)?;
        }
        for rule in allow {
            next.add_rule(name, rule.clone())?;
        }
        if next.grants_of(name).is_empty() {
            return Err(ChangeError::Nothing { name: name.to_owned() });
        }
        let token = NewToken::generate(API_PREFIX);
        let kept = Token {
            id: token.id.clone(),
            hash: Secret::new(token.hash.to_hex()),
            created_at: Timestamp::now().as_micros(),
            expires_at: expires_at.map(Timestamp::as_micros),
            revoked: false,
        };
        next.find(name)?.tokens.push(kept);
        *self = next;
        Ok((token.id, token.text))
    }

    /// Adds a principal without credentials.
    ///
    /// # Errors
    ///
    /// See [`ChangeError`]; nothing was changed.
    pub fn add_principal(&mut self, name: &str, role: Option<Role>) -> Result<(), ChangeError> {
        check_name(name)?;
        if self.principal(name).is_some() {
            return Err(ChangeError::Exists { name: name.to_owned() });
        }
        self.principals.push(Principal {
            name: name.to_owned(),
            roles: role.into_iter().collect(),
            disabled: false,
            password: None,
            tokens: Vec::new(),
            certificates: Vec::new(),
            profile: None,
        });
        Ok(())
    }

    /// Removes a principal, its credentials and its rules.
    ///
    /// # Errors
    ///
    /// [`ChangeError::NoPrincipal`].
    pub fn remove_principal(&mut self, name: &str) -> Result<(), ChangeError> {
        self.find(name)?;
        self.principals.retain(|own| own.name != name);
        self.rules.retain(|own| own.principal != name);
        Ok(())
    }

    /// Adds somebody who proves by a password who they are.
    ///
    /// # Errors
    ///
    /// See [`ChangeError`]; nothing was changed.
    pub fn add_user(
        &mut self,
        name: &str,
        role: Role,
        password: &Secret,
    ) -> Result<(), ChangeError> {
        let hash = password::hash(password)?;
        self.add_principal(name, Some(role))?;
        self.find(name)?.password = Some(Secret::new(hash));
        Ok(())
    }

    /// Adds a user whose groups say what they may do. Streams may be used by everybody: read,
    /// appended to, deleted, and have their metadata changed.
    ///
    /// # Errors
    ///
    /// See [`ChangeError`]; nothing was changed.
    pub fn add_member(
        &mut self,
        name: &str,
        profile: Profile,
        password: &Secret,
    ) -> Result<(), ChangeError> {
        let mut next = self.clone();
        next.add_user(name, Role::Writer, password)?;
        next.set_profile(name, profile)?;
        *self = next;
        Ok(())
    }

    /// Replaces what is said about a user, and what they may do by their groups. Rules that somebody
    /// wrote about them stay.
    ///
    /// # Errors
    ///
    /// [`ChangeError::NoPrincipal`].
    pub fn set_profile(&mut self, name: &str, profile: Profile) -> Result<(), ChangeError> {
        let own = self.find(name)?;
        own.roles = profile.roles();
        own.profile = Some(profile);
        for action in [Action::Delete, Action::Metadata] {
            let rule = Rule { effect: Effect::Allow, action, scope: Scope::All };
            match self.add_rule(name, rule) {
                Ok(_) | Err(ChangeError::AddsNothing { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Refuses all that a principal shows, or takes it again.
    ///
    /// # Errors
    ///
    /// [`ChangeError::NoPrincipal`].
    pub fn set_disabled(&mut self, name: &str, disabled: bool) -> Result<(), ChangeError> {
        self.find(name)?.disabled = disabled;
        Ok(())
    }

    /// Replaces a principal's password. Sessions that began with the old one end.
    ///
    /// # Errors
    ///
    /// See [`ChangeError`]; nothing was changed.
    pub fn set_password(&mut self, name: &str, password: &Secret) -> Result<(), ChangeError> {
        self.find(name)?;
        let hash = password::hash(password)?;
        self.find(name)?.password = Some(Secret::new(hash));
        Ok(())
    }

    /// Lets a name in a client certificate stand for a principal.
    ///
    /// # Errors
    ///
    /// See [`ChangeError`]; nothing was changed.
    pub fn add_certificate(&mut self, name: &str, subject: &str) -> Result<(), ChangeError> {
        let is_taken =
            self.principals.iter().any(|own| own.certificates.iter().any(|it| it == subject));
        if is_taken || !is_certificate_name(subject) {
            return Err(ChangeError::Certificate { name: subject.to_owned() });
        }
        self.find(name)?.certificates.push(subject.to_owned());
        Ok(())
    }

    /// Revokes a token: it is refused from then on, and stays in the list.
    ///
    /// # Errors
    ///
    /// [`ChangeError::NoToken`].
    pub fn revoke_token(&mut self, id: &str) -> Result<(), ChangeError> {
        let mut tokens = self.principals.iter_mut().flat_map(|own| own.tokens.iter_mut());
        let token = tokens.find(|token| token.id == id);
        token.ok_or_else(|| ChangeError::NoToken { id: id.to_owned() })?.revoked = true;
        Ok(())
    }

    /// Adds a rule about a principal, and answers its number.
    ///
    /// # Errors
    ///
    /// See [`ChangeError`]; nothing was changed.
    pub fn add_rule(&mut self, name: &str, rule: Rule) -> Result<u64, ChangeError> {
        self.find(name)?;
        if rule.effect == Effect::Allow && self.grants_of(name).covers(&rule) {
            let rule = rule.to_text();
            return Err(ChangeError::AddsNothing { principal: name.to_owned(), rule });
        }
        let id = self.rules.iter().map(|own| own.id).max().unwrap_or_default() + 1;
        self.rules.push(NumberedRule { id, principal: name.to_owned(), rule });
        Ok(id)
    }

    /// Removes a rule.
    ///
    /// # Errors
    ///
    /// [`ChangeError::NoRule`].
    pub fn remove_rule(&mut self, id: u64) -> Result<(), ChangeError> {
        let count = self.rules.len();
        self.rules.retain(|own| own.id != id);
        if self.rules.len() == count { Err(ChangeError::NoRule { id }) } else { Ok(()) }
    }

    /// What a principal may do.
    pub(crate) fn grants_of(&self, name: &str) -> Grants {
        let roles = self.principal(name).map_or(&[][..], |own| &own.roles);
        let rules = self.rules.iter().filter(|own| own.principal == name);
        Grants::new(roles, rules.map(|own| own.rule.clone()))
    }

    fn find(&mut self, name: &str) -> Result<&mut Principal, ChangeError> {
        let found = self.principals.iter_mut().find(|own| own.name == name);
        found.ok_or_else(|| ChangeError::NoPrincipal { name: name.to_owned() })
    }

    fn has_role(&self, name: &str, role: Role) -> Result<(), ChangeError> {
        let roles = self.principal(name).map_or(&[][..], |own| &own.roles);
        if roles == [role] {
            return Ok(());
        }
        let roles: Vec<&str> = roles.iter().map(|role| role.as_str()).collect();
        let roles = if roles.is_empty() { "none".to_owned() } else { roles.join(", ") };
        Err(ChangeError::OtherRoles { name: name.to_owned(), roles })
    }

    /// What is wrong with what the file says, if anything.
    fn check(&self) -> Result<(), String> {
        let mut names = std::collections::HashSet::new();
        let mut ids = std::collections::HashSet::new();
        let mut subjects = std::collections::HashSet::new();
        for principal in &self.principals {
            let name = &principal.name;
            check_name(name).map_err(|error| format!("\"{}\": {error}", name.escape_debug()))?;
            if !names.insert(name) {
                return Err(format!("two principals are called \"{name}\""));
            }
            if principal.password.as_ref().is_some_and(|own| !password::is_hash(own.reveal())) {
                return Err(format!("the password of \"{name}\" is not an Argon2id hash"));
            }
            for token in &principal.tokens {
                if TokenHash::from_hex(token.hash.reveal()).is_none() || !ids.insert(&token.id) {
                    return Err(format!("a token of \"{name}\" has no SHA-256, or no own id"));
                }
            }
            for subject in &principal.certificates {
                if !is_certificate_name(subject) || !subjects.insert(subject) {
                    return Err(format!(
                        "a certificate name of \"{name}\" is wrong or not its own"
                    ));
                }
            }
        }
        match self.rules.iter().find(|rule| !names.contains(&rule.principal)) {
            Some(rule) => Err(format!("rule {} is about nobody", rule.id)),
            None => Ok(()),
        }
    }
}

impl Principal {
    /// What KurrentDB's clients are told about it: its roles as groups, where none of them made it.
    pub fn profile(&self) -> Profile {
        let of_role = |role: &Role| match role {
            Role::Admin => Some("$admins".to_owned()),
            Role::Operator => Some("$ops".to_owned()),
            Role::Auditor | Role::Writer | Role::Reader => None,
        };
        self.profile.clone().unwrap_or_else(|| Profile {
            full_name: self.name.clone(),
            groups: self.roles.iter().filter_map(of_role).collect(),
        })
    }

    /// Whether it may exchange a password for a session.
    pub fn has_password(&self) -> bool {
        self.password.is_some()
    }
}

fn check_name(name: &str) -> Result<(), ChangeError> {
    const SIZE_MAX: usize = 64;
    let is_fit = |character: char| character.is_ascii_alphanumeric() || ".-@_".contains(character);
    if name.is_empty() || name.len() > SIZE_MAX || !name.chars().all(is_fit) {
        return Err(ChangeError::InvalidName);
    }
    Ok(())
}

fn is_certificate_name(text: &str) -> bool {
    let parts = text.split_once(':');
    parts.is_some_and(|(kind, name)| ["dns", "uri", "cn"].contains(&kind) && !name.is_empty())
}

/// A secret that may be missing, in the file and nowhere else.
mod secret_text {
    use super::{Deserialize, Secret};

    #[expect(clippy::ref_option, reason = "serde passes the field")]
    pub(super) fn serialize<S: serde::Serializer>(
        secret: &Option<Secret>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        match secret {
            Some(secret) => to.serialize_some(secret.reveal()),
            None => to.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: serde::Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Secret>, D::Error> {
        Ok(Option::<String>::deserialize(from)?.map(Secret::new))
    }
}

/// As `secret_text`, for a secret that has to be there.
mod secret_text_required {
    use super::{Deserialize, Secret};

    pub(super) fn serialize<S: serde::Serializer>(
        secret: &Secret,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.serialize_str(secret.reveal())
    }

    pub(super) fn deserialize<'de, D: serde::Deserializer<'de>>(
        from: D,
    ) -> Result<Secret, D::Error> {
        String::deserialize(from).map(Secret::new)
    }
}

/// A rule as its text, `allow read category:order`.
mod rule_text {
    use super::{Deserialize, Rule};

    pub(super) fn serialize<S: serde::Serializer>(rule: &Rule, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(rule)
    }

    pub(super) fn deserialize<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Rule, D::Error> {
        use serde::de::Error;

        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests;
