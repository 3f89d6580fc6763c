//! What both programs have in common. It knows no transport and no store.

pub mod names;
pub mod settings;
pub mod signals;
pub mod tasks;
pub mod telemetry;
