//! `ringmq shutdown`, which is `mqshutdown` as well: SIGTERM to the processes of this binary that run a subcommand.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use rustix::process::{Pid, Signal, kill_process};

use super::mq;

/// Stop the brokers, name servers or controllers on this machine that this user may stop.
///
/// Each gets SIGTERM and stops cleanly; nothing waits for that. The exit code is 1 if none runs. A name server within a broker is stopped with it.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  ringmq shutdown broker
  ringmq shutdown namesrv")]
pub struct ShutdownArgs {
    /// What to stop
    #[arg(value_enum)]
    what: What,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum What {
    Broker,
    Namesrv,
    Controller,
}

impl What {
    fn command(self) -> &'static str {
        match self {
            Self::Broker => "broker",
            Self::Namesrv => "namesrv",
            Self::Controller => "controller",
        }
    }
}

pub fn run(args: &ShutdownArgs) -> Result<ExitCode> {
    let command = args.what.command();
    let mut found = 0;
    for process in running(command)? {
        found += 1;
        let number = process.as_raw_nonzero();
        println!("The mq{command}({number}) is running...");
        kill_process(process, Signal::TERM)
            .with_context(|| format!("cannot stop the process {number}"))?;
        println!("Send shutdown request to mq{command}({number}) OK");
    }
    Ok(match found {
        0 => {
            println!("No mq{command} running.");
            ExitCode::FAILURE
        }
        _ => ExitCode::SUCCESS,
    })
}

/// Processes of this binary with the subcommand. Of another user's process the binary cannot be read.
fn running(command: &str) -> Result<Vec<Pid>> {
    let own = std::env::current_exe()?;
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").context("/proc cannot be read")? {
        let Ok(entry) = entry else { continue };
        let number = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok());
        let Some(pid) = number.and_then(Pid::from_raw) else {
            continue;
        };
        let is_ours = fs::read_link(entry.path().join("exe")).is_ok_and(|exe| is_same(&exe, &own));
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        if is_ours && runs(&line, command) {
            found.push(pid);
        }
    }
    Ok(found)
}

/// The kernel marks the path of a binary that was replaced while it runs.
fn is_same(exe: &Path, own: &Path) -> bool {
    const REPLACED: &[u8] = b" (deleted)";
    let path = exe.as_os_str().as_bytes();
    path.strip_suffix(REPLACED).unwrap_or(path) == own.as_os_str().as_bytes()
}

/// Whether this is the command line of the subcommand, or of the link that stands for it. Its words end in NULs.
fn runs(line: &[u8], command: &str) -> bool {
    let words = line.split(|byte| *byte == 0);
    let words = words.map(|word| OsStr::from_bytes(word).to_owned());
    let words = mq::words(words, |name| std::env::var(name).ok()).unwrap_or_default();
    words.get(1).is_some_and(|word| word == command)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replaced_binary_is_the_same() {
        let own = Path::new("/usr/bin/ringmq");
        assert!(is_same(Path::new("/usr/bin/ringmq (deleted)"), own));
        assert!(is_same(own, own));
        assert!(!is_same(Path::new("/usr/bin/java"), own));
    }

    #[test]
    fn a_process_is_known_by_its_subcommand() {
        assert!(runs(b"./ringmq\0broker\0-c\0x\0", "broker"));
        assert!(runs(b"/opt/bin/mqbroker\0-c\0x\0", "broker"));
        assert!(runs(b"/bin/sh\0-c\0./mqbroker -c x\0", "broker"));
        assert!(!runs(b"./ringmq\0namesrv\0broker\0", "broker"));
        assert!(!runs(b"", "broker"));
    }
}
