//! Passwords: hashed slowly with Argon2id, a few at a time.

use std::sync::LazyLock;

use argon2::password_hash::phc::PasswordHash;
use argon2::{Algorithm, Argon2, Params, Version};
use argon2::{PasswordHasher, PasswordVerifier};

use super::secret::{NewToken, Secret};

/// The fewest bytes of a password, as NIST SP 800-63B has it.
pub const PASSWORD_SIZE_MIN: usize = 8;
/// The most bytes of a password, so that nobody makes the server hash a book.
pub const PASSWORD_SIZE_MAX: usize = 1_024;

/// Why a text cannot be a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PasswordError {
    /// It is short enough to be guessed.
    #[error("a password has at least {PASSWORD_SIZE_MIN} bytes")]
    TooShort,
    /// It is over [`PASSWORD_SIZE_MAX`] bytes.
    #[error("a password has at most {PASSWORD_SIZE_MAX} bytes")]
    TooLong,
}

/// 19 MiB, two passes, one lane: what OWASP asks for at least.
fn hasher() -> Argon2<'static> {
    let params = Params::new(19 * 1_024, 2, 1, None).expect("these are within the limits");
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
}

/// Hashes a password with a salt of its own, as a text in PHC format.
pub(crate) fn hash(password: &Secret) -> Result<String, PasswordError> {
    let bytes = password.reveal().as_bytes();
    if bytes.len() < PASSWORD_SIZE_MIN {
        return Err(PasswordError::TooShort);
    }
    if bytes.len() > PASSWORD_SIZE_MAX {
        return Err(PasswordError::TooLong);
    }
    let hash: PasswordHash =
        hasher().hash_password(bytes).expect("a salt and a size within limits");
    Ok(hash.to_string())
}

/// Whether the password is the one that was hashed. Takes tens of milliseconds, on purpose.
///
/// Without a hash it takes as long and answers no: whoever asks does not learn which users exist.
pub(crate) fn verify(password: &Secret, known: Option<&str>) -> bool {
    /// The hash of a text that nobody knows.
    static NOBODY: LazyLock<String> = LazyLock::new(|| {
        hash(&NewToken::generate("nobody").text).expect("a token is as long as a password")
    });
    let bytes = password.reveal().as_bytes();
    if bytes.len() > PASSWORD_SIZE_MAX {
        return false;
    }
    let Ok(parsed) = PasswordHash::new(known.unwrap_or(&NOBODY)) else { return false };
    let is_right = hasher().verify_password(bytes, &parsed).is_ok();
    is_right && known.is_some()
}

/// Whether a text is a hash that [`verify`] can use at no more than the usual cost.
pub(crate) fn is_hash(text: &str) -> bool {
    // A file that somebody edits must not make each login take a gigabyte.
    let Ok(parsed) = PasswordHash::new(text) else { return false };
    let Ok(params) = Params::try_from(&parsed) else { return false };
    parsed.algorithm.as_str() == "argon2id"
        && params.m_cost() <= 256 * 1_024
        && params.t_cost() <= 16
        && params.p_cost() <= 4
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_verified_and_others_are_not() {
        let password = Secret::new("correct horse battery");

        let own = hash(&password).unwrap();

        assert!(is_hash(&own));
        assert!(own.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{own}");
        assert!(verify(&password, Some(&own)));
        assert!(!verify(&Secret::new("correct horse batterz"), Some(&own)));
        assert_ne!(hash(&password).unwrap(), own, "each hash has a salt of its own");
    }

    #[test]
    fn nobody_has_no_password() {
        assert!(!verify(&Secret::new("correct horse battery"), None));
    }

    #[test]
    fn short_and_endless_passwords_are_refused() {
        assert_eq!(hash(&Secret::new("letmein")), Err(PasswordError::TooShort));
        assert_eq!(hash(&Secret::new("x".repeat(1_025))), Err(PasswordError::TooLong));
    }

    #[test]
    fn a_hash_that_costs_too_much_is_none() {
        for text in [
            "",
            "password",
            "$argon2i$v=19$m=19456,t=2,p=1$hRAtkJRQ7AfHZ6mMsQ3pjw$OyOPCgqbCj0bQ5Jyv0Au6A",
            "$argon2id$v=19$m=4194304,t=2,p=1$hRAtkJRQ7AfHZ6mMsQ3pjw$OyOPCgqbCj0bQ5Jyv0Au6A",
        ] {
            assert!(!is_hash(text), "{text}");
        }
    }
}
