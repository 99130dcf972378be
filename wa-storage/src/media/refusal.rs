//! Why a file is not taken, while it is looked at.

use std::io;

use wa_core::ports::InspectError;

/// Why a file is not taken.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// It is of no allowed format, not of the declared kind, or broken.
    #[error("{0}")]
    Invalid(String),
    /// It would unfold to too much.
    #[error("{0}")]
    TooLarge(String),
    /// It could not be read.
    #[error("{0}")]
    Unreadable(io::Error),
}

impl Refusal {
    /// The file is not what it was said to be, or broken; the sentence says which.
    pub(super) fn invalid(sentence: impl Into<String>) -> Self {
        Self::Invalid(sentence.into())
    }

    /// The file ends before what it announced.
    pub(super) fn cut() -> Self {
        Self::invalid("The file is incomplete; upload it again from its source")
    }

    /// The file breaks the rules of its format.
    pub(super) fn broken(format: &str) -> Self {
        Self::Invalid(format!("This is no {format} that can be read; it may be damaged"))
    }
}

impl From<io::Error> for Refusal {
    /// An early end and contradictions are the file's fault, all else is the disk's.
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Self::cut(),
            io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput => Self::invalid("The file contradicts itself; it may be damaged"),
            _ => Self::Unreadable(error),
        }
    }
}

impl From<Refusal> for InspectError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Invalid(sentence) => Self::Invalid(sentence),
            Refusal::TooLarge(sentence) => Self::TooLarge(sentence),
            Refusal::Unreadable(error) => Self::Unavailable(Box::new(error)),
        }
    }
}
