//! The verbs about who may do what: `token`, `user`, `rule` and `cert`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgGroup, Args, Subcommand};
use quipu_server::security::{Effect, Role, Rule};

/// Which credentials file.
#[derive(Args, Debug)]
pub(crate) struct AuthArgs {
    /// The credentials file; the one beside the data directory otherwise, DIR.auth.json. With --url the
    /// server's own counts.
    #[arg(long, value_name = "FILE", env = "QUIPU_AUTH", hide_env_values = true)]
    pub(crate) auth: Option<PathBuf>,
}

/// Makes, lists and revokes the tokens that programs show to the server.
///
/// The first token or user makes the credentials file; a server that runs notices each change
/// within a second. With --url an administrator changes those of a server.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  quipu token create orders --role writer --expires 90d
  quipu token create billing --allow 'read category:order' --allow 'append category:invoice'
  quipu token revoke 3kTMd9QzLxA
  quipu --url https://db.example.com:2113 --ca ca.pem token list

Roles: admin, operator (no events), auditor ($audit alone), writer, reader. A rule only adds to a
role: to allow part of the log, leave the role out. A rule is an action and a part of the log:
  read, append, delete, metadata    all, category:NAME, prefix:TEXT or tag:TEXT
  consume, operate, administer      always all")]
pub(crate) struct TokenArgs {
    #[command(subcommand)]
    pub(crate) verb: TokenVerb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum TokenVerb {
    /// Makes a token and prints it, once. A program that is not known yet becomes known.
    #[command(group(ArgGroup::new("rights").multiple(true).args(["role", "allow"])))]
    #[command(after_help = "Example:\n  quipu token create orders --role writer --expires 90d")]
    Create {
        /// Whose token it is.
        #[arg(value_name = "NAME")]
        name: String,
        /// What they may do everywhere.
        #[arg(long, value_name = "ROLE")]
        role: Option<Role>,
        /// How long it lasts: 90d, 12h or 30m. For ever otherwise.
        #[arg(long, value_name = "TIME", value_parser = duration)]
        expires: Option<Duration>,
        /// What they may do besides. May stand repeatedly.
        #[arg(long, value_name = "RULE", value_parser = allow)]
        allow: Vec<Rule>,
        #[command(flatten)]
        auth: AuthArgs,
    },
    /// Lists the tokens, without their secrets.
    #[command(after_help = "Example:\n  quipu token list")]
    List {
        #[command(flatten)]
        auth: AuthArgs,
    },
    /// Revokes a token for good.
    #[command(after_help = "Example:\n  quipu token revoke 3kTMd9QzLxA")]
    Revoke {
        /// The token's id: what stands between the underscores.
        #[arg(value_name = "ID")]
        id: String,
        #[command(flatten)]
        auth: AuthArgs,
    },
}

/// Adds, lists and removes people, who exchange a password for a token of twelve hours.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  quipu user add ada --role admin
  quipu user passwd ada < password.txt
  curl -u ada -X POST https://localhost:2118/session

A password comes from the terminal, or from the first line of standard input.")]
pub(crate) struct UserArgs {
    #[command(subcommand)]
    pub(crate) verb: UserVerb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum UserVerb {
    /// Adds a user with a password.
    #[command(after_help = "Example:\n  quipu user add ada --role admin")]
    Add {
        /// The user.
        #[arg(value_name = "NAME")]
        name: String,
        /// What they may do everywhere.
        #[arg(long, value_name = "ROLE")]
        role: Role,
        #[command(flatten)]
        auth: AuthArgs,
    },
    /// Lists everybody who is known, programs too.
    #[command(after_help = "Example:\n  quipu user list")]
    List {
        #[command(flatten)]
        auth: AuthArgs,
    },
    /// Removes a user or a program, with all their tokens and rules.
    #[command(after_help = "Example:\n  quipu user remove ada")]
    Remove {
        /// The user.
        #[arg(value_name = "NAME")]
        name: String,
        #[command(flatten)]
        auth: AuthArgs,
    },
    /// Replaces a password. Sessions that began with the old one end.
    #[command(after_help = "Example:\n  quipu user passwd ada")]
    Passwd {
        /// The user.
        #[arg(value_name = "NAME")]
        name: String,
        #[command(flatten)]
        auth: AuthArgs,
    },
    /// Lets a name in client certificates stand for a user or a program.
    #[command(after_help = "Example:\n  quipu user certificate orders cn:orders")]
    Certificate {
        /// The user.
        #[arg(value_name = "NAME")]
        name: String,
        /// dns:NAME or uri:URI of the certificate's alternative names, or cn:NAME.
        #[arg(value_name = "SUBJECT")]
        subject: String,
        #[command(flatten)]
        auth: AuthArgs,
    },
}

/// Adds, lists and removes rules: what one may do, or may not, on part of the log.
///
/// What no role and no rule allows is refused. A rule that denies wins over all that allow.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  quipu rule add allow billing 'read category:order'
  quipu rule add deny reports 'read prefix:salary-'
  quipu rule remove 3")]
pub(crate) struct RuleArgs {
    #[command(subcommand)]
    pub(crate) verb: RuleVerb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum RuleVerb {
    /// Adds a rule.
    #[command(after_help = "Example:\n  quipu rule add allow billing 'read category:order'")]
    Add {
        /// allow or deny.
        #[arg(value_name = "EFFECT", value_parser = effect)]
        effect: Effect,
        /// Whom it is about.
        #[arg(value_name = "NAME")]
        name: String,
        /// The action, and the part of the log: `read category:order`.
        #[arg(value_name = "RULE")]
        rule: String,
        #[command(flatten)]
        auth: AuthArgs,
    },
    /// Lists the rules with their numbers.
    #[command(after_help = "Example:\n  quipu rule list")]
    List {
        #[command(flatten)]
        auth: AuthArgs,
    },
    /// Removes a rule.
    #[command(after_help = "Example:\n  quipu rule remove 3")]
    Remove {
        /// The rule's number.
        #[arg(value_name = "ID")]
        id: u64,
        #[command(flatten)]
        auth: AuthArgs,
    },
}

/// Makes certificates for TLS, by an authority of your own.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  quipu cert init ./tls --host db.example --host 192.0.2.7
  quipu cert client orders --dir ./tls")]
pub(crate) struct CertArgs {
    #[command(subcommand)]
    pub(crate) verb: CertVerb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum CertVerb {
    /// Makes an authority and a certificate for the server: ca.pem, server.pem and their keys.
    #[command(after_help = "Example:\n  quipu cert init ./tls --host db.example")]
    Init {
        /// The directory for the files.
        #[arg(value_name = "DIR")]
        dir: PathBuf,
        /// A name or address by which clients reach the server, beside localhost.
        #[arg(long = "host", value_name = "NAME")]
        hosts: Vec<String>,
    },
    /// Makes a client certificate: NAME.pem and NAME-key.pem.
    #[command(after_help = "Example:\n  quipu cert client orders --dir ./tls")]
    Client {
        /// The name that the certificate has: `cn:NAME` for `quipu user certificate`.
        #[arg(value_name = "NAME")]
        name: String,
        /// The directory that `quipu cert init` made.
        #[arg(long, value_name = "DIR", default_value = ".")]
        dir: PathBuf,
    },
}

fn effect(text: &str) -> Result<Effect, String> {
    match text {
        "allow" => Ok(Effect::Allow),
        "deny" => Ok(Effect::Deny),
        _ => Err("it is allow or deny".to_owned()),
    }
}

fn allow(text: &str) -> Result<Rule, quipu_server::security::ParseRuleError> {
    Rule::parse(Effect::Allow, text)
}

fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || "it is a number with d, h or m behind it: 90d, 12h, 30m".to_owned();
    let (unit_at, unit) = text.char_indices().next_back().ok_or_else(wrong)?;
    let count: u64 = text.get(..unit_at).and_then(|it| it.parse().ok()).ok_or_else(wrong)?;
    let minutes = match unit {
        'd' => 24 * 60,
        'h' => 60,
        'm' => 1,
        _ => return Err(wrong()),
    };
    // A hundred years are enough, and the end still is a time of the calendar.
    let total = count.checked_mul(minutes).filter(|total| (1..=52_560_000).contains(total));
    total.map(|total| Duration::from_secs(total * 60)).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_a_number_and_a_unit() {
        assert_eq!(duration("90d"), Ok(Duration::from_hours(90 * 24)));
        assert_eq!(duration("30m"), Ok(Duration::from_mins(30)));
        for text in ["", "d", "0d", "-1d", "1", "1w", "1.5h", "99999999d", "1ü"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
