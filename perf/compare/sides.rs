//! What is compared: processes of their own, each on an empty store, pinned to the same core.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::{Args, Result};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Ringmq,
    Rocketmq,
    Bare,
}

impl Side {
    pub fn name(self) -> &'static str {
        match self {
            Self::Ringmq => "ringmq",
            Self::Rocketmq => "rocketmq",
            Self::Bare => "bare",
        }
    }

    /// Whether topics are made there.
    pub fn takes_topics(self) -> bool {
        self != Self::Bare
    }
}

/// Stopped when dropped, its store removed.
pub struct Running {
    pub side: Side,
    pub pid: u32,
    namesrv_port: u16,
    dir: PathBuf,
    child: Option<Child>,
    script: Option<PathBuf>,
}

impl Running {
    pub fn start(side: Side, args: &Args) -> Result<Self> {
        let dir = args.store.join(format!("compare-{}", side.name()));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir)?;
        let (port, namesrv_port) = free_ports()?;
        match side {
            Side::Ringmq => {
                let mut command = Command::new(&args.ringmq);
                command
                    .args(["broker", "--advertise", "127.0.0.1", "--flush", &args.flush])
                    .args(["--cores", &args.broker_core.to_string()])
                    .args(["--port", &port.to_string()])
                    .args(["--namesrv-port", &namesrv_port.to_string()])
                    .arg("--store")
                    .arg(&dir)
                    .env("RINGMQ_LOG", "warn");
                Self::of_process(side, command, namesrv_port, dir)
            }
            Side::Bare => {
                let mut command = Command::new(std::env::current_exe()?);
                command
                    .args(["--serve", &port.to_string(), "--flush", &args.flush])
                    .args(["--broker-core", &args.broker_core.to_string()])
                    .arg("--ringmq")
                    .arg(&args.ringmq)
                    .arg("--store")
                    .arg(&dir);
                Self::of_process(side, command, port, dir)
            }
            Side::Rocketmq => Self::rocketmq(args, port, namesrv_port, dir),
        }
    }

    pub fn namesrv(&self) -> String {
        format!("127.0.0.1:{}", self.namesrv_port)
    }

    /// Returns once it has printed `ready`.
    fn of_process(
        side: Side,
        mut command: Command,
        namesrv_port: u16,
        dir: PathBuf,
    ) -> Result<Self> {
        let mut child = command.stdout(Stdio::piped()).spawn()?;
        let output = child.stdout.take().ok_or("no output")?;
        let pid = child.id();
        let running = Self {
            side,
            pid,
            namesrv_port,
            dir,
            child: Some(child),
            script: None,
        };
        let mut lines = BufReader::new(output).lines();
        let is_ready = lines.any(|line| line.is_ok_and(|line| line.starts_with("ready")));
        // What it prints later is of no interest, and must not make it wait.
        std::thread::spawn(move || lines.for_each(drop));
        match is_ready {
            true => Ok(running),
            false => Err(format!("{} did not start", side.name()).into()),
        }
    }

    fn rocketmq(args: &Args, port: u16, namesrv_port: u16, dir: PathBuf) -> Result<Self> {
        let script = args.real_broker.clone().ok_or("no script of RocketMQ")?;
        let config = dir.join("extra.conf");
        let flush = args.flush.to_uppercase();
        fs::write(
            &config,
            format!("flushDiskType={flush}_FLUSH\nmappedFileSizeCommitLog=1073741824\n"),
        )?;
        let home = dir.join("home");
        // The core is inherited by the virtual machines that the script starts.
        let status = Command::new("taskset")
            .args(["-c", &args.broker_core.to_string()])
            .arg(&script)
            .arg("start")
            .arg(&home)
            .args([namesrv_port.to_string(), port.to_string()])
            .arg(&config)
            .stdout(Stdio::null())
            .status()?;
        if !status.success() {
            return Err("RocketMQ did not start".into());
        }
        let pid = fs::read_to_string(home.join("broker.pid"))?
            .trim()
            .parse()?;
        Ok(Self {
            side: Side::Rocketmq,
            pid,
            namesrv_port,
            dir,
            child: None,
            script: Some(script),
        })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
        if let Some(script) = &self.script {
            stop(script, &self.dir.join("home"));
        }
        let _ = fs::remove_dir_all(&self.dir);
    }
}

fn stop(script: &Path, home: &Path) {
    let _ = Command::new(script).arg("stop").arg(home).status();
}

/// A port for a broker, whose neighbours are free as well, and one for its name server; below those that the kernel gives to clients.
fn free_ports() -> Result<(u16, u16)> {
    let first = 12_000 + (std::process::id() % 1_800) as u16 * 10;
    let is_free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
    let candidates = (first..30_000).step_by(10);
    let found = candidates.map(|port| port + 3).find(|port| {
        [port - 2, *port, port + 1, port + 5]
            .into_iter()
            .all(is_free)
    });
    let port = found.ok_or("no free ports")?;
    Ok((port, port + 5))
}
