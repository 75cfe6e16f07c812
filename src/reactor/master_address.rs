//! The address that clients find the master at, whichever broker of the name that is (`masterAddress`).
//!
//! Clients look for a new route every 30 s. With one address for all masters of a name in turn they need none: their connection to the dead
//! master breaks, and they open another one to the same address. At the broker's own port nothing is opened for it: the address itself moves from
//! machine to machine, or is a load balancer's. Another port is opened by the master and closed with its role.

use std::net::SocketAddr;
use std::rc::Rc;

use tracing::{info, warn};

use super::connections::accept;
use super::core::Core;
use super::shard::Shard;
use crate::io::Io;

/// A broker on the same machine may still have the port.
const RETRY_NS: u64 = 100_000_000;

/// Opens the port, in a slave never.
pub(super) fn start<I: Io>(core: &Rc<Core<I>>, shard: &Rc<Shard<I>>) {
    let Some(shared) = core.setup.broker.master_address else {
        return;
    };
    if core.store.follows() {
        return;
    }
    if shared.port() == core.setup.broker.advertise.port() {
        core.registration.has_master_address.set(true);
        return;
    }
    if !open(core, shard, shared, true) {
        let (core, shard) = (core.clone(), shard.clone());
        core.io.clone().spawn("master-address", async move {
            while !core.is_stopping() && !open(&core, &shard, shared, false) {
                core.io.sleep_until(core.io.now().mono_ns + RETRY_NS).await;
            }
        });
    }
}

/// Listens there, and where clients with the VIP channel come; then routes have it.
fn open<I: Io>(
    core: &Rc<Core<I>>,
    shard: &Rc<Shard<I>>,
    shared: SocketAddr,
    is_first_try: bool,
) -> bool {
    let at = |port| SocketAddr::new(core.setup.listen.ip(), port);
    let (main, vip) = (at(shared.port()), at(shared.port() - 2));
    let listen = |addr| core.io.listen_remoting(addr);
    let (main, vip) = match listen(main).and_then(|main| Ok((main, listen(vip)?))) {
        Ok(listeners) => listeners,
        Err(error) => {
            if is_first_try {
                warn!(%shared, %error, "the master's address cannot be opened; clients get this broker's own until it can");
            }
            return false;
        }
    };
    info!(%shared, broker = core.setup.broker.broker_name, "listens at the master's address");
    for listener in [main, vip] {
        let connections = core.connections.clone();
        let accepting = accept(core.io.clone(), listener, shard.clone(), connections);
        core.io.spawn("accept", accepting);
    }
    core.registration.has_master_address.set(true);
    core.registration.all_changed();
    true
}

/// The address that this broker has in routes.
pub(super) fn in_routes<I: Io>(core: &Core<I>) -> SocketAddr {
    let broker = &core.setup.broker;
    let is_there = core.registration.has_master_address.get();
    let shared = broker.master_address.filter(|_| is_there);
    shared.unwrap_or(broker.advertise)
}
