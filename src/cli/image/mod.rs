//! `ringmq image`: an image for containers of this binary, made without a daemon. It has RocketMQ's paths, ports, user and environment, so that compose
//! files and charts for `apache/rocketmq` work with another name of the image.

mod layer;
mod layout;
mod program;

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;
use serde_json::{Value, json};

use self::layer::{Layer, UID};
use super::mq;
use crate::broker::requests::ROCKETMQ_VERSION;

/// Write an image for containers that has this binary in it.
///
/// Docker, Podman, containerd and skopeo load it. It has the paths, ports, user and environment of apache/rocketmq, so that a compose file or a chart works
/// with only the name of the image changed. It is the same, byte for byte, whenever the same binary writes it.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  ringmq image ringmq.tar && docker load -i ringmq.tar
  ringmq image - | podman load
  ringmq image ringmq.tar --name registry.example.com/ringmq:5.5.0")]
pub struct ImageArgs {
    /// File to write; - for stdout
    file: PathBuf,

    /// Name of the image, with its tag
    #[arg(long, value_name = "NAME:TAG", default_value = concat!("ringmq:", env!("CARGO_PKG_VERSION")))]
    name: String,
}

pub fn run(args: &ImageArgs) -> Result<()> {
    let layer = contents()?.to_tar()?;
    let config = config(&rocketmq_version());
    let archive = layout::archive(&args.name, config, &layer)?;
    if args.file == Path::new("-") {
        return io::stdout().write_all(&archive).context("stdout");
    }
    fs::write(&args.file, archive).with_context(|| format!("cannot write {}", args.file.display()))
}

/// `5.5.0` of `V5_5_0`.
fn rocketmq_version() -> String {
    ROCKETMQ_VERSION.trim_start_matches('V').replace('_', ".")
}

fn home(version: &str) -> String {
    format!("/home/rocketmq/rocketmq-{version}")
}

const BINARY: &str = "/usr/bin/ringmq";

/// As RocketMQ's distribution has it, for `-c ../conf/broker.conf`.
const BROKER_CONF: &str = "\
brokerClusterName = DefaultCluster
brokerName = broker-a
brokerId = 0
deleteWhen = 04
fileReservedTime = 48
brokerRole = ASYNC_MASTER
flushDiskType = ASYNC_FLUSH
";

fn users() -> String {
    format!("root:x:0:0:root:/root:/bin/sh\nrocketmq:x:{UID}:{UID}::/home/rocketmq:/bin/sh\n")
}

fn groups() -> String {
    format!("root:x:0:\nrocketmq:x:{UID}:\n")
}

fn contents() -> Result<Layer> {
    let home = home(&rocketmq_version());
    let mut layer = Layer::default();
    for (path, bytes) in program::libraries()? {
        layer.file(path, bytes, 0o755);
    }
    layer.file(BINARY, program::stripped()?, 0o755);
    layer.link(Path::new("/bin").join(mq::SHELL), BINARY);
    for name in mq::links().chain([mq::ENTRY_POINT]) {
        layer.link(format!("{home}/bin/{name}"), BINARY);
    }
    layer.file(
        format!("{home}/conf/broker.conf"),
        BROKER_CONF.into(),
        0o644,
    );
    layer.file("/etc/passwd", users().into(), 0o644);
    layer.file("/etc/group", groups().into(), 0o644);
    layer.dir("/root", 0o700, 0);
    layer.dir("/tmp", 0o1777, 0);
    for own in ["", "/store", "/logs"] {
        layer.dir(format!("/home/rocketmq{own}"), 0o755, UID);
    }
    Ok(layer)
}

/// The image's configuration, without what depends on the layer.
fn config(version: &str) -> Value {
    let home = home(version);
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    json!({
        "architecture": architecture,
        "os": "linux",
        "config": {
            "User": format!("{UID}:{UID}"),
            "ExposedPorts": {"9876/tcp": {}, "10909/tcp": {}, "10911/tcp": {}, "10912/tcp": {}},
            "Env": [
                format!("PATH={home}/bin:/usr/bin:/bin"),
                format!("ROCKETMQ_VERSION={version}"),
                format!("ROCKETMQ_HOME={home}"),
                // One broker, with RocketMQ's name, port and directories, however many cores the machine has.
                "RINGMQ_CORES=1",
            ],
            "Entrypoint": [format!("./{}", mq::ENTRY_POINT)],
            "Cmd": ["broker"],
            "WorkingDir": format!("{home}/bin"),
            "Labels": {
                "org.opencontainers.image.title": "ringmq",
                "org.opencontainers.image.version": env!("CARGO_PKG_VERSION"),
                "org.opencontainers.image.licenses": "Apache-2.0",
            },
        },
    })
}
