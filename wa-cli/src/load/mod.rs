//! The load behind `wa bench`: users in pairs that talk, connect, wait or come back, and what that takes of the server. It
//! runs in one thread, so that it leaves the machine to what is measured.

mod group;
mod measure;
mod people;
mod sockets;
mod traffic;
mod wire;

pub use group::group_traffic;
pub use measure::{Quantiles, Usage};
pub use people::{Group, Pair, User, group, pairs};
pub use sockets::{Connected, Idle, Offline, Storm, connect, idle, offline, storm};
pub use traffic::{Plan, Traffic, traffic};

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// Sockets from one address of the machine, at the most; a further one is taken for those above.
const FROM_ONE_ADDRESS: usize = 5000;

/// The loopback address for the connection of this number, or none if the server is not on this machine.
fn source(target: SocketAddr, number: usize) -> Option<IpAddr> {
    let last = u8::try_from(number / FROM_ONE_ADDRESS).unwrap_or(u8::MAX);
    target.ip().is_loopback().then_some(IpAddr::V4(Ipv4Addr::new(127, 0, 1, last.saturating_add(1).min(254))))
}

/// Runs this in one thread, apart from any other runtime.
///
/// # Errors
/// If the runtime cannot be started, and whatever the work fails with.
pub fn run<T>(work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    tokio::task::LocalSet::new().block_on(&runtime, work)
}
