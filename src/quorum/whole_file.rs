//! Files that are written as a whole, in the place of what they held.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// What [`File::create`] gives a new file, less what the process masks.
const USUAL_MODE: u32 = 0o666;

/// Puts `bytes` into a file in the place of what it held: afterwards, and after a crash, it has all of the one or all of the other.
pub fn replace(dir: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    replace_with_mode(dir, name, bytes, USUAL_MODE)
}

/// The same, with the permissions that the file has from its first byte on.
pub fn replace_with_mode(dir: &Path, name: &str, bytes: &[u8], mode: u32) -> io::Result<()> {
    let part = dir.join(format!("{name}.part"));
    // One that a crash has left may have other permissions.
    match fs::remove_file(&part) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(mode);
    let mut file = options.open(&part)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&part, dir.join(name))?;
    sync_dir(dir)
}

pub fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}
