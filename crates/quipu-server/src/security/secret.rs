//! Secrets: texts that are never printed, and the tokens that are made of them.

use std::fmt;
use std::sync::LazyLock;

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// A text that nobody may see: `Debug` shows nothing of it, and it cannot be displayed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Keeps the text secret.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text, for the one place that has to have it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// What is kept of a token: enough to know it again, not enough to use it.
///
/// Tokens have 256 random bits, so that a fast hash is as good as a slow one.
#[derive(Clone, Copy)]
pub(crate) struct TokenHash([u8; 32]);

impl TokenHash {
    pub(crate) fn of(text: &str) -> Self {
        Self(Sha256::digest(text.as_bytes()).into())
    }

    /// The hash of what a login shows. It is kept in memory only, as long as the login's session:
    /// passwords can be guessed from a fast hash, so it is salted with what dies with the process.
    pub(crate) fn of_password(user: &str, password: &Secret) -> Self {
        static SALT: LazyLock<[u8; 32]> = LazyLock::new(|| {
            let mut salt = [0; 32];
            getrandom::fill(&mut salt).expect("the system has random bytes");
            salt
        });
        let mut hash = Sha256::new();
        hash.update(*SALT);
        hash.update((user.len() as u64).to_le_bytes());
        hash.update(user.as_bytes());
        hash.update(password.reveal().as_bytes());
        Self(hash.finalize().into())
    }

    /// Compares in a time that does not depend on where the hashes differ.
    pub(crate) fn is(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }

    pub(crate) fn to_hex(self) -> String {
        use fmt::Write;

        self.0.iter().fold(String::with_capacity(64), |mut text, byte| {
            write!(text, "{byte:02x}").expect("writing to a text does not fail");
            text
        })
    }

    pub(crate) fn from_hex(text: &str) -> Option<Self> {
        let mut hash = [0; 32];
        if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        for (index, byte) in hash.iter_mut().enumerate() {
            *byte = u8::from_str_radix(text.get(2 * index..2 * index + 2)?, 16).ok()?;
        }
        Some(Self(hash))
    }
}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenHash")
    }
}

/// What a token begins with, so that those who look for leaked secrets find it.
pub(crate) const API_PREFIX: &str = "qp";
/// What a session's token begins with.
pub(crate) const SESSION_PREFIX: &str = "qs";

/// A new token. It is shown once and not kept.
#[derive(Debug)]
pub(crate) struct NewToken {
    /// Its public half, which lists and logs may show.
    pub(crate) id: String,
    /// All of it.
    pub(crate) text: Secret,
    pub(crate) hash: TokenHash,
}

impl NewToken {
    pub(crate) fn generate(prefix: &str) -> Self {
        let id = random_base62::<8>();
        let text = format!("{prefix}_{id}_{}", random_base62::<32>());
        let hash = TokenHash::of(&text);
        Self { id, text: Secret::new(text), hash }
    }
}

/// A token as a request shows it.
#[derive(Debug)]
pub(crate) struct Shown<'a> {
    pub(crate) is_session: bool,
    pub(crate) id: &'a str,
    pub(crate) hash: TokenHash,
}

impl<'a> Shown<'a> {
    /// Takes a token apart; `None` if it is none.
    pub(crate) fn parse(text: &'a str) -> Option<Self> {
        const SIZE_MAX: usize = 128;
        if text.len() > SIZE_MAX {
            return None;
        }
        let (prefix, rest) = text.split_once('_')?;
        let (id, secret) = rest.split_once('_')?;
        let is_session = prefix == SESSION_PREFIX;
        let is_word =
            |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if !(is_session || prefix == API_PREFIX) || !is_word(id) || !is_word(secret) {
            return None;
        }
        Some(Self { is_session, id, hash: TokenHash::of(text) })
    }
}

/// `SIZE` random bytes as letters and digits, always as many.
fn random_base62<const SIZE: usize>() -> String {
    const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let mut bytes = [0; SIZE];
    getrandom::fill(&mut bytes).expect("the system has random numbers");
    // Each digit takes log2(62) = 5.954 bits.
    let digit_count = (SIZE * 8 * 1_000).div_ceil(5_954);
    let mut text = String::with_capacity(digit_count);
    for _ in 0..digit_count {
        let mut rest = 0_u32;
        for byte in &mut bytes {
            let value = (rest << 8) | u32::from(*byte);
            *byte = (value / 62) as u8;
            rest = value % 62;
        }
        text.push(char::from(DIGITS[rest as usize]));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_known_again_by_its_hash_alone() {
        let token = NewToken::generate(API_PREFIX);
        let other = NewToken::generate(API_PREFIX);

        let shown = Shown::parse(token.text.reveal()).unwrap();

        assert_eq!(shown.id, token.id);
        assert!(shown.hash.is(&token.hash));
        assert!(!shown.hash.is(&other.hash));
        assert!(TokenHash::from_hex(&token.hash.to_hex()).unwrap().is(&token.hash));
    }

    #[test]
    fn a_token_has_256_random_bits_in_43_digits() {
        let token = NewToken::generate(API_PREFIX);

        let parts: Vec<&str> = token.text.reveal().split('_').collect();

        assert_eq!(parts.iter().map(|part| part.len()).collect::<Vec<_>>(), [2, 11, 43]);
    }

    #[test]
    fn what_is_no_token_is_no_token() {
        let long = format!("qp_a_{}", "b".repeat(200));
        for text in ["", "qp", "qp_a", "qp__b", "qp_a_", "xx_a_b", "qp_a_b_c", "qp_ä_b", &long] {
            assert!(Shown::parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn debug_shows_nothing() {
        let token = NewToken::generate(API_PREFIX);

        let secret = token.text.reveal().rsplit('_').next().unwrap();

        assert!(!format!("{token:?}").contains(secret));
        assert!(!format!("{token:?}").contains(&token.hash.to_hex()));
    }
}
