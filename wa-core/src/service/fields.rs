//! Texts that people give themselves and their groups, checked and brought into the form in which they are kept.

use crate::error::{Error, FieldError, Result};

/// Bytes of the address of a picture: what browsers and proxies carry.
const AVATAR_URL_LENGTH: usize = 2048;

/// A name or description as it is kept: without white space around it, and one line of it unless it may break.
pub(super) fn line(field: &'static str, text: &str, max: usize, may_break: bool) -> Result<String, FieldError> {
    let text = text.trim();
    let wrong = |message: String| Err(FieldError { field: field.to_owned(), message });
    if text.chars().nth(max).is_some() {
        wrong(format!("must have at most {max} characters"))
    } else if text.chars().any(|c| c.is_control() && !(may_break && c == '\n')) {
        wrong("must not contain control characters".to_owned())
    } else {
        Ok(text.to_owned())
    }
}

/// As [`line`], and not empty.
pub(super) fn filled_line(field: &'static str, text: &str, max: usize) -> Result<String, FieldError> {
    let line = line(field, text, max, false)?;
    if line.is_empty() { Err(FieldError { field: field.to_owned(), message: format!("must have 1 to {max} characters") }) } else { Ok(line) }
}

/// A text that may break, and is not empty.
pub(super) fn filled_text(field: &'static str, text: &str, max: usize) -> Result<String, FieldError> {
    let text = line(field, text, max, true)?;
    if text.is_empty() { Err(FieldError { field: field.to_owned(), message: format!("must have 1 to {max} characters") }) } else { Ok(text) }
}

/// The address of a picture: none, one on the web, or one on this server.
pub(super) fn avatar_url(text: &str) -> Result<String, FieldError> {
    let text = text.trim();
    let on_the_web = ["https://", "http://"].iter().find_map(|scheme| text.strip_prefix(scheme)).is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/'));
    let here = text.starts_with('/') && !text.starts_with("//");
    let plain = text.chars().all(|c| !c.is_control() && !c.is_whitespace() && !matches!(c, '"' | '\'' | '<' | '>' | '\\' | '`'));
    if text.is_empty() || (text.len() <= AVATAR_URL_LENGTH && plain && (on_the_web || here)) {
        return Ok(text.to_owned());
    }
    let message = format!("must be empty, an http(s) URL, or a path on this server, of at most {AVATAR_URL_LENGTH} bytes");
    Err(FieldError { field: "avatar_url".to_owned(), message })
}

/// The values of these checks, or everything that is wrong with them, so that a client sees all of it at once.
pub(super) fn all<const N: usize>(checked: [Option<Result<String, FieldError>>; N]) -> Result<[Option<String>; N]> {
    let errors: Vec<FieldError> = checked.iter().filter_map(|result| result.as_ref()?.as_ref().err().cloned()).collect();
    if errors.is_empty() { Ok(checked.map(|result| result.and_then(Result::ok))) } else { Err(Error::Validation(errors)) }
}
