//! Protects the log line about a slow request: which requests are logged, and the stages of a send in it.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tracing::Dispatch;

use ringmq::sim::{Fault, Op, Rule};
use ringmq::store::Flush;
use ringmq::wire::codes::{request, response};

use crate::client::Client;
use crate::cluster::Cluster;
use crate::oracle::Queue;
use crate::requests::{self, Pull};

const STALL_MS: u64 = 400;

/// The second send comes so long after the first one.
const APART_MS: u64 = 100;

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Log {
    /// The lines about slow requests.
    fn lines(&self) -> Vec<String> {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        let slow = text.lines().filter(|line| line.contains("a slow "));
        slow.map(str::to_owned).collect()
    }
}

/// The number after `name=`.
fn field(line: &str, name: &str) -> f64 {
    let (_, rest) = line
        .split_once(&format!(" {name}="))
        .unwrap_or_else(|| panic!("{name} is not in {line}"));
    let number = rest.split(' ').next().unwrap();
    number.parse().expect("a number")
}

/// What was logged while `run` used a broker with this limit, with the topic `T`.
fn logged(limit_ms: u64, run: impl AsyncFnOnce(&Cluster, Client)) -> Vec<String> {
    // Of one alone tracing would ask whichever thread comes by first, which may be that of another test.
    let _another = Dispatch::new(tracing_subscriber::registry());
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let cluster = Cluster::new(1, Flush::Sync);
    match limit_ms {
        0 => cluster
            .settings
            .set(|broker| broker.settings.slow_request_ms = 0),
        500 => {}
        _ => unreachable!("500 is the default"),
    }
    cluster.sim.run(async {
        cluster.start().await;
        let mut client = cluster.client("client").await;
        requests::make_topic(&mut client, "T").await;
        run(&cluster, client).await;
    });
    log.lines()
}

fn stall(cluster: &Cluster, op: Op, path: &'static str, ms: u64) {
    let stall = Fault::Stall(Duration::from_millis(ms));
    cluster.broker().inject(Rule::new(stall).of(op).on(path));
}

async fn two_sends(cluster: &Cluster, mut client: Client) {
    stall(cluster, Op::Write, "/commitlog/", STALL_MS);
    let fields = requests::send_to("T", "");
    let code = request::SEND_MESSAGE_V2;
    client.ask(code, &fields.ext(), b"first");
    client.flush().await.unwrap();
    cluster.sleep_ms(APART_MS).await;
    client.ask(code, &fields.ext(), b"second");
    client.flush().await.unwrap();
    for _ in 0..2 {
        let reply = client.reply().await.unwrap();
        assert_eq!(reply.code, response::SUCCESS, "{reply:?}");
    }
}

/// The first one takes 400 ms. The second one waits for the write of the first, and then for its own.
#[test]
fn the_line_says_where_a_send_has_waited() {
    let lines = logged(500, two_sends);
    let [line] = &lines[..] else {
        panic!("one of the two is slow: {lines:?}");
    };
    assert!(
        line.contains("a slow send request=\"send_message_v2\" peer="),
        "{line}"
    );
    for (stage, expected_ms) in [
        ("receive_ms", 0),
        ("write_wait_ms", STALL_MS - APART_MS),
        ("device_ms", STALL_MS),
        ("release_ms", 0),
        ("took_ms", 2 * STALL_MS - APART_MS),
    ] {
        let ms = field(line, stage);
        assert!(
            (ms - expected_ms as f64).abs() < 5.0,
            "{stage} is {ms}, not {expected_ms}"
        );
    }
    // Both records: each has some 90 bytes.
    let ahead = field(line, "ahead_bytes");
    assert!((180.0..4096.0).contains(&ahead), "{ahead} bytes");
}

#[test]
fn zero_tells_none() {
    assert_eq!(logged(0, two_sends), Vec::<String>::new());
}

#[test]
fn what_is_no_send_is_told_too_and_a_parked_pull_is_not() {
    let lines = logged(500, async |cluster, mut client| {
        let queue = Queue {
            topic: "T".to_owned(),
            id: 0,
        };
        let pull = Pull {
            hold_ms: 2_000,
            ..Pull::of_all("g", &queue, 0)
        };
        let reply = requests::pull(&mut client, &pull).await.unwrap();
        assert_eq!(reply.code, response::PULL_NOT_FOUND);
        stall(cluster, Op::Write, "/config/", 700);
        requests::make_topic(&mut client, "New").await;
    });
    let [line] = &lines[..] else {
        panic!("one is slow: {lines:?}");
    };
    let told = "a slow request request=\"update_and_create_topic\" answer=\"success\" peer=";
    assert!(line.contains(told), "{line}");
    assert!(field(line, "took_ms") >= 700.0, "{line}");
}
