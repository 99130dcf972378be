//! What the view knows of one chat: how far it was told, and what came too early to be told.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use wa_core::id::{ChatId, UserId};
use wa_core::message::{MessageView, Rev, Seq};

/// Messages of one chat told before the changes below them are known.
const MAX_AHEAD: usize = 256;

/// How far a chat has been told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// Every change up to here.
    pub rev: Rev,
    /// Every message up to here; `None`: what the user's devices have received so far, to be asked.
    pub seq: Option<Seq>,
    /// Whether there are messages above `seq` that no sync from `rev` would tell.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub behind: bool,
}

/// How far everything has been told; a connection can resume from it, also in another process.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct State {
    /// By chat.
    pub chats: BTreeMap<ChatId, Position>,
}

/// What is known of one chat.
#[derive(Debug, Default)]
pub(super) struct Track {
    /// Every change up to here was told.
    pub(super) rev: Rev,
    /// Every message up to here was told.
    pub(super) seq: Seq,
    /// `seq` is not known yet: it becomes the user's own delivered mark.
    pub(super) undecided: bool,
    /// Messages above `seq` must be fetched one by one, whatever `rev` says.
    pub(super) behind: bool,
    /// The greatest place and revision known to exist.
    pub(super) seen: (Seq, Rev),
    /// Messages that came before an older one.
    pub(super) held: BTreeMap<Seq, Box<MessageView>>,
    /// Messages told as of a revision above `rev`.
    pub(super) ahead: BTreeMap<Seq, Rev>,
    /// Messages above this place were told as of this revision.
    pub(super) walked: Option<(Seq, Rev)>,
    /// Messages are being fetched.
    pub(super) walk: Option<Walk>,
    /// The newest message of this user.
    pub(super) own: Seq,
    /// What others have received and read, up to where it is known.
    pub(super) marks: BTreeMap<UserId, (Seq, Seq)>,
}

/// The fetching of messages one by one: from there, and as of what was known to exist at its start.
#[derive(Debug, Clone, Copy)]
pub(super) struct Walk {
    pub(super) from: Seq,
    pub(super) target: (Seq, Rev),
}

impl Track {
    pub(super) fn at(position: Position) -> Self {
        let Position { rev, seq, behind } = position;
        Self { rev, seq: seq.unwrap_or_default(), undecided: seq.is_none(), behind, seen: (seq.unwrap_or_default(), rev), ..Self::default() }
    }

    pub(super) fn position(&self) -> Position {
        Position { rev: self.rev, seq: (!self.undecided).then_some(self.seq), behind: self.behind }
    }

    pub(super) fn see(&mut self, seq: Seq, rev: Rev) {
        self.seen = (self.seen.0.max(seq), self.seen.1.max(rev));
    }

    pub(super) fn has_hole(&self) -> bool {
        !self.undecided && (self.behind || self.seen.0 > self.seq)
    }

    /// Whether messages may be told as they come. Otherwise `rev` may stand above changes of theirs, and fetching tells them.
    pub(super) const fn takes_live(&self) -> bool {
        !self.undecided && !self.behind && self.walk.is_none()
    }

    /// Whether the present state of this message was told already.
    pub(super) fn was_told(&self, message: &MessageView) -> bool {
        self.was_told_at(message.seq, message.rev)
    }

    /// Whether the change of the message at this place that took this revision was told already.
    pub(super) fn was_told_at(&self, seq: Seq, rev: Rev) -> bool {
        rev <= self.rev || self.ahead.get(&seq).is_some_and(|ahead| rev <= *ahead) || self.walked.is_some_and(|(from, walked)| seq > from && rev <= walked)
    }

    /// The change that took this revision was told. Returns whether changes below it are missing.
    pub(super) fn advance(&mut self, seq: Seq, rev: Rev) -> bool {
        if rev <= self.rev {
            return false;
        }
        if rev > self.rev.next() {
            if self.ahead.len() < MAX_AHEAD {
                self.ahead.insert(seq, rev);
            }
            return true;
        }
        self.rev = rev;
        while self.ahead.values().any(|ahead| *ahead == self.rev.next()) {
            self.rev = self.rev.next();
        }
        self.forget_below_rev();
        false
    }

    pub(super) fn forget_below_rev(&mut self) {
        self.ahead.retain(|_, rev| *rev > self.rev);
        self.walked = self.walked.filter(|(_, rev)| *rev > self.rev);
    }

    /// Whether somebody may have read this user's messages without a change of `rev` telling so.
    pub(super) fn awaits_receipts(&self) -> bool {
        self.own > Seq::ZERO && (self.marks.is_empty() || self.marks.values().any(|(_, read)| *read < self.own))
    }
}
