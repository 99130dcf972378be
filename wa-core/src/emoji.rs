//! What a reaction may be: one emoji.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One emoji as Unicode lists it, with or without its variation selector, skin tones and joined parts included. It stays
/// as its sender wrote it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Emoji(String);

impl Emoji {
    /// Bytes of the longest one allowed (contract, section 1.4).
    pub const LONGEST: usize = 32;

    /// `None` for anything but one emoji of at most [`Self::LONGEST`] bytes.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        (text.len() <= Self::LONGEST && emojis::get(text).is_some()).then(|| Self(text.to_owned()))
    }

    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Emoji {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_emoji_is_one_whatever_it_is_made_of() {
        for one in ["👍", "👍🏽", "❤️", "❤", "👨‍👩‍👧‍👦", "🇩🇪", "1️⃣", "🏴󠁧󠁢󠁥󠁮󠁧󠁿", "☺️", "🤝🏿"]
        {
            assert_eq!(Emoji::parse(one).as_ref().map(Emoji::as_str), Some(one));
        }
    }

    #[test]
    fn anything_else_is_none() {
        let longest = "👨🏻‍❤️‍💋‍👨🏿";
        assert!(longest.len() > Emoji::LONGEST);
        for other in ["", " ", "a", "ok", "1", "#", "👍👍", "👍 ", " 👍", "👍a", "👍\0", "\u{fe0f}", "\u{200d}", "🏽👍", longest, &"👍".repeat(9)]
        {
            assert_eq!(Emoji::parse(other), None, "{other:?}");
        }
    }
}
