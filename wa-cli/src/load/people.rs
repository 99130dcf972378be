//! Users that log in at a server which tells the codes itself, two and two with a chat.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;

use serde::Deserialize;

use super::source;
use super::wire::Http;

/// Logins at a time.
const AT_A_TIME: usize = 16;

/// A user that is logged in.
#[derive(Clone, Default)]
pub struct User {
    /// Their access token.
    pub token: Option<String>,
    /// Where their socket is.
    pub path: String,
    id: String,
}

impl User {
    /// Somebody who needs no login: the socket's path says who it is.
    #[must_use]
    pub fn unknown(path: String) -> Self {
        Self { token: None, path, id: String::new() }
    }
}

impl std::fmt::Debug for User {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("User").field("id", &self.id).finish_non_exhaustive()
    }
}

/// Two users and their chat.
#[derive(Debug, Clone, Default)]
pub struct Pair {
    /// Who sends.
    pub sender: User,
    /// Who receives.
    pub receiver: User,
    /// The chat.
    pub chat: String,
}

#[derive(Deserialize)]
struct Answer<T> {
    data: T,
}

#[derive(Deserialize)]
struct Requested {
    otp: Option<String>,
}

#[derive(Deserialize)]
struct LoggedIn {
    access_token: String,
    user: LoggedInUser,
}

#[derive(Deserialize)]
struct LoggedInUser {
    id: String,
}

#[derive(Deserialize)]
struct Chat {
    chat_id: String,
}

/// Logs in pairs `first..first + count`, and makes the chat of each if they are to talk. The same numbers are the same
/// users; `progress` learns how many are done.
///
/// # Errors
/// If the server cannot be reached, does not tell the codes, or limits requests.
pub async fn pairs(target: SocketAddr, first: usize, count: usize, talk: bool, progress: impl Fn(usize) + 'static) -> io::Result<Vec<Pair>> {
    let (next, done) = (Rc::new(Cell::new(0)), Rc::new(RefCell::new(vec![Pair::default(); count])));
    let (ready, progress) = (Rc::new(Cell::new(0)), Rc::new(progress));
    let mut workers = Vec::new();
    for worker in 0..AT_A_TIME.min(count) {
        let (next, done, ready, progress) = (Rc::clone(&next), Rc::clone(&done), Rc::clone(&ready), Rc::clone(&progress));
        workers.push(tokio::task::spawn_local(async move {
            let mut http = Http::open(target, source(target, worker)).await?;
            while next.get() < count {
                let number = next.replace(next.get() + 1);
                let pair = pair(&mut http, first + number, talk).await?;
                done.borrow_mut()[number] = pair;
                ready.set(ready.get() + 1);
                progress(ready.get());
            }
            io::Result::Ok(())
        }));
    }
    for worker in workers {
        worker.await.map_err(io::Error::other)??;
    }
    Ok(done.take())
}

async fn pair(http: &mut Http, number: usize, talk: bool) -> io::Result<Pair> {
    let sender = login(http, number * 2).await?;
    let receiver = login(http, number * 2 + 1).await?;
    let chat = if talk {
        let body = format!(r#"{{"type":"direct","participant_id":"{}"}}"#, receiver.id);
        http.post::<Answer<Chat>>("/api/v1/chats", sender.token.as_deref(), &body).await?.data.chat_id
    } else {
        String::new()
    };
    Ok(Pair { sender, receiver, chat })
}

/// People and the group they are all in.
#[derive(Debug, Clone)]
pub struct Group {
    /// Everybody; the first has made it.
    pub members: Vec<User>,
    /// The chat.
    pub chat: String,
}

/// Logs in these pairs, and makes one group of them all.
///
/// # Errors
/// As [`pairs`].
pub async fn group(target: SocketAddr, first: usize, count: usize) -> io::Result<Group> {
    let members: Vec<User> = pairs(target, first, count, false, |_| ()).await?.into_iter().flat_map(|pair| [pair.sender, pair.receiver]).collect();
    let Some((admin, others)) = members.split_first() else { return Err(io::Error::other("a group has members")) };
    let others: Vec<String> = others.iter().map(|member| format!("\"{}\"", member.id)).collect();
    let body = format!(r#"{{"type":"group","name":"wa bench","participant_ids":[{}]}}"#, others.join(","));
    let mut http = Http::open(target, source(target, 0)).await?;
    let chat = http.post::<Answer<Chat>>("/api/v1/chats", admin.token.as_deref(), &body).await?.data.chat_id;
    Ok(Group { members, chat })
}

async fn login(http: &mut Http, number: usize) -> io::Result<User> {
    let phone = format!("+1202{:07}", 5_000_000 + number);
    let requested: Answer<Requested> = http.post("/api/v1/auth/request-otp", None, &format!(r#"{{"phone":"{phone}"}}"#)).await?;
    let otp = requested.data.otp.ok_or_else(|| io::Error::other("the server keeps its codes to itself: start it with --dev, or WA_DEV__ECHO_OTP=true"))?;
    let body = format!(r#"{{"phone":"{phone}","otp":"{otp}","device_name":"wa bench"}}"#);
    let login: Answer<LoggedIn> = http.post("/api/v1/auth/verify-otp", None, &body).await?;
    Ok(User { token: Some(login.data.access_token), path: "/ws".to_owned(), id: login.data.user.id })
}
