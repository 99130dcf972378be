//! Bring your own login: the host's users and tokens instead of phones and codes, and its own reaction to events.
//!
//! `cargo run -p wa-examples --bin own_login`, then
//! `curl -s -X POST http://127.0.0.1:3000/login -d ann` for a token that all of http://127.0.0.1:3000/api/v1 takes.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use axum::extract::State;
use axum::http::StatusCode;
use axum::{Json, Router, routing::post};
use serde_json::{Value, json};
use uuid::Uuid;
use wa_core::api::{Authenticator, Provision, UserApi};
use wa_core::error::{Error, Unauthenticated};
use wa_core::event::Fact;
use wa_core::id::{DeviceId, UserId};
use wa_core::ports::Env as _;
use wa_core::session::Caller;
use wa_examples::{ctrl_c, setting};
use wa_server::{Chat, Config, SystemEnv};

/// The host's sessions: which token belongs to whom. Yours are in your database, or inside your JWTs.
#[derive(Clone, Default)]
struct Sessions(Arc<Mutex<HashMap<String, Caller>>>);

#[async_trait]
impl Authenticator for Sessions {
    /// Asked for every request and every new socket.
    async fn authenticate(&self, token: &str) -> wa_core::Result<Caller> {
        let sessions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sessions.get(token).copied().ok_or(Error::Unauthenticated(Unauthenticated::Invalid))
    }

    /// Asked once more when a socket has become known, so that a logout in between is not missed.
    async fn confirm(&self, caller: &Caller) -> wa_core::Result<()> {
        let sessions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if sessions.values().any(|known| known == caller) { Ok(()) } else { Err(Error::Unauthenticated(Unauthenticated::Invalid)) }
    }
}

/// What the host's own routes need.
#[derive(Clone)]
struct Host {
    /// The host's users by name; yours are in your database, and their ids outlast a restart.
    accounts: Arc<Mutex<HashMap<String, UserId>>>,
    sessions: Sessions,
    users: Arc<dyn UserApi>,
}

/// 32 random bytes that nobody can guess.
fn token() -> String {
    let mut bytes = [0; 32];
    SystemEnv.fill(&mut bytes);
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The host's login: it believes everybody. The same name is the same user, and each login is a device of its own.
async fn login(State(host): State<Host>, name: String) -> Result<Json<Value>, StatusCode> {
    let user_id = *host.accounts.lock().unwrap_or_else(PoisonError::into_inner).entry(name.clone()).or_insert_with(|| UserId::from_uuid(Uuid::now_v7()));
    let caller = Caller { user_id, device_id: DeviceId::from_uuid(Uuid::now_v7()) };
    host.users.provision(Provision { id: user_id, phone: None, display_name: name }).await.map_err(|_| StatusCode::BAD_REQUEST)?;
    let token = token();
    host.sessions.0.lock().unwrap_or_else(PoisonError::into_inner).insert(token.clone(), caller);
    Ok(Json(json!({ "user_id": user_id, "token": token })))
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut config = Config::default();
    config.server.data_dir = setting("DATA_DIR", "./wa-data").into();

    let sessions = Sessions::default();
    let chat = Chat::builder(config).authenticator(sessions.clone()).build().await?;
    // Events come typed; this host counts the words that are said.
    let _subscription = chat
        .subscribe(|event| async move {
            if let Fact::MessageNew(new) = &event.fact {
                let words = new.message.payload.to_value()["body"].as_str().map_or(0, |body| body.split_whitespace().count());
                println!("{} said {words} words", new.sender_name);
            }
        })
        .await?;
    let host = Host { accounts: Arc::default(), sessions, users: Arc::clone(chat.users()) };
    let app = Router::new().route("/login", post(login)).with_state(host).merge(chat.router());

    let listener = tokio::net::TcpListener::bind(setting("ADDRESS", "127.0.0.1:3000")).await?;
    println!("http://{}", listener.local_addr()?);
    axum::serve(listener, app.into_make_service_with_connect_info::<SocketAddr>()).with_graceful_shutdown(ctrl_c()).await?;
    chat.shutdown().await;
    Ok(())
}
