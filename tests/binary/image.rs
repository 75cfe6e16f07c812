//! Protects who takes `ringmq image` in place of RocketMQ's image: the archive is whole, small and the same each time, and its file system, without anything
//! else in it, runs what RocketMQ's compose file and Helm chart start. The second part needs root; without it a note is printed.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use flate2::read::GzDecoder;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::common::{PATIENCE, Process, SMALL, ringmq, wait_until};

/// The archive's files.
struct Image(BTreeMap<String, Vec<u8>>);

impl Image {
    fn new() -> Self {
        Self::read(&archive())
    }

    fn read(archive: &[u8]) -> Self {
        let mut archive = tar::Archive::new(archive);
        let entries = archive.entries().expect("a tar file");
        let files = entries.map(|entry| {
            let mut entry = entry.expect("an entry");
            let path = entry.path().expect("a path").display().to_string();
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).expect("its bytes");
            (path, bytes)
        });
        Self(files.collect())
    }

    fn json(&self, path: &str) -> Value {
        serde_json::from_slice(&self.0[path]).expect(path)
    }

    /// What a descriptor refers to, if digest and size are right.
    fn blob(&self, descriptor: &Value) -> &[u8] {
        let digest = descriptor["digest"].as_str().expect("a digest");
        let bytes = &self.0[&format!("blobs/{}", digest.replace(':', "/"))];
        assert_eq!(self::digest(bytes), digest);
        assert_eq!(descriptor["size"], bytes.len());
        bytes
    }

    fn manifest(&self) -> Value {
        let index = self.json("index.json");
        serde_json::from_slice(self.blob(&index["manifests"][0])).expect("JSON")
    }

    fn config(&self) -> Value {
        serde_json::from_slice(self.blob(&self.manifest()["config"])).expect("JSON")
    }

    /// The layer as a tar file.
    fn layer(&self) -> Vec<u8> {
        let manifest = self.manifest();
        let mut tar = Vec::new();
        let mut unpacked = GzDecoder::new(self.blob(&manifest["layers"][0]));
        unpacked.read_to_end(&mut tar).expect("gzip");
        tar
    }
}

fn archive() -> Vec<u8> {
    let printed = ringmq(["image", "-"]).output().expect("it runs");
    assert!(printed.status.success(), "{:?}", printed.status);
    printed.stdout
}

fn digest(bytes: &[u8]) -> String {
    let hash = Sha256::digest(bytes);
    let hash: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hash}")
}

#[test]
fn an_image_is_whole_and_small_and_the_same_each_time() {
    let first = archive();
    assert!(first.len() <= 20_000_000, "{} bytes", first.len());
    assert!(first == archive(), "another one the second time");
    let image = Image::read(&first);
    assert_eq!(image.json("oci-layout")["imageLayoutVersion"], "1.0.0");
    let config = image.config();
    assert_eq!(config["rootfs"]["diff_ids"][0], digest(&image.layer()));
    let of_docker = &image.json("manifest.json")[0];
    assert!(
        of_docker["RepoTags"][0]
            .as_str()
            .expect("a name")
            .starts_with("ringmq:")
    );
    for path in [&of_docker["Config"], &of_docker["Layers"][0]] {
        assert!(
            image.0.contains_key(path.as_str().expect("a path")),
            "{path}"
        );
    }
    let config = &config["config"];
    assert_eq!(config["User"], "3000:3000");
    assert_eq!(config["WorkingDir"], "/home/rocketmq/rocketmq-5.5.0/bin");
    for port in ["9876/tcp", "10909/tcp", "10911/tcp", "10912/tcp"] {
        assert!(config["ExposedPorts"][port].is_object(), "{port}");
    }
}

/// The image's file system in a folder, in namespaces of its own: a network with nothing but its loopback, /proc and /dev. That is what a
/// container's runtime makes.
struct Container {
    host: Process,
    root: tempfile::TempDir,
    config: Value,
}

impl Container {
    /// `None` for a user who may not make namespaces.
    fn new() -> Option<Self> {
        let allowed = Command::new("unshare")
            .args(["--net", "--mount", "true"])
            .status();
        if !allowed.is_ok_and(|status| status.success()) {
            eprintln!("SKIP: no namespaces here; they need root");
            return None;
        }
        let image = Image::new();
        let root = tempfile::tempdir().expect("a folder");
        let mut layer = &image.layer()[..];
        let mut layer = tar::Archive::new(&mut layer);
        layer.set_preserve_ownerships(true);
        layer.set_preserve_permissions(true);
        layer.unpack(root.path()).expect("unpacked");
        fs::set_permissions(root.path(), PermissionsExt::from_mode(0o755)).expect("readable");
        for dir in ["proc", "dev"] {
            fs::create_dir(root.path().join(dir)).expect("a folder");
        }
        // As Docker writes it for the services of a compose file.
        fs::write(
            root.path().join("etc/hosts"),
            "127.0.0.1 localhost namesrv\n",
        )
        .expect("written");
        let mut unshare = Command::new("unshare");
        unshare.args(["--net", "--mount", "sh", "-c"]);
        unshare.arg("ip link set lo up && mount -t proc proc proc && mount --bind /dev dev && echo ready && exec sleep 3600");
        let started = Process::spawn(unshare.current_dir(root.path())).until_ready();
        let (host, _) = started.expect("namespaces");
        let config = image.config()["config"].take();
        Some(Self { host, root, config })
    }

    fn path(&self, path: &str) -> PathBuf {
        self.root.path().join(path)
    }

    /// A program in it, with the image's environment and user.
    fn command(&self, words: &[&str], namesrv: &str) -> Command {
        let host = self.host.pid().to_string();
        let text = |name: &str| self.config[name].as_str().expect("text");
        let mut command = Command::new("nsenter");
        command.args(["--target", &host, "--net", "--mount", "unshare"]);
        command.arg("--root").arg(self.root.path());
        command.args([
            "--wd",
            text("WorkingDir"),
            "--setgid",
            "3000",
            "--setuid",
            "3000",
        ]);
        command.args(words).env_clear();
        for variable in self.config["Env"].as_array().expect("variables") {
            let variable = variable.as_str().and_then(|text| text.split_once('='));
            let (name, value) = variable.expect("NAME=VALUE");
            command.env(name, value);
        }
        // PATH is for `unshare`, too.
        let path = std::env::var("PATH").expect("it is set");
        command.env("PATH", path).env("HOME", "/home/rocketmq");
        command.env("NAMESRV_ADDR", namesrv);
        command
    }

    /// Started with the image's entry point.
    fn entered(&self, words: &[&str]) -> Command {
        let entry_point = self.config["Entrypoint"][0].as_str().expect("text");
        self.command(&[&[entry_point], words].concat(), "namesrv:9876")
    }

    fn output(&self, words: &[&str]) -> Output {
        self.entered(words).output().expect("it runs")
    }

    /// Prints its output when it has sent to a topic and consumed from it.
    fn sends_and_consumes(&self, body: &str) -> String {
        let sent = self.output(&["send", "--topic", "Orders", body]);
        assert!(sent.status.success(), "{sent:?}");
        let consume = [
            "consume", "--topic", "Orders", "--group", "g", "--from", "first",
        ];
        let consumed = self.output(&[&consume[..], &["--count", "1"]].concat());
        assert!(consumed.status.success(), "{consumed:?}");
        String::from_utf8(consumed.stdout).expect("text")
    }
}

/// Starts it, and waits for RocketMQ's line with "boot success".
fn boot(command: &mut Command, line: &str) -> Process {
    let mut process = Process::spawn(command);
    let found = process.until_line(PATIENCE, |each| {
        each.starts_with(line) && each.contains("boot success")
    });
    found.unwrap_or_else(|printed| panic!("no {line:?} in {printed}"));
    process
}

/// The settings that RocketMQ's compose file mounts into the broker.
fn broker_conf(path: &Path, name: &str) {
    fs::create_dir_all(path.parent().expect("a folder")).expect("made");
    let text = format!(
        "brokerClusterName = DefaultCluster\nbrokerName = {name}\nbrokerId = 0\ndeleteWhen = 04\nfileReservedTime = 48\n\
         brokerRole = ASYNC_MASTER\nflushDiskType = ASYNC_FLUSH\n{SMALL}"
    );
    fs::write(path, text).expect("written");
}

#[test]
fn what_rocketmqs_compose_file_and_chart_start_runs() {
    let Some(container) = Container::new() else {
        return;
    };
    let mut names = boot(
        &mut container.entered(&["sh", "mqnamesrv"]),
        "The Name Server",
    );

    broker_conf(
        &container.path("opt/rocketmq-5.5.0/conf/broker.conf"),
        "broker-a",
    );
    let words = [
        "sh",
        "mqbroker",
        "-c",
        "/opt/rocketmq-5.5.0/conf/broker.conf",
    ];
    let mut broker = boot(
        &mut container.entered(&words),
        "The broker[broker-a, 127.0.0.1:10911]",
    );
    assert!(
        container
            .sends_and_consumes("of compose")
            .contains("of compose")
    );
    assert!(container.path("home/rocketmq/store/commitlog").exists());
    let stopped = container.output(&["sh", "mqshutdown", "broker"]);
    assert!(stopped.status.success(), "{stopped:?}");
    let ended = broker.until_end();
    assert!(ended.status.success(), "{ended:?}");

    broker_conf(
        &container.path("home/rocketmq/conf/rocketmq-broker-0"),
        "broker-b",
    );
    let words = [
        "/bin/sh",
        "-c",
        "./mqbroker -c /home/rocketmq/conf/rocketmq-broker-0",
    ];
    // As long as no pod of the name server is ready, the name of its service has no address.
    let broker = boot(
        &mut container.command(&words, "nameserver:9876"),
        "The broker[broker-b,",
    );
    let send = ["send", "--topic", "Orders", "of the chart"];
    let sends = || container.output(&send).status;
    assert!(!sends().success(), "registered without an address");
    let hosts = "127.0.0.1 localhost namesrv nameserver\n";
    fs::write(container.path("etc/hosts"), hosts).expect("written");
    wait_until("the broker is registered", || sends().success());
    assert!(
        container
            .sends_and_consumes("of the chart")
            .contains("of the chart")
    );
    broker.signal("TERM");
    names.signal("TERM");
    assert!(names.until_end().status.success());

    for (words, said) in [(["sh", "mqproxy"], "no proxy"), (["sh", "ls"], "not here")] {
        let refused = container.output(&words);
        assert_eq!(refused.status.code(), Some(2), "{refused:?}");
        assert!(
            String::from_utf8_lossy(&refused.stderr).contains(said),
            "{refused:?}"
        );
    }
}
