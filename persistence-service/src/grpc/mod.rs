//! The gRPC face: each call is decode, call, encode.

mod convert;
mod health;
mod service;
mod status;
mod watches;

pub(crate) use health::{HEALTH_NAMES, follow as follow_health};
pub(crate) use service::RoomService;
