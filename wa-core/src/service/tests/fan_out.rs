//! Who gets which event.

use std::sync::Arc;

use super::mocks::{MockChatStore, MockContactStore, MockMessageStore, MockUserStore};
use super::{ALICE, BOB, CAROL, CHAT, direct, down, env, member, membership, message, settings_of, strangers};
use crate::api::{FanOutApi, Share};
use crate::chat::{ChatKind, Member, Membership};
use crate::event::{
    ChatChanges, ChatUpdated, Event, Fact, MemberChanged, MessageDeleted, MessageEdited, MessageNew, MessageReaction, MessageStarred, MessageStatus,
};
use crate::id::{ChatId, DeviceId, EventId, MessageId, UserId};
use crate::message::{Message, MessageView, Reaction, Rev, Seq, Source};
use crate::ports::Env;
use crate::privacy::ShownTo;
use crate::receipt::Status;
use crate::service::{FanOutDeps, FanOutService};

fn event(fact: Fact) -> Event {
    Event { id: EventId::from_uuid(uuid::Uuid::nil()), at: env().now(), fact, cause: None }
}

/// A service that knows this one chat; everybody in `silent` gives no read receipts.
fn service(membership: Option<Membership>, silent: &'static [UserId]) -> FanOutService {
    let mut chats = MockChatStore::new();
    chats.expect_membership().returning(move |_| Ok(membership.clone().map(Arc::new)));
    let mut users = MockUserStore::new();
    users.expect_privacy().returning(move |ids| Ok(settings_of(ids, |user, settings| settings.read_receipts = !silent.contains(&user))));
    FanOutService::new(FanOutDeps {
        attachments: super::no_attachments(),
        chats: Arc::new(chats),
        messages: Arc::new(MockMessageStore::new()),
        users: Arc::new(users),
        contacts: Arc::new(MockContactStore::new()),
    })
}

async fn recipients(membership: Membership, fact: Fact) -> Vec<UserId> {
    service(Some(membership), &[]).recipients(&event(fact), &[]).await.expect("resolves")
}

fn new_message(withheld_from: Option<UserId>) -> Fact {
    let message = MessageView::of(&message(3, ALICE), Status::Sent, None);
    Fact::MessageNew(MessageNew {
        message: Arc::new(message),
        answered: None,
        withheld_from,
        chat_kind: ChatKind::Direct,
        sender_name: String::new(),
        origin: None,
    })
}

fn read_by(user_id: UserId, sender_ids: &[UserId]) -> Fact {
    Fact::MessageStatus(MessageStatus {
        chat_id: CHAT,
        message_id: MessageId::from_uuid(uuid::Uuid::from_u128(3)),
        seq: Seq::new(3),
        from_seq: None,
        user_id,
        status: Status::Read,
        sender_ids: sender_ids.to_vec(),
        origin: None,
    })
}

fn left(user_id: UserId) -> Member {
    Member { left_seq: Some(Seq::new(2)), ..member(user_id) }
}

fn blocking(blocker: UserId) -> Membership {
    let mut membership = direct();
    membership.members.get_mut(&blocker).expect("is in").has_blocked = true;
    membership
}

#[tokio::test]
async fn a_new_message_goes_to_everybody_who_may_see_it() {
    assert_eq!(recipients(direct(), new_message(None)).await, [ALICE, BOB]);
    assert_eq!(recipients(direct(), new_message(Some(BOB))).await, [ALICE]);
    let late = Member { joined_seq: Seq::new(3), ..member(CAROL) };
    assert_eq!(recipients(membership(ChatKind::Group, [member(ALICE), left(BOB), late]), new_message(None)).await, [ALICE]);
    let in_time = Member { joined_seq: Seq::new(2), ..member(CAROL) };
    assert_eq!(recipients(membership(ChatKind::Group, [member(ALICE), in_time]), new_message(None)).await, [ALICE, CAROL]);
}

#[tokio::test]
async fn events_of_a_chat_that_is_gone_are_for_nobody() {
    for fact in [new_message(None), read_by(BOB, &[ALICE])] {
        assert_eq!(service(None, &[]).recipients(&event(fact), &[]).await.expect("resolves"), []);
    }
}

#[tokio::test]
async fn a_read_reaches_the_senders_and_the_reader() {
    assert_eq!(recipients(direct(), read_by(BOB, &[ALICE])).await, [ALICE, BOB]);
    assert_eq!(recipients(membership(ChatKind::Group, [left(ALICE), member(BOB)]), read_by(BOB, &[ALICE])).await, [BOB]);
}

#[tokio::test]
async fn reads_are_kept_from_those_who_may_not_know_of_them() {
    // Neither does somebody without receipts see others', nor do others see theirs; their own devices know.
    for silent in [&[ALICE], &[BOB]] {
        let told = service(Some(direct()), silent).recipients(&event(read_by(BOB, &[ALICE])), &[]).await.expect("resolves");
        assert_eq!(told, [BOB], "{silent:?}");
    }
}

#[tokio::test]
async fn a_delivery_reaches_the_senders_alone() {
    let Fact::MessageStatus(status) = read_by(BOB, &[ALICE]) else { unreachable!() };
    let delivered = Fact::MessageStatus(MessageStatus { status: Status::Delivered, ..status });
    let told = service(Some(direct()), &[ALICE, BOB]).recipients(&event(delivered), &[]).await.expect("resolves");
    assert_eq!(told, [ALICE]);
}

#[tokio::test]
async fn a_message_deleted_for_oneself_concerns_nobody_else() {
    let deleted = |for_everyone| {
        Fact::MessageDeleted(MessageDeleted {
            message_id: MessageId::from_uuid(uuid::Uuid::from_u128(3)),
            chat_id: CHAT,
            seq: Seq::new(3),
            rev: Rev::new(4),
            deleted_by: BOB,
            for_everyone,
            withheld_from: None,
            origin: None,
        })
    };
    assert_eq!(recipients(direct(), deleted(false)).await, [BOB]);
    assert_eq!(recipients(direct(), deleted(true)).await, [ALICE, BOB]);
}

#[tokio::test]
async fn typing_is_told_to_the_others_unless_one_has_blocked_the_other() {
    let typing = Fact::Typing { chat_id: CHAT, user_id: ALICE, is_typing: true };
    assert_eq!(recipients(direct(), typing.clone()).await, [BOB]);
    for blocker in [ALICE, BOB] {
        assert_eq!(recipients(blocking(blocker), typing.clone()).await, []);
    }
}

#[tokio::test]
async fn a_new_chat_is_not_announced_to_whoever_has_blocked_its_maker() {
    let created = Fact::ChatCreated { chat_id: CHAT, created_by: ALICE, group: None };
    assert_eq!(recipients(direct(), created.clone()).await, [ALICE, BOB]);
    assert_eq!(recipients(blocking(BOB), created.clone()).await, [ALICE]);
    assert_eq!(recipients(blocking(ALICE), created).await, [ALICE, BOB]);
}

/// A group of Alice and Bob, who came later; Carol has left it.
fn group() -> Membership {
    let late = Member { joined_seq: Seq::new(5), ..member(BOB) };
    let gone = Member { left_seq: Some(Seq::new(7)), ..member(CAROL) };
    membership(ChatKind::Group, [member(ALICE), late, gone])
}

#[tokio::test]
async fn a_new_group_is_announced_to_those_who_were_in_it_from_the_beginning() {
    let created = Fact::ChatCreated { chat_id: CHAT, created_by: ALICE, group: None };
    assert_eq!(recipients(group(), created).await, [ALICE]);
}

#[tokio::test]
async fn who_is_removed_is_told_so_though_they_are_out_and_nobody_twice() {
    let removed = |user_id| {
        let display_name = "Somebody".to_owned();
        Fact::MemberRemoved(MemberChanged { chat_id: CHAT, user_id, display_name, by: ALICE, group_name: "Friends".to_owned(), rev: Rev::new(9) })
    };
    assert_eq!(recipients(group(), removed(CAROL)).await, [ALICE, BOB, CAROL]);
    assert_eq!(recipients(group(), removed(BOB)).await, [ALICE, BOB], "who has come back meanwhile gets it once");
    // Of a group that ended with them, only they are told.
    assert_eq!(service(None, &[]).recipients(&event(removed(CAROL)), &[]).await.expect("resolves"), [CAROL]);
}

#[tokio::test]
async fn what_changes_in_a_group_is_told_to_who_is_in_it() {
    let updated = ChatUpdated { chat_id: CHAT, chat_kind: ChatKind::Group, changes: ChatChanges::default(), updated_by: CAROL, rev: Rev::new(9) };
    assert_eq!(recipients(group(), Fact::ChatUpdated(updated)).await, [ALICE, BOB]);
}

#[tokio::test]
async fn presence_goes_to_those_watchers_who_may_see_it() {
    let presence = event(Fact::Presence { user_id: ALICE, online: true, last_seen: None });
    for (shown_to, expected) in [(ShownTo::Everyone, vec![ALICE, BOB, CAROL]), (ShownTo::Contacts, vec![ALICE, BOB]), (ShownTo::Nobody, vec![ALICE])] {
        let mut users = MockUserStore::new();
        users.expect_privacy().returning(move |ids| Ok(settings_of(ids, |_, settings| settings.last_seen = shown_to)));
        let mut contacts = MockContactStore::new();
        contacts.expect_relations().returning(|pairs| {
            let mut relations = strangers(pairs);
            relations.get_mut(&(BOB, ALICE)).expect("is asked for").viewer_is_contact = true;
            Ok(relations)
        });
        let service = FanOutService::new(FanOutDeps {
            attachments: super::no_attachments(),
            chats: Arc::new(MockChatStore::new()),
            messages: Arc::new(MockMessageStore::new()),
            users: Arc::new(users),
            contacts: Arc::new(contacts),
        });
        assert_eq!(service.recipients(&presence, &[CAROL, BOB, ALICE, BOB]).await.expect("resolves"), expected);
        assert_eq!(service.recipients(&presence, &[]).await.expect("resolves"), []);
    }
}

#[tokio::test]
async fn presence_of_somebody_whose_settings_are_not_known_goes_to_nobody() {
    let mut users = MockUserStore::new();
    users.expect_privacy().returning(|_| Ok(std::collections::BTreeMap::new()));
    let mut contacts = MockContactStore::new();
    contacts.expect_relations().returning(|pairs| Ok(strangers(pairs)));
    let service = FanOutService::new(FanOutDeps {
        attachments: super::no_attachments(),
        chats: Arc::new(MockChatStore::new()),
        messages: Arc::new(MockMessageStore::new()),
        users: Arc::new(users),
        contacts: Arc::new(contacts),
    });
    let presence = event(Fact::Presence { user_id: ALICE, online: true, last_seen: None });
    assert_eq!(service.recipients(&presence, &[BOB]).await.expect("resolves"), []);
}

#[tokio::test]
async fn ended_sessions_concern_devices_and_no_users() {
    let revoked = Fact::SessionsRevoked { user_id: ALICE, devices: vec![DeviceId::from_uuid(uuid::Uuid::nil())] };
    assert_eq!(service(None, &[]).recipients(&event(revoked), &[]).await.expect("resolves"), []);
}

#[tokio::test]
async fn what_cannot_be_looked_up_is_not_sent() {
    let mut chats = MockChatStore::new();
    chats.expect_membership().returning(|_| down());
    let service = FanOutService::new(FanOutDeps {
        attachments: super::no_attachments(),
        chats: Arc::new(chats),
        messages: Arc::new(MockMessageStore::new()),
        users: Arc::new(MockUserStore::new()),
        contacts: Arc::new(MockContactStore::new()),
    });
    assert_eq!(service.recipients(&event(new_message(None)), &[]).await.expect_err("is refused").code(), "UNAVAILABLE");
}

/// The shares of an event by what differs in them: for whom the source, the answered line, a star and how many reactions.
async fn shares(service: &FanOutService, fact: Fact, users: &[UserId]) -> Vec<(Vec<UserId>, bool, bool, bool, usize)> {
    let shares = service.shares(&event(fact), users).await.expect("resolves");
    let told = |share: Share| {
        let message = share.message;
        (share.users, message.forwarded_from.is_some(), message.reply_to_preview.is_some(), message.is_starred, message.reactions.len())
    };
    shares.into_iter().map(told).collect()
}

#[tokio::test]
async fn a_plain_message_is_one_object_for_everybody() {
    assert_eq!(shares(&service(None, &[]), new_message(None), &[ALICE, BOB]).await, [(vec![ALICE, BOB], false, false, false, 0)]);
}

#[tokio::test]
async fn an_answered_line_is_for_those_who_can_see_what_is_answered() {
    let withheld = Message { withheld_from: Some(BOB), ..message(1, ALICE) };
    let line = Some(withheld.reply_preview("Alice".to_owned()));
    let answer = |at: &Message| {
        let view = MessageView::of(&message(3, ALICE), Status::Sent, line.clone());
        let Fact::MessageNew(new) = new_message(None) else { unreachable!() };
        Fact::MessageNew(MessageNew { message: Arc::new(view), answered: Some(at.located()), ..new })
    };
    let told = shares(&service(Some(direct()), &[]), answer(&withheld), &[ALICE, BOB]).await;
    assert_eq!(told, [(vec![BOB], false, false, false, 0), (vec![ALICE], false, true, false, 0)]);
    let late = Member { joined_seq: Seq::new(2), ..member(CAROL) };
    let group = membership(ChatKind::Group, [member(ALICE), member(BOB), late]);
    let told = shares(&service(Some(group), &[]), answer(&message(1, BOB)), &[ALICE, BOB, CAROL]).await;
    assert_eq!(told, [(vec![CAROL], false, false, false, 0), (vec![ALICE, BOB], false, true, false, 0)]);
}

#[tokio::test]
async fn a_source_is_named_to_those_who_may_read_it() {
    let elsewhere = ChatId::from_uuid(uuid::Uuid::from_u128(0xee));
    let source = Message { chat_id: elsewhere, ..message(9, CAROL) };
    let mut chats = MockChatStore::new();
    chats.expect_membership().returning(move |chat| {
        let members = if chat == elsewhere { vec![member(ALICE), left(BOB), member(CAROL)] } else { vec![member(ALICE), member(BOB)] };
        Ok(Some(Arc::new(Membership { chat_id: chat, ..membership(ChatKind::Group, members) })))
    });
    let mut messages = MockMessageStore::new();
    let located = source.located();
    messages.expect_locate().returning(move |_| Ok(vec![located]));
    let service = FanOutService::new(FanOutDeps {
        attachments: super::no_attachments(),
        chats: Arc::new(chats),
        messages: Arc::new(messages),
        users: Arc::new(MockUserStore::new()),
        contacts: Arc::new(MockContactStore::new()),
    });
    let forwarded = Message { forwarded_from: Some(Source { chat_id: elsewhere, message_id: source.id }), ..message(3, ALICE) };
    let Fact::MessageNew(new) = new_message(None) else { unreachable!() };
    let fact = Fact::MessageNew(MessageNew { message: Arc::new(MessageView::of(&forwarded, Status::Sent, None)), ..new });
    assert_eq!(shares(&service, fact, &[ALICE, BOB]).await, [(vec![BOB], false, false, false, 0), (vec![ALICE], true, false, false, 0)]);
}

#[tokio::test]
async fn an_edit_keeps_ones_own_star_and_the_reactions_one_may_see() {
    let reactions = [ALICE, BOB].map(|user_id| Reaction { emoji: "👍".to_owned(), user_id, timestamp: env().now() }).to_vec();
    let view = MessageView { reactions, ..MessageView::of(&message(3, ALICE), Status::Sent, None) };
    let edited = MessageEdited {
        message: Arc::new(view),
        answered: None,
        withheld_from: None,
        withheld_reactions: vec![(BOB, ALICE)],
        starred_by: vec![BOB],
        hidden_by: Vec::new(),
        origin: None,
    };
    assert_eq!(recipients(direct(), Fact::MessageEdited(edited.clone())).await, [ALICE, BOB]);
    let hidden = MessageEdited { hidden_by: vec![BOB], ..edited.clone() };
    assert_eq!(recipients(direct(), Fact::MessageEdited(hidden)).await, [ALICE]);
    let told = shares(&service(Some(direct()), &[]), Fact::MessageEdited(edited), &[ALICE, BOB]).await;
    assert_eq!(told, [(vec![ALICE], false, false, false, 1), (vec![BOB], false, false, true, 2)]);
}

#[tokio::test]
async fn what_becomes_of_a_message_is_for_those_who_may_see_it() {
    let late = Member { joined_seq: Seq::new(3), ..member(CAROL) };
    let group = || membership(ChatKind::Group, [member(ALICE), left(BOB), late.clone()]);
    let (message_id, seq, rev) = (MessageId::from_uuid(uuid::Uuid::from_u128(3)), Seq::new(3), Rev::new(4));
    let reaction = |withheld_from| {
        Fact::MessageReaction(MessageReaction { message_id, chat_id: CHAT, seq, rev, user_id: ALICE, emoji: None, withheld_from, origin: None })
    };
    assert_eq!(recipients(group(), reaction(None)).await, [ALICE]);
    assert_eq!(recipients(direct(), reaction(Some(BOB))).await, [ALICE]);
    let starred = Fact::MessageStarred(MessageStarred { message_id, chat_id: CHAT, seq, rev, user_id: BOB, is_starred: true });
    assert_eq!(recipients(direct(), starred.clone()).await, [BOB]);
    assert_eq!(recipients(group(), starred).await, []);
    let deleted = MessageDeleted { message_id, chat_id: CHAT, seq, rev, deleted_by: ALICE, for_everyone: true, withheld_from: None, origin: None };
    assert_eq!(recipients(group(), Fact::MessageDeleted(deleted.clone())).await, [ALICE]);
    assert_eq!(recipients(direct(), Fact::MessageDeleted(MessageDeleted { withheld_from: Some(BOB), ..deleted })).await, [ALICE]);
}
