//! The built binary as a user runs it: free ports, a temporary store, stopped by its own process handle.

#![allow(dead_code)] // Each test file uses its part.

pub mod certificates;
pub mod client;
pub mod collector;
pub mod exposition;
pub mod ledger;
pub mod random;
pub mod sandbox;
pub mod scripts;
pub mod signing;

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use sandbox::Forbidden;

/// How long anything may take before a test calls it hung. A machine that builds and tests at once needs 10 s for much.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A broker.conf that makes a start cheap, and a test of some megabytes roll and recycle its files.
pub const SMALL: &str =
    "mappedFileSizeCommitLog=8388608\nlogBufferBytes=16777216\nconsumeQueueMemoryBytes=16777216\n";

/// The disk of a machine that builds and tests at once may stall for seconds; no send is refused for that here.
const ANY_DISK: &str = "waitTimeMillsInSendQueue=60000\nsyncFlushTimeout=60000\n";

/// A second of load by `ringmq`.
pub const SHORT_BENCH: [&str; 10] = [
    "bench",
    "e2e",
    "--duration",
    "1",
    "--warm-up",
    "0",
    "--connections",
    "2",
    "--rate",
    "100",
];

/// Waits until `done` is true.
pub fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let started = Instant::now();
    while !done() {
        assert!(started.elapsed() < PATIENCE, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The fenced blocks of a Markdown file that are marked with this language.
pub fn text_blocks(path: &Path, language: &str) -> Vec<String> {
    let text = std::fs::read_to_string(path).expect("the page is text");
    let fence = format!("```{language}\n");
    let blocks = text.split(fence.as_str()).skip(1);
    blocks
        .map(|rest| rest.split("```").next().expect("a first part").to_owned())
        .collect()
}

/// The built binary with these words, to be started.
pub fn ringmq<W: AsRef<std::ffi::OsStr>>(words: impl IntoIterator<Item = W>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringmq"));
    command.args(words);
    command
}

/// A running `ringmq`; killed when dropped.
pub struct Process {
    child: Child,
    lines: Receiver<String>,
    readers: Vec<JoinHandle<()>>,
    log: Arc<Mutex<String>>,
}

/// How a `ringmq` ended.
#[derive(Debug)]
pub struct Ended {
    pub status: ExitStatus,
    pub out: String,
    pub err: String,
}

impl Process {
    pub fn spawn(command: &mut Command) -> Process {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary was built with the tests");
        let (to_lines, lines) = channel();
        let out = BufReader::new(child.stdout.take().expect("piped"));
        let err = BufReader::new(child.stderr.take().expect("piped"));
        let log = Arc::new(Mutex::new(String::new()));
        let written = log.clone();
        let readers = vec![
            std::thread::spawn(move || {
                for line in out.lines().map_while(Result::ok) {
                    let _ = to_lines.send(line);
                }
            }),
            std::thread::spawn(move || {
                for line in err.lines().map_while(Result::ok) {
                    let mut log = written.lock().expect("nobody panics with it");
                    log.push_str(&line);
                    log.push('\n');
                }
            }),
        ];
        Process {
            child,
            lines,
            readers,
            log,
        }
    }

    /// The output up to the line `ready`; `Err` if the process ends before.
    pub fn until_ready(mut self) -> Result<(Process, String), Ended> {
        let mut banner = String::new();
        while let Ok(line) = self.lines.recv_timeout(PATIENCE) {
            banner.push_str(&line);
            banner.push('\n');
            if line == "ready" {
                return Ok((self, banner));
            }
        }
        let mut ended = self.until_end();
        ended.out.insert_str(0, &banner);
        Err(ended)
    }

    /// Waits for a line; `Err` with the output if the process ends before, or takes too long.
    pub fn until_line(
        &mut self,
        patience: Duration,
        is_it: impl Fn(&str) -> bool,
    ) -> Result<(), String> {
        let deadline = Instant::now() + patience;
        let mut printed = String::new();
        while let Ok(line) = self.lines.recv_timeout(deadline - Instant::now()) {
            if is_it(&line) {
                return Ok(());
            }
            printed.push_str(&line);
            printed.push('\n');
        }
        Err(printed + &self.log())
    }

    pub fn until_end(&mut self) -> Ended {
        let status = self.wait();
        for reader in self.readers.drain(..) {
            reader.join().expect("a reader does not panic");
        }
        let out = self.lines.try_iter().map(|line| line + "\n").collect();
        Ended {
            status,
            out,
            err: self.log(),
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its stderr so far.
    pub fn log(&self) -> String {
        self.log.lock().expect("nobody panics with it").clone()
    }

    pub fn signal(&self, name: &str) {
        let pid = self.pid().to_string();
        let status = Command::new("kill")
            .args(["-s", name, &pid])
            .status()
            .expect("kill is there");
        assert!(status.success(), "kill -s {name} {pid}");
    }

    fn wait(&mut self) -> ExitStatus {
        let started = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("it can be waited for") {
                return status;
            }
            assert!(started.elapsed() < PATIENCE, "the process does not end");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- log of process {}\n{}---", self.pid(), self.log());
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A running broker with its name server.
pub struct Broker {
    process: Process,
    pub namesrv: SocketAddr,
    pub port: u16,
    /// All on which it listens.
    own_ports: Vec<u16>,
    pub store: PathBuf,
    pub banner: String,
}

pub struct Options<'a> {
    pub flush: &'a str,
    pub cores: &'a str,
    /// Text of a broker.conf.
    pub config: &'a str,
    /// Ports to take again after a restart: the broker's and its name server's.
    pub ports: Option<(u16, u16)>,
    /// The name server at the second port is another process.
    pub joins_namesrv: bool,
    /// `--io`; none: as it is without.
    pub io: Option<&'a str>,
    /// System calls that the kernel refuses.
    pub forbidden: &'a [Forbidden],
}

impl Default for Options<'_> {
    fn default() -> Self {
        Options {
            flush: "async",
            cores: "0",
            config: "",
            ports: None,
            joins_namesrv: false,
            io: None,
            forbidden: &[],
        }
    }
}

impl Options<'_> {
    pub fn small() -> Self {
        Options {
            config: SMALL,
            ..Options::default()
        }
    }

    fn own_ports(&self, port: u16, namesrv_port: u16) -> Vec<u16> {
        let shards = self.cores.split(',').count() as u16;
        let of_shards = (0..shards).flat_map(|shard| [port + 10 * shard - 2, port + 10 * shard]);
        let of_namesrv = (!self.joins_namesrv).then_some(namesrv_port);
        of_shards.chain(of_namesrv).collect()
    }
}

impl Broker {
    /// Starts a broker on `store` and waits for its line `ready`.
    pub fn start(store: &Path, options: &Options<'_>) -> Broker {
        Broker::try_start(store, options)
            .unwrap_or_else(|ended| panic!("the broker ended before it was ready: {ended:#?}"))
    }

    /// `Err` if it refuses.
    pub fn try_start(store: &Path, options: &Options<'_>) -> Result<Broker, Ended> {
        let ((port, namesrv_port), mut command) = Broker::command(store, options);
        let (process, banner) = Process::spawn(&mut command).until_ready()?;
        Ok(Broker {
            process,
            namesrv: SocketAddr::from(([127, 0, 0, 1], namesrv_port)),
            port,
            own_ports: options.own_ports(port, namesrv_port),
            store: store.to_owned(),
            banner,
        })
    }

    /// kill -9 so long after its start.
    pub fn kill_while_it_starts(store: &Path, options: &Options<'_>, after: Duration) {
        let ((port, namesrv_port), mut command) = Broker::command(store, options);
        let mut process = Process::spawn(&mut command);
        std::thread::sleep(after);
        process.child.kill().expect("it runs");
        process.wait();
        until_free(&options.own_ports(port, namesrv_port));
    }

    /// With the broker's and the name server's port.
    fn command(store: &Path, options: &Options<'_>) -> ((u16, u16), Command) {
        let (port, namesrv_port) = options.ports.unwrap_or_else(free_ports);
        let namesrv = SocketAddr::from(([127, 0, 0, 1], namesrv_port));
        let config = store.with_extension("conf");
        let text = format!("{ANY_DISK}{}", options.config);
        std::fs::write(&config, text).expect("the folder of the store is writable");
        let mut command = ringmq([
            "broker",
            "--advertise",
            "127.0.0.1",
            "--flush",
            options.flush,
        ]);
        command.args(["--cores", options.cores, "--port", &port.to_string()]);
        match options.joins_namesrv {
            true => command.args(["--namesrv", &namesrv.to_string()]),
            false => command.args(["--namesrv-port", &namesrv_port.to_string()]),
        };
        command
            .arg("--store")
            .arg(store)
            .arg("--config")
            .arg(&config);
        if let Some(io) = options.io {
            command.args(["--io", io]);
        }
        if !options.forbidden.is_empty() {
            sandbox::forbid(&mut command, options.forbidden);
        }
        ((port, namesrv_port), command)
    }

    pub fn addr(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    pub fn ports(&self) -> (u16, u16) {
        (self.port, self.namesrv.port())
    }

    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    pub fn log(&self) -> String {
        self.process.log()
    }

    /// Its log, once it has this text: lines pass through a thread of the broker, and may come after what they tell has been answered.
    pub fn log_with(&self, text: &str) -> String {
        wait_until(&format!("{text:?} in the log"), || {
            self.log().contains(text)
        });
        self.log()
    }

    /// kill -9. Its ports are free afterwards.
    pub fn kill(mut self) {
        self.process.child.kill().expect("it runs");
        self.process.wait();
        until_free(&self.own_ports);
    }

    pub fn signal(&self, name: &str) {
        self.process.signal(name);
    }

    /// SIGTERM, and the exit status it ends with.
    pub fn terminate(self) -> ExitStatus {
        self.stop("TERM").status
    }

    pub fn stop(mut self, signal: &str) -> Ended {
        self.process.signal(signal);
        self.process.until_end()
    }

    /// The most memory that the broker has ever had, in bytes. The kernel counts by processor: a later answer may be some 100 KiB less.
    pub fn peak_rss_bytes(&self) -> u64 {
        let path = format!("/proc/{}/status", self.pid());
        let status = std::fs::read_to_string(path).expect("it runs");
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:"))
            .expect("VmHWM is there");
        let kib = line
            .trim()
            .trim_end_matches(" kB")
            .parse::<u64>()
            .expect("a number");
        kib << 10
    }
}

/// A broker port (with the VIP port two below, and RocketMQ's port for replication one above) and a name server port that are
/// free now. A second shard's are ten higher. They are below the range of outgoing connections. No other test gets them
/// while this process runs, also in another test process, so that a broker that is started again finds its ports free.
pub fn free_ports() -> (u16, u16) {
    static OURS: Mutex<Vec<File>> = Mutex::new(Vec::new());
    let mut ours = OURS.lock().unwrap_or_else(PoisonError::into_inner);
    let locks = std::env::temp_dir().join("ringmq-test-ports");
    std::fs::create_dir_all(&locks).expect("the temporary folder is writable");
    let first = std::process::id() as u16 % BLOCKS;
    for nth in 0..BLOCKS {
        let block = (first + nth) % BLOCKS;
        let port = LOWEST_PORT + block * BLOCK_PORTS + 2;
        let namesrv_port = port + 4;
        let all = [port - 2, port, port + 1, namesrv_port, port + 8, port + 10];
        // A lock of another user cannot be opened and counts as taken.
        let Ok(lock) = File::create(locks.join(port.to_string())) else {
            continue;
        };
        if lock.try_lock().is_ok() && all.into_iter().all(is_free) {
            ours.push(lock);
            return (port, namesrv_port);
        }
    }
    panic!("all {BLOCKS} blocks of ports are in use");
}

const LOWEST_PORT: u16 = 12_000;
/// Of one broker with its name server.
const BLOCK_PORTS: u16 = 16;
const BLOCKS: u16 = 1_250;

fn is_free(port: u16) -> bool {
    TcpListener::bind(("0.0.0.0", port)).is_ok()
}

/// Waits for the end of a killed process's listeners: the kernel closes them some time after the process is gone, as requests of
/// its ring hold them.
pub fn until_free(ports: &[u16]) {
    wait_until("the listeners of a killed process are closed", || {
        ports.iter().all(|port| is_free(*port))
    });
}

/// A plain connection that speaks whole frames.
pub struct Wire(pub TcpStream);

impl Wire {
    pub fn connect(addr: SocketAddr) -> Wire {
        let stream = TcpStream::connect(addr).expect("the port listens");
        stream
            .set_read_timeout(Some(PATIENCE))
            .expect("a timeout can be set");
        stream.set_nodelay(true).expect("nodelay can be set");
        Wire(stream)
    }

    pub fn send(&mut self, frame: &[u8]) {
        self.0.write_all(frame).expect("the broker takes it");
    }

    /// One whole frame, the length included; `None` if the other side closed.
    pub fn receive(&mut self) -> Option<Vec<u8>> {
        let mut frame = vec![0; 4];
        self.fill(&mut frame)?;
        let length = u32::from_be_bytes([frame[0], frame[1], frame[2], frame[3]]) as usize;
        frame.resize(4 + length, 0);
        self.fill(&mut frame[4..])?;
        Some(frame)
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Option<()> {
        use std::io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
        match self.0.read_exact(bytes) {
            Ok(()) => Some(()),
            Err(error) if [ConnectionReset, UnexpectedEof, BrokenPipe].contains(&error.kind()) => {
                None
            }
            Err(error) => panic!("no reply: {error}"),
        }
    }
}
