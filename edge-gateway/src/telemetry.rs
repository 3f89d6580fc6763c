//! The log, and the promise that no panic is silent.

use std::{
    backtrace::Backtrace,
    io::{self, IsTerminal as _},
    panic,
};

use tracing_subscriber::{layer::SubscriberExt as _, util::SubscriberInitExt as _};

use crate::config::{Config, LogFormat};

/// Sends the log to standard output as `config` asks, panics included.
pub fn init(config: &Config) {
    let registry = tracing_subscriber::registry().with(config.log.to_filter());
    let lines = tracing_subscriber::fmt::layer();
    match config.log_format {
        LogFormat::Text => registry
            .with(
                lines
                    .with_ansi(io::stdout().is_terminal())
                    .with_target(false),
            )
            .init(),
        LogFormat::Json => registry.with(lines.json()).init(),
    }

    // A task that panics would otherwise end without a word in a JSON log.
    panic::set_hook(Box::new(|panic| {
        let backtrace = Backtrace::capture();
        tracing::error!(%panic, %backtrace, "panic");
    }));
}
