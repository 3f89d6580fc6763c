//! The scripts, one for each change, loaded once and called by their digest.

use redis::Cmd;

/// A script: its text, and what Redis calls it by.
#[derive(Debug)]
pub(super) struct Script {
    text: &'static str,
    digest: String,
}

impl Script {
    fn new(text: &'static str) -> Self {
        Self {
            text,
            digest: redis::Script::new(text).get_hash().to_owned(),
        }
    }

    /// Calls it where Redis knows it.
    pub(super) fn by_digest(&self, keys: &[&str], arguments: &[&str]) -> Cmd {
        call("EVALSHA", &self.digest, keys, arguments)
    }

    /// Calls it, and lets Redis know it from now on.
    pub(super) fn by_text(&self, keys: &[&str], arguments: &[&str]) -> Cmd {
        call("EVAL", self.text, keys, arguments)
    }
}

fn call(command: &str, script: &str, keys: &[&str], arguments: &[&str]) -> Cmd {
    let count = keys.len().to_string();
    let parts = || {
        let head = [command, script, &count];
        head.into_iter()
            .chain(keys.iter().copied())
            .chain(arguments.iter().copied())
    };
    let bytes = parts().map(str::len).sum();
    let mut call = Cmd::with_capacity(parts().count(), bytes);
    for part in parts() {
        call.arg(part);
    }
    call
}

/// All scripts.
#[derive(Debug)]
pub(super) struct Scripts {
    pub(super) claim_code: Script,
    pub(super) create_room: Script,
    pub(super) room: Script,
    pub(super) delete_room: Script,
    pub(super) join: Script,
    pub(super) leave: Script,
    pub(super) messages: Script,
    pub(super) save_message: Script,
    pub(super) save_whiteboard: Script,
    pub(super) signal: Script,
    pub(super) catch_up: Script,
    pub(super) renew_sessions: Script,
    pub(super) expire_session: Script,
    pub(super) due: Script,
    pub(super) forget_due: Script,
    pub(super) overdue: Script,
    pub(super) unlist: Script,
}

/// A script of a room: the prelude, the parts that it needs, and itself.
macro_rules! of_room {
    ($($part:literal),+) => {
        Script::new(concat!(
            include_str!("lua/prelude.lua"),
            $("\n", include_str!(concat!("lua/", $part, ".lua")),)+
        ))
    };
}

impl Scripts {
    pub(super) fn new() -> Self {
        Self {
            claim_code: Script::new(include_str!("lua/claim_code.lua")),
            create_room: of_room!("changing", "requests", "create_room"),
            room: of_room!("room"),
            delete_room: of_room!("changing", "delete_room"),
            join: of_room!(
                "changing", "parts", "sessions", "message", "reading", "join"
            ),
            leave: of_room!("changing", "parts", "sessions", "leave"),
            messages: of_room!("messages"),
            save_message: of_room!(
                "changing",
                "requests",
                "membership",
                "message",
                "save_message"
            ),
            save_whiteboard: of_room!(
                "changing",
                "requests",
                "membership",
                "parts",
                "save_whiteboard"
            ),
            signal: of_room!("changing", "membership", "signal"),
            catch_up: of_room!("parts", "message", "reading", "catch_up"),
            renew_sessions: of_room!("changing", "parts", "sessions", "renew_sessions"),
            expire_session: of_room!("changing", "parts", "sessions", "expire_session"),
            due: Script::new(include_str!("lua/due.lua")),
            forget_due: Script::new(include_str!("lua/forget_due.lua")),
            overdue: Script::new(include_str!("lua/overdue.lua")),
            unlist: Script::new(include_str!("lua/unlist.lua")),
        }
    }
}
