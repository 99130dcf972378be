//! Unit tests of the use cases with mocked ports: which calls are made, in which order, and what follows from each answer.
//! Behaviour over a real store is tested in `wa-core/tests`.

mod attachments;
mod auth;
mod fan_out;
mod message;
mod mocks;
mod presence;
mod user;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use uuid::Uuid;

use crate::chat::{AutoDeleteTimer, ChatKind, Member, Membership, Role};
use crate::error::StoreError;
use crate::id::{ChatId, DeviceId, MessageId, UserId};
use crate::limits::Limits;
use crate::message::{Content, Message, Rev, Seq, Text};
use crate::ports::{Env, Stored};
use crate::privacy::{PrivacySettings, Relation};
use crate::service::{AttachmentDeps, Attachments};
use crate::session::Caller;
use crate::testing::SimEnv;
use crate::time::Timestamp;
use crate::user::{DEFAULT_STATUS_TEXT, User};

const ALICE: UserId = UserId::from_uuid(Uuid::from_u128(0xa));
const BOB: UserId = UserId::from_uuid(Uuid::from_u128(0xb));
const CAROL: UserId = UserId::from_uuid(Uuid::from_u128(0xc));
const CHAT: ChatId = ChatId::from_uuid(Uuid::from_u128(0xcc));

fn env() -> Arc<SimEnv> {
    Arc::new(SimEnv::new(1))
}

fn limits() -> Arc<Limits> {
    Arc::new(Limits::default())
}

fn caller(user_id: UserId) -> Caller {
    Caller { user_id, device_id: DeviceId::from_uuid(Uuid::from_u128(0xd)) }
}

/// Files of which none is asked for.
fn no_attachments() -> Arc<Attachments> {
    attachments(mocks::MockMediaStore::new(), mocks::MockBlobStore::new(), env(), Limits::default())
}

fn attachments(media: mocks::MockMediaStore, blobs: mocks::MockBlobStore, env: Arc<SimEnv>, limits: Limits) -> Arc<Attachments> {
    let deps = AttachmentDeps {
        media: Arc::new(media),
        uses: Arc::new(mocks::MockMediaUses::new()),
        blobs: Arc::new(blobs),
        links: Arc::default(),
        env,
        limits: Arc::new(limits),
    };
    Arc::new(Attachments::new(deps))
}

fn down<T>() -> Stored<T> {
    Err(StoreError::unavailable("mock", "is down"))
}

fn user(id: UserId) -> User {
    let at = SimEnv::new(1).now();
    User {
        id,
        phone: None,
        display_name: format!("User {:x}", id.as_uuid().as_u128()),
        avatar_url: "/picture".to_owned(),
        status_text: DEFAULT_STATUS_TEXT.to_owned(),
        last_seen: None,
        created_at: at,
        updated_at: at,
        is_deleted: false,
    }
}

fn member(user_id: UserId) -> Member {
    Member { user_id, role: Role::Member, joined_seq: Seq::ZERO, joined_at: Timestamp::default(), left_seq: None, has_blocked: false }
}

fn membership(kind: ChatKind, members: impl IntoIterator<Item = Member>) -> Membership {
    Membership {
        chat_id: CHAT,
        kind,
        version: 1,
        is_admin_only: false,
        auto_delete_timer: AutoDeleteTimer::Off,
        members: members.into_iter().map(|member| (member.user_id, member)).collect(),
    }
}

/// The direct chat of Alice and Bob.
fn direct() -> Membership {
    membership(ChatKind::Direct, [member(ALICE), member(BOB)])
}

fn message(number: u32, sender_id: UserId) -> Message {
    let at = SimEnv::new(1).now();
    Message {
        id: MessageId::from_uuid(Uuid::from_u128(u128::from(number))),
        chat_id: CHAT,
        sender_id,
        client_msg_id: format!("key-{number}"),
        seq: Seq::new(i64::from(number)),
        rev: Rev::new(i64::from(number)),
        content: Some(Content::Text(Text { body: format!("message {number}"), mentions: vec![] })),
        kind: crate::message::MessageKind::Text,
        reply_to: None,
        forwarded_from: None,
        withheld_from: None,
        edited_at: None,
        expires_at: None,
        created_at: at,
        updated_at: at,
    }
}

fn settings_of(users: &[UserId], change: impl Fn(UserId, &mut PrivacySettings)) -> BTreeMap<UserId, PrivacySettings> {
    users
        .iter()
        .map(|user| {
            let mut settings = PrivacySettings::default();
            change(*user, &mut settings);
            (*user, settings)
        })
        .collect()
}

fn strangers(pairs: &[(UserId, UserId)]) -> HashMap<(UserId, UserId), Relation> {
    pairs.iter().map(|pair| (*pair, Relation::default())).collect()
}

#[test]
fn a_page_size_is_held_within_its_bounds() {
    let cases = [(None, 20), (Some(1), 1), (Some(100), 100), (Some(0), 1), (Some(-5), 1), (Some(101), 100), (Some(i64::MAX), 100), (Some(i64::MIN), 1)];
    for (asked, expected) in cases {
        assert_eq!(super::page_size(asked, 20, 100), expected, "{asked:?}");
    }
}
