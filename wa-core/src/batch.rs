//! When pushes go out and how many messages each tells of (contract, section 7): the fixed window of a group, what a push
//! that failed waits, and what collapses. Pure; what waits is stored, and this only decides.

use std::collections::HashMap;
use std::time::Duration;

use crate::chat::ChatKind;
use crate::id::{ChatId, UserId};
use crate::time::Timestamp;

/// Messages of a direct chat are pushed one by one, unless they waited longer than this: then they collapse.
pub const LATE: Duration = Duration::from_secs(60);

/// The pauses before the three retries of a push.
const RETRIES: [Duration; 3] = [Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(4)];

/// The first pause after them, which doubles up to the longest: the provider is down, and the push waits until it expires.
const PAUSE: Duration = Duration::from_secs(30);
const LONGEST_PAUSE: Duration = Duration::from_secs(600);

/// The longest a provider is believed that it wants to be left alone.
const LONGEST_ASKED: Duration = Duration::from_secs(3600);

/// One recipient in one chat.
pub type Recipient = (UserId, ChatId);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Window {
    /// A push is being noted that will open it.
    Opening,
    /// A stored push is due then. Whatever comes before it is taken is part of it.
    Open(Timestamp),
    /// So many of its pushes are on their way. What comes now may be in them or not, so it is noted again.
    Taken(u32),
}

/// The windows that are open: for each recipient and chat, whether a stored push will tell of what comes next. It saves
/// writing, and nothing depends on it: what is not known here is noted once more, which changes nothing.
///
/// A window is fixed: it ends so long after the message that opened it, however many follow.
#[derive(Debug)]
pub struct Windows {
    open: HashMap<Recipient, Window>,
    most: usize,
}

impl Windows {
    /// As many as this are kept at hand.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self { open: HashMap::new(), most }
    }

    /// Whether a message that comes now is part of a push that is stored already.
    #[must_use]
    pub fn has_open(&self, recipient: &Recipient, now: Timestamp) -> bool {
        matches!(self.open.get(recipient), Some(Window::Open(due)) if now < *due)
    }

    /// A push is about to be stored. [`Self::opened`] or [`Self::failed`] follows.
    pub fn opening(&mut self, recipient: Recipient, now: Timestamp) {
        if matches!(self.open.get(&recipient), Some(Window::Taken(_))) {
            return;
        }
        if self.open.len() >= self.most && !self.open.contains_key(&recipient) {
            self.open.retain(|_, window| !matches!(window, Window::Open(due) if *due <= now));
            if self.open.len() >= self.most {
                return;
            }
        }
        self.open.insert(recipient, Window::Opening);
    }

    /// The push is stored, and due then. If it was taken in between, nothing may rely on it.
    pub fn opened(&mut self, recipient: &Recipient, due: Timestamp) {
        if let Some(window @ Window::Opening) = self.open.get_mut(recipient) {
            *window = Window::Open(due);
        }
    }

    /// It could not be stored, or need not be.
    pub fn failed(&mut self, recipient: &Recipient) {
        if self.open.get(recipient) == Some(&Window::Opening) {
            self.open.remove(recipient);
        }
    }

    /// A push of theirs goes out: what is read from now on is in it, what comes from now on may not be.
    pub fn take(&mut self, recipient: Recipient) {
        let window = self.open.entry(recipient).or_insert(Window::Taken(0));
        *window = match *window {
            Window::Taken(count) => Window::Taken(count + 1),
            Window::Opening | Window::Open(_) => Window::Taken(1),
        };
    }

    /// It went, or was given up. Follows every [`Self::take`], once what became of it is stored.
    pub fn release(&mut self, recipient: &Recipient) {
        match self.open.get_mut(recipient) {
            Some(Window::Taken(count)) if *count > 1 => *count -= 1,
            Some(Window::Taken(_)) => _ = self.open.remove(recipient),
            _ => {}
        }
    }

    /// A device of theirs was registered: no push that is stored already is for it, so that nothing may rely on those.
    pub fn forget(&mut self, user: UserId) {
        self.open.retain(|(of, _), window| *of != user || matches!(window, Window::Taken(_)));
    }

    /// How many are kept.
    #[must_use]
    pub fn len(&self) -> usize {
        self.open.len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }
}

/// What the next push of a chat tells of what waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// The oldest message alone.
    Oldest,
    /// How many there are.
    All,
}

/// How to tell of `count` messages, at least one, the oldest of which came then.
#[must_use]
pub fn told(chat: ChatKind, count: u64, oldest: Timestamp, now: Timestamp) -> Told {
    let collapses = chat == ChatKind::Group || now.since(oldest) > LATE;
    if count > 1 && collapses { Told::All } else { Told::Oldest }
}

/// How long a push waits that could not be handed over, after `attempts` attempts, the one that just failed included.
/// `asked` is what the provider asked for; `share`, from 0 to 255, spreads those that failed together.
#[must_use]
pub fn pause(attempts: u32, asked: Option<Duration>, share: u8) -> Duration {
    let own = match RETRIES.get(attempts.saturating_sub(1) as usize) {
        Some(retry) => *retry,
        None => (PAUSE * 2_u32.saturating_pow(attempts.saturating_sub(4).min(16))).min(LONGEST_PAUSE),
    };
    let pause = own.max(asked.unwrap_or_default().min(LONGEST_ASKED));
    pause + pause / 5 * u32::from(share) / 255
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    const WINDOW: Duration = Duration::from_secs(3);

    fn recipient(number: u128) -> Recipient {
        (UserId::from_uuid(Uuid::from_u128(number)), ChatId::from_uuid(Uuid::nil()))
    }

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn open(windows: &mut Windows, recipient: Recipient, now: Timestamp) {
        windows.opening(recipient, now);
        windows.opened(&recipient, now.after(WINDOW));
    }

    #[test]
    fn a_window_is_fixed_from_its_first_message() {
        let mut windows = Windows::new(10);
        assert!(!windows.has_open(&recipient(1), at(0)));
        open(&mut windows, recipient(1), at(0));
        assert!(windows.has_open(&recipient(1), at(2_999)));
        assert!(!windows.has_open(&recipient(1), at(3_000)));
        assert!(!windows.has_open(&recipient(2), at(0)));
    }

    #[test]
    fn while_a_push_is_on_its_way_nothing_joins_it() {
        let mut windows = Windows::new(10);
        open(&mut windows, recipient(1), at(0));
        windows.take(recipient(1));
        windows.take(recipient(1));
        assert!(!windows.has_open(&recipient(1), at(1)));
        // Noted again meanwhile, which must not make it look open: the push that reads may be done with reading.
        open(&mut windows, recipient(1), at(1));
        assert!(!windows.has_open(&recipient(1), at(2)));
        windows.release(&recipient(1));
        assert!(!windows.has_open(&recipient(1), at(2)));
        windows.release(&recipient(1));
        assert!(!windows.has_open(&recipient(1), at(2)));
        assert!(windows.is_empty());
    }

    #[test]
    fn a_push_that_was_taken_while_it_was_stored_is_not_relied_on() {
        let mut windows = Windows::new(10);
        windows.opening(recipient(1), at(0));
        windows.take(recipient(1));
        windows.opened(&recipient(1), at(3_000));
        assert!(!windows.has_open(&recipient(1), at(1)));
        windows.release(&recipient(1));
        windows.opening(recipient(1), at(0));
        windows.failed(&recipient(1));
        assert!(windows.is_empty());
    }

    #[test]
    fn nothing_relies_on_pushes_that_were_stored_before_a_device_came() {
        let mut windows = Windows::new(10);
        open(&mut windows, recipient(1), at(0));
        open(&mut windows, recipient(2), at(0));
        windows.forget(recipient(1).0);
        assert_eq!((windows.has_open(&recipient(1), at(1)), windows.has_open(&recipient(2), at(1))), (false, true));
        // Nor on one that is being stored.
        windows.opening(recipient(1), at(1));
        windows.forget(recipient(1).0);
        windows.opened(&recipient(1), at(3_001));
        assert!(!windows.has_open(&recipient(1), at(2)));
        // One that is taken stays so until it is released.
        windows.take(recipient(1));
        windows.forget(recipient(1).0);
        open(&mut windows, recipient(1), at(2));
        assert!(!windows.has_open(&recipient(1), at(3)));
    }

    #[test]
    fn no_more_windows_are_kept_than_may_be() {
        let mut windows = Windows::new(2);
        for number in 1..=3 {
            open(&mut windows, recipient(number), at(0));
        }
        assert_eq!((windows.len(), windows.has_open(&recipient(3), at(1))), (2, false));
        // Those that ended make room.
        open(&mut windows, recipient(3), at(3_000));
        assert_eq!((windows.len(), windows.has_open(&recipient(3), at(3_001))), (1, true));
    }

    #[test]
    fn messages_of_a_group_collapse_and_those_of_a_direct_chat_when_they_are_late() {
        let now = at(1_000_000);
        let fresh = at(999_000);
        let old = at(1_000_000 - 60_001);
        assert_eq!(told(ChatKind::Group, 1, old, now), Told::Oldest);
        assert_eq!(told(ChatKind::Group, 2, fresh, now), Told::All);
        assert_eq!(told(ChatKind::Direct, 5, fresh, now), Told::Oldest);
        assert_eq!(told(ChatKind::Direct, 5, old, now), Told::All);
        assert_eq!(told(ChatKind::Direct, 1, old, now), Told::Oldest);
    }

    #[test]
    fn three_retries_come_soon_and_then_it_waits_longer_and_longer() {
        let pauses: Vec<u64> = (1..=10).map(|attempts| pause(attempts, None, 0).as_secs()).collect();
        assert_eq!(pauses, [1, 2, 4, 30, 60, 120, 240, 480, 600, 600]);
        assert_eq!(pause(u32::MAX, None, 0).as_secs(), 600);
        assert_eq!(pause(1, None, 255), Duration::from_millis(1_200));
        // What the provider asks for is honoured, within reason.
        assert_eq!(pause(1, Some(Duration::from_secs(20)), 0).as_secs(), 20);
        assert_eq!(pause(3, Some(Duration::from_secs(1)), 0).as_secs(), 4);
        assert_eq!(pause(1, Some(Duration::MAX), 0).as_secs(), 3600);
    }

    proptest::proptest! {
        /// Whatever the order of events, a window that looks open stands for a push that was stored after it was last taken.
        #[test]
        fn an_open_window_stands_for_a_push_that_was_not_taken(steps in proptest::collection::vec(0_u8..5, 0..60)) {
            let mut windows = Windows::new(4);
            let (mut stored, mut in_hand, mut opening) = (false, 0, false);
            for step in steps {
                match step {
                    0 if !opening => { windows.opening(recipient(1), at(0)); opening = true; }
                    // Stored: from here on a push waits.
                    1 if opening => { stored = true; windows.opened(&recipient(1), at(3_000)); opening = false; }
                    2 if opening => { windows.failed(&recipient(1)); opening = false; }
                    // Taken and about to be read; once done, none waits but what was noted meanwhile.
                    3 => { windows.take(recipient(1)); in_hand += 1; stored = false; }
                    4 if in_hand > 0 => { windows.release(&recipient(1)); in_hand -= 1; }
                    _ => {}
                }
                proptest::prop_assert!(!windows.has_open(&recipient(1), at(1)) || (stored && in_hand == 0));
            }
        }
    }
}
