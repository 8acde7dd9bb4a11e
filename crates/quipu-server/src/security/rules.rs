//! Rules: who may do what to which events, decided in one place.
//!
//! A rule allows or denies one action on a part of the log. What no rule allows is refused, and a
//! rule that denies wins over every rule that allows. A request names a [`Region`]: the events that
//! it may see or write. It is allowed if one rule allows the whole region and no rule denies any
//! event that may be in it, so that nothing has to be filtered out of an answer.

use std::fmt;
use std::str::FromStr;

use quipu_core::{NewEvent, Query, QueryItem, StreamName, category};

use super::permissions::Action;

/// Whether a rule allows or denies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "there is no third")]
pub enum Effect {
    /// What the rule speaks of is allowed, unless another rule denies it.
    Allow,
    /// What the rule speaks of is refused, whatever other rules say.
    Deny,
}

/// The part of the log that a rule speaks of.
///
/// The metadata of a stream belongs to the stream: `$$order-1` is in whatever `order-1` is in.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "the evaluator decides each of them")]
pub enum Scope {
    /// Every event.
    All,
    /// Streams of this category.
    Category(String),
    /// Streams whose name begins with this.
    Prefix(String),
    /// Events with a tag that begins with this.
    Tag(String),
}

/// What a rule says, whoever it is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_structs, reason = "callers build it")]
pub struct Rule {
    /// Allow or deny.
    pub effect: Effect,
    /// What.
    pub action: Action,
    /// On which part of the log.
    pub scope: Scope,
}

/// Why a text is not a rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseRuleError {
    /// The text does not say whether it allows or denies.
    #[error("\"{text}\" does not begin with allow or deny")]
    Effect {
        /// The text.
        text: String,
    },
    /// The first word is not an action.
    #[error(
        "\"{word}\" is not an action: it is read, append, delete, metadata, consume, operate or \
         administer"
    )]
    Action {
        /// The word.
        word: String,
    },
    /// The scope is not known.
    #[error(
        "\"{text}\" is not a part of the log: it is all, category:NAME, prefix:TEXT or tag:TEXT"
    )]
    Scope {
        /// The text.
        text: String,
    },
    /// The action does not speak of events.
    #[error("{action} is not about streams or tags: leave \"{scope}\" out")]
    NoScope {
        /// The action.
        action: Action,
        /// The scope.
        scope: Scope,
    },
    /// Reads cannot be denied by tag: any answer could hold an event with the tag.
    #[error(
        "what has a tag cannot be denied, only allowed, for {action}: any stream may hold an event \
         with the tag. Deny the streams or categories that hold such events"
    )]
    DenyTag {
        /// The action.
        action: Action,
    },
}

impl Rule {
    /// Reads `ACTION [SCOPE]`, such as `read category:order`. Without a scope it is everything.
    ///
    /// # Errors
    ///
    /// [`ParseRuleError`] says which word is wrong.
    pub fn parse(effect: Effect, text: &str) -> Result<Self, ParseRuleError> {
        let (action, scope) = match text.trim().split_once(char::is_whitespace) {
            Some((action, scope)) => (action, scope.trim().parse()?),
            None => (text.trim(), Scope::All),
        };
        let action: Action = action.parse()?;
        let is_tag = matches!(scope, Scope::Tag(_));
        if !action.is_about_events() && scope != Scope::All {
            return Err(ParseRuleError::NoScope { action, scope });
        }
        // An append shows its tags; every other action may meet an event with any tag.
        if is_tag && effect == Effect::Deny && action != Action::Append {
            return Err(ParseRuleError::DenyTag { action });
        }
        Ok(Self { effect, action, scope })
    }

    /// The rule without its effect, as [`parse`](Self::parse) reads it.
    pub fn to_text(&self) -> String {
        if self.action.is_about_events() {
            format!("{} {}", self.action, self.scope)
        } else {
            self.action.to_string()
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.effect, self.to_text())
    }
}

impl FromStr for Rule {
    type Err = ParseRuleError;

    /// Reads what `Display` writes: `deny read category:salary`.
    fn from_str(text: &str) -> Result<Self, ParseRuleError> {
        match text.split_once(' ') {
            Some(("allow", rest)) => Self::parse(Effect::Allow, rest),
            Some(("deny", rest)) => Self::parse(Effect::Deny, rest),
            _ => Err(ParseRuleError::Effect { text: text.to_owned() }),
        }
    }
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
        })
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all"),
            Self::Category(name) => write!(f, "category:{name}"),
            Self::Prefix(prefix) => write!(f, "prefix:{prefix}"),
            Self::Tag(prefix) => write!(f, "tag:{prefix}"),
        }
    }
}

impl FromStr for Scope {
    type Err = ParseRuleError;

    fn from_str(text: &str) -> Result<Self, ParseRuleError> {
        match text.split_once(':') {
            None if text == "all" => Ok(Self::All),
            Some(("category", name)) if !name.is_empty() && !name.contains('-') => {
                Ok(Self::Category(name.to_owned()))
            }
            Some(("prefix", prefix)) if !prefix.is_empty() && !prefix.starts_with("$$") => {
                Ok(Self::Prefix(prefix.to_owned()))
            }
            Some(("tag", prefix)) if !prefix.is_empty() => Ok(Self::Tag(prefix.to_owned())),
            _ => Err(ParseRuleError::Scope { text: text.to_owned() }),
        }
    }
}

/// A set of principals' rights that has a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(clippy::exhaustive_enums, reason = "the evaluator decides each of them")]
pub enum Role {
    /// Everything, principals and rules included.
    Admin,
    /// Statistics, verification, backups, scavenging. No events.
    Operator,
    /// Reads the streams whose names begin with `$audit`.
    Auditor,
    /// Reads and appends everything, and keeps checkpoints, snapshots and leases.
    Writer,
    /// Reads everything, and keeps checkpoints and leases.
    Reader,
}

impl Role {
    /// All roles.
    pub const ALL: [Self; 5] =
        [Self::Admin, Self::Operator, Self::Auditor, Self::Writer, Self::Reader];

    /// The role's name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Operator => "operator",
            Self::Auditor => "auditor",
            Self::Writer => "writer",
            Self::Reader => "reader",
        }
    }

    /// The rules that the role stands for.
    pub fn rules(self) -> Vec<Rule> {
        let actions: &[Action] = match self {
            Self::Admin => &Action::GRANTED,
            Self::Operator => &[Action::Operate],
            Self::Auditor => &[Action::Read],
            Self::Writer => &[Action::Read, Action::Append, Action::Consume],
            Self::Reader => &[Action::Read, Action::Consume],
        };
        let scope = match self {
            Self::Auditor => Scope::Prefix("$audit".to_owned()),
            Self::Admin | Self::Operator | Self::Writer | Self::Reader => Scope::All,
        };
        let allow = |action| Rule { effect: Effect::Allow, action, scope: scope.clone() };
        actions.iter().copied().map(allow).collect()
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|role| role.as_str() == text);
        found.ok_or_else(|| "it is admin, operator, auditor, writer or reader".to_owned())
    }
}

/// The names that streams of a region may have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Names {
    /// Any.
    Any,
    /// This one.
    Stream(String),
    /// Those of this category.
    Category(String),
    /// Those that begin with this.
    Prefix(String),
}

/// The events that a request may see or write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Region {
    names: Names,
    /// Tags that all events of the region have.
    tags: Vec<String>,
    /// Whether the events may have other tags too.
    tags_are_open: bool,
}

impl Region {
    /// Every event.
    pub(crate) fn everything() -> Self {
        Self { names: Names::Any, tags: Vec::new(), tags_are_open: true }
    }

    /// One stream, with its metadata.
    pub(crate) fn stream(stream: &StreamName) -> Self {
        let names = Names::Stream(own_name(stream.as_str()).to_owned());
        Self { names, ..Self::everything() }
    }

    /// An event that is written to a stream.
    pub(crate) fn event(stream: &StreamName, event: &NewEvent) -> Self {
        let tags = event.tags.iter().map(ToOwned::to_owned).collect();
        Self { tags, tags_are_open: false, ..Self::stream(stream) }
    }

    /// The streams of one category.
    pub(crate) fn category(name: &str) -> Self {
        Self { names: Names::Category(own_name(name).to_owned()), ..Self::everything() }
    }

    /// The streams whose names begin with `prefix`.
    pub(crate) fn prefix(prefix: &str) -> Self {
        // What begins with a single `$` may be a metadata stream of anything.
        let names = match own_name(prefix) {
            "" | "$" | "$$" => Names::Any,
            own => Names::Prefix(own.to_owned()),
        };
        Self { names, ..Self::everything() }
    }

    /// What an item of a query may match.
    pub(crate) fn item(item: &QueryItem) -> Self {
        let tags = item.tags.iter().map(ToOwned::to_owned).collect();
        let region = match (&item.stream, &item.category) {
            (Some(stream), _) => Self::stream(stream),
            (None, Some(category)) => Self::category(category),
            (None, None) => Self::everything(),
        };
        Self { tags, ..region }
    }
}

/// The name of the stream whose rules count: a metadata stream goes by those of its stream.
fn own_name(mut name: &str) -> &str {
    while let Some(rest) = name.strip_prefix("$$").filter(|rest| !rest.is_empty()) {
        name = rest;
    }
    name
}

impl Scope {
    /// Whether every event of the region is in the scope.
    fn covers(&self, region: &Region) -> bool {
        match (self, &region.names) {
            (Self::All, _) => true,
            (Self::Tag(own), _) => region.tags.iter().any(|tag| tag.starts_with(own)),
            (Self::Category(_) | Self::Prefix(_), Names::Any) => false,
            (Self::Category(own), Names::Stream(name)) => own == category(name),
            (Self::Category(own), Names::Category(name)) => own == name,
            (Self::Category(own), Names::Prefix(prefix)) => {
                prefix.contains('-') && own == category(prefix)
            }
            (
                Self::Prefix(own),
                Names::Stream(name) | Names::Category(name) | Names::Prefix(name),
            ) => name.starts_with(own),
        }
    }

    /// Whether some event of the region may be in the scope.
    fn touches(&self, region: &Region) -> bool {
        match (self, &region.names) {
            (Self::All, _) | (Self::Category(_) | Self::Prefix(_), Names::Any) => true,
            (Self::Tag(own), _) => {
                region.tags_are_open || region.tags.iter().any(|tag| tag.starts_with(own))
            }
            (Self::Category(own), Names::Stream(name)) => own == category(name),
            (Self::Category(own), Names::Category(name)) => own == name,
            (Self::Category(own), Names::Prefix(prefix)) => in_category_with_prefix(own, prefix),
            (Self::Prefix(own), Names::Stream(name)) => name.starts_with(own),
            (Self::Prefix(own), Names::Category(name)) => in_category_with_prefix(name, own),
            (Self::Prefix(own), Names::Prefix(name)) => {
                name.starts_with(own) || own.starts_with(name)
            }
        }
    }
}

/// Whether a stream of the category may have a name that begins with `prefix`.
fn in_category_with_prefix(name: &str, prefix: &str) -> bool {
    name.starts_with(prefix) || (prefix.contains('-') && category(prefix) == name)
}

/// All rules that count for one principal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Grants {
    rules: Vec<Rule>,
}

impl Grants {
    pub(crate) fn new(roles: &[Role], rules: impl IntoIterator<Item = Rule>) -> Self {
        let rules = roles.iter().flat_map(|role| role.rules()).chain(rules).collect();
        Self { rules }
    }

    /// Whether the principal may do this to anything at all: the first, coarse check.
    pub(crate) fn check_action(&self, action: Action) -> Result<(), String> {
        if action == Action::Public || self.has(Effect::Allow, action, |_| true).is_some() {
            return Ok(());
        }
        Err(format!("{action}: no role and no rule allows it"))
    }

    /// Whether the principal may do this to the whole region; what refuses it, otherwise.
    pub(crate) fn check(&self, action: Action, region: &Region) -> Result<(), String> {
        let on = describe(action, region);
        if let Some(rule) = self.has(Effect::Deny, action, |scope| scope.touches(region)) {
            return Err(format!("{on}: the rule \"{rule}\" refuses it"));
        }
        if self.has(Effect::Allow, action, |scope| scope.covers(region)).is_some() {
            return Ok(());
        }
        let own = self.list(action);
        let hint = match (own.is_empty(), &region.names) {
            (true, _) => "no role and no rule allows it".to_owned(),
            (false, Names::Any) => format!(
                "only {own} is allowed, and nothing is filtered out: limit every item of the query \
                 to that"
            ),
            (false, _) => format!("only {own} is allowed"),
        };
        Err(format!("{on}: {hint}"))
    }

    /// Whether every event that the query may match may be read.
    pub(crate) fn check_query(&self, action: Action, query: &Query) -> Result<(), String> {
        query.items.iter().try_for_each(|item| self.check(action, &Region::item(item)))
    }

    /// Whether no event is refused, so that none has to be looked at.
    pub(crate) fn allows_everything(&self, action: Action) -> bool {
        self.has(Effect::Deny, action, |_| true).is_none()
            && self.has(Effect::Allow, action, |scope| *scope == Scope::All).is_some()
    }

    /// Whether an allowing rule adds nothing to these.
    pub(crate) fn covers(&self, rule: &Rule) -> bool {
        let own = self.rules.iter().filter(|own| own.effect == Effect::Allow);
        own.filter(|own| own.action == rule.action)
            .any(|own| own.scope == Scope::All || own.scope == rule.scope)
    }

    /// Whether nothing is allowed.
    pub(crate) fn is_empty(&self) -> bool {
        !self.rules.iter().any(|rule| rule.effect == Effect::Allow)
    }

    fn has(
        &self,
        effect: Effect,
        action: Action,
        matches: impl Fn(&Scope) -> bool,
    ) -> Option<&Rule> {
        self.rules
            .iter()
            .find(|rule| rule.effect == effect && rule.action == action && matches(&rule.scope))
    }

    fn list(&self, action: Action) -> String {
        let own = self.rules.iter().filter(|rule| rule.effect == Effect::Allow);
        let scopes: Vec<String> =
            own.filter(|rule| rule.action == action).map(|rule| rule.scope.to_string()).collect();
        scopes.join(", ")
    }
}

fn describe(action: Action, region: &Region) -> String {
    let on = match &region.names {
        Names::Any => "all streams".to_owned(),
        Names::Stream(name) => format!("the stream \"{name}\""),
        Names::Category(name) => format!("the category \"{name}\""),
        Names::Prefix(prefix) => format!("all streams that begin with \"{prefix}\""),
    };
    match action {
        Action::Read => format!("read {on}"),
        Action::Append => format!("append to {on}"),
        Action::Delete => format!("delete {on}"),
        Action::Metadata => format!("change the metadata of {on}"),
        Action::Public | Action::Consume | Action::Operate | Action::Administer => {
            action.to_string()
        }
    }
}

#[cfg(test)]
mod tests;
