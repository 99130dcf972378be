//! Which web origins may call, and what they are told (contract, section 2).

use std::time::Duration;

use axum::http::{HeaderName, HeaderValue, Method, header};
use tower_http::cors::{AllowOrigin, CorsLayer};
use url::Url;

/// Web origins: none by default, some, or all (`*`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origins {
    any: bool,
    listed: Vec<HeaderValue>,
}

/// The text was no origin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is no web origin such as https://app.example.org, nor *")]
pub struct InvalidOrigin(String);

impl Origins {
    /// Reads a list of origins; `*` stands for all.
    ///
    /// # Errors
    /// [`InvalidOrigin`] naming the first entry that is none.
    pub fn parse<S: AsRef<str>>(entries: &[S]) -> Result<Self, InvalidOrigin> {
        let mut origins = Self::default();
        for entry in entries {
            let text = entry.as_ref().trim();
            if text == "*" {
                origins.any = true;
                continue;
            }
            let invalid = || InvalidOrigin(text.to_owned());
            let url = Url::parse(text).map_err(|_| invalid())?;
            let only_origin = matches!(url.path(), "" | "/") && url.query().is_none() && url.fragment().is_none() && url.username().is_empty();
            if !url.has_host() || !only_origin {
                return Err(invalid());
            }
            // Browsers send the normal form: lower case, no default port, no slash at the end.
            let host = url.host_str().unwrap_or_default();
            let origin = url.port().map_or_else(|| format!("{}://{host}", url.scheme()), |port| format!("{}://{host}:{port}", url.scheme()));
            origins.listed.push(HeaderValue::from_str(&origin).map_err(|_| invalid())?);
        }
        Ok(origins)
    }

    /// Whether scripts of this origin may call.
    #[must_use]
    pub fn allows(&self, origin: &HeaderValue) -> bool {
        self.any || self.listed.contains(origin)
    }

    /// Whether nothing was configured.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        !self.any && self.listed.is_empty()
    }

    pub(crate) fn layer(&self) -> CorsLayer {
        let layer = CorsLayer::new()
            .allow_methods([Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::OPTIONS])
            .allow_headers([header::AUTHORIZATION, header::CONTENT_TYPE, HeaderName::from_static("x-request-id"), HeaderName::from_static("idempotency-key")])
            .expose_headers([HeaderName::from_static("x-request-id")])
            .max_age(Duration::from_secs(12 * 60 * 60));
        if self.any {
            // With all origins allowed, credentials are not (Fetch standard, CORS protocol and credentials).
            layer.allow_origin(AllowOrigin::any())
        } else {
            layer.allow_origin(AllowOrigin::list(self.listed.iter().cloned())).allow_credentials(!self.listed.is_empty())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_compared_in_the_form_browsers_send() {
        let origins = Origins::parse(&["https://App.example.org/", " http://localhost:5173", "https://a.example:443"]).expect("valid origins");
        for allowed in ["https://app.example.org", "http://localhost:5173", "https://a.example"] {
            assert!(origins.allows(&HeaderValue::from_static(allowed)), "{allowed}");
        }
        for refused in ["http://app.example.org", "https://evil.example", "null", "https://app.example.org.evil.example"] {
            assert!(!origins.allows(&HeaderValue::from_static(refused)), "{refused}");
        }
        assert!(Origins::parse(&["*"]).expect("valid").allows(&HeaderValue::from_static("https://anywhere.example")));
    }

    #[test]
    fn what_is_no_origin_is_named() {
        for bad in ["", "app.example.org", "https://", "https://a.example/path", "https://a.example?x=1", "https://user@a.example", "file:///"] {
            assert_eq!(Origins::parse(&[bad]), Err(InvalidOrigin(bad.to_owned())), "{bad}");
        }
    }
}
