//! Keeps rooms, in Redis or in a local file, and serves them over gRPC.
//!
//! Dependencies point one way: `grpc -> rooms -> repository (trait) -> domain`,
//! `grpc -> feed -> repository, domain`. Only [`app`] names concrete types.

pub mod app;
pub mod config;
pub mod domain;
pub mod feed;
mod grpc;
#[doc(hidden)]
pub mod hot_paths;
pub mod repository;
pub mod rooms;
