//! Starts what the tests need: a store of their own, and rooms in it.

mod cluster;
mod model;
mod observed;
mod opened;
mod process;
mod properties;
mod proxy;
mod redis_server;
mod rooms;
mod sentinel;

pub use cluster::RedisCluster;
pub use model::{From, Kept, Model, Operation, Stroke};
pub use observed::Observed;
pub use opened::Opened;
pub use properties::always;
pub use proxy::Proxy;
pub use redis_server::RedisServer;
pub use rooms::{
    AnyStore, Store, StoreKind, change, drawing, join, message, new_room, participant, position,
    rectangle, request, settings,
};
pub use sentinel::RedisSentinel;

use std::time::Duration;

/// How long anything may take before a test calls it missing.
pub const DEADLINE: Duration = Duration::from_secs(15);

/// Waits for something that must come.
///
/// # Panics
///
/// Where it does not come in time.
pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(DEADLINE, future).await {
        Ok(value) => value,
        Err(_) => panic!("{what} did not come within {DEADLINE:?}"),
    }
}
