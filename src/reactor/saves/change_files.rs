//! The change files on the disk (see [`crate::broker::files::changes`]): changes are appended to one of them. While its changes are folded
//! into the JSON files, further ones go to the other.
//!
//! A change is appended by one write that is durable when it completes. After a write that failed for a lack of descriptors or memory a
//! change file is not written again: the JSON files are written, and then another change file is begun. An error of the device sets the
//! store's fence ([`crate::store::Medium`]).

use std::cell::{Cell, RefCell};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use crate::broker::files::changes::{self, Change};
use crate::io::{Durability, Gate, Io, Pass};
use crate::store::{Guarded, Medium, StoreError, if_there};
use crate::wire::DataVersion;

/// The names of both in `config/`.
pub(in crate::reactor) const NAMES: [&str; 2] = ["changes-0.log", "changes-1.log"];

/// Versions of the topics and the groups.
pub(super) type Versions = (DataVersion, DataVersion);

pub(super) struct ChangeFiles<I: Io> {
    io: Medium<I>,
    dir: PathBuf,
    current: RefCell<Option<Current<I>>>,
    /// Which of the two names may exist.
    exists: Cell<[bool; 2]>,
    generation: Cell<u64>,
    /// The versions that the JSON files have, if it is known that these are on the disk.
    folded: Cell<Option<Versions>>,
    /// Held while the files change.
    gate: Rc<Gate>,
}

#[derive(Clone)]
struct Current<I: Io> {
    index: usize,
    file: Guarded<I>,
    len_bytes: u64,
    checksum: u32,
}

/// What a fold began with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fold {
    versions: Versions,
    /// The file that the fold does not remove; `None`: none had been begun.
    stays: Option<usize>,
}

impl<I: Io> ChangeFiles<I> {
    /// At a start both may exist: nothing is appended before the JSON files have been written.
    pub fn new(io: Medium<I>, store_dir: &Path) -> Self {
        Self {
            io,
            dir: store_dir.join("config"),
            current: RefCell::new(None),
            exists: Cell::new([true; 2]),
            generation: Cell::new(0),
            folded: Cell::new(None),
            gate: Gate::new(1),
        }
    }

    /// The greatest number of a file that a start has read.
    pub fn read_up_to(&self, generation: u64) {
        self.generation.set(generation);
    }

    pub async fn enter(&self) -> Pass {
        self.gate.enter(1).await
    }

    /// Whether a change can be appended. If not, the JSON files have to be written first.
    pub fn is_ready(&self) -> bool {
        self.current.borrow().is_some() || (self.folded.get().is_some() && self.vacant().is_some())
    }

    fn vacant(&self) -> Option<usize> {
        self.exists.get().iter().position(|exists| !exists)
    }

    /// Appends changes, the last of which has this checksum. The caller holds the pass of [`Self::enter`], and a file has been begun.
    pub async fn append(&self, changes: Vec<u8>, checksum: u32) -> Result<(), StoreError> {
        let Some(current) = self.current.borrow().clone() else {
            unreachable!("the files are ready");
        };
        let end = current.len_bytes + changes.len() as u64;
        let (file, begin) = (&current.file, current.len_bytes);
        let written = file.write_at(changes, begin, Durability::Synced).await.0;
        match &written {
            Ok(()) => {
                self.current.replace(Some(Current {
                    len_bytes: end,
                    checksum,
                    ..current
                }));
            }
            Err(error) if error.is_no_space() => {}
            Err(_) => self.abandon(),
        }
        written
    }

    /// Begins a file if there is none; returns the checksum that the next change continues.
    pub async fn begin(&self) -> Result<u32, StoreError> {
        let current = self
            .current
            .borrow()
            .as_ref()
            .map(|current| current.checksum);
        match (current, self.folded.get()) {
            (Some(checksum), _) => Ok(checksum),
            (None, Some(versions)) => self.create(versions).await,
            (None, None) => unreachable!("the files are ready"),
        }
    }

    async fn create(&self, (topics, groups): Versions) -> Result<u32, StoreError> {
        let index = self.vacant().expect("the files are ready");
        let path = self.dir.join(NAMES[index]);
        self.set_exists(index, true);
        let generation = self.generation.get() + 1;
        let base = Change::Base {
            generation,
            topics,
            groups,
        };
        let mut text = Vec::new();
        let checksum = changes::append(&mut text, &base, 0);
        let made = async {
            let file = self.io.create(&path).await?;
            let len_bytes = text.len() as u64;
            file.write_at(text, 0, Durability::Synced).await.0?;
            self.io.sync_dir(&self.dir).await?;
            Ok::<_, StoreError>(Current {
                index,
                file,
                len_bytes,
                checksum,
            })
        };
        match made.await {
            Ok(current) => {
                self.generation.set(generation);
                self.current.replace(Some(current));
                Ok(checksum)
            }
            Err(error) if error.is_no_space() => {
                // It has no valid change; the next try writes over it.
                self.set_exists(index, false);
                Err(error)
            }
            Err(error) => {
                self.abandon();
                Err(error)
            }
        }
    }

    fn set_exists(&self, index: usize, is_so: bool) {
        let mut exists = self.exists.get();
        exists[index] = is_so;
        self.exists.set(exists);
    }

    /// Further changes go into the JSON files.
    fn abandon(&self) {
        self.current.take();
        self.folded.set(None);
    }

    /// The JSON files are about to be written with these versions. Further changes go into the other file, if its name is free.
    pub async fn begin_fold(&self, versions: Versions) -> Result<Fold, StoreError> {
        let _pass = self.enter().await;
        let before = self.current.borrow().clone();
        let Some(before) = before else {
            return Ok(Fold {
                versions,
                stays: None,
            });
        };
        if self.vacant().is_some() {
            self.current.take();
            if let Err(error) = self.create(versions).await {
                // The earlier file can still be appended to.
                self.current.replace(Some(before));
                return Err(error);
            }
        } else {
            let mut text = Vec::new();
            let base = Change::Base {
                generation: self.generation.get(),
                topics: versions.0,
                groups: versions.1,
            };
            let checksum = changes::append(&mut text, &base, before.checksum);
            self.append(text, checksum).await?;
        }
        let stays = self.current.borrow().as_ref().map(|current| current.index);
        Ok(Fold { versions, stays })
    }

    /// The JSON files are on the disk: removes the change files whose changes they have.
    pub async fn end_fold(&self, fold: Fold) -> Result<(), StoreError> {
        let _pass = self.enter().await;
        let stays = self.current.borrow().as_ref().map(|current| current.index);
        // A file that was begun and abandoned meanwhile has changes that the JSON files may not have.
        if stays != fold.stays {
            return Ok(());
        }
        self.remove_all_but(stays).await?;
        self.folded.set(Some(fold.versions));
        Ok(())
    }

    /// At the end of the shard: the JSON files have all changes.
    pub async fn remove_all(&self) -> Result<(), StoreError> {
        let _pass = self.enter().await;
        self.current.take();
        self.remove_all_but(None).await
    }

    async fn remove_all_but(&self, stays: Option<usize>) -> Result<(), StoreError> {
        let mut exists = self.exists.get();
        let mut has_removed = false;
        for (index, name) in NAMES.iter().enumerate() {
            if !exists[index] || stays == Some(index) {
                continue;
            }
            let path = self.dir.join(name);
            has_removed |= if_there(self.io.remove_file(&path).await)?.is_some();
            exists[index] = false;
        }
        // If a power cut restored an earlier file and not the later one, the start would undo the later one's changes.
        if has_removed {
            self.io.sync_dir(&self.dir).await?;
        }
        self.exists.set(exists);
        Ok(())
    }
}
