//! What stands in a relay's file, and the sinks it can name.

use std::num::NonZeroU16;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use quipu_relay::{FileSink, Sink, WebhookMode, WebhookSink, WriterSink};
use serde::Deserialize;
use toml::Spanned;

use super::nats::Nats;
use super::rule::RuleText;
use super::{RelayConfig, RelayConfigError, read};

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    pub(super) name: Spanned<String>,
    pub(super) query: Option<Spanned<String>>,
    pub(super) from: Option<Spanned<From>>,
    pub(super) key: Option<Spanned<String>>,
    pub(super) partitions: Option<NonZeroU16>,
    pub(super) source: Option<String>,
    pub(super) on_error: Option<GiveUp>,
    pub(super) retries: Option<u32>,
    #[serde(default)]
    pub(super) tombstones: Vec<String>,
    #[serde(default, rename = "event")]
    pub(super) events: Vec<RuleText>,
    pub(super) kafka: Option<Spanned<Kafka>>,
    pub(super) nats: Option<Spanned<Nats>>,
    pub(super) webhook: Option<Spanned<Webhook>>,
    #[serde(rename = "file")]
    pub(super) lines: Option<Spanned<Lines>>,
    pub(super) stdout: Option<Spanned<Stdout>>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum From {
    Position(u64),
    Word(String),
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum GiveUp {
    #[default]
    Stop,
    Park,
    Skip,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(not(feature = "kafka"), expect(dead_code, reason = "read, and then refused"))]
pub(super) struct Kafka {
    servers: String,
    topic: Spanned<String>,
    #[serde(default)]
    format: KafkaFormat,
    checkpoint_topic: Option<String>,
    #[serde(default)]
    create_topics: bool,
    partitions: Option<NonZeroU16>,
    replication: Option<NonZeroU16>,
    #[serde(default)]
    compacted: bool,
    tls: Option<Tls>,
    sasl: Option<Sasl>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum KafkaFormat {
    #[default]
    Binary,
    Structured,
    Debezium,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(not(feature = "kafka"), expect(dead_code, reason = "read, and then refused"))]
pub(super) struct Tls {
    pub(super) ca: Option<PathBuf>,
    cert: Option<PathBuf>,
    key: Option<PathBuf>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(not(feature = "kafka"), expect(dead_code, reason = "read, and then refused"))]
struct Sasl {
    mechanism: Mechanism,
    user: String,
    /// Never the password itself: configuration is shown to others.
    password_file: PathBuf,
}

#[derive(Clone, Copy, Debug, Deserialize)]
enum Mechanism {
    #[serde(rename = "PLAIN")]
    Plain,
    #[serde(rename = "SCRAM-SHA-256")]
    ScramSha256,
    #[serde(rename = "SCRAM-SHA-512")]
    ScramSha512,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Webhook {
    url: Spanned<String>,
    #[serde(default)]
    format: WebhookFormat,
    timeout_seconds: Option<u64>,
    token_file: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum WebhookFormat {
    #[default]
    Binary,
    Structured,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Lines {
    path: PathBuf,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Stdout {}

impl File {
    pub(super) fn sink_count(&self) -> usize {
        let named = [
            self.kafka.is_some(),
            self.nats.is_some(),
            self.webhook.is_some(),
            self.lines.is_some(),
            self.stdout.is_some(),
        ];
        named.into_iter().filter(|is_named| *is_named).count()
    }

    pub(super) fn sink_name(&self) -> &'static str {
        match (&self.kafka, &self.nats, &self.webhook, &self.lines) {
            (Some(_), _, _, _) => "kafka",
            (_, Some(_), _, _) => "nats",
            (_, _, Some(_), _) => "webhook",
            (_, _, _, Some(_)) => "file",
            _ => "stdout",
        }
    }
}

impl RelayConfig {
    /// What can be known to be wrong with the sink without opening it.
    pub(super) fn check_sink(&self) -> Result<(), RelayConfigError> {
        if let Some(kafka) = &self.file.kafka {
            self.kafka_sink(kafka)?;
        }
        if let Some(nats) = &self.file.nats {
            self.nats_sink(nats)?;
        }
        if let Some(webhook) = &self.file.webhook {
            self.webhook_sink(webhook.as_ref())?;
        }
        Ok(())
    }

    pub(super) fn open_sink(&self) -> Result<Arc<dyn Sink>, RelayConfigError> {
        if let Some(kafka) = &self.file.kafka {
            return self.kafka_sink(kafka);
        }
        if let Some(nats) = &self.file.nats {
            return self.nats_sink(nats);
        }
        if let Some(webhook) = &self.file.webhook {
            return self.webhook_sink(webhook.as_ref());
        }
        if let Some(lines) = &self.file.lines {
            let path = self.beside(&lines.as_ref().path);
            return match FileSink::open(&path) {
                Ok(sink) => Ok(Arc::new(sink)),
                Err(source) => Err(RelayConfigError::Read { path, source }),
            };
        }
        Ok(Arc::new(WriterSink::stdout()))
    }

    #[cfg(not(feature = "kafka"))]
    fn kafka_sink(&self, kafka: &Spanned<Kafka>) -> Result<Arc<dyn Sink>, RelayConfigError> {
        Err(self.wrong(kafka, "this program was built without Kafka (the feature \"kafka\")"))
    }

    #[cfg(feature = "kafka")]
    fn kafka_sink(&self, kafka: &Spanned<Kafka>) -> Result<Arc<dyn Sink>, RelayConfigError> {
        use quipu_relay::{KafkaFormat as Format, KafkaSink, KafkaTopics};

        let own = kafka.as_ref();
        let sink = KafkaSink::new(&own.servers, own.topic.as_ref());
        let sink = sink.map_err(|error| self.wrong(&own.topic, error))?;
        let mut topics = KafkaTopics::default();
        if own.create_topics {
            topics = topics.create();
        }
        if own.compacted {
            topics = topics.compacted();
        }
        if let Some(count) = own.partitions {
            topics = topics.partitions(count.get());
        }
        if let Some(count) = own.replication {
            topics = topics.replication(count.get());
        }
        let mut sink =
            sink.topics(topics).security(self.security(kafka)?).format(match own.format {
                KafkaFormat::Binary => Format::Binary,
                KafkaFormat::Structured => Format::Structured,
                KafkaFormat::Debezium => Format::Debezium,
            });
        if let Some(topic) = &own.checkpoint_topic {
            sink = sink.checkpoint_topic(topic);
        }
        Ok(Arc::new(sink))
    }

    #[cfg(feature = "kafka")]
    fn security(
        &self,
        kafka: &Spanned<Kafka>,
    ) -> Result<quipu_relay::KafkaSecurity, RelayConfigError> {
        use quipu_relay::{KafkaSecurity, KafkaTls, SaslMechanism};

        let mut security = KafkaSecurity::default();
        if let Some(tls) = &kafka.as_ref().tls {
            let mut own = KafkaTls::new();
            if let Some(ca) = &tls.ca {
                own = own.ca(&read(&self.beside(ca))?);
            }
            if let Some((cert, key)) = self.tls_identity(kafka, tls)? {
                own = own.identity(&read(&cert)?, &read(&key)?);
            }
            security = security.tls(own);
        }
        if let Some(sasl) = &kafka.as_ref().sasl {
            let mechanism = match sasl.mechanism {
                Mechanism::Plain => SaslMechanism::Plain,
                Mechanism::ScramSha256 => SaslMechanism::ScramSha256,
                Mechanism::ScramSha512 => SaslMechanism::ScramSha512,
            };
            let password = read(&self.beside(&sasl.password_file))?;
            security = security.sasl(mechanism, &sasl.user, password.trim_end());
        }
        Ok(security)
    }

    /// The files of the certificate to show and of its key.
    #[cfg(any(feature = "kafka", feature = "nats"))]
    pub(super) fn tls_identity<T>(
        &self,
        at: &Spanned<T>,
        tls: &Tls,
    ) -> Result<Option<(PathBuf, PathBuf)>, RelayConfigError> {
        match (&tls.cert, &tls.key) {
            (Some(cert), Some(key)) => Ok(Some((self.beside(cert), self.beside(key)))),
            (None, None) => Ok(None),
            _ => Err(self.wrong(at, "TLS needs both cert and key, or neither")),
        }
    }

    fn webhook_sink(&self, own: &Webhook) -> Result<Arc<dyn Sink>, RelayConfigError> {
        let wrong = |error| self.wrong(&own.url, error);
        let mut sink = WebhookSink::new(own.url.as_ref()).map_err(wrong)?.mode(match own.format {
            WebhookFormat::Binary => WebhookMode::Binary,
            WebhookFormat::Structured => WebhookMode::Structured,
        });
        if let Some(seconds) = own.timeout_seconds {
            sink = sink.timeout(Duration::from_secs(seconds));
        }
        if let Some(path) = &own.token_file {
            let token = read(&self.beside(path))?;
            let value = format!("Bearer {}", token.trim());
            sink = sink.header("authorization", &value).map_err(wrong)?;
        }
        Ok(Arc::new(sink))
    }

    /// A path that the file names: relative to the file.
    pub(super) fn beside(&self, path: &Path) -> PathBuf {
        self.path.parent().unwrap_or(Path::new(".")).join(path)
    }
}
