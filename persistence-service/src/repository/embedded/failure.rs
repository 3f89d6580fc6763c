//! Why the file could not be read or written.

use std::io::ErrorKind;

use crate::repository::RepositoryError;

/// What went wrong below a call.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// A row is not what was written; its room alone is spoiled.
    #[error("{0}")]
    Damaged(String),
    /// The engine failed; the transaction is lost.
    #[error(transparent)]
    Engine(redb::Error),
}

/// Everything the engine answers with is one error to us.
macro_rules! from_engine {
    ($($error:ident)*) => {$(
        impl From<redb::$error> for Failure {
            fn from(error: redb::$error) -> Self {
                Self::Engine(error.into())
            }
        }
    )*};
}

from_engine! {
    StorageError TableError TransactionError CommitError DatabaseError CompactionError
    SetDurabilityError
}

impl Failure {
    /// Whether the disk, or what this program may use of it, is full.
    pub(super) fn is_full(&self) -> bool {
        matches!(self, Self::Engine(redb::Error::Io(error)) if matches!(
            error.kind(),
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge
        ))
    }
}

impl From<Failure> for RepositoryError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Damaged(problem) => Self::Damaged(problem),
            Failure::Engine(redb::Error::Corrupted(problem)) => Self::Damaged(problem),
            Failure::Engine(error) => Self::Unavailable(error.to_string()),
        }
    }
}
