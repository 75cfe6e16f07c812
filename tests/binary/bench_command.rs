//! Protects `ringmq bench`: what it measured is reported when it is interrupted, nothing is left behind, and no success is no success.

use std::fs;

use serde_json::Value;

use super::commands::{err, piped, run, signal, start};
use crate::common::client::Client;
use crate::common::{ringmq, wait_until};

#[test]
fn a_bench_that_is_stopped_leaves_nothing_behind() {
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path();
    let mut command = ringmq(["bench", "flush", "--duration", "3600", "--store"]);
    let child = piped(command.arg(dir));
    let has_store = || {
        fs::read_dir(dir)
            .expect("a folder")
            .flatten()
            .any(|entry| entry.path().join("store/commitlog").exists())
    };
    wait_until("the embedded broker", has_store);
    signal(child.id(), "TERM");
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(143), "{}", err(&output));
    assert!(err(&output).contains("interrupted"), "{}", err(&output));
    assert_eq!(fs::read_dir(dir).expect("a folder").count(), 0);
}

#[test]
fn an_interrupted_bench_says_so_and_one_without_success_fails() {
    let (_folder, broker) = start();
    let namesrv = broker.namesrv.to_string();
    let words = [
        "bench",
        "send",
        "--duration",
        "3600",
        "--warm-up",
        "0",
        "--connections",
        "1",
        "--queues",
        "1",
        "--json",
        "--namesrv",
        &namesrv,
    ];
    let child = piped(&mut ringmq(words));
    wait_until("some messages", || {
        let known = Client::connect(broker.namesrv)
            .route("ringmq-bench")
            .is_some();
        known && Client::connect(broker.addr()).max_offset("ringmq-bench", 0) > 100
    });
    signal(child.id(), "INT");
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(130), "{}", err(&output));
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON on stdout");
    let said = report["interrupted"].as_str().expect("text");
    assert!(
        said.starts_with("interrupted after ") && said.ends_with("of 3600 s"),
        "{said}"
    );
    assert!(report["runs"][0]["acked"].as_u64() > Some(0));

    // Larger than the broker takes: refused, each of them.
    let words = [
        "bench",
        "send",
        "--duration",
        "0.2",
        "--warm-up",
        "0",
        "--connections",
        "1",
        "--size",
        "5000000",
    ];
    let output = run(broker.namesrv, &words, "");
    assert_eq!(output.status.code(), Some(1), "{}", err(&output));
    assert!(String::from_utf8_lossy(&output.stdout).contains("MESSAGE_ILLEGAL"));
}

#[test]
fn a_workload_of_openmessaging_benchmark_is_run() {
    let (folder, broker) = start();
    let file = folder.path().join("two-topics.yaml");
    let workload = "name: two topics\n\ntopics: 2\npartitionsPerTopic: 3\nkeyDistributor: \"NO_KEY\"\nmessageSize: 200\n\
                    subscriptionsPerTopic: 2\nconsumerPerSubscription: 1\nproducersPerTopic: 2\nproducerRate: 500\n\
                    consumerBacklogSizeGB: 0\ntestDurationMinutes: 15\n";
    fs::write(&file, workload).expect("it is written");
    let file = file.display().to_string();
    let words = [
        "bench",
        "workload",
        &file,
        "--duration",
        "1",
        "--warm-up",
        "0.2",
        "--json",
    ];
    let output = run(broker.namesrv, &words, "");
    assert!(output.status.success(), "{}", err(&output));
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON on stdout");
    let title = format!("two topics on {}", broker.namesrv);
    assert_eq!(report["title"], title);
    let notes = report["notes"].to_string();
    assert!(notes.contains("keyDistributor has no effect"), "{notes}");
    let runs = report["runs"].as_array().expect("a list");
    let names: Vec<_> = runs.iter().map(|run| run["name"].clone()).collect();
    assert_eq!(names, ["send", "e2e-0", "e2e-1"]);
    let acked = |run: &Value| run["acked"].as_u64();
    assert!(acked(&runs[1]) > Some(100), "{report}");
    assert_eq!(acked(&runs[1]), acked(&runs[2]), "both groups have all");
    for topic in ["ringmq-bench-0", "ringmq-bench-1"] {
        let route = Client::connect(broker.namesrv).route(topic);
        let queues = route.expect("the topic is there").queue_datas[0].write_queue_nums;
        assert_eq!(queues, 3, "{topic}");
    }
    let missing = run(broker.namesrv, &["bench", "workload", "missing.yaml"], "");
    assert!(
        err(&missing).contains("missing.yaml: No such file"),
        "{}",
        err(&missing)
    );
    assert!(broker.terminate().success());
}
