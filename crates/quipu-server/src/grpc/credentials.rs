//! Credentials as messages: what there is, and changes that somebody wants. The command line has both
//! from here too, where it works on a file.

use quipu_core::Timestamp;
use quipu_wire::from_proto::Malformed;
use quipu_wire::proto::change_credentials_request::Change;
use quipu_wire::proto::{AddCertificate, Principal as PrincipalOut};
use quipu_wire::proto::{
    AddRule, AddUser, ChangeCredentialsResponse, CreateToken, CreatedToken,
    ListCredentialsResponse, PrincipalRule, PrincipalToken, SetPassword,
};

use crate::security::{ChangeError, Credentials, Effect, Principal, Role, Rule, Secret, Token};

/// What the credentials say, without secrets and their hashes.
pub fn listed(own: &Credentials) -> ListCredentialsResponse {
    let rules = own.rules.iter().map(|own| PrincipalRule {
        id: own.id,
        principal: own.principal.clone(),
        rule: own.rule.to_string(),
    });
    ListCredentialsResponse {
        principals: own.principals.iter().map(principal).collect(),
        rules: rules.collect(),
    }
}

fn principal(own: &Principal) -> PrincipalOut {
    PrincipalOut {
        name: own.name.clone(),
        roles: own.roles.iter().map(ToString::to_string).collect(),
        disabled: own.disabled,
        has_password: own.has_password(),
        tokens: own.tokens.iter().map(token).collect(),
        certificates: own.certificates.clone(),
    }
}

fn token(own: &Token) -> PrincipalToken {
    PrincipalToken {
        id: own.id.clone(),
        created_at: own.created_at,
        expires_at: own.expires_at,
        revoked: own.revoked,
    }
}

/// A change that is understood.
#[derive(Debug)]
pub struct Wanted(Understood);

#[derive(Debug)]
enum Understood {
    CreateToken { name: String, role: Option<Role>, allow: Vec<Rule>, end: Option<Timestamp> },
    RevokeToken { id: String },
    AddUser { name: String, role: Role, password: Secret },
    RemovePrincipal { name: String },
    SetPassword { name: String, password: Secret },
    AddCertificate { name: String, subject: String },
    AddRule { name: String, rule: Rule },
    RemoveRule { id: u64 },
}

/// Understands a change.
///
/// # Errors
///
/// [`Malformed`] if there is none, or it names a role or a rule that is none.
pub fn parse(change: Option<Change>) -> Result<Wanted, Malformed> {
    let missing = || Malformed::new("change", "it is missing, or of a later version");
    Ok(Wanted(match change.ok_or_else(missing)? {
        Change::CreateToken(CreateToken { principal, role, allow, expires_at }) => {
            let allow = allow.iter().map(|text| Rule::parse(Effect::Allow, text));
            Understood::CreateToken {
                name: principal,
                role: role.as_deref().map(parse_role).transpose()?,
                allow: allow.collect::<Result<_, _>>().map_err(|error| of_rule(&error))?,
                end: expires_at.map(Timestamp::from_micros),
            }
        }
        Change::RevokeToken(id) => Understood::RevokeToken { id },
        Change::AddUser(AddUser { name, role, password }) => {
            let role = parse_role(&role)?;
            Understood::AddUser { name, role, password: Secret::new(password) }
        }
        Change::RemovePrincipal(name) => Understood::RemovePrincipal { name },
        Change::SetPassword(SetPassword { name, password }) => {
            Understood::SetPassword { name, password: Secret::new(password) }
        }
        Change::AddCertificate(AddCertificate { principal, subject }) => {
            Understood::AddCertificate { name: principal, subject }
        }
        Change::AddRule(AddRule { principal, rule }) => Understood::AddRule {
            name: principal,
            rule: rule.parse().map_err(|error| of_rule(&error))?,
        },
        Change::RemoveRule(id) => Understood::RemoveRule { id },
    }))
}

fn parse_role(text: &str) -> Result<Role, Malformed> {
    text.parse().map_err(|reason: String| Malformed::new("role", reason))
}

fn of_rule(error: &crate::security::ParseRuleError) -> Malformed {
    Malformed::new("rule", error.to_string())
}

impl Wanted {
    /// Makes the change.
    ///
    /// # Errors
    ///
    /// See [`ChangeError`]; nothing was changed.
    pub fn make(self, own: &mut Credentials) -> Result<ChangeCredentialsResponse, ChangeError> {
        let mut made = ChangeCredentialsResponse::default();
        match self.0 {
            Understood::CreateToken { name, role, allow, end } => {
                let (id, token) = own.create_token(&name, role, &allow, end)?;
                made.token = Some(CreatedToken { id, text: token.reveal().to_owned() });
            }
            Understood::RevokeToken { id } => own.revoke_token(&id)?,
            Understood::AddUser { name, role, password } => own.add_user(&name, role, &password)?,
            Understood::RemovePrincipal { name } => own.remove_principal(&name)?,
            Understood::SetPassword { name, password } => own.set_password(&name, &password)?,
            Understood::AddCertificate { name, subject } => own.add_certificate(&name, &subject)?,
            Understood::AddRule { name, rule } => made.rule = Some(own.add_rule(&name, rule)?),
            Understood::RemoveRule { id } => own.remove_rule(id)?,
        }
        Ok(made)
    }
}
