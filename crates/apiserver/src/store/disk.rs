//! The objects on disk: one redb file, every object under `table NUL namespace/name`.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use redb::{Database, DatabaseError, Durability, ReadableDatabase, ReadableTable, StorageBackend, TableDefinition};

use crate::error::Error;

const OBJECTS: TableDefinition<&str, &[u8]> = TableDefinition::new("objects");
const META: TableDefinition<&str, u64> = TableDefinition::new("meta");
const VERSION: &str = "resourceVersion";
const FORMAT: &str = "format";
const CACHE: usize = 16 << 20;
/// The layout described above.
const CURRENT_FORMAT: u64 = 1;

/// Where the bytes of the database go. Tests put a failing disk here.
pub(crate) type OpenBackend = Box<dyn Fn() -> Result<Box<dyn StorageBackend>, String> + Send>;

pub(crate) enum Place {
    File(PathBuf),
    #[cfg_attr(not(test), expect(dead_code, reason = "the seam by which tests inject disk errors"))]
    Backend(OpenBackend),
}

/// One write: the key on disk, and the new bytes or none for a deletion.
pub(crate) type Row = (String, Option<Bytes>);

/// What a file held when it was opened.
#[derive(Default)]
pub(crate) struct Content {
    pub version: u64,
    pub rows: Vec<(String, Vec<u8>)>,
}

/// An open database. After a failed write it is reopened before the next one: redb refuses to go on with a file whose state
/// it no longer knows, and so do we, but a disk that was full may have room again.
pub(crate) struct Disk {
    place: Place,
    database: Option<Database>,
}

impl Disk {
    pub(crate) fn open(place: Place) -> Result<(Self, Content), Error> {
        let database = open(&place)?;
        let content = read(&database).map_err(|source| corrupt(&place, source.to_string()))?;
        let disk = Self {
            place,
            database: Some(database),
        };
        Ok((disk, content))
    }

    /// Writes one batch as one transaction. With `durable`, returns only when the bytes have reached the disk.
    pub(crate) fn commit(&mut self, rows: &[Row], version: u64, durable: bool) -> Result<(), Error> {
        let database = match self.database.take() {
            Some(database) => database,
            None => open(&self.place)?,
        };
        write(&database, rows, version, durable).map_err(|error| Error::Disk(error.to_string()))?;
        self.database = Some(database);
        Ok(())
    }

    /// Everything the file holds, for the invariant check.
    pub(crate) fn content(&self) -> Result<Content, Error> {
        match &self.database {
            Some(database) => read(database).map_err(|error| Error::Disk(error.to_string())),
            None => Err(Error::Disk("the database is closed after a failed write".into())),
        }
    }
}

/// Everything is in memory already, so the engine's own cache has little to do.
fn builder() -> redb::Builder {
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE);
    builder
}

fn open(place: &Place) -> Result<Database, Error> {
    match place {
        Place::File(path) => {
            private(path)?;
            builder().create(path).map_err(|error| match error {
                DatabaseError::DatabaseAlreadyOpen => Error::InUse { path: path.clone() },
                other => describe(place, other),
            })
        }
        Place::Backend(backend) => {
            let backend = backend().map_err(Error::Disk)?;
            builder()
                .create_with_backend(AnyBackend(backend))
                .map_err(|error| describe(place, error))
        }
    }
}

/// Tells a disk that fails (try again later) from a file that is damaged (never).
fn describe(place: &Place, error: DatabaseError) -> Error {
    match error {
        DatabaseError::Storage(redb::StorageError::Io(io)) if io.kind() != std::io::ErrorKind::InvalidData => {
            Error::Disk(io.to_string())
        }
        other => corrupt(place, other.to_string()),
    }
}

fn corrupt(place: &Place, reason: String) -> Error {
    let path = match place {
        Place::File(path) => path.clone(),
        Place::Backend(_) => PathBuf::new(),
    };
    Error::Corrupt { path, reason }
}

/// Creates the file readable by its owner alone: it holds every Secret of the cluster.
fn private(path: &Path) -> Result<(), Error> {
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).map_err(|error| Error::Disk(format!("{}: {error}", parent.display())))?;
    }
    let mut options = std::fs::OpenOptions::new();
    options.create(true).truncate(false).write(true).read(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    options
        .open(path)
        .map(drop)
        .map_err(|error| Error::Disk(format!("{}: {error}", path.display())))
}

fn write(database: &Database, rows: &[Row], version: u64, durable: bool) -> Result<(), redb::Error> {
    let mut transaction = database.begin_write()?;
    transaction.set_durability(if durable {
        Durability::Immediate
    } else {
        Durability::None
    })?;
    // Without this, opening after a crash walks the whole file.
    transaction.set_quick_repair(durable);
    {
        let mut objects = transaction.open_table(OBJECTS)?;
        for (key, bytes) in rows {
            match bytes {
                Some(bytes) => {
                    objects.insert(key.as_str(), &bytes[..])?;
                }
                None => {
                    objects.remove(key.as_str())?;
                }
            }
        }
        let mut meta = transaction.open_table(META)?;
        meta.insert(VERSION, version)?;
        meta.insert(FORMAT, CURRENT_FORMAT)?;
    }
    transaction.commit()?;
    Ok(())
}

fn read(database: &Database) -> Result<Content, Box<dyn std::error::Error>> {
    let transaction = database.begin_read()?;
    let meta = match transaction.open_table(META) {
        Ok(meta) => meta,
        Err(redb::TableError::TableDoesNotExist(_)) => return Ok(Content::default()),
        Err(error) => return Err(error.into()),
    };
    let number = |key: &str| -> Result<u64, redb::StorageError> { Ok(meta.get(key)?.map_or(0, |value| value.value())) };
    let format = number(FORMAT)?;
    if format != CURRENT_FORMAT {
        return Err(format!("it has format {format}, this program reads format {CURRENT_FORMAT}").into());
    }
    let mut content = Content {
        version: number(VERSION)?,
        rows: Vec::new(),
    };
    for row in transaction.open_table(OBJECTS)?.iter()? {
        let (key, value) = row?;
        content.rows.push((key.value().to_owned(), value.value().to_vec()));
    }
    Ok(content)
}

#[derive(Debug)]
struct AnyBackend(Box<dyn StorageBackend>);

impl StorageBackend for AnyBackend {
    fn len(&self) -> Result<u64, std::io::Error> {
        self.0.len()
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), std::io::Error> {
        self.0.read(offset, out)
    }
    fn set_len(&self, len: u64) -> Result<(), std::io::Error> {
        self.0.set_len(len)
    }
    fn sync_data(&self) -> Result<(), std::io::Error> {
        self.0.sync_data()
    }
    fn write(&self, offset: u64, data: &[u8]) -> Result<(), std::io::Error> {
        self.0.write(offset, data)
    }
    fn close(&self) -> Result<(), std::io::Error> {
        self.0.close()
    }
}
