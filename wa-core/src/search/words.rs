//! From text to the words it is found by, the same for what is stored and for what is searched, whatever the backend: case
//! and diacritics are folded away, and scripts that put no spaces between words become pairs of neighbouring characters.

use unicode_normalization::UnicodeNormalization as _;
use unicode_normalization::char::is_combining_mark;

/// Characters of a word, at the most; longer ones are cut, in texts and in queries alike.
pub(super) const LONGEST: usize = 64;

/// What stands together in a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Run {
    /// A word of a script that sets words apart.
    Word(String),
    /// Characters, with their marks, of a script that does not.
    Unspaced(Vec<String>),
    /// An emoji or another symbol that people search for.
    Symbol(String),
}

/// How a character belongs to its neighbours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    Word,
    Unspaced,
    Mark,
    Symbol,
    Break,
}

impl Class {
    fn of(c: char) -> Self {
        if c.is_ascii() {
            return if c.is_ascii_alphanumeric() { Self::Word } else { Self::Break };
        }
        if is_combining_mark(c) {
            return Self::Mark;
        }
        match c {
            // Han with its marks of repetition, kana, bopomofo, hangul: pairs also find the parts of compounds.
            '\u{3005}'..='\u{3007}'
            | '\u{3041}'..='\u{312F}'
            | '\u{31A0}'..='\u{31BF}'
            | '\u{31F0}'..='\u{31FF}'
            | '\u{3400}'..='\u{4DBF}'
            | '\u{4E00}'..='\u{9FFF}'
            | '\u{AC00}'..='\u{D7A3}'
            | '\u{F900}'..='\u{FAFF}'
            | '\u{1AFF0}'..='\u{1B16F}'
            | '\u{20000}'..='\u{3FFFD}'
            // Thai, Lao, Myanmar, Khmer, Tai Tham, Javanese, New Tai Lue and Tai Le.
            | '\u{0E01}'..='\u{0EFF}'
            | '\u{1000}'..='\u{109F}'
            | '\u{1780}'..='\u{17FF}'
            | '\u{1950}'..='\u{19DF}'
            | '\u{1A20}'..='\u{1AAF}'
            | '\u{A980}'..='\u{A9DF}'
                if c.is_alphanumeric() =>
            {
                Self::Unspaced
            }
            // Arrows, technical signs, dingbats, emoji.
            '\u{2190}'..='\u{2BFF}' | '\u{1F000}'..='\u{1FAFF}' => Self::Symbol,
            _ if c.is_alphanumeric() => Self::Word,
            _ => Self::Break,
        }
    }
}

/// Whether the character only decorates the one before it, or shows nothing at all. Vowel signs of Indic and Thai scripts
/// are no decoration and stay.
const fn is_dropped(c: char) -> bool {
    matches!(c,
        // Diacritics of Latin, Greek and Cyrillic.
        '\u{0300}'..='\u{036F}' | '\u{1AB0}'..='\u{1AFF}' | '\u{1DC0}'..='\u{1DFF}' | '\u{20D0}'..='\u{20FF}' | '\u{FE20}'..='\u{FE2F}'
        // Hebrew points, Arabic vowel marks and the stroke that only stretches.
        | '\u{0591}'..='\u{05BD}' | '\u{05BF}' | '\u{05C1}' | '\u{05C2}' | '\u{05C4}' | '\u{05C5}' | '\u{05C7}'
        | '\u{0610}'..='\u{061A}' | '\u{0640}' | '\u{064B}'..='\u{065F}' | '\u{0670}' | '\u{06D6}'..='\u{06DC}' | '\u{06DF}'..='\u{06E4}'
        | '\u{06E7}' | '\u{06E8}' | '\u{06EA}'..='\u{06ED}'
        // Soft hyphens, joiners, marks of direction, variants and tones of emoji.
        | '\u{00AD}' | '\u{200C}'..='\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2060}'..='\u{2069}' | '\u{FE00}'..='\u{FE0F}' | '\u{FEFF}'
        | '\u{1F3FB}'..='\u{1F3FF}')
}

/// Letters that people take for others though Unicode does not.
const fn alike(c: char) -> Option<&'static str> {
    Some(match c {
        'ß' => "ss",
        'æ' => "ae",
        'œ' => "oe",
        'ø' => "o",
        'đ' | 'ð' => "d",
        'ł' => "l",
        'ħ' => "h",
        'ŧ' => "t",
        'þ' => "th",
        'ı' => "i",
        'ς' => "σ",
        // Persian and Urdu forms of Arabic letters.
        'ى' | 'ی' => "ي",
        'ک' => "ك",
        _ => return None,
    })
}

/// The text without what makes no difference to a search.
fn fold(text: &str) -> String {
    let mut folded = String::with_capacity(text.len());
    for c in text.nfkd().filter(|c| !is_dropped(*c)) {
        for c in c.to_lowercase().filter(|c| !is_dropped(*c)) {
            match alike(c) {
                Some(other) => folded.push_str(other),
                None => folded.push(c),
            }
        }
    }
    if folded.is_ascii() { folded } else { folded.nfc().collect() }
}

/// Whether the text ends within a word, which may still go on.
pub(super) fn ends_within_a_word(text: &str) -> bool {
    fold(text).chars().next_back().is_some_and(|c| Class::of(c) != Class::Break)
}

/// The runs of a text, in their order.
pub(super) fn runs(text: &str) -> Vec<Run> {
    let mut runs = Vec::new();
    // Whether the last run may go on.
    let mut open = false;
    for c in fold(text).chars() {
        let class = Class::of(c);
        match (class, runs.last_mut().filter(|_| open)) {
            (Class::Word | Class::Mark, Some(Run::Word(word))) => word.push(c),
            (Class::Unspaced, Some(Run::Unspaced(clusters))) => clusters.push(c.into()),
            (Class::Mark, Some(Run::Unspaced(clusters))) => {
                if let Some(cluster) = clusters.last_mut() {
                    cluster.push(c);
                }
            }
            (Class::Mark, Some(Run::Symbol(_))) => {}
            (Class::Mark | Class::Break, _) => open = false,
            (Class::Word, _) => {
                runs.push(Run::Word(c.into()));
                open = true;
            }
            (Class::Unspaced, _) => {
                runs.push(Run::Unspaced(vec![c.into()]));
                open = true;
            }
            (Class::Symbol, _) => {
                runs.push(Run::Symbol(c.into()));
                open = true;
            }
        }
    }
    runs
}

/// Appends the words of a run. Each character of an unspaced script makes a word with the one after it, so that a query
/// finds its place within a run; the last one stands alone, if `with_last`, and always if it is the only one.
pub(super) fn push_words(run: &Run, with_last: bool, words: &mut Vec<String>) {
    match run {
        Run::Word(word) | Run::Symbol(word) => words.push(cut(word)),
        Run::Unspaced(clusters) => {
            words.extend(clusters.windows(2).map(|pair| cut(&pair.concat())));
            if let Some(last) = clusters.last().filter(|_| with_last || clusters.len() == 1) {
                words.push(cut(last));
            }
        }
    }
}

fn cut(word: &str) -> String {
    word.chars().take(LONGEST).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn words(text: &str) -> Vec<String> {
        let mut words = Vec::new();
        for run in runs(text) {
            push_words(&run, true, &mut words);
        }
        words
    }

    #[test]
    fn case_and_diacritics_are_folded_away() {
        for (text, expected) in [
            ("Crème BRÛLÉE", vec!["creme", "brulee"]),
            ("Straße Łódź İstanbul", vec!["strasse", "lodz", "istanbul"]),
            ("ΟΔΥΣΣΕΎΣ", vec!["οδυσσευσ"]),
            ("Ёлка и йод", vec!["елка", "и", "иод"]),
            ("שָׁלוֹם", vec!["שלום"]),
            ("مُحَمَّد", vec!["محمد"]),
            ("ｆｕｌｌ ﬁne", vec!["full", "fine"]),
        ] {
            assert_eq!(words(text), expected, "{text}");
        }
    }

    #[test]
    fn words_end_at_punctuation() {
        assert_eq!(words("l'avion-cargo, don’t! a_b foo@bar.com 3.14"), ["l", "avion", "cargo", "don", "t", "a", "b", "foo", "bar", "com", "3", "14"]);
        assert_eq!(words(" \n…—!?\"*()"), [""; 0]);
    }

    #[test]
    fn vowel_signs_are_part_of_their_words() {
        assert_eq!(words("हिन्दी भाषा"), ["हिन्दी", "भाषा"]);
        assert_ne!(words("กา"), words("กี"));
    }

    #[test]
    fn scripts_without_spaces_become_pairs() {
        assert_eq!(words("東京大学"), ["東京", "京大", "大学", "学"]);
        assert_eq!(words("学"), ["学"]);
        assert_eq!(words("ABC公司2"), ["abc", "公司", "司", "2"]);
        assert_eq!(words("학교 에서"), ["학교", "교", "에서", "서"]);
        assert_eq!(words("ที่นี่"), ["ที่นี่", "นี่"]);
    }

    #[test]
    fn emoji_are_words_whatever_their_tone() {
        assert_eq!(words("👍🏽👍 ❤️"), ["👍", "👍", "❤"]);
    }

    proptest! {
        #[test]
        fn any_text_gives_words_without_spaces_of_bounded_length(text in "\\PC*") {
            for word in words(&text) {
                prop_assert!(!word.is_empty() && word.chars().count() <= LONGEST);
                prop_assert!(word.chars().all(|c| !c.is_ascii() || c.is_ascii_lowercase() || c.is_ascii_digit()), "{word}");
                prop_assert!(!word.contains(char::is_whitespace));
            }
        }

        #[test]
        fn folding_again_changes_nothing(text in "\\PC*") {
            let once = fold(&text);
            prop_assert_eq!(words(&once), words(&text));
        }
    }
}
