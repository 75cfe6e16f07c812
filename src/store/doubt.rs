//! A note on the device that the log of a replica may lack something at its end which this broker had reported.
//!
//! A start cannot tell a rotten record from one that a power cut has torn, if no mark says that it was durable: it ends the log there. The note is
//! durable before the bytes behind that end are wiped, so that another crash does not lose it. It goes when the broker has all that a master had
//! confirmed, or is master itself. Until then it is elected only if no whole one is there (page `replication` of the manual).

use std::cell::Cell;
use std::path::{Path, PathBuf};

use tracing::{info, warn};

use super::StoreError;
use super::error::if_there;
use super::medium::Medium;
use super::whole_file;
use crate::io::{Io, OpenOptions};

const FILE: &str = "ringmqEndInDoubt";

pub(super) struct Doubt<I: Io> {
    io: Medium<I>,
    dir: PathBuf,
    is_there: Cell<bool>,
}

impl<I: Io> Doubt<I> {
    /// Of a log that follows no other one a note does not count.
    pub async fn open(io: Medium<I>, dir: &Path, follows: bool) -> Result<Self, StoreError> {
        let is_there = match follows {
            true => {
                let opened = io.open(&dir.join(FILE), OpenOptions::default()).await;
                if_there(opened)?.is_some()
            }
            false => false,
        };
        Ok(Self {
            is_there: Cell::new(is_there),
            dir: dir.to_owned(),
            io,
        })
    }

    pub fn is_there(&self) -> bool {
        self.is_there.get()
    }

    /// The log is about to end at `tail`. That the file exists is enough: on a full disk it may be empty, or known to this process only.
    pub async fn note(&self, tail: u64) -> Result<(), StoreError> {
        if self.is_there.replace(true) {
            return Ok(());
        }
        info!(
            tail,
            "the log may lack something behind this: under a controller another broker is elected before this one until it has caught up"
        );
        let path = self.dir.join(FILE);
        match whole_file::write(&self.io, &path, tail.to_string().into()).await {
            Err(error) if error.is_no_space() => {
                warn!(%error, "the next start does not know that the end of the log is in doubt");
            }
            written => drop(written?),
        }
        self.io.sync_dir(&self.dir).await
    }

    /// Nothing is missing, or no other broker counts. Whether there was a doubt.
    pub fn dispel(&self) -> bool {
        self.is_there.replace(false)
    }

    /// A file that stays costs this broker no more than its precedence after the next start.
    pub async fn remove_file(&self) {
        if let Err(error) = if_there(self.io.remove_file(&self.dir.join(FILE)).await) {
            warn!(%error, "the note that the end of the log is in doubt cannot be removed");
        }
    }
}
