//! Where the log goes.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

use crate::config::{Config, LogFormat};

/// Begins to log to standard output.
///
/// # Errors
///
/// A line that names `RUST_LOG` where it is no filter.
pub fn init(config: &Config) -> Result<(), String> {
    let filter = EnvFilter::try_new(&config.rust_log).map_err(|_| {
        format!(
            "RUST_LOG {:?}: must be a level or a filter",
            config.rust_log
        )
    })?;
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_target(false)
        .with_ansi(std::io::stdout().is_terminal());
    match config.log_format {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().init(),
    }
    Ok(())
}
