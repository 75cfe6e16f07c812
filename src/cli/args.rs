//! `ringmq broker`, `namesrv`, `send` and `consume`: their flags and help texts.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::credentials::CredentialsArgs;
use super::show::ShowArgs;
use super::tls::TlsArgs;
use super::values::{
    CoreList, Delay, From, NamesrvList, cores, delay, duration, from, namesrv, property,
};
use crate::config::{Flags, Flush, IoChoice, IoName, Reachable, Rule};

/// Start a broker on every core, with the name server built in.
///
/// RocketMQ clients reach it through the name server at port 9876. Without any flag the store is ~/store and every core that the
/// process may run on has a broker. SIGTERM, SIGINT and SIGHUP stop it cleanly; the exit code is 0 if the store was closed cleanly.
#[derive(Args, Clone, Debug, Default)]
#[command(after_help = BROKER_EXAMPLES)]
pub struct BrokerArgs {
    /// A broker.conf with RocketMQ's property names; flags take precedence over it
    #[arg(long, short, value_name = "FILE", alias = "configFile")]
    pub config: Option<PathBuf>,

    /// Directory of the store; each core takes 1 GiB there for its first log file [default: ~/store]
    #[arg(long, value_name = "DIR")]
    pub store: Option<PathBuf>,

    /// When a send is acknowledged [default: async]
    #[arg(long, value_enum)]
    pub flush: Option<FlushArg>,

    /// Cores to run on, such as 0,1 or 0-3: one broker each, with its own port and brokerName [default: all]
    #[arg(long, value_name = "LIST", value_parser = cores)]
    pub cores: Option<CoreList>,

    /// Port of the first core's broker; each further one is 10 higher [default: 10911]
    #[arg(long, value_parser = clap::value_parser!(u16).range(3..))]
    pub port: Option<u16>,

    /// Address that clients connect to [default: that of the interface with the default route]
    #[arg(long, value_name = "IP", value_parser = |text: &str| Reachable.read(text))]
    pub advertise: Option<IpAddr>,

    /// Port of the built-in name server [default: 9876]
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..), conflicts_with = "namesrv")]
    pub namesrv_port: Option<u16>,

    /// Register with these name servers, ours or RocketMQ's, instead of starting one [default: namesrvAddr of the file, else
    /// the environment's NAMESRV_ADDR]
    #[arg(long, short, value_name = "HOST:PORT;...", alias = "namesrvAddr", value_parser = namesrv)]
    pub namesrv: Option<NamesrvList>,

    /// Start although the log is damaged; messages that cannot be read are lost. Run `ringmq store verify` first
    #[arg(long)]
    pub skip_damaged: bool,

    /// Answer GET /live, GET /ready and GET /master over HTTP at this port [default: off]
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub health_port: Option<u16>,

    #[command(flatten)]
    pub io: IoArgs,

    /// Print one line of JSON instead of the banner when everything serves
    #[arg(long)]
    pub json: bool,

    /// Print RocketMQ's line about a successful start, too
    #[arg(long, hide = true)]
    pub boot_line: bool,

    #[command(flatten)]
    pub show: ShowArgs,
}

#[derive(Args, Clone, Debug, Default)]
pub struct IoArgs {
    /// How files and sockets are reached: by io_uring, or without (epoll and threads) [default: auto, by io_uring where it is allowed]
    #[arg(long, value_name = "auto|uring|portable", value_parser = |text: &str| IoName.read(text))]
    pub io: Option<IoChoice>,
}

const BROKER_EXAMPLES: &str = "\
Examples:
  ringmq broker
  ringmq broker --store /data/store --flush sync --cores 0-3
  ringmq broker --config broker.conf --health-port 8080
  ringmq broker --namesrv 10.0.0.1:9876 --port 10911 --json";

/// Start a name server alone.
///
/// Brokers register with it (ringmq broker --namesrv, or RocketMQ's own), and clients ask it for routes. Its settings are kept in
/// ~/namesrv, as RocketMQ's are.
#[derive(Args, Clone, Debug, Default)]
#[command(after_help = NAMESRV_EXAMPLES)]
pub struct NamesrvArgs {
    /// A namesrv.conf with RocketMQ's property names; flags take precedence over it. With enableControllerInNamesrv=true a controller runs in the
    /// same process
    #[arg(long, short, value_name = "FILE", alias = "configFile")]
    pub config: Option<PathBuf>,

    /// Port to listen on [default: 9876]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    pub port: Option<u16>,

    /// Address to listen on [default: all]
    #[arg(long, value_name = "IP")]
    pub bind: Option<IpAddr>,

    /// Directory of the key-value configuration and of changed settings [default: ~/namesrv, for the key-value configuration alone;
    /// settings changed with mqadmin updateNamesrvConfig are then lost with a restart]
    #[arg(long, value_name = "DIR")]
    pub store: Option<PathBuf>,

    /// Print the configuration that the name server would have, as lines of namesrv.conf, and end
    #[arg(short = 'p', long = "print-config", alias = "printConfigItem")]
    pub print_config: bool,

    /// Print RocketMQ's line about a successful start, too
    #[arg(long, hide = true)]
    pub boot_line: bool,

    #[command(flatten)]
    pub io: IoArgs,

    /// Serve metrics for Prometheus at this port, GET /metrics [default: off]
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub metrics_port: Option<u16>,
}

const NAMESRV_EXAMPLES: &str = "\
Examples:
  ringmq namesrv --port 9876 --bind 10.0.0.1
  ringmq namesrv -c namesrv.conf";

/// Send messages to any RocketMQ-compatible cluster.
///
/// The message is BODY, or all of stdin without one, or with --json-lines one message for each line, such as
/// {"body":"text","tag":"created","keys":["order-7"],"properties":{"region":"north"},"delay":"30s","orderBy":"order-7"}
/// where only "body" (or "bodyBase64") is required; what `ringmq consume --json` prints can be sent again as it is.
/// The exit code is 0 if everything was sent, 1 if anything was not, and 130 after Ctrl-C. Sends in flight are always waited for and
/// reported.
#[derive(Args, Clone, Debug)]
#[command(after_help = SEND_EXAMPLES)]
pub struct SendArgs {
    #[command(flatten)]
    pub cluster: ClusterArgs,

    /// Topic [with --json-lines default: the line's own]
    #[arg(long, required_unless_present = "json_lines")]
    pub topic: Option<String>,

    /// Text of the message; if absent or -, all of stdin
    pub body: Option<String>,

    /// Send one message for each line of this file, or of stdin for -
    #[arg(long, value_name = "FILE", conflicts_with_all = ["body", "count"])]
    pub json_lines: Option<PathBuf>,

    /// Tag of the message, which consumers can select by
    #[arg(long)]
    pub tag: Option<String>,

    /// Key that the message can be looked up by; may be repeated
    #[arg(long = "key", value_name = "KEY")]
    pub keys: Vec<String>,

    /// Property of the message, for consumers and SQL filters; may be repeated
    #[arg(long = "property", value_name = "NAME=VALUE", value_parser = property)]
    pub properties: Vec<(String, String)>,

    /// Deliver later: a level of the broker's table (1 to 18) or a time such as 30s, 5m or 2h
    #[arg(long, value_name = "LEVEL|DURATION", value_parser = delay, conflicts_with = "oneway")]
    pub delay: Option<Delay>,

    /// Send messages with the same key to one queue, in order
    #[arg(long, value_name = "KEY", conflicts_with = "oneway")]
    pub order_by: Option<String>,

    /// Number of copies to send
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    pub count: u64,

    /// Most messages per second
    #[arg(long, value_name = "PER_SECOND", value_parser = clap::value_parser!(u32).range(1..))]
    pub rate: Option<u32>,

    /// Most messages in flight at the same time
    #[arg(long, value_name = "MESSAGES", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..))]
    pub in_flight: u32,

    /// Do not wait for the broker's acknowledgement
    #[arg(long)]
    pub oneway: bool,

    /// Time limit of a message, with all its tries
    #[arg(long, value_name = "DURATION", default_value = "3s", value_parser = duration)]
    pub timeout: Duration,

    /// Producer group
    #[arg(long, default_value = "ringmq-send")]
    pub group: String,

    /// Print where each message is stored, as a line of JSON
    #[arg(long)]
    pub json: bool,
}

const SEND_EXAMPLES: &str = "\
Examples:
  ringmq send --topic Orders 'a text' --tag created --key order-7
  ringmq send --topic Orders --delay 30s < body.bin
  ringmq send --topic Orders --count 1000 --rate 100 x
  ringmq consume --topic Orders --group copy --json | ringmq send --json-lines - --namesrv 10.0.0.2:9876";

/// Consume a topic of any RocketMQ-compatible cluster and print its messages.
///
/// It consumes as a member of the group: the group's offsets move on, and other members share the queues. A message that was printed
/// is consumed. It ends after Ctrl-C, after --count messages, or when no message has arrived for --idle, and saves the offsets then.
#[derive(Args, Clone, Debug)]
#[command(after_help = CONSUME_EXAMPLES)]
pub struct ConsumeArgs {
    #[command(flatten)]
    pub cluster: ClusterArgs,

    /// Topic to consume
    #[arg(long)]
    pub topic: String,

    /// Consumer group
    #[arg(long)]
    pub group: String,

    /// Only messages with one of these tags, such as "created || paid"
    #[arg(long, value_name = "TAGS")]
    pub tag: Option<String>,

    /// Only messages whose properties satisfy this SQL92 expression, such as "amount > 10"; the broker needs enablePropertyFilter=true
    #[arg(long, value_name = "EXPRESSION", conflicts_with = "tag")]
    pub sql: Option<String>,

    /// Get all messages, independent of other members of the group
    #[arg(long, conflicts_with = "orderly")]
    pub broadcast: bool,

    /// Lock the queues, and print the messages of each in order
    #[arg(long)]
    pub orderly: bool,

    /// Where to begin in a queue without an offset of the group: first, last, or a time such as 2026-11-21T10:00:00Z
    /// or in ms since 1970
    #[arg(long, value_name = "first|last|TIME", default_value = "last", value_parser = from)]
    pub from: From,

    /// Number of messages to print
    #[arg(long, value_name = "MESSAGES", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,

    /// End when no message has arrived for this long
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub idle: Option<Duration>,

    /// Print each message as a line of JSON, with its ids, offsets and properties
    #[arg(long)]
    pub json: bool,

    /// Name of this consumer; a broadcasting one finds its offsets under it again
    #[arg(long, value_name = "NAME")]
    pub instance: Option<String>,
}

const CONSUME_EXAMPLES: &str = "\
Examples:
  ringmq consume --topic Orders --group audit
  ringmq consume --topic Orders --group audit --from first --idle 2s --json
  ringmq consume --topic Orders --group audit --tag 'created || paid' --count 10
  ringmq consume --topic Orders --group audit --sql 'amount > 10'";

#[derive(Args, Clone, Debug)]
pub struct ClusterArgs {
    /// Name server, or several
    #[arg(long, value_name = "HOST:PORT;...", env = "NAMESRV_ADDR", default_value = "127.0.0.1:9876", value_parser = namesrv)]
    pub namesrv: NamesrvList,

    #[command(flatten)]
    pub credentials: CredentialsArgs,

    #[command(flatten)]
    pub tls: TlsArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FlushArg {
    /// Once its bytes are on the device and the device's cache is flushed: survives a power loss
    Sync,
    /// Once its bytes are written to the device; flushed within 500 ms
    Async,
}

impl std::convert::From<BrokerArgs> for Flags {
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
            skip_damaged: args.skip_damaged.then_some(true),
            health_port: args.health_port,
            io: args.io.io,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

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

    #[derive(Parser)]
    struct Send {
        #[command(flatten)]
        args: SendArgs,
    }

    #[derive(Parser)]
    struct Consume {
        #[command(flatten)]
        args: ConsumeArgs,
    }

    fn send(line: &str) -> Result<SendArgs, clap::Error> {
        Send::try_parse_from(line.split_whitespace()).map(|send| send.args)
    }

    fn consume(line: &str) -> Result<ConsumeArgs, clap::Error> {
        Consume::try_parse_from(line.split_whitespace()).map(|consume| consume.args)
    }

    #[test]
    fn what_to_send() {
        let args = send("send --topic T --tag a --key k --key l --property x=y=z --delay 30s text")
            .unwrap();
        assert_eq!(args.cluster.namesrv.0, ["127.0.0.1:9876"]);
        assert_eq!(
            (args.keys.len(), args.count, args.body.as_deref()),
            (2, 1, Some("text"))
        );
        assert_eq!(args.properties, [("x".to_owned(), "y=z".to_owned())]);
        assert_eq!(args.delay, Some(Delay::For(Duration::from_secs(30))));
        assert_eq!(
            send("send --topic T --delay 3").unwrap().delay,
            Some(Delay::Level(3))
        );
        assert!(send("send --json-lines -").unwrap().topic.is_none());
        for line in [
            "",
            "text",
            "--topic T --json-lines - text",
            "--topic T --property x",
            "--topic T --property =x",
            "--topic T --delay 0",
            "--topic T --delay 19",
            "--topic T --delay soon",
            "--topic T --timeout 3",
            "--topic T --count 0",
            "--topic T --rate 0",
            "--topic T --oneway --order-by k",
            "--topic T --namesrv nowhere",
        ] {
            assert!(send(&format!("send {line}")).is_err(), "{line}");
        }
    }

    #[test]
    fn what_to_consume() {
        let args = consume("consume --topic T --group g --from 1000 --count 3").unwrap();
        let second = UNIX_EPOCH + Duration::from_secs(1);
        assert_eq!((args.from, args.count), (From::Time(second), Some(3)));
        let args = consume("consume --topic T --group g --from 1970-01-01T00:00:01Z").unwrap();
        assert_eq!(args.from, From::Time(second));
        for (text, expected) in [("first", From::First), ("last", From::Last)] {
            let line = format!("consume --topic T --group g --from {text}");
            assert_eq!(consume(&line).unwrap().from, expected);
        }
        for line in [
            "--topic T",
            "--group g",
            "--topic T --group g --tag a --sql b",
            "--topic T --group g --from then",
            "--topic T --group g --count 0",
            "--topic T --group g --broadcast --orderly",
        ] {
            assert!(consume(&format!("consume {line}")).is_err(), "{line}");
        }
    }

    fn flags(line: &str) -> Result<Flags, clap::Error> {
        Broker::try_parse_from(line.split(' ').filter(|part| !part.is_empty()))
            .map(|broker| broker.args.into())
    }

    #[test]
    fn the_definitions_are_sound() {
        Broker::command().debug_assert();
        Send::command().debug_assert();
        Consume::command().debug_assert();
        Namesrv::command().debug_assert();
    }

    #[test]
    fn nothing_said_is_left_to_the_file() {
        assert_eq!(flags("broker").unwrap(), Flags::default());
    }

    #[test]
    fn every_flag_arrives() {
        let line = "broker --config a.conf --store /s --flush sync --cores 0,1 --port 11911 --advertise 192.0.2.9 --namesrv-port 19876 \
                    --skip-damaged --health-port 8080 --io portable";
        let expected = Flags {
            config_file: Some("a.conf".into()),
            store_dir: Some("/s".into()),
            flush: Some(Flush::Sync),
            cores: Some(vec![0, 1]),
            listen_port: Some(11911),
            advertise: Some(IpAddr::from([192, 0, 2, 9])),
            namesrv_port: Some(19876),
            namesrv: None,
            skip_damaged: Some(true),
            health_port: Some(8080),
            io: Some(IoChoice::Portable),
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
            "--io io_uring",
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
    fn where_a_name_server_listens_is_optional() {
        let args = Namesrv::try_parse_from(["namesrv"]).unwrap().args;
        assert_eq!((args.config, args.port, args.bind), (None, None, None));
        let args = Namesrv::try_parse_from(["namesrv", "--port", "1", "--bind", "127.0.0.1"])
            .unwrap()
            .args;
        let bind = Some(IpAddr::from([127, 0, 0, 1]));
        assert_eq!((args.port, args.bind), (Some(1), bind));
    }
}
