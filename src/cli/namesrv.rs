//! `ringmq namesrv`

use std::net::SocketAddr;
use std::sync::mpsc::channel;
use std::thread;

use anyhow::{Result, anyhow};

use super::args::NamesrvArgs;
use super::process::signals;
use super::setup;
use crate::config::Surroundings;
use crate::reactor::{self, NamesrvSetup};
use crate::ring::{self, Doorbell, Ring, RingConfig};

pub fn run(args: NamesrvArgs) -> Result<()> {
    ring::probe()?;
    let listen = SocketAddr::new(args.bind, args.port);
    let keeps_settings = args.store.is_some();
    // RocketMQ's name server keeps its key-value configuration there, and reads no settings from there.
    let usual = || Surroundings::observe().home.join("namesrv");
    let names = NamesrvSetup {
        listen,
        dir: args.store.unwrap_or_else(usual),
        max_connections: setup::max_connections(1).shard,
        keeps_settings,
    };
    let mut signals = signals()?;
    let doorbell = Doorbell::new()?;
    let (bell, (to_main, from_thread)) = (doorbell.clone(), channel());
    let thread = thread::Builder::new()
        .name("namesrv".into())
        .spawn(move || {
            let result = Ring::start(RingConfig::default(), |ring| {
                let waiting = ring.clone();
                let stop = async move {
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
            });
            let _ = to_main.send(());
            result
        })?;
    let handle = signals.handle();
    // Whichever is first: a signal stops the thread, a failed thread stops the wait for signals.
    let watcher = thread::spawn(move || {
        let _ = from_thread.recv();
        handle.close();
    });
    if signals.forever().next().is_some() {
        doorbell.ring();
    }
    let served = thread
        .join()
        .map_err(|_| anyhow!("the name server's thread panicked"))?;
    let _ = watcher.join();
    Ok(served??)
}
