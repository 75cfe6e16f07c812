//! Buffers that need a special place in memory: aligned for O_DIRECT, mapped twice in a row for the log, in huge pages for the queues.
//!
//! Everything here is owned by one thread; [`ThreadBuf`] is how another one gives a buffer to the kernel. All of it is touched lazily: reserving a gigabyte costs address space, not
//! memory, until it is written to. Huge pages are touched a little ahead, by a helper thread (`ahead`).

mod ahead;
mod aligned;
mod arena;
mod buf;
mod log_buffer;
mod map;
mod thread_buf;

pub use aligned::AlignedBuf;
pub use arena::{Arena, ChunkId, Pages};
pub use buf::{Buf, IoBuf, WrongBuf};
pub use log_buffer::{LogBuffer, LogSlice, LogView};
pub use thread_buf::ThreadBuf;

/// The unit of O_DIRECT: offsets, lengths and addresses are multiples of it. Also the size of a page.
pub const BLOCK_BYTES: usize = 4096;
