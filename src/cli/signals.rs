//! Signals: SIGINT, SIGTERM and SIGHUP stop a process cleanly; SIGUSR1, SIGUSR2 and SIGALRM are ignored.

use std::thread;

use anyhow::Result;
use signal_hook::consts::{SIGALRM, SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::iterator::Signals;

use super::kernel_text::field;

/// Would end the process by default, and mean nothing to it. A JVM ignores them, too.
const IGNORED: [i32; 3] = [SIGUSR1, SIGUSR2, SIGALRM];

/// Calls `stop` with the number of each stopping signal, on a thread of its own. From this call on none of them kills the process.
pub fn on_stop(mut stop: impl FnMut(i32) + Send + 'static) -> Result<()> {
    let mut stopping = vec![SIGTERM, SIGINT];
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    if !is_ignored(&status, SIGHUP) {
        stopping.push(SIGHUP);
    }
    let mut signals = Signals::new(stopping.iter().chain(&IGNORED))?;
    thread::Builder::new()
        .name("signals".into())
        .spawn(move || {
            for signal in signals.forever() {
                if stopping.contains(&signal) {
                    stop(signal);
                }
            }
        })?;
    Ok(())
}

/// The exit code of a process that a signal ended, as shells report it.
pub fn exit_code(signal: i32) -> u8 {
    128_u8.wrapping_add(signal as u8)
}

/// Whether the process was started with the signal ignored, as `nohup` does with SIGHUP: it stays so.
fn is_ignored(status: &str, signal: i32) -> bool {
    let mask = field(status, "SigIgn:").and_then(|mask| u64::from_str_radix(mask, 16).ok());
    mask.is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nohup_is_respected() {
        let status =
            "SigBlk:\t0000000000000000\nSigIgn:\t0000000000001001\nSigCgt:\t0000000000000000\n";
        assert!(is_ignored(status, SIGHUP));
        assert!(!is_ignored(status, SIGTERM) && !is_ignored("", SIGHUP));
    }

    #[test]
    fn exit_codes_are_those_of_a_shell() {
        assert_eq!([SIGINT, SIGTERM, SIGHUP].map(exit_code), [130, 143, 129]);
    }
}
