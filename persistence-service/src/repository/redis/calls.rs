//! How scripts are called, each at the server that keeps its room.

use redis::{
    Cmd, ErrorKind, Pipeline, RedisResult, ServerErrorKind, Value, aio::MultiplexedConnection,
};

use super::{
    RedisRooms, Servers,
    connection::{Attempt, Effect},
    history::Branch,
    keys,
    record::Contents,
    scripts::Script,
};
use crate::{
    domain::RoomCode,
    repository::{RepositoryError, Since},
};

/// How many calls may be under way at once. More would only wait in Redis, and
/// each holds its arguments, up to a megabyte.
pub(super) const CALLS_IN_FLIGHT: usize = 4_096;

impl RedisRooms {
    /// Calls a script with these keys and arguments.
    pub(super) async fn call(
        &self,
        effect: Effect,
        script: &Script,
        keys: &[&str],
        arguments: &[&str],
    ) -> Result<Value, RepositoryError> {
        let key = keys.first().copied().unwrap_or_default();
        self.run(effect, key, |mut connection| async move {
            let called = script.by_digest(keys, arguments);
            match called.query_async(&mut connection).await {
                // Its text is sent along then: Redis remembers it, and may be made to
                // forget it again at any moment.
                Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                    let called = script.by_text(keys, arguments);
                    called.query_async(&mut connection).await
                }
                answer => answer,
            }
        })
        .await
    }

    /// Calls a script of a room, and reads the newest messages and the board at the same
    /// instant, in one transaction: Lua handles each byte of what it reads several times,
    /// which costs more than all else that a script does.
    ///
    /// Nothing, and nothing was done, where the server takes no transaction now; it refuses
    /// one when its memory is full, even where the script alone may run.
    pub(super) async fn call_and_read(
        &self,
        effect: Effect,
        script: &Script,
        keys: &[&str; keys::OF_ROOM],
        arguments: &[&str],
        message_limit: usize,
    ) -> Result<Option<(Value, Contents)>, RepositoryError> {
        let [room, messages, board, ..] = keys;
        let transaction = |call: Cmd| {
            let mut transaction = redis::pipe();
            transaction.atomic().ignore_errors().add_command(call);
            let last = message_limit.saturating_sub(1);
            transaction.cmd("LRANGE").arg(messages).arg(0).arg(last);
            transaction.cmd("HGETALL").arg(board);
            transaction
        };
        let answers = self
            .run(effect, room, |mut connection| async move {
                let called = transaction(script.by_digest(keys, arguments));
                match answers(&called, &mut connection).await {
                    Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                        let called = transaction(script.by_text(keys, arguments));
                        answers(&called, &mut connection).await
                    }
                    answers => answers,
                }
            })
            .await?;
        Ok(match answers {
            Some([answer, messages, board]) => Some((answer, Contents::of(messages, board)?)),
            None => None,
        })
    }

    /// Runs a call at the server that keeps this key.
    pub(super) async fn run<T, F>(
        &self,
        effect: Effect,
        key: &str,
        call: impl Fn(MultiplexedConnection) -> F,
    ) -> Result<T, RepositoryError>
    where
        F: Future<Output = Result<T, redis::RedisError>>,
    {
        let Ok(_permit) = self.in_flight.try_acquire() else {
            return Err(RepositoryError::Unavailable(
                "too many calls are under way".to_owned(),
            ));
        };
        let mut attempt = Attempt::new(effect);
        match &self.servers {
            Servers::One(connection, ..) => connection.attempt(&mut attempt, call).await,
            Servers::Cluster(cluster) => cluster.run(&mut attempt, key, call).await,
        }
    }

    /// Calls a script that reads since a position, from one that can be trusted; once
    /// more where a failover was noticed meanwhile. Its arguments end with the limit
    /// of messages.
    pub(super) async fn call_since(
        &self,
        effect: Effect,
        script: &Script,
        code: RoomCode,
        since: Since,
        leading: &[&str],
        message_limit: usize,
    ) -> Result<Value, RepositoryError> {
        let room_keys = keys::of_room(code, None);
        let keys = room_keys.all();
        let limit = message_limit.to_string();
        let mut trusted = self.servers.trusted(code, since);
        let mut written = false;
        loop {
            let (mode, epoch, revision) = since_arguments(trusted);
            let mut arguments = leading.to_vec();
            arguments.extend([mode, &epoch, &revision, &limit]);
            let value = match self.call(effect, script, &keys, &arguments).await {
                Err(error) if written => return Err(error.after_a_write()),
                answer => answer?,
            };
            written = effect != Effect::Read;
            // The read itself says which history it has read.
            if let Some((branch, now)) = Branch::told(&value) {
                self.servers.tell(code, &branch, now);
            }
            let still_trusted = self.servers.trusted(code, trusted);
            if still_trusted == trusted {
                return Ok(value);
            }
            // What is not trusted is read whole, so this ends with the second time.
            trusted = still_trusted;
        }
    }
}

/// The answers to a transaction of three commands; nothing where it was refused whole.
async fn answers(
    transaction: &Pipeline,
    connection: &mut MultiplexedConnection,
) -> RedisResult<Option<[Value; 3]>> {
    match transaction.query_async::<Vec<Value>>(connection).await {
        Ok(answers) => {
            let answers: Vec<Value> = answers
                .into_iter()
                .map(Value::extract_error)
                .collect::<RedisResult<_>>()?;
            Ok(answers.try_into().ok())
        }
        Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::ExecAbort) => Ok(None),
        Err(error) => Err(error),
    }
}

/// What a script's `mode`, `after epoch` and `after revision` say.
fn since_arguments(since: Since) -> (&'static str, String, String) {
    let zero = || "0".to_owned();
    match since {
        Since::Arrival => ("fresh", zero(), zero()),
        Since::Now => ("now", zero(), zero()),
        Since::Position(position) => (
            "after",
            position.epoch.to_string(),
            position.revision.to_string(),
        ),
    }
}
