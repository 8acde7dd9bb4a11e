//! What went wrong, for people: `error:` what was not done, `cause:` why, `hint:` what to do.

use std::error::Error;
use std::io;
use std::process::ExitCode;

use quipu_core::{AppendError, InvalidAppend, ReadError, StorageError, SubscribeError};
use quipu_engine::{
    BackupError, Corrupt, DiskError, OpenError, RestoreError, ScavengeError, VerifyError,
};
use quipu_wire::status::TaskError;

use crate::output::{OutputError, print_error};

/// The exit code of a question answered with no.
pub(crate) const NO: u8 = 1;
/// The exit code of a failure.
pub(crate) const FAILURE: u8 = 2;

/// The answer is no, for a reason that is no error of the store.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Refusal(pub(crate) String);

/// An error together with what to do about it.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Hinted {
    pub(crate) message: String,
    pub(crate) hint: String,
    pub(crate) source: Option<Box<dyn Error + Send + Sync>>,
}

/// Prints an error and answers the exit code that goes with it.
pub(crate) fn print(error: &anyhow::Error) -> ExitCode {
    // Who closed the pipe has seen all that they wanted.
    if error.chain().any(|cause| matches!(cause.downcast_ref(), Some(OutputError::Closed))) {
        return ExitCode::SUCCESS;
    }
    print_error(&to_text(error));
    ExitCode::from(exit_code(error))
}

fn exit_code(error: &anyhow::Error) -> u8 {
    let is_no = error.chain().any(|cause| {
        cause.is::<Refusal>() || matches!(cause.downcast_ref(), Some(AppendError::Conflict { .. }))
    });
    if is_no { NO } else { FAILURE }
}

fn to_text(error: &anyhow::Error) -> String {
    let mut lines: Vec<String> = Vec::new();
    let mut said = String::new();
    for cause in error.chain() {
        let message = cause.to_string();
        // A transparent wrapper says what its source says.
        if message == said {
            continue;
        }
        let label = if lines.is_empty() { "error" } else { "cause" };
        lines.push(format!("{label}: {message}"));
        said = message;
    }
    lines.extend(error.chain().find_map(hint).map(|hint| format!("hint: {hint}")));
    lines.join("\n")
}

fn hint(error: &(dyn Error + 'static)) -> Option<String> {
    if let Some(hinted) = error.downcast_ref::<Hinted>() {
        return Some(hinted.hint.clone());
    }
    let hint = if let Some(open) = error.downcast_ref::<OpenError>() {
        hint_on_open(open)
    } else if let Some(VerifyError::Open(open)) = error.downcast_ref() {
        hint_on_open(open)
    } else if let Some(append) = error.downcast_ref::<AppendError>() {
        hint_on_append(append)
    } else if let Some(ScavengeError::DiskFull) = error.downcast_ref() {
        Some(MAKE_SPACE)
    } else if let Some(restore) = error.downcast_ref::<RestoreError>() {
        hint_on_restore(restore)
    } else if let Some(BackupError::NotEmpty { .. }) = error.downcast_ref() {
        Some("name a directory that is empty or missing")
    } else if let Some(ReadError::AsOfInFuture { .. }) = error.downcast_ref() {
        Some("ask for an earlier position or time")
    } else if let Some(SubscribeError::BeyondEnd { .. }) = error.downcast_ref() {
        Some("leave --from out to begin with what comes next")
    } else if let Some(task) = error.downcast_ref::<TaskError>() {
        Some(task.hint())
    } else if is_damage(error) {
        Some("`quipu verify` lists all damage; restore a backup with `quipu restore`")
    } else {
        hint_on_io(error.downcast_ref::<io::Error>()?)
    };
    hint.map(str::to_owned)
}

const MAKE_SPACE: &str = "free some space, then do the same again";

/// Whether the error says that bytes are damaged. Transparent wrappers hide what they hold from
/// the chain of causes, so each is looked into.
fn is_damage(error: &(dyn Error + 'static)) -> bool {
    let in_storage = error.downcast_ref::<StorageError>().is_some_and(|storage| {
        storage.downcast_ref::<Corrupt>().is_some()
            || matches!(storage.downcast_ref(), Some(DiskError::Corrupt(_)))
    });
    in_storage
        || error.is::<Corrupt>()
        || matches!(error.downcast_ref(), Some(DiskError::Corrupt(_)))
        || matches!(error.downcast_ref(), Some(BackupError::Damaged(_)))
}

fn hint_on_open(error: &OpenError) -> Option<&'static str> {
    match error {
        OpenError::Missing { .. } => {
            Some("name the directory with --data or QUIPU_DATA; `quipu import` makes a store")
        }
        OpenError::NotAStore { .. } => {
            Some("name another directory with --data; only an empty one can become a store")
        }
        OpenError::InUse { .. } => {
            Some("end the other process first; verbs that only read work beside it")
        }
        OpenError::NewerFormat { .. } => Some("use the version that wrote it, or a later one"),
        _ => None,
    }
}

fn hint_on_restore(error: &RestoreError) -> Option<&'static str> {
    match error {
        RestoreError::NotEmpty { .. } => Some("name a directory that is missing with --data"),
        RestoreError::NotAStore { .. } => Some("name a directory that `quipu backup` made"),
        RestoreError::NewerFormat { .. } => Some("use the version that wrote it, or a later one"),
        RestoreError::Damaged(_) => Some("nothing was restored; try an earlier backup"),
        _ => None,
    }
}

fn hint_on_append(error: &AppendError) -> Option<&'static str> {
    match error {
        AppendError::Conflict { .. } => Some("read again, decide again, then append again"),
        AppendError::Invalid(InvalidAppend::ReservedName { .. }) => {
            Some("names that begin with $ are the store's own; `import --system` may write them")
        }
        AppendError::Invalid(InvalidAppend::AfterBeyondFrontier { .. }) => {
            Some("--after is a position of this log, such as the last one that was read")
        }
        AppendError::DiskFull => Some(MAKE_SPACE),
        AppendError::OutcomeUnknown(_) => {
            Some("do the same again with the same ids: nothing is added twice")
        }
        _ => None,
    }
}

fn hint_on_io(error: &io::Error) -> Option<&'static str> {
    match error.kind() {
        io::ErrorKind::PermissionDenied => Some("check the owner and the mode of the path"),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Some(MAKE_SPACE),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_followed_by_its_causes_and_a_hint() {
        let denied = io::Error::new(io::ErrorKind::PermissionDenied, "denied");
        let error = anyhow::Error::new(denied).context("could not open a.jsonl");

        assert_eq!(
            to_text(&error),
            "error: could not open a.jsonl\ncause: denied\n\
             hint: check the owner and the mode of the path"
        );
        assert_eq!(exit_code(&error), FAILURE);
    }

    #[test]
    fn damage_is_seen_through_whatever_wraps_it() {
        let corrupt = || Corrupt { file: "a".into(), offset: 7, reason: "torn".to_owned() };
        let errors: [anyhow::Error; 4] = [
            DiskError::from(corrupt()).into(),
            OpenError::from(DiskError::from(corrupt())).into(),
            ReadError::Storage(StorageError::new(DiskError::from(corrupt()))).into(),
            BackupError::Damaged(corrupt()).into(),
        ];
        for error in errors {
            let text = to_text(&error);

            assert!(text.contains("at byte 7: torn"), "{text}");
            assert!(text.contains("hint: `quipu verify`"), "{text}");
        }
    }

    #[test]
    fn a_conflict_is_the_answer_no() {
        let conflict = AppendError::Conflict { violations: Vec::new() };

        assert_eq!(exit_code(&anyhow::Error::new(conflict).context("nothing was appended")), NO);
    }

    #[test]
    fn a_wrapper_that_repeats_its_source_is_said_once() {
        let error = anyhow::anyhow!("same").context("same").context("outer");

        assert_eq!(to_text(&error), "error: outer\ncause: same");
    }
}
