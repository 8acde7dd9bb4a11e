//! Where the examples keep their events: in a directory of their own, which is gone at the end, or in
//! the store that `--store` names.

use std::path::Path;

use quipu::{OpenUrlError, Quipu};

/// Opens the store that `--store` names: a directory, `postgres://...` or `http(s)://...`. It has to
/// be empty, since each example begins at the beginning. Without `--store`, one in `scratch`.
///
/// # Errors
///
/// See [`OpenUrlError`]. A database or a server takes the example's feature `stores`.
pub async fn open(scratch: &Path) -> Result<Quipu, OpenUrlError> {
    match named(std::env::args()) {
        Some(store) => Quipu::open_url(&store).await,
        None => Ok(Quipu::open(scratch.join("example.quipu")).await?),
    }
}

/// The arguments without `--store` and what it names.
pub fn arguments() -> Vec<String> {
    let mut rest = Vec::new();
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        if argument == "--store" {
            arguments.next();
        } else {
            rest.push(argument);
        }
    }
    rest
}

fn named(mut arguments: impl Iterator<Item = String>) -> Option<String> {
    arguments.find(|argument| argument == "--store")?;
    arguments.next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_is_named_by_what_follows_its_flag() {
        let named = |text: &str| named(text.split(' ').map(str::to_owned));

        assert_eq!(named("bank --store http://a:1"), Some("http://a:1".to_owned()));
        assert_eq!(named("loans --store ./b file"), Some("./b".to_owned()));
        assert_eq!(named("bank"), None);
        assert_eq!(named("bank --store"), None);
    }
}
