//! What the two implementations of [`crate::io`] on Linux have in common: the executor of a thread, its timers and clocks, the
//! bell that wakes it from another thread, and the system calls that neither of them does in its own way.
//!
//! `ring/` and `portable/` differ in how they wait for the kernel, and in how operations reach it. Both run the loop of [`Thread`].

mod clock;
mod discipline;
mod doorbell;
mod executor;
mod limits;
mod lock;
mod machine;
mod names;
mod on_thread;
mod open;
mod sleep;
mod socket;
mod stalls;
mod task_times;
#[cfg(test)]
pub mod tests;
mod thread;
mod timers;

pub use discipline::{Discipline, discipline};
pub use doorbell::Doorbell;
pub use limits::{descriptor_limit, kernel_release, memlock_limit, pin_to, raise_limits};
pub use lock::{is_locked, lock_dir, lock_file};
pub use machine::Machine;
pub use names::{is_there, list, space, sync_all_below};
pub use on_thread::OnThread;
pub use open::{DIR_MODE, Direct, FILE_MODE, lacks_direct, open_flags};
pub use sleep::Sleep;
pub use socket::{PIECE_OF_LARGE, cannot, listen, piece};
pub use thread::{Running, ShutDown, Thread};
pub use timers::Wait;
