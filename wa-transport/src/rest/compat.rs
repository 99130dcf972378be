//! The spellings of existing clients (contract, section 9), and nothing else of them anywhere: other paths and methods lead
//! to the canonical handlers, other keys of a body are renamed before these see it, and lists carry other keys for those
//! who ask for them. The OpenAPI document tells the canonical forms only.

use axum::Router;
use axum::body::Body;
use axum::extract::{FromRequestParts as _, MatchedPath, Request, State};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{delete, get, patch, post, put};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use wa_core::api::{HistoryQuery, RegisterDevice, SearchHit};
use wa_core::error::{Error, Missing};
use wa_core::id::{ChatId, MessageId, PushTokenId, UserId};
use wa_core::message::MessageView;
use wa_core::push::{DeviceToken, Platform};
use wa_core::time::Timestamp;

use super::changes::{self, DeleteQuery, NewPayload, NewReaction};
use super::envelope::{self, Answer, Done, Reply};
use super::error::ApiError;
use super::extract::{Auth, Identity, Json, Path, Query, filled, read_as, read_body};
use super::messages::PageQuery;
use super::search::SearchQuery;
use super::{BASE_PATH, Shared, auth, chats, messages, push, search, users};

/// The other paths and methods.
pub(super) fn routes(with_login: bool) -> Router<Shared> {
    let mut router = Router::new();
    if with_login {
        router = router
            .route("/auth/otp/send", post(auth::request_otp))
            .route("/auth/otp/verify", post(auth::verify_otp))
            .route("/auth/token/refresh", post(auth::refresh));
    }
    router
        .route("/users/me", put(users::update_me))
        .route("/users/contacts/{id}/block", post(users::block).delete(users::unblock))
        .route("/users/privacy", get(users::privacy).put(set_privacy))
        .route("/users/devices", post(register_device))
        .route("/users/devices/{token}", delete(forget_device))
        .route("/notifications/devices", post(register_device).delete(push::unregister))
        .route("/notifications/devices/{token}", delete(forget_device))
        .route("/chats/{id}/mute", put(chats::mute))
        .route("/messages", get(history).post(send))
        .route("/messages/read", post(mark_read))
        .route("/chats/{id}/messages/{message}", patch(edit_in_chat).delete(delete_in_chat))
        .route("/chats/{id}/messages/{message}/star", put(star_in_chat).post(star_in_chat).delete(unstar_in_chat))
        .route("/chats/{id}/messages/{message}/react", post(react_in_chat).delete(unreact_in_chat))
}

/// What is in the body of this route under other names, and how it becomes canonical. Canonical keys take precedence.
fn respelling(method: &Method, route: &str) -> Option<fn(&mut Map<String, Value>)> {
    Some(match (method.as_str(), route) {
        ("POST", "/auth/verify-otp" | "/auth/otp/verify") => |body| rename(body, "code", "otp"),
        ("POST", "/users/contacts/sync") => |body| rename(body, "phones", "phone_numbers"),
        ("POST", "/chats") => new_chat,
        ("POST", "/chats/{id}/participants") => |body| {
            if let Some(user) = body.get("user_id").filter(|_| !body.contains_key("user_ids")) {
                let users = json!([user]);
                body.insert("user_ids".to_owned(), users);
            }
        },
        ("PATCH" | "PUT", "/chats/{id}/mute") => |body| rename(body, "muted", "is_muted"),
        ("PUT", "/chats/{id}/pin") => |body| rename(body, "pinned", "is_pinned"),
        ("PUT", "/chats/{id}/disappearing") => |body| {
            let name = match body.get("timer").and_then(Value::as_u64) {
                Some(0) => "off",
                Some(86_400) => "24h",
                Some(604_800) => "7d",
                Some(7_776_000) => "90d",
                // What is no such number is refused like any other value.
                _ => return,
            };
            body.insert("timer".to_owned(), name.into());
        },
        _ => return None,
    })
}

fn rename(body: &mut Map<String, Value>, from: &str, to: &str) {
    if let Some(value) = body.get(from).filter(|_| !body.contains_key(to)).cloned() {
        body.insert(to.to_owned(), value);
    }
}

/// `other_user_id`, `member_ids` with the type told by the name, and a direct chat with a list of one.
fn new_chat(body: &mut Map<String, Value>) {
    let infers = body.contains_key("other_user_id") || body.contains_key("member_ids");
    rename(body, "other_user_id", "participant_id");
    rename(body, "member_ids", "participant_ids");
    if infers && !body.contains_key("type") {
        let is_named = body.get("name").is_some_and(|name| !name.is_null());
        body.insert("type".to_owned(), if is_named { "group" } else { "direct" }.into());
    }
    let only = match body.get("participant_ids") {
        Some(Value::Array(ids)) if ids.len() == 1 && body.get("type").is_some_and(|kind| kind == "direct") => ids.first().cloned(),
        _ => None,
    };
    if let Some(only) = only.filter(|_| !body.contains_key("participant_id")) {
        body.insert("participant_id".to_owned(), only);
    }
}

/// Gives canonical handlers what they know, and the answer what its client knows.
pub(super) async fn translate(State(rest): State<Shared>, request: Request, next: Next) -> Response {
    let mirrors = rest.mirror_lists || wants_mirrors(request.headers());
    let route = request.extensions().get::<MatchedPath>().and_then(|path| path.as_str().rsplit_once(BASE_PATH)).map(|(_, route)| route.to_owned());
    let route = route.unwrap_or_default();
    let response = match respelling(request.method(), &route) {
        Some(respell) => match respelled(&rest, request, respell).await {
            Ok(request) => next.run(request).await,
            Err(error) => ApiError::from(error).into_response(),
        },
        None if route == "/messages/search" && request.uri().query().is_some_and(names_a_chat) => match search_in_chat(&rest, request).await {
            Ok(reply) => reply.into_response(),
            Err(error) => error.into_response(),
        },
        None => next.run(request).await,
    };
    if mirrors { envelope::also(response, mirror) } else { response }
}

/// The header `X-Compat: app`.
fn wants_mirrors(headers: &HeaderMap) -> bool {
    headers.get("x-compat").is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"app"))
}

/// The request with the keys of its body renamed. What cannot be read passes as it is: its handler says what is wrong.
async fn respelled(rest: &Shared, request: Request, respell: fn(&mut Map<String, Value>)) -> Result<Request, Error> {
    let is_public = request.uri().path().contains("/auth/");
    if !is_public && !matches!(request.extensions().get(), Some(Identity::Known(_))) {
        return Ok(request);
    }
    let (parts, body) = request.into_parts();
    let body = read_body(Request::new(body), rest.backend.limits.json_body).await?.freeze();
    let body = match serde_json::from_slice::<Map<String, Value>>(&body) {
        Ok(mut object) => {
            respell(&mut object);
            Body::from(Value::Object(object).to_string())
        }
        Err(_) => Body::from(body),
    };
    Ok(Request::from_parts(parts, body))
}

/// Lists also carry `items`, `nextCursor` and `hasMore`.
fn mirror(data: &mut Value) {
    let Some(page) = data.as_object_mut() else { return };
    let (Some(next_cursor), Some(has_more)) = (page.get("next_cursor").cloned(), page.get("has_more").cloned()) else { return };
    let Some(items) = page.values().find(|value| value.is_array()).cloned() else { return };
    page.insert("items".to_owned(), items);
    page.insert("nextCursor".to_owned(), next_cursor);
    page.insert("hasMore".to_owned(), has_more);
}

/// A registered device as existing clients read it.
#[derive(Serialize)]
struct RegisteredDevice {
    id: PushTokenId,
    user_id: UserId,
    token: String,
    platform: Platform,
    created_at: Timestamp,
    updated_at: Timestamp,
}

/// POST of a device answers with what was registered.
async fn register_device(State(rest): State<Shared>, Auth(caller): Auth, Json(device): Json<RegisterDevice>) -> Answer<RegisteredDevice> {
    let DeviceToken { id, user_id, platform, address, created_at, updated_at, .. } = rest.backend.push.register(&caller, device).await?;
    Ok(Reply::created(true, RegisteredDevice { id, user_id, token: address.token, platform, created_at, updated_at }))
}

/// The token in the path.
async fn forget_device(State(rest): State<Shared>, Auth(caller): Auth, Path(token): Path<String>) -> Done {
    rest.backend.push.unregister(&caller, Some(&token)).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn set_privacy(rest: State<Shared>, caller: Auth, update: Json<wa_core::api::PrivacyUpdate>) -> Done {
    users::set_privacy(rest, caller, update).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A chat in the query, and which page of it.
#[derive(Deserialize)]
struct ChatQuery {
    #[serde(default, deserialize_with = "filled")]
    chat_id: Option<ChatId>,
}

impl ChatQuery {
    fn chat(self) -> Result<Path<ChatId>, Error> {
        self.chat_id.map(Path).ok_or_else(|| Error::invalid("chat_id", "is required"))
    }
}

/// GET `/messages?chat_id=`.
async fn history(rest: State<Shared>, caller: Auth, Query(chat): Query<ChatQuery>, page: Query<PageQuery>) -> Answer<wa_core::api::MessagePage> {
    messages::history(rest, caller, chat.chat()?, page).await
}

/// POST `/messages` with `chat_id` in the body.
async fn send(rest: State<Shared>, caller: Auth, Json(mut body): Json<Map<String, Value>>) -> Answer<MessageView> {
    let chat = id_in(&mut body, "chat_id")?;
    messages::send(rest, caller, Path(chat), Json(read_as(Value::Object(body))?)).await
}

/// POST `/messages/read` with `chat_id`, and `up_to_message_id` if not everything was read.
async fn mark_read(State(rest): State<Shared>, Auth(caller): Auth, Json(mut body): Json<Map<String, Value>>) -> Done {
    let chat = id_in(&mut body, "chat_id")?;
    let up_to = match body.get("up_to_message_id") {
        None | Some(Value::Null) => None,
        Some(_) => Some(id_in(&mut body, "up_to_message_id")?),
    };
    rest.backend.messages.mark_read(&caller, Some(chat), up_to, None).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn id_in<T: std::str::FromStr>(body: &mut Map<String, Value>, field: &str) -> Result<T, Error> {
    match body.remove(field) {
        None | Some(Value::Null) => Err(Error::invalid(field, "is required")),
        Some(value) => value.as_str().and_then(|text| text.parse().ok()).ok_or_else(|| Error::invalid(field, "must be a UUID")),
    }
}

fn names_a_chat(query: &str) -> bool {
    query.split('&').any(|parameter| parameter.strip_prefix("chat_id=").is_some_and(|id| !id.is_empty()))
}

/// GET `/messages/search?chat_id=`: a bare list of messages, each with its `score`, and once more as `message`.
async fn search_in_chat(rest: &Shared, request: Request) -> Answer<Vec<Value>> {
    let (mut parts, _) = request.into_parts();
    let Auth(caller) = Auth::from_request_parts(&mut parts, rest).await?;
    let Query(chat) = Query::<ChatQuery>::from_request_parts(&mut parts, rest).await?;
    let Query(query) = Query::<SearchQuery>::from_request_parts(&mut parts, rest).await?;
    let Path(chat) = chat.chat()?;
    let page = search::search(rest, &caller, Some(chat), query).await?;
    page.results.iter().map(flat).collect::<Result<_, _>>().map(Reply::ok).map_err(|error| Error::internal(error).into())
}

fn flat(SearchHit { message, score }: &SearchHit) -> serde_json::Result<Value> {
    let mut hit = serde_json::to_value(message)?;
    if let Some(fields) = hit.as_object_mut() {
        fields.insert("message".to_owned(), serde_json::to_value(message)?);
        fields.insert("score".to_owned(), (*score).into());
    }
    Ok(hit)
}

/// The message that a path of the form `/chats/{id}/messages/{message}` names.
async fn scoped(rest: &Shared, Auth(caller): &Auth, Path((chat, message)): Path<(ChatId, MessageId)>) -> Result<Path<MessageId>, Error> {
    // A cursor must be a message of its chat, which is all there is to ask.
    let query = HistoryQuery { cursor: Some(message), after_seq: None, limit: Some(1) };
    match rest.backend.messages.history(caller, chat, query).await {
        Ok(_) => Ok(Path(message)),
        Err(Error::BadRequest(_)) => Err(Error::not_found(Missing::Message)),
        Err(error) => Err(error),
    }
}

async fn delete_in_chat(rest: State<Shared>, caller: Auth, path: Path<(ChatId, MessageId)>, query: Query<DeleteQuery>) -> Done {
    let message = scoped(&rest, &caller, path).await?;
    changes::delete(rest, caller, message, query).await
}

async fn edit_in_chat(rest: State<Shared>, caller: Auth, path: Path<(ChatId, MessageId)>, payload: Json<NewPayload>) -> Answer<MessageView> {
    let message = scoped(&rest, &caller, path).await?;
    changes::edit(rest, caller, message, payload).await
}

/// PUT stars as POST does.
async fn star_in_chat(rest: State<Shared>, caller: Auth, path: Path<(ChatId, MessageId)>) -> Done {
    let message = scoped(&rest, &caller, path).await?;
    changes::star(rest, caller, message).await
}

async fn unstar_in_chat(rest: State<Shared>, caller: Auth, path: Path<(ChatId, MessageId)>) -> Done {
    let message = scoped(&rest, &caller, path).await?;
    changes::unstar(rest, caller, message).await
}

async fn react_in_chat(rest: State<Shared>, caller: Auth, path: Path<(ChatId, MessageId)>, reaction: Json<NewReaction>) -> Done {
    let message = scoped(&rest, &caller, path).await?;
    changes::react(rest, caller, message, reaction).await
}

async fn unreact_in_chat(rest: State<Shared>, caller: Auth, path: Path<(ChatId, MessageId)>) -> Done {
    let message = scoped(&rest, &caller, path).await?;
    changes::unreact(rest, caller, message).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn respell(method: &Method, route: &str, body: Value) -> Value {
        let Value::Object(mut body) = body else { panic!("an object") };
        respelling(method, route).expect("has other spellings")(&mut body);
        Value::Object(body)
    }

    #[test]
    fn canonical_keys_take_precedence() {
        let body = json!({"muted": true, "is_muted": false});
        assert_eq!(respell(&Method::PUT, "/chats/{id}/mute", body.clone()), body);
        let body = json!({"timer": "7d"});
        assert_eq!(respell(&Method::PUT, "/chats/{id}/disappearing", body.clone()), body);
        let body = json!({"type": "group", "name": "x", "participant_ids": ["a"]});
        assert_eq!(respell(&Method::POST, "/chats", body.clone()), body);
    }

    #[test]
    fn the_type_of_a_chat_is_told_by_its_name() {
        let of = |body| respell(&Method::POST, "/chats", body);
        assert_eq!(of(json!({"other_user_id": "a"}))["participant_id"], "a");
        assert_eq!(of(json!({"other_user_id": "a"}))["type"], "direct");
        let group = of(json!({"member_ids": ["a"], "name": "x"}));
        assert_eq!((&group["type"], &group["participant_ids"], group.get("participant_id")), (&json!("group"), &json!(["a"]), None));
        assert_eq!(of(json!({"member_ids": ["a"]}))["participant_id"], "a");
        assert_eq!(of(json!({"type": "direct", "participant_ids": ["a"]}))["participant_id"], "a");
        assert_eq!(of(json!({"type": "direct", "participant_ids": ["a", "b"]})).get("participant_id"), None);
        assert_eq!(of(json!({"participant_id": "a"})).get("type"), None, "the canonical form names its type");
    }

    #[test]
    fn only_pages_are_mirrored() {
        let mut page = json!({"chats": [1], "next_cursor": "x", "has_more": true});
        mirror(&mut page);
        assert_eq!(page, json!({"chats": [1], "items": [1], "next_cursor": "x", "nextCursor": "x", "has_more": true, "hasMore": true}));
        for mut other in [json!([1]), json!({"chats": [1], "complete": true}), json!("x")] {
            let before = other.clone();
            mirror(&mut other);
            assert_eq!(other, before);
        }
    }
}
