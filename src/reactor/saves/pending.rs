//! What is to be saved of `config/`: services name a file that has changed, and may wait until it is written.

use std::cell::{Cell, RefCell};
use std::path::Path;
use std::rc::Rc;

use super::cadence::FoldTimer;
use super::change_files::ChangeFiles;
use super::state::{Failure, Files};
use crate::broker::{ConfigFile, ConfigFiles};
use crate::io::{Io, Notify, Waiters};
use crate::store::Medium;

/// The files whose changes go into the change files.
pub(super) const BY_CHANGES: [ConfigFile; 2] = [ConfigFile::Topics, ConfigFile::SubscriptionGroups];

/// A task writes its files one after another. A file with offsets waits until the messages that it refers to are committed and durable, which takes as long
/// as a replica may take to answer: nothing else waits behind it.
pub(super) const WRITERS: [&[ConfigFile]; 5] = [
    &BY_CHANGES,
    &[ConfigFile::Settings, ConfigFile::RequestModes],
    &[ConfigFile::ConsumerOffsets],
    &[ConfigFile::DelayOffsets],
    &[ConfigFile::PopOrders],
];

/// The one that writes change files.
pub(super) const CHANGES: usize = 0;
/// The one that also folds changes into the JSON files of topics and groups.
pub(super) const FOLDER: usize = 1;

/// What is to be saved.
pub(in crate::reactor) struct Saves<I: Io> {
    pub(super) files: RefCell<Files>,
    /// Woken when a try has ended.
    pub(super) ended: Waiters,
    /// Of each task of [`WRITERS`].
    pub(super) bells: [Notify; WRITERS.len()],
    pub(super) change_files: ChangeFiles<I>,
    pub(super) fold: Folding,
    /// Bytes of the last text of the offsets.
    pub(super) offsets_bytes: Cell<u64>,
    /// Both tasks are to end.
    pub(super) is_over: Cell<bool>,
}

/// The writing of `topics.json` and `subscriptionGroup.json`.
#[derive(Default)]
pub(super) struct Folding {
    pub(super) timer: Cell<FoldTimer>,
    pub(super) is_wanted: Cell<bool>,
    pub(super) begun: Cell<u64>,
    pub(super) ended: Cell<u64>,
    /// Why the last one failed.
    pub(super) failure: RefCell<Option<Failure>>,
    pub(super) text_bytes: Cell<u64>,
}

impl<I: Io> Saves<I> {
    pub fn new(medium: &Medium<I>, store_dir: &Path) -> Self {
        Self {
            files: RefCell::default(),
            ended: Waiters::default(),
            bells: Default::default(),
            change_files: ChangeFiles::new(medium.clone(), store_dir),
            fold: Folding::default(),
            offsets_bytes: Cell::new(0),
            is_over: Cell::new(false),
        }
    }

    /// The file has changed.
    pub fn soon(&self, file: ConfigFile) {
        self.files.borrow_mut().name(file);
        self.bell(file).notify();
    }

    fn bell(&self, file: ConfigFile) -> &Notify {
        let writer = WRITERS.iter().position(|files| files.contains(&file));
        &self.bells[writer.expect("each file has a writer")]
    }

    /// Done when a try that has all changes of these files up to now has ended for each. An error: why one could not be saved.
    pub async fn done(&self, files: ConfigFiles) -> Result<(), Rc<str>> {
        for file in files.iter() {
            let of_try = self.files.borrow().current_try(file);
            let outcome = || self.files.borrow().outcome(file, of_try);
            self.ended.until(outcome).await?;
        }
        Ok(())
    }

    /// Done when the file has all changes, or cannot be written.
    pub async fn settled(&self, file: ConfigFile) {
        let is_settled = || self.files.borrow().is_settled(file).then_some(());
        self.ended.until(is_settled).await;
    }

    /// Done when saving the topics has been tried once more.
    pub async fn topics_tried(&self) {
        let tries = || self.files.borrow().tries_ended(ConfigFile::Topics);
        let before = tries();
        self.ended.until(|| (tries() != before).then_some(())).await;
    }

    /// Why a file could not be saved the last time.
    pub fn trouble(&self, file: ConfigFile) -> Option<Rc<str>> {
        self.files.borrow().trouble(file)
    }

    /// The greatest number of a change file that the start has read.
    pub fn read_up_to(&self, generation: u64) {
        self.change_files.read_up_to(generation);
    }

    /// Writes the JSON files of topics and groups, also if nothing has changed; done when that has ended.
    pub(super) async fn folded(&self) -> Result<(), Failure> {
        let fold = &self.fold;
        let of_try = fold.begun.get() + 1;
        fold.is_wanted.set(true);
        self.bells[FOLDER].notify();
        let is_over = || (fold.ended.get() >= of_try).then_some(());
        self.ended.until(is_over).await;
        fold.failure.borrow().clone().map_or(Ok(()), Err)
    }
}
