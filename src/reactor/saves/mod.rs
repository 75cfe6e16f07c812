//! Writes the files of `config/`: topics and groups as soon as they change, offsets at an interval.
//!
//! Several tasks write ([`WRITERS`]), so that a new topic does not wait for the offsets of all groups:
//!
//! | Task | writes |
//! |---|---|
//! | [`save_changes`] | what changed of topics and groups, everything of a turn in one durable write ([`change_files`]) |
//! | [`save_texts`], four of them | the other files, each as a whole; one folds the changes into `topics.json` and `subscriptionGroup.json` |
//!
//! A text is rendered in slices, and other tasks run between two of them. [`pending`] is what is to be written, [`state`] the states of a
//! file, [`cadence`] the intervals.

mod cadence;
pub(super) mod change_files;
pub(super) mod pending;
mod state;

use std::rc::Rc;

use tracing::{error, warn};

use self::pending::{BY_CHANGES, CHANGES, FOLDER, WRITERS};
use self::state::{Cause, Failure};
use super::core::Core;
use super::pop::revive_log;
use crate::broker::files::changes;
use crate::broker::files::text::SLICE_VALUES;
use crate::broker::{ConfigFile, TableChanges};
use crate::io::{Io, Notify, select, yield_now};
use crate::store::StoreError;
use crate::wire::DataVersion;

/// How often delay offsets are saved; after a crash, what was delivered since is delivered again (RocketMQ:
/// `flushDelayOffsetInterval`, 10 s).
const DELAY_OFFSETS_INTERVAL_NS: u64 = 1_000_000_000;

/// The pause after a fold that failed for another reason than want of space.
const FOLD_RETRY_NS: u64 = 10_000_000_000;

/// Changes that are rendered in one turn.
const SLICE_CHANGES: usize = 64;

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
pub(super) async fn start<I: Io>(core: &Rc<Core<I>>) {
    core.io.spawn("save-changes", save_changes(core.clone()));
    for writer in (0..WRITERS.len()).filter(|writer| *writer != CHANGES) {
        core.io
            .spawn("save-texts", save_texts(core.clone(), writer));
    }
    core.io.spawn("watch-offsets", watch_offsets(core.clone()));
    save_all(core).await;
}

/// Saves everything before the shard ends; then the tasks end as well.
pub(super) async fn finish<I: Io>(core: &Core<I>) {
    save_all(core).await;
    let saves = &core.saves;
    let is_folded = saves.folded().await.is_ok() && saves.fold.timer.get().is_clean();
    if is_folded && let Err(error) = saves.change_files.remove_all().await {
        warn!(%error, "a change file stays; the next start reads it again");
    }
    saves.is_over.set(true);
    saves.bells.iter().for_each(Notify::notify);
}

async fn save_all<I: Io>(core: &Core<I>) {
    revive_log::note_offsets(core);
    note_delays_position(core);
    for file in ConfigFile::ALL {
        core.saves.soon(file);
    }
    for file in ConfigFile::ALL {
        // An error has been logged by then.
        let _ = core.saves.done(file.into()).await;
    }
}

async fn save_changes<I: Io>(core: Rc<Core<I>>) {
    let saves = &core.saves;
    while !saves.is_over.get() {
        let mut begun = Vec::new();
        while let Some(file) = saves.files.borrow_mut().begin(&BY_CHANGES) {
            begun.push(file);
        }
        if begun.is_empty() {
            wait(&core, CHANGES, None).await;
            continue;
        }
        let saved = append_changes(&core).await;
        begun
            .into_iter()
            .for_each(|file| end(&core, file, saved.clone()));
    }
}

fn end<I: Io>(core: &Core<I>, file: ConfigFile, saved: Result<(), Failure>) {
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
    let now_ns = core.io.now().mono_ns;
    core.saves.files.borrow_mut().end(file, saved, now_ns);
    core.saves.ended.wake_all();
}

/// Waits until a file is named, or something is due: a retry, or at the caller's time.
async fn wait<I: Io>(core: &Core<I>, writer: usize, due_ns: Option<u64>) {
    let (bell, among) = (&core.saves.bells[writer], WRITERS[writer]);
    let retry_ns = core.saves.files.borrow().next_retry_ns(among);
    let wake_ns = due_ns.into_iter().chain(retry_ns).min();
    select(bell.notified(), async {
        match wake_ns {
            Some(wake_ns) => core.io.sleep_until(wake_ns).await,
            None => std::future::pending().await,
        }
    })
    .await;
    let now_ns = core.io.now().mono_ns;
    core.saves.files.borrow_mut().retry(among, now_ns);
}

/// Saves what changed of topics and groups up to now.
async fn append_changes<I: Io>(core: &Core<I>) -> Result<(), Failure> {
    let saves = &core.saves;
    let changes = core.broker.borrow_mut().begin_save();
    let pass = saves.change_files.enter().await;
    let mut saved = match saves.change_files.is_ready() {
        true => append(core, &changes).await,
        false => Ok(()),
    };
    let is_ready = saves.change_files.is_ready();
    drop(pass);
    if !is_ready {
        // A write failed, or this is the start. The texts of all topics and groups have these changes, too.
        saved = saves.folded().await;
    }
    let mut broker = core.broker.borrow_mut();
    match &saved {
        Ok(()) => broker.changes_saved(&changes),
        Err(_) => broker.changes_not_saved(changes),
    }
    saved
}

async fn append<I: Io>(core: &Core<I>, changed: &TableChanges) -> Result<(), Failure> {
    if changed.is_empty() {
        return Ok(());
    }
    let (topics, groups) = (&changed.topics, &changed.groups);
    let files = &core.saves.change_files;
    let written = async {
        let mut checksum = files.begin().await?;
        let mut text = Vec::new();
        for (index, name) in topics.iter().chain(groups).enumerate() {
            if index % SLICE_CHANGES == SLICE_CHANGES - 1 {
                yield_now().await;
            }
            let broker = core.broker.borrow();
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
    core.store.note_text(&written);
    let fold = &core.saves.fold;
    let bytes = written.as_ref().map_err(failure)?;
    let mut timer = fold.timer.get();
    timer.changed(*bytes, core.io.now().mono_ns);
    fold.timer.set(timer);
    core.saves.bells[FOLDER].notify();
    Ok(())
}

async fn save_texts<I: Io>(core: Rc<Core<I>>, writer: usize) {
    let saves = &core.saves;
    loop {
        let due_ns = match writer {
            FOLDER => fold_due_ns(&core),
            _ => None,
        };
        let folds = due_ns.is_some_and(|due_ns| due_ns <= core.io.now().mono_ns);
        if folds {
            fold(&core).await;
        }
        let file = saves.files.borrow_mut().begin(WRITERS[writer]);
        if let Some(file) = file {
            let saved = save_text(&core, file).await;
            end(&core, file, saved.map_err(|error| failure(&error)));
        } else if !folds {
            if saves.is_over.get() {
                return;
            }
            wait(&core, writer, due_ns).await;
        }
    }
}

fn fold_due_ns<I: Io>(core: &Core<I>) -> Option<u64> {
    let fold = &core.saves.fold;
    if fold.is_wanted.get() {
        return Some(0);
    }
    let entries = {
        let broker = core.broker.borrow();
        broker.topics().len() + broker.groups().len()
    };
    fold.timer.get().due_ns(entries, fold.text_bytes.get())
}

/// Writes `topics.json` and `subscriptionGroup.json`, and removes the change files, as these two have their changes now.
async fn fold<I: Io>(core: &Core<I>) {
    let saves = &core.saves;
    let fold = &saves.fold;
    fold.is_wanted.set(false);
    fold.begun.set(fold.begun.get() + 1);
    let mut timer = fold.timer.get();
    timer.begun();
    fold.timer.set(timer);
    let folded = write_both(core).await;
    if let Err(error) = &folded {
        warn!(%error, "the changes of topics and groups cannot be folded into their files");
        let retry_ns = match error.is_no_space() {
            true => state::RETRY_NS,
            false => FOLD_RETRY_NS,
        };
        let mut timer = fold.timer.get();
        timer.failed(core.io.now().mono_ns, retry_ns);
        fold.timer.set(timer);
    }
    fold.failure.replace(folded.err().as_ref().map(failure));
    fold.ended.set(fold.begun.get());
    saves.ended.wake_all();
}

async fn write_both<I: Io>(core: &Core<I>) -> Result<(), StoreError> {
    let versions = {
        let broker = core.broker.borrow();
        (broker.topics().version(), broker.groups().version())
    };
    let files = &core.saves.change_files;
    let begun = files.begin_fold(versions).await?;
    let [topics, groups] = BY_CHANGES;
    let mut bytes = write_text(core, topics, versions.0).await?;
    bytes += write_text(core, groups, versions.1).await?;
    core.saves.fold.text_bytes.set(bytes);
    files.end_fold(begun).await
}

async fn save_text<I: Io>(core: &Core<I>, file: ConfigFile) -> Result<(), StoreError> {
    let version = core.broker.borrow().file_version(file);
    let bytes = write_text(core, file, version).await?;
    if file == ConfigFile::ConsumerOffsets {
        core.saves.offsets_bytes.set(bytes);
    }
    Ok(())
}

/// The bytes written.
async fn write_text<I: Io>(
    core: &Core<I>,
    file: ConfigFile,
    version: DataVersion,
) -> Result<u64, StoreError> {
    let mut text = core.broker.borrow().begin_text(file, version);
    while !core.broker.borrow().write_text(&mut text, SLICE_VALUES) {
        yield_now().await;
    }
    // An offset must not be more durable than the messages that it refers to: if a power cut takes these, a consumer would skip the
    // messages that get their offsets later, and a delayed message would count as delivered.
    let refers_to_messages = matches!(
        file,
        ConfigFile::ConsumerOffsets | ConfigFile::DelayOffsets | ConfigFile::PopOrders
    );
    if refers_to_messages && !mutant!(OffsetsAheadOfLog) {
        match core.store.follows() {
            // A slave's refer to what it shows. The beginning of a record may stand behind that, and the rest never come.
            true => core.store.visible_is_durable().await?,
            // Also to what was appended for them just now: the check point of a pop, a delayed message.
            false => core.store.durable_so_far().await?,
        }
    }
    let bytes = text.len_bytes();
    core.store
        .save_text(file.name(), text.into_string())
        .await?;
    Ok(bytes)
}

/// Names the files of offsets at their intervals, if these have changed.
async fn watch_offsets<I: Io>(core: Rc<Core<I>>) {
    let configured_ns = core.setup.save_offsets_interval_ms * 1_000_000;
    let mut offsets_due_ns = core.io.now().mono_ns + configured_ns;
    let mut delays_due_ns = core.io.now().mono_ns + DELAY_OFFSETS_INTERVAL_NS;
    while !core.is_stopping() {
        let due = core.io.sleep_until(offsets_due_ns.min(delays_due_ns));
        select(core.stopped.notified(), due).await;
        let now_ns = core.io.now().mono_ns;
        if now_ns >= offsets_due_ns {
            let written = core.saves.offsets_bytes.get();
            offsets_due_ns = now_ns + cadence::offsets_interval_ns(configured_ns, written);
            revive_log::note_offsets(&core);
            save_if_changed(&core, ConfigFile::ConsumerOffsets);
            save_if_changed(&core, ConfigFile::PopOrders);
        }
        if now_ns >= delays_due_ns {
            delays_due_ns = now_ns + DELAY_OFFSETS_INTERVAL_NS;
            note_delays_position(&core);
            save_if_changed(&core, ConfigFile::DelayOffsets);
        }
    }
}

/// At a slave its master delivers, and what is taken over from there has a position already.
fn note_delays_position<I: Io>(core: &Core<I>) {
    if !core.store.follows() {
        let end = core.store.tail();
        core.broker.borrow_mut().note_delays_position(end);
    }
}

fn save_if_changed<I: Io>(core: &Core<I>, offsets: ConfigFile) {
    if core.broker.borrow_mut().take_changed_offsets(offsets) {
        core.saves.soon(offsets);
    }
}
