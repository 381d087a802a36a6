//! Writing a file anew, so that what was overwritten in it is gone. Refuses to know what the values mean.

use std::{
    fs::{self, File as StdFile, OpenOptions},
    io::ErrorKind,
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use redb::{ReadableDatabase, ReadableTable};

use super::{
    OpenError,
    file::{DATA, META, database},
};

/// Copies every entry, with its revision, into a file of its own that takes the place of the old one.
pub(super) fn rewrite(path: &Path) -> Result<(), OpenError> {
    let part = path.with_extension("rewrite");
    match fs::remove_file(&part) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(OpenError::Io(error)),
        _ => {}
    }
    // Open, and so locked, until the new file is in its place.
    let from = database(path)?;
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(&part).map_err(OpenError::Io)?;
    let to = database(&part)?;
    copy(&from, &to).map_err(|error| match error {
        redb::Error::Io(error) => OpenError::Io(error),
        other => OpenError::Damaged(Box::new(other)),
    })?;
    drop(to);
    fs::rename(&part, path).map_err(OpenError::Io)?;
    let directory = path.parent().filter(|directory| !directory.as_os_str().is_empty()).unwrap_or(Path::new("."));
    StdFile::open(directory).and_then(|directory| directory.sync_all()).map_err(OpenError::Io)
}

fn copy(from: &redb::Database, to: &redb::Database) -> Result<(), redb::Error> {
    let (read, write) = (from.begin_read()?, to.begin_write()?);
    {
        let mut meta = write.open_table(META)?;
        for found in read.open_table(META)?.iter()? {
            let (name, number) = found?;
            meta.insert(name.value(), number.value())?;
        }
        let mut data = write.open_table(DATA)?;
        for found in read.open_table(DATA)?.iter()? {
            let (key, value) = found?;
            data.insert(key.value(), value.value())?;
        }
    }
    write.commit()?;
    Ok(())
}
