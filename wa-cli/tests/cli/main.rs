//! The program against a real server: what it prints, how it ends, and that its conversations survive.

mod world;

use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;

use crate::world::World;

#[test]
fn the_demo_users_of_a_development_server_chat_without_a_login() {
    let world = World::new();
    let sent = world.run(&["send", "--as", "alice", "bob", "Are", "you", "there?"]).ok();
    assert_eq!((sent.stdout().as_str(), sent.stderr().contains("Logged in as the demo user alice")), ("", true));
    let history = world.run(&["history", "--as", "bob", "alice", "-n", "1"]).ok().stdout();
    assert!(history.trim_end().ends_with("Alice: Are you there?"), "{history}");
}

#[test]
fn messages_are_found_by_their_words() {
    let world = World::new();
    for text in ["Meet me at the old station", "The station is closed", "See you"] {
        world.run(&["send", "--as", "alice", "bob", text]).ok();
    }
    let found = world.run(&["search", "--as", "bob", "station"]).ok().stdout();
    assert_eq!(found.lines().count(), 2, "{found}");
    assert!(found.lines().all(|line| line.contains("Alice: ")), "{found}");
    let found = world.run(&["search", "--as", "bob", "--in", "alice", "\"old station\""]).ok().stdout();
    assert!(found.trim_end().ends_with("Alice: Meet me at the old station"), "{found}");
    let hit: Value = serde_json::from_str(&world.run(&["search", "--as", "bob", "-o", "json", "-n", "1", "closed"]).ok().stdout()).expect("JSON");
    assert_eq!(hit["message"]["payload"]["body"], "The station is closed");
    assert_eq!(world.run(&["search", "--as", "bob", "absent"]).ok().stdout(), "");
}

/// A picture of one pixel.
const PIXEL: &[u8] = &[
    0x89, b'P', b'N', b'G', 0x0d, 0x0a, 0x1a, 0x0a, 0, 0, 0, 0x0d, b'I', b'H', b'D', b'R', 0, 0, 0, 1, 0, 0, 0, 1, 8, 6, 0, 0, 0, 0x1f, 0x15, 0xc4, 0x89, 0, 0,
    0, 0x0d, b'I', b'D', b'A', b'T', 0x78, 0x9c, 0x63, 0xf8, 0xcf, 0xc0, 0xf0, 0x1f, 0, 5, 0, 1, 0xff, 0x89, 0x99, 0x3d, 0x1d, 0, 0, 0, 0, b'I', b'E', b'N',
    b'D', 0xae, 0x42, 0x60, 0x82,
];

#[test]
fn a_file_that_is_sent_can_be_fetched() {
    let world = World::new();
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).to_str().expect("text").to_owned();
    std::fs::write(path("dot.png"), PIXEL).expect("written");
    let sent = world.run(&["send", "--as", "alice", "bob", "--file", &path("dot.png"), "a", "dot"]).ok();
    assert_eq!((sent.stdout().as_str(), sent.stderr().contains("Sent to Bob.")), ("", true), "{}", sent.stderr());
    let message: Value = serde_json::from_str(&world.run(&["history", "--as", "bob", "alice", "-n", "1", "-o", "json"]).ok().stdout()).expect("JSON");
    let payload = &message["payload"];
    assert_eq!(
        (&message["type"], &payload["caption"], &payload["mime_type"], &payload["width"]),
        (&"image".into(), &"a dot".into(), &"image/png".into(), &1.into())
    );
    assert!(payload["thumbnail_url"].is_string());
    let id = payload["media_id"].as_str().expect("an id");
    let line = world.run(&["history", "--as", "bob", "alice", "-n", "1"]).ok().stdout();
    assert!(line.contains("[image] a dot, dot.png, ") && line.contains(id), "{line}");

    let fetched = world.run(&["media", "get", "--as", "bob", id, "--to", &path("fetched.png")]).ok();
    assert_eq!(fetched.stdout().trim_end(), path("fetched.png"));
    assert!(std::fs::read(path("fetched.png")).expect("read") == PIXEL, "other bytes came back");
    let refused = world.run(&["media", "get", "--as", "bob", id, "--to", &path("fetched.png")]).code(2);
    assert!(refused.stderr().contains("--force"), "{}", refused.stderr());
    world.run(&["media", "get", "--as", "bob", id, "--to", &path("fetched.png"), "--force"]).ok();
    let shown: Value = serde_json::from_str(&world.run(&["media", "show", "--as", "bob", id, "-o", "json"]).ok().stdout()).expect("JSON");
    assert_eq!(shown["size_bytes"], PIXEL.len());

    std::fs::write(path("lies.png"), "no picture").expect("written");
    let refused = world.run(&["send", "--as", "alice", "bob", "--file", &path("lies.png")]).code(1);
    assert!(refused.stderr().contains("MEDIA_INVALID_TYPE"), "{}", refused.stderr());
    let refused = world.run(&["send", "--as", "alice", "bob", "--file", &path("absent.png")]).code(2);
    assert!(refused.stderr().contains("cannot read"), "{}", refused.stderr());
    world.run(&["media", "get", "--as", "bob", "0190f3f6-7b1c-7c4e-8a57-0242ac120002"]).code(4);
}

#[test]
fn nobody_is_logged_in_by_themselves_where_codes_are_not_told() {
    let world = World::with(|config| config.dev.echo_otp = false);
    let refused = world.run(&["chats", "list", "--as", "alice"]).code(3);
    assert!(refused.stderr().contains("wa login --as alice"));
}

#[test]
fn ticks_go_from_sent_to_read_and_a_conversation_survives_a_restart_of_the_server() {
    let mut world = World::new();
    let mut alice = world.spawn(&["chat", "--as", "alice", "bob", "-n", "0"]);
    alice.type_in("one\n");
    assert!(alice.until("you: one").ends_with('✓'));
    let mut bob = world.spawn(&["chat", "--as", "bob", "alice", "-n", "1"]);
    bob.until("Alice: one");
    alice.until("✓✓ read: one");
    bob.type_in("two\n");
    alice.until("Bob: two");
    bob.until("✓✓ read: two");
    world.stop();
    alice.type_in("three\n");
    world.start_again();
    bob.until("Alice: three");
    alice.until("✓✓ read: three");
    bob.end().ok();
    alice.end().ok();
    let history = world.run(&["history", "--as", "bob", "alice", "-n", "3"]).ok().stdout();
    let said: Vec<_> = history.lines().filter_map(|line| line.split_once(' ').map(|(_, said)| said)).collect();
    assert_eq!(said, ["Alice: one", "you: two", "Alice: three"]);
}

#[test]
fn a_script_sends_its_lines_in_order_and_ends_when_all_are_stored() {
    let world = World::new();
    let ran = world.run_with_input(&["chat", "--as", "alice", "bob", "-n", "0"], "first\nsecond\n//slash\n\n/nothing\nlast\n").ok();
    let said: Vec<_> = ran.stdout().lines().filter_map(|line| line.split_once("you: ").map(|(_, said)| said.to_owned())).collect();
    assert_eq!(said, ["first ✓", "second ✓", "/slash ✓", "last ✓"]);
    assert!(ran.stderr().contains("There is no /nothing"));
}

#[test]
fn the_same_profile_twice_is_told_and_has_its_own_exit_code() {
    let world = World::new();
    let mut first = world.spawn(&["chat", "--as", "alice", "bob", "-n", "1"]);
    first.until("Bob");
    let mut second = world.spawn(&["chat", "--as", "alice", "bob", "-n", "1"]);
    second.until("Bob");
    assert!(first.end().code(6).stderr().contains("another program connected with this profile"));
    second.type_in("still here\n");
    second.until("you: still here");
    world.run(&["send", "--as", "alice", "bob", "sending disturbs nobody"]).ok();
    second.until("you: sending disturbs nobody");
    second.end().ok();
}

#[test]
fn a_login_is_stored_used_and_ended() {
    let world = World::new();
    let login = world.run(&["login", "--profile", "carol", "--phone", "+1 (555) 010-0003", "--name", "Carol", "-o", "json"]).ok().json();
    assert_eq!((&login["phone"], &login["display_name"]), (&Value::from("+15550100003"), &Value::from("Carol")));
    let devices = world.run(&["devices", "list", "--as", "carol", "-o", "json"]).ok().json();
    assert_eq!(devices[0]["current"], true);
    world.run(&["logout", "--as", "carol"]).ok();
    world.run(&["chats", "list", "--as", "carol"]).code(3);
}

#[test]
fn a_code_is_asked_for_where_the_server_does_not_tell_it() {
    let world = World::with(|config| config.dev.echo_otp = false);
    let wrong = world.run_with_input(&["login", "--as", "carol", "--phone", "+15550100003"], "000000\n").code(1);
    assert!(wrong.stderr().contains("OTP_INVALID"), "{}", wrong.stderr());
    let none = world.run(&["login", "--as", "carol", "--phone", "+15550100003"]).code(2);
    assert!(none.stderr().contains("Code is needed"));
}

#[test]
fn a_removed_device_is_told_to_log_in_again() {
    let world = World::new();
    for profile in ["phone", "laptop"] {
        world.run(&["login", "--as", profile, "--phone", "+15550100003"]).ok();
    }
    let devices = world.run(&["devices", "list", "--as", "laptop", "-o", "json"]).ok().json();
    let other = devices.as_array().expect("a list").iter().find(|device| device["current"] == false).expect("the phone");
    world.run(&["devices", "remove", other["device_id"].as_str().expect("an id"), "--as", "laptop"]).ok();
    world.run(&["chats", "list", "--as", "phone"]).code(3);
    world.run(&["chats", "list", "--as", "laptop"]).ok();
}

#[test]
fn exit_codes_say_what_kind_of_failure_it_was() {
    let mut world = World::new();
    world.run(&["chats", "list", "--as", "alice"]).ok();
    world.run(&["send", "--as", "alice", "+15550109999", "hello"]).code(4);
    world.run(&["send", "--as", "alice", "nobody", "hello"]).code(4);
    world.run(&["history", "--as", "alice", "01900000-0000-7000-8000-00000000ffff"]).code(4);
    world.run(&["contacts", "add", "--as", "alice", "+15550109999"]).code(4);
    world.run(&["chats", "list", "--as", "nobody"]).code(3);
    world.run(&["chats", "list", "--as", "../alice"]).code(2);
    world.run(&["chats", "list", "--as", "alice", "--server", "http://127.0.0.1:1"]).code(2);
    world.run(&["login", "--as", "carol", "--phone", "hello"]).code(2);
    world.run(&["nonsense"]).code(2);
    world.run(&["send", "--as", "alice", "bob", &"x".repeat(4097)]).code(1);
    world.stop();
    let gone = world.run(&["send", "--as", "bob", "alice", "hello", "--server", &world.url()]).code(5);
    assert!(gone.stderr().contains("cannot be reached"), "{}", gone.stderr());
}

#[test]
fn a_message_sent_twice_under_its_key_is_stored_once() {
    let world = World::new();
    let send = || world.run_with_input(&["send", "--as", "alice", "bob", "-", "--key", "report-1", "-o", "json"], "from the input\n").ok().json();
    let (first, second) = (send(), send());
    assert_eq!(first["message_id"], second["message_id"]);
    assert_eq!(first["payload"]["body"], "from the input");
}

#[test]
fn tail_tells_every_event_as_a_line_of_json() {
    let world = World::new();
    let mut tail = world.spawn(&["tail", "--as", "bob", "-o", "json"]);
    tail.until("connection.up");
    world.run(&["send", "--as", "alice", "bob", "hello"]).ok();
    let event: Value = serde_json::from_str(&tail.until("message.new")).expect("JSON");
    assert_eq!(event["data"]["payload"]["body"], "hello");
}

#[test]
fn a_group_is_made_talked_in_changed_and_left() {
    let world = World::new();
    world.run(&["login", "--as", "carol", "--phone", "+15550100003", "--name", "Carol"]).ok();
    let made = world.run(&["group", "create", "--as", "alice", "Friends", "bob", "+15550100003", "-o", "json"]).ok().json();
    assert_eq!((&made["name"], made["participants"].as_array().map(Vec::len)), (&Value::from("Friends"), Some(3)));
    assert!(world.run(&["chats", "list", "--as", "bob"]).ok().stdout().contains("Friends (group)"));
    let mut bob = world.spawn(&["chat", "--as", "bob", "friends"]);
    bob.until("Alice created the group \"Friends\"");
    world.run(&["send", "--as", "carol", "Friends", "hello", "all"]).ok();
    bob.until("Carol: hello all");
    world.run(&["group", "remove", "--as", "bob", "Friends", "Carol"]).code(1);
    world.run(&["group", "promote", "--as", "alice", "Friends", "Bob"]).ok();
    bob.until("Bob is now an admin");
    world.run(&["group", "set", "--as", "alice", "Friends", "--name", "Family", "--admin-only", "true", "--disappearing", "7d"]).ok();
    bob.until("only admins");
    world.run(&["send", "--as", "carol", "Family", "may I?"]).code(1);
    world.run(&["group", "remove", "--as", "bob", "Family", "Carol"]).ok();
    world.run(&["history", "--as", "carol", made["chat_id"].as_str().expect("an id")]).code(1);
    let invite = world.run(&["group", "invite", "--as", "alice", "Family", "-o", "json"]).ok().json();
    world.run(&["group", "join", "--as", "carol", invite["url"].as_str().expect("an address")]).ok();
    bob.until("Carol joined by an invite");
    world.run(&["group", "invite", "--as", "alice", "Family", "--revoke"]).ok();
    world.run(&["group", "join", "--as", "carol", invite["code"].as_str().expect("a code")]).code(4);
    let members = world.run(&["group", "members", "--as", "carol", "Family"]).ok().stdout();
    assert_eq!(members.lines().filter(|line| line.contains("admin")).count(), 2, "{members}");
    world.run(&["group", "demote", "--as", "bob", "Family", "Alice"]).ok();
    world.run(&["group", "leave", "--as", "bob", "Family"]).ok();
    bob.until("no longer in this chat");
    bob.end();
    let history = world.run(&["history", "--as", "alice", "Family", "-n", "2"]).ok().stdout();
    assert!(history.contains("Bob left") && history.contains("is now an admin"), "{history}");
    world.run(&["group", "leave", "--as", "alice", "Strangers"]).code(4);
    world.run(&["group", "set", "--as", "alice", "Family"]).code(2);
    world.run(&["group", "leave", "--as", "alice", "bob"]).code(2);
}

#[test]
fn contacts_are_added_blocked_and_unblocked() {
    let world = World::new();
    world.run(&["contacts", "add", "--as", "alice", "+15550100002", "+15550109999"]).ok();
    let is_blocked = || {
        let contacts = world.run(&["contacts", "list", "--as", "alice", "-o", "json"]).ok().json();
        contacts.as_array().expect("a list").iter().any(|contact| contact["display_name"] == "Bob" && contact["is_blocked"] == true)
    };
    assert!(!is_blocked());
    world.run(&["contacts", "block", "--as", "alice", "bob"]).ok();
    assert!(is_blocked());
    world.run(&["send", "--as", "alice", "bob", "hello"]).code(1);
    world.run(&["contacts", "unblock", "--as", "alice", "Bob"]).ok();
    assert!(!is_blocked());
}

#[test]
fn a_profile_is_shown_and_changed() {
    let world = World::new();
    world.run(&["profile", "set", "--as", "alice", "--name", "Alice A.", "--status", "On holiday"]).ok();
    let seen = world.run(&["profile", "get", "Alice A.", "--as", "bob", "-o", "json"]).ok().json();
    assert_eq!((&seen["display_name"], &seen["status_text"]), (&Value::from("Alice A."), &Value::from("On holiday")));
    world.run(&["profile", "set", "--as", "alice"]).code(2);
}

#[test]
fn several_programs_with_one_profile_do_not_break_each_others_tokens() {
    let world = World::new();
    world.run(&["chats", "list", "--as", "alice"]).ok();
    for _ in 0..3 {
        world.advance_clock(Duration::from_secs(16 * 60));
        let running: Vec<_> = (0..4).map(|_| world.spawn(&["chats", "list", "--as", "alice", "-o", "json"])).collect();
        for one in running {
            one.end().ok();
        }
    }
    let devices = world.run(&["devices", "list", "--as", "alice", "-o", "json"]).ok().json();
    assert_eq!(devices.as_array().map(Vec::len), Some(1), "nobody had to log in again");
}

#[test]
fn every_shell_gets_its_completions_and_a_closed_pipe_is_no_error() {
    let world = World::new();
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        assert!(world.run(&["completions", shell]).ok().stdout().contains("history"), "{shell}");
    }
    let mut child = world.command(&["completions", "bash"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("runs");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("ends");
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b""[..]));
}

#[test]
fn a_message_is_answered_edited_reacted_to_starred_forwarded_and_deleted() {
    let world = World::new();
    let said = world.run(&["send", "--as", "alice", "bob", "helo", "-o", "json"]).ok().json();
    let id = said["message_id"].as_str().expect("an id").to_owned();
    let mut bob = world.spawn(&["chat", "--as", "bob", "alice"]);
    bob.until("helo");
    world.run(&["messages", "edit", "--as", "alice", &id, "hello"]).ok();
    bob.until("hello");
    bob.type_in("/react 👍\n");
    bob.until("“hello” got 👍 from you");
    bob.type_in("/reply hi there\n");
    bob.until("hi there");
    bob.type_in("/star 2\n");
    bob.until("“hello” has your star");
    let shown = world.run(&["history", "--as", "bob", "alice"]).ok().stdout();
    assert!(shown.contains("hello (edited) 👍 ★") && shown.contains(": hello] hi there"), "{shown}");
    let starred = world.run(&["messages", "starred", "--as", "bob"]).ok().stdout();
    assert!(starred.contains("hello"), "{starred}");
    world.run(&["messages", "forward", "--as", "bob", &id, "alice"]).ok();
    bob.until("[forwarded] hello");
    world.run(&["messages", "react", "--as", "bob", &id]).ok();
    bob.until("has no reaction of you any more");
    world.run(&["messages", "delete", "--as", "bob", &id, "--everyone"]).code(1);
    world.run(&["messages", "delete", "--as", "alice", &id, "--everyone"]).ok();
    bob.until("“hello” was deleted");
    bob.type_in("/nonsense\n/edit\n");
    let ended = bob.end().ok();
    assert!(ended.stderr().contains("There is no /nonsense") && ended.stderr().contains("/edit needs something"), "{}", ended.stderr());
}

#[test]
fn statuses_are_posted_seen_and_taken_back() {
    let world = World::new();
    let posted = world.run(&["status", "--as", "alice", "post", "Gone fishing", "--color", "#1e88e5", "-o", "json"]).ok().json();
    let id = posted["id"].as_str().expect("an id").to_owned();
    // The demo users know each other.
    let seen = world.run(&["status", "--as", "bob", "list", "-o", "json"]).ok().json();
    assert_eq!((&seen[0]["id"], &seen[0]["content"]), (&posted["id"], &serde_json::json!("Gone fishing")));
    world.run(&["status", "--as", "bob", "view", &id]).ok();
    let mine = world.run(&["status", "--as", "alice", "mine", "-o", "json"]).ok().json();
    assert_eq!(mine[0]["viewers"].as_array().map(Vec::len), Some(1));
    world.run(&["status", "--as", "alice", "delete", &id]).ok();
    world.run(&["status", "--as", "bob", "view", &id]).code(4);
}

#[test]
fn events_that_were_put_aside_are_looked_for_where_the_configuration_says() {
    let world = World::new();
    let folder = tempfile::tempdir().expect("a folder");
    let config = folder.path().join("wa.toml");
    let run = |args: &[&str]| world.run(&[&["events", "dlq"], args, &["--config", config.to_str().expect("text")]].concat());
    let missing = run(&["list"]).code(2);
    assert!(missing.stderr().contains("where is NATS?"), "{}", missing.stderr());
    std::fs::write(&config, "[storage]\nevents = 'nats://wa:hunter2@127.0.0.1:9'\n").expect("written");
    let refused = run(&["show", "1"]).code(5);
    assert!(refused.stderr().contains("cannot reach NATS at 127.0.0.1:9") && !refused.stderr().contains("hunter2"), "{}", refused.stderr());
    run(&["replay"]).code(2);
}

#[test]
#[ignore = "needs nats"]
fn events_that_were_put_aside_are_listed_from_nats() {
    let world = World::new();
    let url = std::env::var("WA_TEST_NATS").expect("WA_TEST_NATS is set");
    let listed = world.run(&["events", "dlq", "list", "-o", "json", "--nats-url", &url]).ok().stdout();
    assert!(serde_json::from_str::<Value>(&listed).expect("JSON").is_array());
    world.run(&["events", "dlq", "show", "999999999", "--nats-url", &url]).code(4);
}

#[cfg(feature = "migrate")]
#[test]
fn an_installation_is_copied_and_compared() {
    let mut world = World::new();
    let folder = world.folder().to_owned();
    let place = |name: &str| folder.join(name).display().to_string();
    let (from, to) = (place("data"), place("copy"));
    let migrate = |world: &World, more: &[&str]| world.run(&[&["migrate", "backend", "--from", &from, "--to", &to], more].concat());
    let refused = migrate(&world, &[]).code(1);
    assert!(refused.stderr().contains("in use by a running server"), "{}", refused.stderr());
    world.stop();

    let planned = migrate(&world, &["--dry-run"]).ok();
    assert!(planned.stdout().contains("users") && planned.stderr().contains("Nothing was changed"), "{}", planned.stderr());
    assert!(!std::path::Path::new(&to).exists());
    migrate(&world, &["--verify"]).code(4);
    let copied = migrate(&world, &[]).ok();
    assert!(copied.stderr().contains("auth.jwt_secret") && copied.stderr().contains("secrets.toml"), "{}", copied.stderr());
    let secret = std::fs::read_to_string(std::path::Path::new(&from).join("secrets.toml")).expect("read");
    let secret = secret.split('"').nth(1).expect("a secret");
    assert!(!copied.stderr().contains(secret) && !copied.stdout().contains(secret));
    let verified = migrate(&world, &["--verify", "-o", "json"]).ok().json();
    assert_eq!((&verified["state"], &verified["differences"]), (&Value::from("verified"), &Value::Array(Vec::new())));
    assert!(verified["tables"].as_array().expect("tables").iter().any(|table| table["table"] == "users" && table["rows"].as_u64() >= Some(2)));
    assert_eq!(migrate(&world, &["-o", "json"]).ok().json()["state"], "copied before");

    world.run(&["migrate", "backend", "--from", &from, "--to", &from]).code(2);
    world.run(&["migrate", "backend", "--from", &from, "--to", "mongodb://127.0.0.1/x"]).code(2);
    world.run(&["migrate", "backend", "--from", &from, "--to", "mysql://127.0.0.1/x", "--without-media"]).code(2);
    world.run(&["migrate", "backend", "--from", &place("absent"), "--to", &place("new")]).code(4);
    let refused = world.run(&["migrate", "backend", "--from", &from, "--to", "postgres://wa:secret@127.0.0.1:1/wa"]).code(2);
    assert!(refused.stderr().contains("--media-to"), "{}", refused.stderr());
    let refused = world.run(&["migrate", "backend", "--from", &from, "--to", "postgres://wa:secret@127.0.0.1:1/wa", "--without-media"]).code(5);
    assert!(refused.stderr().contains("postgres://127.0.0.1:1/wa") && !refused.stderr().contains("secret@"), "{}", refused.stderr());
}
