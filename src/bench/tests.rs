//! The load generator against a fake broker, through real sockets.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use super::comparison::{self, ComparisonPlan};
use super::drive::{self, Drive, DrivePlan};
use super::*;
use crate::client::fake::{Behaviour, CODECS, Fake};
use crate::wire::Codec;

fn plan(fake: &Fake, drive: Drive) -> DrivePlan {
    DrivePlan {
        title: "test".to_owned(),
        notes: Vec::new(),
        drive,
        namesrv: fake.addr.to_string(),
        topic: "topic".to_owned(),
        topics: 1,
        queues: Some(1),
        group: "group".to_owned(),
        subscriptions: 1,
        consumers: 4,
        codec: Codec::Json,
        dial: crate::client::Transport::fastest().into(),
        shape: Shape {
            connections: 4,
            in_flight: 2,
            size_bytes: 100,
            rate: 0,
        },
        warm_up: Duration::from_millis(20),
        duration: Duration::from_millis(300),
        load_core: None,
        broker_pid: Some(std::process::id()),
        device_dir: None,
        interrupt: Interrupt::default(),
        command: "test".to_owned(),
    }
}

fn single(plan: &DrivePlan) -> RunResult {
    let mut report = drive::run(plan, &Output::default()).unwrap();
    assert_eq!(report.runs.len(), 1);
    report.runs.remove(0)
}

#[test]
fn closed_loop_sends_in_both_codecs_and_any_order_of_answers() {
    for codec in CODECS {
        let fake = Fake::start(Behaviour {
            reversed: true,
            ..Behaviour::default()
        });
        let mut plan = plan(&fake, Drive::Send);
        plan.codec = codec;
        plan.shape.in_flight = 8;
        let result = single(&plan);
        assert!(result.acked > 0 && fake.sends() >= result.acked);
        assert_eq!((result.error_count(), result.unanswered), (0, 0));
        assert!(result.broker_cpu.is_some());
        assert!(
            result.broker_writes.is_none(),
            "the fake broker does not tell"
        );
    }
}

#[test]
fn a_stall_shows_up_in_all_that_was_meant_to_be_sent_meanwhile() {
    const STALL: Duration = Duration::from_millis(200);
    let fake = Fake::start(Behaviour {
        stall: Some((100, STALL)),
        ..Behaviour::default()
    });
    let mut plan = plan(&fake, Drive::Send);
    plan.shape = Shape {
        connections: 1,
        rate: 1000,
        ..plan.shape
    };
    plan.warm_up = Duration::ZERO;
    plan.duration = Duration::from_millis(500);
    let result = single(&plan);
    // Every message of the schedule is accounted for: 1000 a second for half a second.
    assert_eq!(result.latency_ns.len(), 500);
    // A closed loop would count one slow message. The 200 ms stand for 200 intended sends, which waited 100 ms on
    // average, so a fifth of all messages waited for more than 100 ms.
    let slow = 500 - result.latency_ns.count_between(0, 100_000_000);
    assert!(slow >= 80, "{slow}");
}

#[test]
fn refusals_and_closed_connections_are_errors_by_cause() {
    let fake = Fake::start(Behaviour {
        busy_every: Some(3),
        ..Behaviour::default()
    });
    let mut busy = plan(&fake, Drive::Send);
    busy.warm_up = Duration::ZERO;
    let result = single(&busy);
    assert_eq!(
        result.errors.keys().collect::<Vec<_>>(),
        ["code 2 SYSTEM_BUSY"]
    );
    assert_eq!(result.error_count(), fake.sends() / 3);

    let fake = Fake::start(Behaviour {
        close_at: Some(50),
        ..Behaviour::default()
    });
    let mut closing = plan(&fake, Drive::Send);
    closing.warm_up = Duration::ZERO;
    let result = single(&closing);
    assert!(
        result
            .errors
            .keys()
            .all(|cause| cause.starts_with("connection ")),
        "{:?}",
        result.errors
    );
    assert!(
        (1..=2).contains(&result.error_count()),
        "what was in flight on one connection"
    );
}

#[test]
fn a_backlog_is_read_again_and_again() {
    let fake = Fake::start(Behaviour::default());
    let result = single(&plan(&fake, Drive::Consume { fill: 500 }));
    assert!(result.acked > 0);
    assert_eq!(result.error_count(), 0);
    assert!(
        result.latency_ns.len() < result.acked,
        "a pull brings many messages"
    );
}

#[test]
fn an_empty_topic_cannot_be_consumed() {
    let fake = Fake::start(Behaviour::default());
    let error =
        drive::run(&plan(&fake, Drive::Consume { fill: 0 }), &Output::default()).unwrap_err();
    assert!(error.to_string().contains("--fill"), "{error}");
}

#[test]
fn every_message_sent_end_to_end_arrives() {
    let fake = Fake::start(Behaviour::default());
    let mut plan = plan(&fake, Drive::EndToEnd);
    plan.shape.rate = 500;
    let report = drive::run(&plan, &Output::default()).unwrap();
    let [send, e2e] = &report.runs[..] else {
        panic!("{:?}", report.runs.len());
    };
    assert_eq!((send.name.as_str(), e2e.name.as_str()), ("send", "e2e"));
    assert_eq!(e2e.latency_ns.len(), send.latency_ns.len());
    assert_eq!(e2e.unanswered, 0);
}

#[test]
fn a_broker_that_is_not_there_is_said_so() {
    let mut nowhere = plan(&Fake::start(Behaviour::default()), Drive::Send);
    nowhere.namesrv = "127.0.0.1:1".to_owned();
    let error = drive::run(&nowhere, &Output::default()).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("cannot connect to the name server 127.0.0.1:1"),
        "{error}"
    );
}

#[test]
fn an_interrupted_run_reports_what_it_has_measured() {
    let fake = Fake::start(Behaviour::default());
    for rate in [0, 1000] {
        let mut plan = plan(&fake, Drive::Send);
        plan.shape.rate = rate;
        plan.duration = Duration::from_secs(3600);
        let interrupt = plan.interrupt.clone();
        let fake = &fake;
        std::thread::scope(|scope| {
            scope.spawn(move || {
                // Well within the window.
                let sent = fake.sends();
                while fake.sends() < sent + 300 {
                    std::thread::sleep(Duration::from_millis(5));
                }
                interrupt.set(2);
            });
            let report = drive::run(&plan, &Output::default()).unwrap();
            assert!(report.has_succeeded());
            let said = report.interrupted.unwrap();
            assert!(
                said.starts_with("interrupted after ") && said.ends_with(" of 3600 s"),
                "{said}"
            );
        });
    }
}

#[test]
fn an_interrupted_comparison_leaves_no_store() {
    let dir = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
    let plan = ComparisonPlan {
        shapes: comparison::default_shapes(64, 0),
        rounds: 1,
        repeats: 0,
        warm_up: Duration::ZERO,
        duration: Duration::from_millis(50),
        floor_duration: Duration::from_millis(20),
        queues: 1,
        codec: Codec::Json,
        dir: dir.path().to_owned(),
        broker_core: 0,
        load_core: 0,
        interrupt: Interrupt::default(),
        command: String::new(),
    };
    plan.interrupt.set(15);
    let ended = comparison::run(&plan, &Starter::default(), &Output::default());
    assert!(matches!(ended, Err(BenchError::Interrupted)));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

/// Fake brokers instead of embedded ones.
#[derive(Default)]
struct Starter {
    started: Mutex<Vec<(FlushMode, PathBuf)>>,
}

struct Embedded(Fake);

impl StartBroker for Starter {
    fn start(
        &self,
        flush: FlushMode,
        dir: &Path,
        _core: usize,
    ) -> Result<Box<dyn EmbeddedBroker>, String> {
        assert_eq!(std::fs::read_dir(dir).unwrap().count(), 0, "an empty store");
        std::fs::write(dir.join("commitlog"), "x").unwrap();
        self.started.lock().unwrap().push((flush, dir.to_owned()));
        let behaviour = Behaviour {
            counts_writes: true,
            ..Behaviour::default()
        };
        Ok(Box::new(Embedded(Fake::start(behaviour))))
    }
}

impl EmbeddedBroker for Embedded {
    fn namesrv(&self) -> SocketAddr {
        self.0.addr
    }

    fn cpu(&self) -> Option<Duration> {
        Some(Duration::from_micros(self.0.sends() * 3))
    }

    fn stop(self: Box<Self>) {}
}

#[test]
fn modes_take_turns_and_the_report_holds_both() {
    let dir = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
    let out = dir.path().join("out");
    let shape = Shape {
        connections: 2,
        in_flight: 1,
        size_bytes: 64,
        rate: 0,
    };
    let plan = ComparisonPlan {
        shapes: vec![
            shape,
            Shape {
                rate: 2000,
                ..shape
            },
        ],
        rounds: 2,
        repeats: 0,
        warm_up: Duration::from_millis(10),
        duration: Duration::from_millis(100),
        floor_duration: Duration::from_millis(20),
        queues: 1,
        codec: Codec::Json,
        dir: dir.path().to_owned(),
        broker_core: 0,
        load_core: 0,
        interrupt: Interrupt::default(),
        command: "ringmq bench flush".to_owned(),
    };
    let starter = Starter::default();
    let report = comparison::run(
        &plan,
        &starter,
        &Output {
            dir: Some(out.clone()),
            json: false,
        },
    )
    .unwrap();

    use FlushMode::{Async, Sync};
    let modes: Vec<FlushMode> = starter
        .started
        .lock()
        .unwrap()
        .iter()
        .map(|(mode, _)| *mode)
        .collect();
    assert_eq!(modes, [Sync, Async, Async, Sync, Sync, Async, Async, Sync]);
    check_runs(&report);
    check_report(&out);
    // Nothing is left but the report.
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}

/// The files of a report of both modes.
fn check_report(out: &Path) {
    let files: Vec<String> = std::fs::read_dir(out)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    for file in [
        "results.json",
        "index.html",
        "sync-2x1.hgrm",
        "async-2c-2000ps.hgrm",
        "floor-dsync-write.hgrm",
    ] {
        assert!(files.iter().any(|name| name == file), "{file} of {files:?}");
    }
    let json: serde_json::Value =
        serde_json::from_slice(&std::fs::read(out.join("results.json")).unwrap()).unwrap();
    assert_eq!(json["runs"][0]["name"], "sync");
    assert!(json["machine"]["kernel"].is_string());
}

fn check_runs(report: &Report) {
    let names: Vec<&str> = report.runs.iter().map(|run| run.name.as_str()).collect();
    assert_eq!(names, ["sync", "async", "sync", "async"]);
    for run in &report.runs {
        assert!(run.broker_cpu_us_per_message().unwrap() > 0.0);
        assert!(run.bytes_written_per_message().is_some() && run.flushes_per_message().is_some());
    }
    assert!(report.floor.is_some() && report.notes.len() == 2);
    assert!(report.runs.iter().all(|run| run.range().is_some()));
}
