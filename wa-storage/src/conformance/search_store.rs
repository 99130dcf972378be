//! The contract of `SearchStore`.

use std::time::Duration;

use wa_core::id::{ChatId, UserId};
use wa_core::limits::Limits;
use wa_core::message::{Audio, Content, Document, Location, Message, Picture, Seq, System};
use wa_core::ports::{Edit, Outcome, SearchBounds, Viewer};
use wa_core::search::SearchTerms;

use super::Subject;
use super::change_store::edit;
use super::people::{seqs, text};

const FAR: SearchBounds = SearchBounds { below: None, limit: 1000, per_chat: 1000, catch_up: 1000 };

impl Subject {
    async fn matches(&self, query: &str, viewers: &[Viewer], bounds: SearchBounds) -> Vec<Message> {
        let terms = SearchTerms::parse(query, &Limits::default()).expect("the query can be read");
        self.search.matches(&terms, viewers, bounds).await.expect("the search is answered")
    }

    /// The places of what this finds, newest first.
    async fn found(&self, query: &str, chat: ChatId, user: UserId) -> Vec<i64> {
        seqs(&self.matches(query, &[self.viewer(chat, user)], FAR).await)
    }

    async fn send_all(&self, chat: ChatId, sender: UserId, bodies: &[&str]) {
        for body in bodies {
            self.send(chat, sender, body).await;
        }
    }
}

/// Case.
pub async fn a_stored_message_is_found_at_once(s: &Subject) {
    let (a, b, chat) = s.direct().await;
    assert_eq!(s.found("station", chat, b).await, [0; 0]);
    for number in 1..=5 {
        let sent = s.send(chat, a, "at the Station").await;
        let found = s.matches("station", &[s.viewer(chat, b)], FAR).await;
        assert_eq!(found.len(), number);
        assert_eq!(found[0], sent, "as it is stored");
    }
}

/// Case.
pub async fn every_clause_must_be_met(s: &Subject) {
    let (a, b, chat) = s.direct().await;
    s.send_all(chat, a, &["the old station", "the new station", "old and new", "CRÈME brûlée"]).await;
    for (query, places) in [
        ("station ", vec![2, 1]),
        ("station old ", vec![1]),
        ("new old ", vec![3]),
        ("old new station ", vec![]),
        ("creme Brulee ", vec![4]),
        ("absent ", vec![]),
        ("old AND new ", vec![3]),
        ("old OR absent ", vec![]),
        ("NOT old ", vec![]),
    ] {
        assert_eq!(s.found(query, chat, b).await, places, "{query}");
    }
}

/// Case.
pub async fn a_phrase_is_found_in_its_order_only(s: &Subject) {
    let (a, b, chat) = s.direct().await;
    s.send_all(chat, a, &["the old station", "an old, old man at the station", "station of old"]).await;
    for (query, places) in [
        ("\"old station\"", vec![1]),
        ("\"old old man\"", vec![2]),
        ("\"station old\"", vec![]),
        ("\"the old\" station", vec![1]),
        ("\"the stat", vec![2]),
        ("\"at the\" \"an old\"", vec![2]),
    ] {
        assert_eq!(s.found(query, chat, b).await, places, "{query}");
    }
}

/// Case.
pub async fn an_open_word_finds_what_begins_with_it(s: &Subject) {
    let (a, b, chat) = s.direct().await;
    s.send_all(chat, a, &["station", "stationary", "a stat", "sta"]).await;
    for (query, places) in [
        ("s", vec![4, 3, 2, 1]),
        ("st", vec![4, 3, 2, 1]),
        ("sta", vec![4, 3, 2, 1]),
        ("stat*", vec![3, 2, 1]),
        ("station", vec![2, 1]),
        ("station ", vec![1]),
        ("stat* a ", vec![3]),
        ("stationaryx", vec![]),
    ] {
        assert_eq!(s.found(query, chat, b).await, places, "{query}");
    }
}

/// Case.
pub async fn scripts_without_spaces_are_found_within_a_run(s: &Subject) {
    let (a, b, chat) = s.direct().await;
    s.send_all(chat, a, &["私は東京大学の学生です", "我在北京大学工作", "สวัสดีครับ", "우리는 학교에서 만나요", "नमस्ते दुनिया", "до встречи у вокзала"]).await;
    for (query, places) in [
        ("東京", vec![1]),
        ("大学", vec![2, 1]),
        ("学", vec![2, 1]),
        ("京大", vec![2, 1]),
        ("\"北京大学\"", vec![2]),
        ("北大", vec![]),
        ("ดีครับ", vec![3]),
        ("학교", vec![4]),
        ("दुनिया", vec![5]),
        ("ВОКЗАЛА", vec![6]),
    ] {
        assert_eq!(s.found(query, chat, b).await, places, "{query}");
    }
}

/// Case.
pub async fn captions_and_names_of_files_and_places_are_searched(s: &Subject) {
    let (a, b, chat) = s.direct().await;
    let contents = [
        Content::Image(Picture { media_id: s.id(), caption: Some("our garden".to_owned()) }),
        Content::Video(Picture { media_id: s.id(), caption: Some("garden party".to_owned()) }),
        Content::Audio(Audio { media_id: s.id(), duration_ms: None, waveform: None }),
        Content::Document(Document { media_id: s.id(), filename: Some("garden-plan.pdf".to_owned()), caption: Some("the plan".to_owned()) }),
        Content::Location(Location { latitude: 1.0, longitude: 2.0, name: Some("Garden".to_owned()), address: Some("Plan Street".to_owned()) }),
    ];
    for content in contents {
        s.append(s.message(chat, a, content).await).await;
    }
    assert_eq!(s.found("garden ", chat, b).await, [5, 4, 2, 1]);
    assert_eq!(s.found("\"plan pdf\" ", chat, b).await, [4]);
    assert_eq!(s.found("garden street ", chat, b).await, [5], "the words may be in different texts of a message");
    assert_eq!(s.found("\"garden plan street\"", chat, b).await, [0; 0], "a phrase may not");
    assert_eq!(s.found("\"pdf the\"", chat, b).await, [0; 0]);
}

/// Case.
pub async fn system_messages_are_not_searched(s: &Subject) {
    let (a, b, chat) = s.direct().await;
    let note = Content::System(System { body: "Somebody changed the timer".to_owned(), action: "timer_changed".to_owned() });
    s.append(s.message(chat, a, note).await).await;
    s.send(chat, a, "which timer?").await;
    assert_eq!(s.found("timer", chat, b).await, [2]);
}

/// Case.
pub async fn terms_without_words_find_nothing(s: &Subject) {
    let (a, b, chat) = s.direct().await;
    s.send_all(chat, a, &["* \" ( hello", "hello"]).await;
    for query in ["*", "\"", "(", "^", ":", "-", "\"\" *", "''"] {
        assert_eq!(s.found(query, chat, b).await, [0; 0], "{query}");
    }
    for query in ["hello)", "(hello", "hel*lo hello", "words:hello", "hello^2", "NEAR(hello)", "\"hello", "{hello}", "hello\" \"", "' OR 1=1; --"] {
        s.found(query, chat, b).await;
    }
    assert_eq!(s.found("\"(hello)\" *", chat, b).await, [2, 1]);
}

/// Case.
pub async fn matches_come_newest_first_and_bounded(s: &Subject) {
    let (a, b, chat) = s.direct().await;
    s.send_many(chat, a, 10).await;
    let viewer = s.viewer(chat, b);
    let places = |messages: Vec<Message>| seqs(&messages);
    assert_eq!(places(s.matches("message", &[viewer], SearchBounds { limit: 4, ..FAR }).await), [10, 9, 8, 7]);
    assert_eq!(places(s.matches("message", &[viewer], SearchBounds { below: Some(Seq::new(7)), limit: 4, ..FAR }).await), [6, 5, 4, 3]);
    assert_eq!(places(s.matches("message", &[viewer], SearchBounds { below: Some(Seq::new(3)), limit: 4, ..FAR }).await), [2, 1]);
    assert_eq!(places(s.matches("message", &[viewer], SearchBounds { below: Some(Seq::new(1)), ..FAR }).await), [0; 0]);
    assert_eq!(places(s.matches("message", &[viewer], SearchBounds { limit: 0, ..FAR }).await), [0; 0]);
}

/// Case.
pub async fn matches_are_bounded_per_chat_in_the_order_of_the_chats(s: &Subject) {
    let a = s.user().await;
    let mut viewers = Vec::new();
    for _ in 0..20 {
        let b = s.user().await;
        let chat = s.chat_of(a, b).await.id;
        s.send_many(chat, b, 3).await;
        viewers.push(s.viewer(chat, a));
    }
    for viewers in [viewers.clone(), viewers.iter().rev().copied().collect()] {
        let found = s.matches("message", &viewers, SearchBounds { limit: 25, per_chat: 2, ..FAR }).await;
        let expected: Vec<_> = viewers.iter().flat_map(|viewer| [(viewer.chat_id, 3), (viewer.chat_id, 2)]).take(25).collect();
        assert_eq!(found.iter().map(|message| (message.chat_id, message.seq.get())).collect::<Vec<_>>(), expected);
    }
}

/// Case.
pub async fn only_the_named_chats_are_searched(s: &Subject) {
    let (a, b, chat) = s.direct().await;
    let (c, d, foreign) = s.direct().await;
    s.send(chat, a, "hello").await;
    s.send(foreign, c, "hello there").await;
    assert_eq!(s.found("hello", chat, b).await, [1]);
    assert_eq!(s.found("there", chat, b).await, [0; 0]);
    assert_eq!(s.found("there", foreign, d).await, [1]);
    assert_eq!(s.matches("hello", &[], FAR).await, []);
    assert_eq!(s.matches("hello", &[s.viewer(s.id(), a)], FAR).await, []);
}

/// Case.
pub async fn what_the_viewer_cannot_see_is_not_found(s: &Subject) {
    let (a, b, chat) = s.direct().await;
    let first = s.send(chat, a, "message one").await;
    let hidden = s.send(chat, a, "message two").await;
    let withheld = s.message(chat, a, text("message three")).await;
    s.append(wa_core::ports::NewMessage { withheld_from: Some(b), ..withheld }).await;
    let passing = s.message(chat, a, text("message four")).await;
    s.append(wa_core::ports::NewMessage { expires_at: Some(s.now().after(Duration::from_secs(60))), ..passing }).await;
    s.send(chat, a, "message five").await;
    assert_eq!(s.found("message", chat, a).await, [5, 4, 3, 2, 1]);
    assert_eq!(s.found("message", chat, b).await, [5, 4, 2, 1], "withheld");
    s.messages.hide(&s.viewer(chat, b), hidden.id, s.id(), None).await.expect("answered").expect("it was not hidden before");
    assert_eq!(s.found("message", chat, b).await, [5, 4, 1], "hidden");
    s.env.advance(Duration::from_secs(60));
    assert_eq!(s.found("message", chat, b).await, [5, 1], "expired");
    assert_eq!(s.found("message", chat, a).await, [5, 3, 2, 1], "expired");
    let joined_late = Viewer { above: first.seq, ..s.viewer(chat, b) };
    assert_eq!(seqs(&s.matches("message", &[joined_late], FAR).await), [5]);
}

/// Case.
pub async fn an_edited_message_is_found_by_its_new_words(s: &Subject) {
    let (a, b, chat) = s.direct().await;
    let sent = s.send_many(chat, a, 2).await;
    assert_eq!(s.found("message", chat, b).await, [2, 1]);
    let edited = s.edit(&sent[0], "something else").await;
    assert_eq!(s.found("message", chat, b).await, [2]);
    assert_eq!(s.matches("else", &[s.viewer(chat, b)], FAR).await, vec![edited.clone()]);
    // Also what was never looked for before its edit.
    let fresh = s.send(chat, a, "message three").await;
    s.edit(&fresh, "yet another").await;
    assert_eq!(s.found("another", chat, b).await, [3]);
    assert_eq!(s.found("message", chat, b).await, [2]);
    s.edit(&edited, "message again").await;
    assert_eq!(s.found("message", chat, b).await, [2, 1]);
}

/// Case.
pub async fn an_edit_of_its_sender_alone_is_found_by_both_words(s: &Subject) {
    let (a, b, chat) = s.direct().await;
    let sent = s.send(chat, a, "said to both").await;
    let edit = Edit { withheld_from: Some(b), ..edit("known to one") };
    assert!(matches!(s.changes.edit(s.change(&sent, a).await, edit).await.expect("answered"), Outcome::Made(_)));
    let shown = |messages: Vec<Message>| messages.into_iter().map(|message| message.content).collect::<Vec<_>>();
    assert_eq!(shown(s.matches("known", &[s.viewer(chat, a)], FAR).await), [Some(text("known to one"))]);
    assert_eq!(shown(s.matches("said", &[s.viewer(chat, b)], FAR).await), [Some(text("said to both"))]);
}

/// Case.
pub async fn a_message_deleted_for_everyone_is_not_found(s: &Subject) {
    let (a, b, chat) = s.direct().await;
    let sent = s.send_many(chat, a, 3).await;
    assert_eq!(s.found("message", chat, b).await, [3, 2, 1]);
    assert!(matches!(s.changes.delete(s.change(&sent[1], a).await).await.expect("answered"), Outcome::Made(_)));
    for user in [a, b] {
        assert_eq!(s.found("message", chat, user).await, [3, 1]);
        assert_eq!(s.found("deleted", chat, user).await, [0; 0], "what stands in its place was not said");
    }
}

/// Case.
pub async fn a_bounded_catch_up_goes_on_with_the_next_search(s: &Subject) {
    let (a, b, chat) = s.direct().await;
    s.send_many(chat, a, 10).await;
    let bounds = SearchBounds { catch_up: 4, ..FAR };
    let mut found = Vec::new();
    for _ in 0..10 {
        let more = seqs(&s.matches("message", &[s.viewer(chat, b)], bounds).await);
        assert!(found.iter().all(|place| more.contains(place)), "nothing is lost: {found:?} became {more:?}");
        found = more;
    }
    assert_eq!(found, (1..=10).rev().collect::<Vec<_>>());
}
