//! The files of config/: topics and groups as soon as they change, offsets every so often.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use tracing::{error, warn};

use super::shard::Shard;
use crate::broker::ConfigFile;
use crate::io::first;
use crate::io::{Io, Notify, Waiters};
use crate::store::StoreError;

/// How often delay offsets are saved; a crash delivers again what was due since (RocketMQ: `flushDelayOffsetInterval`,
/// 10 s).
const DELAY_OFFSETS_INTERVAL_NS: u64 = 1_000_000_000;

/// When a file is saved again for which there was no space.
const NO_SPACE_RETRY_NS: u64 = 1_000_000_000;

/// What is to be saved, and who waits for it.
#[derive(Default)]
pub(super) struct Saves {
    unsaved: RefCell<Vec<ConfigFile>>,
    /// Are being written: at the start by two.
    current: RefCell<Vec<ConfigFile>>,
    bell: Notify,
    waiting: RefCell<Vec<Rc<Notify>>>,
    /// Files that could not be written the last time, and why.
    failing: RefCell<Vec<(ConfigFile, Rc<str>)>>,
    /// How often saving the topics was tried.
    topics_tries: Cell<u64>,
    tried: Waiters,
}

/// There was no space; what is unsaved still is.
struct NoSpace;

impl Saves {
    pub(super) fn soon(&self, file: ConfigFile) {
        self.keep(file);
        self.bell.notify();
    }

    fn keep(&self, file: ConfigFile) {
        let mut unsaved = self.unsaved.borrow_mut();
        if !unsaved.contains(&file) {
            unsaved.push(file);
        }
    }

    /// Done when these files have been written as they are now. An error: one could not be, and why.
    pub(super) async fn done(&self, files: &[ConfigFile]) -> Result<(), Rc<str>> {
        let over = Rc::new(Notify::default());
        self.waiting.borrow_mut().push(over.clone());
        self.bell.notify();
        over.notified().await;
        let trouble = files.iter().find_map(|file| self.trouble(*file));
        trouble.map_or(Ok(()), Err)
    }

    /// Done when the file is as it should be, or cannot be.
    pub(super) async fn settled(&self, file: ConfigFile) {
        let is_settled = || {
            let is_current = self.current.borrow().contains(&file);
            let is_named = is_current || self.unsaved.borrow().contains(&file);
            !is_named || self.trouble(file).is_some()
        };
        self.tried.until(|| is_settled().then_some(())).await;
    }

    /// Done when saving the topics has been tried once more.
    pub(super) async fn topics_tried(&self) {
        let before = self.topics_tries.get();
        let once_more = || (self.topics_tries.get() != before).then_some(());
        self.tried.until(once_more).await;
    }

    /// Why a file could not be saved the last time.
    pub(super) fn trouble(&self, file: ConfigFile) -> Option<Rc<str>> {
        let failing = self.failing.borrow();
        let found = failing.iter().find(|(failing, _)| *failing == file);
        found.map(|(_, reason)| reason.clone())
    }

    fn was_tried(&self, file: ConfigFile, saved: &Result<(), StoreError>) {
        let mut current = self.current.borrow_mut();
        let place = current.iter().position(|current| *current == file);
        current.swap_remove(place.expect("it was being written"));
        let mut failing = self.failing.borrow_mut();
        failing.retain(|(failing, _)| *failing != file);
        if let Err(error) = saved {
            failing.push((file, error.to_string().into()));
        }
        if file == ConfigFile::Topics {
            self.topics_tries.set(self.topics_tries.get() + 1);
        }
        self.tried.wake_all();
    }

    /// Lets the task that saves look around.
    pub(super) fn wake(&self) {
        self.bell.notify();
    }
}

/// Saves what [`Saves::soon`] names, until the shard stops.
pub(super) async fn run<I: Io>(shard: Rc<Shard<I>>) {
    while !shard.stopping.get() {
        shard.saves.bell.notified().await;
        let waiting = shard.saves.waiting.take();
        while save_unsaved(&shard).await.is_err() && !shard.stopping.get() {
            let retry_ns = shard.io.now().mono_ns + NO_SPACE_RETRY_NS;
            first(shard.saves.bell.notified(), shard.io.sleep_until(retry_ns)).await;
        }
        waiting.iter().for_each(|waiting| waiting.notify());
    }
}

/// Names the offsets when they have changed.
pub(super) async fn watch_offsets<I: Io>(shard: Rc<Shard<I>>) {
    let offsets_interval_ns = shard.setup.save_offsets_interval_ms * 1_000_000;
    let mut offsets_due_ns = shard.io.now().mono_ns + offsets_interval_ns;
    let mut delays_due_ns = shard.io.now().mono_ns + DELAY_OFFSETS_INTERVAL_NS;
    while !shard.stopping.get() {
        let stopped = shard.stopped.notified();
        first(
            stopped,
            shard.io.sleep_until(offsets_due_ns.min(delays_due_ns)),
        )
        .await;
        let now_ns = shard.io.now().mono_ns;
        if now_ns >= offsets_due_ns {
            offsets_due_ns = now_ns + offsets_interval_ns;
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

/// Everything, before the shard ends.
pub(super) async fn save_all<I: Io>(shard: &Shard<I>) {
    shard.note_revive_offsets();
    for file in ConfigFile::ALL {
        shard.saves.soon(file);
    }
    let _ = save_unsaved(shard).await;
}

async fn save_unsaved<I: Io>(shard: &Shard<I>) -> Result<(), NoSpace> {
    loop {
        let file = shard.saves.unsaved.borrow_mut().pop();
        let Some(file) = file else { return Ok(()) };
        shard.saves.current.borrow_mut().push(file);
        let saved = save(shard, file).await;
        shard.saves.was_tried(file, &saved);
        match saved {
            Err(error) if error.is_no_space() => {
                warn!(file = file.name(), %error, "cannot be saved yet");
                shard.saves.keep(file);
                return Err(NoSpace);
            }
            // The log has said so loudly.
            Ok(()) | Err(StoreError::Fenced { .. }) => {}
            Err(error) => {
                error!(file = file.name(), %error, "cannot be saved; tried again with the next change");
            }
        }
    }
}

async fn save<I: Io>(shard: &Shard<I>, file: ConfigFile) -> Result<(), StoreError> {
    let (text, topics) = {
        let broker = shard.broker.borrow();
        (broker.file_text(file), broker.topics.version())
    };
    // An offset must not be safer than the messages that it speaks of: after a power cut a consumer would pass over
    // those that come in the place of the lost ones, and a delayed message would count as delivered.
    let speaks_of_messages = matches!(
        file,
        ConfigFile::ConsumerOffsets | ConfigFile::DelayOffsets | ConfigFile::PopOrders
    );
    if speaks_of_messages && !mutant!(OffsetsAheadOfLog) {
        shard.store.durable_so_far().await?;
    }
    shard.store.save_text(file.name(), text).await?;
    if file == ConfigFile::Topics {
        shard.broker.borrow_mut().topics.saved(topics);
    }
    Ok(())
}
