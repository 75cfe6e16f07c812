//! `ringmq namesrv`

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use anyhow::{Context, Result, anyhow, bail};

use super::args::NamesrvArgs;
use super::backend::{Backend, Program, ThreadOptions, start};
use super::broker::warn_open;
use super::controller::Inside;
use super::metrics::Mailbox;
use super::{directory, metrics, mq, preflight, privileges, setup, signals, tls};
use crate::auth::{Book, Rules};
use crate::config::{Config, Surroundings, properties};
use crate::namesrv::Settings;
use crate::reactor::{self, NamesrvSetup, ServeError};
use crate::ring::linux::{Doorbell, Machine};

/// Its name is fixed, its directory is not.
const KV_FILE: &str = "kvConfig.json";

/// What a namesrv.conf decides at the start.
#[derive(Default)]
struct Properties {
    port: Option<u16>,
    bind: Option<IpAddr>,
    /// Directory of the key-value configuration.
    kv_dir: Option<PathBuf>,
    settings: Settings,
    /// What requests are checked by.
    check: Option<(Rules, Arc<Book>)>,
    /// All of it, for its settings of TLS.
    tls: String,
}

impl Properties {
    fn of_file(path: &Path) -> Result<Self> {
        Self::read(&properties::read_file(path)?)
    }

    /// Names without a meaning here are ignored, as RocketMQ does; those of a controller in the same process are read elsewhere.
    fn read(text: &str) -> Result<Self> {
        let mut read = Self::default();
        read.settings.read(text)?;
        read.check = directory::of_namesrv(text)?;
        read.tls = text.to_owned();
        for properties::Entry { key, value, line } in properties::parse(text) {
            let wrong = || format!("line {line}: {key}={value}");
            match key.as_str() {
                "listenPort" => read.port = Some(value.parse().with_context(wrong)?),
                "bindAddress" => read.bind = Some(value.parse().with_context(wrong)?),
                "kvConfigPath" => {
                    let path = std::path::absolute(&value).with_context(wrong)?;
                    if !path.ends_with(KV_FILE) {
                        bail!("{}: the file's name has to be {KV_FILE}", wrong());
                    }
                    read.kv_dir = path.parent().map(Path::to_owned);
                }
                _ => {}
            }
        }
        Ok(read)
    }
}

/// RocketMQ's name server keeps its key-value configuration in `~/namesrv`, and reads no settings from there. So settings are kept
/// only in a directory that was given.
fn names_setup(args: NamesrvArgs, file: Properties, home: &Path) -> NamesrvSetup {
    let dir = args.store.clone().or(file.kv_dir);
    let bind = args.bind.or(file.bind);
    let port = args.port.or(file.port);
    NamesrvSetup {
        listen: SocketAddr::new(
            bind.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
            port.unwrap_or(file.settings.listen_port),
        ),
        keeps_settings: args.store.is_some(),
        settings: file.settings,
        dir: dir.unwrap_or_else(|| home.join("namesrv")),
        max_connections: setup::max_connections(1).shard,
        check: file.check,
    }
}

pub fn run(args: NamesrvArgs) -> Result<()> {
    let (config, boot_line) = (args.config.clone(), args.boot_line);
    let wanted = args.io.io.unwrap_or_default();
    let metrics_port = args.metrics_port;
    let file = match &config {
        None => Properties::default(),
        Some(path) => Properties::of_file(path).with_context(|| path.display().to_string())?,
    };
    let surroundings = Surroundings::observe();
    let secured = Config::tls_of(&file.tls, &surroundings)?;
    let only_prints = args.print_config;
    let names = names_setup(args, file, &surroundings.home);
    let listen = names.listen;
    if only_prints {
        print!(
            "listenPort={}\n{}",
            listen.port(),
            names.settings.properties_text()
        );
        return Ok(());
    }
    privileges::say();
    if is_open(&names) {
        warn_open(listen.ip());
    }
    let backend = Backend::choose(wanted)?;
    preflight::check_port(listen, "--port, or listenPort")?;
    let mailbox = match metrics_port {
        Some(port) => Some(metrics::start_namesrv(
            SocketAddr::new(listen.ip(), port),
            listen,
            backend.name(),
        )?),
        None => None,
    };
    let doorbell = Doorbell::new()?;
    let (bell, at_signal) = (doorbell.clone(), doorbell);
    signals::on_stop(move |_| at_signal.ring())?;
    let security = tls::start_one(&secured)?;
    let controller = Inside::start(config.as_deref())?;
    let last_push = controller.as_ref().map_or(Ok(None), Inside::export)?;
    let beside = controller
        .as_ref()
        .map(|controller| controller.text.clone());
    let served = Served {
        names,
        bell,
        beside,
        boot_line,
        mailbox,
        security,
    };
    let served = serve(backend, served);
    if let Some(last) = last_push {
        last.push();
    }
    Inside::stop_behind(controller, served)
}

/// Whether it accepts connections from other machines and asks for no credentials.
fn is_open(names: &NamesrvSetup) -> bool {
    let authenticates = |(rules, _): &(Rules, _)| rules.authenticates;
    !names.listen.ip().is_loopback() && !names.check.as_ref().is_some_and(authenticates)
}

/// Returns when it has ended.
fn serve(backend: Backend, served: Served) -> Result<()> {
    let thread = thread::Builder::new()
        .name("namesrv".into())
        .spawn(move || start(backend, ThreadOptions::default(), served))?;
    match thread.join() {
        Ok(served) => Ok(served??),
        Err(_) => Err(anyhow!("the name server's thread panicked")),
    }
}

/// What the name server's thread does.
struct Served {
    names: NamesrvSetup,
    /// Ends it.
    bell: Doorbell,
    /// What runs in the same process.
    beside: Option<String>,
    /// Prints RocketMQ's line about the start as well.
    boot_line: bool,
    /// Questions of the exporter of metrics.
    mailbox: Option<Mailbox>,
    security: tls::Mailbox,
}

impl Program for Served {
    type Output = Result<(), ServeError>;

    async fn run<M: Machine>(self, machine: M) -> Self::Output {
        let Self {
            names,
            bell,
            beside,
            boot_line,
            mailbox,
            security,
        } = self;
        let (waiting, listen) = (machine.clone(), names.listen);
        let stop = async move {
            // It can only fail with the reactor itself.
            let _ = waiting.wait(&bell).await;
        };
        let ready = move || {
            println!(
                "ringmq {} name server at {listen}",
                env!("CARGO_PKG_VERSION")
            );
            if let Some(text) = beside {
                println!("  {text}");
            }
            println!("ready");
            if boot_line {
                println!("{}", mq::namesrv_line(&listen.to_string()));
            }
        };
        let scrapes = mailbox.map(|mailbox| mailbox.on(machine.clone()));
        reactor::run_namesrv(security.over(&machine), names, stop, ready, scrapes).await
    }
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

    fn args(line: &[&str]) -> NamesrvArgs {
        Namesrv::try_parse_from(line).unwrap().args
    }

    /// RocketMQ's own `namesrv.conf` for a controller inside, with some more lines.
    #[test]
    fn the_file_of_rocketmqs_name_server() {
        let text = "listenPort=29876\nenableControllerInNamesrv = true\ncontrollerDLegerGroup = group1\n\
            kvConfigPath=/var/names/kvConfig.json\norderMessageEnable=true\nbindAddress=127.0.0.1\n";
        let file = Properties::read(text).unwrap();
        let setup = names_setup(args(&["namesrv"]), file, Path::new("/home/me"));
        assert_eq!(setup.listen.to_string(), "127.0.0.1:29876");
        assert_eq!(setup.dir, Path::new("/var/names"));
        assert!(setup.settings.order_message_enable && !setup.keeps_settings);
        let file = Properties::read(text).unwrap();
        let flags = args(&["namesrv", "--port", "1", "--store", "/s"]);
        let setup = names_setup(flags, file, Path::new("/home/me"));
        assert_eq!((setup.listen.port(), setup.dir), (1, "/s".into()));
        for wrong in [
            "listenPort=x",
            "bindAddress=here",
            "enableTopicList=maybe",
            "kvConfigPath=/x/other.json",
        ] {
            let error = Properties::read(wrong).err().unwrap();
            let (name, _) = wrong.split_once('=').unwrap();
            assert!(format!("{error:#}").contains(name), "{error:#}");
        }
    }

    #[test]
    fn settings_are_kept_only_where_a_directory_is_given() {
        let setup = |line: &[&str]| {
            let setup = names_setup(args(line), Properties::default(), Path::new("/home/me"));
            (setup.keeps_settings, setup.dir)
        };
        assert_eq!(setup(&["namesrv"]), (false, "/home/me/namesrv".into()));
        let given = setup(&["namesrv", "--store", "/var/names"]);
        assert_eq!(given, (true, "/var/names".into()));
    }
}
