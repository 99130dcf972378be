//! An installation with everything in it is copied to another database and another store of files, and nobody notices.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};
use sqlx::{Connection as _, Executor as _, PgConnection, SqliteConnection};
use tokio::sync::Notify;
use wa_core::ports::Env;
use wa_server::storage::transfer::{Before, Installation, Mode, Report, Step, Transfer, TransferError};
use wa_server::{Config, SystemEnv};
use wa_storage::conformance::ScratchDatabase;

use crate::media::{png, upload};
use crate::support::{Person, TestServer};

/// What people see, by what they asked.
type Views = BTreeMap<String, Value>;

/// An installation that was used, and what its people saw last.
struct World {
    config: Config,
    data: Arc<tempfile::TempDir>,
    people: Vec<Person>,
    views: Views,
}

/// Takes out what tells when and where it was asked, and not what.
fn steady(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|name, value| {
                !matches!(name.as_str(), "last_active_at" | "last_seen" | "url_expires_at")
                    && !value.as_str().is_some_and(|text| text.contains("/media/files/") || text.contains("X-Amz-"))
            });
            fields.values_mut().for_each(steady);
        }
        Value::Array(items) => items.iter_mut().for_each(steady),
        _ => {}
    }
}

async fn views(people: &[Person]) -> Views {
    let mut views = Views::new();
    for person in people {
        let chats = person.get("/chats?limit=100").await.ok(200);
        let mut paths: Vec<String> =
            ["/messages/starred", "/users/contacts", "/users/statuses", "/users/statuses/me", "/auth/devices", "/users/me", "/users/me/privacy"]
                .map(str::to_owned)
                .into();
        for word in ["garden", "picture", "changed", "forgotten"] {
            paths.push(format!("/messages/search?q={word}"));
        }
        for chat in chats["chats"].as_array().expect("chats") {
            let id = chat["chat_id"].as_str().expect("an id");
            paths.push(format!("/chats/{id}"));
            paths.push(format!("/chats/{id}/messages?limit=100"));
            for message in person.get(&format!("/chats/{id}/messages?limit=5")).await.ok(200)["messages"].as_array().expect("messages") {
                if message["sender_id"] == person.id.as_str() {
                    paths.push(format!("/messages/{}/receipts", message["message_id"].as_str().expect("an id")));
                }
            }
        }
        views.insert(format!("{} /chats", person.phone), chats);
        for path in paths {
            let seen = person.get(&path).await;
            views.insert(format!("{} {path} {}", person.phone, seen.status), seen.body["data"].clone());
        }
        views.insert(format!("{} /sync", person.phone), person.post("/sync", json!({ "chats": {}, "limit": 500 })).await.ok(200));
    }
    views.values_mut().for_each(steady);
    views
}

fn id<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_else(|| panic!("{value} has {name}"))
}

/// A server on SQLite and a folder, used in every way.
async fn world() -> World {
    let data = Arc::new(tempfile::tempdir().expect("a folder"));
    let mut config = crate::support::config(&data);
    config.storage.database = Some(format!("sqlite://{}", data.path().join("wa.db").display()));
    let server = TestServer::run(config, data, |builder| builder).await;
    let (alice, bob, chat) = server.couple().await;
    let (carol, dave) = (server.somebody().await, server.somebody().await);
    alice.patch("/users/me", json!({ "display_name": "Alice Ärmel 🌱", "status_text": "in the garden" })).await.ok(200);
    alice.post("/users/contacts/sync", json!({ "phones": [bob.phone, carol.phone] })).await.ok(200);
    bob.post("/users/contacts/sync", json!({ "phones": [alice.phone] })).await.ok(200);
    bob.put("/users/me/privacy", json!({ "last_seen": "contacts", "about": "nobody" })).await.ok(200);
    let told = alice.say(&chat, "we meet in the garden").await;
    for number in 0..300 {
        let person = if number % 3 == 0 { &bob } else { &alice };
        person.say(&chat, &format!("message {number}, \"quoted\" — {}", "ß".repeat(number % 7))).await;
    }
    let message = format!("/chats/{chat}/messages/{}", id(&told, "message_id"));
    alice.patch(&message, json!({ "payload": { "body": "we meet at the gate, I changed my mind" } })).await.ok(200);
    bob.post(&format!("{message}/react"), json!({ "emoji": "👍" })).await.ok(204);
    bob.put(&format!("{message}/star"), json!({})).await.ok(204);
    let read = bob.say(&chat, "a picture of the garden follows").await;
    alice.post(&format!("/chats/{chat}/messages/read"), json!({ "up_to_message_id": id(&read, "message_id") })).await.ok(204);
    let gone = alice.say(&chat, "better forgotten").await;
    alice.delete(&format!("/chats/{chat}/messages/{}?for=everyone", id(&gone, "message_id"))).await.ok(204);
    let hidden = bob.say(&chat, "hidden from myself").await;
    bob.delete(&format!("/chats/{chat}/messages/{}?for=me", id(&hidden, "message_id"))).await.ok(204);
    for seed in 0..3 {
        let media = upload(&alice, "image", "picture.png", png(64, 48, seed)).await;
        let body = json!({ "client_msg_id": format!("picture-{seed}"), "type": "image", "payload": { "media_id": media["media_id"], "caption": "a picture" } });
        alice.post(&format!("/chats/{chat}/messages"), body).await.ok(201);
    }
    let group = alice.post("/chats", json!({ "type": "group", "name": "Gardeners", "participant_ids": [bob.id, carol.id] })).await.ok(201);
    let group = id(&group, "chat_id").to_owned();
    carol.say(&group, "who waters the garden?").await;
    alice.post(&format!("/chats/{group}/invite"), json!({})).await.ok(201);
    alice.patch(&format!("/chats/{group}/mute"), json!({ "is_muted": true })).await.ok(204);
    alice.post(&format!("/users/contacts/{}/block", dave.id), json!({})).await.ok(204);
    let status = alice.post("/users/statuses", json!({ "type": "text", "content": "in bloom" })).await.ok(201);
    bob.post(&format!("/users/statuses/{}/view", id(&status, "id")), Value::Null).await.ok(204);
    carol.put("/users/me/fcm-token", json!({ "token": "a-token", "platform": "android" })).await.ok(204);
    alice.say(&group, "carol gets a push").await;
    let second = server.login(&bob.phone).await;
    let people = vec![alice, bob, carol, dave, second];
    // What is seen counts as delivered; the second look is at what stays.
    views(&people).await;
    let views = views(&people).await;
    let (config, data) = server.stop().await;
    World { config, data, people, views }
}

impl World {
    fn from(&self) -> Installation {
        let media = Some(format!("file://{}", self.data.path().join("media").display()));
        Installation { database: self.config.storage.database.clone().expect("a database"), media }
    }

    /// Starts a server with these secrets on the copy, and looks at everything.
    async fn is_the_same_on(&self, copy: &Installation) {
        let mut config = self.config.clone();
        config.server.bind = ([127, 0, 0, 1], 0).into();
        config.storage.database = Some(copy.database.clone());
        config.storage.media = copy.media.clone();
        let server = TestServer::run(config, Arc::clone(&self.data), |builder| builder).await;
        let mut people = self.people.clone();
        people.iter_mut().for_each(|person| person.address = server.address);
        let found = views(&people).await;
        for (asked, seen) in &self.views {
            assert_eq!(found.get(asked), Some(seen), "{asked}");
        }
        assert_eq!(found.len(), self.views.len());
        // Nobody is logged out, whichever token they have; a picture is there; life goes on.
        let refreshed = server.post("/auth/refresh", json!({ "refresh_token": people[1].refresh })).await.ok(200);
        assert!(refreshed["access_token"].is_string());
        let chat = people[0].chat_with(&people[1]).await;
        let page = people[0].get(&format!("/chats/{chat}/messages?limit=100")).await.ok(200);
        let pictures: Vec<&Value> = page["messages"].as_array().expect("messages").iter().filter(|message| message["type"] == "image").collect();
        assert_eq!(pictures.len(), 3);
        for picture in pictures {
            for address in ["media_url", "thumbnail_url"] {
                let answer = crate::support::http().get(id(&picture["payload"], address)).send().await.expect("an answer");
                assert_eq!(answer.status(), 200, "{address}");
            }
        }
        let mut socket = people[2].connect().await;
        let group = page_of_group(&people[2]).await;
        people[0].say(&group, "after the move, the garden is the same").await;
        socket.until("the message", |frame| frame["data"]["payload"]["body"] == "after the move, the garden is the same").await;
        let found = people[1].get("/messages/search?q=garden").await.ok(200);
        assert!(found.to_string().contains("after the move"), "{found}");
        server.stop().await;
    }
}

async fn page_of_group(person: &Person) -> String {
    let chats = person.get("/chats").await.ok(200);
    let group = chats["chats"].as_array().expect("chats").iter().find(|chat| chat["type"] == "group").expect("a group").clone();
    id(&group, "chat_id").to_owned()
}

fn env() -> Arc<dyn Env> {
    Arc::new(SystemEnv)
}

async fn run(from: &Installation, to: &Installation, mode: Mode) -> Result<Report, TransferError> {
    Transfer { from: from.clone(), to: to.clone() }.run(mode, &env(), &|_| {}).await
}

/// Copies, and is interrupted once messages are being written; and once more while files are.
async fn interrupted_twice(from: &Installation, to: &Installation) {
    let while_messages: fn(&Step) -> bool = |step| matches!(step, Step::Copying { table: "messages", .. });
    let while_files: fn(&Step) -> bool = |step| matches!(step, Step::CopyingFiles { .. });
    for stop in [while_messages, while_files] {
        let reached = Notify::new();
        let watch = |step: Step| {
            if stop(&step) {
                reached.notify_one();
            }
        };
        let (transfer, env) = (Transfer { from: from.clone(), to: to.clone() }, env());
        let was_interrupted = tokio::select! {
            biased;
            () = reached.notified() => true,
            _ = transfer.run(Mode::Copy, &env, &watch) => false,
        };
        assert!(was_interrupted);
    }
}

/// Copies there in pieces, starts a server there, and has a flipped byte found.
async fn moves_to(world: &World, to: &Installation, flip: impl AsyncFn(&str)) {
    let from = world.from();
    let planned = run(&from, to, Mode::DryRun).await.expect("planned");
    assert_eq!(planned.before, Before::Empty);
    assert!(planned.tables.iter().find(|table| table.table == "messages").expect("messages").rows > 300);
    assert_eq!(planned.objects.expect("files").objects, 6);
    interrupted_twice(&from, to).await;
    // A server does not start on half of a copy.
    let config = wa_storage::StorageConfig::new(to.database.clone());
    let refused = wa_storage::open(&config, env()).await.map(drop).expect_err("half of a copy");
    assert!(refused.to_string().contains("wa migrate backend"), "{refused}");

    let copied = run(&from, to, Mode::Copy).await.expect("copied");
    assert_eq!((copied.before, &copied.differences), (Before::UnderWay, &Vec::new()));
    assert_eq!((&copied.tables, &copied.objects), (&planned.tables, &planned.objects));
    let again = run(&from, to, Mode::Copy).await.expect("nothing is left to do");
    assert_eq!((again.before, &again.differences), (Before::Copied, &Vec::new()));

    for (table, column) in [("messages", "client_msg_id"), ("refresh_tokens", "token_hash"), ("receipt_marks", "delivered_beyond")] {
        flip(&format!("UPDATE {table} SET {column} = {column} || 'x'")).await;
        let found = run(&from, to, Mode::Verify).await.expect("compared").differences;
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].place == table && found[0].what.contains(column), "{found:?}");
        flip(&format!("UPDATE {table} SET {column} = substr({column}, 1, length({column}) - 1)")).await;
    }
    flip("DELETE FROM stars").await;
    let found = run(&from, to, Mode::Verify).await.expect("compared").differences;
    assert!(found.len() == 1 && found[0].place == "stars" && found[0].what.contains("0 rows instead of 1"), "{found:?}");
}

async fn flip_in_sqlite(path: &std::path::Path, sql: &str) {
    let mut connection = SqliteConnection::connect(&format!("sqlite://{}", path.display())).await.expect("opens");
    connection.execute(sqlx::AssertSqlSafe(sql.to_owned())).await.expect("runs");
    connection.close().await.expect("closes");
}

fn folder_beside(world: &World) -> (std::path::PathBuf, Installation) {
    let folder = world.data.path().join("copy");
    let database = format!("sqlite://{}", folder.join("wa.db").display());
    (folder.join("wa.db"), Installation { database, media: Some(format!("file://{}", folder.join("media").display())) })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_installation_moves_from_one_file_to_another() {
    let world = world().await;
    let (path, to) = folder_beside(&world);
    moves_to(&world, &to, async |sql: &str| flip_in_sqlite(&path, sql).await).await;

    // A byte of a file.
    let kept = wa_storage::migrate::down(&to.database).await;
    kept.expect("emptied");
    std::fs::remove_dir_all(path.with_file_name("media")).expect("emptied");
    assert_eq!(run(&world.from(), &to, Mode::Copy).await.expect("copied").differences, []);
    let mut files: Vec<_> = walk(&path.with_file_name("media"));
    files.sort();
    let mut bytes = std::fs::read(&files[0]).expect("read");
    bytes[20] ^= 1;
    std::fs::write(&files[0], &bytes).expect("written");
    let name = files[0].file_name().expect("a name").to_string_lossy().into_owned();
    let found = run(&world.from(), &to, Mode::Verify).await.expect("compared").differences;
    assert!(found.len() == 1 && found[0].place.ends_with(&name) && found[0].what.contains("bytes differ"), "{found:?}");
    bytes[20] ^= 1;
    std::fs::write(&files[0], &bytes).expect("written");
    world.is_the_same_on(&to).await;
}

fn walk(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_copied_is_refused_and_left_as_it_is() {
    let world = world().await;
    let (from, (path, to)) = (world.from(), folder_beside(&world));
    let refused = async |from: &Installation, to: &Installation, mode| run(from, to, mode).await.expect_err("refused");
    for mode in [Mode::DryRun, Mode::Copy, Mode::Verify] {
        assert!(matches!(refused(&from, &from, mode).await, TransferError::Same { what: "database" }));
        let files = Installation { media: from.media.clone(), ..to.clone() };
        assert!(matches!(refused(&from, &files, mode).await, TransferError::Same { what: "store of files" }));
        let absent = Installation { database: format!("sqlite://{}", path.with_file_name("absent.db").display()), media: None };
        assert!(matches!(refused(&absent, &to, mode).await, TransferError::Absent { .. }));
        let unknown = Installation { database: "oracle://scott:tiger@host/x".to_owned(), media: None };
        let error = refused(&from, &unknown, mode).await.to_string();
        assert!(error.starts_with("target: ") && !error.contains("tiger"), "{error}");
        assert!(matches!(refused(&from, &Installation { database: "sqlite::memory:".to_owned(), media: None }, mode).await, TransferError::Memory { .. }));
        let damaged = world.data.path().join("damaged.db");
        std::fs::write(&damaged, "no database at all, though it is long enough to be looked at".repeat(40)).expect("written");
        let damaged = Installation { database: format!("sqlite://{}", damaged.display()), media: None };
        assert!(matches!(refused(&damaged, &to, mode).await, TransferError::Open { which: "source", .. }));
        assert!(!path.exists(), "nothing was made");
    }

    // Somebody lives there already.
    let other = TestServer::start().await;
    other.somebody().await;
    let inhabited = Installation { database: format!("sqlite://{}", other.data.path().join("wa.db").display()), media: None };
    if std::env::var("WA_E2E_POSTGRES").is_err() {
        assert!(matches!(refused(&from, &inhabited, Mode::Copy).await, TransferError::InUse { which: "target", .. }));
        assert!(matches!(refused(&inhabited, &to, Mode::Copy).await, TransferError::InUse { which: "source", .. }));
        let (_, _data) = other.stop().await;
        for mode in [Mode::DryRun, Mode::Copy] {
            assert!(matches!(refused(&from, &inhabited, mode).await, TransferError::Foreign { .. }));
        }
        let different = run(&from, &inhabited, Mode::Verify).await.expect("compared").differences;
        assert!(different.iter().any(|difference| difference.place == "messages"), "{different:?}");
    }

    // A copy of something else; files of something else; a schema of another version.
    let plain = Installation { media: None, ..to.clone() };
    assert_eq!(run(&from, &plain, Mode::Copy).await.expect("copied").objects, None);
    flip_in_sqlite(&path, "UPDATE transfer SET fingerprint = x'00', finished_at = NULL").await;
    assert!(matches!(refused(&from, &plain, Mode::Copy).await, TransferError::Foreign { .. }));
    flip_in_sqlite(&path, "DELETE FROM _sqlx_migrations WHERE version > 30").await;
    for mode in [Mode::DryRun, Mode::Copy, Mode::Verify] {
        assert!(matches!(refused(&from, &plain, mode).await, TransferError::Version { which: "target", .. }));
    }
    let media = world.data.path().join("other-media");
    let shelf = media.join("originals/0190f3");
    std::fs::create_dir_all(&shelf).expect("made");
    std::fs::write(shelf.join("0190f3f6-7b1c-7c4e-8a57-0242ac120002.png"), "another's").expect("written");
    let fresh = format!("sqlite://{}", path.with_file_name("fresh.db").display());
    let error = refused(&from, &Installation { database: fresh, media: Some(format!("file://{}", media.display())) }, Mode::Copy).await;
    assert!(matches!(&error, TransferError::Foreign { what, .. } if what.contains("originals/0190f3f6")), "{error}");
}

fn bucket() -> String {
    let s3 = std::env::var("WA_TEST_S3").expect("WA_TEST_S3 names an S3 server: run `make services-up` and do what it says");
    s3.replace("whatsapp-media", &format!("whatsapp-media-{}", uuid::Uuid::now_v7().simple()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL"]
async fn an_installation_moves_to_postgres_and_back() {
    let world = world().await;
    let scratch = ScratchDatabase::on_test_server().await;
    let to = Installation { database: scratch.url().to_owned(), media: Some(format!("file://{}", world.data.path().join("copy-media").display())) };
    moves_to(&world, &to, async |sql: &str| {
        let mut connection = PgConnection::connect(scratch.url()).await.expect("opens");
        connection.execute(sqlx::AssertSqlSafe(sql.to_owned())).await.expect("runs");
        connection.close().await.expect("closes");
    })
    .await;
    wa_storage::migrate::down(&to.database).await.expect("emptied");
    std::fs::remove_dir_all(world.data.path().join("copy-media")).expect("emptied");
    assert_eq!(run(&world.from(), &to, Mode::Copy).await.expect("copied").differences, []);

    let (_, back) = folder_beside(&world);
    assert_eq!(run(&to, &back, Mode::Copy).await.expect("copied back").differences, []);
    let twice = run(&world.from(), &back, Mode::Verify).await.expect("compared");
    assert_eq!(twice.differences, [], "there and back again");
    world.is_the_same_on(&to).await;
    world.is_the_same_on(&back).await;

    // While a server runs on either side, nothing is copied.
    let mut config = world.config.clone();
    config.server.bind = ([127, 0, 0, 1], 0).into();
    config.storage.database = Some(to.database.clone());
    let server = TestServer::run(config, Arc::clone(&world.data), |builder| builder).await;
    let refused = run(&world.from(), &to, Mode::Copy).await.expect_err("in use");
    assert!(matches!(refused, TransferError::InUse { which: "target", .. }), "{refused}");
    server.stop().await;
    scratch.drop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs an S3 server"]
async fn files_move_to_a_bucket_on_s3_and_back() {
    let world = world().await;
    let (path, folder) = folder_beside(&world);
    let to = Installation { database: folder.database.clone(), media: Some(bucket()) };
    moves_to(&world, &to, async |sql: &str| flip_in_sqlite(&path, sql).await).await;
    wa_storage::migrate::down(&to.database).await.expect("emptied");
    let to = Installation { media: Some(bucket()), ..to };
    assert_eq!(run(&world.from(), &to, Mode::Copy).await.expect("copied").differences, []);
    let (database, media) = (path.with_file_name("back.db"), path.with_file_name("back"));
    let back = Installation { database: format!("sqlite://{}", database.display()), media: Some(format!("file://{}", media.display())) };
    assert_eq!(run(&to, &back, Mode::Copy).await.expect("copied back").differences, []);
    assert_eq!(walk(&media.join("originals")).len(), 3);
    world.is_the_same_on(&to).await;
}
