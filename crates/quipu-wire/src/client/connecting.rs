//! How a client connects, and what it is told.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use quipu_core::Rights;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity};
use tonic::{Request, Status};

use super::{Client, Inner};
use crate::from_proto;
use crate::proto::IdentifyRequest;
use crate::proto::store_client::StoreClient;
use crate::status::{Refused, TransportError, refused};

/// What a stream may send ahead of its reader.
const STREAM_WINDOW_SIZE: u32 = 512 << 10;
/// What all streams of a connection may send ahead: as much as each of them, so that a reader that
/// takes its time holds up no other.
const CONNECTION_WINDOW_SIZE: u32 = 128 * STREAM_WINDOW_SIZE;
/// The most bytes of the headers of an answer: they carry the details of errors.
const HEADERS_SIZE_MAX: u32 = 64 << 10;

/// How to connect, and how patient to be.
#[derive(Clone)]
#[expect(clippy::exhaustive_structs, reason = "callers build it")]
pub struct ClientOptions {
    /// The token that says who asks, if the server wants one. It is never logged.
    pub token: Option<String>,
    /// The certificates, in PEM, that the server's is checked against. `https` needs them.
    pub ca: Option<String>,
    /// What the client shows when the server asks for a certificate.
    pub identity: Option<ClientIdentity>,
    /// The rights to change the log with. System rights write reserved names, for restores and copies:
    /// a server gives them to administrators, an open one to whoever asks.
    pub rights: Rights,
    /// How long making a connection may take.
    pub connect_timeout: Duration,
    /// How long a call may take that is neither a read nor a wait nor a subscription.
    pub request_timeout: Duration,
    /// How often a call is made again when its connection broke.
    pub retry_count_max: u32,
    /// How long a subscription tries to go on when its connection broke.
    pub reconnect_timeout: Duration,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            token: None,
            ca: None,
            identity: None,
            rights: Rights::Application,
            connect_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(30),
            retry_count_max: 4,
            reconnect_timeout: Duration::from_mins(1),
        }
    }
}

impl ClientOptions {
    /// What the environment says, in the variables of the command line: the token in `QUIPU_TOKEN` or
    /// the file that `QUIPU_TOKEN_FILE` names; the files `QUIPU_CA`, and `QUIPU_CERT` with
    /// `QUIPU_KEY`. The rest is as by default.
    ///
    /// # Errors
    ///
    /// A file that is named cannot be read; the error says which.
    pub fn from_env() -> io::Result<Self> {
        let text = |name| std::env::var(name).ok().filter(|text: &String| !text.is_empty());
        let file = |name| text(name).map(|path| read(&path)).transpose();
        let token = match file("QUIPU_TOKEN_FILE")? {
            Some(token) => Some(token.trim().to_owned()),
            None => text("QUIPU_TOKEN"),
        };
        let identity = match (file("QUIPU_CERT")?, file("QUIPU_KEY")?) {
            (Some(certificate), Some(key)) => Some(ClientIdentity { certificate, key }),
            _ => None,
        };
        Ok(Self { token, ca: file("QUIPU_CA")?, identity, ..Self::default() })
    }
}

fn read(path: &str) -> io::Result<String> {
    std::fs::read_to_string(path)
        .map_err(|error| io::Error::new(error.kind(), format!("could not read {path}: {error}")))
}

impl fmt::Debug for ClientOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientOptions")
            .field("has_token", &self.token.is_some())
            .field("has_identity", &self.identity.is_some())
            .field("rights", &self.rights)
            .field("connect_timeout", &self.connect_timeout)
            .field("request_timeout", &self.request_timeout)
            .field("retry_count_max", &self.retry_count_max)
            .field("reconnect_timeout", &self.reconnect_timeout)
            .finish_non_exhaustive()
    }
}

/// A client's certificate and its key.
#[derive(Clone)]
#[expect(clippy::exhaustive_structs, reason = "callers build it")]
pub struct ClientIdentity {
    /// The certificate, in PEM.
    pub certificate: String,
    /// Its key, in PEM. It is never logged.
    pub key: String,
}

impl fmt::Debug for ClientIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientIdentity").finish_non_exhaustive()
    }
}

/// Why a client could not connect.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The address, the certificates or the token are not valid.
    #[error("the {what} is not valid")]
    Invalid {
        /// Which of them.
        what: &'static str,
        /// What is wrong with it.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The server could not be reached. See whether it runs, and whether the address is right.
    #[error(transparent)]
    Unreachable(TransportError),
    /// The server wants other credentials.
    #[error(transparent)]
    Refused(Refused),
    /// What answers is not a server of this protocol.
    #[error("the server's answer is not valid")]
    NotAServer(#[source] from_proto::Malformed),
}

/// The metadata of a request that asks for [`SYSTEM_RIGHTS`].
pub const RIGHTS: &str = "quipu-rights";
/// The value of [`RIGHTS`] by which an administrator may write reserved names.
pub const SYSTEM_RIGHTS: &str = "system";

/// What says who asks, and with which rights: added to each request.
#[derive(Clone)]
pub(super) struct Credentials {
    token: Option<MetadataValue<Ascii>>,
    rights: Rights,
}

impl Credentials {
    fn new(token: Option<&str>, rights: Rights) -> Result<Self, ConnectError> {
        let Some(token) = token else { return Ok(Self { token: None, rights }) };
        let mut value: MetadataValue<Ascii> =
            format!("Bearer {token}").parse().map_err(invalid("token"))?;
        value.set_sensitive(true);
        Ok(Self { token: Some(value), rights })
    }
}

impl Interceptor for Credentials {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(token) = &self.token {
            request.metadata_mut().insert("authorization", token.clone());
        }
        if self.rights == Rights::System {
            request.metadata_mut().insert(RIGHTS, MetadataValue::from_static(SYSTEM_RIGHTS));
        }
        Ok(request)
    }
}

fn invalid<E>(what: &'static str) -> impl FnOnce(E) -> ConnectError
where
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    move |source| ConnectError::Invalid { what, source: source.into() }
}

pub(super) async fn connect(uri: &str, options: ClientOptions) -> Result<Client, ConnectError> {
    let endpoint = endpoint(uri, &options)?;
    let credentials = Credentials::new(options.token.as_deref(), options.rights)?;
    let calls = endpoint.connect_lazy();
    let first = InterceptedService::new(calls.clone(), credentials.clone());
    let mut store = StoreClient::new(first);
    let request = store.identify(IdentifyRequest {});
    let answered = tokio::time::timeout(options.request_timeout, request);
    let late = || Status::deadline_exceeded("the server took too long to answer");
    let answered = answered.await.unwrap_or_else(|_| Err(late()));
    let answer = answered.map_err(|status| match refused(&status) {
        Some(refused) => ConnectError::Refused(refused),
        None => ConnectError::Unreachable(TransportError::new(status)),
    })?;
    let identity = from_proto::identity(answer.into_inner()).map_err(ConnectError::NotAServer)?;
    let subscriptions = endpoint.connect_lazy();
    let identity = Mutex::new(identity);
    let inner = Inner { calls, subscriptions, credentials, options, identity };
    Ok(Client { inner: Arc::new(inner) })
}

fn endpoint(uri: &str, options: &ClientOptions) -> Result<Endpoint, ConnectError> {
    let mut endpoint = Endpoint::from_shared(uri.to_owned())
        .map_err(invalid("address"))?
        .connect_timeout(options.connect_timeout)
        .tcp_nodelay(true)
        .initial_stream_window_size(STREAM_WINDOW_SIZE)
        .initial_connection_window_size(CONNECTION_WINDOW_SIZE)
        .http2_max_header_list_size(HEADERS_SIZE_MAX)
        .http2_keep_alive_interval(Duration::from_secs(30))
        .keep_alive_timeout(Duration::from_secs(20));
    if endpoint.uri().scheme_str() == Some("https") {
        let mut tls = ClientTlsConfig::new();
        if let Some(ca) = &options.ca {
            tls = tls.ca_certificate(Certificate::from_pem(ca));
        }
        if let Some(ClientIdentity { certificate, key }) = &options.identity {
            tls = tls.identity(Identity::from_pem(certificate, key));
        }
        endpoint = endpoint.tls_config(tls).map_err(invalid("certificate"))?;
    }
    Ok(endpoint)
}
