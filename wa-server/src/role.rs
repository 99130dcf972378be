//! The roles of a server (contract, section 8): what each serves, where it listens unless told, and what it asks of others.

use std::collections::BTreeSet;
use std::fmt;

use wa_transport::rest::Area;

/// A part of the backend that can run in a process of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Admits what comes from outside, and hands it on.
    Gateway,
    /// Login, tokens, devices.
    Auth,
    /// Profiles, contacts, privacy, presence, statuses, and where pushes go.
    User,
    /// Chats and groups.
    Chat,
    /// Messages, receipts, search, sync, and who gets an event.
    Message,
    /// Pushes.
    Notification,
    /// Files.
    Media,
    /// Sockets.
    Websocket,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 8] = [Self::Gateway, Self::Auth, Self::User, Self::Chat, Self::Message, Self::Notification, Self::Media, Self::Websocket];

    /// As it is written in the configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::Auth => "auth",
            Self::User => "user",
            Self::Chat => "chat",
            Self::Message => "message",
            Self::Notification => "notification",
            Self::Media => "media",
            Self::Websocket => "websocket",
        }
    }

    /// The inverse of [`Self::as_str`].
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == text)
    }

    /// The port of its HTTP interface, unless told otherwise.
    #[must_use]
    pub const fn http_port(self) -> u16 {
        8080 + self as u16
    }

    /// The port of its gRPC service, unless told otherwise; `None` if it has none.
    #[must_use]
    pub const fn grpc_port(self) -> Option<u16> {
        match self {
            Self::Auth | Self::User | Self::Chat | Self::Message | Self::Media => Some(9080 + self as u16),
            Self::Gateway | Self::Notification | Self::Websocket => None,
        }
    }

    /// The part of the HTTP interface that it serves.
    #[must_use]
    pub const fn area(self) -> Option<Area> {
        match self {
            Self::Auth => Some(Area::Auth),
            Self::User => Some(Area::Users),
            Self::Chat => Some(Area::Chats),
            Self::Message => Some(Area::Messages),
            Self::Media => Some(Area::Media),
            Self::Websocket => Some(Area::Socket),
            Self::Gateway | Self::Notification => None,
        }
    }

    /// Whose services it calls where they do not run beside it.
    #[must_use]
    pub const fn asks(self) -> &'static [Self] {
        match self {
            Self::Auth | Self::Notification => &[],
            Self::Gateway | Self::User | Self::Chat | Self::Message | Self::Media => &[Self::Auth],
            Self::Websocket => &[Self::Auth, Self::Message],
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The roles of one process; never none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Roles(BTreeSet<Role>);

impl Default for Roles {
    /// All of them.
    fn default() -> Self {
        Self(Role::ALL.into())
    }
}

impl Roles {
    /// These roles; `None` if there are none.
    #[must_use]
    pub fn of(roles: impl IntoIterator<Item = Role>) -> Option<Self> {
        let roles: BTreeSet<Role> = roles.into_iter().collect();
        (!roles.is_empty()).then_some(Self(roles))
    }

    /// Whether this role is among them.
    #[must_use]
    pub fn has(&self, role: Role) -> bool {
        self.0.contains(&role)
    }

    /// The roles, in the order of their ports.
    pub fn iter(&self) -> impl Iterator<Item = Role> {
        self.0.iter().copied()
    }

    /// Whether everything runs here.
    #[must_use]
    pub fn is_all(&self) -> bool {
        self.0.len() == Role::ALL.len()
    }

    /// Whether nothing runs here but the gateway, which stores nothing.
    #[must_use]
    pub fn is_gateway_alone(&self) -> bool {
        self.has(Role::Gateway) && self.0.len() == 1
    }

    /// Whether some of what uses the stores runs here and some elsewhere, so that they must be shared.
    #[must_use]
    pub fn share_stores(&self) -> bool {
        let here = self.iter().filter(|role| *role != Role::Gateway).count();
        here > 0 && here < Role::ALL.len() - 1
    }

    /// The parts of the HTTP interface that are served here.
    #[must_use]
    pub fn areas(&self) -> Vec<Area> {
        self.iter().filter_map(Role::area).collect()
    }

    /// Whose services are called from here.
    #[must_use]
    pub fn asks(&self) -> BTreeSet<Role> {
        self.iter().flat_map(|role| role.asks().iter().copied()).filter(|asked| !self.has(*asked)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_those_of_the_contract() {
        let ports: Vec<_> = Role::ALL.into_iter().map(|role| (role.as_str(), role.http_port(), role.grpc_port())).collect();
        assert_eq!(
            ports,
            [
                ("gateway", 8080, None),
                ("auth", 8081, Some(9081)),
                ("user", 8082, Some(9082)),
                ("chat", 8083, Some(9083)),
                ("message", 8084, Some(9084)),
                ("notification", 8085, None),
                ("media", 8086, Some(9086)),
                ("websocket", 8087, None),
            ]
        );
    }

    #[test]
    fn stores_are_shared_when_some_of_what_uses_them_is_elsewhere() {
        let roles = |roles: &[Role]| Roles::of(roles.iter().copied()).expect("some");
        assert!(!Roles::default().share_stores());
        assert!(!roles(&[Role::Gateway]).share_stores());
        assert!(!roles(&Role::ALL[1..]).share_stores());
        assert!(roles(&Role::ALL[2..]).share_stores());
        assert!(roles(&[Role::Gateway, Role::Auth]).share_stores());
    }
}
