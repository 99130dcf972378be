//! Groups: who may do what, how large they get, what each change tells, and what is left to those who go.

use std::sync::Arc;

use wa_core::api::{ChatApi, CreateGroup, FanOutApi, MessageApi, SyncRequest, UserApi};
use wa_core::chat::{AutoDeleteTimer, ChatView, Role};
use wa_core::event::Fact;
use wa_core::group::ProfileChange;
use wa_core::id::{ChatId, UserId};
use wa_core::limits::Limits;
use wa_core::message::{MessageKind, Seq};
use wa_core::session::Caller;
use wa_core::user::DELETED_ACCOUNT;

use super::world::{World, absent_chat, bad_fields, body, phone, refused, somebody};

fn group_of(others: impl IntoIterator<Item = UserId>) -> CreateGroup {
    CreateGroup { name: "Friends".to_owned(), description: String::new(), participant_ids: others.into_iter().collect() }
}

async fn make(world: &World, admin: &Caller, others: &[&Caller]) -> ChatId {
    world.chats.create_group(admin, group_of(others.iter().map(|other| other.user_id))).await.expect("is made").chat_id
}

/// Four people, the first three of whom are in a group.
async fn friends(world: &World) -> ([Caller; 4], ChatId) {
    let people = [world.user(1).await, world.user(2).await, world.user(3).await, world.user(4).await];
    let chat = make(world, &people[0], &[&people[1], &people[2]]).await;
    world.events().await;
    (people, chat)
}

fn members(view: &ChatView) -> Vec<(UserId, Role)> {
    view.participants.iter().map(|member| (member.user_id, member.role)).collect()
}

/// What happened, in short.
async fn told(world: &World) -> Vec<String> {
    let tell = |fact: &Fact| match fact {
        Fact::MessageNew(new) => format!("{}: {}", new.message.seq, body(&new.message)),
        Fact::ChatCreated { .. } => "created".to_owned(),
        Fact::ChatUpdated(updated) => format!("updated {}", updated.rev),
        Fact::MemberAdded(added) => format!("added {} {}", added.display_name, added.rev),
        Fact::MemberRemoved(removed) => format!("removed {} {}", removed.display_name, removed.rev),
        other => format!("{other:?}"),
    };
    world.events().await.iter().map(|event| tell(&event.fact)).collect()
}

#[tokio::test]
async fn a_group_is_made_of_the_caller_and_everybody_named_once() {
    let world = World::new().await;
    let (alice, bob) = (world.user(1).await, world.user(2).await);
    let named = [bob.user_id, alice.user_id, bob.user_id];
    let request = CreateGroup { name: " Friends ".to_owned(), description: "two\nlines ".to_owned(), participant_ids: named.to_vec() };
    let made = world.chats.create_group(&alice, request).await.expect("is made");
    assert_eq!(
        (made.name.as_str(), made.description.as_str(), made.avatar_url.as_deref(), made.participant.is_none()),
        ("Friends", "two\nlines", Some(""), true)
    );
    assert_eq!(members(&made), [(alice.user_id, Role::Admin), (bob.user_id, Role::Member)]);
    assert_eq!((made.last_seq.get(), made.rev.get(), made.unread_count), (1, 2, 0));
    assert_eq!(told(&world).await, ["1: User 1 created the group \"Friends\"", "created", "added User 2 2"]);
    let [message] = &world.history(&bob, made.chat_id).await[..] else { panic!("one message") };
    assert_eq!((message.kind, message.payload.to_value()["action"].as_str()), (MessageKind::System, Some("group_created")));
    assert_eq!(world.chats.get(&bob, made.chat_id).await.expect("is theirs").unread_count, 0);
    // The list shows a group without its members.
    let listed = world.chats.list(&bob, None, None).await.expect("is listed").chats.remove(0);
    assert_eq!((listed.name.as_str(), listed.participants.len()), ("Friends", 0));
}

#[tokio::test]
async fn a_group_needs_a_name_and_others_who_exist() {
    let world = World::new().await;
    let (alice, bob) = (world.user(1).await, world.user(2).await);
    let named = |name: &str| CreateGroup { name: name.to_owned(), ..group_of([bob.user_id]) };
    for name in ["", "  ", &"ä".repeat(101), "two\nlines", "a\0b"] {
        assert_eq!(bad_fields(world.chats.create_group(&alice, named(name)).await), ["name"], "{name:?}");
    }
    let both = CreateGroup { description: "ä".repeat(513), ..named("") };
    assert_eq!(bad_fields(world.chats.create_group(&alice, both).await), ["name", "description"]);
    for others in [vec![], vec![alice.user_id]] {
        assert_eq!(bad_fields(world.chats.create_group(&alice, group_of(others)).await), ["participant_ids"]);
    }
    let unknown = somebody(9).user_id;
    let error = world.chats.create_group(&alice, group_of([bob.user_id, unknown])).await.expect_err("is refused");
    assert_eq!(error.code(), "USER_NOT_FOUND");
    assert!(error.to_string().contains(&unknown.to_string()) && !error.to_string().contains(&bob.user_id.to_string()), "{error}");
    world.users.delete_me(&bob, &phone(2)).await.expect("is erased");
    assert_eq!(refused(world.chats.create_group(&alice, named("Friends")).await), "USER_NOT_FOUND");
    let longest = CreateGroup { name: "ä".repeat(100), description: "ä".repeat(512), ..group_of([world.user(3).await.user_id]) };
    world.chats.create_group(&alice, longest).await.expect("is made");
}

#[tokio::test]
async fn a_block_in_either_direction_refuses_adding_but_not_an_invite() {
    let world = World::new().await;
    let ([alice, _, _, dora], chat) = friends(&world).await;
    for (blocker, blocked) in [(&alice, &dora), (&dora, &alice)] {
        world.users.set_blocked(blocker, blocked.user_id, true).await.expect("is blocked");
        assert_eq!(refused(world.chats.create_group(&alice, group_of([dora.user_id])).await), "FORBIDDEN");
        assert_eq!(refused(world.chats.add_members(&alice, chat, &[dora.user_id]).await), "FORBIDDEN");
        if blocker.user_id == alice.user_id {
            world.users.set_blocked(blocker, blocked.user_id, false).await.expect("is unblocked");
        }
    }
    let code = world.chats.create_invite(&alice, chat).await.expect("is made");
    world.chats.join(&dora, &code).await.expect("comes in");
    // In a group a block changes nothing.
    world.say(&alice, chat, "hello").await;
    assert_eq!(world.bodies(&dora, chat).await[0], "hello");
}

#[tokio::test]
async fn a_group_grows_to_its_limit_and_not_past_it() {
    for limit in [256, 1024] {
        let world = World::with(Limits { group_size: limit, ..Limits::default() }).await;
        let size = u32::try_from(limit).expect("is small");
        let admin = world.user(0).await;
        let mut others = Vec::new();
        for number in 1..=size {
            others.push(world.user(number).await.user_id);
        }
        assert_eq!(refused(world.chats.create_group(&admin, group_of(others.clone())).await), "GROUP_FULL", "{limit}");
        let full = world.chats.create_group(&admin, group_of(others[..limit - 1].iter().copied())).await.expect("is made");
        assert_eq!(full.participants.len(), limit);
        assert_eq!(refused(world.chats.add_members(&admin, full.chat_id, &others[limit - 1..]).await), "GROUP_FULL");
        let code = world.chats.create_invite(&admin, full.chat_id).await.expect("is made");
        let late = somebody(size);
        assert_eq!(refused(world.chats.join(&late, &code).await), "GROUP_FULL");
        world.chats.remove_member(&admin, full.chat_id, others[0]).await.expect("is removed");
        assert_eq!(world.chats.join(&late, &code).await.expect("comes in").participants.len(), limit);
        let too_many: Vec<UserId> = (0..2000).map(|number| somebody(10_000 + number).user_id).collect();
        assert_eq!(refused(world.chats.add_members(&admin, full.chat_id, &too_many).await), "GROUP_FULL");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn parallel_adds_fill_the_group_and_no_more() {
    let world = Arc::new(World::with(Limits { group_size: 10, ..Limits::default() }).await);
    let (alice, bob) = (world.user(1).await, world.user(2).await);
    let chat = make(&world, &alice, &[&bob]).await;
    let mut adds = Vec::new();
    for number in 3..33 {
        let user = world.user(number).await.user_id;
        let world = world.clone();
        adds.push(tokio::spawn(async move { world.chats.add_members(&alice, chat, &[user]).await }));
    }
    let mut outcomes = Vec::new();
    for add in adds {
        outcomes.push(add.await.expect("ends").map_or_else(|error| error.code(), |()| "added"));
    }
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == "added").count(), 8);
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == "GROUP_FULL").count(), 22);
    let view = world.chats.get(&alice, chat).await.expect("is shown");
    // Creation, then one message and one revision of its own for each who came.
    assert_eq!((view.participants.len(), view.last_seq.get(), view.rev.get()), (10, 9, 2 + 2 * 8));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_admins_who_remove_each_other_one_stays() {
    for round in 0..10 {
        let world = Arc::new(World::new().await);
        let ([alice, bob, carol, _], chat) = friends(&world).await;
        world.chats.set_role(&alice, chat, bob.user_id, Role::Admin).await.expect("is set");
        let remove = |by: Caller, user: UserId| {
            let world = world.clone();
            tokio::spawn(async move { world.chats.remove_member(&by, chat, user).await })
        };
        let (first, second) = (remove(alice, bob.user_id), remove(bob, alice.user_id));
        let outcomes = [first.await.expect("ends"), second.await.expect("ends")];
        assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1, "round {round}: {outcomes:?}");
        let view = world.chats.get(&carol, chat).await.expect("is shown");
        assert_eq!(view.participants.iter().filter(|member| member.role == Role::Admin).count(), 1);
        assert_eq!(view.participants.len(), 2);
    }
}

#[tokio::test]
async fn members_come_and_go_and_everybody_is_told() {
    let world = World::new().await;
    let ([alice, bob, carol, dora], chat) = friends(&world).await;
    assert_eq!(bad_fields(world.chats.add_members(&alice, chat, &[]).await), ["user_ids"]);
    assert_eq!(refused(world.chats.add_members(&alice, chat, &[bob.user_id, alice.user_id]).await), "ALREADY_MEMBER");
    assert_eq!(refused(world.chats.add_members(&alice, chat, &[bob.user_id, somebody(9).user_id]).await), "USER_NOT_FOUND");
    world.chats.add_members(&alice, chat, &[bob.user_id, dora.user_id, dora.user_id]).await.expect("is added");
    assert_eq!(told(&world).await, ["2: User 1 added User 4", "added User 4 4"]);
    world.chats.remove_member(&alice, chat, carol.user_id).await.expect("is removed");
    let events = world.events().await;
    let facts: Vec<&Fact> = events.iter().map(|event| &event.fact).collect();
    assert!(matches!(facts[..], [Fact::MessageNew(_), Fact::MemberRemoved(_)]), "{facts:?}");
    // The removed one gets the second, and no more.
    assert!(!world.fan_out.recipients(&events[0], &[]).await.expect("is known").contains(&carol.user_id));
    let mut told_of_removal = world.fan_out.recipients(&events[1], &[]).await.expect("is known");
    told_of_removal.sort_unstable();
    assert_eq!(told_of_removal, [alice.user_id, bob.user_id, carol.user_id, dora.user_id]);
    // Without admins left, who came first takes over: before Dora, Bob.
    world.chats.remove_member(&alice, chat, alice.user_id).await.expect("leaves");
    assert_eq!(told(&world).await, ["4: User 1 left", "5: User 2 is now an admin", "removed User 1 9", "updated 10"]);
    let view = world.chats.get(&dora, chat).await.expect("is shown");
    assert_eq!(members(&view), [(bob.user_id, Role::Admin), (dora.user_id, Role::Member)]);
    for gone in [&alice, &carol] {
        assert_eq!(refused(world.chats.get(gone, chat).await), "NOT_CHAT_MEMBER");
        assert_eq!(refused(world.try_say(gone, chat, "late", "late").await), "NOT_CHAT_MEMBER");
        assert!(world.chats.list(gone, None, None).await.expect("is listed").chats.is_empty());
        let known = SyncRequest { chats: [(chat, view.rev)].into(), limit: None };
        let answer = world.messages.sync(gone, known).await.expect("is answered");
        assert_eq!((answer.removed_chat_ids, answer.chats.len()), (vec![chat], 0));
    }
    world.chats.remove_member(&dora, chat, dora.user_id).await.expect("leaves");
    world.chats.remove_member(&bob, chat, bob.user_id).await.expect("leaves");
    for gone in [&alice, &bob, &carol, &dora] {
        assert_eq!(refused(world.chats.get(gone, chat).await), "CHAT_NOT_FOUND", "there is no such group any more");
    }
}

#[tokio::test]
async fn who_comes_later_sees_what_came_later() {
    let world = World::new().await;
    let ([alice, bob, carol, dora], chat) = friends(&world).await;
    let early = world.say(&alice, chat, "early").await;
    world.chats.add_members(&alice, chat, &[dora.user_id]).await.expect("is added");
    world.say(&bob, chat, "later").await;
    assert_eq!(world.bodies(&dora, chat).await, ["later", "User 1 added User 4"]);
    assert_eq!(world.chats.get(&dora, chat).await.expect("is shown").unread_count, 1);
    assert_eq!(refused(world.messages.mark_read(&dora, Some(chat), Some(early.message_id), None).await), "MESSAGE_NOT_FOUND");
    assert_eq!(refused(world.messages.receipts(&dora, early.message_id).await), "MESSAGE_NOT_FOUND");
    world.chats.remove_member(&dora, chat, dora.user_id).await.expect("leaves");
    world.say(&bob, chat, "without her").await;
    world.chats.add_members(&alice, chat, &[dora.user_id]).await.expect("is added");
    assert_eq!(world.bodies(&dora, chat).await, ["User 1 added User 4"], "what was seen before is not seen again");
    let fresh = world.messages.sync(&dora, SyncRequest::default()).await.expect("is answered").chats.remove(0);
    assert_eq!((fresh.messages.len(), fresh.chat.participants.len()), (1, 4));
    assert_eq!(world.bodies(&carol, chat).await.len(), 7);
}

#[tokio::test]
async fn only_admins_change_a_group_and_only_groups_are_changed() {
    let world = World::new().await;
    let ([alice, bob, carol, dora], chat) = friends(&world).await;
    let direct = world.direct(&alice, &bob).await;
    let renamed = ProfileChange { name: Some("Family".to_owned()), ..ProfileChange::default() };
    for (caller, chat, code) in [
        (&bob, chat, "NOT_ADMIN"),
        (&dora, chat, "CHAT_NOT_FOUND"),
        (&alice, absent_chat(), "CHAT_NOT_FOUND"),
        (&bob, direct, "VALIDATION_ERROR"),
        (&dora, direct, "CHAT_NOT_FOUND"),
    ] {
        assert_eq!(refused(world.chats.update(caller, chat, renamed.clone()).await), code);
        assert_eq!(refused(world.chats.add_members(caller, chat, &[dora.user_id]).await), code);
        assert_eq!(refused(world.chats.remove_member(caller, chat, carol.user_id).await), code);
        assert_eq!(refused(world.chats.set_role(caller, chat, alice.user_id, Role::Member).await), code);
        assert_eq!(refused(world.chats.create_invite(caller, chat).await), code);
        assert_eq!(refused(world.chats.revoke_invite(caller, chat).await), code);
        if chat != direct || code != "VALIDATION_ERROR" {
            assert_eq!(refused(world.chats.set_timer(caller, chat, AutoDeleteTimer::Day).await), code);
        }
    }
    assert_eq!(refused(world.chats.remove_member(&bob, direct, bob.user_id).await), "VALIDATION_ERROR");
    assert_eq!(refused(world.chats.remove_member(&alice, chat, dora.user_id).await), "USER_NOT_FOUND");
    assert_eq!(refused(world.chats.set_role(&alice, chat, dora.user_id, Role::Admin).await), "USER_NOT_FOUND");
    assert_eq!(refused(world.chats.set_role(&alice, chat, alice.user_id, Role::Member).await), "LAST_ADMIN");
    let bad = ProfileChange {
        name: Some(" ".to_owned()),
        description: Some("ä".repeat(513)),
        avatar_url: Some("javascript:x".to_owned()),
        is_admin_only: Some(true),
    };
    assert_eq!(bad_fields(world.chats.update(&alice, chat, bad).await), ["name", "description", "avatar_url"]);
    world.events().await;
    let all =
        ProfileChange { name: Some("Family".to_owned()), description: Some("us".to_owned()), avatar_url: Some("/a.jpg".to_owned()), is_admin_only: Some(true) };
    let view = world.chats.update(&alice, chat, all.clone()).await.expect("is changed");
    assert_eq!((view.name.as_str(), view.description.as_str(), view.avatar_url.as_deref(), view.is_admin_only), ("Family", "us", Some("/a.jpg"), true));
    assert_eq!(told(&world).await.len(), 5, "a message for each, and one event");
    assert_eq!(world.chats.update(&alice, chat, all).await.expect("is so").rev, view.rev, "what is so already changes nothing");
    assert_eq!(refused(world.try_say(&bob, chat, "k", "may I?").await), "FORBIDDEN");
    world.say(&alice, chat, "you may not").await;
    world.chats.set_role(&alice, chat, bob.user_id, Role::Admin).await.expect("is set");
    world.say(&bob, chat, "now I may").await;
    world.chats.set_role(&bob, chat, alice.user_id, Role::Member).await.expect("is set");
    assert_eq!(refused(world.try_say(&alice, chat, "l", "and I?").await), "FORBIDDEN");
}

#[tokio::test]
async fn an_invite_lets_in_until_it_is_revoked() {
    let world = World::new().await;
    let ([alice, bob, _, dora], chat) = friends(&world).await;
    assert_eq!(bad_fields(world.chats.join(&dora, "").await), ["code"]);
    for code in ["x", &"x".repeat(10_000)] {
        assert_eq!(refused(world.chats.join(&dora, code).await), "NOT_FOUND");
    }
    let first = world.chats.create_invite(&alice, chat).await.expect("is made");
    let second = world.chats.create_invite(&alice, chat).await.expect("is made");
    assert_ne!(first, second);
    assert_eq!(refused(world.chats.join(&dora, &first).await), "NOT_FOUND", "a new one revokes the one before");
    let joined = world.chats.join(&dora, &second).await.expect("comes in");
    assert_eq!(told(&world).await, ["2: User 4 joined by an invite", "added User 4 4"]);
    assert_eq!(world.chats.join(&dora, &second).await.expect("is in").rev, joined.rev, "joining twice changes nothing");
    assert_eq!(world.chats.join(&bob, &second).await.expect("is in").participants.len(), 4);
    world.chats.revoke_invite(&alice, chat).await.expect("is revoked");
    world.chats.revoke_invite(&alice, chat).await.expect("is revoked");
    world.chats.remove_member(&dora, chat, dora.user_id).await.expect("leaves");
    assert_eq!(refused(world.chats.join(&dora, &second).await), "NOT_FOUND");
    assert_eq!(world.chats.get(&alice, chat).await.expect("is shown").participants.len(), 3);
}

#[tokio::test]
async fn the_timer_holds_for_what_is_sent_after_it() {
    let world = World::new().await;
    let ([alice, bob, _, _], chat) = friends(&world).await;
    let direct = world.direct(&alice, &bob).await;
    let before = world.say(&alice, chat, "stays").await;
    world.chats.set_timer(&alice, chat, AutoDeleteTimer::Day).await.expect("is set");
    world.chats.set_timer(&bob, direct, AutoDeleteTimer::Week).await.expect("anybody may in a direct chat");
    assert_eq!(world.chats.get(&alice, direct).await.expect("is shown").auto_delete_timer, AutoDeleteTimer::Week);
    let after = world.say(&alice, chat, "goes").await;
    assert_eq!((before.expires_at, after.expires_at), (None, Some(after.created_at.after(std::time::Duration::from_secs(86_400)))));
    world.env.advance(std::time::Duration::from_secs(86_401));
    assert_eq!(world.bodies(&bob, chat).await[..2], ["User 1 made new messages disappear after 24 hours", "stays"]);
    world.chats.set_timer(&alice, chat, AutoDeleteTimer::Off).await.expect("is set");
    assert_eq!(world.say(&alice, chat, "stays too").await.expires_at, None);
    world.events().await;
    world.chats.set_timer(&alice, chat, AutoDeleteTimer::Off).await.expect("is so");
    assert!(told(&world).await.is_empty());
}

#[tokio::test]
async fn an_erased_account_leaves_its_groups_in_order() {
    let world = World::new().await;
    let ([alice, bob, _, dora], chat) = friends(&world).await;
    let (alone, with_dora) = (make(&world, &alice, &[&bob]).await, make(&world, &alice, &[&dora]).await);
    world.chats.remove_member(&bob, alone, bob.user_id).await.expect("leaves");
    world.say(&alice, chat, "good bye").await;
    world.users.delete_me(&alice, &phone(1)).await.expect("is erased");
    let view = world.chats.get(&bob, chat).await.expect("is shown");
    assert_eq!(members(&view)[0], (bob.user_id, Role::Admin));
    assert_eq!(view.participants.len(), 2);
    assert!(view.participants.iter().all(|member| member.display_name != DELETED_ACCOUNT));
    assert_eq!(refused(world.chats.get(&bob, alone).await), "CHAT_NOT_FOUND", "the last one took it along");
    assert_eq!(members(&world.chats.get(&dora, with_dora).await.expect("is shown")), [(dora.user_id, Role::Admin)]);
    assert_eq!(world.bodies(&bob, chat).await[..3], ["User 2 is now an admin", "User 1 left", "good bye"]);
}

#[tokio::test]
async fn a_member_reads_exactly_the_receipts_of_those_who_could_get_it() {
    let world = World::new().await;
    let ([alice, bob, carol, dora], chat) = friends(&world).await;
    let message = world.say(&alice, chat, "hello").await;
    world.chats.add_members(&alice, chat, &[dora.user_id]).await.expect("is added");
    world.read(&bob, &message).await;
    let receipts = world.messages.receipts(&alice, message.message_id).await.expect("are shown");
    assert_eq!(receipts.iter().map(|receipt| receipt.user_id).collect::<Vec<_>>(), [bob.user_id, carol.user_id]);
    world.read(&carol, &message).await;
    let seen = world.seen(&alice, &message).await.expect("is there");
    assert_eq!((seen.status, seen.seq), (wa_core::receipt::Status::Read, Seq::new(2)));
}
