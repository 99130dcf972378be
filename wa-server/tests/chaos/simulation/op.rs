//! What can happen, as data: small numbers that are read modulo what there is, so that any list of operations can be
//! carried out, and any part of a list too.

use proptest::prelude::*;

/// One thing that happens. `device`, `user`, `chat` and so on are taken modulo how many there are; high ones
/// mean somebody who is in the chat, or one of its admins. `back` counts from the newest message that the one who acts can see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Op {
    /// Makes, or finds, the direct chat of two users.
    Direct {
        user: u8,
        other: u8,
    },
    /// Sends a text, over the socket if there is one, else over REST.
    Say {
        device: u8,
        chat: u8,
    },
    /// Answers a message.
    Reply {
        device: u8,
        chat: u8,
        back: u8,
    },
    /// Sends more than a socket's queue holds.
    Flood {
        device: u8,
        chat: u8,
    },
    /// Sends again what was sent before, accepted or not.
    Retry {
        send: u8,
    },
    /// Uses the key of an accepted message for something else.
    Abuse {
        send: u8,
    },
    /// Reads up to a message.
    Read {
        device: u8,
        chat: u8,
        back: u8,
    },
    /// Deletes a message for oneself.
    Hide {
        device: u8,
        chat: u8,
        back: u8,
    },
    Edit {
        device: u8,
        chat: u8,
        back: u8,
    },
    /// Deletes a message for everyone.
    Bury {
        device: u8,
        chat: u8,
        back: u8,
    },
    /// Reacts with one of a few emoji, or takes the reaction back.
    React {
        device: u8,
        chat: u8,
        back: u8,
        emoji: u8,
    },
    Star {
        device: u8,
        chat: u8,
        back: u8,
        is_starred: bool,
    },
    Forward {
        device: u8,
        chat: u8,
        back: u8,
        target: u8,
    },
    /// Makes a group with those whose bit is set.
    Group {
        user: u8,
        others: u8,
    },
    Add {
        user: u8,
        chat: u8,
        other: u8,
    },
    /// Removes somebody, or leaves.
    Remove {
        user: u8,
        chat: u8,
        other: u8,
    },
    Role {
        user: u8,
        chat: u8,
        other: u8,
        is_admin: bool,
    },
    Rename {
        user: u8,
        chat: u8,
    },
    AdminOnly {
        user: u8,
        chat: u8,
        is_admin_only: bool,
    },
    Timer {
        user: u8,
        chat: u8,
        timer: u8,
    },
    /// Comes in by an invite that an admin makes.
    Join {
        user: u8,
        chat: u8,
    },
    Block {
        user: u8,
        other: u8,
    },
    Unblock {
        user: u8,
        other: u8,
    },
    Typing {
        device: u8,
        chat: u8,
    },
    /// Follows somebody's presence.
    Watch {
        device: u8,
        user: u8,
    },
    /// Opens a socket, in place of an older one.
    Connect {
        device: u8,
    },
    /// Lets the connection go without a word.
    Drop {
        device: u8,
    },
    /// Takes in what came, syncs if something is missing, confirms what arrived.
    Pump {
        device: u8,
    },
    /// Events wait from here on, or come at once again.
    Hold,
    Release,
    BusDown,
    BusUp,
    /// The bus hands out again what it handed out last.
    Repeat {
        events: u8,
    },
    Restart {
        gracefully: bool,
    },
    /// Time passes: seconds, minutes or hours.
    Advance {
        seconds: u32,
    },
}

pub(super) fn ops(length: usize) -> impl Strategy<Value = Vec<Op>> {
    let (device, user, changer, chat, back) = (0..18_u8, 0..4_u8, 0..12_u8, 0..8_u8, 0..12_u8);
    let op = prop_oneof![
        4 => (user.clone(), user.clone()).prop_map(|(user, other)| Op::Direct { user, other }),
        24 => (device.clone(), chat.clone()).prop_map(|(device, chat)| Op::Say { device, chat }),
        4 => (device.clone(), chat.clone(), back.clone()).prop_map(|(device, chat, back)| Op::Reply { device, chat, back }),
        1 => (device.clone(), chat.clone()).prop_map(|(device, chat)| Op::Flood { device, chat }),
        4 => any::<u8>().prop_map(|send| Op::Retry { send }),
        1 => any::<u8>().prop_map(|send| Op::Abuse { send }),
        8 => (device.clone(), chat.clone(), back.clone()).prop_map(|(device, chat, back)| Op::Read { device, chat, back }),
        4 => (device.clone(), chat.clone(), back.clone()).prop_map(|(device, chat, back)| Op::Hide { device, chat, back }),
        4 => (device.clone(), chat.clone(), back.clone()).prop_map(|(device, chat, back)| Op::Edit { device, chat, back }),
        4 => (device.clone(), chat.clone(), back.clone()).prop_map(|(device, chat, back)| Op::Bury { device, chat, back }),
        4 => (device.clone(), chat.clone(), back.clone(), 0..4_u8).prop_map(|(device, chat, back, emoji)| Op::React { device, chat, back, emoji }),
        3 => (device.clone(), chat.clone(), back.clone(), any::<bool>()).prop_map(|(device, chat, back, is_starred)| Op::Star { device, chat, back, is_starred }),
        3 => (device.clone(), chat.clone(), back.clone(), chat.clone()).prop_map(|(device, chat, back, target)| Op::Forward { device, chat, back, target }),
        3 => (user.clone(), 1..16_u8).prop_map(|(user, others)| Op::Group { user, others }),
        2 => (changer.clone(), chat.clone(), user.clone()).prop_map(|(user, chat, other)| Op::Add { user, chat, other }),
        2 => (changer.clone(), chat.clone(), user.clone()).prop_map(|(user, chat, other)| Op::Remove { user, chat, other }),
        1 => (changer.clone(), chat.clone(), user.clone(), any::<bool>()).prop_map(|(user, chat, other, is_admin)| Op::Role { user, chat, other, is_admin }),
        1 => (changer.clone(), chat.clone()).prop_map(|(user, chat)| Op::Rename { user, chat }),
        1 => (changer.clone(), chat.clone(), any::<bool>()).prop_map(|(user, chat, is_admin_only)| Op::AdminOnly { user, chat, is_admin_only }),
        2 => (changer.clone(), chat.clone(), 0..4_u8).prop_map(|(user, chat, timer)| Op::Timer { user, chat, timer }),
        2 => (user.clone(), chat.clone()).prop_map(|(user, chat)| Op::Join { user, chat }),
        3 => (user.clone(), user.clone()).prop_map(|(user, other)| Op::Block { user, other }),
        2 => (user.clone(), user.clone()).prop_map(|(user, other)| Op::Unblock { user, other }),
        3 => (device.clone(), chat).prop_map(|(device, chat)| Op::Typing { device, chat }),
        2 => (device.clone(), user).prop_map(|(device, user)| Op::Watch { device, user }),
        3 => device.clone().prop_map(|device| Op::Connect { device }),
        3 => device.clone().prop_map(|device| Op::Drop { device }),
        20 => device.prop_map(|device| Op::Pump { device }),
        2 => Just(Op::Hold),
        3 => Just(Op::Release),
        1 => Just(Op::BusDown),
        2 => Just(Op::BusUp),
        2 => (1..9_u8).prop_map(|events| Op::Repeat { events }),
        1 => any::<bool>().prop_map(|gracefully| Op::Restart { gracefully }),
        2 => prop_oneof![1..5_u32, 20..100_u32, 800..4000_u32, 80_000..200_000_u32].prop_map(|seconds| Op::Advance { seconds }),
    ];
    // There is something to act on from the beginning.
    let first = [Op::Group { user: 0, others: 15 }, Op::Direct { user: 0, other: 1 }];
    prop::collection::vec(op, 1..=length).prop_map(move |ops| first.into_iter().chain(ops).collect())
}
