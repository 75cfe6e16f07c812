//! `auth.json` on the disk, for its owner only.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use anyhow::{Context, Result};
use tracing::warn;
use zeroize::Zeroizing;

use crate::auth::Directory;
use crate::quorum::replace_with_mode;

const NAME: &str = "auth.json";
const OWNER_ONLY: u32 = 0o600;

pub struct Disk {
    dir: PathBuf,
}

impl Disk {
    pub fn new(dir: PathBuf) -> Self {
        Self { dir }
    }

    /// `None`: there is no file. One that cannot be read as a whole is an error: to go on without it would drop entries that deny, and users that were disabled.
    pub fn read(&self) -> Result<Option<Directory>> {
        let path = self.dir.join(NAME);
        let text = match fs::read_to_string(&path) {
            Ok(text) => Zeroizing::new(text),
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| path.display().to_string()),
        };
        let mode = fs::metadata(&path)?.permissions().mode() & 0o777;
        if mode & !OWNER_ONLY != 0 {
            warn!(file = %path.display(), mode = format!("{mode:o}"), "others could read the secrets in it; from here on only its owner may");
            fs::set_permissions(&path, fs::Permissions::from_mode(OWNER_ONLY))
                .with_context(|| path.display().to_string())?;
        }
        let directory = Directory::from_text(&text).with_context(|| path.display().to_string())?;
        Ok(Some(directory))
    }

    /// In the place of the old file, which stays until this one is on the device.
    pub fn write(&self, text: &str) -> Result<()> {
        fs::create_dir_all(&self.dir)
            .and_then(|()| replace_with_mode(&self.dir, NAME, text.as_bytes(), OWNER_ONLY))
            .with_context(|| self.dir.join(NAME).display().to_string())
    }
}
