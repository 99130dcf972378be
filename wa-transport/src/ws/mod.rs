//! The WebSocket protocol (contract, section 3).
//!
//! A [`Hub`] holds all open sockets; [`Delivery`] brings events to them; [`router`] lets clients in. What a client asks for
//! goes through the core's apis, as everywhere.
//!
//! * `upgrade` is `GET /ws`: who may connect
//! * `wire` is RFC 6455 on one connection, `frame` the JSON in its messages: pure, and safe against any input
//! * `request` and `event` say what the data of client and server events are, `compat` what existing clients call them
//! * `session` is one connection, `pipeline` the requests it has in flight, `answer` what becomes of them
//! * `socket` is what the rest of the server sees of a connection, `hub` all of them, `delivery` what brings events there
//! * `close` and `error` are the tables of codes

mod answer;
mod close;
mod compat;
mod delivery;
mod error;
mod event;
pub mod frame;
mod hub;
mod pipeline;
mod request;
mod session;
mod socket;
mod upgrade;
mod wire;

pub use close::Close;
pub use delivery::Delivery;
pub use error::code;
pub use hub::Hub;
pub use upgrade::{WsOptions, router};
