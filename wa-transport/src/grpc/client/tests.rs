//! Calls to peers that fail in every way, over real sockets.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use wa_core::api::Authenticator as _;
use wa_core::testing::SimEnv;

use super::*;
use crate::grpc::proto::auth::auth_service_client::AuthServiceClient;
use crate::grpc::proto::auth::auth_service_server::{AuthService, AuthServiceServer};
use crate::grpc::proto::auth::{ConfirmSessionRequest, ConfirmSessionResponse, ValidateTokenRequest, ValidateTokenResponse};

/// Fails in this way so many times, then answers.
#[derive(Clone)]
struct Faulty {
    calls: Arc<AtomicU32>,
    fails: u32,
    with: Status,
    hangs: bool,
    metadata: Arc<Mutex<Vec<tonic::metadata::MetadataMap>>>,
}

impl Faulty {
    fn new(fails: u32, with: Status) -> Self {
        Self { calls: Arc::default(), fails, with, hangs: false, metadata: Arc::default() }
    }

    fn calls(&self) -> u32 {
        self.calls.load(Ordering::SeqCst)
    }

    async fn serve(&self) -> (SocketAddr, AbortOnDropHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let server = Server::builder().add_service(AuthServiceServer::new(self.clone())).serve_with_incoming(TcpIncoming::from(listener));
        (address, AbortOnDropHandle::new(tokio::spawn(async move { server.await.expect("it serves") })))
    }
}

#[tonic::async_trait]
impl AuthService for Faulty {
    async fn validate_token(&self, request: Request<ValidateTokenRequest>) -> Result<Response<ValidateTokenResponse>, Status> {
        self.metadata.lock().unwrap_or_else(PoisonError::into_inner).push(request.metadata().clone());
        if self.calls.fetch_add(1, Ordering::SeqCst) < self.fails {
            if self.hangs {
                std::future::pending::<()>().await;
            }
            return Err(self.with.clone());
        }
        let id = "018f3f6e-7b1c-7c4e-8a57-0242ac120002".to_owned();
        Ok(Response::new(ValidateTokenResponse { valid: true, user_id: id.clone(), device_id: id, ..Default::default() }))
    }

    async fn confirm_session(&self, _: Request<ConfirmSessionRequest>) -> Result<Response<ConfirmSessionResponse>, Status> {
        Err(Status::unimplemented(""))
    }
}

fn peer(address: SocketAddr) -> Peer {
    Peer::new("auth", &[format!("http://{address}")], Arc::new(SimEnv::new(1)), Metrics::new()).expect("a URL")
}

/// A method whose deadline a test can wait for.
const QUICK: Method = Method { service: "auth.v1.AuthService", name: "ValidateToken", deadline: Duration::from_millis(300), is_idempotent: true };

async fn validate(peer: &Peer, method: Method) -> Result<ValidateTokenResponse> {
    let send = |channel: Channel, request: Request<ValidateTokenRequest>| async move { AuthServiceClient::new(channel).validate_token(request).await };
    peer.call(method, ValidateTokenRequest { token: "t".to_owned() }, send).await
}

#[tokio::test]
async fn an_idempotent_call_is_made_again_when_the_peer_was_not_there() {
    for code in [Code::Unavailable, Code::DeadlineExceeded, Code::ResourceExhausted] {
        let faulty = Faulty::new(2, Status::new(code, "not now"));
        let (address, _serving) = faulty.serve().await;
        assert!(validate(&peer(address), QUICK).await.expect("it is answered in the end").valid);
        assert_eq!(faulty.calls(), TRIES, "{code:?}");
    }
}

#[tokio::test]
async fn tries_are_bounded() {
    let faulty = Faulty::new(u32::MAX, Status::unavailable("not now"));
    let (address, _serving) = faulty.serve().await;
    assert_eq!(validate(&peer(address), QUICK).await.expect_err("it never answers").code(), "UNAVAILABLE");
    assert_eq!(faulty.calls(), TRIES);
}

#[tokio::test]
async fn what_must_not_be_repeated_is_not() {
    let faulty = Faulty::new(1, Status::unavailable("not now"));
    let (address, _serving) = faulty.serve().await;
    assert_eq!(validate(&peer(address), Method { is_idempotent: false, ..QUICK }).await.expect_err("one try").code(), "UNAVAILABLE");
    assert_eq!(faulty.calls(), 1);
}

#[tokio::test]
async fn a_refusal_is_not_tried_again_and_opens_no_circuit() {
    let refusal = super::super::status::to_status(&Error::invalid("token", "must be a token"));
    let faulty = Faulty::new(u32::MAX, refusal);
    let (address, _serving) = faulty.serve().await;
    let peer = peer(address);
    for _ in 0..2 * breaker::FAILURES {
        let error = validate(&peer, QUICK).await.expect_err("it refuses");
        assert_eq!((error.code(), error.details().len()), ("VALIDATION_ERROR", 1));
    }
    assert_eq!(faulty.calls(), 2 * breaker::FAILURES);
}

#[tokio::test]
async fn a_peer_that_hangs_is_given_up_at_the_deadline() {
    let faulty = Faulty { hangs: true, ..Faulty::new(1, Status::ok("")) };
    let (address, _serving) = faulty.serve().await;
    assert!(validate(&peer(address), QUICK).await.expect("the second try is answered").valid);
    assert_eq!(faulty.calls(), 2);
}

#[tokio::test]
async fn a_dead_peer_is_left_alone_until_it_is_back() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    drop(listener);
    let metrics = Metrics::new();
    let peer = Peer::new("auth", &[format!("http://{address}")], Arc::new(SimEnv::new(1)), metrics.clone()).expect("a URL");
    for _ in 0..breaker::FAILURES {
        assert_eq!(validate(&peer, Method { is_idempotent: false, ..QUICK }).await.expect_err("nobody is there").code(), "UNAVAILABLE");
    }
    let error = validate(&peer, QUICK).await.expect_err("the circuit is open");
    assert!(error.retry_after().is_some_and(|wait| wait > Duration::from_secs(5) && wait <= breaker::OPEN), "{error:?}");
    let shown = metrics.render();
    assert!(shown.contains(r#"grpc_client_circuit_state{peer="auth"} 2"#), "{shown}");
    assert!(
        shown.contains(r#"grpc_client_handled_total{grpc_code="UNAVAILABLE",grpc_method="ValidateToken",grpc_service="auth.v1.AuthService"} 5"#),
        "{shown}"
    );
}

#[tokio::test]
async fn a_call_carries_the_request_it_is_made_for() {
    let faulty = Faulty::new(0, Status::ok(""));
    let (address, _serving) = faulty.serve().await;
    let client = GrpcAuthClient::new(peer(address));
    let traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let context = RequestContext { request_id: "r1".into(), traceparent: Some(traceparent.into()) };
    context.scope(client.authenticate("token")).await.expect("it is good");
    let metadata = faulty.metadata.lock().unwrap_or_else(PoisonError::into_inner);
    let text = |name: &str| metadata[0].get(name).and_then(|value| value.to_str().ok()).map(ToOwned::to_owned);
    assert_eq!((text("x-request-id").as_deref(), text("traceparent").as_deref()), (Some("r1"), Some(traceparent)));
    assert_eq!(text("grpc-timeout").as_deref(), Some("2000000u"), "the contract's deadline of ValidateToken");
}

#[test]
fn what_is_no_address_is_refused() {
    for url in ["", "not a url", "http://"] {
        assert!(Peer::new("auth", &[url], Arc::new(SimEnv::new(1)), Metrics::new()).is_err(), "{url}");
    }
}

#[tokio::test]
async fn of_several_processes_the_next_one_is_asked_when_one_is_gone() {
    let (faulty, well) = (Faulty::new(u32::MAX, Status::unavailable("it is going")), Faulty::new(0, Status::unknown("")));
    let ((first, _first), (second, _second)) = (faulty.serve().await, well.serve().await);
    let gone = "http://127.0.0.1:9".to_owned();
    let urls = [format!("http://{first}"), gone, format!("http://{second}")];
    let peer = Peer::new("auth", &urls, Arc::new(SimEnv::new(1)), Metrics::new()).expect("URLs");
    let client = GrpcAuthClient::new(peer);
    for _ in 0..30 {
        client.authenticate("a token").await.expect("somebody answers");
    }
    assert_eq!((well.calls(), faulty.calls()), (30, breaker::FAILURES), "one that fails is left alone");
}
