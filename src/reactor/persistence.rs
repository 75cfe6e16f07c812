//! The files of config/: topics and groups as soon as they change, offsets every so often.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use tracing::{error, warn};

use super::shard::Shard;
use crate::broker::ConfigFile;
use crate::io::first;
use crate::io::{Io, Notify, Waiters};

/// How often delay offsets are saved; a crash delivers again what was due since (RocketMQ: `flushDelayOffsetInterval`,
/// 10 s).
const DELAY_OFFSETS_INTERVAL_NS: u64 = 1_000_000_000;

/// When a file is saved again for which there was no space.
const NO_SPACE_RETRY_NS: u64 = 1_000_000_000;

/// What is to be saved, and who waits for it.
#[derive(Default)]
pub(super) struct Saves {
    unsaved: RefCell<Vec<ConfigFile>>,
    bell: Notify,
    waiting: RefCell<Vec<Rc<Notify>>>,
    /// How often saving the topics was tried, and what kept it from succeeding the last time.
    topics_tries: Cell<u64>,
    topics_trouble: RefCell<Option<Rc<str>>>,
    topics_tried: Waiters,
}

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

    /// Done when everything named so far has been written, or could not be.
    pub(super) async fn done(&self) {
        let done = Rc::new(Notify::default());
        self.waiting.borrow_mut().push(done.clone());
        self.bell.notify();
        done.notified().await;
    }

    /// Done when saving the topics has been tried once more.
    pub(super) async fn topics_tried(&self) {
        let before = self.topics_tries.get();
        let once_more = || (self.topics_tries.get() != before).then_some(());
        self.topics_tried.until(once_more).await;
    }

    /// Why the topics could not be saved.
    pub(super) fn topics_trouble(&self) -> Option<Rc<str>> {
        self.topics_trouble.borrow().clone()
    }

    fn topics_were_tried(&self, trouble: Option<String>) {
        self.topics_tries.set(self.topics_tries.get() + 1);
        self.topics_trouble.replace(trouble.map(Rc::from));
        self.topics_tried.wake_all();
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
        while !save_unsaved(&shard).await && !shard.stopping.get() {
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
    save_unsaved(shard).await;
}

/// `false` if there was no space; what is unsaved still is.
async fn save_unsaved<I: Io>(shard: &Shard<I>) -> bool {
    loop {
        let file = shard.saves.unsaved.borrow_mut().pop();
        let Some(file) = file else { return true };
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
        if speaks_of_messages
            && !mutant!(OffsetsAheadOfLog)
            && shard.store.durable_so_far().await.is_err()
        {
            continue;
        }
        let saved = shard.store.save_text(file.name(), text).await;
        if file == ConfigFile::Topics {
            if saved.is_ok() {
                shard.broker.borrow_mut().topics.saved(topics);
            }
            let trouble = saved.as_ref().err().map(ToString::to_string);
            shard.saves.topics_were_tried(trouble);
        }
        if let Err(error) = saved {
            if error.is_no_space() {
                warn!(file = file.name(), %error, "cannot be saved yet");
                shard.saves.keep(file);
                return false;
            }
            error!(file = file.name(), %error, "cannot be saved; tried again with the next change");
        }
    }
}
