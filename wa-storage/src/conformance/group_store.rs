//! The contract of `GroupStore`.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use wa_core::chat::{AutoDeleteTimer, ChatKind, ChatView, Membership, Role};
use wa_core::error::{Conflict, Error};
use wa_core::event::{ChatChanges, Fact};
use wa_core::group::{Change, ChatState, GroupProfile, InviteHash, ProfileChange, Step, note};
use wa_core::id::{ChatId, UserId};
use wa_core::message::{MessageKind, Rev, Seq};
use wa_core::ports::{Applied, Command, Erased, FirstMember, ListedChat, NewGroup, Page, Viewer};

use super::Subject;
use super::people::{seqs, text};

impl Subject {
    /// A group to be made by the first of these.
    fn new_group(&self, admin: UserId, others: &[UserId]) -> NewGroup {
        let (chat_id, at) = (self.id(), self.now());
        let view = ChatView {
            chat_id,
            kind: ChatKind::Group,
            name: "Friends".to_owned(),
            description: "us".to_owned(),
            avatar_url: Some(String::new()),
            participant: None,
            participants: vec![],
            last_message: None,
            unread_count: 0,
            is_muted: false,
            mute_until: None,
            is_pinned: false,
            is_admin_only: false,
            auto_delete_timer: AutoDeleteTimer::Off,
            last_seq: Seq::new(1),
            rev: NewGroup::REV,
            created_at: at,
            updated_at: at,
        };
        let member = |user_id: UserId, role| FirstMember { user_id, role, name: format!("Name of {user_id}") };
        NewGroup {
            view: Arc::new(view),
            members: std::iter::once(member(admin, Role::Admin)).chain(others.iter().map(|user| member(*user, Role::Member))).collect(),
            created_by: admin,
            note_id: self.id(),
            note: note("group_created", "made".to_owned()),
        }
    }

    /// A group of these, whose admin is the first.
    pub(super) async fn group(&self, admin: UserId, others: &[UserId]) -> ChatId {
        let group = self.new_group(admin, others);
        let chat = group.view.chat_id;
        done(&self.groups.create(group).await.expect("answered"));
        chat
    }

    fn command(&self, chat_id: ChatId, by: UserId, decide: impl Fn(&ChatState) -> wa_core::Result<Change> + Send + Sync + 'static) -> Command {
        Command { chat_id, by, by_name: "Somebody".to_owned(), at: self.now(), invite: None, decide: Arc::new(decide) }
    }

    /// Takes these steps, with as many messages.
    async fn take(&self, chat: ChatId, by: UserId, notes: usize, steps: Vec<Step>) -> Applied {
        let notes = (0..notes).map(|number| note("told", format!("note {number}"))).collect();
        let change = Change { notes, steps, withheld_from: None };
        self.groups.change(self.command(chat, by, move |_| Ok(change.clone()))).await.expect("answered")
    }

    async fn join(&self, chat: ChatId, by: UserId, user: UserId) {
        done(&self.take(chat, by, 1, vec![join(user)]).await);
    }

    pub(super) async fn set_picture(&self, chat: ChatId, by: UserId, avatar_url: String) {
        let change = ProfileChange { avatar_url: Some(avatar_url), ..ProfileChange::default() };
        done(&self.take(chat, by, 0, vec![Step::Profile(change)]).await);
    }

    pub(super) async fn leave(&self, chat: ChatId, user: UserId) {
        done(&self.take(chat, user, 1, vec![leave(user)]).await);
    }

    async fn listed(&self, user: UserId, chat: ChatId) -> Option<ListedChat> {
        self.chats.get(user, &[chat]).await.expect("read").into_iter().next()
    }

    /// The places that a member sees, by the membership as it is.
    async fn seen_by(&self, chat: ChatId, user: UserId) -> Vec<i64> {
        let above = self.membership(chat).await.members[&user].joined_seq;
        self.seen(&Viewer { above, ..self.viewer(chat, user) }).await
    }
}

fn join(user_id: UserId) -> Step {
    Step::Join { user_id, name: "New".to_owned() }
}

fn leave(user_id: UserId) -> Step {
    Step::Leave { user_id, name: "Old".to_owned() }
}

fn done(applied: &Applied) {
    assert!(matches!(applied, Applied::Done), "{applied:?}");
}

fn code(applied: &Applied) -> Option<&'static str> {
    if let Applied::Refused(error) = applied { Some(error.code()) } else { None }
}

fn present(membership: &Membership) -> Vec<UserId> {
    membership.everyone().map(|member| member.user_id).collect()
}

/// Case.
pub async fn a_new_group_has_its_members_its_first_message_and_its_events(s: &Subject) {
    let (a, b, c) = (s.user().await, s.user().await, s.user().await);
    let group = s.new_group(a, &[b, c]);
    let (view, note_id) = (Arc::clone(&group.view), group.note_id);
    done(&s.groups.create(group).await.expect("answered"));
    let chat = view.chat_id;
    let membership = s.membership(chat).await;
    assert_eq!((membership.kind, membership.is_admin_only), (ChatKind::Group, false));
    let mut everyone = vec![a, b, c];
    everyone.sort_unstable();
    assert_eq!(present(&membership), everyone);
    assert_eq!([a, b, c].map(|user| membership.members[&user].role), [Role::Admin, Role::Member, Role::Member]);
    for user in [a, b, c] {
        let listed = s.listed(user, chat).await.expect("they are in it");
        let profile = GroupProfile { name: "Friends".to_owned(), description: "us".to_owned(), avatar_url: String::new() };
        assert_eq!((listed.chat.kind, listed.chat.last_seq, listed.chat.rev, listed.chat.group), (ChatKind::Group, Seq::new(1), NewGroup::REV, Some(profile)));
        let page = s.messages.page(&s.viewer(chat, user), Page::Newest, 10).await.expect("read");
        let [message] = page.as_slice() else { panic!("expected one message, got {page:?}") };
        assert_eq!((message.id, message.kind, message.sender_id, message.seq, message.rev), (note_id, MessageKind::System, a, Seq::new(1), Rev::new(1)));
    }
    let summary = s.messages.summaries(&[s.viewer(chat, b)]).await.expect("read").remove(0);
    assert_eq!((summary.unread, summary.last_message.map(|message| message.id)), (0, Some(note_id)));
    let facts = s.facts().await;
    let [Fact::MessageNew(new), Fact::ChatCreated { chat_id, created_by, group: Some(told) }, Fact::MemberAdded(first), Fact::MemberAdded(second)] =
        facts.as_slice()
    else {
        panic!("expected a message, the chat and two members, got {facts:?}")
    };
    assert_eq!((new.message.message_id, new.chat_kind, *chat_id, *created_by, told), (note_id, ChatKind::Group, chat, a, &view));
    assert_eq!([first, second].map(|added| (added.user_id, added.by, added.rev)), [(b, a, NewGroup::REV), (c, a, NewGroup::REV)]);
    assert_eq!((first.group_name.as_str(), first.display_name.clone()), ("Friends", format!("Name of {b}")));
}

/// Case.
pub async fn a_group_with_an_unknown_user_is_not_made(s: &Subject) {
    let (a, b, erased) = (s.user().await, s.user().await, s.user().await);
    s.users.erase(erased, s.id(), s.now()).await.expect("erased");
    for gone in [s.id(), erased] {
        let group = s.new_group(a, &[b, gone]);
        let chat = group.view.chat_id;
        assert!(matches!(s.groups.create(group).await.expect("answered"), Applied::UserGone));
        assert_eq!(s.chats.membership(chat).await.expect("read"), None);
    }
    assert!(s.facts().await.is_empty());
    assert!(s.chats.revs(a).await.expect("read").is_empty());
}

/// Case.
pub async fn a_refused_decision_writes_nothing(s: &Subject) {
    let (a, b) = (s.user().await, s.user().await);
    let chat = s.group(a, &[b]).await;
    let before = (s.membership(chat).await, s.listed(a, chat).await);
    s.outbox.drain().await;
    let refused = s.groups.change(s.command(chat, a, |_| Err(Error::Conflict(Conflict::LastAdmin)))).await.expect("answered");
    assert_eq!(code(&refused), Some("LAST_ADMIN"));
    done(&s.groups.change(s.command(chat, a, |_| Ok(Change::default()))).await.expect("answered"));
    let refused = s.groups.set_invite(s.command(chat, b, |_| Err(Error::Conflict(Conflict::LastAdmin))), Some(InviteHash::of("x"))).await;
    assert_eq!(code(&refused.expect("answered")), Some("LAST_ADMIN"));
    assert_eq!(s.groups.invited_to(InviteHash::of("x")).await.expect("read"), None);
    let absent = s.groups.change(s.command(s.id(), a, |_| panic!("there is nothing to decide on"))).await.expect("answered");
    assert_eq!(code(&absent), Some("CHAT_NOT_FOUND"));
    assert_eq!((s.membership(chat).await, s.listed(a, chat).await), before);
    assert!(s.facts().await.is_empty());
}

/// Case.
pub async fn a_change_takes_a_rev_for_each_message_and_step(s: &Subject) {
    let (a, b, c, d) = (s.user().await, s.user().await, s.user().await, s.user().await);
    let chat = s.group(a, &[b]).await;
    s.outbox.drain().await;
    done(&s.take(chat, a, 2, vec![join(c), join(d), Step::Role { user_id: c, role: Role::Admin }]).await);
    let facts = s.facts().await;
    let [Fact::MessageNew(one), Fact::MessageNew(two), Fact::MemberAdded(third), Fact::MemberAdded(fourth), Fact::ChatUpdated(fifth)] = facts.as_slice() else {
        panic!("expected two messages, two members and a role, got {facts:?}")
    };
    assert_eq!([one, two].map(|new| (new.message.seq.get(), new.message.rev.get())), [(2, 3), (3, 4)]);
    assert_eq!([(third.user_id, third.rev.get()), (fourth.user_id, fourth.rev.get())], [(c, 5), (d, 6)]);
    let changes = ChatChanges { user_id: Some(c), role: Some(Role::Admin), ..ChatChanges::default() };
    assert_eq!((&fifth.changes, fifth.updated_by, fifth.rev.get()), (&changes, a, 7));
    assert_eq!(s.listed(a, chat).await.expect("listed").chat.rev, Rev::new(7));
    assert_eq!(s.send(chat, c, "next").await.rev, Rev::new(8));
}

/// Case.
pub async fn a_change_of_members_makes_a_new_membership_version(s: &Subject) {
    let (a, b, c) = (s.user().await, s.user().await, s.user().await);
    let chat = s.group(a, &[b]).await;
    for (step, sender) in [(join(c), a), (leave(c), c), (Step::Role { user_id: b, role: Role::Admin }, b), (Step::Timer(AutoDeleteTimer::Day), a)] {
        let late = s.message(chat, sender, text("decided before")).await;
        let before = s.membership(chat).await.version;
        done(&s.take(chat, a, 1, vec![step]).await);
        assert!(s.membership(chat).await.version > before);
        assert!(matches!(s.messages.append(late).await.expect("answered"), wa_core::ports::Appended::MembershipChanged));
    }
}

/// Case.
pub async fn concurrent_changes_are_each_decided_on_the_one_before(s: &Subject) {
    let admin = s.user().await;
    let mut users = Vec::new();
    for _ in 0..20 {
        users.push(s.user().await);
    }
    let chat = s.group(admin, &[users[0]]).await;
    let bound = 8;
    let adds = users[1..].iter().map(|&user| {
        s.groups.change(s.command(chat, admin, move |state| {
            let full = state.membership.everyone().count() >= bound;
            if full {
                Err(Error::Conflict(Conflict::GroupFull))
            } else {
                Ok(Change { steps: vec![join(user)], notes: vec![note("told", "in".to_owned())], withheld_from: None })
            }
        }))
    });
    let outcomes: Vec<Applied> = join_all(adds).await.into_iter().map(|outcome| outcome.expect("answered")).collect();
    assert_eq!(outcomes.iter().filter(|outcome| matches!(outcome, Applied::Done)).count(), bound - 2);
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Applied::Done) || code(outcome) == Some("GROUP_FULL")));
    assert_eq!(s.membership(chat).await.everyone().count(), bound);
}

/// Case.
pub async fn a_member_sees_from_joining_on_and_a_returning_one_from_the_return_on(s: &Subject) {
    let (a, b, c) = (s.user().await, s.user().await, s.user().await);
    let chat = s.group(a, &[b]).await;
    s.send(chat, a, "before").await;
    s.join(chat, a, c).await;
    s.send(chat, a, "during").await;
    assert_eq!(s.seen_by(chat, c).await, [3, 4]);
    assert_eq!(s.seen_by(chat, b).await, [1, 2, 3, 4]);
    s.chats.set_personal(c, chat, wa_core::ports::PersonalUpdate::Pin(true)).await.expect("set");
    s.leave(chat, c).await;
    let gone = s.membership(chat).await;
    assert_eq!((gone.members[&c].left_seq, gone.members[&c].role), (Some(Seq::new(4)), Role::Member));
    assert!(s.listed(c, chat).await.is_none() && s.chats.revs(c).await.expect("read").is_empty());
    assert!(s.messages.undelivered(c, s.now(), 10).await.expect("read").messages.is_empty());
    s.send(chat, a, "away").await;
    s.env.advance(Duration::from_secs(1));
    s.join(chat, b, c).await;
    s.send(chat, a, "back").await;
    assert_eq!(s.seen_by(chat, c).await, [7, 8]);
    let back = s.membership(chat).await;
    assert_eq!((back.members[&c].joined_at, back.members[&c].left_seq), (s.now(), None));
    assert!(!s.listed(c, chat).await.expect("listed").personal.is_pinned, "who comes back starts anew");
    let waiting = s.messages.undelivered(c, s.now(), 10).await.expect("read");
    assert_eq!(seqs(&waiting.messages), [7, 8]);
}

/// Case.
pub async fn an_erased_user_is_not_let_in(s: &Subject) {
    let (a, b, erased) = (s.user().await, s.user().await, s.user().await);
    let chat = s.group(a, &[b]).await;
    assert!(matches!(s.users.erase(erased, s.id(), s.now()).await.expect("erased"), Erased::Done(_)));
    let before = s.membership(chat).await;
    s.outbox.drain().await;
    for gone in [erased, s.id()] {
        assert!(matches!(s.take(chat, a, 1, vec![join(gone)]).await, Applied::UserGone));
    }
    assert_eq!(s.membership(chat).await, before);
    assert!(s.facts().await.is_empty());
}

/// Case.
pub async fn properties_roles_and_timer_read_back(s: &Subject) {
    let (a, b, late) = (s.user().await, s.user().await, s.user().await);
    let chat = s.group(a, &[b]).await;
    let change =
        ProfileChange { name: Some("Family".to_owned()), avatar_url: Some("/a.jpg".to_owned()), is_admin_only: Some(true), ..ProfileChange::default() };
    s.outbox.drain().await;
    done(&s.take(chat, a, 0, vec![Step::Profile(change.clone()), Step::Role { user_id: b, role: Role::Admin }, Step::Timer(AutoDeleteTimer::Week)]).await);
    let listed = s.listed(b, chat).await.expect("listed").chat;
    assert_eq!(listed.group, Some(GroupProfile { name: "Family".to_owned(), description: "us".to_owned(), avatar_url: "/a.jpg".to_owned() }));
    assert_eq!(listed.auto_delete_timer, AutoDeleteTimer::Week);
    let membership = s.membership(chat).await;
    assert_eq!((membership.is_admin_only, membership.auto_delete_timer, membership.members[&b].role), (true, AutoDeleteTimer::Week, Role::Admin));
    let facts = s.facts().await;
    let changes: Vec<ChatChanges> =
        facts.into_iter().map(|fact| if let Fact::ChatUpdated(updated) = fact { updated.changes } else { panic!("{fact:?}") }).collect();
    let expected = [
        ChatChanges { profile: change, ..ChatChanges::default() },
        ChatChanges { user_id: Some(b), role: Some(Role::Admin), ..ChatChanges::default() },
        ChatChanges { auto_delete_timer: Some(AutoDeleteTimer::Week), ..ChatChanges::default() },
    ];
    assert_eq!(changes, expected);
    s.join(chat, a, late).await;
    assert_eq!(s.listed(late, chat).await.expect("listed").chat.auto_delete_timer, AutoDeleteTimer::Week, "it is the chat's");
}

/// Case.
pub async fn the_timer_of_a_direct_chat_is_one_for_both(s: &Subject) {
    let (a, b, chat) = s.direct().await;
    done(&s.take(chat, b, 1, vec![Step::Timer(AutoDeleteTimer::Quarter)]).await);
    for user in [a, b] {
        assert_eq!(s.listed(user, chat).await.expect("listed").chat.auto_delete_timer, AutoDeleteTimer::Quarter);
    }
    assert_eq!(s.membership(chat).await.auto_delete_timer, AutoDeleteTimer::Quarter);
    let change = Change { notes: vec![note("told", "kept".to_owned())], steps: vec![Step::Timer(AutoDeleteTimer::Off)], withheld_from: Some(a) };
    done(&s.groups.change(s.command(chat, b, move |_| Ok(change.clone()))).await.expect("answered"));
    assert_eq!((s.seen(&s.viewer(chat, a)).await, s.seen(&s.viewer(chat, b)).await), (vec![1], vec![1, 2]));
}

/// Case.
pub async fn the_last_member_who_leaves_ends_the_group(s: &Subject) {
    let (a, b) = (s.user().await, s.user().await);
    let chat = s.group(a, &[b]).await;
    let sent = s.send(chat, a, "last words").await;
    done(&s.groups.set_invite(s.command(chat, a, |_| Ok(Change::default())), Some(InviteHash::of("x"))).await.expect("answered"));
    s.leave(chat, b).await;
    s.outbox.drain().await;
    s.leave(chat, a).await;
    assert_eq!(s.chats.membership(chat).await.expect("read"), None);
    assert_eq!(s.groups.invited_to(InviteHash::of("x")).await.expect("read"), None);
    let facts = s.facts().await;
    let [Fact::MemberRemoved(removed)] = facts.as_slice() else { panic!("expected one to be told, got {facts:?}") };
    assert_eq!((removed.user_id, removed.by, removed.group_name.as_str()), (a, a, "Friends"));
    assert!(removed.rev > sent.rev);
    assert_eq!(code(&s.take(chat, a, 1, vec![join(b)]).await), Some("CHAT_NOT_FOUND"));
}

/// Case.
pub async fn an_ended_group_is_purged_in_bounded_steps(s: &Subject) {
    let (a, b) = (s.user().await, s.user().await);
    let (chat, other) = (s.group(a, &[b]).await, s.group(a, &[b]).await);
    let sent = s.send_many(chat, a, 9).await;
    let kept = s.send(other, a, "stays").await;
    s.read(b, &sent[8]).await;
    s.messages.hide(&s.viewer(chat, b), sent[0].id, s.id(), None).await.expect("hidden");
    assert!(!s.groups.purge(100).await.expect("answered"), "no group has ended");
    s.leave(chat, b).await;
    s.leave(chat, a).await;
    let ids: Vec<_> = sent.iter().map(|message| message.id).collect();
    let mut steps = 0;
    while s.groups.purge(4).await.expect("purged") {
        steps += 1;
        assert!(steps < 50, "it comes to an end");
    }
    assert!(steps >= 4, "no step is larger than it may be");
    // Keys live as long as their messages.
    assert!(matches!(s.messages.append(s.message(other, a, text("again")).await).await.expect("answered"), wa_core::ports::Appended::Stored(_)));
    assert!(s.messages.get(&s.viewer(chat, a), &ids).await.expect("read").is_empty());
    assert_eq!(s.messages.get(&s.viewer(other, a), &[kept.id]).await.expect("read"), [kept]);
}

/// Case.
pub async fn a_new_invite_revokes_the_one_before(s: &Subject) {
    let (a, b) = (s.user().await, s.user().await);
    let chat = s.group(a, &[b]).await;
    let (first, second) = (InviteHash::of("first"), InviteHash::of("second"));
    for invite in [first, second] {
        done(&s.groups.set_invite(s.command(chat, a, |_| Ok(Change::default())), Some(invite)).await.expect("answered"));
        assert_eq!(s.groups.invited_to(invite).await.expect("read"), Some(chat));
    }
    assert_eq!(s.groups.invited_to(first).await.expect("read"), None);
    let elsewhere = s.group(a, &[b]).await;
    assert_eq!(s.groups.invited_to(second).await.expect("read"), Some(chat));
    assert_ne!(elsewhere, chat);
}

/// Case.
pub async fn a_revoked_invite_lets_nobody_in(s: &Subject) {
    let (a, b, c) = (s.user().await, s.user().await, s.user().await);
    let chat = s.group(a, &[b]).await;
    let (invite, other) = (InviteHash::of("first"), InviteHash::of("other"));
    done(&s.groups.set_invite(s.command(chat, a, |_| Ok(Change::default())), Some(invite)).await.expect("answered"));
    let by = |invite| {
        let command = s.command(chat, c, move |_| Ok(Change { steps: vec![join(c)], ..Change::default() }));
        s.groups.change(Command { invite: Some(invite), ..command })
    };
    assert_eq!(code(&by(other).await.expect("answered")), Some("CHAT_NOT_FOUND"));
    done(&s.groups.set_invite(s.command(chat, a, |_| Ok(Change::default())), None).await.expect("answered"));
    assert_eq!(code(&by(invite).await.expect("answered")), Some("CHAT_NOT_FOUND"));
    assert_eq!(s.groups.invited_to(invite).await.expect("read"), None);
    done(&s.groups.set_invite(s.command(chat, a, |_| Ok(Change::default())), Some(invite)).await.expect("answered"));
    done(&by(invite).await.expect("answered"));
    assert!(s.membership(chat).await.present(c).is_some());
}
