//! The clocks of Linux, and what the kernel knows of the thread.

use std::mem::{self, MaybeUninit};

use crate::io::Now;

/// What this thread has used since it was started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Usage {
    /// On the CPU, in user and in kernel mode.
    pub(super) cpu_ns: u64,
    /// How often it gave the CPU away because it had to wait, as in a system call that blocks. A thread whose time slice is over,
    /// or whose virtual CPU is halted by the host, does not count here.
    pub(super) waits: u64,
    /// Pages of memory that it was the first to touch. The kernel clears such a page, within its CPU time; on a virtual machine that
    /// never used the memory before, the host provides it first, which takes 20 us or more.
    pub(super) faults: u64,
}

pub(super) fn read_clocks() -> Now {
    let unix = read(libc::CLOCK_REALTIME);
    Now {
        unix_ms: unix.tv_sec * 1_000 + unix.tv_nsec / 1_000_000,
        mono_ns: mono_ns(),
    }
}

/// How far the local time is ahead of UTC at this time.
pub(super) fn utc_offset_s(unix_ms: i64) -> i32 {
    let seconds = unix_ms.div_euclid(1000);
    let mut local = MaybeUninit::<libc::tm>::uninit();
    // SAFETY: both live through the call, which writes the second one, or nothing and gives null.
    let is_known = unsafe { !libc::localtime_r(&seconds, local.as_mut_ptr()).is_null() };
    if !is_known {
        return 0;
    }
    // SAFETY: it has been written.
    unsafe { local.assume_init() }.tm_gmtoff as i32
}

/// Without a system call: some 20 ns.
pub(super) fn mono_ns() -> u64 {
    let mono = read(libc::CLOCK_MONOTONIC);
    mono.tv_sec as u64 * 1_000_000_000 + mono.tv_nsec as u64
}

/// With one system call: some 200 ns.
pub(super) fn thread_usage() -> Usage {
    // SAFETY: the structure consists of integers, for which zeros are valid.
    let mut usage: libc::rusage = unsafe { mem::zeroed() };
    // SAFETY: `usage` is valid for writing. A call with these arguments cannot fail.
    unsafe { libc::getrusage(libc::RUSAGE_THREAD, &mut usage) };
    let ns = |time: libc::timeval| time.tv_sec as u64 * 1_000_000_000 + time.tv_usec as u64 * 1_000;
    Usage {
        cpu_ns: ns(usage.ru_utime) + ns(usage.ru_stime),
        waits: usage.ru_nvcsw as u64,
        faults: usage.ru_minflt as u64,
    }
}

fn read(id: libc::clockid_t) -> libc::timespec {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` is valid for writing. These two clocks always exist, so the call cannot fail.
    unsafe { libc::clock_gettime(id, &mut time) };
    time
}
