//! The log, and the promise that no panic is silent.

use std::{
    backtrace::Backtrace,
    io::{self, IsTerminal as _},
    panic,
};

use tracing_subscriber::{layer::SubscriberExt as _, util::SubscriberInitExt as _};

use crate::settings::{LogFormat, LogSettings};

/// Sends the log to standard output as `settings` ask, panics included.
///
/// # Panics
///
/// If the process logs already.
pub fn init(settings: &LogSettings) {
    let registry = tracing_subscriber::registry().with(settings.filter.to_filter());
    let lines = tracing_subscriber::fmt::layer();
    match settings.format {
        LogFormat::Text => registry
            .with(
                lines
                    .with_ansi(io::stdout().is_terminal())
                    .with_target(false),
            )
            .init(),
        LogFormat::Json => registry.with(lines.json()).init(),
    }

    // Without this hook a panic goes to standard error as plain text, which no reader of
    // a JSON log finds.
    panic::set_hook(Box::new(|panic| {
        let backtrace = Backtrace::capture();
        tracing::error!(%panic, %backtrace, "panic");
    }));
}
