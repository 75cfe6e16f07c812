//! `ringmq cluster`: a replicated group on one machine, for trying.

pub mod children;
mod plan;
mod status;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result};
use clap::Args;

use self::children::Running;
use self::plan::{Plan, Wanted};
use self::status::Status;
use super::{preflight, signals};
use crate::config::Surroundings;

/// Start a replicated group on this machine, for trying: a name server, controllers, and brokers of one name.
///
/// Each is a process of its own, so that it can be killed: then another broker becomes the master, and the killed one is started again after
/// some seconds. Clients use the name server as ever. Everything is below one directory, also what each process logs. Ctrl-C stops all.
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct ClusterArgs {
    /// Brokers, and as many controllers
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(3..=7))]
    pub nodes: u16,

    /// Directory of all stores and logs [default: ~/ringmq-cluster]
    #[arg(long, value_name = "DIR")]
    pub store: Option<PathBuf>,

    /// Port of the first broker; each further one is 10 higher, and the master's address is 10 lower
    #[arg(long, default_value_t = 10911, value_parser = clap::value_parser!(u16).range(1024..=65000))]
    pub port: u16,

    /// Port of the name server; the controllers are 2, 12, 22 ... higher
    #[arg(long, value_name = "PORT", default_value_t = 9876, value_parser = clap::value_parser!(u16).range(1024..=65000))]
    pub namesrv_port: u16,

    /// A process that has ended is started again after so many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 5)]
    pub restart_after: u64,
}

const EXAMPLES: &str = "\
Example:
  ringmq cluster --nodes 3
  ringmq send --topic Orders --count 100000 --rate 200 hello     (in another terminal)
  kill -9 PID                                                    (of the master, which the cluster prints)";

/// How often members and controllers are looked at.
const TICK: Duration = Duration::from_millis(100);

pub fn run(args: ClusterArgs) -> Result<()> {
    let surroundings = Surroundings::observe();
    let dir = args
        .store
        .unwrap_or_else(|| surroundings.home.join("ringmq-cluster"));
    let plan = Plan::of(&Wanted {
        nodes: args.nodes,
        dir: std::path::absolute(dir)?,
        port: args.port,
        namesrv_port: args.namesrv_port,
        cores: surroundings.cores,
    });
    for port in plan.members.iter().flat_map(|member| &member.ports) {
        preflight::check_port(
            SocketAddr::from(([127, 0, 0, 1], *port)),
            "--port or --namesrv-port",
        )?;
    }
    let (stop, stopped) = mpsc::channel();
    // There is no receiver any more once the cluster is stopping.
    signals::on_stop(move |_| {
        let _ = stop.send(());
    })?;
    let binary = std::env::current_exe().context("this program's own file")?;
    let mut running = Vec::new();
    let served = start(&plan, &binary, &mut running).and_then(|()| {
        print_banner(&plan, &running);
        watch(
            &plan,
            &mut running,
            Duration::from_secs(args.restart_after),
            &stopped,
        )
    });
    say("stopping");
    running.iter_mut().rev().for_each(Running::stop);
    served
}

fn start(plan: &Plan, binary: &std::path::Path, running: &mut Vec<Running>) -> Result<()> {
    for member in &plan.members {
        running.push(Running::start(member.clone(), binary)?);
    }
    Ok(())
}

fn print_banner(plan: &Plan, running: &[Running]) {
    println!(
        "ringmq {}, name server {}",
        env!("CARGO_PKG_VERSION"),
        plan.namesrv
    );
    println!(
        "  clients find the master at {}, whichever broker it is",
        plan.master_address
    );
    for Running { member, .. } in running {
        println!(
            "  {:<12} {:<16} log {}",
            member.name,
            member.address,
            member.log.display()
        );
    }
}

/// Until a signal comes, or a member cannot start.
fn watch(
    plan: &Plan,
    running: &mut [Running],
    restart_after: Duration,
    stopped: &Receiver<()>,
) -> Result<()> {
    let mut status = Status::default();
    let mut due: Vec<Option<Instant>> = vec![None; running.len()];
    loop {
        match stopped.recv_timeout(TICK) {
            Err(RecvTimeoutError::Timeout) => {}
            Ok(()) | Err(RecvTimeoutError::Disconnected) => return Ok(()),
        }
        for (member, due) in running.iter_mut().zip(&mut due) {
            if let Some(how) = member.ended()? {
                say(&format!(
                    "{} has ended ({how}); it starts again in {} s",
                    member.member.name,
                    restart_after.as_secs()
                ));
                *due = Some(Instant::now() + restart_after);
            }
            if due.is_some_and(|due| due <= Instant::now()) {
                *due = None;
                member.start_again()?;
                say(&format!("{} starts again", member.member.name));
            }
        }
        let Some(now) = Status::ask(plan) else {
            continue;
        };
        if let Some(line) = now.since(&status) {
            let master = running
                .iter()
                .find(|running| Some(&running.member.name) == now.master.as_ref());
            let is_new = now.master != status.master;
            match master.and_then(Running::pid).filter(|_| is_new) {
                Some(pid) => say(&format!("{line}; kill -9 {pid} ends the master")),
                None => say(&line),
            }
        }
        status = now;
    }
}

fn say(line: &str) {
    let now = humantime::format_rfc3339_millis(SystemTime::now());
    println!("{now} {line}");
}
