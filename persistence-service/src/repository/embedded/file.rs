//! The folder of the store: the file of its rooms, and who may use it.

use std::{
    collections::BTreeSet,
    fs::{self, TryLockError},
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use redb::{
    Builder, Database, Durability, ReadOnlyTable, ReadableDatabase as _, StorageError,
    TableDefinition, WriteTransaction,
};

use super::{failure::Failure, keys::Key};

/// All rows, by their keys.
pub(super) const ROWS: TableDefinition<'static, &[u8], &[u8]> = TableDefinition::new("rows");

/// A snapshot of all rows.
pub(super) type Snapshot = ReadOnlyTable<&'static [u8], &'static [u8]>;

/// How much of the file is kept in memory. What rooms that are in use hold fits
/// many times over; the system's own cache stands behind it.
const CACHE_BYTES: usize = 64 << 20;

/// How many rows of a copy are written at once: what a commit of them holds in
/// memory is some megabytes.
const ROWS_PER_COPY: usize = 10_000;

/// How much of the disk is kept back, so that people can leave and rooms can end
/// when it is full: as much as the pages of one step of theirs.
const RESERVE_BYTES: usize = 2 << 20;

/// Why the store cannot be opened. One line for people, which names the place.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The folder or a file in it cannot be made or read.
    #[error("PERSISTENCE_DATA_DIR {path:?}: {problem}")]
    Unusable {
        /// Where.
        path: PathBuf,
        /// Why.
        problem: String,
    },
    /// Another process has it open.
    #[error("PERSISTENCE_DATA_DIR {path:?} is in use by another process")]
    InUse {
        /// The folder.
        path: PathBuf,
    },
    /// The file is not as it was written. It is left as it is.
    #[error("{path:?} is damaged and was left as it is: {problem}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What was found.
        problem: String,
    },
}

/// The open file.
#[derive(Debug)]
pub(super) struct RoomFile {
    folder: PathBuf,
    rooms: PathBuf,
    copy: PathBuf,
    reserve: PathBuf,
    /// Readers hold it as long as they read, so it is never closed under them.
    opened: RwLock<Opened>,
}

#[derive(Debug)]
struct Opened {
    /// `None` only while it is opened again, and when it was closed.
    database: Option<Database>,
    /// The system lets go of it however the process ends.
    lock: Option<fs::File>,
}

impl RoomFile {
    /// Opens the file in this folder, or makes both.
    ///
    /// After an end that was not clean, and after one that was, the whole file
    /// is checked: a second for each gigabyte or so.
    pub(super) fn open(folder: &Path) -> Result<Self, OpenError> {
        let unusable = |path: &Path, error: &dyn std::fmt::Display| OpenError::Unusable {
            path: path.to_owned(),
            problem: error.to_string(),
        };
        fs::create_dir_all(folder).map_err(|error| unusable(folder, &error))?;
        let lock_path = folder.join("rooms.lock");
        let lock = fs::File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&lock_path)
            .map_err(|error| unusable(&lock_path, &error))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(OpenError::InUse {
                    path: folder.to_owned(),
                });
            }
            Err(TryLockError::Error(error)) => return Err(unusable(&lock_path, &error)),
        }
        let rooms = folder.join("rooms.redb");
        let database = open_database(&rooms).map_err(|failure| open_error(&rooms, &failure))?;
        let file = Self {
            folder: folder.to_owned(),
            rooms,
            copy: folder.join("rooms.redb.copy"),
            reserve: folder.join("rooms.reserve"),
            opened: RwLock::new(Opened {
                database: Some(database),
                lock: Some(lock),
            }),
        };
        file.sync_names()
            .map_err(|error| unusable(folder, &error))?;
        file.remove_copy();
        if let Err(error) = file.keep_reserve() {
            tracing::warn!(%error, "the disk is full: changes are refused");
        }
        Ok(file)
    }

    pub(super) fn damaged(&self, failure: &Failure) -> OpenError {
        open_error(&self.rooms, failure)
    }

    fn opened(&self) -> RwLockReadGuard<'_, Opened> {
        self.opened.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn alone(&self) -> RwLockWriteGuard<'_, Opened> {
        self.opened.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads a snapshot of what has been committed. Blocks.
    pub(super) fn read<T>(
        &self,
        read: impl FnOnce(&Snapshot) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let opened = self.opened();
        let transaction = opened.database.as_ref().ok_or_else(closed)?.begin_read()?;
        read(&transaction.open_table(ROWS)?)
    }

    /// Begins the only transaction that writes.
    pub(super) fn begin(&self) -> Result<WriteTransaction, Failure> {
        let opened = self.opened();
        Ok(opened.database.as_ref().ok_or_else(closed)?.begin_write()?)
    }

    /// Opens the file again after the engine has failed: it answers nothing more
    /// from then on, and opens with what was committed last.
    pub(super) fn open_again(&self) -> Result<(), Failure> {
        let mut opened = self.alone();
        // What the engine says of its own failure on closing is known already.
        drop(opened.database.take().map(Database::close));
        opened.database = Some(open_database(&self.rooms)?);
        Ok(())
    }

    /// Closes the file, so that it opens at once the next time, by whoever.
    pub(super) fn close(&self) {
        let mut opened = self.alone();
        if let Some(Err(error)) = opened.database.take().map(Database::close) {
            tracing::debug!(%error, "the file was not closed cleanly; it opens all the same");
        }
        opened.lock = None;
    }

    /// Makes the names of files as lasting as what is stored in them.
    fn sync_names(&self) -> io::Result<()> {
        fs::File::open(&self.folder)?.sync_all()
    }

    /// How much of the disk the file takes.
    pub(super) fn length(&self) -> io::Result<u64> {
        Ok(fs::metadata(&self.rooms)?.len())
    }

    /// Writes all rows into another file, one after the other and without the
    /// gaps that removed ones have left. Blocks for long, and holds nobody up.
    pub(super) fn write_copy(&self) -> Result<Database, Failure> {
        let snapshot = {
            let opened = self.opened();
            let database = opened.database.as_ref().ok_or_else(closed)?;
            database.begin_read()?.open_table(ROWS)?
        };
        self.remove_copy();
        let mut copy = open_database(&self.copy)?;
        let mut rows = snapshot.range::<&[u8]>(..)?.peekable();
        while rows.peek().is_some() {
            let mut transaction = copy.begin_write()?;
            // The last commit puts all of it on the disk.
            transaction.set_durability(Durability::None)?;
            {
                let mut table = transaction.open_table(ROWS)?;
                for row in rows.by_ref().take(ROWS_PER_COPY) {
                    let (key, row) = row?;
                    table.insert(key.value(), row.value())?;
                }
            }
            transaction.commit()?;
        }
        copy.compact()?;
        Ok(copy)
    }

    /// Gives a copy what was `touched` since it was begun, and the file's name.
    /// Where this succeeds [`Self::take_copy`] must follow: the old file has no
    /// name any more. Only for whoever writes the file.
    pub(super) fn finish_copy(
        &self,
        copy: &Database,
        touched: &BTreeSet<Key>,
    ) -> Result<(), Failure> {
        let transaction = copy.begin_write()?;
        {
            let mut table = transaction.open_table(ROWS)?;
            self.read(|rows| {
                for key in touched {
                    match rows.get(key.as_slice())? {
                        Some(row) => drop(table.insert(key.as_slice(), row.value())?),
                        None => drop(table.remove(key.as_slice())?),
                    }
                }
                Ok(())
            })?;
        }
        transaction.commit()?;
        Ok(fs::rename(&self.copy, &self.rooms).map_err(StorageError::from)?)
    }

    /// Goes on with a finished copy. Where this fails nobody knows which file the
    /// name will lead to after a crash.
    pub(super) fn take_copy(&self, copy: Database) -> io::Result<()> {
        let old = self.alone().database.replace(copy);
        // It has no name any more and goes with its last reader.
        drop(old.map(Database::close));
        self.sync_names()
    }

    /// Removes a copy that is not needed, or was not finished.
    pub(super) fn remove_copy(&self) {
        remove(&self.copy);
    }

    /// Keeps a part of the disk back. Fails where there is no room for it.
    pub(super) fn keep_reserve(&self) -> io::Result<()> {
        let wanted = u64::try_from(RESERVE_BYTES).unwrap_or(u64::MAX);
        if fs::metadata(&self.reserve).is_ok_and(|reserve| reserve.len() == wanted) {
            return Ok(());
        }
        let kept = fs::File::create(&self.reserve).and_then(|mut reserve| {
            // Not a hole: the disk must have given the space away.
            reserve.write_all(&vec![0x5a; RESERVE_BYTES])?;
            reserve.sync_data()
        });
        if kept.is_err() {
            self.give_reserve();
        }
        kept
    }

    /// Gives the reserve to whoever frees space.
    pub(super) fn give_reserve(&self) {
        remove(&self.reserve);
    }
}

fn remove(path: &Path) {
    if let Err(error) = fs::remove_file(path)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(%error, path = %path.display(), "a file is not removed");
    }
}

fn closed() -> Failure {
    Failure::from(StorageError::DatabaseClosed)
}

fn open_database(path: &Path) -> Result<Database, Failure> {
    let database = Builder::new()
        .set_cache_size(CACHE_BYTES)
        .set_check_integrity_on_open(true)
        .create(path)?;
    // So that a snapshot of a new file has the table.
    let transaction = database.begin_write()?;
    transaction.open_table(ROWS)?;
    transaction.commit()?;
    Ok(database)
}

fn open_error(path: &Path, failure: &Failure) -> OpenError {
    let path = path.to_owned();
    match failure {
        Failure::Engine(redb::Error::DatabaseAlreadyOpen) => OpenError::InUse { path },
        // A file that is too short or is none of ours is told as an error of
        // input, one that cannot be reached as another.
        Failure::Engine(redb::Error::Io(error))
            if !matches!(
                error.kind(),
                io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof
            ) =>
        {
            OpenError::Unusable {
                path,
                problem: error.to_string(),
            }
        }
        Failure::Engine(_) | Failure::Damaged(_) => OpenError::Damaged {
            path,
            problem: failure.to_string(),
        },
    }
}
