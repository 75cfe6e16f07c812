//! The built binary as a user runs it: free ports, a temporary store, stopped by its own process handle.

#![allow(dead_code)] // Each test file uses its part.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// How long anything may take before a test calls it hung.
pub const PATIENCE: Duration = Duration::from_secs(30);

pub struct Broker {
    process: Child,
    pub namesrv: SocketAddr,
    pub port: u16,
    pub store: PathBuf,
    pub banner: String,
}

pub struct Options<'a> {
    pub flush: &'a str,
    pub cores: &'a str,
    /// Text of a broker.conf.
    pub config: &'a str,
    /// Ports to take again after a restart.
    pub ports: Option<(u16, u16)>,
}

impl Default for Options<'_> {
    fn default() -> Self {
        Options {
            flush: "async",
            cores: "0",
            config: "",
            ports: None,
        }
    }
}

impl Broker {
    /// Starts a broker on `store` and waits until it says that it is ready.
    pub fn start(store: &Path, options: &Options<'_>) -> Broker {
        let (port, namesrv_port) = options.ports.unwrap_or_else(free_ports);
        let config = store.with_extension("conf");
        std::fs::write(&config, options.config).expect("the folder of the store is writable");
        let mut process = Command::new(env!("CARGO_BIN_EXE_ringmq"))
            .args([
                "broker",
                "--advertise",
                "127.0.0.1",
                "--flush",
                options.flush,
                "--cores",
                options.cores,
            ])
            .arg("--store")
            .arg(store)
            .arg("--config")
            .arg(&config)
            .args([
                "--port",
                &port.to_string(),
                "--namesrv-port",
                &namesrv_port.to_string(),
            ])
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .expect("the binary was built with the tests");
        let mut output = BufReader::new(process.stdout.take().expect("piped"));
        let mut banner = String::new();
        while !banner.lines().any(|line| line.starts_with("ready")) {
            if output.read_line(&mut banner).expect("the banner is text") == 0 {
                let status = process.wait().expect("it has ended");
                panic!("the broker ended before it was ready ({status}):\n{banner}");
            }
        }
        // Nobody reads it any more, but it must not block on a full pipe.
        std::thread::spawn(move || std::io::copy(&mut output, &mut std::io::sink()));
        let namesrv = SocketAddr::from(([127, 0, 0, 1], namesrv_port));
        Broker {
            process,
            namesrv,
            port,
            store: store.to_owned(),
            banner,
        }
    }

    pub fn addr(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// kill -9
    pub fn kill(mut self) {
        self.process.kill().expect("it runs");
        self.process.wait().expect("it has ended");
    }

    /// SIGTERM, and the exit status it ends with.
    pub fn terminate(mut self) -> ExitStatus {
        let status = Command::new("kill")
            .arg(self.pid().to_string())
            .status()
            .expect("kill is there");
        assert!(status.success());
        let started = Instant::now();
        loop {
            if let Some(status) = self.process.try_wait().expect("it can be waited for") {
                return status;
            }
            assert!(started.elapsed() < PATIENCE, "the broker does not stop");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A broker port (with the VIP port two below) and a name server port that are free now.
pub fn free_ports() -> (u16, u16) {
    loop {
        let any = || TcpListener::bind("127.0.0.1:0").expect("a free port");
        let (broker, namesrv) = (any(), any());
        let port = broker.local_addr().expect("bound").port();
        if TcpListener::bind(("127.0.0.1", port - 2)).is_ok() {
            return (port, namesrv.local_addr().expect("bound").port());
        }
    }
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
        let mut filled = 0;
        while filled < 4 {
            match self.0.read(&mut frame[filled..]) {
                Ok(0) => return None,
                Ok(count) => filled += count,
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("no reply: {error}"),
            }
        }
        let length = u32::from_be_bytes([frame[0], frame[1], frame[2], frame[3]]) as usize;
        frame.resize(4 + length, 0);
        self.0
            .read_exact(&mut frame[4..])
            .expect("the rest of the frame");
        Some(frame)
    }
}
