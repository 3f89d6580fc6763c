//! The signals that stop a program.

use std::{io, process};

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::tasks::Tasks;

/// The exit code after a second signal: what a shell reports for Ctrl-C.
const STOPPED_AT_ONCE: i32 = 130;

/// Starts to watch for SIGTERM and SIGINT in one of `tasks`. The first one cancels the token that is
/// returned, and the second one ends the process with code 130.
///
/// `program` is the name that the log lines begin with.
///
/// # Errors
///
/// The system registers no handler.
pub fn watch(program: &'static str, tasks: &Tasks) -> io::Result<CancellationToken> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let stop = CancellationToken::new();
    let stopping = stop.clone();
    tasks.spawn("watch for signals", async move {
        let mut next = async || {
            tokio::select! {
                _ = terminate.recv() => "SIGTERM",
                _ = interrupt.recv() => "SIGINT",
            }
        };
        let name = next().await;
        info!("{program}: {name}, stopping");
        stopping.cancel();
        let name = next().await;
        warn!("{program}: {name} again, exiting at once");
        process::exit(STOPPED_AT_ONCE);
    });
    Ok(stop)
}
