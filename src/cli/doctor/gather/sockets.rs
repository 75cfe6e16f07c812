//! Which ports are listened on, and by which process, from `/proc`. No port is bound to find that out.

use std::collections::BTreeMap;
use std::time::Instant;

use crate::cli::doctor::ports::TakenPort;
use crate::cli::preflight::Port;

/// Ports that are listened on, each with the number of its socket.
pub fn listening() -> BTreeMap<u16, u64> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"];
    let tables = tables.map(|path| std::fs::read_to_string(path).unwrap_or_default());
    tables.iter().flat_map(|table| listeners(table)).collect()
}

/// `sl local_address rem_address st ... inode`, numbers in hex but the last.
fn listeners(table: &str) -> impl Iterator<Item = (u16, u64)> {
    const LISTEN: &str = "0A";
    table.lines().skip(1).filter_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (_, port) = fields.get(1)?.rsplit_once(':')?;
        let port = u16::from_str_radix(port, 16).ok()?;
        let inode = fields.get(9)?.parse().ok()?;
        (fields.get(3) == Some(&LISTEN)).then_some((port, inode))
    })
}

fn sockets(pid: u32) -> impl Iterator<Item = u64> {
    let open = std::fs::read_dir(format!("/proc/{pid}/fd"));
    let links = open.into_iter().flatten().flatten();
    links.filter_map(|entry| {
        let link = std::fs::read_link(entry.path()).ok()?;
        let number = link.to_str()?.strip_prefix("socket:[")?;
        number.strip_suffix(']')?.parse().ok()
    })
}

/// Those of the wanted ports that somebody has. Who that is, is looked for until then.
pub fn taken(wanted: &[Port], until: Instant) -> Vec<TakenPort> {
    let listening = listening();
    let of_wanted = wanted.iter();
    let mut taken: Vec<(u64, TakenPort)> = of_wanted
        .filter_map(|port| {
            let number = port.addr.port();
            let inode = *listening.get(&number)?;
            let port = TakenPort {
                port: number,
                setting: port.setting.to_owned(),
                holder: None,
                speaks: false,
            };
            Some((inode, port))
        })
        .collect();
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    for pid in pids {
        if Instant::now() > until || taken.iter().all(|(_, port)| port.holder.is_some()) {
            break;
        }
        for socket in sockets(pid) {
            for (_, port) in taken.iter_mut().filter(|(inode, _)| *inode == socket) {
                port.holder = Some(format!("{}, process {pid}", name_of(pid)));
            }
        }
    }
    taken.into_iter().map(|(_, port)| port).collect()
}

fn name_of(pid: u32) -> String {
    let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    name.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn the_table_of_sockets() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
            0: 0100007F:2694 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1\n\
            1: 0100007F:2695 0100007F:8000 01 00000000:00000000 00:00000000 00000000     0        0 4712 1\n";
        let found: Vec<_> = listeners(table).collect();
        assert_eq!(found, [(9_876, 4_711)]);
    }

    #[test]
    fn a_listener_of_this_process_is_found() {
        let held = TcpListener::bind("127.0.0.1:0").unwrap();
        let wanted = Port {
            addr: held.local_addr().unwrap(),
            setting: "--port",
        };
        let until = Instant::now() + std::time::Duration::from_secs(60);
        let taken = taken(&[wanted], until);
        let own = format!("process {}", std::process::id());
        assert!(taken[0].holder.as_ref().unwrap().ends_with(&own));
    }
}
