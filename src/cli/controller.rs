//! `ringmq controller`

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};

use anyhow::{Context, Result, anyhow, bail};
use clap::Args;
use futures_util::FutureExt;
use futures_util::future::AbortHandle;
use tracing::error;

use super::metrics::{self, LastPush};
use super::usage::UsageError;
use super::{directory, preflight, privileges, signals, tls};
use crate::config::{Config, ControllerMetrics, Surroundings, asks_for_controller, properties};
use crate::controller::Settings;
use crate::quorum::{self, Figures, Links, Setup, read_id, read_peers};

/// Start a controller, which elects the masters of replicated brokers.
///
/// Brokers in controller mode, RocketMQ's or ringmq's, name it in controllerAddr. Alone it works too; three on three machines go on when one
/// of them dies. RocketMQ's property names apply, so that the file of `mqcontroller -c` can be used as it is.
#[derive(Args, Clone, Debug, Default)]
#[command(after_help = EXAMPLES)]
pub struct ControllerArgs {
    /// A controller.conf with RocketMQ's property names; flags take precedence over it
    #[arg(long, short, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Name of the group of controllers [default: group1]
    #[arg(long)]
    pub group: Option<String>,

    /// All controllers of the group, such as n0-10.0.0.1:9878;n1-10.0.0.2:9878;n2-10.0.0.3:9878 [default: n0-127.0.0.1:9878]
    #[arg(long, value_name = "ID-HOST:PORT;...")]
    pub peers: Option<String>,

    /// Which of them this one is [default: n0]
    #[arg(long, value_name = "ID")]
    pub self_id: Option<String>,

    /// Directory of what the controllers agreed on [default: ~/ringmqController]
    #[arg(long, value_name = "DIR")]
    pub store: Option<PathBuf>,

    /// Address to listen on [default: all; the port is that of this controller in the list]
    #[arg(long, value_name = "IP")]
    pub bind: Option<IpAddr>,
}

const EXAMPLES: &str = "\
Examples:
  ringmq controller
  ringmq controller -c controller.conf
  ringmq controller --peers 'n0-10.0.0.1:9878;n1-10.0.0.2:9878;n2-10.0.0.3:9878' --self-id n1 --store /data/controller";

/// Only what a controller's configuration decides at its start.
#[derive(Default)]
struct Properties {
    group: Option<String>,
    peers: Option<String>,
    self_id: Option<String>,
    store: Option<PathBuf>,
    bind: Option<IpAddr>,
    settings: Settings,
    metrics: ControllerMetrics,
}

impl Properties {
    fn read(text: &str) -> Result<Self> {
        let mut read = Self::default();
        read.settings.read(text)?;
        for properties::Entry { key, value, line } in properties::parse(text) {
            if value.is_empty() {
                continue;
            }
            let of_metrics = read.metrics.set(&key, &value);
            of_metrics.map_err(|error| anyhow!("line {line}: {error}"))?;
            match key.as_str() {
                "controllerDLegerGroup" => read.group = Some(value),
                "controllerDLegerPeers" => read.peers = Some(value),
                "controllerDLegerSelfId" => read.self_id = Some(value),
                "controllerStorePath" => read.store = Some(value.into()),
                "bindAddress" => {
                    let bind = value.parse();
                    read.bind =
                        Some(bind.with_context(|| format!("line {line}: bindAddress={value}"))?);
                }
                "controllerType" if value.eq_ignore_ascii_case("jRaft") => bail!(
                    "line {line}: controllerType=jRaft names its peers in another way; give controllerDLegerPeers and controllerDLegerSelfId"
                ),
                _ => {}
            }
        }
        read.metrics.check().map_err(anyhow::Error::msg)?;
        Ok(read)
    }
}

fn setup(args: ControllerArgs, text: &str, home: &Path) -> Result<(Setup, ControllerMetrics)> {
    let file = Properties::read(text)?;
    let wrong = |what: &str, error: String| UsageError::new(format!("{what}: {error}"));
    let peers = args.peers.or(file.peers);
    let peers = peers.as_deref().unwrap_or("n0-127.0.0.1:9878");
    let peers =
        read_peers(peers).map_err(|error| wrong("--peers, or controllerDLegerPeers", error))?;
    let self_id = args.self_id.or(file.self_id);
    let self_id = self_id.as_deref().unwrap_or("n0");
    let number =
        read_id(self_id).map_err(|error| wrong("--self-id, or controllerDLegerSelfId", error))?;
    if !peers.contains_key(&number) {
        let error = format!("{self_id} is none of the controllers");
        return Err(wrong("--self-id, or controllerDLegerSelfId", error).into());
    }
    let setup = Setup {
        group: args
            .group
            .or(file.group)
            .unwrap_or_else(|| "group1".to_owned()),
        peers,
        self_id: number,
        dir: args
            .store
            .or(file.store)
            .unwrap_or_else(|| home.join("ringmqController")),
        bind: args
            .bind
            .or(file.bind)
            .unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
        settings: file.settings,
    };
    Ok((setup, file.metrics))
}

/// Of the flags and the file that they name.
fn load(args: ControllerArgs) -> Result<(Setup, ControllerMetrics)> {
    let home = Surroundings::observe().home;
    let Some(path) = args.config.clone() else {
        return setup(args, "", &home);
    };
    let place = || path.display().to_string();
    let text = properties::read_file(&path).with_context(place)?;
    setup(args, &text, &home).with_context(place)
}

/// TLS, as the file and the environment say, and whom the file lets ask. Alone: no broker or name server has the same file.
fn links_of(file: Option<&Path>, is_alone: bool) -> Result<Links> {
    let text = match file {
        None => String::new(),
        Some(path) => properties::read_file(path).with_context(|| path.display().to_string())?,
    };
    let config = Config::tls_of(&text, &Surroundings::observe())?;
    Ok(Links {
        security: tls::start_controller(&config)?,
        access: directory::of_controller(&text, is_alone)?,
    })
}

fn check_port(setup: &Setup) -> Result<SocketAddr> {
    let listen = SocketAddr::new(setup.bind, setup.port());
    preflight::check_port(listen, "--peers, or controllerDLegerPeers")?;
    Ok(listen)
}

fn check_metrics_port(shown: &ControllerMetrics) -> Result<()> {
    let addr = shown.listen();
    addr.map_or(Ok(()), |addr| {
        preflight::check_port(addr, metrics::CONTROLLER_SETTING)
    })
}

/// Exports the metrics, if that is asked for.
fn show(shown: &ControllerMetrics, figures: Figures) -> Option<LastPush> {
    let exported = metrics::start_controller(shown, figures);
    exported.unwrap_or_else(|error| {
        error!("no metrics: {error:#}");
        None
    })
}

fn description(setup: &Setup, listen: SocketAddr) -> String {
    let (id, group, store) = (&setup.own().id, &setup.group, setup.dir.display());
    format!("controller {id} of {group} at {listen}, store {store}")
}

pub fn run(args: ControllerArgs) -> Result<()> {
    let links = links_of(args.config.as_deref(), true)?;
    let (setup, shown) = load(args)?;
    privileges::say();
    let text = description(&setup, check_port(&setup)?);
    check_metrics_port(&shown)?;
    let (stop, stopped) = futures_util::future::abortable(std::future::pending::<()>());
    signals::on_stop(move |_| stopped.abort())?;
    let mut last_push = None;
    let ready = |figures| {
        last_push = show(&shown, figures);
        println!("ringmq {} {text}", env!("CARGO_PKG_VERSION"));
        println!("ready");
    };
    let ran = quorum::run(setup, links, stop.map(|_| ()), ready);
    if let Some(last) = last_push {
        last.push();
    }
    Ok(ran?)
}

/// A controller on a thread of a name server's or a broker's process (RocketMQ: `enableControllerInNamesrv`).
///
/// When its disk fails it ends alone: the others of its group go on, and so does what the process does beside it.
pub struct Inside {
    /// For the banner.
    pub text: String,
    pub figures: Figures,
    /// What the file says of metrics: those of the broker, or of the controller in a name server.
    shown: ControllerMetrics,
    stopped: AbortHandle,
    thread: JoinHandle<()>,
}

impl Inside {
    /// Returns when it serves. `None`: the file starts none, and its properties of a controller are not checked.
    pub fn start(file: Option<&Path>) -> Result<Option<Inside>> {
        let Some(path) = file else { return Ok(None) };
        let place = || path.display().to_string();
        let text = properties::read_file(path).with_context(place)?;
        let is_asked_for = asks_for_controller(&text).map_err(anyhow::Error::msg);
        if !is_asked_for.with_context(place)? {
            return Ok(None);
        }
        let links = links_of(Some(path), false)?;
        let (setup, shown) = load(ControllerArgs {
            config: Some(path.to_owned()),
            ..ControllerArgs::default()
        })?;
        let text = description(&setup, check_port(&setup)?);
        let (stop, stopped) = futures_util::future::abortable(std::future::pending::<()>());
        let (to_start, started) = std::sync::mpsc::channel();
        let thread = thread::Builder::new()
            .name("controller".into())
            .spawn(move || {
                let at_ready = to_start.clone();
                let ready = move |figures| drop(at_ready.send(Ok(figures)));
                if let Err(error) = quorum::run(setup, links, stop.map(|_| ()), ready) {
                    error!(%error, "the controller in this process has ended");
                    // There is no receiver any more once the controller has served.
                    drop(to_start.send(Err(error)));
                }
            })?;
        let figures = started.recv()??;
        Ok(Some(Inside {
            text,
            figures,
            shown,
            stopped,
            thread,
        }))
    }

    /// Exports its metrics as its file says, where nothing else has them from there.
    pub fn export(&self) -> Result<Option<LastPush>> {
        check_metrics_port(&self.shown)?;
        metrics::start_controller(&self.shown, self.figures.clone())
    }

    fn stop(self) -> Result<()> {
        self.stopped.abort();
        let ended = self.thread.join();
        ended.map_err(|_| anyhow!("the controller's thread panicked"))
    }

    /// Stops it, if there is one, behind what it ran beside; an error of that is the one to report.
    pub fn stop_behind(controller: Option<Inside>, ran: Result<()>) -> Result<()> {
        let stopped = controller.map_or(Ok(()), Self::stop);
        ran.and(stopped)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Controller {
        #[command(flatten)]
        args: ControllerArgs,
    }

    fn read(line: &str, text: &str) -> Result<Setup> {
        read_all(line, text).map(|(setup, _)| setup)
    }

    fn read_all(line: &str, text: &str) -> Result<(Setup, ControllerMetrics)> {
        let args = Controller::try_parse_from(line.split_whitespace())
            .unwrap()
            .args;
        setup(args, text, Path::new("/home/me"))
    }

    fn inside(text: &[u8]) -> Result<Option<Inside>> {
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("broker.conf");
        std::fs::write(&file, text)?;
        Inside::start(Some(&file))
    }

    /// In any encoding, and whatever it has of a controller: a broker starts with such a file.
    #[test]
    fn a_file_that_does_not_ask_for_a_controller_starts_none() {
        let text =
            b"# caf\xe9\nbrokerName=a\ncontrollerType=jRaft\nenableControllerInNamesrv=false\n";
        assert!(inside(text).unwrap().is_none());
        assert!(Inside::start(None).unwrap().is_none());
        let error = inside(b"enableControllerInNamesrv=perhaps\n")
            .err()
            .unwrap();
        let text = format!("{error:#}");
        assert!(
            text.contains("enableControllerInNamesrv=perhaps: true or false"),
            "{text}"
        );
    }

    /// broker.conf takes what a controller reads of it, and says of nothing else that it has an effect.
    #[test]
    fn a_broker_takes_the_properties_of_its_controller() {
        let settings = Settings::default().properties_text();
        let text = format!(
            "{settings}controllerDLegerGroup=g\ncontrollerDLegerPeers=n0-a:1\ncontrollerDLegerSelfId=n0\n\
             controllerStorePath=/c\ncontrollerType=DLedger\nenableControllerInNamesrv="
        );
        let notes = |value: &str| {
            let text = format!("{text}{value}\n");
            let surroundings = Surroundings::observe();
            let (_, notes) = Config::merge(&text, &Default::default(), &surroundings).unwrap();
            let notes = notes.into_iter().map(|note| note.text);
            notes.collect::<Vec<_>>().join("\n")
        };
        assert_eq!(notes("true"), "");
        assert!(notes("false").contains("without effect here: enableElectUncleanMaster"));
    }

    #[test]
    fn alone_without_any_configuration() {
        let setup = read("controller", "").unwrap();
        assert_eq!(
            (setup.self_id, setup.port(), setup.peers.len()),
            (0, 9878, 1)
        );
        assert_eq!(setup.dir, Path::new("/home/me/ringmqController"));
    }

    /// What RocketMQ ships as `conf/controller/cluster-3n-independent/controller-n1.conf`.
    #[test]
    fn rocketmqs_own_file() {
        let text = "controllerDLegerGroup = group1\n\
            controllerDLegerPeers = n0-127.0.0.1:9878;n1-127.0.0.1:9868;n2-127.0.0.1:9858\n\
            controllerDLegerSelfId = n1\n\
            controllerStorePath = /data/controller\n\
            enableElectUncleanMaster = false\nnotifyBrokerRoleChanged = true\nscanNotActiveBrokerInterval = 5000\n\
            rocketmqHome = /opt/rocketmq\nconfigStorePath=/x\n";
        let setup = read("controller", text).unwrap();
        assert_eq!(
            (setup.self_id, setup.port(), setup.peers.len()),
            (1, 9868, 3)
        );
        assert_eq!(setup.settings.scan_interval_ms, 5_000);
        assert_eq!(setup.dir, Path::new("/data/controller"));
        let flags = read("controller --self-id n2 --store /x --bind 127.0.0.1", text).unwrap();
        assert_eq!((flags.self_id, flags.dir.as_path()), (2, Path::new("/x")));
    }

    #[test]
    fn the_defaults_of_brokers_and_controllers_fit() {
        let (broker, controller) = (Config::default(), Settings::default());
        // A broker that misses one heartbeat, or two, is not dead, and what it states itself is not less.
        assert_eq!(3 * broker.broker_heartbeat_ms, controller.silence_limit_ms);
        assert!(controller.silence_limit_ms < broker.controller_timeout_ms);
        // Of the 3 s after which a client gives up a send, a poll of its route takes 1 s; the rest is the new master's.
        let election_ms = controller.silence_limit_ms + 2 * controller.scan_interval_ms;
        assert!(election_ms + 1_000 <= 3_000 - 250);
        // A master that is cut off answers what waits for its set when another one may have been elected.
        assert!(election_ms <= broker.slave_timeout_ms);
    }

    #[test]
    fn metrics_have_rocketmqs_settings() {
        let shown = |text| read_all("controller", text).map(|(_, shown)| shown.listen());
        assert_eq!(shown("").unwrap(), None);
        let text = "metricsExporterType=PROM\nmetricsPromExporterHost=127.0.0.1\nmetricsPromExporterPort=5570\n";
        assert_eq!(
            shown(text).unwrap(),
            Some("127.0.0.1:5570".parse().unwrap())
        );
        let any = shown("metricsExporterType=2\n").unwrap();
        assert_eq!(any, Some("0.0.0.0:5557".parse().unwrap()));
        let pushes = "metricsExporterType=OTLP_GRPC\nmetricsGrpcExporterTarget=http://otel:4317\n";
        assert_eq!(shown(pushes).unwrap(), None);
        let (_, pushed) = read_all("controller", pushes).unwrap();
        assert!(pushed.push().is_some());
        let error = shown("metricsExporterType=OTLP_GRPC").unwrap_err();
        assert!(format!("{error:#}").contains("metricsGrpcExporterTarget"));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (line, text, expected) in [
            ("controller --peers x", "", "controllerDLegerPeers"),
            (
                "controller --self-id n7",
                "",
                "n7 is none of the controllers",
            ),
            ("controller", "controllerType=jRaft", "jRaft"),
            ("controller", "bindAddress=x", "line 1: bindAddress=x"),
            (
                "controller",
                "scanNotActiveBrokerInterval=x",
                "scanNotActiveBrokerInterval=x",
            ),
        ] {
            let error = format!("{:#}", read(line, text).unwrap_err());
            assert!(error.contains(expected), "{error}");
        }
    }
}
