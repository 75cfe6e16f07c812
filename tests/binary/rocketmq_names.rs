//! Protects who comes from RocketMQ with scripts, images and units of its own: the names `mqbroker`, `mqnamesrv` and `mqshutdown`, their flags, the
//! environment's NAMESRV_ADDR, and the lines that scripts wait for.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::common::{PATIENCE, Process, SMALL, free_ports, ringmq};

/// The binary under another name, as a link in /usr/bin would give it. It has a path of its own: `mqshutdown` stops all of one binary.
struct Bin {
    folder: TempDir,
}

impl Bin {
    fn new() -> Self {
        let bin = Self {
            folder: tempfile::tempdir().expect("a folder"),
        };
        let built = Path::new(env!("CARGO_BIN_EXE_ringmq"));
        let own = bin.path("ringmq");
        if fs::hard_link(built, &own).is_err() {
            fs::copy(built, &own).expect("copied");
        }
        for name in ["mqbroker", "mqnamesrv", "mqshutdown"] {
            std::os::unix::fs::symlink(&own, bin.path(name)).expect("a link");
        }
        bin
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, name: &str, words: &[&str]) -> Command {
        let mut command = Command::new(self.path(name));
        command.args(words).env("HOME", self.folder.path());
        command
    }

    /// Exit code and output, with this name server in the environment.
    fn output(&self, name: &str, words: &[&str], namesrv: &str) -> (Option<i32>, String) {
        let mut command = self.command(name, words);
        let output = command.env("NAMESRV_ADDR", namesrv).output();
        let output = output.expect("it runs");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        (output.status.code(), text)
    }

    fn file(&self, name: &str, text: &str) -> String {
        let path = self.path(name);
        fs::write(&path, text).expect("written");
        path.to_str().expect("text").to_owned()
    }

    /// Started, until it prints a line with this.
    fn start(&self, name: &str, words: &[&str], namesrv: &str, line: &str) -> Process {
        let mut command = self.command(name, words);
        let mut process = Process::spawn(command.env("NAMESRV_ADDR", namesrv));
        let found = process.until_line(PATIENCE, |each| each.contains(line));
        found.unwrap_or_else(|printed| panic!("no {line:?} in {printed}"));
        process
    }
}

#[test]
fn rocketmqs_scripts_start_and_stop_it() {
    let bin = Bin::new();
    let (port, namesrv_port) = free_ports();
    let namesrv = format!("127.0.0.1:{namesrv_port}");
    let conf = format!("listenPort={namesrv_port}\nbindAddress=127.0.0.1\n");
    let conf = bin.file("namesrv.conf", &conf);
    let line = format!("The Name Server boot success. serializeType=JSON, address {namesrv}");
    let mut names = bin.start("mqnamesrv", &["-c", &conf], "", &line);

    let conf = format!("{SMALL}listenPort={port}\nbrokerIP1=127.0.0.1\nbrokerName=broker-a\n");
    let conf = bin.file("broker.conf", &conf);
    let line = format!(
        "The broker[broker-a, 127.0.0.1:{port}] boot success. serializeType=JSON and name server is {namesrv}"
    );
    let words = ["-c", &conf, "--cores", "0"];
    let mut broker = bin.start("mqbroker", &words, &namesrv, &line);

    let (code, said) = bin.output("mqshutdown", &["broker"], "");
    let pid = broker.pid();
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(
        said,
        format!("The mqbroker({pid}) is running...\nSend shutdown request to mqbroker({pid}) OK\n")
    );
    let ended = broker.until_end();
    assert!(ended.status.success(), "{ended:?}");
    let said = bin.output("mqshutdown", &["broker"], "");
    assert_eq!(said, (Some(1), "No mqbroker running.\n".to_owned()));
    assert_eq!(bin.output("mqshutdown", &["namesrv"], "").0, Some(0));
    assert!(names.until_end().status.success());
}

/// The flag is stronger than the file, and the file than the environment.
#[test]
fn the_configuration_is_printed_instead_of_a_start() {
    let bin = Bin::new();
    let names = |words: &[&str], environment: &str| {
        let (code, text) = bin.output("mqbroker", words, environment);
        assert_eq!(code, Some(0), "{text}");
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("namesrvAddr="));
        line.expect("a line for it").to_owned()
    };
    let plain = bin.file("plain.conf", "flushDiskType=SYNC_FLUSH\n");
    let naming = bin.file("naming.conf", "namesrvAddr=2.2.2.2:2\n");
    assert_eq!(names(&["-p"], ""), "");
    assert_eq!(
        names(&["-p", "-c", &plain], "1.1.1.1:1;1.1.1.2:1"),
        "1.1.1.1:1;1.1.1.2:1"
    );
    assert_eq!(names(&["-p", "-c", &naming], "1.1.1.1:1"), "2.2.2.2:2");
    assert_eq!(
        names(&["-m", "-c", &naming, "-n", "3.3.3.3:3"], ""),
        "3.3.3.3:3"
    );
    let (_, important) = bin.output("mqbroker", &["-m", "-c", &plain], "");
    assert!(
        important.contains("flushDiskType=SYNC_FLUSH\n"),
        "{important}"
    );
    assert!(
        !important.contains("waitTimeMillsInSendQueue"),
        "{important}"
    );
    let (code, text) = bin.output("mqnamesrv", &["-p"], "");
    assert_eq!(code, Some(0));
    assert!(text.contains("listenPort=9876\n"), "{text}");
}

#[test]
fn a_wrong_name_server_in_the_environment_is_said() {
    let mut command = ringmq(["broker", "-p"]);
    let output = command
        .env("NAMESRV_ADDR", "no port")
        .output()
        .expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        said.contains("environment: NAMESRV_ADDR=no port: allowed is HOST:PORT"),
        "{said}"
    );
}

#[test]
fn a_setting_is_explained() {
    let explained = |name: &str| {
        let output = ringmq(["broker", "--explain", name]).output();
        let output = output.expect("it runs");
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(text).expect("text"))
    };
    let (code, text) = explained("syncFlushTimeout");
    assert_eq!(code, Some(0));
    assert!(text.contains("default  5000"), "{text}");
    let (code, text) = explained("syncFlushTimeou");
    assert_eq!(code, Some(2));
    assert!(text.contains("did you mean syncFlushTimeout?"), "{text}");
}

#[test]
fn the_log_is_json_for_those_who_ask() {
    let bin = Bin::new();
    let namesrv = format!("127.0.0.1:{}", free_ports().1);
    // A property that does not exist makes a warning.
    let conf = bin.file("broker.conf", "noSuchThing=1\n");
    let logged = |format: &str| {
        let words = ["-p", "-c", &conf, "-n", &namesrv];
        let mut command = bin.command("mqbroker", &words);
        let output = command.env("RINGMQ_LOG_FORMAT", format).output();
        let output = output.expect("it runs");
        let text = String::from_utf8(output.stderr).expect("text");
        (output.status.code(), text)
    };
    let (code, text) = logged("json");
    let line: serde_json::Value = serde_json::from_str(text.trim()).expect(&text);
    assert_eq!((code, &line["level"]), (Some(0), &"WARN".into()));
    let message = line["message"].as_str().expect("text");
    assert!(message.contains("noSuchThing"), "{message}");
    let (code, text) = logged("xml");
    assert_eq!(code, Some(2));
    assert!(text.contains("allowed is text or json"), "{text}");
}
