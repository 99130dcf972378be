//! The REST protocol over mocked apis: every status, header and body that does not depend on a store.
#![expect(missing_docs, reason = "tests document themselves")]

mod support;
mod surroundings;
