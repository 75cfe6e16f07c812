//! Protects who runs a broker in a container: the profile that `ringmq print seccomp` prints allows io_uring and all that a broker, a name server and
//! clients do. The kernel applies it here as a container's runtime would.

use std::process::Command;

use serde_json::Value;

use crate::common::sandbox::confine;
use crate::common::{Process, SMALL, free_ports, ringmq};

fn profile() -> Value {
    let printed = ringmq(["print", "seccomp"]).output().expect("it runs");
    serde_json::from_slice(&printed.stdout).expect("JSON")
}

/// The profile as it is without what was added to Docker's.
fn without_io_uring() -> Value {
    let mut profile = profile();
    let rules = profile["syscalls"].as_array_mut().expect("rules");
    let before = rules.len();
    rules.retain(|rule| !rule["names"].to_string().contains("io_uring"));
    assert_eq!(rules.len() + 1, before);
    profile
}

/// A broker with this profile, on ports of its own, with io_uring or not at all.
fn broker(profile: &Value, folder: &tempfile::TempDir) -> (Command, String) {
    let (port, namesrv_port) = free_ports();
    let conf = folder.path().join("broker.conf");
    std::fs::write(&conf, SMALL).expect("written");
    let mut command = ringmq(["broker", "--advertise", "127.0.0.1", "--io", "uring"]);
    command.args(["--cores", "0", "--port", &port.to_string()]);
    command.args(["--namesrv-port", &namesrv_port.to_string()]);
    command.arg("--config").arg(conf);
    command.env("HOME", folder.path());
    confine(&mut command, profile);
    (command, format!("127.0.0.1:{namesrv_port}"))
}

#[test]
fn under_the_profile_for_containers_a_broker_uses_io_uring() {
    let profile = profile();
    let folder = tempfile::tempdir().expect("a folder");
    let (mut command, namesrv) = broker(&profile, &folder);
    let started = Process::spawn(&mut command).until_ready();
    let (mut broker, banner) = started.expect("it starts");
    assert!(!banner.contains("without io_uring"), "{banner}");
    let status = std::fs::read_to_string(format!("/proc/{}/status", broker.pid()));
    let status = status.expect("it runs");
    assert!(status.contains("Seccomp:\t2"), "it is confined: {status}");

    let run = |words: &[&str]| {
        let mut command = ringmq(words);
        command.env("NAMESRV_ADDR", &namesrv);
        confine(&mut command, &profile);
        let output = command.output().expect("it runs");
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).expect("text")
    };
    run(&["send", "--topic", "T", "--count", "3", "hello"]);
    let consume = ["consume", "--topic", "T", "--group", "g", "--from", "first"];
    let consumed = run(&[&consume[..], &["--count", "3"]].concat());
    assert_eq!(consumed.matches("hello").count(), 3, "{consumed}");
    broker.signal("TERM");
    let ended = broker.until_end();
    assert!(ended.status.success(), "{ended:?}");
}

#[test]
fn without_the_three_calls_the_profile_forbids_io_uring() {
    let folder = tempfile::tempdir().expect("a folder");
    let (mut command, _) = broker(&without_io_uring(), &folder);
    let ended = Process::spawn(&mut command).until_end();
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    assert!(ended.err.contains("seccomp"), "{ended:?}");
}
