//! The gateway between browsers and rooms: Socket.io and HTTP on one side, gRPC on the other.
//!
//! Commands go down to persistence-service, events come up from its feed, and nothing goes
//! sideways: what a socket has just sent reaches everybody, the sender's gateway too, by the
//! feed alone. So one gateway, ten gateways or a restarted one behave alike.

pub mod app;
pub mod config;
mod contract;
mod delivery;
pub mod error;
pub mod feed;
#[doc(hidden)]
pub mod hot_paths;
pub mod http;
pub mod persistence;
pub mod server;
pub mod socket;
pub mod values;
