//! What a store of rooms promises, and the feed over it, on a real Redis and in
//! a real file.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod architecture;
mod cluster;
mod contract;
mod documents;
mod elements;
mod embedded;
mod feed;
mod fractional_index;
mod leases;
mod outages;
mod properties;
mod redis;
mod service;
mod stampede;
mod tasks;
