//! Protects `ringmq cluster`: one command starts a replicated group, a kill of the master makes another one, and a signal ends all.

use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use crate::common::client::{Client, send_to};
use crate::common::{PATIENCE, Process, ringmq, wait_until};
use ringmq::wire::codes::response;

#[test]
fn a_kill_of_the_master_makes_another_one_at_the_same_address() {
    let folder = tempfile::tempdir().expect("a folder");
    let port = free_range();
    let (broker, namesrv) = ((port + 10).to_string(), (port + 50).to_string());
    let words = ["cluster", "--port", &broker, "--namesrv-port", &namesrv];
    let mut command = ringmq(words);
    let command = command.args(["--restart-after", "1", "--store"]);
    let mut cluster = Process::spawn(command.arg(folder.path()));
    let (_, pid) = new_master(&mut cluster, "no broker");
    let is_whole = |line: &str| line.ends_with("broker0, broker1, broker2");
    cluster.until_line(PATIENCE, is_whole).expect("all in sync");
    let shared = SocketAddr::from(([127, 0, 0, 1], port));
    let mut sent = 0;
    let mut send = || {
        let mut client = Client::connect(shared);
        let reply = client.send(&send_to("Orders", 0), b"x");
        sent += u64::from(reply.code == response::SUCCESS);
        reply.code == response::SUCCESS
    };
    wait_until("an acknowledged message", &mut send);
    let killed = std::process::Command::new("kill")
        .args(["-9", &pid])
        .status();
    assert!(killed.expect("kill is there").success());
    let (_, successor) = new_master(&mut cluster, &pid);
    wait_until("the address has moved", || {
        std::net::TcpStream::connect(shared).is_ok()
    });
    wait_until("another acknowledged message", &mut send);
    let mut client = Client::connect(shared);
    assert!(
        client.max_offset("Orders", 0) >= sent,
        "the first is still there"
    );
    cluster
        .until_line(PATIENCE, is_whole)
        .expect("the killed one is back");
    cluster.signal("TERM");
    assert!(cluster.until_end().status.success());
    let children = [pid, successor];
    assert!(children.iter().all(|pid| !is_alive(pid)), "{children:?}");
}

/// The line of the next master that is not this process: the line, and the master's process.
fn new_master(cluster: &mut Process, other_than: &str) -> (String, String) {
    let found = std::cell::RefCell::new(None);
    let is_it = |line: &str| {
        let pid = line
            .split("kill -9 ")
            .nth(1)
            .and_then(|rest| rest.split(' ').next());
        match pid.filter(|pid| *pid != other_than) {
            Some(pid) => {
                *found.borrow_mut() = Some((line.to_owned(), pid.to_owned()));
                true
            }
            None => false,
        }
    };
    cluster
        .until_line(Duration::from_secs(120), is_it)
        .expect("a master");
    found.into_inner().expect("it was found")
}

fn is_alive(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    stat.contains("broker")
}

/// 90 ports that are free now, below those that the kernel gives to outgoing connections.
pub fn free_range() -> u16 {
    let is_free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
    let first = 12_000 + std::process::id() as u16 % 1000 * 15;
    let mut starts = (first..30_000).step_by(90);
    let found = starts.find(|start| (start - 2..start + 88).all(is_free));
    found.expect("there are free ports")
}
