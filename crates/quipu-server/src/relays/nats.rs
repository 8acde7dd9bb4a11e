//! `[nats]`: a stream of NATS `JetStream` as a relay's file names it.

use std::num::NonZeroU16;
use std::path::PathBuf;
use std::sync::Arc;

use quipu_relay::Sink;
use serde::Deserialize;
use toml::Spanned;

use super::file::Tls;
use super::{RelayConfig, RelayConfigError};

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(not(feature = "nats"), expect(dead_code, reason = "read, and then refused"))]
pub(super) struct Nats {
    servers: String,
    stream: String,
    subject: Spanned<String>,
    #[serde(default)]
    format: Format,
    #[serde(default)]
    create_stream: bool,
    replicas: Option<NonZeroU16>,
    tls: Option<Tls>,
    user: Option<String>,
    /// Never the password or the token itself: configuration is shown to others.
    password_file: Option<PathBuf>,
    token_file: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Format {
    #[default]
    Binary,
    Structured,
}

impl RelayConfig {
    #[cfg(not(feature = "nats"))]
    pub(super) fn nats_sink(
        &self,
        nats: &Spanned<Nats>,
    ) -> Result<Arc<dyn Sink>, RelayConfigError> {
        Err(self.wrong(nats, "this program was built without NATS (the feature \"nats\")"))
    }

    #[cfg(feature = "nats")]
    pub(super) fn nats_sink(
        &self,
        nats: &Spanned<Nats>,
    ) -> Result<Arc<dyn Sink>, RelayConfigError> {
        use quipu_relay::{NatsError, NatsFormat, NatsSink, NatsStreams};

        let own = nats.as_ref();
        let sink = NatsSink::new(&own.servers, &own.stream, own.subject.as_ref());
        let sink = sink.map_err(|error| match error {
            error @ NatsError::Subject(_) => self.wrong(&own.subject, error),
            error => self.wrong(nats, error),
        })?;
        let mut streams = NatsStreams::default();
        if own.create_stream {
            streams = streams.create();
        }
        if let Some(count) = own.replicas {
            streams = streams.replicas(count.get());
        }
        let sink = sink.streams(streams).security(self.nats_security(nats)?);
        Ok(Arc::new(sink.format(match own.format {
            Format::Binary => NatsFormat::Binary,
            Format::Structured => NatsFormat::Structured,
        })))
    }

    #[cfg(feature = "nats")]
    fn nats_security(
        &self,
        nats: &Spanned<Nats>,
    ) -> Result<quipu_relay::NatsSecurity, RelayConfigError> {
        let own = nats.as_ref();
        let mut security = quipu_relay::NatsSecurity::default();
        if let Some(tls) = &own.tls {
            security = security.tls();
            if let Some(ca) = &tls.ca {
                security = security.ca(self.beside(ca));
            }
            if let Some((cert, key)) = self.tls_identity(nats, tls)? {
                security = security.identity(cert, key);
            }
        }
        match (&own.user, &own.password_file) {
            (Some(user), Some(path)) => {
                security = security.user(user, super::read(&self.beside(path))?.trim_end());
            }
            (None, None) => {}
            _ => return Err(self.wrong(nats, "a user needs both user and password_file")),
        }
        if let Some(path) = &own.token_file {
            security = security.token(super::read(&self.beside(path))?.trim());
        }
        Ok(security)
    }
}
