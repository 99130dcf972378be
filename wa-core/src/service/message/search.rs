//! Search: the newest messages that match are ranked by how well they fit, in windows of bounded size; older matches of a
//! chat follow behind, ranked among each other.

use std::cmp::Reverse;
use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};

use super::MessageService;
use crate::api::{SearchHit, SearchPage, SearchRequest};
use crate::error::{Error, Missing, Result};
use crate::id::{ChatId, UserId};
use crate::message::{Message, Seq};
use crate::ports::{SearchBounds, Viewer};
use crate::search::{Score, SearchTerms, Searchable};
use crate::service::access::{admit, enter};
use crate::service::page_size;
use crate::session::Caller;

/// Windows one request goes through, at the most, should few of their messages still match.
const WINDOWS: usize = 4;

/// What orders results: better first, then newer, then whatever tells them apart.
type Rank = Reverse<(Score, i64, u128)>;

fn rank(score: Score, message: &Message) -> Rank {
    Reverse((score, message.created_at.as_millis(), message.id.as_uuid().as_u128()))
}

/// Where the next page starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Cursor {
    /// The window: matches below this place. `None` for the first.
    below: Option<Seq>,
    /// In the window, what comes behind this one. `None` for all of it.
    after: Option<Rank>,
}

impl Cursor {
    const START: Self = Self { below: None, after: None };
    const PLACE: usize = 8 + 4 + 8 + 16;
    const SEAL: usize = 8;

    /// As clients carry it: opaque, and of use for the same search by the same user only.
    fn encode(self, search: &Seal) -> String {
        let Reverse((score, created_at, id)) = self.after.unwrap_or(Reverse((Score(0), 0, 0)));
        let mut bytes = Vec::with_capacity(Self::PLACE + Self::SEAL);
        bytes.extend_from_slice(&self.below.map_or(0, Seq::get).to_be_bytes());
        bytes.extend_from_slice(&score.0.to_be_bytes());
        bytes.extend_from_slice(&created_at.to_be_bytes());
        bytes.extend_from_slice(&id.to_be_bytes());
        bytes.extend_from_slice(&search.of(&bytes));
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Reads back what [`Self::encode`] wrote; `None` for a garbled cursor, or one of another search.
    fn decode(text: &str, search: &Seal) -> Option<Self> {
        // Longer texts are not even decoded.
        if text.len() > 64 {
            return None;
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (place, seal) = bytes.split_at_checked(Self::PLACE)?;
        if seal != search.of(place) {
            return None;
        }
        let (below, rest) = place.split_first_chunk()?;
        let (score, rest) = rest.split_first_chunk()?;
        let (created_at, id) = rest.split_first_chunk()?;
        let below = i64::from_be_bytes(*below);
        let score = u32::from_be_bytes(*score);
        let after = Reverse((Score(score), i64::from_be_bytes(*created_at), u128::from_be_bytes(id.try_into().ok()?)));
        // A score is never 0.
        Some(Self { below: (below > 0).then(|| Seq::new(below)), after: (score > 0).then_some(after) })
    }
}

/// What ties a cursor to its search. No secret: it catches what was garbled or belongs elsewhere, and forging opens nothing.
struct Seal(Sha256);

impl Seal {
    fn new(user: UserId, request: &SearchRequest) -> Self {
        let chat = request.chat.map(ChatId::as_uuid).unwrap_or_default();
        let start = Sha256::new().chain_update(b"search cursor").chain_update(user.as_uuid().as_bytes()).chain_update(chat.as_bytes());
        Self(start.chain_update(Sha256::digest(request.query.as_bytes())))
    }

    fn of(&self, place: &[u8]) -> [u8; Cursor::SEAL] {
        let digest = self.0.clone().chain_update(place).finalize();
        std::array::from_fn(|index| digest[index])
    }
}

impl MessageService {
    pub(super) async fn found(&self, caller: &Caller, request: SearchRequest) -> Result<SearchPage> {
        let limits = &self.deps.limits;
        let limit = page_size(request.limit, limits.list_page_default, limits.page);
        let (viewers, per_chat) = match request.chat {
            Some(chat) => (vec![enter(&*self.deps.chats, chat, caller.user_id).await?.viewer(self.deps.env.now())], limits.search_window + 1),
            None => {
                let viewers = self.everywhere(caller.user_id).await?;
                let share = limits.search_window / viewers.len().max(1);
                (viewers, share.max(limits.search_window_per_chat))
            }
        };
        let terms = SearchTerms::parse(&request.query, limits)?;
        let seal = Seal::new(caller.user_id, &request);
        let unknown = || Error::BadRequest("The cursor is not one of this search: take next_cursor of the page before, or none for the first page".to_owned());
        let mut cursor = request.cursor.as_deref().map_or(Some(Cursor::START), |text| Cursor::decode(text, &seal)).ok_or_else(unknown)?;
        let mut hits: Vec<(Rank, Message)> = Vec::new();
        let mut next = None;
        for _ in 0..WINDOWS {
            let bounds = SearchBounds { below: cursor.below, limit: limits.search_window + 1, per_chat, catch_up: limits.search_catch_up };
            let mut window = self.deps.search.matches(&terms, &viewers, bounds).await?;
            // Further back than the first window only a single chat is searched.
            let more = request.chat.is_some() && window.len() > limits.search_window;
            window.truncate(limits.search_window);
            // What is stored from now on does not move the window between two pages.
            let top = cursor.below.or_else(|| window.first().filter(|_| request.chat.is_some()).map(|newest| newest.seq.next()));
            let older = window.last().filter(|_| more).map(|last| Cursor { below: Some(last.seq), after: None });
            let fits = |message: Message| {
                // The index may be behind an edit: what the message says now decides.
                let score = terms.score(&Searchable::of(message.content.as_ref()?))?;
                Some((rank(score, &message), message)).filter(|(rank, _)| cursor.after.is_none_or(|after| *rank > after))
            };
            let mut ranked: Vec<(Rank, Message)> = window.into_iter().filter_map(fits).collect();
            ranked.sort_unstable_by_key(|(rank, _)| *rank);
            let room = limit - hits.len();
            if ranked.len() > room {
                ranked.truncate(room);
                next = Some(Cursor { below: top, after: ranked.last().map(|(rank, _)| *rank) });
                hits.append(&mut ranked);
                break;
            }
            hits.append(&mut ranked);
            next = older;
            match older {
                Some(older) if hits.len() < limit => cursor = older,
                _ => break,
            }
        }
        self.page(caller.user_id, hits, next.map(|cursor| cursor.encode(&seal))).await
    }

    /// What the user may see of each of their chats, the most recently active first.
    async fn everywhere(&self, user: UserId) -> Result<Vec<Viewer>> {
        let now = self.deps.env.now();
        let chats = self.deps.chats.revs(user).await?.into_iter().map(|(chat, _)| chat);
        let mut viewers = Vec::new();
        for chat in self.newest_first(user, chats).await?.into_iter().take(self.deps.limits.search_chats) {
            // Left since the list was read: no longer theirs to search.
            if let Ok(access) = admit(self.deps.chats.membership(chat).await?, user, Missing::Chat) {
                viewers.push(access.viewer(now));
            }
        }
        Ok(viewers)
    }

    async fn page(&self, user: UserId, hits: Vec<(Rank, Message)>, next_cursor: Option<String>) -> Result<SearchPage> {
        let scores: HashMap<_, _> = hits.iter().map(|(Reverse((score, ..)), message)| (message.id, *score)).collect();
        let order: Vec<_> = hits.iter().map(|(_, message)| message.id).collect();
        let views = self.views_of_many(user, hits.into_iter().map(|(_, message)| message).collect()).await?;
        let mut views: HashMap<_, _> = views.into_iter().map(|view| (view.message_id, view)).collect();
        let hit = |id| {
            let message = views.remove(&id)?;
            Some(SearchHit { score: scores.get(&id)?.as_f64(), message })
        };
        Ok(SearchPage { results: order.into_iter().filter_map(hit).collect(), has_more: next_cursor.is_some(), next_cursor })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use uuid::Uuid;

    fn seal(user: u128, chat: Option<u128>, query: &str) -> Seal {
        let chat = chat.map(|chat| ChatId::from_uuid(Uuid::from_u128(chat)));
        Seal::new(UserId::from_uuid(Uuid::from_u128(user)), &SearchRequest { chat, query: query.to_owned(), cursor: None, limit: None })
    }

    fn cursor() -> impl Strategy<Value = Cursor> {
        let after = prop::option::of((1..u32::MAX, any::<i64>(), any::<u128>()).prop_map(|(score, at, id)| Reverse((Score(score), at, id))));
        (prop::option::of(1..i64::MAX), after).prop_map(|(below, after)| Cursor { below: below.map(Seq::new), after })
    }

    proptest! {
        #[test]
        fn a_cursor_reads_back_for_its_search_only(cursor in cursor()) {
            let text = cursor.encode(&seal(1, Some(2), "three"));
            prop_assert_eq!(Cursor::decode(&text, &seal(1, Some(2), "three")), Some(cursor));
            for other in [seal(2, Some(2), "three"), seal(1, Some(3), "three"), seal(1, None, "three"), seal(1, Some(2), "four")] {
                prop_assert_eq!(Cursor::decode(&text, &other), None);
            }
        }

        #[test]
        fn any_text_is_read_without_a_panic(text in ".*") {
            prop_assert_eq!(Cursor::decode(&text, &seal(1, None, "x")), None);
        }
    }
}
