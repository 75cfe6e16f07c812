//! The metrics of all shards of the process, and how they leave it (`metricsExporterType`): at an HTTP port for Prometheus ([`endpoint`]), or pushed to
//! an OpenTelemetry collector or into the log ([`push`]).
//!
//! That is done on a thread of its own, which asks the shards section by section ([`exporter`]). A shard that recovers is not asked: its state is all there
//! is of it.

mod body;
mod desk;
mod endpoint;
mod exporter;
mod page;
mod push;

use std::collections::BTreeSet;
use std::net::SocketAddr;

use anyhow::Result;

pub use self::desk::Mailbox;
use self::exporter::{Controller, Exporter, Node};
pub use self::push::LastPush;
use super::health::Board;
use crate::config::{Config, ControllerMetrics, MetricsExporter, Push};
use crate::metrics::{Family, NodeLabels, Section, Switch, families};
use crate::quorum::Figures;
use crate::reactor::{Health, IoBackend};

/// Metrics may take their time, messages may not.
const NICENESS: i32 = 10;

/// The settings of a controller's port.
pub const CONTROLLER_SETTING: &str =
    "metricsPromExporterPort and metricsPromExporterHost of the controller";

/// What is exported of a broker.
pub struct Exported {
    /// One for each shard, in their order; none if nothing is exported.
    pub mailboxes: Vec<Option<Mailbox>>,
    pub last_push: Option<LastPush>,
}

/// Exports the metrics of a broker, if that is asked for, and those of the controller in its process.
pub fn start(config: &Config, board: &Board, controller: Option<Figures>) -> Result<Exported> {
    if config.metrics_exporter == MetricsExporter::Disable {
        return Ok(Exported {
            mailboxes: (0..config.shards()).map(|_| None).collect(),
            last_push: None,
        });
    }
    let push = config.metrics_push();
    let labels = labels(push.as_ref(), &config.metrics_labels);
    let (mut nodes, mut mailboxes) = (Vec::new(), Vec::new());
    for shard in 0..config.shards() {
        let (cluster, name) = (&config.cluster_name, config.shard_name(shard));
        let (node, mailbox) = Node::new(NodeLabels::new(cluster, &name, "broker", &labels))?;
        nodes.push(node);
        mailboxes.push(Some(mailbox));
    }
    let beside = [Section::Process, Section::NameServer, Section::Controller];
    let exporter = Exporter {
        board: board.clone(),
        nodes,
        controller: controller.map(|figures| Controller { figures, labels }),
        families: switched_on(config),
        sections: beside.into_iter().chain(Section::OF_SHARDS).collect(),
    };
    let setting = "metricsPromExporterPort and metricsPromExporterHost in broker.conf";
    let last_push = export(exporter, Some((addr(config), setting)), push)?;
    Ok(Exported {
        mailboxes,
        last_push,
    })
}

/// The same of a name server alone, which listens at this address, and has this I/O.
pub fn start_namesrv(addr: SocketAddr, namesrv: SocketAddr, io: IoBackend) -> Result<Mailbox> {
    let name = namesrv.to_string();
    let (node, mailbox) = Node::new(NodeLabels::new("", &name, "nameserver", &[]))?;
    let board = Board::new(io, [name]);
    board.tell(0, Health::Serving);
    let exporter = Exporter {
        board,
        nodes: vec![node],
        controller: None,
        families: names_of(Section::NameServer),
        sections: vec![Section::NameServer],
    };
    endpoint::serve(exporter, addr, "--metrics-port")?;
    Ok(mailbox)
}

/// The same of a controller, as its own file says.
pub fn start_controller(shown: &ControllerMetrics, figures: Figures) -> Result<Option<LastPush>> {
    let push = shown.push();
    let labels = labels(push.as_ref(), &shown.labels);
    let exporter = Exporter {
        board: Board::new(IoBackend::default(), []),
        nodes: Vec::new(),
        controller: Some(Controller { figures, labels }),
        families: names_of(Section::Controller),
        sections: vec![Section::Controller],
    };
    let listen = shown.listen().map(|addr| (addr, CONTROLLER_SETTING));
    export(exporter, listen, push)
}

/// Pushes, or listens at an address, which comes with its setting.
fn export(
    exporter: Exporter,
    listen: Option<(SocketAddr, &'static str)>,
    push: Option<Push>,
) -> Result<Option<LastPush>> {
    match (push, listen) {
        (Some(push), _) => push::start(exporter, push).map(Some),
        (None, Some((addr, setting))) => endpoint::serve(exporter, addr, setting).map(|()| None),
        (None, None) => Ok(None),
    }
}

fn labels(push: Option<&Push>, extra: &[(String, String)]) -> Vec<(String, String)> {
    push.map_or_else(|| extra.to_vec(), |push| push::labels(push, extra))
}

/// Where the metrics are.
pub fn addr(config: &Config) -> SocketAddr {
    let host = config.metrics_host.unwrap_or(config.advertise);
    SocketAddr::new(host, config.metrics_port)
}

/// Names of the metrics whose switch is on.
fn switched_on(config: &Config) -> BTreeSet<&'static str> {
    let is_on = |family: &&Family| match family.switch {
        Switch::None => true,
        Switch::Stats => config.stats_metrics,
        Switch::Request => config.request_metrics,
        Switch::Connection => config.connection_metrics,
        Switch::LagAndDlq => config.lag_metrics,
        Switch::Transaction => config.transaction_metrics,
        Switch::Remoting => config.remoting_metrics,
        Switch::MessageStore => config.store_metrics,
        Switch::Pop => config.pop_metrics,
    };
    let families = families::ALL.iter().filter(is_on);
    families.map(|family| family.name).collect()
}

fn names_of(section: Section) -> BTreeSet<&'static str> {
    section.families().map(|family| family.name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::families::MESSAGES_IN;

    #[test]
    fn switches_leave_ours_on() {
        let config = Config {
            request_metrics: false,
            ..Config::default()
        };
        let on = switched_on(&config);
        assert!(!on.contains(MESSAGES_IN.name) && on.contains("rocketmq_rpc_latency_milliseconds"));
        assert!(on.contains("ringmq_info"));
        assert_eq!(switched_on(&Config::default()).len(), families::ALL.len());
    }
}
