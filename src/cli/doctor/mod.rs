//! `ringmq doctor`: what is wrong with this place and with a running cluster, and what to do.
//!
//! `gather/` collects plain facts, each with a deadline and side by side. The other files turn facts into findings, one file a subject, without
//! asking anything. `finding.rs` has the table of all faults.

#[cfg(test)]
mod any_numbers;
mod broker;
mod clock;
mod device;
mod failure;
mod finding;
mod forecast;
mod gather;
mod groups;
mod limits;
mod ports;
mod replication;
mod report;
mod routes;
mod uring;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Args;

use self::clock::ClockFacts;
use self::device::{DiskFacts, DiskLimits, Owner};
use self::finding::Finding;
use self::gather::cluster::Gathering;
use self::gather::disk::{Looking, look};
use self::gather::machine::{self, Clocks};
use self::gather::notes::Seen;
use self::gather::plan::Plan;
use self::gather::sockets;
use self::limits::LimitFacts;
use self::ports::{PortFacts, TakenPort};
use self::report::Report;
use self::uring::UringFacts;
use super::credentials::CredentialsArgs;
use super::preflight;
use super::tls::TlsArgs;
use super::values::{NamesrvList, namesrv};
use crate::auth::Credentials;
use crate::config::{Config, Flags, Surroundings};
use crate::message::size;
use crate::ring::linux::{kernel_release, raise_limits};
use crate::tls::Connector;

/// Say what is wrong with this host and its brokers, and what to do.
///
/// It looks at this host (io_uring, limits, clock, ports, the store's disk) and at the cluster: the brokers that the name servers know, their
/// disks, replicas, groups and queues. Without flags it finds the broker of ~/store, or one at the usual ports. With --namesrv alone it
/// looks at the cluster only. It ends within five seconds, whatever hangs, and a running broker may go on meanwhile: it writes 36 KiB to
/// a file without a name beside the log, and asks for a bounded number of figures; "left out" says what was beyond that.
#[derive(Args, Clone, Debug)]
#[command(after_help = AFTER)]
pub struct DoctorArgs {
    /// The broker's broker.conf
    #[arg(long, short, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Directory of the store [default: ~/store]
    #[arg(long, value_name = "DIR")]
    store: Option<PathBuf>,

    /// Name servers of the cluster [default: those of the broker's, of broker.conf or of NAMESRV_ADDR]
    #[arg(long, short, value_name = "HOST:PORT;...", value_parser = namesrv)]
    namesrv: Option<NamesrvList>,

    #[command(flatten)]
    credentials: CredentialsArgs,

    #[command(flatten)]
    tls: TlsArgs,

    /// Print the findings as one object of JSON
    #[arg(long)]
    json: bool,

    /// Look at the disk of this directory alone, for the doctor that started this process
    #[arg(long, hide = true, value_name = "DIR")]
    look_at_disk: Option<PathBuf>,
}

const AFTER: &str = "\
Exit codes: 0 nothing is wrong (notes aside), 1 an error was found (or doctor itself failed), 2 wrong usage, 3 only warnings.

Examples:
  ringmq doctor
  ringmq doctor --config /etc/ringmq/broker.conf
  ringmq doctor --namesrv 10.0.0.1:9876 --json";

/// When the second look at figures begins, when nothing is waited for any more, and what is promised. Between those two a broker.conf that came late
/// leaves time for nothing but the search for a port's holder.
const SECOND: Duration = Duration::from_millis(2_300);
const END: Duration = Duration::from_millis(4_300);
const PROMISE: Duration = Duration::from_secs(5);
const _: () = assert!(
    SECOND.as_millis() + gather::remote::ANSWER.as_millis() < END.as_millis()
        && END.as_millis() + HOLDER.as_millis() < PROMISE.as_millis()
);

/// How long the store's owner is waited for, before the cluster is asked without it; and who holds a port.
const OWNER: Duration = Duration::from_millis(700);
const HOLDER: Duration = Duration::from_millis(500);

pub fn run(args: DoctorArgs) -> Result<ExitCode> {
    let began = Instant::now();
    if let Some(dir) = &args.look_at_disk {
        look(args.store.as_deref().unwrap_or(dir), dir);
        return Ok(ExitCode::SUCCESS);
    }
    let mut asked = Asked::until(&args, began + END)?;
    let host = match asked.is_cluster_only {
        true => None,
        false => Some(Host::begin(&mut asked, began)?),
    };
    let gathering = Gathering::start(Plan {
        servers: asked.config.namesrv.clone(),
        guesses: host
            .as_ref()
            .map_or_else(Vec::new, |host| host.guesses(&asked.config)),
        credentials: asked.credentials.clone(),
        tls: asked.tls.clone(),
        second: began + SECOND,
    });
    let seen = gathering.finish(began + END);
    let host = host.map(|host| host.finish(&asked, &seen, began + END));
    let report = judge(&asked, host, seen, began.elapsed());
    match args.json {
        true => println!("{}", report.json()),
        false => print!("{}", report.text()),
    }
    Ok(report.exit_code())
}

/// What to look at.
struct Asked {
    /// Of the running broker, if it may be known.
    config: Config,
    credentials: Option<Credentials>,
    tls: Option<Connector>,
    /// `--namesrv`
    servers: Option<Vec<String>>,
    is_cluster_only: bool,
    /// Neither a store nor a broker.conf was named.
    is_guess: bool,
}

impl Asked {
    /// The files that are named may be on the disk that hangs.
    fn until(args: &DoctorArgs, until: Instant) -> Result<Self> {
        let (tell, told) = channel();
        let args = args.clone();
        std::thread::spawn(move || {
            // Nobody listens once it is too late.
            let _ = tell.send(Self::of(&args));
        });
        let left = until.saturating_duration_since(Instant::now());
        told.recv_timeout(left).context(
            "broker.conf, or the file with the secret, was not read in time: its disk hangs",
        )?
    }

    fn of(args: &DoctorArgs) -> Result<Self> {
        let is_guess = args.store.is_none() && args.config.is_none();
        let servers = args.namesrv.clone().map(|NamesrvList(servers)| servers);
        let is_cluster_only = servers.is_some() && is_guess;
        let flags = Flags {
            config_file: args.config.clone(),
            store_dir: args.store.clone(),
            namesrv: servers.clone(),
            ..Flags::default()
        };
        let (config, _) = Config::load(&flags, &Surroundings::observe())?;
        Ok(Self {
            config,
            credentials: args.credentials.credentials()?,
            tls: args.tls.connector()?,
            servers,
            is_cluster_only,
            is_guess,
        })
    }

    /// The running broker's settings are those that count.
    fn follow(&mut self, owner: Option<&Owner>) {
        let Some((owner, text)) = owner.and_then(|owner| Some((owner, owner.settings.as_ref()?)))
        else {
            return;
        };
        // All settings are in the text; only the cores have to be some that the broker may run on.
        let surroundings = Surroundings::of(&owner.pid.to_string(), |_| None);
        let merged = Config::merge(text, &Flags::default(), &surroundings);
        let Ok((config, _)) = merged else { return };
        self.config = config;
        if let Some(servers) = &self.servers {
            self.config.namesrv = servers.clone();
        }
    }

    fn disk_limits(&self) -> DiskLimits {
        DiskLimits {
            max_used_percent: self.config.disk_max_used_percent.into(),
            late_ms: self.config.send_wait_limit_ms,
        }
    }
}

/// This host, while its disk is being looked at.
struct Host {
    clocks: Clocks,
    disk: Looking,
    owner: Option<Owner>,
    taken: Vec<TakenPort>,
    uring: UringFacts,
    limits: LimitFacts,
}

/// All facts of this host.
struct HostFacts {
    clock: ClockFacts,
    disk: DiskFacts,
    ports: PortFacts,
    uring: UringFacts,
    limits: LimitFacts,
}

impl Host {
    fn begin(asked: &mut Asked, began: Instant) -> Result<Self> {
        let config = &asked.config;
        let clocks = Clocks::read();
        let log = config.commit_log_dir.as_deref().and_then(Path::parent);
        let dir = log.unwrap_or(&config.store_dir);
        let mut disk = Looking::start(&config.store_dir, dir)?;
        let owner = disk.owner(began + OWNER);
        asked.follow(owner.as_ref());
        let config = &asked.config;
        // As a start of the broker does.
        raise_limits();
        let uring = machine::uring(config);
        let wanted = preflight::ports(config);
        // Of a running broker they are its own.
        let patience = owner.as_ref().map_or(HOLDER, |_| Duration::ZERO);
        let taken = sockets::taken(&wanted, Instant::now() + patience);
        let limits = machine::limits(config, owner.as_ref());
        Ok(Self {
            clocks,
            disk,
            owner,
            taken,
            uring,
            limits,
        })
    }

    /// Addresses at which a broker or a name server may listen.
    fn guesses(&self, config: &Config) -> Vec<String> {
        let listening = sockets::listening();
        // The port above a broker's may be its port for replicas, which takes every byte for a slave's.
        let may_ask = |port: u16| self.owner.is_some() || !listening.contains_key(&(port - 1));
        let taken = self.taken.iter().map(|taken| taken.port);
        let taken = taken.filter(|port| may_ask(*port));
        taken.map(|port| address(config, port)).collect()
    }

    fn finish(mut self, asked: &Asked, seen: &Seen, until: Instant) -> HostFacts {
        for taken in &mut self.taken {
            taken.speaks = seen.speaking.contains(&address(&asked.config, taken.port));
        }
        HostFacts {
            clock: self.clocks.facts(),
            disk: self.disk.finish(until),
            ports: PortFacts {
                taken: self.taken,
                is_running: self.owner.is_some(),
                is_guess: asked.is_guess,
            },
            uring: self.uring,
            limits: self.limits,
        }
    }
}

fn address(config: &Config, port: u16) -> String {
    match config.bind_address.is_unspecified() {
        true => format!("127.0.0.1:{port}"),
        false => std::net::SocketAddr::new(config.bind_address, port).to_string(),
    }
}

fn judge(asked: &Asked, host: Option<HostFacts>, seen: Seen, took: Duration) -> Report {
    let mut findings: Vec<Finding> = Vec::new();
    let (mut looked_at, mut left_out) = (Vec::new(), seen.left_out);
    if let Some(host) = &host {
        findings.extend(uring::findings(&host.uring));
        findings.extend(limits::findings(&host.limits));
        findings.extend(clock::findings(&host.clock));
        findings.extend(ports::findings(&host.ports));
        findings.extend(device::findings(&host.disk, asked.disk_limits()));
        looked_at.push(shown(&host.disk));
        left_out.extend(host.disk.denied.as_ref().map(|why| {
            let dir = &host.disk.dir;
            format!("writes to {dir} ({why}): run doctor as the broker's user")
        }));
    }
    findings.extend(routes::findings(&seen.servers, &seen.brokers));
    findings.extend(replication::findings(&seen.brokers));
    for broker in &seen.brokers {
        findings.extend(broker::findings(broker));
        findings.extend(forecast::findings(broker));
    }
    findings.extend(seen.groups.values().flat_map(groups::findings));
    looked_at.push(match seen.brokers.len() {
        0 => "no running broker was found (--namesrv, --store or --config name one)".to_owned(),
        brokers => format!(
            "name servers {}, brokers {brokers}, groups {}",
            seen.servers.len(),
            seen.groups.len()
        ),
    });
    Report::new(findings, looked_at, left_out, took)
}

/// This host, in a line.
fn shown(disk: &DiskFacts) -> String {
    let devices: Vec<&str> = disk.devices.iter().map(|device| &*device.name).collect();
    let writes = disk.writes.map_or_else(String::new, |writes| {
        format!(
            ", a flushed write takes {:.1} ms",
            writes.median_us as f64 / 1e3
        )
    });
    format!(
        "Linux {}, {} on {} ({}), {} of {} free{writes}",
        kernel_release(),
        disk.dir,
        disk.file_system
            .as_deref()
            .unwrap_or("an unknown file system"),
        match devices.is_empty() {
            true => "no device known".to_owned(),
            false => devices.join(", "),
        },
        size::show(disk.available_bytes),
        size::show(disk.total_bytes)
    )
}
