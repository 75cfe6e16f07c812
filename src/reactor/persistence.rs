//! The files of config/: topics and groups as soon as they change, offsets every so often.

use std::rc::Rc;

use tracing::error;

use super::first::first;
use super::shard::Shard;
use crate::broker::ConfigFile;
use crate::io::Io;

/// How often delay offsets are saved; a crash delivers again what was due since (RocketMQ: `flushDelayOffsetInterval`,
/// 10 s).
const DELAY_OFFSETS_INTERVAL_NS: u64 = 1_000_000_000;

/// Saves what [`Shard::save_soon`] names, until the shard stops.
pub(super) async fn run<I: Io>(shard: Rc<Shard<I>>) {
    while !shard.stopping.get() {
        shard.to_save.notified().await;
        save_unsaved(&shard).await;
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
            if shard.broker.borrow_mut().offsets.take_dirty() {
                shard.save_soon(ConfigFile::ConsumerOffsets);
            }
        }
        if now_ns >= delays_due_ns {
            delays_due_ns = now_ns + DELAY_OFFSETS_INTERVAL_NS;
            if shard.broker.borrow_mut().delays.take_dirty() {
                shard.save_soon(ConfigFile::DelayOffsets);
            }
        }
    }
}

/// Everything, before the shard ends.
pub(super) async fn save_all<I: Io>(shard: &Shard<I>) {
    for file in ConfigFile::ALL {
        shard.save_soon(file);
    }
    save_unsaved(shard).await;
}

async fn save_unsaved<I: Io>(shard: &Shard<I>) {
    loop {
        let file = shard.unsaved.borrow_mut().pop();
        let Some(file) = file else { return };
        let text = shard.broker.borrow().file_text(file);
        // An offset must not be safer than the message that it speaks of: a delayed message that counts as delivered has
        // to be in its real topic even after a power cut.
        if file == ConfigFile::DelayOffsets && shard.store.durable_so_far().await.is_err() {
            continue;
        }
        if let Err(error) = shard.store.save_text(file.name(), text).await {
            error!(file = file.name(), %error, "cannot be saved; tried again with the next change");
        }
    }
}
