//! Small files that are written as a whole: config/*.json.
//!
//! A new text is written beside the old one, synced, and renamed over it, so that a crash leaves one of the two whole.
//! The text before is kept as `.bak`, as RocketMQ does; it is used when the main file is missing, empty, or no text.
//! Zero bytes are none: a device that lost a write may leave them. Saves are serialised.

use std::path::{Path, PathBuf};

use super::error::if_there;
use super::medium::Medium;
use super::turns::Turns;
use super::{StoreError, whole_file};
use crate::io::{Io, OpenOptions};
use crate::mem::AlignedBuf;

pub struct TextFiles<I: Io> {
    io: Medium<I>,
    dir: PathBuf,
    turns: Turns,
}

impl<I: Io> TextFiles<I> {
    /// Makes the directory if it does not exist.
    pub async fn open(io: Medium<I>, dir: &Path) -> Result<Self, StoreError> {
        io.create_dir_all(dir)
            .await
            .map_err(StoreError::not_writable(dir))?;
        io.sync_dir(dir).await?;
        Ok(Self {
            io,
            dir: dir.to_owned(),
            turns: Turns::default(),
        })
    }

    pub async fn load(&self, name: &str) -> Result<Option<String>, StoreError> {
        let path = self.dir.join(name);
        let main = match self.read(&path).await {
            // A name with a byte that has rotted would be another name.
            Err(error @ StoreError::NoText { .. }) => match self.read(&self.backup(name)).await? {
                Some(backup) if has_text(&backup) => {
                    tracing::error!(%error, "the backup is used");
                    return Ok(Some(backup));
                }
                _ => return Err(error),
            },
            main => main?,
        };
        if main.as_deref().is_some_and(has_text) {
            return Ok(main);
        }
        let backup = self.read(&self.backup(name)).await?;
        let backup = backup.filter(|text| has_text(text));
        if main.is_some() && backup.is_some() {
            // Or the next save would put it into the backup's place (RocketMQ: `ConfigManager.load`).
            self.io.remove_file(&path).await?;
        }
        Ok(backup)
    }

    /// As durable as can be when it returns.
    pub async fn save(&self, name: &str, text: String) -> Result<(), StoreError> {
        let _turn = self.turns.take().await;
        let (path, beside) = (self.dir.join(name), self.dir.join(format!("{name}.tmp")));
        if mutant!(TextsInPlace) {
            return whole_file::write(&self.io, &path, text.into_bytes())
                .await
                .map(drop);
        }
        whole_file::write(&self.io, &beside, text.into_bytes()).await?;
        if_there(self.io.rename(&path, &self.backup(name)).await)?;
        self.io.rename(&beside, &path).await?;
        self.io.sync_dir(&self.dir).await
    }

    /// A file that only grows, written by others of `config/`. Its end may be anything after a crash, and it has no backup.
    pub async fn load_grown(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.read_bytes(&self.dir.join(name)).await
    }

    async fn read(&self, path: &Path) -> Result<Option<String>, StoreError> {
        let bytes = self.read_bytes(path).await?;
        let text = bytes.map(String::from_utf8).transpose();
        text.map_err(|error| StoreError::NoText {
            path: path.to_owned(),
            at: error.utf8_error().valid_up_to(),
        })
    }

    async fn read_bytes(&self, path: &Path) -> Result<Option<Vec<u8>>, StoreError> {
        let Some(file) = if_there(self.io.open(path, OpenOptions::default()).await)? else {
            return Ok(None);
        };
        let len = file.len_bytes().await? as usize;
        let (read, buf) = file.read_at(AlignedBuf::with_room_for(len), len, 0).await;
        Ok(Some(buf[..read?].to_vec()))
    }

    fn backup(&self, name: &str) -> PathBuf {
        self.dir.join(format!("{name}.bak"))
    }
}

/// Neither empty, nor with a part that was lost.
fn has_text(text: &str) -> bool {
    !text.trim().is_empty() && !text.contains('\0')
}
