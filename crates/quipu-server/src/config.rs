//! What the server is told: by flags, by the environment, by a file, in this order of precedence.
//!
//! What `quipu config show` prints can be shown to anyone: certificates, keys and credentials are named
//! by their files, and of a database's address the password is left out.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, ValueEnum};
use quipu_postgres::{ParseUrlError, PostgresOptions};
use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use crate::server::TlsFiles;

/// What one request may be and do at most. Sizes are in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "those who start a server build it")]
pub struct Limits {
    /// The most bytes of one request: a gRPC message or an HTTP body.
    pub request_size_max: usize,
    /// The most bytes of events in one message or page of an answer.
    pub page_size_max: usize,
    /// The most connections at once.
    pub connection_count_max: usize,
    /// The most requests at once on one connection.
    pub in_flight_max: u32,
    /// The most subscriptions at once of one principal.
    pub subscription_count_max: usize,
    /// How long a TLS handshake or a request's head may take, and how long a body may pause.
    pub handshake_timeout: Duration,
    /// How long requests under way may take to end once the server stops.
    pub drain_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            request_size_max: 68 << 20,
            page_size_max: 4 << 20,
            connection_count_max: 10_000,
            in_flight_max: 128,
            subscription_count_max: 1_000,
            handshake_timeout: Duration::from_secs(10),
            drain_timeout: Duration::from_secs(10),
        }
    }
}

/// How the server's log is written to standard error.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
#[expect(clippy::exhaustive_enums, reason = "the server writes each of them")]
pub enum LogFormat {
    /// Lines for people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// How much is logged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
#[expect(clippy::exhaustive_enums, reason = "the server writes each of them")]
pub enum LogLevel {
    /// What failed and needs someone.
    Error,
    /// And what went wrong and was dealt with.
    Warn,
    /// And what a server does as a whole: it starts, reloads, stops.
    #[default]
    Info,
    /// And what happens to single connections and requests.
    Debug,
}

/// What the server is told. What is left out is told elsewhere, or has its default.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(clippy::exhaustive_structs, reason = "the command line builds it")]
pub struct Settings {
    /// The directory that holds the log. On the command line it is the flag of all verbs.
    #[arg(skip)]
    pub data: Option<PathBuf>,
    /// The database that holds the log instead. On the command line it is a flag of many verbs.
    #[arg(skip)]
    pub postgres: Option<DatabaseUrl>,
    /// The address to listen on; port 0 lets the system choose one. [default: 127.0.0.1:2113]
    #[arg(long, value_name = "ADDRESS", env = "QUIPU_LISTEN", hide_env_values = true)]
    pub listen: Option<SocketAddr>,
    /// The certificate chain of the server, PEM. With it, only TLS is spoken on the port.
    #[arg(long, value_name = "FILE", env = "QUIPU_TLS_CERT", hide_env_values = true)]
    pub tls_cert: Option<PathBuf>,
    /// The private key of the certificate, PEM. Nobody else may be able to read the file.
    #[arg(long, value_name = "FILE", env = "QUIPU_TLS_KEY", hide_env_values = true)]
    pub tls_key: Option<PathBuf>,
    /// The authority that signs the certificates of clients, PEM.
    #[arg(long, value_name = "FILE", env = "QUIPU_CLIENT_CA", hide_env_values = true)]
    pub client_ca: Option<PathBuf>,
    /// The certificates of clients that are revoked: lists (CRL) by the authority, PEM. They are
    /// read again when the file changes.
    #[arg(long, value_name = "FILE", env = "QUIPU_CLIENT_CRL", hide_env_values = true)]
    pub client_crl: Option<PathBuf>,
    /// The file of principals and rules. [default: the data directory's name and .auth.json]
    #[arg(long, value_name = "FILE", env = "QUIPU_AUTH", hide_env_values = true)]
    pub auth: Option<PathBuf>,
    /// The directory that backups over the network go to, each to one of its own in it.
    #[arg(long, value_name = "DIRECTORY", env = "QUIPU_BACKUP_DIR", hide_env_values = true)]
    pub backup_dir: Option<PathBuf>,
    /// A directory of relays, each a file of its name and `.toml`, to run beside the service.
    #[arg(long, value_name = "DIRECTORY", env = "QUIPU_RELAYS", hide_env_values = true)]
    pub relays: Option<PathBuf>,
    /// Serve on this address without TLS or without authentication, although others can reach it.
    /// Who can reach it can read and change everything.
    #[arg(long, value_name = "ADDRESS")]
    pub dangerously_allow_plaintext_on: Option<SocketAddr>,
    /// How to write the log to standard error. [default: text]
    #[arg(
        long,
        value_name = "FORMAT",
        value_enum,
        env = "QUIPU_LOG_FORMAT",
        hide_env_values = true
    )]
    pub log_format: Option<LogFormat>,
    /// How much to log. [default: info]
    #[arg(long, value_name = "LEVEL", value_enum, env = "QUIPU_LOG_LEVEL", hide_env_values = true)]
    pub log_level: Option<LogLevel>,
    /// Log every request when its answer is over: who asked what, how it ended, how long it took.
    #[arg(
        long,
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        value_name = "BOOLEAN",
        env = "QUIPU_ACCESS_LOG",
        hide_env_values = true
    )]
    pub access_log: Option<bool>,
    /// The most bytes of one request. [default: 71303168]
    #[arg(long, value_name = "BYTES", env = "QUIPU_REQUEST_SIZE_MAX", hide_env_values = true)]
    pub request_size_max: Option<usize>,
    /// The most bytes of events in one message or page of an answer. [default: 4194304]
    #[arg(long, value_name = "BYTES", env = "QUIPU_PAGE_SIZE_MAX", hide_env_values = true)]
    pub page_size_max: Option<usize>,
    /// The most connections at once; more wait to be accepted. [default: 10000]
    #[arg(long, value_name = "COUNT", env = "QUIPU_CONNECTION_COUNT_MAX", hide_env_values = true)]
    pub connection_count_max: Option<usize>,
    /// The most requests at once on one connection. [default: 128]
    #[arg(long, value_name = "COUNT", env = "QUIPU_IN_FLIGHT_MAX", hide_env_values = true)]
    pub in_flight_max: Option<u32>,
    /// The most subscriptions at once of one principal. [default: 1000]
    #[arg(
        long,
        value_name = "COUNT",
        env = "QUIPU_SUBSCRIPTION_COUNT_MAX",
        hide_env_values = true
    )]
    pub subscription_count_max: Option<usize>,
    /// Seconds that requests under way may take to end once the server stops. [default: 10]
    #[arg(long, value_name = "SECONDS", env = "QUIPU_DRAIN_SECONDS", hide_env_values = true)]
    pub drain_seconds: Option<u64>,
}

/// The address of a database, as it was given: it may hold a password, and is not shown.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DatabaseUrl(String);

impl DatabaseUrl {
    /// The address that was given.
    pub fn new(url: impl Into<String>) -> Self {
        Self(url.into())
    }

    /// How to reach the store at the address.
    ///
    /// # Errors
    ///
    /// It is not the address of a database.
    pub fn options(&self) -> Result<PostgresOptions, ParseUrlError> {
        self.0.parse()
    }
}

impl std::fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.options() {
            Ok(options) => options.fmt(f),
            // Whatever it is, a password may be in it.
            Err(_) => f.write_str("(not an address)"),
        }
    }
}

impl std::fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

/// Where a setting's value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "there is no fourth")]
pub enum Source {
    /// A flag or an environment variable.
    Command,
    /// The configuration file.
    File,
    /// Nobody said anything.
    Default,
}

impl Source {
    /// The source in words.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Command => "flag or environment",
            Self::File => "file",
            Self::Default => "default",
        }
    }
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file cannot be read. Check its path and its mode.
    #[error("could not read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not TOML, or has a key or a value that the server does not know.
    #[error("{} cannot be used", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: Box<toml::de::Error>,
    },
    /// TLS is configured by halves. Give certificate and key.
    #[error("TLS needs both tls_cert and tls_key, and client_crl needs client_ca")]
    HalfTls,
    /// A setting is out of its range.
    #[error("{setting} is {value}, it has to be {range}")]
    OutOfRange {
        /// Its name.
        setting: &'static str,
        /// What it is.
        value: u64,
        /// What it may be.
        range: &'static str,
    },
}

/// What the server does: every setting has a value, and is known to come from somewhere.
#[derive(Clone, PartialEq)]
pub struct Config {
    settings: Settings,
    command: Table,
    file: Table,
}

impl std::fmt::Debug for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The tables may hold a password.
        f.debug_struct("Config").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Config {
    /// Puts together what was said on the command line and in a file.
    ///
    /// # Errors
    ///
    /// The file cannot be read, has a key or value that is none, or a setting is out of range.
    pub fn load(command: &Settings, file: Option<&Path>) -> Result<Self, ConfigError> {
        let file = match file {
            None => Table::new(),
            Some(path) => {
                let text = fs::read_to_string(path)
                    .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
                // Parsed as settings first, so that an error says where it is.
                let settings: Settings = toml::from_str(&text).map_err(|source| {
                    ConfigError::Malformed { path: path.to_owned(), source: Box::new(source) }
                })?;
                to_table(&settings)
            }
        };
        let command = to_table(command);
        let mut merged = file.clone();
        merged.extend(command.clone());
        let settings = Settings::deserialize(Value::Table(merged))
            .expect("every part of it was made from settings");
        let config = Self { settings, command, file };
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<(), ConfigError> {
        let at_least_one = [
            ("in_flight_max", self.settings.in_flight_max.map(u64::from)),
            ("connection_count_max", self.settings.connection_count_max.map(|own| own as u64)),
            ("subscription_count_max", self.settings.subscription_count_max.map(|own| own as u64)),
        ];
        for (setting, value) in at_least_one {
            if value == Some(0) {
                return Err(ConfigError::OutOfRange { setting, value: 0, range: "at least 1" });
            }
        }
        let sizes = [
            ("request_size_max", self.settings.request_size_max),
            ("page_size_max", self.settings.page_size_max),
        ];
        for (setting, size) in sizes {
            if let Some(size) = size.filter(|size| !(1 << 10..=1 << 30).contains(size)) {
                let range = "from 1024 to 1073741824";
                return Err(ConfigError::OutOfRange { setting, value: size as u64, range });
            }
        }
        Ok(())
    }

    /// What was said, by whomever.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The address to listen on.
    pub fn listen(&self) -> SocketAddr {
        self.settings.listen.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 2113)))
    }

    /// How much a request may be and do.
    pub fn limits(&self) -> Limits {
        let own = &self.settings;
        let usual = Limits::default();
        Limits {
            request_size_max: own.request_size_max.unwrap_or(usual.request_size_max),
            page_size_max: own.page_size_max.unwrap_or(usual.page_size_max),
            connection_count_max: own.connection_count_max.unwrap_or(usual.connection_count_max),
            in_flight_max: own.in_flight_max.unwrap_or(usual.in_flight_max),
            subscription_count_max: own
                .subscription_count_max
                .unwrap_or(usual.subscription_count_max),
            handshake_timeout: usual.handshake_timeout,
            drain_timeout: own.drain_seconds.map_or(usual.drain_timeout, Duration::from_secs),
        }
    }

    /// The files that TLS needs, where it is configured.
    ///
    /// # Errors
    ///
    /// There is a certificate without a key, or the other way round, or an authority of clients
    /// without both, or revocations without an authority.
    pub fn tls(&self) -> Result<Option<TlsFiles>, ConfigError> {
        let Settings { tls_cert, tls_key, client_ca, client_crl, .. } = &self.settings;
        match (tls_cert, tls_key) {
            _ if client_crl.is_some() && client_ca.is_none() => Err(ConfigError::HalfTls),
            (None, None) if client_ca.is_none() => Ok(None),
            (Some(certificate), Some(key)) => Ok(Some(TlsFiles {
                certificate: certificate.clone(),
                key: key.clone(),
                client_authority: client_ca.clone(),
                client_revocations: client_crl.clone(),
            })),
            _ => Err(ConfigError::HalfTls),
        }
    }

    /// Every setting that has a value: its name, the value, and who said so.
    pub fn list(&self) -> Vec<(String, String, Source)> {
        let limits = self.limits();
        let own = &self.settings;
        let effective = Settings {
            listen: Some(self.listen()),
            postgres: own.postgres.as_ref().map(|url| DatabaseUrl::new(url.to_string())),
            log_format: Some(own.log_format.unwrap_or_default()),
            log_level: Some(own.log_level.unwrap_or_default()),
            access_log: Some(own.access_log.unwrap_or_default()),
            request_size_max: Some(limits.request_size_max),
            page_size_max: Some(limits.page_size_max),
            connection_count_max: Some(limits.connection_count_max),
            in_flight_max: Some(limits.in_flight_max),
            subscription_count_max: Some(limits.subscription_count_max),
            drain_seconds: Some(limits.drain_timeout.as_secs()),
            ..own.clone()
        };
        let source = |name: &str| match (self.command.contains_key(name), self.file.get(name)) {
            (true, _) => Source::Command,
            (false, Some(_)) => Source::File,
            (false, None) => Source::Default,
        };
        let text = |value: Value| match value {
            Value::String(text) => text,
            Value::Integer(number) => number.to_string(),
            Value::Boolean(is_on) => is_on.to_string(),
            other => unreachable!("settings are texts, numbers and booleans, not {other:?}"),
        };
        to_table(&effective)
            .into_iter()
            .map(|(name, value)| (name.clone(), text(value), source(&name)))
            .collect()
    }
}

fn to_table(settings: &Settings) -> Table {
    Table::try_from(settings).expect("settings are texts, numbers and booleans")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), text).unwrap();
        file
    }

    #[test]
    fn a_flag_goes_before_the_file_and_the_file_before_the_default() {
        let file = file("listen = \"127.0.0.1:1\"\nin_flight_max = 7\n");
        let command = Settings { in_flight_max: Some(9), ..Settings::default() };

        let config = Config::load(&command, Some(file.path())).unwrap();

        assert_eq!(config.limits().in_flight_max, 9);
        assert_eq!(config.listen().port(), 1);
        let listed = config.list();
        let of = |name: &str| listed.iter().find(|(own, ..)| own == name).unwrap();
        assert_eq!(of("in_flight_max").2, Source::Command);
        assert_eq!(of("listen").2, Source::File);
        assert_eq!(
            (of("page_size_max").1.as_str(), of("page_size_max").2),
            ("4194304", Source::Default)
        );
        assert!(listed.iter().all(|(name, ..)| name != "tls_cert"));
    }

    #[test]
    fn a_key_that_nobody_knows_is_refused_with_its_place() {
        let file = file("listen = \"127.0.0.1:1\"\nlissten = 4\n");

        let error = Config::load(&Settings::default(), Some(file.path())).unwrap_err();

        let ConfigError::Malformed { source, .. } = error else { panic!("{error}") };
        let text = source.to_string();
        assert!(text.contains("line 2") && text.contains("lissten"), "{text}");
    }

    #[test]
    fn a_setting_out_of_its_range_is_refused_by_name() {
        let command = Settings { page_size_max: Some(3), ..Settings::default() };

        let error = Config::load(&command, None).unwrap_err();

        assert!(error.to_string().starts_with("page_size_max is 3"), "{error}");
    }

    #[test]
    fn a_password_is_not_listed() {
        let file = file("postgres = \"postgres://ada:secret@db/shop\"\n");

        let config = Config::load(&Settings::default(), Some(file.path())).unwrap();

        let listed = config.list();
        let postgres = listed.iter().find(|(name, ..)| name == "postgres").unwrap();
        assert_eq!(postgres.1, "postgres://ada@db:5432/shop");
        assert!(!format!("{config:?}").contains("secret"));
        assert!(config.settings().postgres.as_ref().unwrap().options().is_ok());
    }

    #[test]
    fn a_file_that_is_not_there_is_an_error() {
        let missing = Path::new("no/such/file.toml");

        let answer = Config::load(&Settings::default(), Some(missing));

        assert!(matches!(answer, Err(ConfigError::Read { .. })));
    }
}
