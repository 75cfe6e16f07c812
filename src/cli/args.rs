//! `ringmq broker` and `ringmq namesrv`: their flags and help texts.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::config::{Addresses, Cores, Flags, Flush, Reachable, Rule};

/// Start a broker on every core, with the name server built in.
///
/// RocketMQ clients reach it through the name server at port 9876. Without any flag it keeps its messages in ~/store and
/// uses every core that it may run on.
#[derive(Args, Clone, Debug, Default)]
pub struct BrokerArgs {
    /// A broker.conf with RocketMQ's property names; flags win over it
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Directory of the store [default: ~/store]
    #[arg(long, value_name = "DIR")]
    pub store: Option<PathBuf>,

    /// When a send is acknowledged [default: async]
    #[arg(long, value_enum)]
    pub flush: Option<FlushArg>,

    /// Cores to run on, such as 0,1 or 0-3: one broker each, with a port and a brokerName of its own [default: all]
    #[arg(long, value_name = "LIST", value_parser = cores)]
    pub cores: Option<CoreList>,

    /// Port of the first core's broker; each further one is 10 higher [default: 10911]
    #[arg(long, value_parser = clap::value_parser!(u16).range(3..))]
    pub port: Option<u16>,

    /// Address that clients are told to connect to [default: that of the interface with the default route]
    #[arg(long, value_name = "IP", value_parser = |text: &str| Reachable.read(text))]
    pub advertise: Option<IpAddr>,

    /// Port of the built-in name server [default: 9876]
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..), conflicts_with = "namesrv")]
    pub namesrv_port: Option<u16>,

    /// Register with these name servers, ours or RocketMQ's, instead of starting one
    #[arg(long, value_name = "HOST:PORT;...", value_parser = namesrv)]
    pub namesrv: Option<NamesrvList>,
}

/// Start a name server alone.
///
/// Brokers register with it (ringmq broker --namesrv, or RocketMQ's own), and clients ask it for routes.
#[derive(Args, Clone, Debug)]
pub struct NamesrvArgs {
    /// Port to listen on
    #[arg(long, default_value_t = 9876, value_parser = clap::value_parser!(u16).range(1..))]
    pub port: u16,

    /// Address to listen on
    #[arg(long, value_name = "IP", default_value_t = IpAddr::V4(Ipv4Addr::UNSPECIFIED))]
    pub bind: IpAddr,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FlushArg {
    /// Once its bytes are on the device and the device's cache is flushed: survives a power loss
    Sync,
    /// Once its bytes are written to the device; flushed within 500 ms
    Async,
}

/// A list in one argument; a plain `Vec` would be an argument that may be repeated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CoreList(pub Vec<usize>);

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamesrvList(pub Vec<String>);

impl From<BrokerArgs> for Flags {
    fn from(args: BrokerArgs) -> Self {
        Self {
            config_file: args.config,
            store_dir: args.store,
            flush: args.flush.map(|flush| match flush {
                FlushArg::Sync => Flush::Sync,
                FlushArg::Async => Flush::Async,
            }),
            cores: args.cores.map(|CoreList(cores)| cores),
            listen_port: args.port,
            advertise: args.advertise,
            namesrv_port: args.namesrv_port,
            namesrv: args.namesrv.map(|NamesrvList(addresses)| addresses),
        }
    }
}

fn cores(text: &str) -> Result<CoreList, String> {
    Cores.read(text).map(CoreList)
}

fn namesrv(text: &str) -> Result<NamesrvList, String> {
    let addresses = Addresses.read(text)?;
    if addresses.is_empty() {
        Err("at least one HOST:PORT".into())
    } else {
        Ok(NamesrvList(addresses))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{CommandFactory, Parser};

    #[derive(Parser)]
    struct Broker {
        #[command(flatten)]
        args: BrokerArgs,
    }

    #[derive(Parser)]
    struct Namesrv {
        #[command(flatten)]
        args: NamesrvArgs,
    }

    fn flags(line: &str) -> Result<Flags, clap::Error> {
        Broker::try_parse_from(line.split(' ').filter(|part| !part.is_empty()))
            .map(|broker| broker.args.into())
    }

    #[test]
    fn the_definitions_are_sound() {
        Broker::command().debug_assert();
        Namesrv::command().debug_assert();
    }

    #[test]
    fn nothing_said_is_left_to_the_file() {
        assert_eq!(flags("broker").unwrap(), Flags::default());
    }

    #[test]
    fn every_flag_arrives() {
        let line = "broker --config a.conf --store /s --flush sync --cores 0,1 --port 11911 --advertise 192.0.2.9 --namesrv-port 19876";
        let expected = Flags {
            config_file: Some("a.conf".into()),
            store_dir: Some("/s".into()),
            flush: Some(Flush::Sync),
            cores: Some(vec![0, 1]),
            listen_port: Some(11911),
            advertise: Some(IpAddr::from([192, 0, 2, 9])),
            namesrv_port: Some(19876),
            namesrv: None,
        };
        assert_eq!(flags(line).unwrap(), expected);
        let namesrv = flags("broker --namesrv 192.0.2.1:9876;192.0.2.2:9876")
            .unwrap()
            .namesrv;
        assert_eq!(
            namesrv,
            Some(vec!["192.0.2.1:9876".into(), "192.0.2.2:9876".into()])
        );
    }

    #[test]
    fn bad_values_are_refused() {
        for line in [
            "--flush maybe",
            "--cores x",
            "--port 0",
            "--port 70000",
            "--advertise 0.0.0.0",
            "--namesrv nowhere",
            "--namesrv ;",
            "--namesrv a:1 --namesrv-port 1",
        ] {
            assert!(flags(&format!("broker {line}")).is_err(), "{line}");
        }
    }

    #[test]
    fn the_name_server_has_defaults() {
        let args = Namesrv::try_parse_from(["namesrv"]).unwrap().args;
        assert_eq!((args.port, args.bind.to_string()), (9876, "0.0.0.0".into()));
        let args = Namesrv::try_parse_from(["namesrv", "--port", "1", "--bind", "127.0.0.1"])
            .unwrap()
            .args;
        assert_eq!((args.port, args.bind.to_string()), (1, "127.0.0.1".into()));
    }
}
