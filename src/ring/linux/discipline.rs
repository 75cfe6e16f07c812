//! Whether something keeps the clock right: an NTP or PTP daemon states it to the kernel.

use std::io;
use std::mem;

/// As the kernel has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Discipline {
    pub is_synchronised: bool,
    /// How far the clock may be off.
    pub max_error_us: i64,
}

/// Reads it, and changes nothing. A container's filter may forbid the call.
pub fn discipline() -> io::Result<Discipline> {
    // SAFETY: the structure consists of integers, for which zeros are valid. Without modes the call only reads.
    let mut state: libc::timex = unsafe { mem::zeroed() };
    // SAFETY: `state` is valid for writing.
    if unsafe { libc::adjtimex(&mut state) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(Discipline {
        is_synchronised: state.status & libc::STA_UNSYNC == 0,
        max_error_us: state.maxerror,
    })
}
