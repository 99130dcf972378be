//! What the examples share: settings from the environment, and an end at Ctrl-C. Each example is one file in `src/bin`.

/// A setting from the environment, or its default.
#[must_use]
pub fn setting(name: &str, default: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| default.to_owned())
}

/// Ends at Ctrl-C.
pub async fn ctrl_c() {
    if let Err(error) = tokio::signal::ctrl_c().await {
        eprintln!("Ctrl-C cannot be listened for: {error}");
    }
}
