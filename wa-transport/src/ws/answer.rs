//! Carries out the requests of a socket through the core's apis and writes their answers (contract, section 10, "Socket").

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::Semaphore;
use wa_core::api::Pending;
use wa_core::error::{Error, Result};
use wa_core::id::UserId;
use wa_core::ports::Admission;

use super::close::Close;
use super::error::ErrorData;
use super::event::{Ack, Deletion, EditedMessage, ReactionChange, SentMessage, ServerEvent as _};
use super::frame::ReqId;
use super::hub::Hub;
use super::pipeline::Job;
use super::request::Request;
use super::socket::{Outgoing, Socket};
use crate::backend::Backend;

/// Sockets that are opened at a time. When thousands come back at once, the others wait for their turn: opening them all
/// together would take no less time and much more memory.
const OPENINGS: usize = 32;

/// What all sockets share.
pub(super) struct Context {
    pub(super) hub: Arc<Hub>,
    pub(super) backend: Backend,
    openings: Semaphore,
}

impl Context {
    pub(super) fn new(hub: Arc<Hub>, backend: Backend) -> Self {
        Self { hub, backend, openings: Semaphore::new(OPENINGS) }
    }
}

impl Context {
    /// Writes an `error` frame, and notes in the log what the client is not told.
    pub(super) fn failure(&self, socket: &Socket, error: &Error, req_id: Option<&ReqId>) -> Option<Bytes> {
        match error {
            Error::Internal(source) => {
                tracing::error!(user_id = %socket.caller.user_id, connection_id = %socket.id, error = %Chain(&**source), "a socket request failed");
            }
            Error::Unavailable { source, .. } => {
                let cause = source.as_deref().map(|source| Chain(source).to_string());
                tracing::warn!(user_id = %socket.caller.user_id, connection_id = %socket.id, cause, "a socket request could not be served");
            }
            _ => {}
        }
        ErrorData::from(error).frame(req_id, self.backend.env.now())
    }
}

/// An error with its causes, for the log.
struct Chain<'a>(&'a (dyn std::error::Error + 'static));

impl std::fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

/// Opens a socket that is already registered: makes sure its session still stands, announces the user, closes the
/// device's older socket, and fetches what waits.
pub(super) async fn open(context: Arc<Context>, socket: Arc<Socket>) -> Result<Pending, Close> {
    let Context { hub, backend, openings } = &*context;
    // It is never closed.
    let _turn = openings.acquire().await;
    let refused = |error: Error| {
        if !matches!(error, Error::Unauthenticated(_)) {
            tracing::warn!(user_id = %socket.caller.user_id, connection_id = %socket.id, ?error, "a socket could not be opened");
        }
        Close::from(&error)
    };
    backend.authenticator.confirm(&socket.caller).await.map_err(refused)?;
    // Without presence everything else still works (contract, section 8).
    if let Err(error) = backend.presence.connected(&socket.caller, socket.id).await {
        tracing::warn!(connection_id = %socket.id, ?error, "presence is not noted");
    }
    // Only now, so that the user does not seem to go and come.
    hub.replace_older(&socket);
    // First the way of the events, then what waits: nothing falls in between.
    hub.reachable(socket.caller.user_id).await;
    backend.messages.pending(&socket.caller).await.map_err(refused)
}

/// Takes a token from the bucket for a request. With the limiter out of order requests go on.
pub(super) async fn admit(context: Arc<Context>, user: UserId, is_message: bool) -> Result<()> {
    let backend = &context.backend;
    let (name, limit) = if is_message { ("ws_messages", backend.limits.ws_messages) } else { ("ws_other", backend.limits.ws_other) };
    match backend.rate_limiter.take(&format!("{name}:{user}"), limit).await {
        Ok(Admission::Granted) => Ok(()),
        Ok(Admission::Refused { retry_after }) => {
            backend.metrics.rate_limited(name);
            Err(Error::RateLimited { retry_after })
        }
        Err(error) => {
            tracing::warn!(%error, "the rate limiter is out of order");
            Ok(())
        }
    }
}

/// Carries out a request and writes its answer. Who runs it bounds how long it may take.
pub(super) async fn answer(context: Arc<Context>, socket: Arc<Socket>, job: Job) -> Option<Bytes> {
    let Job { request, req_id } = job;
    let result = carry_out(&context, &socket, request, req_id.as_ref()).await;
    result.unwrap_or_else(|error| context.failure(&socket, &error, req_id.as_ref()))
}

async fn carry_out(context: &Context, socket: &Arc<Socket>, request: Request, req_id: Option<&ReqId>) -> Result<Option<Bytes>> {
    let Context { hub, backend, .. } = context;
    let caller = &socket.caller;
    match request {
        Request::Send(message) => {
            let sent = backend.messages.send(caller, message).await?;
            #[cfg(feature = "failpoints")]
            wa_core::faults::pass("before_ack");
            if !sent.duplicate {
                backend.metrics.messages_persisted().inc();
            }
            return Ok(SentMessage::from(&sent).frame(req_id, backend.env.now()));
        }
        Request::Sync(request) => return Ok(backend.messages.sync(caller, request).await?.frame(req_id, backend.env.now())),
        Request::Edit { message, payload } => {
            let edited = backend.messages.edit(caller, message, &payload, Some(socket.id)).await?;
            return Ok(EditedMessage(&edited).frame(req_id, backend.env.now()));
        }
        Request::Delete { message, for_everyone } => {
            let deleted = match for_everyone {
                true => backend.messages.delete_for_everyone(caller, message, Some(socket.id)).await?,
                false => backend.messages.delete_for_me(caller, message, Some(socket.id)).await?,
            };
            let now = backend.env.now();
            return Ok(Deletion::of(&deleted, now).frame(req_id, now));
        }
        Request::React { message, emoji } => {
            let reaction = backend.messages.react(caller, message, emoji, Some(socket.id)).await?;
            let now = backend.env.now();
            return Ok(ReactionChange::of(&reaction, now).frame(req_id, now));
        }
        Request::Delivered(messages) => backend.messages.mark_delivered(caller, &messages, Some(socket.id)).await?,
        Request::Read { chat, up_to } => backend.messages.mark_read(caller, chat, Some(up_to), Some(socket.id)).await?,
        Request::Typing { chat, is_typing } => backend.presence.typing(caller, chat, is_typing).await?,
        Request::Subscribe(users) => {
            // The subscription stands already, so no change is missed; one that overtakes the state replaces it.
            for presence in backend.presence.see(caller, &users).await? {
                if let Some(bytes) = presence.frame(None, backend.env.now()) {
                    hub.tell_state(socket, presence.user_id, Outgoing::plain(bytes));
                }
            }
        }
        Request::Unsubscribe(_) => {}
        Request::Ping => {
            // The pong is out already: it does not depend on presence.
            if let Err(error) = backend.presence.connected(caller, socket.id).await {
                tracing::debug!(connection_id = %socket.id, ?error, "presence is not refreshed");
            }
            return Ok(None);
        }
    }
    Ok(req_id.and_then(|req_id| Ack {}.frame(Some(req_id), backend.env.now())))
}
