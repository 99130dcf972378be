//! Which part of the HTTP interface a path belongs to. Each part is served by one role, so that a process of some roles serves
//! its own parts, and a gateway knows where the others are.

use axum::Router;
use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use tower::ServiceExt as _;

use super::BASE_PATH;

/// A part of the HTTP interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Area {
    /// Login, tokens and devices.
    Auth,
    /// Profiles, contacts, privacy, presence, statuses, and where pushes go.
    Users,
    /// Chats and groups.
    Chats,
    /// Messages, search and sync.
    Messages,
    /// Files, and the pictures of users and groups.
    Media,
    /// The socket.
    Socket,
}

impl Area {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Auth, Self::Users, Self::Chats, Self::Messages, Self::Media, Self::Socket];

    /// The part that a path belongs to; `None` for what every process serves of its own, such as `/health`, and for what nobody
    /// does.
    #[must_use]
    pub fn of(path: &str) -> Option<Self> {
        if path == "/ws" {
            return Some(Self::Socket);
        }
        if path.starts_with("/media/files/") {
            return Some(Self::Media);
        }
        let mut parts = path.strip_prefix(BASE_PATH)?.strip_prefix('/')?.split('/');
        let (first, second, third) = (parts.next()?, parts.next(), parts.next());
        Some(match (first, second, third) {
            ("auth", ..) => Self::Auth,
            ("users", Some("me"), Some("avatar")) | ("chats", Some(_), Some("avatar")) | ("media", ..) => Self::Media,
            ("users" | "notifications" | "push", ..) => Self::Users,
            ("chats", Some(_), Some("messages")) | ("messages" | "sync", ..) => Self::Messages,
            ("chats", ..) => Self::Chats,
            _ => return None,
        })
    }
}

/// The router for paths of these parts and of no part, and another one for the paths of all other parts.
pub fn only(router: Router, areas: &[Area], elsewhere: Router) -> Router {
    let areas = areas.to_vec();
    router.layer(from_fn(move |request: Request, next: Next| {
        let is_here = Area::of(request.uri().path()).is_none_or(|area| areas.contains(&area));
        let elsewhere = elsewhere.clone();
        async move {
            if is_here {
                return next.run(request).await;
            }
            // What the routes here noted in the request is not for those elsewhere.
            let Ok(response) = elsewhere.oneshot(request).await;
            response
        }
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_documented_route_belongs_to_the_part_that_serves_it() {
        let document = crate::rest::openapi(&crate::rest::RestOptions::default(), true);
        let paths: Vec<&String> = document["paths"].as_object().expect("paths").keys().collect();
        let mut areas: Vec<String> = Vec::new();
        for path in paths {
            areas.push(format!("{path} {:?}", Area::of(path)));
        }
        insta::assert_snapshot!(areas.join("\n"));
    }

    #[test]
    fn other_spellings_belong_where_the_canonical_ones_do() {
        for (path, area) in [
            ("/ws", Some(Area::Socket)),
            ("/media/files/originals/x.png", Some(Area::Media)),
            ("/api/v1/auth/otp/send", Some(Area::Auth)),
            ("/api/v1/notifications/devices/x", Some(Area::Users)),
            ("/api/v1/users/privacy", Some(Area::Users)),
            ("/api/v1/messages", Some(Area::Messages)),
            ("/api/v1/chats/x/messages/y/star", Some(Area::Messages)),
            ("/api/v1/chats/x/mute", Some(Area::Chats)),
            ("/", None),
            ("/health", None),
            ("/api/v1", None),
            ("/api/v1/", None),
            ("/api/v1/other", None),
            ("//ws", None),
        ] {
            assert_eq!(Area::of(path), area, "{path}");
        }
    }
}
