//! One connection: a client, and a stream that was seen to be there.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_nats::jetstream::context::{GetStreamErrorKind, PublishErrorKind};
use async_nats::jetstream::stream::{Config, StorageType};
use async_nats::jetstream::{Context, ContextBuilder, ErrorCode};
use async_nats::{Client, ConnectOptions, Event, ServerAddr, ServerError};

use super::Settings;
use super::error::{NatsError, Trouble};
use super::message::Message;

/// How long an acknowledgement may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

pub(super) struct Session {
    context: Context,
    stream: String,
    /// What the server said last that belongs to no message, such as that a right is missing.
    said: Arc<Mutex<Option<String>>>,
}

/// The servers in a list with commas.
pub(super) fn addresses(servers: &str) -> Result<Vec<ServerAddr>, NatsError> {
    let parse = |text: &str| {
        let address = text.trim().parse::<ServerAddr>().ok()?;
        // Configuration is shown to others, and what is wrong with it as well.
        let is_usable = !address.has_user_pass() && matches!(address.scheme(), "nats" | "tls");
        (is_usable && !address.host().is_empty()).then_some(address)
    };
    let all: Option<Vec<ServerAddr>> = servers.split(',').map(parse).collect();
    all.ok_or(NatsError::Servers)
}

impl Session {
    /// Connects, and sees to it that the stream is there.
    pub(super) async fn open(settings: &Settings) -> Result<Self, Trouble> {
        let said = Arc::<Mutex<Option<String>>>::default();
        let client = connect(settings, Arc::clone(&said)).await?;
        let context = ContextBuilder::new()
            .timeout(REQUEST_TIMEOUT)
            .ack_timeout(REQUEST_TIMEOUT)
            .build(client);
        ensure_stream(&context, settings).await?;
        Ok(Self { context, stream: settings.stream.clone(), said })
    }

    /// Publishes the messages of a key, each after the one before is acknowledged. Answers the place of
    /// the first that was not, and why.
    pub(super) async fn publish(
        &self,
        chain: Vec<(usize, Message)>,
    ) -> Result<(), (usize, Trouble)> {
        for (index, Message { subject, content }) in chain {
            let content = content.expected_stream(&self.stream);
            let sent = self.context.send_publish(subject.clone(), content).await;
            let acknowledged = match sent {
                Ok(acknowledged) => acknowledged.await,
                Err(error) => Err(error),
            };
            if let Err(error) = acknowledged {
                let said = self.said.lock().unwrap_or_else(PoisonError::into_inner).take();
                // Where a right is missing there is no answer to the message itself.
                let said = said.filter(|_| error.kind() == PublishErrorKind::TimedOut);
                return Err((index, Trouble::of(error, subject, &self.stream, said)));
            }
        }
        Ok(())
    }
}

async fn connect(settings: &Settings, said: Arc<Mutex<Option<String>>>) -> Result<Client, Trouble> {
    let security = &settings.security;
    let mut options = ConnectOptions::new()
        .name("quipu-relay")
        // One try each, then it is the sink's: so that it can say what is wrong.
        .max_reconnects(settings.servers.len())
        .require_tls(security.is_encrypted)
        .event_callback(move |event| {
            if let Event::ServerError(ServerError::Other(text)) = event {
                *said.lock().unwrap_or_else(PoisonError::into_inner) = Some(text);
            }
            std::future::ready(())
        });
    if let Some((name, password)) = &security.user {
        options = options.user_and_password(name.clone(), password.clone());
    }
    if let Some(token) = &security.token {
        options = options.token(token.clone());
    }
    if let Some(path) = &security.ca {
        options = options.add_root_certificates(path.clone());
    }
    if let Some((certificate, key)) = &security.identity {
        options = options.add_client_certificate(certificate.clone(), key.clone());
    }
    options.connect(settings.servers.clone()).await.map_err(Trouble::of_connecting)
}

async fn ensure_stream(context: &Context, settings: &Settings) -> Result<(), Trouble> {
    let stream = &settings.stream;
    let wrong = |is_new, source| {
        Trouble::Waiting(NatsError::Stream { stream: stream.clone(), is_new, source })
    };
    match context.get_stream(stream).await {
        Ok(found) if found.cached_info().config.no_ack => {
            Err(Trouble::Waiting(NatsError::NoAck { stream: stream.clone() }))
        }
        Ok(_) => Ok(()),
        Err(error) => match error.kind() {
            GetStreamErrorKind::JetStream(own) if own.kind() == ErrorCode::STREAM_NOT_FOUND => {
                let subjects = subjects(settings);
                if !settings.streams.creates {
                    let stream = stream.clone();
                    return Err(Trouble::Waiting(NatsError::UnknownStream { stream, subjects }));
                }
                let config = Config {
                    name: stream.clone(),
                    subjects: vec![subjects],
                    storage: StorageType::File,
                    num_replicas: settings.streams.replicas.map_or(1, usize::from),
                    ..Config::default()
                };
                let created = context.create_stream(config).await;
                created.map(drop).map_err(|error| wrong(true, error.into()))
            }
            _ => Err(wrong(false, error.into())),
        },
    }
}

/// Every subject that the template can give: what a stream for it has.
fn subjects(settings: &Settings) -> String {
    match settings.subject.beginning() {
        (whole, true) => whole.to_owned(),
        (text, false) => match text.rsplit_once('.') {
            Some((words, _)) => format!("{words}.>"),
            None => ">".to_owned(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sinks::nats::NatsSink;

    #[test]
    fn servers_are_urls_or_names_and_have_no_passwords() {
        for servers in ["localhost", "localhost:4222", "nats://a:1, tls://b:2"] {
            assert!(addresses(servers).is_ok(), "{servers}");
        }
        for servers in ["", "a,,b", ":4222", "http://a", "nats://me:secret@a", "a:port"] {
            assert!(addresses(servers).is_err(), "{servers}");
        }
    }

    #[test]
    fn a_stream_is_made_with_what_the_template_can_give() {
        let made = |subject| subjects(&NatsSink::new("a", "S", subject).unwrap().settings);

        assert_eq!(made("orders"), "orders");
        assert_eq!(made("shop.orders.{type}"), "shop.orders.>");
        assert_eq!(made("shop.or{type}"), "shop.>");
        assert_eq!(made("{category}.all"), ">");
    }
}
