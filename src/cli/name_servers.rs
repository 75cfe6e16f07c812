//! The names of name servers: resolved at the start and, as they may get other addresses, again and again on a thread of their own.

use std::net::{SocketAddr, ToSocketAddrs};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use tracing::{info, warn};

use crate::reactor::NameServer;

const EVERY: Duration = Duration::from_secs(5);

/// One for each HOST:PORT. What cannot be resolved yet is tried again.
pub fn resolved(addresses: &[String]) -> Result<Vec<NameServer>> {
    let (mut all, mut named) = (Vec::new(), Vec::new());
    for address in addresses {
        if let Ok(addr) = address.parse::<SocketAddr>() {
            all.push(addr.into());
            continue;
        }
        let server = NameServer::unresolved(address);
        resolve(&server);
        if server.addr().is_err() {
            warn!("the name server {address} cannot be resolved; trying again every 5 s");
        }
        all.push(server.clone());
        named.push(server);
    }
    if !named.is_empty() {
        let thread = thread::Builder::new().name("names".into());
        // It ends with the process.
        let spawned = thread.spawn(move || {
            loop {
                thread::sleep(EVERY);
                for server in &named {
                    if let Some(addr) = resolve(server) {
                        info!("the name server {} is at {addr} now", server.name());
                    }
                }
            }
        });
        spawned.context("the thread that resolves names")?;
    }
    Ok(all)
}

/// Takes an address, and another one only when the present one is not among those of the name. What it took.
fn resolve(server: &NameServer) -> Option<SocketAddr> {
    let found: Vec<_> = server.name().to_socket_addrs().ok()?.collect();
    let before = server.addr().ok();
    let first = *found.first()?;
    if before.is_some_and(|before| found.contains(&before)) {
        return None;
    }
    server.resolved(first);
    Some(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_as_they_are_and_names_are_resolved() {
        let addresses = ["192.0.2.1:9876", "localhost:9877", "no.such.name.invalid:1"];
        let servers = resolved(&addresses.map(String::from)).unwrap();
        assert_eq!(servers[0].addr().unwrap(), ([192, 0, 2, 1], 9876).into());
        let local = servers[1].addr().unwrap();
        assert!(local.ip().is_loopback() && local.port() == 9877);
        assert!(servers[2].addr().is_err());
    }

    #[test]
    fn another_address_is_taken_only_when_the_present_one_is_gone() {
        let server = NameServer::unresolved("localhost:9876");
        let local = resolve(&server).unwrap();
        assert_eq!(server.addr().unwrap(), local);
        assert_eq!(resolve(&server), None);
        assert_eq!(server.addr().unwrap(), local);
        server.resolved(([192, 0, 2, 1], 9876).into());
        assert_eq!(resolve(&server), Some(local));
        assert_eq!(server.addr().unwrap(), local);
    }
}
