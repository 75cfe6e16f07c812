//! Protects the tools: every subcommand of mqadmin prints what it printed against RocketMQ, which is kept in `mqadmin/expected`, or what
//! `mqadmin/ours` has where ringmq differs on purpose.

use std::collections::BTreeSet;
use std::path::Path;

use crate::common::scripts::{Script, missing};
use crate::common::{Broker, Options};
use crate::suites::one_tool_at_a_time;

#[test]
fn mqadmin_prints_what_it_prints_against_rocketmq() {
    if missing(&["java", "mvn"]) {
        return;
    }
    let _turn = one_tool_at_a_time();
    let first = differences();
    if first.commands.is_empty() {
        return;
    }
    println!("{}", first.shown);
    // mqadmin gives up a request after 3 s, and rates are of the last 10 s: on a machine that another one slows down single commands differ.
    // What ringmq does differently, it does in a second run, too.
    let second = differences();
    println!("{}", second.shown);
    let both: Vec<_> = first.commands.intersection(&second.commands).collect();
    assert!(both.is_empty(), "different in two runs: {both:#?}");
}

struct Differences {
    commands: BTreeSet<String>,
    /// With what was expected and what was printed.
    shown: String,
}

/// Of a run against a new broker.
fn differences() -> Differences {
    let folder = tempfile::tempdir().expect("a folder");
    let options = Options {
        // RocketMQ's rounds over half messages, which show in lists, had not begun when it was recorded.
        config: "brokerName=broker-a\ntransactionCheckInterval=3600000\n",
        ..Options::default()
    };
    let broker = Broker::start(&folder.path().join("store"), &options);
    let out = folder.path().join("out");
    let out = out.to_str().expect("a temporary folder has a plain name");
    let (namesrv, addr) = (broker.namesrv.to_string(), broker.addr().to_string());
    Script::new("mqadmin/matrix.sh", &["run", &namesrv, &addr, out]).run();
    assert!(broker.terminate().success());
    compared(out)
}

fn compared(out: &str) -> Differences {
    let expected = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/mqadmin/expected");
    let expected = expected.to_str().expect("the folder of this package");
    let words = ["compare", expected, out, "-v"];
    let output = Script::new("mqadmin/matrix.sh", &words).command().output();
    let output = output.expect("bash is there");
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    let commands: BTreeSet<_> = shown
        .lines()
        .filter_map(|line| line.strip_prefix("DIFFERS  "))
        .map(str::to_owned)
        .collect();
    let is_same = output.status.success();
    let err = String::from_utf8_lossy(&output.stderr);
    assert_eq!(is_same, commands.is_empty(), "{shown}{err}");
    Differences { commands, shown }
}
