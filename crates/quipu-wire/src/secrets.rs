//! Messages that hold secrets, as they are written for debugging: without them.

use std::fmt;

use crate::proto::{AddUser, CreatedToken, SetPassword};

impl fmt::Debug for AddUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, role, password: _ } = self;
        f.debug_struct("AddUser").field("name", name).field("role", role).finish_non_exhaustive()
    }
}

impl fmt::Debug for SetPassword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, password: _ } = self;
        f.debug_struct("SetPassword").field("name", name).finish_non_exhaustive()
    }
}

impl fmt::Debug for CreatedToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, text: _ } = self;
        f.debug_struct("CreatedToken").field("id", id).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::ChangeCredentialsRequest;
    use crate::proto::change_credentials_request::Change;

    #[test]
    fn what_is_written_for_debugging_has_no_secret_in_it() {
        let (name, secret) = ("ada".to_owned(), "correct horse".to_owned());
        let user = AddUser { name: name.clone(), role: "admin".into(), password: secret.clone() };
        let password = SetPassword { name, password: secret.clone() };
        let token = CreatedToken { id: "3kTM".to_owned(), text: secret.clone() };

        let changes = [Change::AddUser(user), Change::SetPassword(password)];
        let requests = changes.map(|change| ChangeCredentialsRequest { change: Some(change) });
        let written = format!("{requests:?} {token:?}");

        assert!(written.contains("ada") && written.contains("3kTM"), "{written}");
        assert!(!written.contains(&secret), "{written}");
    }
}
