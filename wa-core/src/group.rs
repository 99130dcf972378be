//! Groups: what each command changes, decided from the chat as it is at the moment of the change, and the system messages
//! that tell of it. Pure: the store calls a decision inside the transaction that then makes it true.

use std::collections::HashMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::chat::{AutoDeleteTimer, ChatKind, Member, Membership, Role};
use crate::error::{Conflict, Denied, Error, Missing, Result};
use crate::faults::planted;
use crate::id::UserId;
use crate::limits::Limits;
use crate::message::System;

/// People a system message names; of more it tells how many they are.
const NAMED: usize = 5;

/// What a group shows of itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GroupProfile {
    /// Its name.
    pub name: String,
    /// Its description; may be empty.
    pub description: String,
    /// The address of its picture; may be empty.
    pub avatar_url: String,
}

/// A chat as a decision finds it.
#[derive(Debug, Clone)]
pub struct ChatState {
    /// Who is in it, and the settings that concern them all.
    pub membership: Arc<Membership>,
    /// What a group shows of itself; empty for a direct chat.
    pub profile: GroupProfile,
}

/// One change to a chat. Each takes a revision of its own and is announced by an event of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Somebody comes in, or back.
    Join {
        /// Who.
        user_id: UserId,
        /// What they are called.
        name: String,
    },
    /// Somebody goes, or is removed. With the last one the group ends.
    Leave {
        /// Who.
        user_id: UserId,
        /// What they are called.
        name: String,
    },
    /// Somebody becomes an admin, or no longer is one.
    Role {
        /// Who.
        user_id: UserId,
        /// What they are from now on.
        role: Role,
    },
    /// Name, description, picture or the admin-only setting change.
    Profile(ProfileChange),
    /// Messages sent from now on disappear after this time.
    Timer(AutoDeleteTimer),
}

/// What a change of a group's properties sets; `None` leaves as it is.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ProfileChange {
    /// The name, 1 to 100 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The description, up to 512 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The address of the picture; empty for none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub avatar_url: Option<String>,
    /// Whether only admins may send.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub is_admin_only: Option<bool>,
}

/// What a command comes to. Empty if everything is as it asks already.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Change {
    /// System messages that tell of it, in their order. Those who come in see them, those who go do not.
    pub notes: Vec<System>,
    /// What changes, in its order.
    pub steps: Vec<Step>,
    /// In a direct chat: who never sees the system messages, as they have blocked whoever made the change.
    pub withheld_from: Option<UserId>,
}

impl Change {
    /// One change and the message that tells of it.
    fn told(action: &str, body: String, steps: impl IntoIterator<Item = Step>) -> Self {
        Self { notes: vec![note(action, body)], steps: steps.into_iter().collect(), withheld_from: None }
    }
}

/// A message of the server about what somebody did.
#[must_use]
pub fn note(action: &str, body: String) -> System {
    System { body, action: action.to_owned() }
}

/// What somebody is called in a system message.
fn called(name: &str) -> &str {
    if name.is_empty() { "Somebody" } else { name }
}

/// What people are called, by user; whoever is missing is "Somebody".
pub type NamesOf = HashMap<UserId, Arc<str>>;

fn name_of(names: &NamesOf, user: UserId) -> String {
    names.get(&user).map(ToString::to_string).unwrap_or_default()
}

/// "Ann", "Ann and Bob", "Ann, Bob and 3 others".
fn listed(names: &[&str]) -> String {
    let (shown, others) = if names.len() > NAMED { (&names[..NAMED], names.len() - NAMED) } else { (names, 0) };
    match (shown, others) {
        ([one], 0) => (*one).to_owned(),
        ([most @ .., last], 0) => format!("{} and {last}", most.join(", ")),
        (shown, 1) => format!("{} and 1 other", shown.join(", ")),
        (shown, others) => format!("{} and {others} others", shown.join(", ")),
    }
}

/// The first message of a group.
#[must_use]
pub fn created(by: &str, name: &str) -> System {
    note("group_created", format!("{} created the group \"{name}\"", called(by)))
}

/// Refuses what only groups have for a direct chat.
///
/// # Errors
/// VALIDATION_ERROR.
pub fn must_be_group(membership: &Membership) -> Result<()> {
    match membership.kind {
        ChatKind::Group => Ok(()),
        ChatKind::Direct => Err(Error::invalid("chat_id", "is a direct chat; only groups have members, roles, invites and properties to change")),
    }
}

/// A present participant of a group.
///
/// # Errors
/// CHAT_NOT_FOUND for strangers, NOT_CHAT_MEMBER for former members, VALIDATION_ERROR for a direct chat.
pub fn group_member(membership: &Membership, user: UserId) -> Result<&Member> {
    let member = participant(membership, user)?;
    must_be_group(membership)?;
    Ok(member)
}

/// As [`group_member`], who must be an admin.
///
/// # Errors
/// As [`group_member`], and NOT_ADMIN.
pub fn group_admin(membership: &Membership, user: UserId) -> Result<&Member> {
    let member = group_member(membership, user)?;
    if member.role == Role::Admin || planted("role_unchecked") { Ok(member) } else { Err(Error::Denied(Denied::NotAdmin)) }
}

fn participant(membership: &Membership, user: UserId) -> Result<&Member> {
    let member = membership.members.get(&user).ok_or(Error::not_found(Missing::Chat))?;
    if member.left_seq.is_some() { Err(Error::Denied(Denied::NotChatMember)) } else { Ok(member) }
}

/// Somebody who is to be acted upon.
fn target(membership: &Membership, user: UserId) -> Result<&Member> {
    membership.present(user).ok_or_else(|| Error::NotFound { what: Missing::User, message: Some(format!("The group has no member {user}")) })
}

fn is_last_admin(membership: &Membership, user: UserId) -> bool {
    let mut admins = membership.everyone().filter(|member| member.role == Role::Admin).map(|member| member.user_id);
    admins.next() == Some(user) && admins.next().is_none()
}

/// Who has been in for longest, but for this user.
fn earliest_but(membership: &Membership, user: UserId) -> Option<&Member> {
    membership.everyone().filter(|member| member.user_id != user).min_by_key(|member| (member.joined_seq, member.joined_at, member.user_id))
}

/// Adds those of these people who are not in the group. `users` hold everybody once, and not the admin.
///
/// # Errors
/// Those of [`group_admin`]; ALREADY_MEMBER if nobody is left to add, GROUP_FULL.
pub fn add(state: &ChatState, admin: UserId, users: &[UserId], names: &NamesOf, limits: &Limits) -> Result<Change> {
    let membership = &state.membership;
    group_admin(membership, admin)?;
    let new: Vec<(UserId, String)> = users.iter().filter(|user| membership.present(**user).is_none()).map(|user| (*user, name_of(names, *user))).collect();
    if new.is_empty() {
        return Err(Error::Conflict(Conflict::AlreadyMember));
    }
    if membership.everyone().count() + new.len() > limits.group_size {
        return Err(Error::Conflict(Conflict::GroupFull));
    }
    let body = format!("{} added {}", called(&name_of(names, admin)), listed(&new.iter().map(|(_, name)| called(name)).collect::<Vec<_>>()));
    Ok(Change::told("member_added", body, new.into_iter().map(|(user_id, name)| Step::Join { user_id, name })))
}

/// Lets somebody in by an invite. Who is in already stays so.
///
/// # Errors
/// GROUP_FULL.
pub fn join(state: &ChatState, user: UserId, name: &str, limits: &Limits) -> Result<Change> {
    let membership = &state.membership;
    if membership.present(user).is_some() {
        return Ok(Change::default());
    }
    if membership.everyone().count() >= limits.group_size {
        return Err(Error::Conflict(Conflict::GroupFull));
    }
    let body = format!("{} joined by an invite", called(name));
    Ok(Change::told("member_joined", body, [Step::Join { user_id: user, name: name.to_owned() }]))
}

/// Removes a member, or lets one leave by themselves. When the last admin leaves, whoever has been in for longest becomes
/// one.
///
/// # Errors
/// Those of [`group_member`] and, for removing somebody else, [`group_admin`]; USER_NOT_FOUND if they are not in the group.
pub fn remove(state: &ChatState, by: UserId, user: UserId, names: &NamesOf) -> Result<Change> {
    let membership = &state.membership;
    let name = name_of(names, user);
    let leave = Step::Leave { user_id: user, name: name.clone() };
    if by != user {
        group_admin(membership, by)?;
        target(membership, user)?;
        return Ok(Change::told("member_removed", format!("{} removed {}", called(&name_of(names, by)), called(&name)), [leave]));
    }
    group_member(membership, user)?;
    let mut change = Change::told("member_left", format!("{} left", called(&name)), [leave]);
    if is_last_admin(membership, user)
        && let Some(heir) = earliest_but(membership, user)
    {
        change.notes.push(note("admin_added", format!("{} is now an admin", called(&name_of(names, heir.user_id)))));
        change.steps.push(Step::Role { user_id: heir.user_id, role: Role::Admin });
    }
    Ok(change)
}

/// Makes a member an admin, or an admin a member.
///
/// # Errors
/// Those of [`group_admin`]; USER_NOT_FOUND if they are not in the group, LAST_ADMIN.
pub fn set_role(state: &ChatState, admin: UserId, user: UserId, role: Role, names: &NamesOf) -> Result<Change> {
    let membership = &state.membership;
    group_admin(membership, admin)?;
    if target(membership, user)?.role == role {
        return Ok(Change::default());
    }
    let name = name_of(names, user);
    let (action, body) = match role {
        Role::Admin => ("admin_added", format!("{} is now an admin", called(&name))),
        Role::Member if is_last_admin(membership, user) => return Err(Error::Conflict(Conflict::LastAdmin)),
        Role::Member => ("admin_removed", format!("{} is no longer an admin", called(&name))),
    };
    Ok(Change::told(action, body, [Step::Role { user_id: user, role }]))
}

/// Changes what differs of a group's properties. The values are checked already.
///
/// # Errors
/// Those of [`group_admin`].
pub fn set_profile(state: &ChatState, admin: UserId, by: &str, wanted: ProfileChange) -> Result<Change> {
    group_admin(&state.membership, admin)?;
    let (profile, by) = (&state.profile, called(by));
    let change = ProfileChange {
        name: wanted.name.filter(|name| *name != profile.name),
        description: wanted.description.filter(|description| *description != profile.description),
        avatar_url: wanted.avatar_url.filter(|url| *url != profile.avatar_url),
        is_admin_only: wanted.is_admin_only.filter(|is| *is != state.membership.is_admin_only),
    };
    if change == ProfileChange::default() {
        return Ok(Change::default());
    }
    let mut notes = Vec::new();
    if let Some(name) = &change.name {
        notes.push(note("name_changed", format!("{by} changed the name of the group to \"{name}\"")));
    }
    if let Some(description) = &change.description {
        notes.push(note("description_changed", format!("{by} {} the description of the group", if description.is_empty() { "removed" } else { "changed" })));
    }
    if let Some(url) = &change.avatar_url {
        notes.push(note("avatar_changed", format!("{by} {} the picture of the group", if url.is_empty() { "removed" } else { "changed" })));
    }
    if let Some(is_admin_only) = change.is_admin_only {
        notes.push(note("admin_only_changed", format!("{by} allowed {} to send messages", if is_admin_only { "only admins" } else { "everybody" })));
    }
    Ok(Change { notes, steps: vec![Step::Profile(change)], withheld_from: None })
}

/// Sets when messages disappear: anybody in a direct chat, admins in a group. Whoever has blocked the other side of a direct
/// chat cannot, as they cannot send; to whoever was blocked it works, and the other side is not told by a message.
///
/// # Errors
/// CHAT_NOT_FOUND for strangers, NOT_CHAT_MEMBER for former members, NOT_ADMIN, USER_BLOCKED.
pub fn set_timer(state: &ChatState, user: UserId, by: &str, timer: AutoDeleteTimer) -> Result<Change> {
    let membership = &state.membership;
    let member = participant(membership, user)?;
    match membership.kind {
        ChatKind::Group => _ = group_admin(membership, user)?,
        ChatKind::Direct if member.has_blocked => return Err(Error::Denied(Denied::UserBlocked)),
        ChatKind::Direct => {}
    }
    if membership.auto_delete_timer == timer {
        return Ok(Change::default());
    }
    let by = called(by);
    let body = match timer {
        AutoDeleteTimer::Off => format!("{by} turned off disappearing messages"),
        AutoDeleteTimer::Day => format!("{by} made new messages disappear after 24 hours"),
        AutoDeleteTimer::Week => format!("{by} made new messages disappear after 7 days"),
        AutoDeleteTimer::Quarter => format!("{by} made new messages disappear after 90 days"),
    };
    let withheld_from = membership.peer_of(user).filter(|peer| peer.has_blocked).map(|peer| peer.user_id);
    Ok(Change { withheld_from, ..Change::told("timer_changed", body, [Step::Timer(timer)]) })
}

/// The SHA-256 of an invite code: all that is stored of it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct InviteHash([u8; 32]);

impl InviteHash {
    /// Of this code.
    #[must_use]
    pub fn of(code: &str) -> Self {
        Self(Sha256::digest(code.as_bytes()).into())
    }

    /// For storage.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl std::fmt::Debug for InviteHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("InviteHash")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::ChatId;
    use crate::message::Seq;
    use crate::time::Timestamp;
    use proptest::prelude::*;
    use uuid::Uuid;

    fn user(number: u128) -> UserId {
        UserId::from_uuid(Uuid::from_u128(number))
    }

    fn member(number: u128, role: Role, joined: i64) -> Member {
        Member { user_id: user(number), role, joined_seq: Seq::new(joined), joined_at: Timestamp::default(), left_seq: None, has_blocked: false }
    }

    fn state(kind: ChatKind, members: impl IntoIterator<Item = Member>) -> ChatState {
        let membership = Membership {
            chat_id: ChatId::from_uuid(Uuid::nil()),
            kind,
            version: 1,
            is_admin_only: false,
            auto_delete_timer: AutoDeleteTimer::Off,
            members: members.into_iter().map(|member| (member.user_id, member)).collect(),
        };
        ChatState { membership: Arc::new(membership), profile: GroupProfile { name: "Friends".to_owned(), ..GroupProfile::default() } }
    }

    /// One admin, and two members of whom 3 came before 2.
    fn friends() -> ChatState {
        state(ChatKind::Group, [member(1, Role::Admin, 0), member(2, Role::Member, 9), member(3, Role::Member, 4)])
    }

    fn names() -> NamesOf {
        [(1, "Ann"), (2, "Bob"), (3, "Cem"), (4, "Dora"), (5, "")].into_iter().map(|(number, name)| (user(number), name.into())).collect()
    }

    fn code<T: std::fmt::Debug>(result: Result<T>) -> &'static str {
        result.expect_err("is refused").code()
    }

    fn bodies(change: &Change) -> Vec<&str> {
        change.notes.iter().map(|note| note.body.as_str()).collect()
    }

    #[test]
    fn the_last_admin_who_leaves_hands_over_to_whoever_came_first() {
        let change = remove(&friends(), user(1), user(1), &names()).expect("leaves");
        assert_eq!(bodies(&change), ["Ann left", "Cem is now an admin"]);
        assert_eq!(change.steps, [Step::Leave { user_id: user(1), name: "Ann".to_owned() }, Step::Role { user_id: user(3), role: Role::Admin }]);
        // A member leaves without a successor, and so does the last one of all.
        assert_eq!(remove(&friends(), user(2), user(2), &names()).expect("leaves").steps.len(), 1);
        assert_eq!(remove(&state(ChatKind::Group, [member(1, Role::Admin, 0)]), user(1), user(1), &names()).expect("leaves").steps.len(), 1);
    }

    #[test]
    fn the_last_admin_cannot_step_down() {
        assert_eq!(code(set_role(&friends(), user(1), user(1), Role::Member, &names())), "LAST_ADMIN");
        let two = state(ChatKind::Group, [member(1, Role::Admin, 0), member(2, Role::Admin, 9)]);
        assert_eq!(bodies(&set_role(&two, user(1), user(1), Role::Member, &names()).expect("steps down")), ["Ann is no longer an admin"]);
        assert_eq!(set_role(&two, user(1), user(2), Role::Admin, &names()).expect("is one already"), Change::default());
    }

    #[test]
    fn what_only_admins_may_do_is_refused_to_members_and_strangers() {
        let (friends, limits) = (friends(), Limits::default());
        let direct = state(ChatKind::Direct, [member(1, Role::Member, 0), member(2, Role::Member, 0)]);
        let mut former = member(4, Role::Admin, 0);
        former.left_seq = Some(Seq::new(3));
        let left = state(ChatKind::Group, [member(1, Role::Admin, 0), former]);
        for (state, by, expected) in
            [(&friends, 2, "NOT_ADMIN"), (&friends, 9, "CHAT_NOT_FOUND"), (&left, 4, "NOT_CHAT_MEMBER"), (&direct, 1, "VALIDATION_ERROR")]
        {
            let by = user(by);
            assert_eq!(code(add(state, by, &[user(5)], &names(), &limits)), expected);
            assert_eq!(code(remove(state, by, user(1), &names()).and_then(|_| set_role(state, by, user(1), Role::Admin, &names()))), expected);
            assert_eq!(code(set_role(state, by, user(1), Role::Admin, &names())), expected);
            assert_eq!(code(set_profile(state, by, "", ProfileChange::default())), expected);
        }
        assert_eq!(code(set_timer(&friends, user(2), "", AutoDeleteTimer::Day)), "NOT_ADMIN");
        assert_eq!(code(remove(&friends, user(1), user(9), &names())), "USER_NOT_FOUND");
    }

    #[test]
    fn only_who_is_not_in_yet_is_added() {
        let limits = Limits { group_size: 5, ..Limits::default() };
        let change = add(&friends(), user(1), &[user(2), user(4), user(5)], &names(), &limits).expect("adds");
        assert_eq!(bodies(&change), ["Ann added Dora and Somebody"]);
        assert_eq!(change.steps.len(), 2);
        assert_eq!(code(add(&friends(), user(1), &[user(2), user(3)], &names(), &limits)), "ALREADY_MEMBER");
        assert_eq!(code(add(&friends(), user(1), &[user(4), user(5), user(6)], &names(), &limits)), "GROUP_FULL");
        assert_eq!(code(join(&friends(), user(4), "Dora", &Limits { group_size: 3, ..Limits::default() })), "GROUP_FULL");
        assert_eq!(join(&friends(), user(2), "Bob", &limits).expect("is in"), Change::default());
    }

    #[test]
    fn many_people_are_counted_not_listed() {
        assert_eq!(listed(&["a"]), "a");
        assert_eq!(listed(&["a", "b", "c"]), "a, b and c");
        assert_eq!(listed(&["a", "b", "c", "d", "e"]), "a, b, c, d and e");
        assert_eq!(listed(&["a", "b", "c", "d", "e", "f"]), "a, b, c, d, e and 1 other");
        assert_eq!(listed(&["a"; 255]), "a, a, a, a, a and 250 others");
    }

    #[test]
    fn only_what_differs_is_changed_and_told() {
        let same = ProfileChange { name: Some("Friends".to_owned()), is_admin_only: Some(false), ..ProfileChange::default() };
        assert_eq!(set_profile(&friends(), user(1), "Ann", same.clone()).expect("decides"), Change::default());
        let change =
            set_profile(&friends(), user(1), "Ann", ProfileChange { description: Some("us".to_owned()), is_admin_only: Some(true), ..same }).expect("decides");
        assert_eq!(bodies(&change), ["Ann changed the description of the group", "Ann allowed only admins to send messages"]);
        assert_eq!(change.steps, [Step::Profile(ProfileChange { description: Some("us".to_owned()), is_admin_only: Some(true), ..ProfileChange::default() })]);
    }

    #[test]
    fn in_a_direct_chat_a_block_hides_who_sets_the_timer() {
        let blocker = Member { has_blocked: true, ..member(2, Role::Member, 0) };
        let direct = state(ChatKind::Direct, [member(1, Role::Member, 0), blocker]);
        assert_eq!(set_timer(&direct, user(1), "Ann", AutoDeleteTimer::Day).expect("decides").withheld_from, Some(user(2)));
        assert_eq!(code(set_timer(&direct, user(2), "Bob", AutoDeleteTimer::Day)), "USER_BLOCKED");
        assert_eq!(set_timer(&direct, user(1), "Ann", AutoDeleteTimer::Off).expect("is so"), Change::default());
    }

    /// What the store makes of a change, as far as roles and presence go.
    fn apply(state: &mut ChatState, change: &Change, seq: i64) {
        let mut membership = Membership::clone(&state.membership);
        for step in &change.steps {
            match step {
                Step::Join { user_id, .. } => _ = membership.members.insert(*user_id, Member { user_id: *user_id, ..member(0, Role::Member, seq) }),
                Step::Leave { user_id, .. } => membership.members.get_mut(user_id).expect("is in").left_seq = Some(Seq::new(seq)),
                Step::Role { user_id, role } => membership.members.get_mut(user_id).expect("is in").role = *role,
                Step::Profile(_) | Step::Timer(_) => {}
            }
        }
        state.membership = Arc::new(membership);
    }

    proptest! {
        #[test]
        fn whatever_happens_a_group_with_members_has_an_admin_and_never_too_many(commands in proptest::collection::vec((0..4u8, 1..8u128, 1..8u128), 0..60)) {
            let limits = Limits { group_size: 5, ..Limits::default() };
            let mut group = friends();
            for (seq, (command, by, on)) in (10..).zip(commands) {
                let (by, on) = (user(by), user(on));
                let change = match command {
                    0 => add(&group, by, &[on], &names(), &limits),
                    1 => remove(&group, by, on, &names()),
                    2 => set_role(&group, by, on, Role::Admin, &names()),
                    _ => set_role(&group, by, on, Role::Member, &names()),
                };
                if let Ok(change) = change {
                    apply(&mut group, &change, seq);
                }
                let present: Vec<_> = group.membership.everyone().collect();
                prop_assert!(present.len() <= limits.group_size);
                prop_assert!(present.is_empty() || present.iter().any(|member| member.role == Role::Admin));
            }
        }
    }
}
