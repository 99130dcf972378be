//! What a search means, without saying how a backend finds it: the words of a message, the words of a query, whether one
//! holds the other, and how well.
//!
//! A query is words that must all occur: `"in quotes"` in this order, `wor*` as a beginning. The last word counts as a
//! beginning too while it is being typed, which it is until something follows it. There is no other syntax.

mod words;

use std::fmt;

use crate::error::{Error, Result};
use crate::limits::Limits;
use crate::message::Content;

/// The words a message is found by, a list for each of its texts.
#[derive(Clone, PartialEq, Eq)]
pub struct Searchable(Vec<Vec<String>>);

impl Searchable {
    /// Of what a message says: texts, captions, names of files and places. What the server writes is not searched.
    #[must_use]
    pub fn of(content: &Content) -> Self {
        let texts: [Option<&str>; 2] = match content {
            Content::Text(text) => [Some(&text.body), None],
            Content::Image(picture) | Content::Video(picture) => [picture.caption.as_deref(), None],
            Content::Document(document) => [document.filename.as_deref(), document.caption.as_deref()],
            Content::Location(location) => [location.name.as_deref(), location.address.as_deref()],
            Content::Audio(_) | Content::System(_) => [None, None],
        };
        Self(texts.into_iter().flatten().map(Self::words_of).filter(|words| !words.is_empty()).collect())
    }

    fn words_of(text: &str) -> Vec<String> {
        let mut words = Vec::new();
        for run in words::runs(text) {
            words::push_words(&run, true, &mut words);
        }
        words
    }

    /// The words of each text, in their order. A word is of ASCII digits and small letters and of other characters than
    /// ASCII's, without spaces, and has 1 to 64 characters.
    pub fn texts(&self) -> impl Iterator<Item = &[String]> {
        self.0.iter().map(Vec::as_slice)
    }
}

impl fmt::Debug for Searchable {
    /// Texts are in no log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Searchable({} words)", self.0.iter().map(Vec::len).sum::<usize>())
    }
}

/// A part of a query: words that stand one after the other in a text of the message.
#[derive(Clone, PartialEq, Eq)]
pub struct Clause {
    /// The words, of the form of those of [`Searchable::texts`]; at least one.
    pub words: Vec<String>,
    /// Whether the last word may go on.
    pub is_open: bool,
}

impl fmt::Debug for Clause {
    /// Search texts are in no log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Clause({} words)", self.words.len())
    }
}

/// What is searched for: every clause must be met.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SearchTerms(Vec<Clause>);

/// How well a message fits, in thousandths: higher is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Score(pub u32);

impl Score {
    /// As clients see it.
    #[must_use]
    pub fn as_f64(self) -> f64 {
        f64::from(self.0) / 1000.0
    }
}

/// What opens and closes a phrase.
const QUOTES: [char; 5] = ['"', '“', '”', '„', '‟'];

impl SearchTerms {
    /// Reads what a user typed. Any text within the bounds can be read; one without words finds nothing.
    ///
    /// # Errors
    /// [`Error::Validation`] if it is blank or too long.
    pub fn parse(query: &str, limits: &Limits) -> Result<Self> {
        if query.trim().is_empty() {
            return Err(Error::invalid("q", "must not be empty"));
        }
        if query.chars().nth(limits.search_query_length).is_some() {
            return Err(Error::invalid("q", format!("must have at most {} characters", limits.search_query_length)));
        }
        let mut clauses = Vec::new();
        let mut parts = query.split(QUOTES).peekable();
        let mut quoted = false;
        while let Some(part) = parts.next() {
            let is_last = parts.peek().is_none();
            if quoted {
                // A phrase that was not closed is still being typed.
                clauses.extend(Clause::of(part, is_last && words::ends_within_a_word(part)));
            } else {
                let typed = is_last && words::ends_within_a_word(part);
                let mut chunks = part.split_whitespace().peekable();
                while let Some(chunk) = chunks.next() {
                    clauses.extend(Clause::of(chunk, chunk.ends_with('*') || (typed && chunks.peek().is_none())));
                }
            }
            quoted = !quoted;
        }
        if clauses.len() > limits.search_query_words {
            return Err(Error::invalid("q", format!("must have at most {} words", limits.search_query_words)));
        }
        Ok(Self(clauses))
    }

    /// What must be met; nothing if the query held no word, in which case it finds nothing.
    #[must_use]
    pub fn clauses(&self) -> &[Clause] {
        &self.0
    }

    /// How well the message fits; `None` if a clause is not met. Words count more in short texts, whole words more than
    /// beginnings, longer clauses more than single words, and the clauses more if they stand together as they were typed.
    #[must_use]
    pub fn score(&self, message: &Searchable) -> Option<Score> {
        if self.0.is_empty() {
            return None;
        }
        let mut sum = 0.0;
        for clause in &self.0 {
            let best = message.texts().map(|text| saturated(clause.occurrences(text), text.len())).fold(0.0, f64::max);
            if best == 0.0 {
                return None;
            }
            sum += best * of_count(clause.words.len());
        }
        if self.0.len() > 1 {
            let together = Clause { words: self.0.iter().flat_map(|clause| clause.words.iter().cloned()).collect(), is_open: self.0.last()?.is_open };
            if message.texts().any(|text| together.occurrences(text) > 0.0) {
                sum *= 1.5;
            }
        }
        // Few words of at most some hundred bytes: far from the bound of the type.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "positive and small")]
        Some(Score((sum * 1000.0).round().max(1.0) as u32))
    }
}

impl Clause {
    /// The words of a part of the query, if there are any.
    fn of(part: &str, is_open: bool) -> Option<Self> {
        let runs = words::runs(part);
        let (last, before) = runs.split_last()?;
        let mut words = Vec::new();
        for run in before {
            words::push_words(run, true, &mut words);
        }
        words::push_words(last, false, &mut words);
        // A single character of a script without spaces begins the pairs that hold it.
        let is_single = matches!(last, words::Run::Unspaced(clusters) if clusters.len() == 1);
        Some(Self { words, is_open: is_open || is_single })
    }

    /// How often a text meets it; a word that goes on counts for less.
    fn occurrences(&self, text: &[String]) -> f64 {
        let Some((last, before)) = self.words.split_last() else { return 0.0 };
        let at = |place: &[String]| {
            let (end, start) = place.split_last()?;
            if start != before {
                return None;
            }
            if end == last {
                return Some(1.0);
            }
            (self.is_open && end.starts_with(last.as_str())).then(|| 0.4 + 0.4 * of_count(last.chars().count()) / of_count(end.chars().count()))
        };
        text.windows(self.words.len()).filter_map(at).sum()
    }
}

/// The share of the occurrences that counts, as in BM25: more occurrences help less and less, and less in long texts.
fn saturated(occurrences: f64, length: usize) -> f64 {
    const SATURATION: f64 = 1.2;
    const USUAL_LENGTH: f64 = 12.0;
    occurrences * (SATURATION + 1.0) / (occurrences + SATURATION * (0.25 + 0.75 * of_count(length) / USUAL_LENGTH))
}

/// A count of words or characters, which are few.
fn of_count(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Text;
    use proptest::prelude::*;

    fn terms(query: &str) -> SearchTerms {
        SearchTerms::parse(query, &Limits::default()).expect("can be read")
    }

    fn message(body: &str) -> Searchable {
        Searchable::of(&Content::Text(Text { body: body.to_owned(), mentions: Vec::new() }))
    }

    fn finds(query: &str, body: &str) -> bool {
        terms(query).score(&message(body)).is_some()
    }

    #[test]
    fn every_word_must_occur_in_any_order() {
        assert!(finds("station old ", "In front of the old station"));
        assert!(!finds("station new ", "In front of the old station"));
    }

    #[test]
    fn a_beginning_is_found_by_a_star_and_at_the_end_while_typing() {
        assert!(finds("stat* old ", "the old station"));
        assert!(finds("old stat", "the old station"));
        assert!(!finds("old stat ", "the old station"), "a space ends the word");
        assert!(!finds("stat old", "the old station"), "only the last word is being typed");
        assert!(!finds("old stat.", "the old station"));
    }

    #[test]
    fn a_phrase_is_found_in_its_order_only() {
        assert!(finds("\"old station\"", "the Old Station!"));
        assert!(!finds("\"station old\"", "the old station"));
        assert!(!finds("\"old stat\"", "the old station"), "a closed phrase is typed to its end");
        assert!(finds("\"old stat", "the old station"));
        assert!(finds("“old station” the ", "the old station"));
        assert!(finds("bar.com ", "see foo.bar.com"), "what has no space in it stands together");
        assert!(!finds("bar.com ", "com bar"));
    }

    #[test]
    fn scripts_without_spaces_are_found_within_a_run() {
        for query in ["京", "東京", "京都", "大学", "学生", "東京大学生", "\"京大\"", "生", "大学 東京"] {
            assert!(finds(query, "私は東京大学生です。京都も好き。"), "{query}");
        }
        assert!(!finds("都大", "私は東京大学生です。京都も好き。"));
        assert!(!finds("大京", "私は東京大学生です。京都も好き。"));
        for query in ["สวัสดี", "ดีครับ", "ครับ", "สวัสด"] {
            assert!(finds(query, "สวัสดีครับ"), "{query}");
        }
        assert!(finds("학교", "우리는 학교에서 만나요"));
        assert!(finds("abc公司", "在ABC公司工作"));
        assert!(finds("公司abc", "我们公司abc"));
    }

    #[test]
    fn what_is_no_word_finds_nothing_and_does_no_harm() {
        for query in ["*", "\"", "\"\"", "^$ ()", "-", "!!!", "\0", "'", "…"] {
            assert!(terms(query).clauses().is_empty(), "{query:?}");
            assert!(!finds(query, "anything"));
        }
        for query in ["NEAR(a b)", "a AND b", "a:b", "a^2 + b", "(a", "a\" b", "-a b", "{a b}"] {
            assert!(!terms(query).clauses().is_empty(), "{query}");
        }
    }

    #[test]
    fn blank_and_over_long_queries_are_refused() {
        let limits = Limits::default();
        for query in ["", "  \n"] {
            assert!(SearchTerms::parse(query, &limits).is_err());
        }
        let longest = limits.search_query_length;
        assert!(SearchTerms::parse(&"ä".repeat(longest), &limits).is_ok());
        assert!(SearchTerms::parse(&"ä".repeat(longest + 1), &limits).is_err());
        assert!(SearchTerms::parse(&"a ".repeat(limits.search_query_words), &limits).is_ok());
        assert!(SearchTerms::parse(&"a ".repeat(limits.search_query_words + 1), &limits).is_err());
    }

    #[test]
    fn what_fits_better_scores_higher() {
        let score = |query: &str, body: &str| terms(query).score(&message(body)).expect("is found");
        assert!(score("lunch", "Lunch?") > score("lunch", "Shall we have lunch together on Friday, or is that too late for you?"));
        assert!(score("lunch", "lunch lunch at eight") > score("lunch", "lunch today at eight"));
        assert!(score("lun", "lun") > score("lun", "lunch"));
        assert!(score("old station ", "at the old station") > score("old station ", "an old friend's station"));
    }

    #[test]
    fn texts_of_one_message_do_not_run_into_each_other() {
        let location = Content::Location(crate::message::Location {
            latitude: 0.0,
            longitude: 0.0,
            name: Some("Old Station".to_owned()),
            address: Some("Main Street".to_owned()),
        });
        let location = Searchable::of(&location);
        assert!(terms("main station ").score(&location).is_some());
        assert!(terms("\"station main\"").score(&location).is_none());
    }

    #[test]
    fn search_texts_do_not_show() {
        assert!(!format!("{:?}{:?}", terms("secret"), message("secret")).contains("secret"));
    }

    proptest! {
        #[test]
        fn any_query_can_be_read(query in "\\PC{1,60}") {
            prop_assume!(!query.trim().is_empty());
            let _ = SearchTerms::parse(&query, &Limits::default());
        }

        #[test]
        fn every_text_is_found_by_its_own_words(body in "\\PC{1,60}") {
            let message = message(&body);
            for text in message.texts() {
                let clause = Clause { words: text.to_vec(), is_open: false };
                prop_assert!(SearchTerms(vec![clause]).score(&message).is_some());
            }
        }

        #[test]
        fn a_text_is_found_by_itself(body in "[a-z東京大ก-ฮ .,!]{1,40}") {
            prop_assume!(message(&body).texts().count() > 0);
            prop_assert!(finds(&body, &body), "{}", body);
            prop_assert!(finds(&format!("\"{body}\""), &body), "{}", body);
        }
    }
}
