// The mutants: what each changes, and which tests must find it. `file` is a path in `tests`.
//
// `edits` replace a text that must be in its file exactly once: where the code has moved
// on, the mutant is an error and not silently something else.

const LUA = "persistence-service/src/repository/redis/lua/";
const WATCH = "persistence-service/src/feed/watch.rs";
const LIVE = "edge-gateway/src/feed/live/mod.rs";

export const MUTANTS = [
  {
    name: "acknowledge before the write",
    file: "faults/kills.test.mjs",
    tests: "Redis killed, appendfsync everysec",
    edits: [
      {
        file: "persistence-service/src/rooms/chat.rs",
        find: "        Ok(self.repository.save_message(&message).await??)",
        replace: `        let repository = self.repository.clone();
        let (answered, answer) = tokio::sync::oneshot::channel();
        let copy = message.clone();
        tokio::spawn(async move {
            drop(answered.send(repository.save_message(&copy).await));
        });
        // Whoever waits longer than a moment is told that it is done.
        match tokio::time::timeout(std::time::Duration::from_millis(20), answer).await {
            Ok(Ok(Ok(saved))) => Ok(saved?),
            Ok(Ok(Err(_)) | Err(_)) | Err(_) => {
                let author = message.author.username.as_str().to_owned();
                Ok(SavedMessage {
                    message: message.stored(message.request.id.id, author, 1),
                    epoch: 1,
                    duplicate: false,
                })
            }
        }`,
      },
    ],
  },
  {
    name: "no gap check",
    file: "faults/network.test.mjs",
    tests: "events lost on their way from Redis",
    edits: [
      {
        file: WATCH,
        find: "if event.previous == known.revision && next.revision > known.revision {",
        replace: "if next.revision > known.revision {",
      },
      {
        file: LIVE,
        find: `} else if stored.previous == position.revision
                    && stored.position.revision > position.revision`,
        replace: "} else if stored.position.revision > position.revision",
      },
    ],
  },
  {
    name: "the history trimmed to 99",
    file: "faults/crowds.test.mjs",
    tests: "sends repeated and in another order",
    edits: [
      {
        file: `${LUA}save_message.lua`,
        find: "if kept > limit then",
        replace: "if kept >= limit then",
      },
      {
        file: `${LUA}save_message.lua`,
        find: "redis.call('RPOP', messages_key, kept - limit)",
        replace: "redis.call('RPOP', messages_key, kept - limit + 1)",
      },
    ],
  },
  {
    name: "publish before the write",
    file: "faults/redis.test.mjs",
    tests: "maxmemory reached",
    edits: [
      {
        file: `${LUA}save_message.lua`,
        find: "publish('message', revision, last_text, instant, session, { message })\n",
        replace: "",
      },
      {
        file: `${LUA}save_message.lua`,
        find: "local kept = redis.call('LPUSH'",
        replace: "publish('message', revision, last_text, instant, session, { message })\nlocal kept = redis.call('LPUSH'",
      },
    ],
  },
  {
    name: "no lease re-check",
    file: "faults/leases.test.mjs",
    tests: "the index of leases out of date",
    edits: [{
      file: `${LUA}expire_session.lua`,
      find: "if left > 0 then",
      replace: "if false then",
    }],
  },
  {
    name: "subscribe after the read",
    file: "faults/network.test.mjs",
    tests: "a message while its room begins to be watched again",
    edits: [
      {
        file: WATCH,
        find: "        self.hub.repository.listen(self.code).await?;\n",
        replace: "",
      },
      {
        file: WATCH,
        find: "        self.hub.catch_ups.read(self.code, since).await\n",
        replace: `        let read = self.hub.catch_ups.read(self.code, since).await;
        self.hub.repository.listen(self.code).await?;
        read
`,
      },
    ],
  },
  {
    name: "version tie accepted",
    file: "faults/crowds.test.mjs",
    tests: "sends repeated and in another order",
    edits: [{
      file: `${LUA}save_whiteboard.lua`,
      find: "(version == old_version and nonce < old_nonce)",
      replace: "(version == old_version and nonce <= old_nonce)",
    }],
  },
  {
    name: "a board for a client that draws",
    file: "e2e/whiteboard.test.mjs",
    tests: "a full client is sent no board while it draws",
    edits: [{
      file: "edge-gateway/src/feed/live/scene.rs",
      find: "ready = ready.max(drew + QUIET);",
      replace: "ready = ready.max(drew);",
    }],
  },
  {
    name: "no wait for the first join",
    file: "e2e/before_join.test.mjs",
    tests: "a message sent before connecting is stored",
    edits: [{
      file: "edge-gateway/src/socket/early.rs",
      find: "self.push(work.received, work.text.len(), work)",
      replace: "Some(work)",
    }],
  },
  {
    name: "a refused connection counts as a try",
    file: "e2e/restarts.test.mjs",
    tests: "restarts within a second, no call is refused",
    edits: [{
      file: "edge-gateway/src/persistence/mod.rs",
      find: `endpoint.turns_out(Health::Silent);
                    true
`,
      replace: `endpoint.turns_out(Health::Silent);
                    received += 1;
                    received < TRIES
`,
    }],
  },
  {
    name: "a malformed index stored",
    file: "e2e/refusals.test.mjs",
    tests: "of a full client only an element with a bad field is left out",
    edits: [{
      file: "persistence-service/src/domain/element/forms.rs",
      find: "fractional_index::is_valid(&unescaped(raw))",
      replace: "!unescaped(raw).is_empty()",
    }],
  },
];
