//! What is told of a MongoDB that cannot be used, and what becomes of calls while the way to it is cut.

use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use wa_core::error::StoreErrorKind;
use wa_core::id::MediaId;

use super::*;

async fn refusal(url: &str) -> String {
    Mongo::open(url).await.err().unwrap_or_else(|| panic!("{url} is refused")).to_string()
}

#[tokio::test]
async fn a_url_that_says_something_else_is_refused_without_being_repeated() {
    for url in [
        "mongodb:",
        "mongodb://",
        "http://user:hunter2@host",
        "mongodb://user:hunter2@",
        "mongodb://user:hun/ter2@host",
        "mongodb://user:hunter2@host:port",
        "mongodb://user:hunter2@host/db?retryWrites=hunter2",
    ] {
        let said = refusal(url).await;
        assert!(said.starts_with("storage.messages: ") && !said.contains("hunter2") && !said.contains("ter2"), "{url}: {said}");
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_is_named_as_such() {
    let free = TcpListener::bind("127.0.0.1:0").await.and_then(|free| free.local_addr()).expect("a free port");
    let said = refusal(&format!("mongodb://user:hunter2@{free}/?serverSelectionTimeoutMS=200")).await;
    assert!(said.contains("storage.messages") && said.contains("check that it runs") && !said.contains("hunter2"), "{said}");
}

/// A way to the server that `WA_TEST_MONGO` names, which can be cut.
async fn way(listener: TcpListener) -> JoinHandle<()> {
    let server = std::env::var("WA_TEST_MONGO").expect("WA_TEST_MONGO names a MongoDB: run `make services-up` and do what it says");
    let server: SocketAddr = server.trim_start_matches("mongodb://").split('/').next().expect("an address").parse().expect("an address");
    tokio::spawn(async move {
        let mut ways = tokio::task::JoinSet::new();
        while let Ok((mut client, _)) = listener.accept().await {
            ways.spawn(async move {
                if let Ok(mut server) = TcpStream::connect(server).await {
                    let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
                }
            });
        }
    })
}

#[tokio::test]
#[ignore = "needs a MongoDB"]
async fn while_the_way_is_cut_calls_are_unavailable_and_afterwards_they_work() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let open = way(listener).await;
    let url = format!("mongodb://{address}/wa_{}?directConnection=true&serverSelectionTimeoutMS=300&heartbeatFrequencyMS=500", uuid::Uuid::now_v7().simple());
    let mongo = Arc::new(Mongo::open(&url).await.expect("it opens"));
    let media = mongo.media();
    let unknown = [MediaId::from_uuid(uuid::Uuid::now_v7())];
    assert!(media.get(&unknown).await.expect("answered").is_empty());
    open.abort();
    let _ = open.await;
    for _ in 0..3 {
        let error = timeout(Duration::from_secs(30), media.get(&unknown)).await.expect("nothing hangs").expect_err("there is no way");
        assert_eq!(error.kind, StoreErrorKind::Unavailable, "{error}");
    }
    assert!(mongo.check().await.is_err());
    let again = way(TcpListener::bind(address).await.expect("the same port")).await;
    let found = timeout(Duration::from_secs(30), async {
        while mongo.check().await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        media.get(&unknown).await
    });
    assert!(found.await.expect("it comes back").expect("answered").is_empty());
    mongo.close().await;
    again.abort();
}

#[tokio::test]
#[ignore = "needs a MongoDB"]
async fn indexes_are_made_once_and_can_be_made_again() {
    let server = std::env::var("WA_TEST_MONGO").expect("WA_TEST_MONGO names a MongoDB");
    let url = server.replace("/?", &format!("/wa_{}?", uuid::Uuid::now_v7().simple()));
    for _ in 0..2 {
        let mongo = Mongo::open(&url).await.expect("it opens");
        let names = mongo.database.collection::<Document>("media").list_index_names().await.expect("listed");
        assert_eq!(
            names.into_iter().collect::<std::collections::BTreeSet<_>>(),
            ["_id_", "media_id", "uploader_id", "used_at_media_id"].map(str::to_owned).into()
        );
        mongo.close().await;
    }
}
