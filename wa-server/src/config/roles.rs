//! Which roles run here and where the others are, and whether they can work together that way.

use url::Url;

use super::reader::{Read, Reader, list, problem, shown};
use super::{Config, PeersConfig, Raw, http_url};
use crate::role::{Role, Roles};

/// The keys of a role's addresses.
const fn keys(role: Role) -> (&'static str, Option<&'static str>) {
    match role {
        Role::Gateway => ("peers.gateway.http", None),
        Role::Auth => ("peers.auth.http", Some("peers.auth.grpc")),
        Role::User => ("peers.user.http", Some("peers.user.grpc")),
        Role::Chat => ("peers.chat.http", Some("peers.chat.grpc")),
        Role::Message => ("peers.message.http", Some("peers.message.grpc")),
        Role::Notification => ("peers.notification.http", None),
        Role::Media => ("peers.media.http", Some("peers.media.grpc")),
        Role::Websocket => ("peers.websocket.http", None),
    }
}

pub(super) fn read(raw: &Raw) -> Read<Roles> {
    let fix = "write \"all\", or some of gateway, auth, user, chat, message, notification, media, websocket";
    let names = list(raw, fix)?;
    if names.iter().any(|name| name == "all") || names.is_empty() {
        return Ok(Roles::default());
    }
    if !cfg!(feature = "cluster") {
        return problem("is not supported by this build", "build with the feature cluster, or remove it: all roles then run in this process");
    }
    let mut roles = Vec::with_capacity(names.len());
    for name in &names {
        match Role::parse(name.trim()) {
            Some(role) => roles.push(role),
            None => return problem(format!("\"{}\" is not a role", shown(name)), fix),
        }
    }
    Roles::of(roles).map_or_else(|| problem("names no role", fix), Ok)
}

/// Where a role is, in one process or in several.
fn urls(raw: &Raw) -> Read<Vec<Url>> {
    let fix = "write an http or https URL, or several with commas between them, such as \"http://10.0.0.1:8080,http://10.0.0.2:8080\"";
    let all = list(raw, fix)?;
    if all.is_empty() {
        return problem("names no URL", fix);
    }
    all.into_iter().map(|url| http_url(&Raw::Text(url))).collect()
}

pub(super) fn peers(from: &mut Reader) -> PeersConfig {
    let mut peers = PeersConfig::default();
    for role in Role::ALL {
        let (http, grpc) = keys(role);
        if let Some(all) = from.take(http, None, |raw| urls(raw).map(Some)) {
            peers.http.insert(role, all);
        }
        if let Some(all) = grpc.and_then(|grpc| from.take(grpc, None, |raw| urls(raw).map(Some))) {
            peers.grpc.insert(role, all);
        }
    }
    peers
}

/// Refuses what cannot work.
pub(super) fn check(from: &mut Reader, config: &Config) {
    let roles = &config.server.roles;
    for asked in roles.asks() {
        let (_, Some(key)) = keys(asked) else { continue };
        if !config.peers.grpc.contains_key(&asked) {
            let port = asked.grpc_port().unwrap_or_default();
            from.refuse(
                key,
                format!("is missing, but a role here calls {asked}, which runs elsewhere"),
                format!("write where it is, such as \"http://127.0.0.1:{port}\""),
            );
        }
    }
    if roles.has(Role::Gateway) {
        for elsewhere in Role::ALL.into_iter().filter(|role| role.area().is_some() && !roles.has(*role)) {
            let (key, _) = keys(elsewhere);
            if !config.peers.http.contains_key(&elsewhere) {
                let fix = format!("write where it is, such as \"http://127.0.0.1:{}\"", elsewhere.http_port());
                from.refuse(key, format!("is missing, but the gateway hands requests on to {elsewhere}"), fix);
            }
        }
    }
    if roles.share_stores() {
        check_stores(from, config);
    }
}

/// Roles of one installation in several processes stand on the same stores.
fn check_stores(from: &mut Reader, config: &Config) {
    let storage = &config.storage;
    let why = "is for one process, but roles of this installation run in several";
    if !config.database_url().starts_with("postgres") {
        from.refuse("storage.database", why, "write postgres://… with a database that all of them use, or run all roles but the gateway in one process");
    }
    if storage.cache.as_deref().is_none_or(|cache| !cache.starts_with("redis")) {
        from.refuse("storage.cache", why, "write redis://… with a server that all of them use");
    }
    if !has_shared_events(config) {
        from.refuse("storage.events", why, "write nats://… with a server that all of them use");
    }
    if storage.media.is_none() {
        from.refuse("storage.media", why, "write s3://…, or file://… with a folder that all of them see");
    }
    if config.auth.jwt_secret.is_none() {
        from.refuse(
            "auth.jwt_secret",
            "is made by each process for itself unless set, but roles of this installation run in several",
            "set the same secret for all of them",
        );
    }
    if config.server.public_url.is_none() {
        from.refuse(
            "server.public_url",
            "is missing, and where this process listens is not where people reach the installation",
            "write the URL of the gateway as people reach it",
        );
    }
}

/// Whether events reach other processes.
const fn has_shared_events(config: &Config) -> bool {
    #[cfg(feature = "cluster")]
    return config.storage.events.is_some();
    #[cfg(not(feature = "cluster"))]
    {
        let _ = config;
        false
    }
}
