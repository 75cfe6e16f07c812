//! `ringmq namesrv`

use std::net::SocketAddr;
use std::path::Path;
use std::thread;

use anyhow::{Result, anyhow};

use super::args::NamesrvArgs;
use super::{preflight, setup, signals};
use crate::config::Surroundings;
use crate::reactor::{self, NamesrvSetup};
use crate::ring::{self, Doorbell, Ring, RingConfig};

/// RocketMQ's name server keeps its key-value configuration in `~/namesrv`, and reads no settings from there. So settings are kept
/// only in a directory that was given.
fn names_setup(args: NamesrvArgs, home: &Path) -> NamesrvSetup {
    NamesrvSetup {
        listen: SocketAddr::new(args.bind, args.port),
        keeps_settings: args.store.is_some(),
        dir: args.store.unwrap_or_else(|| home.join("namesrv")),
        max_connections: setup::max_connections(1).shard,
    }
}

pub fn run(args: NamesrvArgs) -> Result<()> {
    ring::probe()?;
    let listen = SocketAddr::new(args.bind, args.port);
    preflight::check_port(listen, "--port")?;
    let names = names_setup(args, &Surroundings::observe().home);
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

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Namesrv {
        #[command(flatten)]
        args: NamesrvArgs,
    }

    #[test]
    fn settings_are_kept_only_where_a_directory_is_given() {
        let setup = |line: &[&str]| {
            let args = Namesrv::try_parse_from(line).unwrap().args;
            let setup = names_setup(args, Path::new("/home/me"));
            (setup.keeps_settings, setup.dir)
        };
        assert_eq!(setup(&["namesrv"]), (false, "/home/me/namesrv".into()));
        let given = setup(&["namesrv", "--store", "/var/names"]);
        assert_eq!(given, (true, "/var/names".into()));
    }
}
