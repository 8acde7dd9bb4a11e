//! How to connect: encrypted, and as whom.

use std::fmt;

use krafka::auth::{AuthConfig, TlsConfig};

/// How a sink connects. By default neither encrypted nor authenticated.
#[derive(Clone, Default)]
pub struct KafkaSecurity {
    tls: Option<KafkaTls>,
    sasl: Option<Sasl>,
}

/// How passwords are shown to brokers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SaslMechanism {
    /// As it is: only over TLS.
    Plain,
    /// By a proof that does not tell it, with SHA-256.
    ScramSha256,
    /// By a proof that does not tell it, with SHA-512.
    ScramSha512,
}

#[derive(Clone)]
struct Sasl {
    mechanism: SaslMechanism,
    user: String,
    password: String,
}

/// Whom to trust, and what to show of oneself.
#[derive(Clone, Default)]
pub struct KafkaTls {
    ca: Option<String>,
    identity: Option<(String, String)>,
}

impl KafkaTls {
    /// Brokers' certificates are trusted as the machine trusts them.
    pub fn new() -> Self {
        Self::default()
    }

    /// Brokers' certificates are trusted if one of these, in PEM, signed them, and no others.
    #[must_use]
    pub fn ca(mut self, pem: &str) -> Self {
        self.ca = Some(pem.to_owned());
        self
    }

    /// Shows this certificate, and proves it by its key; both in PEM.
    #[must_use]
    pub fn identity(mut self, certificate: &str, key: &str) -> Self {
        self.identity = Some((certificate.to_owned(), key.to_owned()));
        self
    }

    fn config(&self) -> TlsConfig {
        let config = match &self.ca {
            Some(pem) => TlsConfig::new().with_ca_cert_pem(pem.as_bytes()),
            None => TlsConfig::new().with_native_roots(),
        };
        match &self.identity {
            Some((certificate, key)) => {
                config.with_client_cert_pem(certificate.as_bytes(), key.as_bytes().to_vec())
            }
            None => config,
        }
    }
}

impl KafkaSecurity {
    /// Encrypted this way.
    #[must_use]
    pub fn tls(mut self, tls: KafkaTls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// As this user. The password is not printed.
    #[must_use]
    pub fn sasl(mut self, mechanism: SaslMechanism, user: &str, password: &str) -> Self {
        let (user, password) = (user.to_owned(), password.to_owned());
        self.sasl = Some(Sasl { mechanism, user, password });
        self
    }

    pub(super) fn config(&self) -> AuthConfig {
        let tls = self.tls.as_ref().map(KafkaTls::config);
        let Some(Sasl { mechanism, user, password }) = &self.sasl else {
            return tls.map_or_else(AuthConfig::plaintext, AuthConfig::ssl);
        };
        let config = match mechanism {
            SaslMechanism::Plain => AuthConfig::sasl_plain(user, password),
            SaslMechanism::ScramSha256 => AuthConfig::sasl_scram_sha256(user, password),
            SaslMechanism::ScramSha512 => AuthConfig::sasl_scram_sha512(user, password),
        };
        match tls {
            Some(tls) => config.with_tls(tls),
            None => config,
        }
    }
}

impl fmt::Debug for KafkaSecurity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaSecurity")
            .field("tls", &self.tls.is_some())
            .field("user", &self.sasl.as_ref().map(|sasl| &sasl.user))
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for KafkaTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaTls").field("ca", &self.ca).finish_non_exhaustive()
    }
}
