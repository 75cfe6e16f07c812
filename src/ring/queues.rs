//! The submission and the completion queue, shared with the kernel, and `io_uring_enter`.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use io_uring::types::{SubmitArgs, Timespec};
use io_uring::{EnterFlags, IoUring, squeue};

use crate::ring::linux::Wait;

/// Several completions of each of 1024 connections in one turn. The kernel keeps further ones in a slower overflow list.
const COMPLETION_ENTRIES: u32 = 8192;

/// Size of the table of registered buffers: one log buffer for each shard, and shards may share a ring.
pub(super) const REGISTERED_BUFFERS: u32 = 16;

pub(super) struct Queues {
    uring: IoUring,
    /// Entries that did not fit even after an early submit; the first ones of the next turn.
    backlog: VecDeque<squeue::Entry>,
    enter_flags: EnterFlags,
}

#[derive(Clone, Copy)]
pub(super) struct Completion {
    pub(super) user_data: u64,
    pub(super) result: i32,
    pub(super) flags: u32,
}

impl Queues {
    pub(super) fn new(entries: u32, no_iowait: bool) -> io::Result<Queues> {
        let uring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_coop_taskrun()
            .setup_clamp()
            .setup_cqsize(COMPLETION_ENTRIES.max(2 * entries))
            .build(entries)?;
        // Without the table `register_buffers_update` fails later and its error is reported.
        let _ = uring
            .submitter()
            .register_buffers_sparse(REGISTERED_BUFFERS);
        // Completions are made by this thread alone (DEFER_TASKRUN), and only when asked for.
        let mut enter_flags = EnterFlags::EXT_ARG | EnterFlags::GETEVENTS;
        if no_iowait {
            enter_flags |= EnterFlags::NO_IOWAIT;
        }
        Ok(Queues {
            uring,
            backlog: VecDeque::new(),
            enter_flags,
        })
    }

    pub(super) fn uring(&self) -> &IoUring {
        &self.uring
    }

    /// Whatever the entry points to must stay until its last completion.
    pub(super) fn push(&mut self, entry: squeue::Entry) {
        if self.backlog.is_empty() {
            if self.try_push(&entry) {
                return;
            }
            // After an error the queue is still full, and the entry goes to the backlog.
            let _ = self.uring.submit();
            if self.try_push(&entry) {
                return;
            }
        }
        self.backlog.push_back(entry);
    }

    /// Submits everything, and waits for at least one completion as asked.
    pub(super) fn enter(&mut self, wait: Wait) -> io::Result<()> {
        self.refill();
        let timeout;
        let mut args = SubmitArgs::new();
        let want = match wait {
            _ if !self.backlog.is_empty() => 0,
            Wait::No | Wait::AtMost { ns: 0 } => 0,
            Wait::Forever => 1,
            Wait::AtMost { ns } => {
                timeout = Timespec::from(Duration::from_nanos(ns));
                args = args.timespec(&timeout);
                1
            }
        };
        let to_submit = self.uring.submission().len() as u32;
        // SAFETY: the argument is what EXT_ARG promises, and lives as long as the call.
        let result = unsafe {
            self.uring
                .submitter()
                .enter(to_submit, want, self.enter_flags.bits(), Some(&args))
        };
        match result {
            Ok(_) => Ok(()),
            Err(error) => match error.raw_os_error() {
                // A timeout; a signal; the kernel is short of memory, or completions have to be taken first.
                Some(libc::ETIME | libc::EINTR | libc::EBUSY | libc::EAGAIN) => Ok(()),
                _ => Err(error),
            },
        }
    }

    /// Moves all completions to the end of `completions`.
    pub(super) fn take(&mut self, completions: &mut Vec<Completion>) {
        completions.extend(self.uring.completion().map(|entry| Completion {
            user_data: entry.user_data(),
            result: entry.result(),
            flags: entry.flags(),
        }));
    }

    fn refill(&mut self) {
        while let Some(entry) = self.backlog.pop_front() {
            if !self.try_push(&entry) {
                self.backlog.push_front(entry);
                return;
            }
        }
    }

    fn try_push(&mut self, entry: &squeue::Entry) -> bool {
        // SAFETY: buffers, paths and addresses belong to the operation's slot (`slots`), which stays until the last
        // completion, as does the descriptor.
        unsafe { self.uring.submission().push(entry).is_ok() }
    }
}
