//! The people of the matrix, and what they have: a group that some are in and some were, a direct chat, a direct chat in which
//! one has blocked the other, and messages of all kinds.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use reqwest::multipart::{Form, Part};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Caller, Nobody, Object, On};
use crate::media::png;
use crate::support::{Answer, Person, TestServer, fresh_phone, http};

/// The people. Everybody is logged in once.
#[derive(Clone)]
pub(super) struct Cast {
    pub(super) server: Arc<TestServer>,
    admin: Person,
    member: Person,
    /// A member to whom things are done.
    victim: Person,
    /// Somebody else's id.
    other: String,
    left: Person,
    kicked: Person,
    stranger: Person,
    blocked: Person,
    blocker: Person,
    expired: String,
    revoked: String,
    removed_device: String,
    erased: Person,
    quarrel: String,
    /// What the blocked wrote before they were blocked, and after.
    heard: String,
    withheld: String,
    /// A direct chat of each with the victim.
    own_chats: BTreeMap<String, String>,
    gone: String,
    /// A user nobody has anything to do with.
    nobody_yet: String,
    /// A device of the member that is theirs to remove.
    own_device: String,
    otp: (String, String),
    refresh: String,
    /// The picture of the admin.
    avatar: String,
    /// A file of the victim's that was not sent.
    unsent: String,
    /// By user: a file of theirs.
    files: BTreeMap<String, String>,
    pub(super) scene: Arc<Scene>,
}

/// What they have.
#[derive(Debug, Default)]
pub(super) struct Scene {
    group: String,
    pair: String,
    pair_newest: String,
    newest: String,
    tombstone: String,
    hidden: String,
    code: String,
    /// A file in a message of the group.
    sent_file: String,
    /// By user: a message of theirs in the group.
    messages: BTreeMap<String, String>,
    own_status: String,
    other_status: String,
}

fn id(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("no id: {value}")).to_owned()
}

impl Person {
    /// Sends a picture as this part of a form.
    async fn form(&self, method: reqwest::Method, path: &str, part: &'static str) -> Answer {
        let form = Form::new().text("type", "image").part(part, Part::bytes(png(8, 8, 1)).file_name("a.png"));
        Answer::of(http().request(method, format!("http://{}/api/v1{path}", self.address)).bearer_auth(&self.access).multipart(form)).await
    }

    /// The id of a file of theirs.
    async fn upload(&self) -> String {
        id(&self.form(reqwest::Method::POST, "/media/upload", "file").await.ok(201)["media_id"])
    }
}

impl Cast {
    pub(super) async fn new() -> Self {
        // Each scene has statuses of the same people.
        let (server, clock) = TestServer::with_clock(|config| config.limits.statuses = 10_000).await;
        let server = Arc::new(server);
        let expired = server.somebody().await.access;
        clock.advance(Duration::from_secs(16 * 60));
        let mut people = Vec::new();
        for _ in 0..11 {
            people.push(server.somebody().await);
        }
        let mut next = || people.pop().unwrap();
        let (admin, member, victim, left, kicked) = (next(), next(), next(), next(), next());
        let (stranger, blocked, blocker, erased) = (next(), next(), next(), next());
        let (other, nobody_yet) = (next().id, next().id);
        let second = server.login(&member.phone).await;
        member.delete(&format!("/auth/devices/{}", second.device)).await.ok(204);
        erased.call(reqwest::Method::DELETE, "/users/me", Some(json!({ "confirm": erased.phone }))).await.ok(204);
        for (one, other) in [(&member, &victim), (&victim, &member)] {
            one.post("/users/contacts/sync", json!({ "phone_numbers": [other.phone] })).await.ok(200);
        }
        let quarrel = blocked.chat_with(&blocker).await;
        let heard = id(&blocked.say(&quarrel, "hello").await["message_id"]);
        blocker.post(&format!("/users/{}/block", blocked.id), Value::Null).await.ok(204);
        let withheld = id(&blocked.say(&quarrel, "hello?").await["message_id"]);
        let mut own_chats = BTreeMap::new();
        for person in [&admin, &member, &left, &kicked, &stranger, &blocked, &blocker] {
            own_chats.insert(person.id.clone(), person.chat_with(&victim).await);
        }
        let answer = admin.post("/chats", json!({ "type": "group", "name": "Gone", "participant_ids": [left.id] })).await.ok(201);
        let gone = id(&answer["chat_id"]);
        for person in [&left, &admin] {
            person.delete(&format!("/chats/{gone}/participants/{}", person.id)).await.ok(204);
        }
        let avatar = admin.form(reqwest::Method::PUT, "/users/me/avatar", "avatar").await.ok(200);
        let avatar = id(&avatar["avatar_url"]).rsplit('/').next().unwrap().to_owned();
        let unsent = victim.upload().await;
        let mut files = BTreeMap::new();
        for person in [&stranger, &member] {
            files.insert(person.id.clone(), person.upload().await);
        }
        let mut cast = Self {
            avatar,
            unsent,
            files,
            server,
            admin,
            member,
            victim,
            other,
            left,
            kicked,
            stranger,
            blocked,
            blocker,
            expired,
            revoked: second.access,
            removed_device: second.device,
            erased,
            quarrel,
            heard,
            withheld,
            own_chats,
            gone,
            nobody_yet,
            own_device: String::new(),
            otp: (String::new(), String::new()),
            refresh: String::new(),
            scene: Arc::default(),
        };
        cast.scene = Arc::new(Scene::new(&cast).await);
        cast
    }

    /// With what one use of this operation needs and uses up.
    pub(super) async fn for_one(&self, operation: &str) -> Self {
        let mut cast = self.clone();
        match operation {
            "DELETE /users/me" => cast.member = self.server.somebody().await,
            "POST /auth/logout" => cast.member = self.server.login(&self.member.phone).await,
            "POST /auth/refresh" => cast.refresh = self.server.login(&self.member.phone).await.refresh,
            "POST /auth/verify-otp" => {
                let phone = fresh_phone();
                cast.otp = (phone.clone(), self.server.otp(&phone).await);
            }
            "DELETE /auth/devices/{id}" => cast.own_device = self.server.login(&self.member.phone).await.device,
            "POST /chats" | "POST /chats/{id}/participants" => cast.nobody_yet = self.server.somebody().await.id,
            _ => {}
        }
        cast
    }

    pub(super) const fn person(&self, caller: Caller) -> &Person {
        match caller {
            Caller::Stranger => &self.stranger,
            Caller::Left => &self.left,
            Caller::Kicked => &self.kicked,
            Caller::Member => &self.member,
            Caller::Admin => &self.admin,
            Caller::Blocked => &self.blocked,
            Caller::Blocker => &self.blocker,
        }
    }

    pub(super) fn token(&self, nobody: Nobody) -> Option<String> {
        Some(match nobody {
            Nobody::NoToken => return None,
            Nobody::Malformed => "no.token.atall".to_owned(),
            Nobody::Expired => self.expired.clone(),
            Nobody::RevokedDevice => self.revoked.clone(),
            Nobody::DeletedAccount => self.erased.access.clone(),
        })
    }
}

impl Scene {
    pub(super) async fn new(cast: &Cast) -> Self {
        let Cast { admin, member, victim, left, kicked, .. } = cast;
        let members: Vec<&str> = [member, victim, left, kicked].map(|person| person.id.as_str()).to_vec();
        let answer = admin.post("/chats", json!({ "type": "group", "name": "Group", "participant_ids": members })).await.ok(201);
        let group = id(&answer["chat_id"]);
        let mut messages = BTreeMap::new();
        for person in [admin, member, victim, left, kicked] {
            messages.insert(person.id.clone(), id(&person.say(&group, "hello").await["message_id"]));
        }
        let tombstone = id(&victim.say(&group, "to be deleted").await["message_id"]);
        victim.delete(&format!("/messages/{tombstone}?for=everyone")).await.ok(204);
        let hidden = id(&victim.say(&group, "to be hidden").await["message_id"]);
        for person in [admin, member] {
            person.delete(&format!("/messages/{hidden}?for=me")).await.ok(204);
        }
        let sent_file = victim.upload().await;
        let message = json!({ "client_msg_id": Uuid::new_v4(), "type": "image", "payload": { "media_id": sent_file } });
        victim.post(&format!("/chats/{group}/messages"), message).await.ok(201);
        let newest = id(&victim.say(&group, "the newest").await["message_id"]);
        let pair = admin.chat_with(member).await;
        let pair_newest = id(&admin.say(&pair, "hello").await["message_id"]);
        let code = id(&admin.post(&format!("/chats/{group}/invite"), Value::Null).await.ok(201)["code"]);
        left.delete(&format!("/chats/{group}/participants/{}", left.id)).await.ok(204);
        admin.delete(&format!("/chats/{group}/participants/{}", kicked.id)).await.ok(204);
        let status = json!({ "type": "text", "content": "hello" });
        let own_status = id(&member.post("/users/statuses", status.clone()).await.ok(201)["id"]);
        let other_status = id(&victim.post("/users/statuses", status).await.ok(201)["id"]);
        Self { group, pair, pair_newest, newest, tombstone, hidden, code, sent_file, messages, own_status, other_status }
    }

    /// What a change would show in.
    pub(super) async fn state(&self, cast: &Cast) -> Value {
        let mut state = Vec::new();
        for chat in [&self.group, &self.pair] {
            state.push(cast.admin.get(&format!("/chats/{chat}")).await.ok(200));
            state.push(cast.admin.get(&format!("/chats/{chat}/messages?limit=100")).await.ok(200));
        }
        json!(state)
    }

    /// The id of an object as this caller means it.
    fn id(&self, cast: &Cast, caller: Caller, object: Object, on: On) -> String {
        let person = cast.person(caller);
        match (object, on) {
            (Object::Absent, _) => Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0001).to_string(),
            (Object::Gone, On::User) => cast.erased.id.clone(),
            (Object::Gone, On::Device) => cast.removed_device.clone(),
            (Object::Gone, _) => cast.gone.clone(),
            (Object::Group, _) => self.group.clone(),
            (Object::Pair, _) => self.pair.clone(),
            (Object::Quarrel, _) => cast.quarrel.clone(),
            (Object::Own, _) => self.messages[&person.id].clone(),
            (Object::Others, _) => self.messages[&cast.victim.id].clone(),
            (Object::Tombstone, _) => self.tombstone.clone(),
            (Object::Hidden, _) => self.hidden.clone(),
            (Object::Withheld, _) => cast.withheld.clone(),
            (Object::Self_, On::Nobody) => cast.avatar.clone(),
            (Object::Self_, _) => person.id.clone(),
            (Object::OtherUser, _) => cast.other.clone(),
            (Object::OwnDevice, _) => cast.own_device.clone(),
            (Object::OwnStatus, _) => self.own_status.clone(),
            (Object::OtherStatus, _) => self.other_status.clone(),
            (Object::OtherDevice, _) => cast.victim.device.clone(),
            (Object::OwnFile, _) => cast.files[&person.id].clone(),
            (Object::SentFile, _) => self.sent_file.clone(),
            (Object::UnsentFile, _) => cast.unsent.clone(),
        }
    }

    /// Puts ids in place of what stands for them.
    pub(super) fn fill(&self, cast: &Cast, caller: Caller, object: Object, on: On, text: &str) -> String {
        let person = cast.person(caller);
        let newest = match object {
            Object::Group => &self.newest,
            Object::Pair => &self.pair_newest,
            Object::Quarrel => &cast.heard,
            _ => &self.tombstone,
        };
        let own_chat = cast.own_chats.get(&person.id).cloned().unwrap_or_default();
        let target = self.id(cast, caller, object, on);
        let text = text.replace("{id}", &target).replace("{user_id}", &cast.victim.id);
        let text = text.replace("$chat", &target).replace("$message", &target).replace("$user", &target);
        let text = text.replace("$newest", newest).replace("$fresh", &Uuid::new_v4().to_string()).replace("$own_chat", &own_chat);
        let text = text.replace("$nobody_yet", &cast.nobody_yet).replace("$code", &self.code).replace("$refresh", &cast.refresh);
        text.replace("$otp_phone", &cast.otp.0).replace("$otp", &cast.otp.1).replace("$phone", &person.phone)
    }
}
