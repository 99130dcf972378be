//! The REST protocol over mocked apis: every status, header and body that does not depend on a store.

mod document;
mod errors;
mod input;
mod routes;
mod support;
mod surroundings;
