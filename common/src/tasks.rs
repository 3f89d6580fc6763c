//! Tasks that never end by themselves, and what happens when one does.
//!
//! A runtime keeps a panic of a task to the task's handle, and nobody waits for the handle
//! of a task that never ends. The program would go on without it and look healthy.

use std::future::Future;

use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};

/// The endless tasks of a program, or of a part of it.
///
/// Each task runs until its group is stopped. If it ends before that, by a return or by a
/// panic, all groups of the program have failed, and whoever runs the program stops it.
#[derive(Debug, Clone)]
pub struct Tasks {
    stop: CancellationToken,
    failed: CancellationToken,
    running: TaskTracker,
}

impl Tasks {
    /// The tasks of a program, which run until `stop`.
    pub fn until(stop: CancellationToken) -> Self {
        Self {
            stop,
            failed: CancellationToken::new(),
            running: TaskTracker::new(),
        }
    }

    /// A group that can be stopped before the others, stops with them, and fails with them.
    #[must_use]
    pub fn part(&self) -> Self {
        Self {
            stop: self.stop.child_token(),
            failed: self.failed.clone(),
            running: TaskTracker::new(),
        }
    }

    /// Starts a task. `name` says in the log which one has failed.
    pub fn spawn(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let end = End {
            name,
            stop: self.stop.clone(),
            failed: self.failed.clone(),
        };
        self.running.spawn(async move {
            end.stop.run_until_cancelled(task).await;
        });
    }

    /// Stops the tasks of this group and waits until they have ended.
    pub async fn stop(&self) {
        self.stop.cancel();
        self.running.close();
        self.running.wait().await;
    }

    /// Stops the tasks of this group when it is dropped.
    pub fn stop_on_drop(&self) -> DropGuard {
        self.stop.clone().drop_guard()
    }

    /// Waits until a task has failed, in any group of the program.
    pub async fn failed(&self) {
        self.failed.cancelled().await;
    }

    /// Whether a task has failed, in any group of the program.
    pub fn have_failed(&self) -> bool {
        self.failed.is_cancelled()
    }
}

/// Sees a task's end, whichever way it comes: it is dropped with the task.
struct End {
    name: &'static str,
    stop: CancellationToken,
    failed: CancellationToken,
}

impl Drop for End {
    fn drop(&mut self) {
        if !self.stop.is_cancelled() {
            tracing::error!(task = self.name, "a task that never ends has failed");
            self.failed.cancel();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    #[tokio::test]
    async fn a_task_that_panics_has_failed() {
        let tasks = Tasks::until(CancellationToken::new());
        tasks.spawn("others", pending());
        assert!(!tasks.have_failed());
        tasks.spawn("this", async { panic!("on purpose") });
        tasks.failed().await;
        assert!(tasks.have_failed());
    }

    #[tokio::test]
    async fn a_task_that_returns_has_failed() {
        let tasks = Tasks::until(CancellationToken::new());
        tasks.spawn("this", ready(()));
        tasks.failed().await;
    }

    #[tokio::test]
    async fn a_task_of_a_part_fails_the_whole() {
        let tasks = Tasks::until(CancellationToken::new());
        let (part, other) = (tasks.part(), tasks.part());
        part.spawn("this", async { panic!("on purpose") });
        tasks.failed().await;
        assert!(other.have_failed());
    }

    #[tokio::test]
    async fn a_task_that_is_stopped_has_not_failed() {
        let tasks = Tasks::until(CancellationToken::new());
        let part = tasks.part();
        let (of_all, of_part) = (CancellationToken::new(), CancellationToken::new());
        for (group, ended) in [(&tasks, &of_all), (&part, &of_part)] {
            let ended = ended.clone().drop_guard();
            group.spawn("this", async move {
                let _ended = ended;
                pending::<()>().await;
            });
        }
        part.stop().await;
        assert!(of_part.is_cancelled());
        assert!(!of_all.is_cancelled(), "the others go on");
        tasks.stop().await;
        assert!(of_all.is_cancelled());
        assert!(!tasks.have_failed());
    }

    #[tokio::test]
    async fn a_part_stops_with_the_whole_and_when_its_guard_is_dropped() {
        let tasks = Tasks::until(CancellationToken::new());
        let (part, guarded) = (tasks.part(), tasks.part());
        for group in [&part, &guarded] {
            group.spawn("this", pending());
        }
        drop(guarded.stop_on_drop());
        guarded.running.close();
        guarded.running.wait().await;
        tasks.stop().await;
        part.running.close();
        part.running.wait().await;
        assert!(!tasks.have_failed());
    }
}
