//! The index of active rooms: which there are, newest first. It is repaired, never trusted.
//!
//! In a cluster it has many parts, each where its rooms are. A list merges them by reading as
//! much of each as it needs, and says so where one could not be read.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use futures_util::{
    future::join_all,
    stream::{self, StreamExt as _, TryStreamExt as _},
};
use tokio::time::{Instant, sleep, timeout_at};

use super::{
    READS_AT_ONCE, RedisRooms, Servers,
    connection::Effect,
    keys::{self, Index},
};
use crate::{
    domain::{Room, RoomCode},
    repository::{RepositoryError, RoomCursor, RoomList, RoomRepository as _},
};

/// How many codes of an index are read in one step.
const INDEX_PAGE: usize = 500;

/// How many of a part of it: rooms are spread over all parts, so a list takes few of each.
const PART_PAGE: usize = 32;

/// How long a list of a cluster's rooms takes at most: callers wait two seconds, and are to see
/// the rooms of those servers that answered.
const LIST_TIME: Duration = Duration::from_millis(1_500);

/// How long a list waits for parts of the index. Half of its time is left for the rooms of the
/// servers that answered.
const PART_TIME: Duration = Duration::from_millis(750);

/// How many parts of an index are worked through at once.
pub(super) const PARTS_AT_ONCE: usize = 16;

/// How many rooms one sweep takes from the key of versions that did not split the index. The
/// next sweep takes the others.
const MOST_MOVED: usize = 10_000;

/// A room as an index has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    create_time: u64,
    // Within a millisecond Redis lists by code, descending.
    code: RoomCode,
}

/// One key of an index, read from the newest entry on.
#[derive(Debug)]
struct Part {
    key: &'static str,
    entries: VecDeque<Entry>,
    /// The next page begins with entries of this score, of which so many have been read.
    /// Entries may go meanwhile, so no offset from the top would hold.
    from: Option<u64>,
    read: usize,
    has_more: bool,
}

/// All keys of an index, merged.
struct Merged<'a> {
    rooms: &'a RedisRooms,
    parts: Vec<Part>,
    /// How many of the parts are read from the index. The others have rooms that are owed to it.
    indexed: usize,
    owed: BTreeSet<(RoomCode, u64)>,
    after: Option<RoomCursor>,
    pace: Pace,
    last: Option<Entry>,
    /// Why a part could not be read.
    failure: Option<RepositoryError>,
    failed: usize,
}

/// How long a list of a cluster's rooms may take, and what it knows of the servers.
struct Pace {
    deadline: Instant,
    /// Servers that did not answer in time. This list asks them nothing more.
    silent: BTreeSet<String>,
    /// The time of the list has passed, and some entries are left.
    late: bool,
}

/// What came of a read of a list.
enum Read<T> {
    Answered(Result<T, RepositoryError>),
    /// No answer came until this instant from this server.
    TimedOut(Instant, Option<String>),
    /// Its server is known to be silent.
    Silent,
}

/// What became of a room of the index.
enum Listed {
    Living(Room),
    Gone,
    Damaged,
    Away,
    /// This server, if it is known, did not answer before the list's time had passed.
    TimedOut(Option<String>),
}

/// What the sweep found of a room of the index.
enum Swept {
    Dead,
    /// It lives, and its own part lists it by now. It was found in another key.
    InItsPart,
    Stays,
}

impl RedisRooms {
    /// The key that has this room or its sessions.
    pub(super) fn key_of(&self, index: &'static Index, code: RoomCode) -> &'static str {
        match &self.servers {
            Servers::One(..) => index.whole(),
            Servers::Cluster(_) => index.part(code),
        }
    }

    pub(super) fn keys_of(&self, index: &'static Index) -> Vec<&'static str> {
        match &self.servers {
            Servers::One(..) => vec![index.whole()],
            Servers::Cluster(_) => index.all_parts().collect(),
        }
    }

    /// A page of living rooms, newest first, and from where the next one goes on.
    pub(super) async fn active_rooms(
        &self,
        after: Option<RoomCursor>,
        limit: usize,
    ) -> Result<RoomList, RepositoryError> {
        let mut merged = Merged::of(self, after);
        let (mut rooms, mut gone, mut next) = (Vec::new(), Vec::new(), None);
        // The entry of the last room in the list, and the last entry that is decided.
        let (mut last_listed, mut decided) = (None, None);
        let mut away = false;
        'list: loop {
            let entries = merged.take(READS_AT_ONCE).await?;
            if entries.is_empty() {
                break;
            }
            let pace = &merged.pace;
            let looked_at = entries.iter().map(|(_, entry)| self.listed(entry, pace));
            let looked_at = join_all(looked_at).await;
            for ((key, entry), listed) in entries.into_iter().zip(looked_at) {
                match listed? {
                    Listed::Living(room) if merged.has_newer_entry(key, &entry, &room) => {
                        gone.push((key, entry));
                    }
                    Listed::Living(_) if rooms.len() == limit => {
                        // One more than asked for: there is a next page. It begins after the
                        // entry, which may be older than the room itself.
                        next = last_listed;
                        break 'list;
                    }
                    Listed::Living(room) => {
                        rooms.push(room);
                        last_listed = Some(entry.cursor());
                    }
                    Listed::Gone => gone.push((key, entry)),
                    Listed::Damaged => {}
                    Listed::Away => away = true,
                    Listed::TimedOut(server) => {
                        if !merged.pace.may_pass(server, decided.is_none()) {
                            break 'list;
                        }
                        away = true;
                    }
                }
                decided = Some(entry.cursor());
            }
        }
        if merged.pace.late {
            let late = || RepositoryError::Unavailable("no room was read in time".to_owned());
            next = Some(decided.ok_or_else(late)?);
        }
        let unlisting = async {
            for (key, entry) in gone {
                self.unlist_soon(key, entry).await;
            }
        };
        if self.is_cluster() {
            // The next list or sweep does what is left then.
            let _ = timeout_at(merged.pace.deadline, unlisting).await;
        } else {
            unlisting.await;
        }
        Ok(RoomList {
            rooms,
            next,
            incomplete: away || merged.failed > 0,
        })
    }

    /// Removes rooms that have ended from the index, and says how many they were.
    pub(super) async fn sweep_index(&self) -> Result<usize, RepositoryError> {
        let mut sum = Sum::default();
        for keys in self.keys_of(&keys::ACTIVE_ROOMS).chunks(PARTS_AT_ONCE) {
            sum.add(join_all(keys.iter().map(|key| self.sweep_part(key))).await);
        }
        sum.result()
    }

    async fn sweep_part(&self, key: &'static str) -> Result<usize, RepositoryError> {
        let mut part = Part::of(key, None);
        let (mut removed, mut moved) = (0, Vec::new());
        loop {
            self.read_on(&mut part, INDEX_PAGE, None).await?;
            let entries: Vec<Entry> = part.entries.drain(..).collect();
            let mut swept = stream::iter(entries)
                .map(|entry| async move { (entry, self.sweep_entry(key, entry.code).await) })
                .buffer_unordered(READS_AT_ONCE);
            while let Some((entry, swept)) = swept.next().await {
                match swept {
                    Swept::Dead => {
                        self.unlist(key, entry.code, &entry.create_time.to_string())
                            .await?;
                        removed += 1;
                    }
                    Swept::InItsPart if moved.len() < MOST_MOVED => moved.push(entry),
                    Swept::InItsPart | Swept::Stays => {}
                }
            }
            if !part.has_more {
                break;
            }
        }
        self.take_moved(key, moved).await?;
        Ok(removed)
    }

    /// Looks at a room of an index. If it lives and is listed in the key of a version that did
    /// not split the index, it is listed in its own part as well.
    async fn sweep_entry(&self, key: &'static str, code: RoomCode) -> Swept {
        if key == self.key_of(&keys::ACTIVE_ROOMS, code) {
            // One room that is damaged or away does not keep the others.
            return match self.position(code).await {
                Ok(None) => Swept::Dead,
                Ok(Some(_)) | Err(_) => Swept::Stays,
            };
        }
        match self.room(code).await {
            Ok(Ok(stats)) => match self.list_as_active(code, stats.room.create_time).await {
                Ok(()) => Swept::InItsPart,
                Err(_) => Swept::Stays,
            },
            Ok(Err(_)) => Swept::Dead,
            Err(_) => Swept::Stays,
        }
    }

    /// Takes rooms that have come to their own parts from the key that listed them before. A
    /// list that read those parts earlier may still be about to read this key, so this waits
    /// until that list has ended.
    async fn take_moved(
        &self,
        key: &'static str,
        moved: Vec<Entry>,
    ) -> Result<(), RepositoryError> {
        if moved.is_empty() {
            return Ok(());
        }
        sleep(LIST_TIME).await;
        stream::iter(moved)
            .map(Ok)
            .try_for_each_concurrent(READS_AT_ONCE, |entry| async move {
                let score = entry.create_time.to_string();
                self.unlist(key, entry.code, &score).await
            })
            .await
    }

    /// Lists a room as active, at the time of its creation: an earlier room of its code may
    /// be listed still.
    pub(super) async fn list_as_active(
        &self,
        code: RoomCode,
        create_time: u64,
    ) -> Result<(), RepositoryError> {
        let key = self.key_of(&keys::ACTIVE_ROOMS, code);
        self.list_all_as_active(key, &[(code, create_time)]).await
    }

    async fn list_all_as_active(
        &self,
        key: &'static str,
        rooms: &[(RoomCode, u64)],
    ) -> Result<(), RepositoryError> {
        let mut add = redis::cmd("ZADD");
        add.arg(key).arg("GT");
        for (code, create_time) in rooms {
            add.arg(create_time).arg(code.as_str());
        }
        let add = &add;
        self.run(Effect::Repeatable, key, |mut connection| async move {
            add.query_async::<()>(&mut connection).await
        })
        .await
    }

    /// Lists a room that has been created. Where the index is on another server than the room
    /// and that one is away, lists say that they are incomplete, and this is done later.
    pub(super) async fn list_as_created(
        &self,
        code: RoomCode,
        create_time: u64,
    ) -> Result<(), RepositoryError> {
        let key = self.key_of(&keys::ACTIVE_ROOMS, code);
        match self.list_as_active(code, create_time).await {
            Err(RepositoryError::Unavailable(_))
                if self.is_apart(key, code) && self.owed_rooms.add((code, create_time)) =>
            {
                Ok(())
            }
            // The room is there, and not yet as it is to be: a retry completes it.
            listed => listed.map_err(RepositoryError::after_a_write),
        }
    }

    /// Writes what is owed to the index, where the server of that part is back.
    pub(super) async fn note_owed_rooms(&self) {
        let by_key = self.by_part(self.owed_rooms.all());
        let noting = by_key.into_iter().map(|(key, rooms)| async move {
            if self.list_all_as_active(key, &rooms).await.is_ok() {
                self.owed_rooms.remove(&rooms);
            }
        });
        join_all(noting).await;
    }

    /// Rooms, grouped by the key of the index that lists them.
    fn by_part(
        &self,
        rooms: BTreeSet<(RoomCode, u64)>,
    ) -> BTreeMap<&'static str, Vec<(RoomCode, u64)>> {
        let mut by_key: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for (code, create_time) in rooms {
            let key = self.key_of(&keys::ACTIVE_ROOMS, code);
            by_key.entry(key).or_default().push((code, create_time));
        }
        by_key
    }

    /// Takes a room from its key of the index, unless it was listed anew with another score.
    pub(super) async fn unlist(
        &self,
        key: &'static str,
        code: RoomCode,
        score: &str,
    ) -> Result<(), RepositoryError> {
        let arguments = [code.as_str(), score];
        self.call(Effect::Repeatable, &self.scripts.unlist, &[key], &arguments)
            .await
            .map(drop)
    }

    /// Takes a room that ended from the index; if that fails, the next list or sweep does it.
    async fn unlist_soon(&self, key: &'static str, entry: Entry) {
        let score = entry.create_time.to_string();
        if let Err(error) = self.unlist(key, entry.code, &score).await {
            tracing::debug!(room.code = %entry.code, %error, "a room that ended is still indexed");
        }
    }

    /// Reads the next entries of a part, if there are any, until at least one comes after the
    /// cursor.
    async fn read_on(
        &self,
        part: &mut Part,
        page: usize,
        after: Option<RoomCursor>,
    ) -> Result<(), RepositoryError> {
        while part.has_more && part.entries.is_empty() {
            let read = self
                .index_page(part.key, part.from, part.read, page)
                .await?;
            part.has_more = read.len() == page;
            for (code, create_time) in read {
                if part.from == Some(create_time) {
                    part.read += 1;
                } else {
                    (part.from, part.read) = (Some(create_time), 1);
                }
                let Ok(code) = RoomCode::parse("code", &code) else {
                    continue;
                };
                let entry = Entry { create_time, code };
                if after.is_none_or(|after| entry < Entry::at(after)) {
                    part.entries.push_back(entry);
                }
            }
        }
        Ok(())
    }

    /// Codes of a key with their scores, newest first, from a score or from the top.
    async fn index_page(
        &self,
        key: &'static str,
        from: Option<u64>,
        offset: usize,
        page: usize,
    ) -> Result<Vec<(String, u64)>, RepositoryError> {
        let mut read = redis::cmd("ZREVRANGEBYSCORE");
        read.arg(key)
            .arg(from.map_or_else(|| "+inf".to_owned(), |score| score.to_string()))
            .arg("-inf")
            .arg("WITHSCORES")
            .arg("LIMIT")
            .arg(offset)
            .arg(page);
        let read = &read;
        // RESP3 answers pairs with a score that is a number.
        let pairs: Vec<(String, f64)> = self
            .run(Effect::Read, key, |mut connection| async move {
                read.query_async(&mut connection).await
            })
            .await?;
        Ok(pairs
            .into_iter()
            // A score that is no time is not ours; it is read as the oldest.
            .map(|(code, score)| (code, format!("{score:.0}").parse().unwrap_or(0)))
            .collect())
    }

    /// A room of the index. One that is damaged, or in a cluster away, does not spoil the list.
    async fn listed(&self, entry: &Entry, pace: &Pace) -> Result<Listed, RepositoryError> {
        let key = keys::room(entry.code);
        let read = self.room(entry.code);
        let read = match self.in_time(pace, pace.deadline, &key, read).await {
            Read::Answered(read) => read,
            Read::Silent => return Ok(Listed::Away),
            Read::TimedOut(_, server) => return Ok(Listed::TimedOut(server)),
        };
        match read {
            Ok(Ok(stats)) => Ok(Listed::Living(stats.room)),
            Ok(Err(_)) => Ok(Listed::Gone),
            Err(RepositoryError::Damaged(problem)) => {
                self.damage
                    .found(entry.code, "a room cannot be listed", &problem);
                Ok(Listed::Damaged)
            }
            Err(RepositoryError::Unavailable(_)) if self.is_cluster() => Ok(Listed::Away),
            Err(error) => Err(error),
        }
    }

    /// Reads something for a list at the server that keeps this key; in a cluster until an
    /// instant, and only if that server is not known to be silent.
    async fn in_time<T>(
        &self,
        pace: &Pace,
        until: Instant,
        key: &str,
        read: impl Future<Output = Result<T, RepositoryError>>,
    ) -> Read<T> {
        let Servers::Cluster(cluster) = &self.servers else {
            return Read::Answered(read.await);
        };
        let server = cluster.place(key);
        if server
            .as_ref()
            .is_some_and(|server| pace.silent.contains(server))
        {
            return Read::Silent;
        }
        match timeout_at(until, read).await {
            Ok(read) => Read::Answered(read),
            Err(_) => Read::TimedOut(until, server),
        }
    }
}

/// What was done in the parts of an index, each for itself.
#[derive(Debug, Default)]
pub(super) struct Sum {
    done: Option<usize>,
    failure: Option<RepositoryError>,
}

impl Sum {
    pub(super) fn add(&mut self, parts: Vec<Result<usize, RepositoryError>>) {
        for part in parts {
            match part {
                Ok(count) => self.done = Some(self.done.unwrap_or(0) + count),
                Err(error) => self.failure = Some(error),
            }
        }
    }

    /// How much was done; it failed where no part could be worked through.
    pub(super) fn result(self) -> Result<usize, RepositoryError> {
        match self {
            Self {
                done: None,
                failure: Some(error),
            } => Err(error),
            Self { done, .. } => Ok(done.unwrap_or(0)),
        }
    }
}

impl Pace {
    /// Whether the list may go on behind a room that was not read before the list's time had
    /// passed. If it is the first one of the list, its server is taken for silent, because the
    /// next page would wait for the same room. Otherwise the next page begins with it.
    fn may_pass(&mut self, server: Option<String>, is_first: bool) -> bool {
        let is_silent = server
            .as_ref()
            .is_some_and(|server| self.silent.contains(server));
        if !is_silent && !is_first {
            self.late = true;
            return false;
        }
        self.silent.extend(server);
        true
    }
}

impl Entry {
    fn cursor(self) -> RoomCursor {
        RoomCursor {
            create_time: self.create_time,
            code: self.code,
        }
    }

    fn at(cursor: RoomCursor) -> Self {
        Self {
            create_time: cursor.create_time,
            code: cursor.code,
        }
    }
}

impl Part {
    /// Rooms that this key of the index is to list and does not list yet.
    fn owed(key: &'static str, notes: Vec<(RoomCode, u64)>, after: Option<RoomCursor>) -> Self {
        let entries = notes
            .into_iter()
            .map(|(code, create_time)| Entry { create_time, code });
        let mut entries: Vec<Entry> = entries
            .filter(|entry| after.is_none_or(|after| *entry < Entry::at(after)))
            .collect();
        entries.sort_unstable_by(|one, other| other.cmp(one));
        Self {
            entries: entries.into(),
            has_more: false,
            ..Self::of(key, None)
        }
    }

    fn of(key: &'static str, after: Option<RoomCursor>) -> Self {
        Self {
            key,
            entries: VecDeque::new(),
            from: after.map(|cursor| cursor.create_time),
            read: 0,
            has_more: true,
        }
    }
}

impl<'a> Merged<'a> {
    fn of(rooms: &'a RedisRooms, after: Option<RoomCursor>) -> Self {
        let keys = rooms.keys_of(&keys::ACTIVE_ROOMS);
        // Before any part is read: what is no longer owed is in the index then.
        let owed = rooms.owed_rooms.all();
        let indexed = keys.len();
        let mut parts: Vec<Part> = keys.into_iter().map(|key| Part::of(key, after)).collect();
        for (key, notes) in rooms.by_part(owed.clone()) {
            parts.push(Part::owed(key, notes, after));
        }
        Self {
            rooms,
            parts,
            indexed,
            owed,
            after,
            pace: Pace {
                deadline: Instant::now() + LIST_TIME,
                silent: BTreeSet::new(),
                late: false,
            },
            last: None,
            failure: None,
            failed: 0,
        }
    }

    /// Whether this living room has another entry, at the time of its creation. That is so
    /// where a version that did not split the index has noted an earlier room of its code, or
    /// where the right entry is owed.
    fn has_newer_entry(&self, key: &str, entry: &Entry, room: &Room) -> bool {
        let own = self.rooms.key_of(&keys::ACTIVE_ROOMS, entry.code);
        let is_owed = || self.owed.contains(&(entry.code, room.create_time));
        entry.create_time != room.create_time && (key != own || is_owed())
    }

    /// Reads on in each part of which no entry is left. Fails where no part can be read.
    async fn fill(&mut self) -> Result<(), RepositoryError> {
        let (rooms, after, pace) = (self.rooms, self.after, &self.pace);
        let page = if rooms.is_cluster() {
            PART_PAGE
        } else {
            INDEX_PAGE
        };
        let until = pace.deadline.min(Instant::now() + PART_TIME);
        let empty = self
            .parts
            .iter_mut()
            .filter(|part| part.has_more && part.entries.is_empty());
        let reading = empty.map(|part| async move {
            let key = part.key;
            let read = rooms.read_on(part, page, after);
            let read = rooms.in_time(pace, until, key, read).await;
            let is_late = matches!(&read, Read::TimedOut(until, _) if *until == pace.deadline);
            let is_read = matches!(&read, Read::Answered(Ok(())));
            part.has_more &= is_read || is_late;
            read
        });
        let silent = || RepositoryError::Unavailable("no index in time".to_owned());
        let read = join_all(reading).await;
        for read in read {
            let failure = match read {
                Read::Answered(Ok(())) => continue,
                Read::Answered(Err(error)) => error,
                Read::Silent => silent(),
                Read::TimedOut(until, _) if until == self.pace.deadline => {
                    self.pace.late = true;
                    continue;
                }
                Read::TimedOut(_, server) => {
                    self.pace.silent.extend(server);
                    silent()
                }
            };
            self.failed += 1;
            self.failure = Some(failure);
        }
        match &self.failure {
            Some(error) if self.failed == self.indexed => Err(error.clone()),
            Some(_) | None => Ok(()),
        }
    }

    /// The newest entries that are left, so many at most.
    async fn take(&mut self, most: usize) -> Result<Vec<(&'static str, Entry)>, RepositoryError> {
        let mut entries = Vec::new();
        while entries.len() < most
            && let Some(entry) = self.next().await?
        {
            entries.push(entry);
        }
        Ok(entries)
    }

    /// The newest entry that is left.
    async fn next(&mut self) -> Result<Option<(&'static str, Entry)>, RepositoryError> {
        loop {
            self.fill().await?;
            if self.pace.late {
                return Ok(None);
            }
            let newest = self
                .parts
                .iter_mut()
                .filter(|part| !part.entries.is_empty())
                .max_by_key(|part| part.entries.front().copied());
            let Some(part) = newest else {
                return Ok(None);
            };
            let key = part.key;
            let Some(entry) = part.entries.pop_front() else {
                return Ok(None);
            };
            // Two keys may have the same entry after an upgrade.
            if self.last.replace(entry) != Some(entry) {
                return Ok(Some((key, entry)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_that_is_late_ends_before_the_room_it_waited_for_unless_that_is_its_first() {
        let pace = || Pace {
            deadline: Instant::now(),
            silent: BTreeSet::new(),
            late: false,
        };
        let server = |name: &str| Some(name.to_owned());
        let mut first = pace();
        assert!(first.may_pass(server("a"), true));
        assert!(first.may_pass(server("a"), false), "it is silent");
        assert!(!first.late);
        assert!(!first.may_pass(server("b"), false));
        assert!(first.late);
        let mut later = pace();
        assert!(!later.may_pass(server("a"), false) && later.late);
        assert!(!later.may_pass(None, false));
    }
}
