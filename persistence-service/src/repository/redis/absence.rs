//! What the log says of a server that cannot be reached.

use std::time::Duration;

use tokio::time::Instant;

/// How long a server may take to be reached for the first time before the log warns: this
/// program and Redis may be started at once, and Redis loads its data first.
const START_PATIENCE: Duration = Duration::from_secs(10);

/// How loud a failure to reach the server is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    Info,
    Warn,
}

/// Whether a server is there, and what the log has said about that: each absence is logged
/// once, because every further line would only repeat it. The absence at the start becomes a
/// warning when it lasts.
#[derive(Debug)]
pub(super) struct Absence {
    begun: Instant,
    has_been_there: bool,
    logged: Option<Level>,
}

impl Absence {
    /// A server that has not been reached yet.
    pub(super) fn new() -> Self {
        Self {
            begun: Instant::now(),
            has_been_there: false,
            logged: None,
        }
    }

    /// Notes that the server has been reached.
    pub(super) fn end(&mut self) {
        self.has_been_there = true;
        self.logged = None;
    }

    /// Logs that the server has not been reached, unless the log says so already.
    pub(super) fn log(&mut self, what: &str, error: &dyn std::fmt::Display) {
        match self.next() {
            Some(Level::Info) => tracing::info!(%error, "Redis: {what} yet, trying again"),
            Some(Level::Warn) => tracing::warn!(%error, "Redis: {what}, trying again"),
            None => {}
        }
    }

    fn next(&mut self) -> Option<Level> {
        let level = if self.has_been_there || self.begun.elapsed() >= START_PATIENCE {
            Level::Warn
        } else {
            Level::Info
        };
        let is_news = self.logged.is_none_or(|logged| logged < level);
        is_news.then(|| *self.logged.insert(level))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_server_that_is_not_there_yet_is_warned_about_only_if_it_stays_away() {
        let mut absence = Absence::new();
        assert_eq!(absence.next(), Some(Level::Info));
        assert_eq!(absence.next(), None);
        tokio::time::advance(START_PATIENCE).await;
        assert_eq!(absence.next(), Some(Level::Warn));
        assert_eq!(absence.next(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn each_later_absence_is_a_warning() {
        let mut absence = Absence::new();
        for _ in 0..2 {
            absence.end();
            assert_eq!(absence.next(), Some(Level::Warn));
            assert_eq!(absence.next(), None);
        }
    }
}
