//! Messages with a time of their own: what their records say and become (`timed.rs`), which of them wait (`pending.rs`),
//! which are over (`checkpoint.rs`) and in which order they come up (`wheel.rs`, `crowd.rs`), and the figures of administration (`figures.rs`, `waiting.rs`).

mod checkpoint;
mod crowd;
pub(super) mod figures;
mod pending;
pub(super) mod requested_time;
mod timed;
mod waiting;
mod wheel;

pub use checkpoint::{Checkpoint, CheckpointText, RunName};
pub use figures::{MasterTimers, MasterWaiting, MetricsReader, TimerFigures, WaitingRows};
pub use pending::{Timers, Uncovered};
pub use timed::{
    COARSEST_MS, TIMER, deliver, real_topic, recall_key, requested_delay_ms, roll, timer,
};
pub use waiting::{Waiting, WaitingTable};
