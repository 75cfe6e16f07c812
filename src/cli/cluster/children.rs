//! The processes of a cluster: started, watched, started again, stopped.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process, set_parent_process_death_signal};

use super::plan::Member;

/// A member that ends by itself so soon cannot start.
const TOO_SOON: Duration = Duration::from_secs(3);

/// What a member gets for its end.
const STOP_PATIENCE: Duration = Duration::from_secs(30);

/// Bytes of a log that are shown.
const LAST_BYTES: u64 = 2_000;

/// In the environment of a member.
const MEMBER: &str = "RINGMQ_CLUSTER_MEMBER";

/// A member of a cluster stops when that is killed.
pub fn end_with_parent() -> Result<()> {
    if std::env::var_os(MEMBER).is_some() {
        set_parent_process_death_signal(Some(Signal::TERM))?;
    }
    Ok(())
}

pub struct Running {
    pub member: Member,
    binary: PathBuf,
    child: Option<Child>,
    started: Instant,
}

impl Running {
    pub fn start(member: Member, binary: &Path) -> Result<Self> {
        let mut running = Self {
            member,
            binary: binary.to_owned(),
            child: None,
            started: Instant::now(),
        };
        running.start_again()?;
        Ok(running)
    }

    pub fn start_again(&mut self) -> Result<()> {
        let member = &self.member;
        if let Some(home) = member.log.parent() {
            fs::create_dir_all(home).with_context(|| home.display().to_string())?;
        }
        if let Some((file, text)) = &member.config {
            fs::write(file, text).with_context(|| file.display().to_string())?;
        }
        let log = File::options().create(true).append(true).open(&member.log);
        let log = log.with_context(|| member.log.display().to_string())?;
        // In a process group of its own: Ctrl-C reaches this process alone, which stops the members in order.
        let child = Command::new(&self.binary)
            .args(&member.args)
            .env(MEMBER, "1")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0)
            .spawn()?;
        self.child = Some(child);
        self.started = Instant::now();
        Ok(())
    }

    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// How it has ended, once. An error: it cannot start.
    pub fn ended(&mut self) -> Result<Option<String>> {
        let Some(child) = &mut self.child else {
            return Ok(None);
        };
        let Some(status) = child.try_wait()? else {
            return Ok(None);
        };
        self.child = None;
        let how = describe(status);
        if status.signal().is_none() && self.started.elapsed() < TOO_SOON {
            let log = &self.member.log;
            bail!(
                "{} ended at once ({how}); {}:\n{}",
                self.member.name,
                log.display(),
                last_lines(log)
            );
        }
        Ok(Some(how))
    }

    /// SIGTERM, and SIGKILL if that does not end it.
    pub fn stop(&mut self) {
        let Some(child) = &mut self.child else { return };
        // It may have ended meanwhile.
        let _ = kill_process(Pid::from_child(child), Signal::TERM);
        let end = Instant::now() + STOP_PATIENCE;
        while Instant::now() < end {
            if !matches!(child.try_wait(), Ok(None)) {
                return;
            }
            thread::sleep(Duration::from_millis(20));
        }
        let _ = child.kill();
        let _ = child.wait();
    }
}

fn describe(status: ExitStatus) -> String {
    match (status.signal(), status.code()) {
        (Some(signal), _) => format!("signal {signal}"),
        (None, Some(code)) => format!("exit code {code}"),
        (None, None) => status.to_string(),
    }
}

fn last_lines(log: &Path) -> String {
    let read = || -> std::io::Result<String> {
        let mut file = File::open(log)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(LAST_BYTES)))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    read().unwrap_or_default()
}
