//! Sending: permission, repeats, and a membership that changes underneath.

use std::sync::{Arc, Mutex};

use serde_json::json;

use super::mocks::{MockAnnotationStore, MockChangeStore, MockChatStore, MockContactStore, MockMessageStore, MockReceiptStore, MockSearchStore, MockUserStore};
use super::{ALICE, BOB, CAROL, CHAT, caller, direct, down, env, limits, member, membership, message, settings_of, user};
use crate::api::{HistoryQuery, MessageApi, SendMessage, Sent, SyncRequest};
use crate::chat::{AutoDeleteTimer, ChatKind, Member, Membership, Role};
use crate::error::Result;
use crate::id::{ChatId, MessageId, UserId};
use crate::limits::Limits;
use crate::message::{Message, Seq};
use crate::ports::{Appended, Env, NewMessage, Reply};
use crate::receipt::{ReceiptTimes, Receipted, Status};
use crate::service::{MessageDeps, MessageService, Names};

struct Ports {
    messages: MockMessageStore,
    receipts: MockReceiptStore,
    chats: MockChatStore,
    users: MockUserStore,
    /// What was appended.
    appended: Arc<Mutex<Vec<NewMessage>>>,
}

impl Ports {
    fn in_chat(membership: Membership) -> Self {
        let mut ports = Self::empty();
        ports.chats.expect_membership().returning(move |_| Ok(Some(Arc::new(membership.clone()))));
        ports
    }

    fn empty() -> Self {
        let mut users = MockUserStore::new();
        users.expect_get().returning(|ids| Ok(ids.iter().map(|id| user(*id)).collect()));
        users.expect_privacy().returning(|ids| Ok(settings_of(ids, |_, _| {})));
        let mut receipts = MockReceiptStore::new();
        receipts.expect_marks().returning(|_| Ok(std::collections::BTreeMap::new()));
        Self { messages: MockMessageStore::new(), receipts, chats: MockChatStore::new(), users, appended: Arc::default() }
    }

    /// The store answers appends so, in turn; the last answer holds.
    fn answering(mut self, answers: &[Appended]) -> Self {
        let mut answers: Vec<Appended> = answers.iter().rev().cloned().collect();
        let appended = Arc::clone(&self.appended);
        self.messages.expect_append().returning(move |new| {
            appended.lock().expect("is whole").push(new);
            Ok(if answers.len() > 1 { answers.pop().expect("there is one") } else { answers[0].clone() })
        });
        self
    }

    fn service(self) -> MessageService {
        let users = Arc::new(self.users);
        let (env, limits) = (env(), limits());
        let mut annotations = MockAnnotationStore::new();
        annotations.expect_annotations().returning(|_, _| Ok(std::collections::BTreeMap::new()));
        MessageService::new(MessageDeps {
            attachments: super::no_attachments(),
            names: Arc::new(Names::new(users.clone(), env.clone(), &limits)),
            messages: Arc::new(self.messages),
            changes: Arc::new(MockChangeStore::new()),
            annotations: Arc::new(annotations),
            receipts: Arc::new(self.receipts),
            search: Arc::new(MockSearchStore::new()),
            chats: Arc::new(self.chats),
            users,
            contacts: Arc::new(MockContactStore::new()),
            env,
            limits,
        })
    }
}

fn text(body: &str) -> SendMessage {
    SendMessage {
        chat_id: CHAT,
        client_msg_id: "key".to_owned(),
        kind: "text".to_owned(),
        payload: json!({"body": body}),
        reply_to_message_id: None,
        origin: None,
    }
}

fn stored() -> Appended {
    Appended::Stored(message(1, ALICE))
}

fn code(result: Result<Sent>) -> &'static str {
    result.expect_err("is refused").code()
}

async fn send(ports: Ports, sender: UserId) -> (Result<Sent>, Vec<NewMessage>) {
    let appended = Arc::clone(&ports.appended);
    let result = ports.service().send(&caller(sender), text("hello")).await;
    let appended = std::mem::take(&mut *appended.lock().expect("is whole"));
    (result, appended)
}

fn with(mut membership: Membership, user: UserId, change: impl FnOnce(&mut Member)) -> Membership {
    change(membership.members.get_mut(&user).expect("is in"));
    membership
}

#[tokio::test]
async fn a_message_is_appended_on_the_membership_it_was_decided_on() {
    let membership = Membership { version: 7, auto_delete_timer: AutoDeleteTimer::Day, ..direct() };
    let (sent, appended) = send(Ports::in_chat(membership).answering(&[stored()]), ALICE).await;
    assert!(!sent.expect("is sent").duplicate);
    let [new] = &appended[..] else { panic!("one append, not {}", appended.len()) };
    assert_eq!((new.membership_version, new.sender_id, new.sender_name.as_str(), new.withheld_from), (7, ALICE, "User a", None));
    assert_eq!(new.expires_at.map(|at| at.since(new.created_at).as_secs()), Some(24 * 60 * 60));
    assert_eq!(new.created_at, env().now());
}

#[tokio::test]
async fn a_membership_that_changed_is_decided_anew() {
    let mut ports = Ports::empty().answering(&[Appended::MembershipChanged, stored()]);
    let mut versions = 1..;
    ports.chats.expect_membership().times(2).returning(move |_| {
        let version = versions.next().expect("is endless");
        // By the second look Bob has blocked Alice.
        Ok(Some(Arc::new(Membership { version, ..with(direct(), BOB, |bob| bob.has_blocked = version > 1) })))
    });
    let (sent, appended) = send(ports, ALICE).await;
    sent.expect("is sent");
    let seen: Vec<_> = appended.iter().map(|new| (new.membership_version, new.withheld_from)).collect();
    assert_eq!(seen, [(1, None), (2, Some(BOB))]);
}

#[tokio::test]
async fn a_membership_that_keeps_changing_ends_in_a_clear_error() {
    let (sent, appended) = send(Ports::in_chat(direct()).answering(&[Appended::MembershipChanged]), ALICE).await;
    assert_eq!(code(sent), "UNAVAILABLE");
    assert_eq!(appended.len(), Limits::default().send_decisions as usize);
}

#[tokio::test]
async fn the_blocker_cannot_send_and_the_blocked_do_not_notice() {
    let (sent, appended) = send(Ports::in_chat(with(direct(), ALICE, |alice| alice.has_blocked = true)).answering(&[Appended::MembershipChanged]), ALICE).await;
    assert_eq!(code(sent), "USER_BLOCKED");
    assert_eq!(appended.iter().map(|new| new.membership_version).collect::<Vec<_>>(), [Membership::NO_VERSION]);

    let (sent, appended) = send(Ports::in_chat(with(direct(), BOB, |bob| bob.has_blocked = true)).answering(&[stored()]), ALICE).await;
    sent.expect("is accepted");
    assert_eq!(appended[0].withheld_from, Some(BOB));
}

#[tokio::test]
async fn whoever_cannot_send_any_more_still_learns_that_a_message_was_accepted() {
    let left = with(direct(), ALICE, |alice| alice.left_seq = Some(Seq::new(3)));
    let blocked = with(direct(), ALICE, |alice| alice.has_blocked = true);
    for (membership, refusal) in [(left, "NOT_CHAT_MEMBER"), (blocked, "USER_BLOCKED")] {
        let (sent, _) = send(Ports::in_chat(membership.clone()).answering(&[Appended::Duplicate(message(1, ALICE))]), ALICE).await;
        let sent = sent.expect("is a repeat");
        assert!(sent.duplicate && sent.message.message_id == message(1, ALICE).id);
        for answer in [Appended::MembershipChanged, Appended::KeyConflict] {
            assert_eq!(code(send(Ports::in_chat(membership.clone()).answering(&[answer]), ALICE).await.0), refusal);
        }
    }
}

#[tokio::test]
async fn a_stranger_cannot_tell_a_chat_from_none_and_asks_no_store() {
    for membership in [None, Some(Arc::new(direct()))] {
        let mut ports = Ports::empty();
        ports.chats.expect_membership().return_once(|_| Ok(membership));
        let error = ports.service().send(&caller(CAROL), text("hello")).await.expect_err("is refused");
        assert_eq!((error.code(), error.to_string().as_str()), ("CHAT_NOT_FOUND", "Chat not found"));
    }
}

#[tokio::test]
async fn an_admin_only_group_takes_messages_of_admins_only() {
    let group = Membership { is_admin_only: true, ..membership(ChatKind::Group, [Member { role: Role::Admin, ..member(ALICE) }, member(BOB)]) };
    send(Ports::in_chat(group.clone()).answering(&[stored()]), ALICE).await.0.expect("is sent");
    assert_eq!(code(send(Ports::in_chat(group).answering(&[Appended::MembershipChanged]), BOB).await.0), "FORBIDDEN");
}

#[tokio::test]
async fn a_key_used_for_another_message_is_a_conflict() {
    assert_eq!(code(send(Ports::in_chat(direct()).answering(&[Appended::KeyConflict]), ALICE).await.0), "CONFLICT");
}

#[tokio::test]
async fn an_unknown_outcome_is_not_success() {
    let mut ports = Ports::in_chat(direct());
    ports.messages.expect_append().return_once(|_| down());
    assert_eq!(code(send(ports, ALICE).await.0), "UNAVAILABLE");
}

#[tokio::test]
async fn bad_requests_name_their_fields_and_reach_no_port() {
    let service = Ports::empty().service();
    let cases = [
        (SendMessage { client_msg_id: String::new(), ..text("x") }, vec!["client_msg_id"]),
        (SendMessage { client_msg_id: "ä".repeat(129), ..text("x") }, vec!["client_msg_id"]),
        (SendMessage { client_msg_id: "a\0".to_owned(), ..text("") }, vec!["client_msg_id", "payload.body"]),
        (SendMessage { kind: "image".to_owned(), payload: json!({}), ..text("x") }, vec!["payload.media_id"]),
        (
            SendMessage { kind: "document".to_owned(), payload: json!({"media_id": "x"}), client_msg_id: String::new(), ..text("x") },
            vec!["client_msg_id", "payload.media_id"],
        ),
        (SendMessage { kind: "encrypted".to_owned(), ..text("x") }, vec!["type"]),
        (SendMessage { kind: "system".to_owned(), ..text("x") }, vec!["type"]),
        (SendMessage { payload: json!([]), ..text("x") }, vec!["payload"]),
    ];
    for (message, fields) in cases {
        let error = service.send(&caller(ALICE), message).await.expect_err("is refused");
        assert_eq!(error.details().iter().map(|detail| detail.field.as_str()).collect::<Vec<_>>(), fields);
    }
}

/// Sends an answer to a message that the store shows so.
async fn answer_to(target: Option<Message>, answers: &[Appended]) -> (Result<Sent>, Vec<NewMessage>) {
    let mut ports = Ports::in_chat(direct()).answering(answers);
    ports
        .messages
        .expect_get()
        .withf(|viewer, _| viewer.user_id == ALICE && viewer.chat_id == CHAT)
        .returning(move |_, _| Ok(target.clone().into_iter().collect()));
    let appended = Arc::clone(&ports.appended);
    let result = ports.service().send(&caller(ALICE), SendMessage { reply_to_message_id: Some(message(1, BOB).id), ..text("yes") }).await;
    let appended = std::mem::take(&mut *appended.lock().expect("is whole"));
    (result, appended)
}

#[tokio::test]
async fn an_answer_carries_a_line_of_what_it_answers() {
    let (sent, appended) = answer_to(Some(message(1, BOB)), &[stored()]).await;
    let shown = sent.expect("is sent").message.reply_to_preview.expect("has one");
    assert_eq!((shown.sender_name.as_str(), shown.preview.as_str()), ("User b", "message 1"));
    assert_eq!(appended[0].reply_to, Some(Reply { preview: shown, at: message(1, BOB).located() }));
}

#[tokio::test]
async fn what_cannot_be_seen_cannot_be_answered_but_a_repeat_is_answered() {
    let error = answer_to(None, &[Appended::MembershipChanged]).await.0.expect_err("is refused");
    assert_eq!(error.details()[0].field, "reply_to_message_id");
    assert!(answer_to(None, &[Appended::Duplicate(message(2, ALICE))]).await.0.expect("is a repeat").duplicate);
}

#[tokio::test]
async fn a_cursor_must_be_a_message_of_the_chat_that_the_viewer_could_reach() {
    let foreign = Message { chat_id: ChatId::from_uuid(uuid::Uuid::nil()), ..message(5, BOB) };
    let withheld = Message { withheld_from: Some(ALICE), ..message(5, BOB) };
    let before_joining = message(2, BOB);
    for found in [None, Some(foreign), Some(withheld), Some(before_joining)] {
        let mut ports = Ports::in_chat(with(direct(), ALICE, |alice| alice.joined_seq = Seq::new(2)));
        ports.messages.expect_locate().return_once(move |_| Ok(found.iter().map(Message::located).collect()));
        let query = HistoryQuery { cursor: Some(message(5, BOB).id), ..HistoryQuery::default() };
        assert_eq!(ports.service().history(&caller(ALICE), CHAT, query).await.expect_err("is refused").code(), "BAD_REQUEST");
    }
}

#[tokio::test]
async fn only_messages_that_were_for_the_user_are_marked_delivered() {
    let foreign = Message { chat_id: ChatId::from_uuid(uuid::Uuid::nil()), ..message(9, BOB) };
    let withheld = Message { withheld_from: Some(ALICE), ..message(6, BOB) };
    let located = [message(7, BOB), message(5, BOB), message(4, ALICE), withheld, message(2, BOB), foreign].map(|message| message.located());
    let mut ports = Ports::empty();
    ports.chats.expect_membership().returning(|chat| Ok((chat == CHAT).then(|| Arc::new(with(direct(), ALICE, |alice| alice.joined_seq = Seq::new(2))))));
    ports.messages.expect_locate().return_once(move |_| Ok(located.to_vec()));
    let expected = Receipted::Delivered([message(5, BOB), message(7, BOB)].map(|message| message.located()).to_vec());
    ports
        .receipts
        .expect_give()
        .withf(move |receipt, _| receipt.what == expected && receipt.user_id == ALICE && receipt.announce)
        .once()
        .returning(|_, _| Ok(true));
    ports.service().mark_delivered(&caller(ALICE), &[message(1, BOB).id], None).await.expect("is marked");
}

#[tokio::test]
async fn a_withheld_message_never_got_anywhere_whatever_the_store_tells() {
    let withheld = Message { withheld_from: Some(BOB), ..message(3, ALICE) };
    let mut ports = Ports::in_chat(direct());
    let located = withheld.located();
    ports.messages.expect_locate().return_once(move |_| Ok(vec![located]));
    ports.messages.expect_get().return_once(move |_, _| Ok(vec![withheld]));
    let at = Some(env().now());
    ports.receipts.expect_times().return_once(move |_, _| Ok(vec![ReceiptTimes { user_id: BOB, delivered_at: at, read_at: at }]));
    let rows = ports.service().receipts(&caller(ALICE), message(3, ALICE).id).await.expect("are shown");
    assert_eq!(rows.iter().map(|row| (row.user_id, row.status, row.delivered_at)).collect::<Vec<_>>(), [(BOB, Status::Sent, None)]);
}

#[tokio::test]
async fn a_thousand_messages_can_be_marked_delivered_at_once_and_not_one_more() {
    let mut ports = Ports::empty();
    ports.messages.expect_locate().withf(|ids| ids.len() == 1000).once().returning(|_| Ok(vec![]));
    let service = ports.service();
    let ids = |count: u128| (0..count).map(|number| MessageId::from_uuid(uuid::Uuid::from_u128(number))).collect::<Vec<_>>();
    service.mark_delivered(&caller(ALICE), &ids(1000), None).await.expect("are passed over");
    assert_eq!(service.mark_delivered(&caller(ALICE), &ids(1001), None).await.expect_err("is refused").code(), "VALIDATION_ERROR");
}

#[tokio::test]
async fn a_sync_request_may_name_ten_thousand_chats_and_not_one_more() {
    let mut ports = Ports::empty();
    ports.chats.expect_revs().once().returning(|_| Ok(vec![]));
    let service = ports.service();
    let request = |count: u128| SyncRequest {
        chats: (0..count).map(|number| (ChatId::from_uuid(uuid::Uuid::from_u128(number)), crate::message::Rev::ZERO)).collect(),
        limit: None,
    };
    let answer = service.sync(&caller(ALICE), request(10_000)).await.expect("answers");
    assert_eq!((answer.removed_chat_ids.len(), answer.complete), (10_000, true));
    assert_eq!(service.sync(&caller(ALICE), request(10_001)).await.expect_err("is refused").code(), "VALIDATION_ERROR");
}
