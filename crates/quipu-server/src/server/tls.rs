//! TLS: certificates and keys from files, read again while the server runs.

use std::fmt;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::time::MissedTickBehavior;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{
    CertificateDer, CertificateRevocationListDer, PrivateKeyDer,
};
use tokio_rustls::rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use tokio_rustls::rustls::{self, RootCertStore, ServerConfig, version};

use crate::security::Stamp;
use crate::service::Service;

/// How often the files are looked at.
const INTERVAL: Duration = Duration::from_secs(1);

/// The files that TLS needs, in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "those who start a server build it")]
pub struct TlsFiles {
    /// The server's certificate, then those that lead to its authority.
    pub certificate: PathBuf,
    /// The key of the certificate. Only its owner, and perhaps their group, may read it.
    pub key: PathBuf,
    /// Authorities of client certificates. Clients may show one then, instead of a token.
    pub client_authority: Option<PathBuf>,
    /// Certificates of clients that their authorities have revoked: lists (CRL) in PEM. Needs
    /// `client_authority`.
    pub client_revocations: Option<PathBuf>,
}

/// TLS 1.2 and 1.3 for a server.
///
/// Cloning gives another handle: what one reloads, the others use.
#[derive(Clone)]
pub struct Tls {
    files: Arc<TlsFiles>,
    /// The files as they were when they were first read.
    stamps: Stamps,
    /// Guards which configuration new connections get. Nothing happens under it but cloning.
    current: Arc<RwLock<Arc<ServerConfig>>>,
}

/// Why TLS cannot be used as it is configured.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file could not be read, or is not PEM.
    #[error("could not read {what} from {}", path.display())]
    File {
        /// What was wanted.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What went wrong.
        source: pem::Error,
    },
    /// A file has no certificate.
    #[error("there is no certificate in {}", path.display())]
    NoCertificate {
        /// The file.
        path: PathBuf,
    },
    /// Everybody on this machine may read the key.
    #[error("the key {} may be read by everybody (mode {mode:04o}): run `chmod 600 {}`",
        path.display(), path.display())]
    Exposed {
        /// The key.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// The certificate or the key is not usable, or they do not belong together.
    #[error("the certificate {} cannot be used with the key {}", certificate.display(), key.display())]
    Certificate {
        /// The certificate.
        certificate: PathBuf,
        /// The key.
        key: PathBuf,
        /// What went wrong.
        source: rustls::Error,
    },
    /// The client authorities are not usable.
    #[error("the client authorities in {} cannot be used", path.display())]
    Authority {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("files", &self.files).finish_non_exhaustive()
    }
}

impl Tls {
    /// TLS with what is in these files.
    ///
    /// # Errors
    ///
    /// See [`TlsError`].
    pub fn load(files: TlsFiles) -> Result<Self, TlsError> {
        // The stamps come first: a file that changes while it is read is read again.
        let stamps = stamps(&files);
        let current = Arc::new(RwLock::new(Arc::new(read(&files)?)));
        Ok(Self { files: Arc::new(files), stamps, current })
    }

    /// Reads the files again: connections that begin later use them. Those that there are go on as
    /// they are.
    ///
    /// # Errors
    ///
    /// See [`TlsError`]; everything goes on with what was read before.
    pub fn reload(&self) -> Result<(), TlsError> {
        let next = Arc::new(read(&self.files)?);
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = next;
        Ok(())
    }

    /// Reloads whenever one of the files has changed, until the service stops.
    pub(super) async fn keep(self, service: Service) {
        let mut seen = self.stamps;
        let mut interval = tokio::time::interval(INTERVAL);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let stopping = service.stopping();
        tokio::pin!(stopping);
        loop {
            tokio::select! {
                () = &mut stopping => return,
                _ = interval.tick() => {}
            }
            let tls = self.clone();
            let before = seen;
            // Files may be on a slow disk: whoever waits for one must not hold up the others.
            let looked = tokio::task::spawn_blocking(move || {
                let stamps = stamps(&tls.files);
                (stamps, (stamps != before).then(|| tls.reload()))
            });
            let Ok((stamps, reloaded)) = looked.await else { continue };
            seen = stamps;
            match reloaded {
                None => {}
                Some(Ok(())) => tracing::info!("the certificates were read again"),
                Some(Err(error)) => {
                    let cause = std::error::Error::source(&error).map(ToString::to_string);
                    tracing::error!(%error, cause, "the old certificates go on being used");
                }
            }
        }
    }

    /// The files that it is read from.
    pub fn files(&self) -> &TlsFiles {
        &self.files
    }

    /// What a connection that begins now uses.
    pub(super) fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }
}

type Stamps = [Option<Stamp>; 4];

fn stamps(files: &TlsFiles) -> Stamps {
    let TlsFiles { certificate, key, client_authority, client_revocations } = files;
    let files =
        [Some(certificate), Some(key), client_authority.as_ref(), client_revocations.as_ref()];
    files.map(|file| file.and_then(|path| Stamp::of(path)))
}

fn read(files: &TlsFiles) -> Result<ServerConfig, TlsError> {
    let TlsFiles { certificate, key, client_authority, client_revocations } = files;
    let chain = certificates(certificate)?;
    let private_key = private_key(key)?;
    let provider = Arc::new(ring::default_provider());
    let unusable = |source| TlsError::Certificate {
        certificate: certificate.clone(),
        key: key.clone(),
        source,
    };
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&version::TLS13, &version::TLS12])
        .map_err(unusable)?;
    let builder = match client_authority {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let unusable = |source: Box<dyn std::error::Error + Send + Sync>| TlsError::Authority {
                path: path.clone(),
                source,
            };
            let mut roots = RootCertStore::empty();
            for authority in certificates(path)? {
                roots.add(authority).map_err(|error| unusable(error.into()))?;
            }
            // Whoever shows no certificate may show a token; the gate refuses those without either.
            let revocations = client_revocations.as_deref().map_or(Ok(Vec::new()), revocations)?;
            // A list says nothing of certificates by other authorities: those are as good as their
            // own lists.
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                .with_crls(revocations)
                .allow_unknown_revocation_status()
                .allow_unauthenticated()
                .build()
                .map_err(|error: VerifierBuilderError| unusable(error.into()))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut config = builder.with_single_cert(chain, private_key).map_err(unusable)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let failed = |source| TlsError::File { what: "certificates", path: path.to_owned(), source };
    let all: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path).map_err(failed)?.collect();
    let all = all.map_err(failed)?;
    if all.is_empty() {
        return Err(TlsError::NoCertificate { path: path.to_owned() });
    }
    Ok(all)
}

fn revocations(path: &Path) -> Result<Vec<CertificateRevocationListDer<'static>>, TlsError> {
    let failed =
        |source| TlsError::File { what: "revocation lists", path: path.to_owned(), source };
    let all: Result<Vec<_>, _> =
        CertificateRevocationListDer::pem_file_iter(path).map_err(failed)?.collect();
    let all = all.map_err(failed)?;
    // An empty file would let everybody in whom it was meant to keep out.
    if all.is_empty() { Err(failed(pem::Error::NoItemsFound)) } else { Ok(all) }
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let failed = |source| TlsError::File { what: "a key", path: path.to_owned(), source };
    let metadata = fs::metadata(path).map_err(|error| failed(pem::Error::Io(error)))?;
    let mode = metadata.permissions().mode() & 0o7777;
    if mode & 0o007 != 0 {
        return Err(TlsError::Exposed { path: path.to_owned(), mode });
    }
    PrivateKeyDer::from_pem_file(path).map_err(failed)
}
