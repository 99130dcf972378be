//! The authorization matrix: every operation of the REST document and every client event, tried by everybody on everything,
//! each cell compared with the rule of its row (`matrix/rows.rs`). What is refused must not tell whether the object exists, and
//! must leave everything as it was.

#[path = "matrix/rows.rs"]
mod rows;
#[path = "matrix/scene.rs"]
mod scene;

use reqwest::multipart::{Form, Part};
use serde_json::Value;
use wa_transport::rest::{RestOptions, openapi};
use wa_transport::ws::frame::ClientEvent;

use self::rows::{On, Row};
use self::scene::{Cast, Scene};
use crate::media::png;
use crate::support::{Answer, Socket, http};

/// Who tries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Caller {
    /// Never was in the group, nor in the chat.
    Stranger,
    Left,
    Kicked,
    Member,
    Admin,
    /// Was blocked by the other side of the quarrel.
    Blocked,
    /// Has blocked it.
    Blocker,
}

/// Whose token says nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Nobody {
    NoToken,
    Malformed,
    Expired,
    RevokedDevice,
    DeletedAccount,
}

/// On what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Object {
    /// There is none with this id.
    Absent,
    /// A group that ended; a user who was erased; a device that was removed.
    Gone,
    Group,
    /// The direct chat of admin and member.
    Pair,
    /// The direct chat in which one has blocked the other.
    Quarrel,
    /// A message of the caller in the group.
    Own,
    /// A message of another member.
    Others,
    /// A message that was deleted for everyone.
    Tombstone,
    /// A message that the caller deleted for themselves.
    Hidden,
    /// A message that the blocked wrote, and the blocker never sees.
    Withheld,
    Self_,
    OtherUser,
    OwnDevice,
    OtherDevice,
    OwnStatus,
    /// A status of somebody whom the member knows, and the stranger does not.
    OtherStatus,
    /// A file that the caller uploaded.
    OwnFile,
    /// A file in a message of the group.
    SentFile,
    /// A file of somebody else that was not sent.
    UnsentFile,
}

/// What must come of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Done(u16),
    Refused(u16, &'static str),
}

const INSIDERS: [Caller; 5] = [Caller::Stranger, Caller::Left, Caller::Kicked, Caller::Member, Caller::Admin];

/// The cells of a row beside those of the callers that are nobody.
fn cells(on: On) -> Vec<(Caller, Object)> {
    use Caller::{Admin, Blocked, Blocker, Kicked, Left, Member, Stranger};
    let product = |callers: &[Caller], objects: &[Object]| -> Vec<(Caller, Object)> {
        callers.iter().flat_map(|caller| objects.iter().map(|object| (*caller, *object)).collect::<Vec<_>>()).collect()
    };
    match on {
        On::Nobody => vec![(Stranger, Object::Self_)],
        On::Caller => vec![(Member, Object::Self_)],
        On::User => product(&[Stranger, Member, Blocked], &[Object::Self_, Object::OtherUser, Object::Absent, Object::Gone]),
        On::Device => product(&[Member], &[Object::OwnDevice, Object::OtherDevice, Object::Absent, Object::Gone]),
        On::Status => {
            let mut cells = product(&[Stranger, Member], &[Object::OtherStatus, Object::Absent]);
            cells.push((Member, Object::OwnStatus));
            cells
        }
        On::Chat => {
            let mut cells = product(&INSIDERS, &[Object::Absent, Object::Gone, Object::Group]);
            cells.extend(product(&[Stranger, Member], &[Object::Pair]));
            cells.extend(product(&[Stranger, Blocked, Blocker], &[Object::Quarrel]));
            cells
        }
        On::Message => {
            let mut cells = product(&INSIDERS, &[Object::Absent, Object::Others, Object::Tombstone]);
            cells.extend(product(&[Left, Kicked, Member, Admin], &[Object::Own]));
            cells.extend(product(&[Member, Admin], &[Object::Hidden]));
            cells.extend(product(&[Stranger, Blocker], &[Object::Withheld]));
            cells
        }
        On::File => {
            let mut cells = product(&INSIDERS, &[Object::Absent, Object::SentFile, Object::UnsentFile]);
            cells.extend(product(&[Stranger, Member], &[Object::OwnFile]));
            cells
        }
    }
}

/// Every operation by its name: of the REST document, then of the socket.
fn operations() -> Vec<String> {
    let document = openapi(&RestOptions::default(), true);
    let mut operations = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for method in item.as_object().unwrap().keys() {
            operations.push(format!("{} {}", method.to_ascii_uppercase(), path.trim_start_matches("/api/v1")));
        }
    }
    operations.extend(ClientEvent::ALL.iter().map(|(name, _)| (*name).to_owned()));
    operations
}

/// An operation about to be tried: everything but who tries it.
struct Attempt<'a> {
    operation: &'a str,
    row: &'a Row,
}

impl Attempt<'_> {
    fn is_event(&self) -> bool {
        !self.operation.contains(' ')
    }

    /// Tries it over REST with this token.
    async fn over_rest(&self, cast: &Cast, scene: &Scene, caller: Caller, object: Object, token: Option<&str>) -> (u16, Value) {
        let (method, template) = self.operation.split_once(' ').unwrap();
        let path = scene.fill(cast, caller, object, self.row.on, template) + self.row.query;
        let base = if template.starts_with("/health") || ["/ready", "/metrics", "/openapi.json"].contains(&template) { "" } else { "/api/v1" };
        let mut request = http().request(method.parse().unwrap(), cast.server.url(&format!("{base}{path}")));
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        if let Some(part) = self.row.part {
            let file = Part::bytes(png(8, 8, 1)).file_name("a.png");
            request = request.multipart(Form::new().text("type", "image").part(part, file));
        }
        if !self.row.body.is_null() {
            let text = scene.fill(cast, caller, object, self.row.on, &self.row.body.to_string());
            request = request.header("content-type", "application/json").body(text);
        }
        let answer = Answer::of(request).await;
        (answer.status, answer.body)
    }

    async fn over_socket(&self, cast: &Cast, scene: &Scene, caller: Caller, object: Object) -> (u16, Value) {
        let data: Value = serde_json::from_str(&scene.fill(cast, caller, object, self.row.on, &self.row.body.to_string())).unwrap();
        let mut socket = cast.person(caller).connect().await;
        let answer = socket.ask(self.operation, data).await;
        socket.close().await;
        if answer["event"] != "error" {
            return (200, answer);
        }
        let status = u16::try_from(answer["data"]["code"].as_i64().unwrap() - 3600).unwrap();
        (status, serde_json::json!({ "error": { "code": answer["data"]["name"], "message": answer["data"]["message"] } }))
    }

    async fn tried(&self, cast: &Cast, scene: &Scene, caller: Caller, object: Object) -> (u16, Value) {
        if self.is_event() {
            self.over_socket(cast, scene, caller, object).await
        } else {
            self.over_rest(cast, scene, caller, object, Some(&cast.person(caller).access)).await
        }
    }

    /// Whether an answer is as it must be; the socket knows fewer statuses.
    fn fits(&self, outcome: Outcome, status: u16, body: &Value) -> bool {
        match outcome {
            Outcome::Done(ok) => status == ok,
            Outcome::Refused(of, code) => {
                let is_status = if self.is_event() && (of == 422 || of == 400) { status == 400 } else { status == of };
                is_status && body["error"]["code"] == code
            }
        }
    }
}

/// What an answer tells, without what differs from one to the next.
fn told(answer: &(u16, Value)) -> (u16, Value) {
    let mut body = answer.1.clone();
    if let Some(body) = body.as_object_mut() {
        body.remove("meta");
    }
    (answer.0, body)
}

#[test]
fn every_operation_has_a_rule() {
    let without: Vec<String> = operations().into_iter().filter(|operation| rows::of(operation).is_none()).collect();
    assert!(without.is_empty(), "give these a row in tests/e2e/matrix/rows.rs: {without:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everybody_may_do_what_the_rules_say_and_nothing_else() {
    let cast = Cast::new().await;
    let mut wrong = Vec::new();
    let mut tried = 0;
    let only = std::env::var("WA_MATRIX_OPERATION").ok();
    for operation in operations().into_iter().filter(|operation| only.as_ref().is_none_or(|only| only == operation)) {
        let row = rows::of(&operation).unwrap();
        let attempt = Attempt { operation: &operation, row: &row };
        tried += nobodies(&cast, &attempt, &mut wrong).await;
        tried += somebodies(&cast, &attempt, &mut wrong).await;
    }
    println!("matrix: {tried} cells");
    assert!(wrong.is_empty(), "{} cells are wrong:\n{}", wrong.len(), wrong.join("\n"));
}

/// The matrix must find a defect that is planted in what a row stands for.
#[cfg(feature = "planted")]
#[test]
fn defects_of_authorization_are_caught() {
    let defects = [
        ("stranger_told", "GET /chats/{id}", "by Stranger on Group"),
        ("revoked_accepted", "GET /users/me", "by RevokedDevice"),
        ("role_unchecked", "PATCH /chats/{id}", "by Member on Group"),
        ("left_let_in", "POST /chats/{id}/messages", "by Kicked on Group"),
        ("file_seen_by_all", "GET /media/{id}", "by Stranger on SentFile"),
    ];
    for (defect, operation, says) in defects {
        let mut program = std::process::Command::new(std::env::current_exe().unwrap());
        program.args(["matrix::everybody_may_do_what_the_rules_say_and_nothing_else", "--exact", "--nocapture"]);
        let run = program.env("WA_PLANTED", defect).env("WA_MATRIX_OPERATION", operation).output().unwrap();
        let said = String::from_utf8_lossy(&[run.stdout, run.stderr].concat()).into_owned();
        assert!(!run.status.success() && said.contains(says), "{defect} is not caught:\n{said}");
    }
}

#[tokio::test]
async fn socket_upgrades_need_a_token() {
    let cast = Cast::new().await;
    for nobody in Nobody::ALL {
        let asked = http().get(cast.server.url("/ws")).header("connection", "upgrade").header("upgrade", "websocket");
        let asked = asked.header("sec-websocket-version", "13").header("sec-websocket-key", "AAAAAAAAAAAAAAAAAAAAAA==");
        let Some(token) = cast.token(nobody) else {
            Answer::of(asked).await.refused(401, nobody.code());
            continue;
        };
        Answer::of(asked.bearer_auth(&token)).await.refused(401, nobody.code());
        let mut socket = Socket::connect(&format!("ws://{}/ws?token={token}", cast.server.address)).await;
        assert_eq!(socket.close_code().await, 4001, "{nobody:?}");
    }
}

/// Those whose token says nothing get the same answer whatever they ask for.
async fn nobodies(cast: &Cast, attempt: &Attempt<'_>, wrong: &mut Vec<String>) -> usize {
    if attempt.row.on == On::Nobody || attempt.is_event() {
        // A socket is refused before any event can be sent; `socket_upgrades_need_a_token` has those cells.
        return 0;
    }
    let objects = match attempt.row.on {
        On::Nobody | On::Caller => [Object::Self_, Object::Self_],
        On::User => [Object::OtherUser, Object::Absent],
        On::Device => [Object::OtherDevice, Object::Absent],
        On::Status => [Object::OtherStatus, Object::Absent],
        On::Chat => [Object::Pair, Object::Absent],
        On::Message => [Object::Others, Object::Absent],
        On::File => [Object::SentFile, Object::Absent],
    };
    let mut tried = 0;
    for nobody in Nobody::ALL {
        let mut answers = Vec::new();
        for object in objects {
            let token = cast.token(nobody);
            let answer = attempt.over_rest(cast, &cast.scene, Caller::Stranger, object, token.as_deref()).await;
            if !attempt.fits(Outcome::Refused(401, nobody.code()), answer.0, &answer.1) {
                wrong.push(format!("{} by {nobody:?} on {object:?}: {} {}", attempt.operation, answer.0, answer.1["error"]["code"]));
            }
            answers.push(told(&answer));
            tried += 1;
        }
        if answers[0] != answers[1] {
            wrong.push(format!("{} tells {nobody:?} what exists: {answers:?}", attempt.operation));
        }
    }
    tried
}

/// First everything that is refused, after which nothing may have changed; then what is allowed, each in a scene of its own.
async fn somebodies(cast: &Cast, attempt: &Attempt<'_>, wrong: &mut Vec<String>) -> usize {
    let row = attempt.row;
    let cells = cells(row.on);
    let shared = Scene::new(cast).await;
    let before = shared.state(cast).await;
    let mut absent: Vec<(Caller, (u16, Value))> = Vec::new();
    let mut allowed = Vec::new();
    for (caller, object) in &cells {
        let outcome = row.outcome(*caller, *object);
        if matches!(outcome, Outcome::Done(_)) {
            allowed.push((*caller, *object));
            continue;
        }
        let answer = attempt.tried(cast, &shared, *caller, *object).await;
        if !attempt.fits(outcome, answer.0, &answer.1) {
            wrong.push(format!("{} by {caller:?} on {object:?} must be {outcome:?}: {} {}", attempt.operation, answer.0, answer.1));
        }
        if answer.0 == 404 {
            absent.push((*caller, told(&answer)));
        }
    }
    for caller in INSIDERS {
        let mut of_caller = absent.iter().filter(|(of, _)| *of == caller).map(|(_, answer)| answer);
        if let Some(first) = of_caller.next()
            && let Some(other) = of_caller.find(|other| *other != first)
        {
            wrong.push(format!("{} tells {caller:?} what exists: {first:?} and {other:?}", attempt.operation));
        }
    }
    let after = shared.state(cast).await;
    if before != after {
        wrong.push(format!("{} changed something by what was refused: {before} became {after}", attempt.operation));
    }
    for (caller, object) in &allowed {
        let cast = &cast.for_one(attempt.operation).await;
        let scene = if attempt.operation.starts_with("GET") { None } else { Some(Scene::new(cast).await) };
        let answer = attempt.tried(cast, scene.as_ref().unwrap_or(&shared), *caller, *object).await;
        let outcome = row.outcome(*caller, *object);
        if !attempt.fits(outcome, answer.0, &answer.1) {
            wrong.push(format!("{} by {caller:?} on {object:?} must be {outcome:?}: {} {}", attempt.operation, answer.0, answer.1));
        }
    }
    cells.len()
}

impl Nobody {
    const ALL: [Self; 5] = [Self::NoToken, Self::Malformed, Self::Expired, Self::RevokedDevice, Self::DeletedAccount];

    const fn code(self) -> &'static str {
        match self {
            Self::NoToken => "UNAUTHORIZED",
            Self::Expired => "TOKEN_EXPIRED",
            Self::Malformed | Self::RevokedDevice | Self::DeletedAccount => "TOKEN_INVALID",
        }
    }
}
