//! Phone numbers in E.164 (contract, section 10: valid by form and possible by length, test ranges included).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize};

/// A phone number as `+15550100001`. `Debug` shows the last digits only, so that logs never carry a whole one.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct Phone(String);

/// The text is no possible phone number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be a phone number in E.164 form, such as +15550100001")]
pub struct InvalidPhone;

impl Phone {
    /// The number with its leading `+`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// For logs: `+1…01`.
    #[must_use]
    pub fn masked(&self) -> String {
        format!("{}…{}", &self.0[..2], &self.0[self.0.len() - 2..])
    }

    /// Reads a number as people write it in address books: separators are dropped, a leading `00` is read as `+`.
    ///
    /// # Errors
    /// [`InvalidPhone`] if what remains is no possible E.164 number.
    pub fn normalise(text: &str) -> Result<Self, InvalidPhone> {
        // The longest number has 15 digits; anything far longer is no number with separators.
        if text.len() > 64 {
            return Err(InvalidPhone);
        }
        let mut plain: String = text.chars().filter(|c| !matches!(c, ' ' | '-' | '.' | '(' | ')' | '/' | '\u{a0}')).collect();
        if let Some(rest) = plain.strip_prefix("00") {
            plain = format!("+{rest}");
        }
        plain.parse()
    }
}

impl Phone {
    /// Reads a number that was typed beside its country: a number with its `+` stands for itself, any other is read as
    /// national under the calling code (`+49`, `49`).
    ///
    /// # Errors
    /// [`InvalidPhone`] if the two make no possible E.164 number.
    pub fn with_country_code(country_code: &str, number: &str) -> Result<Self, InvalidPhone> {
        if let Ok(whole) = Self::normalise(number) {
            return Ok(whole);
        }
        let code = country_code.trim().trim_start_matches('+');
        if code.is_empty() || code.len() > 3 || !code.bytes().all(|b| b.is_ascii_digit()) {
            return Err(InvalidPhone);
        }
        // A single leading zero is the trunk prefix, which is not dialled from abroad.
        let national = number.trim();
        Self::normalise(&format!("+{code}{}", national.strip_prefix('0').unwrap_or(national)))
    }
}

impl FromStr for Phone {
    type Err = InvalidPhone;

    fn from_str(text: &str) -> Result<Self, InvalidPhone> {
        let digits = text.strip_prefix('+').ok_or(InvalidPhone)?;
        if !(7..=15).contains(&digits.len()) || !digits.bytes().all(|b| b.is_ascii_digit()) || digits.starts_with('0') {
            return Err(InvalidPhone);
        }
        // The library knows the calling codes; its validity check would refuse test ranges, so length alone decides beyond that.
        phonenumber::parse(None, text).map_err(|_| InvalidPhone)?;
        Ok(Self(text.to_owned()))
    }
}

impl<'de> Deserialize<'de> for Phone {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl fmt::Display for Phone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Phone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Phone({})", self.masked())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn e164_is_accepted_and_nothing_else() {
        for good in ["+15550100001", "+14155550100", "+4915112345678", "+77011234567", "+442079460958"] {
            assert_eq!(good.parse::<Phone>().map(|p| p.to_string()), Ok(good.to_owned()), "{good}");
        }
        for bad in ["", "+", "15550100001", "+0155501000", "+1 555 010 0001", "+1555", "+1234567890123456", "+1555010000a", "+٤٩١٥١١٢٣٤٥", "+99999999999"]
        {
            assert_eq!(bad.parse::<Phone>(), Err(InvalidPhone), "{bad}");
        }
    }

    #[test]
    fn separators_of_address_books_are_dropped() {
        assert_eq!(Phone::normalise(" +1 (555) 010-0001 ").map(|p| p.to_string()).as_deref(), Ok("+15550100001"));
        assert_eq!(Phone::normalise("0049 151 12345678").map(|p| p.to_string()).as_deref(), Ok("+4915112345678"));
        assert_eq!(Phone::normalise("hello"), Err(InvalidPhone));
    }

    #[test]
    fn a_national_number_takes_its_country_code() {
        for (code, number) in [("+49", "0151 12345678"), ("49", "15112345678"), ("+1", "+4915112345678")] {
            assert_eq!(Phone::with_country_code(code, number).map(|p| p.to_string()).as_deref(), Ok("+4915112345678"), "{code} {number}");
        }
        for (code, number) in [("", "15112345678"), ("DE", "15112345678"), ("+49", "x"), ("4999", "15112345678")] {
            assert_eq!(Phone::with_country_code(code, number), Err(InvalidPhone), "{code} {number}");
        }
    }

    #[test]
    fn debug_output_hides_the_number() {
        let phone: Phone = "+15550100001".parse().expect("valid");
        assert_eq!(format!("{phone:?}"), "Phone(+1…01)");
    }

    proptest! {
        #[test]
        fn reading_never_panics(text in ".*") {
            let _ = Phone::normalise(&text);
            let _ = text.parse::<Phone>();
        }
    }
}
