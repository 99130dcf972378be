//! Files on this machine: what they are sent as, and bars that show how far they got, where a person sees them.

use std::path::Path;
use std::sync::Arc;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use wa_core::media::{Format, MediaKind};
use wa_transport::client::Progress;

/// What a file is sent as, by the ending of its name. The server looks at its bytes.
pub(crate) fn kind_of(path: &Path) -> MediaKind {
    let ending = path.extension().map(|ending| ending.to_string_lossy().to_ascii_lowercase()).unwrap_or_default();
    let ending = match ending.as_str() {
        "jpeg" => "jpg",
        "m4v" => "mp4",
        "oga" => "ogg",
        other => other,
    };
    Format::from_extension(ending).map_or(MediaKind::Document, Format::kind)
}

/// The ending that files of this type have.
pub(crate) fn ending_of(mime_type: &str) -> &'static str {
    Format::ALL.iter().find(|format| format.mime() == mime_type).map_or("bin", |format| format.extension())
}

/// A bar on stderr, if that is a terminal. It goes away when it is dropped.
pub(crate) struct Bar(ProgressBar);

impl Bar {
    pub(crate) fn new(what: &str, bytes: u64) -> Self {
        let bar = ProgressBar::with_draw_target(Some(bytes), ProgressDrawTarget::stderr());
        let style = ProgressStyle::with_template("{msg} [{bar:30}] {bytes}/{total_bytes} {bytes_per_sec} {eta}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> "));
        bar.set_message(what.to_owned());
        Self(bar)
    }

    /// What is told how far it got.
    pub(crate) fn progress(&self) -> Progress {
        let bar = self.0.clone();
        Arc::new(move |done| bar.set_position(done))
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ending_of_a_name_tells_what_it_is_sent_as() {
        for (name, kind) in [
            ("a.jpg", MediaKind::Image),
            ("A.JPEG", MediaKind::Image),
            ("a.mp4", MediaKind::Video),
            ("a.ogg", MediaKind::Audio),
            ("a.pdf", MediaKind::Document),
            ("a.unknown", MediaKind::Document),
            ("a", MediaKind::Document),
        ] {
            assert_eq!(kind_of(Path::new(name)), kind, "{name}");
        }
        assert_eq!((ending_of("image/jpeg"), ending_of("x/y")), ("jpg", "bin"));
    }
}
