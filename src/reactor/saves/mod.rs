//! The files of `config/`: topics and groups as soon as they change, offsets every so often.
//!
//! Two tasks write, so that a new topic does not wait for the offsets of all groups:
//!
//! | Task | writes |
//! |---|---|
//! | [`save_changes`] | what changed of topics and groups, everything of a turn in one durable write ([`change_files`]) |
//! | [`save_texts`] | the other files, each as a whole; and folds the changes into `topics.json` and `subscriptionGroup.json` |
//!
//! A text is rendered in slices, and others have their turn between two of them. [`state`] knows what is to be written and how
//! it went, [`cadence`] how often.

mod cadence;
pub(super) mod change_files;
mod state;

use std::cell::{Cell, RefCell};
use std::path::Path;
use std::rc::Rc;

use tracing::{error, warn};

use super::shard::Shard;
use crate::broker::ConfigFile;
use crate::broker::files::changes;
use crate::broker::files::text::SLICE_VALUES;
use crate::io::{Io, Notify, Waiters, first, pause};
use crate::store::StoreError;
use crate::wire::DataVersion;
use cadence::FoldTimer;
use change_files::ChangeFiles;
use state::{Cause, Failure, Files};

/// How often delay offsets are saved; a crash delivers again what was due since (RocketMQ: `flushDelayOffsetInterval`,
/// 10 s).
const DELAY_OFFSETS_INTERVAL_NS: u64 = 1_000_000_000;

/// When a fold is tried again that failed otherwise.
const FOLD_RETRY_NS: u64 = 10_000_000_000;

/// Changes between two turns of others.
const SLICE_CHANGES: usize = 64;

/// Whose changes go into the change files.
const BY_CHANGES: [ConfigFile; 2] = [ConfigFile::Topics, ConfigFile::SubscriptionGroups];

const AS_TEXTS: [ConfigFile; 5] = [
    ConfigFile::Settings,
    ConfigFile::ConsumerOffsets,
    ConfigFile::DelayOffsets,
    ConfigFile::RequestModes,
    ConfigFile::PopOrders,
];

/// What is to be saved, and what waits for it.
pub(super) struct Saves<I: Io> {
    files: RefCell<Files>,
    /// A try has ended.
    ended: Waiters,
    changes_bell: Notify,
    texts_bell: Notify,
    change_files: ChangeFiles<I>,
    fold: Folding,
    /// Bytes of the last text of the offsets.
    offsets_bytes: Cell<u64>,
    /// Both tasks end.
    is_over: Cell<bool>,
}

/// The writing of `topics.json` and `subscriptionGroup.json`.
#[derive(Default)]
struct Folding {
    timer: Cell<FoldTimer>,
    is_wanted: Cell<bool>,
    begun: Cell<u64>,
    ended: Cell<u64>,
    /// Why the last one failed.
    failure: RefCell<Option<Failure>>,
    text_bytes: Cell<u64>,
}

impl<I: Io> Saves<I> {
    pub fn new(io: I, store_dir: &Path) -> Self {
        Self {
            files: RefCell::default(),
            ended: Waiters::default(),
            changes_bell: Notify::default(),
            texts_bell: Notify::default(),
            change_files: ChangeFiles::new(io, store_dir),
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
        match BY_CHANGES.contains(&file) {
            true => &self.changes_bell,
            false => &self.texts_bell,
        }
    }

    /// Done once saving what these files were named for has been tried. An error: one could not be saved, and why.
    pub async fn done(&self, files: &[ConfigFile]) -> Result<(), Rc<str>> {
        for file in files {
            let of_try = self.files.borrow().current_try(*file);
            let outcome = || self.files.borrow().outcome(*file, of_try);
            self.ended.until(outcome).await?;
        }
        Ok(())
    }

    /// Done when the file is as it should be, or cannot be.
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

    /// How far the change files go that a start has read.
    pub fn read_up_to(&self, generation: u64) {
        self.change_files.read_up_to(generation);
    }

    /// Saves the JSON files of topics and groups anew, whatever has changed; done when that was tried.
    async fn folded(&self) -> Result<(), Failure> {
        let fold = &self.fold;
        let of_try = fold.begun.get() + 1;
        fold.is_wanted.set(true);
        self.texts_bell.notify();
        let is_over = || (fold.ended.get() >= of_try).then_some(());
        self.ended.until(is_over).await;
        fold.failure.borrow().clone().map_or(Ok(()), Err)
    }
}

fn failure(error: &StoreError) -> Failure {
    Failure {
        reason: error.to_string().into(),
        cause: match error {
            StoreError::Fenced { .. } => Cause::Fenced,
            error if error.is_no_space() => Cause::NoSpace,
            _ => Cause::Other,
        },
    }
}

/// Starts the tasks, and saves everything once.
pub(super) async fn start<I: Io>(shard: &Rc<Shard<I>>) {
    shard.io.spawn("save-changes", save_changes(shard.clone()));
    shard.io.spawn("save-texts", save_texts(shard.clone()));
    shard
        .io
        .spawn("watch-offsets", watch_offsets(shard.clone()));
    save_all(shard).await;
}

/// Everything, before the shard ends; then the tasks end as well.
pub(super) async fn finish<I: Io>(shard: &Shard<I>) {
    save_all(shard).await;
    let saves = &shard.saves;
    let is_folded = saves.folded().await.is_ok() && saves.fold.timer.get().is_clean();
    if is_folded && let Err(error) = saves.change_files.remove_all().await {
        warn!(%error, "a change file stays; the next start reads it again");
    }
    saves.is_over.set(true);
    saves.changes_bell.notify();
    saves.texts_bell.notify();
}

async fn save_all<I: Io>(shard: &Shard<I>) {
    shard.note_revive_offsets();
    for file in ConfigFile::ALL {
        shard.saves.soon(file);
    }
    for file in ConfigFile::ALL {
        // The log has said what could not be saved.
        let _ = shard.saves.done(&[file]).await;
    }
}

async fn save_changes<I: Io>(shard: Rc<Shard<I>>) {
    let saves = &shard.saves;
    while !saves.is_over.get() {
        let mut begun = Vec::new();
        while let Some(file) = saves.files.borrow_mut().begin(&BY_CHANGES) {
            begun.push(file);
        }
        if begun.is_empty() {
            wait(&shard, &saves.changes_bell, &BY_CHANGES, None).await;
            continue;
        }
        let saved = append_changes(&shard).await;
        begun
            .into_iter()
            .for_each(|file| end(&shard, file, saved.clone()));
    }
}

fn end<I: Io>(shard: &Shard<I>, file: ConfigFile, saved: Result<(), Failure>) {
    if let Err(failure) = &saved {
        let (file, error) = (file.name(), &failure.reason);
        match failure.cause {
            Cause::Fenced => {}
            Cause::NoSpace => warn!(file, %error, "cannot be saved yet"),
            Cause::Other => {
                error!(file, %error, "cannot be saved; tried again with the next change")
            }
        }
    }
    let now_ns = shard.io.now().mono_ns;
    shard.saves.files.borrow_mut().end(file, saved, now_ns);
    shard.saves.ended.wake_all();
}

/// Waits until something is named, or something is due: a retry, or what the caller says.
async fn wait<I: Io>(shard: &Shard<I>, bell: &Notify, among: &[ConfigFile], due_ns: Option<u64>) {
    let retry_ns = shard.saves.files.borrow().next_retry_ns(among);
    let wake_ns = due_ns.into_iter().chain(retry_ns).min();
    first(bell.notified(), async {
        match wake_ns {
            Some(wake_ns) => shard.io.sleep_until(wake_ns).await,
            None => std::future::pending().await,
        }
    })
    .await;
    let now_ns = shard.io.now().mono_ns;
    shard.saves.files.borrow_mut().retry(among, now_ns);
}

/// Saves what changed of topics and groups up to now.
async fn append_changes<I: Io>(shard: &Shard<I>) -> Result<(), Failure> {
    let saves = &shard.saves;
    let (topics, version, groups) = {
        let mut broker = shard.broker.borrow_mut();
        let (topics, groups) = (broker.topics.begin_save(), broker.groups.begin_save());
        (topics, broker.topics.version(), groups)
    };
    let pass = saves.change_files.enter().await;
    let mut saved = match saves.change_files.is_ready() {
        true => append(shard, &topics, &groups).await,
        false => Ok(()),
    };
    let is_ready = saves.change_files.is_ready();
    drop(pass);
    if !is_ready {
        // A write failed, or this is the start. The texts of everything have these changes, too.
        saved = saves.folded().await;
    }
    let mut broker = shard.broker.borrow_mut();
    match &saved {
        Ok(()) => {
            broker.topics.saved(&topics, version);
            broker.groups.saved(&groups);
        }
        Err(_) => {
            broker.topics.not_saved(topics);
            broker.groups.not_saved(groups);
        }
    }
    saved
}

async fn append<I: Io>(
    shard: &Shard<I>,
    topics: &[Rc<str>],
    groups: &[Rc<str>],
) -> Result<(), Failure> {
    if topics.is_empty() && groups.is_empty() {
        return Ok(());
    }
    let files = &shard.saves.change_files;
    let written = async {
        let mut checksum = files.begin().await?;
        let mut text = Vec::new();
        for (index, name) in topics.iter().chain(groups).enumerate() {
            if index % SLICE_CHANGES == SLICE_CHANGES - 1 {
                pause().await;
            }
            let broker = shard.broker.borrow();
            let change = match index < topics.len() {
                true => broker.topic_change(name),
                false => broker.group_change(name),
            };
            checksum = changes::append(&mut text, &change, checksum);
        }
        let bytes = text.len() as u64;
        files.append(text, checksum).await?;
        Ok(bytes)
    };
    let written = written.await;
    shard.store.note_text(&written);
    let fold = &shard.saves.fold;
    let bytes = written.as_ref().map_err(failure)?;
    let mut timer = fold.timer.get();
    timer.changed(*bytes, shard.io.now().mono_ns);
    fold.timer.set(timer);
    shard.saves.texts_bell.notify();
    Ok(())
}

async fn save_texts<I: Io>(shard: Rc<Shard<I>>) {
    let saves = &shard.saves;
    loop {
        let due_ns = fold_due_ns(&shard);
        let folds = due_ns.is_some_and(|due_ns| due_ns <= shard.io.now().mono_ns);
        if folds {
            fold(&shard).await;
        }
        let file = saves.files.borrow_mut().begin(&AS_TEXTS);
        if let Some(file) = file {
            let saved = save_text(&shard, file).await;
            end(&shard, file, saved.map_err(|error| failure(&error)));
        } else if !folds {
            if saves.is_over.get() {
                return;
            }
            wait(&shard, &saves.texts_bell, &AS_TEXTS, due_ns).await;
        }
    }
}

fn fold_due_ns<I: Io>(shard: &Shard<I>) -> Option<u64> {
    let fold = &shard.saves.fold;
    if fold.is_wanted.get() {
        return Some(0);
    }
    let entries = {
        let broker = shard.broker.borrow();
        broker.topics.len() + broker.groups.len()
    };
    fold.timer.get().due_ns(entries, fold.text_bytes.get())
}

/// Writes `topics.json` and `subscriptionGroup.json`, and removes the changes that these now have.
async fn fold<I: Io>(shard: &Shard<I>) {
    let saves = &shard.saves;
    let fold = &saves.fold;
    fold.is_wanted.set(false);
    fold.begun.set(fold.begun.get() + 1);
    let mut timer = fold.timer.get();
    timer.begun();
    fold.timer.set(timer);
    let folded = write_both(shard).await;
    if let Err(error) = &folded {
        warn!(%error, "the changes of topics and groups cannot be folded into their files");
        let retry_ns = match error.is_no_space() {
            true => state::RETRY_NS,
            false => FOLD_RETRY_NS,
        };
        let mut timer = fold.timer.get();
        timer.failed(shard.io.now().mono_ns, retry_ns);
        fold.timer.set(timer);
    }
    fold.failure.replace(folded.err().as_ref().map(failure));
    fold.ended.set(fold.begun.get());
    saves.ended.wake_all();
}

async fn write_both<I: Io>(shard: &Shard<I>) -> Result<(), StoreError> {
    let versions = {
        let broker = shard.broker.borrow();
        (broker.topics.version(), broker.groups.version())
    };
    let files = &shard.saves.change_files;
    let begun = files.begin_fold(versions).await?;
    let [topics, groups] = BY_CHANGES;
    let mut bytes = write_text(shard, topics, versions.0).await?;
    bytes += write_text(shard, groups, versions.1).await?;
    shard.saves.fold.text_bytes.set(bytes);
    files.end_fold(begun).await
}

async fn save_text<I: Io>(shard: &Shard<I>, file: ConfigFile) -> Result<(), StoreError> {
    let version = shard.broker.borrow().file_version(file);
    let bytes = write_text(shard, file, version).await?;
    if file == ConfigFile::ConsumerOffsets {
        shard.saves.offsets_bytes.set(bytes);
    }
    Ok(())
}

/// The bytes written.
async fn write_text<I: Io>(
    shard: &Shard<I>,
    file: ConfigFile,
    version: DataVersion,
) -> Result<u64, StoreError> {
    let mut text = shard.broker.borrow().begin_text(file, version);
    while !shard.broker.borrow().write_text(&mut text, SLICE_VALUES) {
        pause().await;
    }
    // An offset must not be safer than the messages that it refers to: after a power cut a consumer would skip those that
    // come in the place of the lost ones, and a delayed message would count as delivered.
    let refers_to_messages = matches!(
        file,
        ConfigFile::ConsumerOffsets | ConfigFile::DelayOffsets | ConfigFile::PopOrders
    );
    if refers_to_messages && !mutant!(OffsetsAheadOfLog) {
        shard.store.durable_so_far().await?;
    }
    let bytes = text.len_bytes();
    shard
        .store
        .save_text(file.name(), text.into_string())
        .await?;
    Ok(bytes)
}

/// Names the offsets when they have changed.
async fn watch_offsets<I: Io>(shard: Rc<Shard<I>>) {
    let configured_ns = shard.setup.save_offsets_interval_ms * 1_000_000;
    let mut offsets_due_ns = shard.io.now().mono_ns + configured_ns;
    let mut delays_due_ns = shard.io.now().mono_ns + DELAY_OFFSETS_INTERVAL_NS;
    while !shard.stopping.get() {
        let due = shard.io.sleep_until(offsets_due_ns.min(delays_due_ns));
        first(shard.stopped.notified(), due).await;
        let now_ns = shard.io.now().mono_ns;
        if now_ns >= offsets_due_ns {
            let written = shard.saves.offsets_bytes.get();
            offsets_due_ns = now_ns + cadence::offsets_interval_ns(configured_ns, written);
            shard.note_revive_offsets();
            if shard.broker.borrow_mut().offsets.take_dirty() {
                shard.saves.soon(ConfigFile::ConsumerOffsets);
            }
            if shard.broker.borrow_mut().pops.orders.take_dirty() {
                shard.saves.soon(ConfigFile::PopOrders);
            }
        }
        if now_ns >= delays_due_ns {
            delays_due_ns = now_ns + DELAY_OFFSETS_INTERVAL_NS;
            if shard.broker.borrow_mut().delays.take_dirty() {
                shard.saves.soon(ConfigFile::DelayOffsets);
            }
        }
    }
}
