//! Looks at the files again and again.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use tracing::{info, warn};

use super::files::Source;
use crate::tls::Security;

const EVERY: Duration = Duration::from_secs(1);

/// What changes when a file is written, or replaced: its number, its length, its time. `None`: it is not there.
type Look = Vec<Option<(u64, u64, i64, i64)>>;

pub struct Watch {
    source: Source,
    /// As they were when they were read last, ...
    read: Look,
    /// ... and a moment ago.
    before: Look,
}

impl Watch {
    /// Of files that are about to be read.
    pub fn new(source: Source) -> Self {
        let look = look_at(&source.paths());
        Self {
            source,
            read: look.clone(),
            before: look,
        }
    }

    pub fn has_files(&self) -> bool {
        !self.source.paths().is_empty()
    }

    /// What the files say now.
    pub fn read(&self) -> Result<Security> {
        self.source.read()
    }

    /// On a thread, which ends with the process. Without files there is none.
    pub fn start(mut self, changed: impl Fn(Security) + Send + 'static) -> Result<()> {
        if !self.has_files() {
            return Ok(());
        }
        let thread = thread::Builder::new().name("tls-files".into());
        let spawned = thread.spawn(move || {
            loop {
                thread::sleep(EVERY);
                if let Some(security) = self.look() {
                    changed(security);
                }
            }
        });
        spawned
            .map(drop)
            .context("the thread that watches the files of TLS")
    }

    /// What the files say now, if they have changed and stay as they are. They are replaced one after another, and a key alone does not fit.
    fn look(&mut self) -> Option<Security> {
        let now = look_at(&self.source.paths());
        let is_steady = now == self.before;
        self.before.clone_from(&now);
        if !is_steady || now == self.read {
            return None;
        }
        self.read = now;
        match self.source.read() {
            Ok(security) => {
                info!("the files of TLS have changed; new connections are made with them");
                Some(security)
            }
            Err(error) => {
                let error = format!("{error:#}");
                warn!(%error, "the files of TLS have changed and cannot be used; new connections are made as before");
                None
            }
        }
    }
}

fn look_at(paths: &[&Path]) -> Look {
    let one = |path: &&Path| {
        let found = std::fs::metadata(path).ok()?;
        Some((found.ino(), found.len(), found.mtime(), found.mtime_nsec()))
    };
    paths.iter().map(one).collect()
}
