//! Faults for tests: places where the process can be told to die, and defects that can be planted. Without the feature
//! `faults`, which no release has, nothing dies here and nothing is planted.

#[cfg(feature = "faults")]
use std::{
    env, process,
    sync::OnceLock,
    sync::atomic::{AtomicU64, Ordering},
};

/// Where to die, and the passages left until then.
#[cfg(feature = "faults")]
struct Deadly {
    name: String,
    left: AtomicU64,
}

/// Passes a failpoint. With `WA_FAILPOINT=<name>:<n>` in the environment the process dies on its `n`th passage through
/// the one of this name, at once and without any clean-up, as by `kill -9`.
#[cfg(feature = "faults")]
pub fn pass(name: &str) {
    static DEADLY: OnceLock<Option<Deadly>> = OnceLock::new();
    let Some(deadly) = DEADLY.get_or_init(|| env::var("WA_FAILPOINT").ok().as_deref().and_then(deadly)) else { return };
    if deadly.name == name && deadly.left.fetch_sub(1, Ordering::Relaxed) == 1 {
        process::abort();
    }
}

#[cfg(feature = "faults")]
fn deadly(text: &str) -> Option<Deadly> {
    let (name, passage) = text.split_once(':')?;
    Some(Deadly { name: name.to_owned(), left: AtomicU64::new(passage.parse().ok()?) })
}

/// Whether this defect was planted: `WA_PLANTED=<name>` in the environment.
#[must_use]
#[cfg(feature = "faults")]
pub fn planted(name: &str) -> bool {
    static PLANTED: OnceLock<Option<String>> = OnceLock::new();
    PLANTED.get_or_init(|| env::var("WA_PLANTED").ok()).as_deref() == Some(name)
}

/// Whether this defect was planted: never, in a build without them.
#[must_use]
#[cfg(not(feature = "faults"))]
pub const fn planted(_name: &str) -> bool {
    false
}

#[cfg(all(test, feature = "faults"))]
mod tests {
    use super::*;

    #[test]
    fn a_failpoint_is_a_name_and_a_passage() {
        let read = |text| deadly(text).map(|deadly| (deadly.name, deadly.left.into_inner()));
        assert_eq!(read("after_commit:37"), Some(("after_commit".to_owned(), 37)));
        assert_eq!(read("after_commit"), None);
        assert_eq!(read("after_commit:soon"), None);
    }

    #[test]
    fn nothing_is_deadly_or_planted_unless_asked_for() {
        pass("before_commit");
        assert!(!planted("ack_before_commit"));
    }
}
