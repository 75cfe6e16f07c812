//! The two clocks of Linux that the ring reads.

use crate::io::Now;

pub(super) fn read_clocks() -> Now {
    let unix = read(libc::CLOCK_REALTIME);
    Now {
        unix_ms: unix.tv_sec * 1_000 + unix.tv_nsec / 1_000_000,
        mono_ns: mono_ns(),
    }
}

/// Without a system call: some 20 ns.
pub(super) fn mono_ns() -> u64 {
    let mono = read(libc::CLOCK_MONOTONIC);
    mono.tv_sec as u64 * 1_000_000_000 + mono.tv_nsec as u64
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
