//! System calls on names and whole file systems that block, for a thread that may.

use std::fs;
use std::io;
use std::path::Path;

use rustix::fs::{fstatfs, statvfs, syncfs};

use crate::io::{DirEntry, Space};

/// Entries of one directory, sorted by path; empty if it does not exist.
pub fn list(dir: &Path) -> io::Result<Vec<DirEntry>> {
    let found = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        found => found?,
    };
    let mut entries = Vec::new();
    for entry in found {
        let path = entry?.path();
        let metadata = fs::metadata(&path)?;
        entries.push(DirEntry {
            is_dir: metadata.is_dir(),
            len_bytes: metadata.len(),
            path,
        });
    }
    entries.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(entries)
}

pub fn space(dir: &Path) -> io::Result<Space> {
    let stat = statvfs(dir)?;
    let reserved_blocks = stat.f_bfree - stat.f_bavail;
    Ok(Space {
        total_bytes: (stat.f_blocks - reserved_blocks) * stat.f_frsize,
        available_bytes: stat.f_bavail * stat.f_frsize,
    })
}

/// Whether the name that is there already is a directory's, by how its open ended. One that could not be opened for want of a descriptor may be.
pub fn is_there(made: io::Error, opened: Option<io::Error>) -> io::Result<bool> {
    match opened {
        None => Ok(false),
        Some(error) if error.raw_os_error() == Some(libc::ENOTDIR) => Err(made),
        Some(error) => Err(error),
    }
}

/// Flushes the file system of `dir`, which is open at `path`.
pub fn sync_all_below(dir: &fs::File, path: &Path) -> io::Result<()> {
    let kind = fstatfs(dir).map(|file_system| file_system.f_type);
    // For a file system in user space `syncfs` returns success without reaching it.
    if kind == Ok(libc::FUSE_SUPER_MAGIC) {
        return sync_each_below(path);
    }
    Ok(syncfs(dir)?)
}

fn sync_each_below(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        match entry.file_type()?.is_dir() {
            true => sync_each_below(&entry.path())?,
            // A file that was removed meanwhile needs no sync.
            false => match fs::File::open(entry.path()) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                file => file?.sync_all()?,
            },
        }
    }
    fs::File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_descriptor_it_is_not_said_that_a_directory_is_a_file() {
        let of = |errno| {
            let made = io::Error::from_raw_os_error(libc::EEXIST);
            let opened = Some(io::Error::from_raw_os_error(errno));
            is_there(made, opened).unwrap_err().raw_os_error()
        };
        assert_eq!(of(libc::EMFILE), Some(libc::EMFILE));
        assert_eq!(of(libc::ENFILE), Some(libc::ENFILE));
        assert_eq!(of(libc::ENOTDIR), Some(libc::EEXIST));
    }
}
