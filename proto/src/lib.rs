//! The gRPC schema of Roomkeeper, `roomkeeper.v1`, as generated code and nothing else.
//!
//! The comments of the `.proto` files beside this crate are its documentation.

/// The package `roomkeeper.v1`.
#[allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::wildcard_enum_match_arm,
    clippy::large_futures,
    reason = "generated"
)]
pub mod v1 {
    tonic::include_proto!("roomkeeper.v1");
}

/// The encoded descriptors of the whole schema and what it imports, for server reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
