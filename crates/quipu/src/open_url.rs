//! Opening the store that a text names.

use std::sync::Arc;

use crate::app::Quipu;

/// Why the store that a text names could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenUrlError {
    /// The directory's store.
    #[cfg(feature = "embedded")]
    #[error(transparent)]
    Directory(#[from] quipu_engine::OpenError),
    /// The text names no database.
    #[cfg(feature = "postgres-store")]
    #[error(transparent)]
    Database(#[from] quipu_postgres::ParseUrlError),
    /// The database's store.
    #[cfg(feature = "postgres-store")]
    #[error(transparent)]
    Postgres(#[from] quipu_postgres::OpenError),
    /// The server's store.
    #[cfg(feature = "remote")]
    #[error(transparent)]
    Server(#[from] quipu_wire::ConnectError),
    /// A file that the environment names for the server could not be read.
    #[error("a file that the environment names for the server could not be read")]
    Environment(#[from] std::io::Error),
    /// This program was built without what opens such a store. Build it with the feature.
    #[error("this program cannot open {what}: it was built without the feature \"{feature}\"")]
    NotBuilt {
        /// Such a store.
        what: &'static str,
        /// The feature of the crate `quipu` that opens it.
        feature: &'static str,
    },
}

/// What kind of store a text names.
enum Kind {
    Directory,
    Database,
    Server,
}

fn kind_of(text: &str) -> Kind {
    let begins = |schemes: [&str; 2]| schemes.iter().any(|scheme| text.starts_with(scheme));
    if begins(["postgres://", "postgresql://"]) {
        Kind::Database
    } else if begins(["http://", "https://"]) {
        Kind::Server
    } else {
        Kind::Directory
    }
}

impl Quipu {
    /// Opens the store that a text names, for programs that are told by a flag or the environment:
    /// `postgres://...` the one in that database, `http://...` or `https://...` the one behind that
    /// server, anything else the one in that directory.
    ///
    /// For a server, the environment says who asks, as with the command line: `QUIPU_TOKEN` or
    /// `QUIPU_TOKEN_FILE`, `QUIPU_CA`, `QUIPU_CERT` and `QUIPU_KEY`. Servers and databases need a
    /// tokio runtime.
    ///
    /// # Errors
    ///
    /// See [`OpenUrlError`].
    ///
    /// ```
    /// # futures_lite::future::block_on(async {
    /// # let directory = tempfile::tempdir()?;
    /// # let store = directory.path().join("shop.quipu").display().to_string();
    /// let app = quipu::Quipu::open_url(&store).await?;
    /// assert_eq!(app.store().frontier().await?.get(), 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    pub async fn open_url(text: &str) -> Result<Self, OpenUrlError> {
        match kind_of(text) {
            #[cfg(feature = "embedded")]
            Kind::Directory => Ok(Self::open(text).await?),
            #[cfg(feature = "postgres-store")]
            Kind::Database => Ok(Self::on_postgres(text.parse()?).await?),
            #[cfg(feature = "remote")]
            Kind::Server => {
                let options = quipu_wire::ClientOptions::from_env()?;
                Ok(Self::connect(text, options).await?)
            }
            #[cfg(not(feature = "embedded"))]
            Kind::Directory => Err(not_built("a directory", "embedded")),
            #[cfg(not(feature = "postgres-store"))]
            Kind::Database => Err(not_built("a database", "postgres-store")),
            #[cfg(not(feature = "remote"))]
            Kind::Server => Err(not_built("a server's store", "remote")),
        }
    }

    /// Works on the store behind a server, `http://...` or `https://...`. Needs a tokio runtime.
    ///
    /// # Errors
    ///
    /// See [`ConnectError`](quipu_wire::ConnectError).
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// use quipu::wire::ClientOptions;
    ///
    /// let options = ClientOptions { token: Some("the token".into()), ..ClientOptions::default() };
    /// let app = quipu::Quipu::connect("http://127.0.0.1:2113", options).await?;
    /// # Ok(())
    /// # }
    /// ```
    #[cfg(feature = "remote")]
    pub async fn connect(
        uri: &str,
        options: quipu_wire::ClientOptions,
    ) -> Result<Self, quipu_wire::ConnectError> {
        Ok(Self::over(Arc::new(quipu_wire::Client::connect(uri, options).await?)))
    }
}

#[cfg(not(all(feature = "embedded", feature = "postgres-store", feature = "remote")))]
fn not_built(what: &'static str, feature: &'static str) -> OpenUrlError {
    OpenUrlError::NotBuilt { what, feature }
}
