//! Takes values out of the layers by key, each with its type and its rule, and collects everything that is wrong.

use std::fmt::Write as _;
use std::ops::RangeInclusive;
use std::time::Duration;

use wa_core::limits::{RateLimit, parse_duration};

use super::error::{ConfigError, ConfigErrors, Origin};
use super::layers::{Given, Layers, Raw, SECTIONS};
use super::secret::Secret;

/// What is wrong with a value, and what to write instead.
pub(super) struct Problem {
    problem: String,
    fix: String,
}

pub(super) type Read<T> = Result<T, Problem>;

pub(super) fn problem<T>(problem: impl Into<String>, fix: impl Into<String>) -> Read<T> {
    Err(Problem { problem: problem.into(), fix: fix.into() })
}

pub(super) struct Reader {
    layers: Layers,
    asked: Vec<&'static str>,
    taken: Vec<(&'static str, Origin)>,
}

impl Reader {
    pub(super) const fn new(layers: Layers) -> Self {
        Self { layers, asked: Vec::new(), taken: Vec::new() }
    }

    /// The value of a key, or the default if nobody set it or it is wrong.
    pub(super) fn take<T>(&mut self, key: &'static str, default: T, read: impl FnOnce(&Raw) -> Read<T>) -> T {
        self.asked.push(key);
        let Some(Given { raw, origin }) = self.layers.values.remove(key) else { return default };
        self.taken.push((key, origin.clone()));
        read(&raw).unwrap_or_else(|Problem { problem, fix }| {
            self.layers.errors.push(ConfigError { key: key.to_owned(), problem, origin, fix });
            default
        })
    }

    /// Where the value of a key came from that was taken before.
    pub(super) fn origin(&self, key: &str) -> Origin {
        self.taken.iter().find(|(taken, _)| *taken == key).map_or(Origin::Default, |(_, origin)| origin.clone())
    }

    /// Notes a value that is wrong only together with others.
    pub(super) fn refuse(&mut self, key: &'static str, problem: impl Into<String>, fix: impl Into<String>) {
        let origin = self.origin(key);
        self.layers.errors.push(ConfigError { key: key.to_owned(), problem: problem.into(), origin, fix: fix.into() });
    }

    /// A key of the contract that this release has nothing behind: it may stand at its default only.
    pub(super) fn unsupported(&mut self, key: &'static str, defaults: &[&str], fix: &str) {
        self.take(key, (), |raw| {
            let is_default = match raw {
                Raw::Text(text) => text.is_empty() || defaults.contains(&text.trim()),
                Raw::Bool(bool) => defaults.contains(&if *bool { "true" } else { "false" }),
                Raw::List(entries) => entries.iter().all(|entry| matches!(entry, Raw::Text(text) if defaults.contains(&text.as_str()))),
                Raw::Integer(_) | Raw::Other(_) => false,
            };
            if is_default { Ok(()) } else { problem("is not supported in this release", fix) }
        });
    }

    pub(super) fn rate(&mut self, key: &'static str, default: RateLimit) -> RateLimit {
        let fix = "write count/window, such as \"30/10s\" or \"100/1m\"; limits.enabled = false switches all rate limits off";
        self.take(key, default, |raw| {
            let text = text(raw, fix)?;
            text.parse().or_else(|_| problem(format!("\"{}\" is not a rate", shown(&text)), fix))
        })
    }

    pub(super) fn duration(&mut self, key: &'static str, default: Duration, range: RangeInclusive<Duration>) -> Duration {
        let fix = format!("write a duration from {} to {}, such as \"250ms\", \"15s\", \"5m\" or \"720h\"", Span(*range.start()), Span(*range.end()));
        self.take(key, default, |raw| {
            if let Raw::Integer(number) = raw {
                return problem(format!("{number} has no unit"), fix);
            }
            let text = text(raw, &fix)?;
            match parse_duration(text.trim()) {
                None => problem(format!("\"{}\" is not a duration", shown(&text)), fix),
                Some(duration) if range.contains(&duration) => Ok(duration),
                Some(_) => problem(format!("\"{}\" is out of range", shown(&text)), fix),
            }
        })
    }

    pub(super) fn count(&mut self, key: &'static str, default: usize, range: RangeInclusive<usize>) -> usize {
        let fix = format!("write a whole number from {} to {}", range.start(), range.end());
        self.number(key, default, &range, fix, |text| text.parse().ok())
    }

    /// A number of bytes; "64KB" is understood as well.
    pub(super) fn size(&mut self, key: &'static str, default: usize, range: RangeInclusive<usize>) -> usize {
        let fix = format!("write a number of bytes from {} to {}, such as 65536, \"64KB\" or \"1MB\"", range.start(), range.end());
        self.number(key, default, &range, fix, parse_size)
    }

    fn number(&mut self, key: &'static str, default: usize, range: &RangeInclusive<usize>, fix: String, parse: fn(&str) -> Option<usize>) -> usize {
        self.take(key, default, |raw| {
            let (number, given) = match raw {
                Raw::Integer(number) => (usize::try_from(*number).ok(), number.to_string()),
                Raw::Text(text) => (parse(text.trim()), format!("\"{}\"", shown(text))),
                other => (None, kind(other).to_owned()),
            };
            match number {
                None => problem(format!("{given} is no whole number"), fix),
                Some(number) if range.contains(&number) => Ok(number),
                Some(_) => problem(format!("{given} is out of range"), fix),
            }
        })
    }

    pub(super) fn bool(&mut self, key: &'static str, default: bool) -> bool {
        let fix = "write true or false";
        self.take(key, default, |raw| match raw {
            Raw::Bool(bool) => Ok(*bool),
            Raw::Text(text) if text == "true" => Ok(true),
            Raw::Text(text) if text == "false" => Ok(false),
            Raw::Text(text) => problem(format!("\"{}\" is neither true nor false", shown(text)), fix),
            other => problem(format!("is {}, not true or false", kind(other)), fix),
        })
    }

    pub(super) fn secret(&mut self, key: &'static str, shortest: usize) -> Option<Secret> {
        self.take(key, None, |raw| read_secret(raw, shortest).map(Some))
    }

    pub(super) fn secrets(&mut self, key: &'static str, shortest: usize) -> Vec<Secret> {
        self.take(key, Vec::new(), |raw| list(raw, "write a list of texts")?.into_iter().map(|text| read_secret(&Raw::Text(text), shortest)).collect())
    }

    /// Everything that was wrong, unknown keys included; `Ok` if nothing was.
    pub(super) fn finish(mut self) -> Result<(), ConfigErrors> {
        for (key, given) in std::mem::take(&mut self.layers.values) {
            let (problem, fix) = self.explain_unknown(&key, &given.raw);
            self.layers.errors.push(ConfigError { key, problem, origin: given.origin, fix });
        }
        for (name, key) in std::mem::take(&mut self.layers.near_misses) {
            if let Some((section, rest)) = key.split_once('.').filter(|_| self.asked.contains(&key.as_str())) {
                let fix = format!("write two underscores after the section: WA_{}__{}", section.to_uppercase(), rest.to_uppercase());
                let problem = "is not a variable of the configuration".to_owned();
                self.layers.errors.push(ConfigError { key: name.clone(), problem, origin: Origin::Env(name), fix });
            }
        }
        // A stable order, so that correcting one error does not shuffle the others.
        self.layers.errors.sort_by(|a, b| a.key.cmp(&b.key));
        if self.layers.errors.is_empty() { Ok(()) } else { Err(ConfigErrors(self.layers.errors)) }
    }

    fn explain_unknown(&self, key: &str, raw: &Raw) -> (String, String) {
        let section = key.split('.').next().unwrap_or_default();
        if SECTIONS.contains(&key) {
            return (format!("is a section, but here it is {}", kind(raw)), format!("write [{key}] on a line of its own, and its keys below"));
        }
        let nearest = self.asked.iter().map(|asked| (distance(key, asked), *asked)).min();
        let mut fix = match nearest {
            Some((distance, nearest)) if distance <= 3.max(key.len() / 4) => format!("did you mean {nearest}?"),
            _ if SECTIONS.contains(&section) => {
                let keys: Vec<_> = self.asked.iter().filter_map(|asked| asked.strip_prefix(section)?.strip_prefix('.')).collect();
                format!("remove it; [{section}] has the keys {}", keys.join(", "))
            }
            _ => format!("remove it; the sections are {}", SECTIONS.join(", ")),
        };
        if key.ends_with("_file") {
            let _ = write!(fix, ". Only secrets can be read from a file");
        }
        ("is not a key of the configuration".to_owned(), fix)
    }
}

/// A value as one line of text.
pub(super) fn text(raw: &Raw, fix: &str) -> Read<String> {
    match raw {
        Raw::Text(text) if text.trim().is_empty() => problem("is empty", fix),
        Raw::Text(text) => Ok(text.clone()),
        other => problem(format!("is {}, not a text", kind(other)), fix),
    }
}

/// A list of texts; a single text is split at commas.
pub(super) fn list(raw: &Raw, fix: &str) -> Read<Vec<String>> {
    match raw {
        Raw::Text(text) => Ok(text.split(',').map(str::trim).filter(|entry| !entry.is_empty()).map(ToOwned::to_owned).collect()),
        Raw::List(entries) => entries.iter().map(|entry| text(entry, fix)).collect(),
        other => problem(format!("is {}, not a list of texts", kind(other)), fix),
    }
}

fn read_secret(raw: &Raw, shortest: usize) -> Read<Secret> {
    let fix = if shortest > 1 { format!("make one, such as with: openssl rand -hex {shortest}") } else { "write the secret, or remove the key".to_owned() };
    match raw {
        Raw::Text(text) if text.len() >= shortest => Ok(Secret::new(text.clone())),
        Raw::Text(text) if shortest > 1 => problem(format!("must be {shortest} bytes or more, but is {}", text.len()), fix),
        Raw::Text(_) => problem("is empty", fix),
        other => problem(format!("is {}, not a text", kind(other)), fix),
    }
}

const fn kind(raw: &Raw) -> &'static str {
    match raw {
        Raw::Text(_) => "a text",
        Raw::Integer(_) => "a number",
        Raw::Bool(_) => "true or false",
        Raw::List(_) => "a list",
        Raw::Other(kind) => kind,
    }
}

/// Characters of a value that messages quote.
const LONGEST_SHOWN: usize = 120;

/// A value as messages quote it: cut, and without what would break the line.
pub(super) fn shown(text: &str) -> String {
    let mut line: String = text.chars().take(LONGEST_SHOWN).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    if text.chars().nth(LONGEST_SHOWN).is_some() {
        line.push('…');
    }
    line
}

/// "4096", "64KB" or "1MB"; MB is 2^20 (contract, section 10).
fn parse_size(text: &str) -> Option<usize> {
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (count, unit) = text.split_at(split);
    let unit = match unit.trim_start() {
        "" => 1,
        "KB" => 1 << 10,
        "MB" => 1 << 20,
        _ => return None,
    };
    count.parse::<usize>().ok()?.checked_mul(unit)
}

/// A duration in the largest unit that holds it whole.
struct Span(Duration);

impl std::fmt::Display for Span {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let millis = self.0.as_millis();
        for (unit, length) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000)] {
            if millis >= length && millis.is_multiple_of(length) {
                return write!(f, "{}{unit}", millis / length);
            }
        }
        write!(f, "{millis}ms")
    }
}

/// The number of edits between two keys (Levenshtein 1966).
fn distance(a: &str, b: &str) -> usize {
    // Keys from outside may be long; ours are not.
    let a: Vec<char> = a.chars().take(100).collect();
    let mut row: Vec<usize> = (0..=a.len()).collect();
    for (i, in_b) in b.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, in_a) in a.iter().enumerate() {
            let substituted = diagonal + usize::from(*in_a != in_b);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[a.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_units_of_two_to_the_ten() {
        assert_eq!(parse_size("4096"), Some(4096));
        assert_eq!(parse_size("64KB"), Some(65_536));
        assert_eq!(parse_size("1 MB"), Some(1 << 20));
        for bad in ["", "KB", "1GB", "-1", "1.5MB", "99999999999999999999", "18446744073709551615KB"] {
            assert_eq!(parse_size(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_distance_counts_edits() {
        assert_eq!(distance("limits.otp_sent", "limits.otp_send"), 1);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("kitten", "sitting"), 3);
    }
}
