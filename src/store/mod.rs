//! One shard's durable state: the CommitLog with its group commit, the ConsumeQueues, and what a restart needs.
//!
//! [`Store`] is used as `Rc<Store>` by the tasks of one thread. Its plain methods never wait; what reads or writes the
//! disk is `async`. It only holds the objects below and passes calls on; each of them owns its state.
//!
//! ```text
//! Appends ──► Queues ──► Log       a message's way in: its entry waits for the commit of its record
//! Follow ───► Queues ──► Log       the way in at a slave: the master's bytes, then their entries
//! Cleaner ──► Queues, Log          retention
//! KeyIndex ─► Log                  the key index
//! Scrub ────► Queues, Log          damage is found before a reader meets it
//! Gate                             the fence and a lack of space: known to all of them
//! ```
//! The log is the truth: everything else is derived from it and can be made again.

mod abort;
mod append;
mod cause;
mod config;
mod config_files;
mod doubt;
mod entry_tags;
mod error;
mod face;
mod fault;
mod figures;
mod follow;
mod foreign;
mod gate;
mod index;
mod lifecycle;
mod lock;
mod log;
mod medium;
mod names;
mod open;
mod progress;
mod queues;
mod recovery;
mod repair;
mod replica;
mod retention;
mod scrub;
#[cfg(test)]
mod tests;
mod timers;
mod turns;
mod two_slots;
pub mod verify;
mod whole_file;

use std::rc::Rc;

pub use append::Appended;
pub use cause::Cause;
pub use config::{Flush, Resume, SCHEDULE_TOPIC, StoreConfig};
pub use config_files::TextFiles;
pub use error::StoreError as ReadError;
pub(crate) use error::if_there;
pub use error::{AppendError, StoreError};
pub use figures::{JournalFigures, StoreFigures};
pub use follow::FollowError;
pub use foreign::refuse_foreign;
pub use index::{KeyMatches, KeyQuery, Shape as IndexShape, Wanted};
pub use log::LogTimes;
pub use log::ack_watermark::Missing;
pub use log::recent_writes::LogWrite;
pub use log::records::Position;
pub use log::unreadable::{Hole, Place, Unreadable};
pub use medium::{Guarded, Medium};
pub use progress::Progress;
pub use queues::memory::{QueueBounds, QueueIndex};
pub use queues::messages::Readable;
pub use queues::scan::{Scan, ScanLimits};
pub use queues::search::Boundary;
pub use retention::Retention;
pub use timers::entries::{Timer, TimerKey, TimerKind};
pub use timers::rocketmq::{TimerCheck, TimerLog, load_timer_check};
pub use timers::runs::{TimerRun, TimerRuns};

use crate::io::Io;

use self::append::Appends;
use self::doubt::Doubt;
use self::follow::Follow;
use self::gate::Gate;
use self::index::KeyIndex;
use self::lifecycle::Tasks;
use self::log::Log;
use self::queues::Queues;
use self::retention::cleaner::Cleaner;
use self::scrub::Scrub;

pub struct Store<I: Io> {
    io: Medium<I>,
    config: Rc<StoreConfig>,
    gate: Rc<Gate>,
    log: Rc<Log<I>>,
    queues: Rc<Queues<I>>,
    appends: Rc<Appends<I>>,
    follow: Rc<Follow<I>>,
    /// None: messages are not found by key.
    index: Option<Rc<KeyIndex<I>>>,
    cleaner: Rc<Cleaner<I>>,
    scrub: Rc<Scrub<I>>,
    texts: Rc<TextFiles<I>>,
    doubt: Rc<Doubt<I>>,
    tasks: Rc<Tasks<I>>,
    /// The kernel writes from the log buffer without looking its pages up.
    is_registered: bool,
}
