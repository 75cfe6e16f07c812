//! Starts a broker on an empty store and says how long it took until a message was stored, and what memory it then holds:
//!
//! ```text
//! first_send RINGMQ STORE BROKER_PORT NAMESRV_PORT sync|async CORE   ->   route_ms send_ms rss_kib anon_kib shared_kib
//! ```
//! It is what a client does: it asks the name server for the route of the template topic until there is one, dials the
//! broker that the route names, and sends to a topic that does not exist. Blocking sockets of the standard library, so
//! that nothing of the broker's own machinery helps.

mod caller;
mod message;

use std::net::SocketAddr;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use caller::{Caller, Result};
use ringmq::wire::codes::{request, response};
use ringmq::wire::loose_json;
use ringmq::wire::route::{RouteRequest, TopicRouteData};

/// How long a start may take before it counts as failed.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two attempts to reach what is not there yet; the error of the figures.
const RETRY: Duration = Duration::from_millis(1);
/// From the first send until the memory is looked at.
const IDLE: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    match run() {
        Ok(line) => {
            println!("{line}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("first_send: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<String> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [ringmq, store, port, namesrv_port, flush, core] = args.as_slice() else {
        return Err("RINGMQ STORE BROKER_PORT NAMESRV_PORT sync|async CORE".into());
    };
    let namesrv = SocketAddr::from(([127, 0, 0, 1], namesrv_port.parse()?));
    let mut command = Command::new(ringmq);
    command
        .args(["broker", "--cores", core, "--advertise", "127.0.0.1"])
        .args(["--store", store, "--flush", flush])
        .args(["--port", port, "--namesrv-port", namesrv_port])
        .env("RINGMQ_LOG", "warn")
        .stdout(Stdio::null());
    let start = Instant::now();
    let broker = Broker(command.spawn()?);
    let addr = until(start, || route(namesrv))?;
    let route_ms = start.elapsed().as_secs_f64() * 1e3;
    until(start, || send(addr))?;
    let send_ms = start.elapsed().as_secs_f64() * 1e3;
    std::thread::sleep(IDLE);
    let [rss, anon, shared] = broker.memory_kib()?;
    Ok(format!("{route_ms:.1} {send_ms:.1} {rss} {anon} {shared}"))
}

/// Stopped when dropped.
struct Broker(Child);

impl Broker {
    fn memory_kib(&self) -> Result<[u64; 3]> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0.id()))?;
        let field = |name: &str| -> Result<u64> {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let line = line.ok_or_else(|| format!("/proc/PID/status has no {name}"))?;
            Ok(line.trim().trim_end_matches(" kB").parse()?)
        };
        Ok([field("VmRSS:")?, field("RssAnon:")?, field("RssShmem:")?])
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // SIGTERM, for a clean stop.
        let asked = Command::new("kill").arg(self.0.id().to_string()).status();
        if !asked.is_ok_and(|status| status.success()) {
            let _ = self.0.kill();
        }
        let _ = self.0.wait();
    }
}

/// Tries until it works; `None` is "not yet".
fn until<T>(start: Instant, mut attempt: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    loop {
        let failure = match attempt() {
            Ok(Some(done)) => return Ok(done),
            Ok(None) => "not yet there".into(),
            Err(error) => error,
        };
        if start.elapsed() > PATIENCE {
            return Err(failure);
        }
        std::thread::sleep(RETRY);
    }
}

fn route(namesrv: SocketAddr) -> Result<Option<SocketAddr>> {
    let request = RouteRequest {
        topic: "TBW102",
        accept_standard_json_only: true,
    };
    let mut caller = Caller::connect(namesrv)?;
    let (code, body) = caller.ask(request::GET_ROUTEINFO_BY_TOPIC, &request.ext(), &[])?;
    if code != response::SUCCESS {
        return Ok(None);
    }
    let route: TopicRouteData = loose_json::from_slice(body)?;
    let addrs = route
        .broker_datas
        .iter()
        .flat_map(|broker| &broker.broker_addrs);
    Ok(addrs.map(|(_, addr)| addr.parse()).next().transpose()?)
}

fn send(broker: SocketAddr) -> Result<Option<()>> {
    let code = Caller::connect(broker)?.send("first-send", 0)?;
    Ok((code == response::SUCCESS).then_some(()))
}
