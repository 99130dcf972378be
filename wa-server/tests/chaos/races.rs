//! Races of revocations with what they revoke: sends against the end of a session and against a block, honest refreshes
//! against each other and against a thief, parallel guesses of a code. `WA_RACES` is how many of the first kind.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use crate::embedded::{Answer, Person, Socket, TestServer, fresh_phone, http};
use crate::scene::{history, integer, order_of, text};
use crate::support::{Random, number, seed};

/// Messages of one burst.
const BURST: u64 = 12;

fn message(chat: &str, key: &str) -> Value {
    json!({ "chat_id": chat, "client_msg_id": key, "type": "text", "payload": { "body": key } })
}

fn body(message: &Value) -> &str {
    message["payload"]["body"].as_str().expect("a text")
}

struct Field {
    server: TestServer,
    alice: Person,
    bob: Person,
    chat: String,
    alices: Socket,
    bobs: Socket,
    random: Random,
}

impl Field {
    async fn new(seed: u64) -> Self {
        let server = TestServer::start().await;
        let (alice, bob, chat) = server.couple().await;
        let (mut alices, mut bobs) = (alice.connect().await, bob.connect().await);
        alices.settle().await;
        bobs.settle().await;
        Self { server, alice, bob, chat, alices, bobs, random: Random::new(seed) }
    }

    /// A device of Alice's sends and listens while its session is ended: from the answer on it does neither.
    async fn a_session_ends(&mut self, race: u64) {
        let Self { server, alice, bob, chat, alices, bobs, random } = self;
        let victim = server.login(&alice.phone).await;
        let mut socket = victim.connect().await;
        socket.settle().await;
        let floor = integer(&bobs.say(chat, &format!("floor {race}")).await["seq"]);
        let (at_first, by_removal) = (random.below(BURST), random.once_in(2));
        for number in 0..at_first {
            socket.send("message.send", message(chat, &format!("early {race} {number}"))).await;
        }
        let burst = async {
            for number in at_first..BURST {
                socket.try_send("message.send", message(chat, &format!("early {race} {number}"))).await;
                bobs.send("message.send", message(chat, &format!("bob {race} {number}"))).await;
            }
        };
        let end = async {
            if by_removal {
                alice.delete(&format!("/auth/devices/{}", victim.device)).await.ok(204);
            } else {
                victim.call(Method::POST, "/auth/logout", None).await.ok(200);
            }
        };
        tokio::join!(burst, end);
        for number in 0..3 {
            socket.try_send("message.send", message(chat, &format!("late {race} {number}"))).await;
        }
        let marker = format!("marker {race}");
        bobs.say(chat, &marker).await;
        bobs.passed_over.clear();
        // Alice's other device sees the marker: by then it was handed out to all.
        alices.until("the marker", |frame| frame["event"] == "message.new" && body(&frame["data"]) == marker).await;
        alices.passed_over.clear();

        let stored = history(bob, chat, floor).await;
        assert!(!stored.values().any(|stored| body(stored).starts_with("late")), "accepted after the session's end");
        assert_eq!(socket.close_code().await, 4001, "the socket of an ended session");
        let heard: Vec<&Value> = socket.passed("message.new");
        assert!(!heard.iter().any(|new| body(new) == marker), "delivered after the session's end");
        let stored = order_of(&stored);
        for sent in socket.passed("message.sent") {
            assert!(!text(&sent["client_msg_id"]).starts_with("late"), "accepted after the session's end");
            assert_eq!(stored.get(&integer(&sent["seq"])), Some(&text(&sent["message_id"])), "acknowledged, and not stored");
        }
    }

    /// Bob sends while Alice blocks him: what he sends after her answer she never sees, and of the rest she sees the same
    /// on her socket and in the history.
    async fn a_block_comes(&mut self, race: u64) {
        let Self { alice, bob, chat, alices, bobs, random, .. } = self;
        let floor = integer(&bobs.say(chat, &format!("floor {race}")).await["seq"]);
        let at_first = random.below(BURST);
        for number in 0..at_first {
            bobs.send("message.send", message(chat, &format!("early {race} {number}"))).await;
        }
        let block = format!("/users/{}/block", bob.id);
        let burst = async {
            for number in at_first..BURST {
                bobs.send("message.send", message(chat, &format!("early {race} {number}"))).await;
            }
        };
        let (_, answer) = tokio::join!(burst, alice.call(Method::POST, &block, None));
        answer.ok(204);
        let late: Vec<String> = (0..4).map(|number| format!("late {race} {number}")).collect();
        for key in &late {
            bobs.send("message.send", message(chat, key)).await;
        }
        let of_this_race = |sent: &&Value| text(&sent["client_msg_id"]).split(' ').nth(1) == Some(&race.to_string());
        while bobs.passed("message.sent").into_iter().filter(of_this_race).count() < usize::try_from(BURST).unwrap() + late.len() {
            let frame = bobs.next().await.expect("the blocked's socket stays open");
            bobs.passed_over.push(frame);
        }
        bobs.passed_over.clear();
        alice.delete(&block).await.ok(204);
        let marker = format!("marker {race}");
        let mark = integer(&bobs.say(chat, &marker).await["seq"]);
        alices.until("the marker", |frame| frame["event"] == "message.new" && body(&frame["data"]) == marker).await;

        let told: BTreeSet<i64> = alices.passed("message.new").into_iter().map(|new| integer(&new["seq"])).filter(|seq| *seq > floor).collect();
        let seen = history(alice, chat, floor).await;
        assert!(!seen.values().any(|message| late.iter().any(|late| late == body(message))), "visible after the block");
        let visible: BTreeSet<i64> = seen.into_keys().filter(|seq| *seq < mark).collect();
        assert_eq!(told, visible, "told, and to be seen");
        assert_eq!(history(bob, chat, floor).await.len(), usize::try_from(BURST).unwrap() + late.len() + 1, "the blocked sees all of their own");
        alices.passed_over.clear();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn revocations_take_effect_at_once_under_a_race_of_sends() {
    let (races, seed) = (number("WA_RACES").unwrap_or(200), seed());
    println!("revocation: {races} races, seed {seed}");
    let mut field = Field::new(seed).await;
    for race in 0..races {
        if race % 2 == 0 {
            field.a_session_ends(race).await;
        } else {
            field.a_block_comes(race).await;
        }
    }
}

async fn refresh(server: &TestServer, token: &str, key: Option<&str>) -> Answer {
    let mut request = http().post(server.url("/api/v1/auth/refresh")).json(&json!({ "refresh_token": token }));
    if let Some(key) = key {
        request = request.header("Idempotency-Key", key);
    }
    Answer::of(request).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn honest_refreshes_never_log_out_whatever_answers_are_lost() {
    let (rounds, seed) = (number("WA_RACES").unwrap_or(200) / 4, seed());
    println!("refresh: {rounds} rounds, seed {seed}");
    let mut random = Random::new(seed);
    let server = TestServer::start().await;
    let mut alice = server.somebody().await;
    for round in 0..rounds {
        let key = format!("key {round}");
        // Answers that are lost on the way: the request may or may not have been served.
        for _ in 0..random.below(3) {
            let _ = tokio::time::timeout(Duration::from_micros(random.below(4000)), refresh(&server, &alice.refresh, Some(&key))).await;
        }
        let answers = join_all((0..1 + random.below(5)).map(|_| refresh(&server, &alice.refresh, Some(&key)))).await;
        let mut sessions = answers.into_iter().map(|answer| Person::of(server.address, &alice.phone, &answer.ok(200)));
        let first = sessions.next().unwrap();
        assert!(sessions.all(|other| other.refresh == first.refresh), "one refresh, two tokens");
        first.get("/users/me").await.ok(200);
        alice = first;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reuse_by_a_thief_always_ends_the_session() {
    let (races, seed) = (number("WA_RACES").unwrap_or(200) / 4, seed());
    println!("reuse: {races} races, seed {seed}");
    let mut random = Random::new(seed);
    let server = TestServer::start().await;
    let phone = fresh_phone();
    for race in 0..races {
        let alice = server.login(&phone).await;
        let thiefs_key = random.once_in(2).then_some("the thief's");
        let mut won = Vec::new();
        if random.once_in(3) {
            // Long after.
            let first = refresh(&server, &alice.refresh, Some("mine")).await.ok(200);
            let second = refresh(&server, first["refresh_token"].as_str().unwrap(), Some("mine again")).await.ok(200);
            refresh(&server, &alice.refresh, thiefs_key).await.refused(401, "UNAUTHORIZED");
            won.extend([first, second]);
        } else {
            let honest = random.below(3) + 1;
            let mut asked: Vec<Option<&str>> = (0..honest).map(|_| Some("mine")).collect();
            asked.insert(usize::try_from(random.below(honest + 1)).unwrap(), thiefs_key);
            let answers = join_all(asked.iter().map(|key| refresh(&server, &alice.refresh, *key))).await;
            assert!(answers.iter().any(|answer| answer.status == 401), "race {race}: both took the token");
            won.extend(answers.into_iter().filter(|answer| answer.status == 200).map(|answer| answer.ok(200)));
        }
        for tokens in won {
            let holder = Person::of(server.address, &phone, &tokens);
            holder.get("/users/me").await.refused(401, "TOKEN_INVALID");
            refresh(&server, &holder.refresh, Some("next")).await.refused(401, "UNAUTHORIZED");
        }
        alice.get("/users/me").await.refused(401, "TOKEN_INVALID");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_code_is_compared_five_times_however_many_guess_at_once() {
    let (races, seed) = (number("WA_RACES").unwrap_or(200) / 8, seed());
    println!("codes: {races} races, seed {seed}");
    let mut random = Random::new(seed);
    let server = TestServer::start().await;
    let phone = fresh_phone();
    for race in 0..races {
        let code = server.otp(&phone).await;
        let wrong = |offset: u64| format!("{:06}", (code.parse::<u64>().unwrap() + 1 + offset) % 1_000_000);
        let guess = |code: String| server.post("/auth/verify-otp", json!({ "phone": phone, "otp": code }));
        let (wrongs, mut guesses) = (4 + random.below(12), Vec::new());
        guesses.extend((0..wrongs).map(wrong));
        let right_is_last = random.once_in(2);
        if !right_is_last {
            guesses.insert(usize::try_from(random.below(wrongs + 1)).unwrap(), code.clone());
        }
        let answers = join_all(guesses.into_iter().map(guess)).await;
        let count = |code: &str| answers.iter().filter(|answer| answer.body["error"]["code"] == code).count();
        let won = answers.iter().filter(|answer| answer.status == 200).count();
        assert!(won <= 1 && count("OTP_INVALID") + won <= 5, "race {race}: more than five comparisons");
        if right_is_last {
            // After five wrong ones no right one wins, however many come.
            let right = join_all((0..3).map(|_| guess(code.clone()))).await;
            let won = right.iter().filter(|answer| answer.status == 200).count();
            assert_eq!(won, usize::from(wrongs < 5), "race {race}: {wrongs} wrong guesses, then the right one");
        }
    }
}
