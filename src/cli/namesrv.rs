//! `ringmq namesrv`

use std::net::SocketAddr;
use std::thread;

use anyhow::{Result, anyhow};

use super::args::NamesrvArgs;
use super::{preflight, setup, signals};
use crate::config::Surroundings;
use crate::reactor::{self, NamesrvSetup};
use crate::ring::{self, Doorbell, Ring, RingConfig};

pub fn run(args: NamesrvArgs) -> Result<()> {
    ring::probe()?;
    let listen = SocketAddr::new(args.bind, args.port);
    preflight::check_port(listen, "--port")?;
    let keeps_settings = args.store.is_some();
    // RocketMQ's name server keeps its key-value configuration there, and reads no settings from there.
    let usual = || Surroundings::observe().home.join("namesrv");
    let names = NamesrvSetup {
        listen,
        dir: args.store.unwrap_or_else(usual),
        max_connections: setup::max_connections(1).shard,
        keeps_settings,
    };
    let doorbell = Doorbell::new()?;
    let (bell, at_signal) = (doorbell.clone(), doorbell);
    signals::on_stop(move |_| at_signal.ring())?;
    let thread = thread::Builder::new()
        .name("namesrv".into())
        .spawn(move || {
            Ring::start(RingConfig::default(), |ring| {
                let waiting = ring.clone();
                let stop = async move {
                    // It can only fail with the ring itself.
                    let _ = waiting.wait(&bell).await;
                };
                let ready = move || {
                    println!(
                        "ringmq {} name server at {listen}",
                        env!("CARGO_PKG_VERSION")
                    );
                    println!("ready");
                };
                reactor::run_namesrv(ring, names, stop, ready)
            })
        })?;
    let served = thread
        .join()
        .map_err(|_| anyhow!("the name server's thread panicked"))?;
    Ok(served??)
}
