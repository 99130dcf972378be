//! The contract of `PresenceStore`.

use std::time::Duration;

use futures_util::future::join_all;
use wa_core::id::{ConnectionId, UserId};
use wa_core::ports::CameAndWent;

use super::Subject;

async fn connect(s: &Subject, user: UserId, connection: ConnectionId) -> bool {
    s.presence.connect(user, connection).await.expect("answered")
}

async fn disconnect(s: &Subject, user: UserId, connection: ConnectionId) -> bool {
    s.presence.disconnect(user, connection).await.expect("answered")
}

async fn is_online(s: &Subject, user: UserId) -> bool {
    !s.presence.online(&[user]).await.expect("answered").is_empty()
}

/// Case.
pub async fn a_user_is_online_while_any_connection_is(s: &Subject) {
    let (user, other): (UserId, UserId) = (s.id(), s.id());
    let (phone, laptop) = (s.id(), s.id());
    assert!(!is_online(s, user).await);
    connect(s, user, phone).await;
    connect(s, user, laptop).await;
    assert_eq!(s.presence.online(&[other, user]).await.expect("answered"), [user]);
    disconnect(s, user, phone).await;
    assert!(is_online(s, user).await);
    disconnect(s, user, laptop).await;
    assert!(!is_online(s, user).await);
}

/// Case.
pub async fn connecting_twice_is_connecting_once(s: &Subject) {
    let (user, connection) = (s.id(), s.id());
    assert!(connect(s, user, connection).await);
    assert!(!connect(s, user, connection).await);
    assert!(disconnect(s, user, connection).await);
    assert!(!is_online(s, user).await);
    assert!(!disconnect(s, user, connection).await, "and so is disconnecting");
}

/// Case.
pub async fn only_the_first_comes_and_only_the_last_goes(s: &Subject) {
    let user = s.id();
    let connections: Vec<ConnectionId> = (0..8).map(|_| s.id()).collect();
    let came = join_all(connections.iter().map(|connection| connect(s, user, *connection))).await;
    assert_eq!(came.iter().filter(|came| **came).count(), 1);
    assert!(!disconnect(s, user, s.id()).await, "an unknown connection takes nobody away");
    let went = join_all(connections.iter().map(|connection| disconnect(s, user, *connection))).await;
    assert_eq!(went.iter().filter(|went| **went).count(), 1);
    assert!(connect(s, user, s.id()).await, "and the next one comes again");
}

/// Case.
pub async fn connections_that_are_renewed_stand(s: &Subject) {
    let (user, gone) = (s.id(), s.id());
    let (connection, ended) = (s.id(), s.id());
    connect(s, user, connection).await;
    connect(s, gone, ended).await;
    disconnect(s, gone, ended).await;
    for second in 0..200 {
        s.env.advance(Duration::from_secs(1));
        if second % 15 == 0 {
            assert_eq!(s.presence.renew().await.expect("answered"), CameAndWent::default());
        }
        assert_eq!(s.presence.expire().await.expect("answered"), CameAndWent::default(), "after {second} seconds");
        assert_eq!(s.presence.online(&[user, gone]).await.expect("answered"), [user]);
    }
    assert!(disconnect(s, user, connection).await);
}
