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
    log_panics();
}

/// Logs each panic from now on, with its place and a backtrace, as one event of level
/// ERROR.
fn log_panics() {
    // Without this hook a panic goes to standard error as plain text, which no reader of
    // a JSON log finds.
    panic::set_hook(Box::new(|panic| {
        let backtrace = Backtrace::capture();
        tracing::error!(%panic, %backtrace, "panic");
    }));
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Log {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_panic_is_one_line_of_a_json_log() {
        let log = Log::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .json()
            .with_writer(move || writer.clone())
            .finish();
        let before = panic::take_hook();
        log_panics();
        tracing::subscriber::with_default(subscriber, || {
            panic::catch_unwind(|| panic!("out of order")).unwrap_err();
        });
        panic::set_hook(before);

        let lines = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
        let line = lines.lines().find(|line| line.contains("out of order"));
        let line = line.unwrap_or_else(|| panic!("{lines}"));
        assert!(line.contains(r#""level":"ERROR""#), "{line}");
        assert!(line.contains("telemetry.rs"), "{line}");
    }
}
