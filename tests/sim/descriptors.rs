//! Protects what is promised when a process has as many descriptors as it may have: what fails then is tried again, nothing is lost or fenced, and
//! what is closed gives its descriptor back.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use ringmq::io::{Disk, Listener, Net, OpenOptions};
use ringmq::sim::{Sim, SimConfig, Tally};
use ringmq::store::Flush;
use ringmq::wire::Value;
use ringmq::wire::codes::{request, response};

use crate::cluster::{BROKER, Cluster};
use crate::dice::Dice;
use crate::faults::{Producer, started};
use crate::oracle::Queue;
use crate::recovered;
use crate::requests::{self, Pull};

const SEEDS: std::ops::Range<u64> = 0..8;

fn is_emfile<T>(result: io::Result<T>) {
    let errno = result.err().map(|error| error.raw_os_error());
    assert_eq!(errno, Some(Some(libc::EMFILE)));
}

#[test]
fn at_the_limit_every_call_that_opens_fails_and_leaves_nothing() {
    const NEW: OpenOptions = OpenOptions {
        write: true,
        create: true,
        direct: false,
    };
    let sim = Sim::new(1, SimConfig::default());
    sim.run(async {
        let (io, client) = (sim.host("a"), sim.host("client"));
        io.create_dir(Path::new("/d")).await.unwrap();
        let any: SocketAddr = "0.0.0.0:1000".parse().unwrap();
        let addr = SocketAddr::new(io.ip(), 1000);
        let listener = io.listen(any).unwrap();
        let file = io.open(Path::new("/d/first"), NEW).await.unwrap();
        assert_eq!((sim.descriptors("a"), sim.open_files("a")), (2, 1));
        sim.limit_descriptors("a", 2);
        is_emfile(io.open(Path::new("/d/second"), NEW).await);
        is_emfile(io.list(Path::new("/d")).await);
        is_emfile(io.create_dir(Path::new("/d")).await);
        is_emfile(io.sync_dir(Path::new("/d")).await);
        is_emfile(io.sync_tree(Path::new("/d")).await);
        is_emfile(io.lock(Path::new("/d/lock"), ""));
        is_emfile(io.connect(addr).await);
        is_emfile(io.listen("0.0.0.0:1001".parse().unwrap()));
        let connected = client.connect(addr).await.unwrap();
        is_emfile(listener.accept().await);
        // The host of the client has a limit of its own. What needs no descriptor goes on.
        io.rename(Path::new("/d/first"), Path::new("/d/third"))
            .await
            .unwrap();
        drop(file);
        assert_eq!(sim.open_files("a"), 0);
        let names = io.list(Path::new("/d")).await.unwrap();
        assert_eq!(names.len(), 1, "{names:?}");
        let accepted = listener.accept().await.unwrap();
        is_emfile(io.open(Path::new("/d/third"), NEW).await);
        sim.limit_descriptors("a", 3);
        io.sync_tree(Path::new("/d")).await.unwrap();
        is_emfile(io.open(Path::new("/d/third"), NEW).await);
        // The tree is kept open, and no second time.
        io.sync_tree(Path::new("/d")).await.unwrap();
        drop((accepted, connected));
        io.open(Path::new("/d/third"), NEW).await.unwrap();
    });
}

#[test]
fn a_limit_of_descriptors_neither_fences_nor_loses() {
    for seed in SEEDS {
        few_descriptors(seed);
    }
}

/// For some time the broker's process may have about as many descriptors as it has, while the log needs its next files.
pub fn few_descriptors(seed: u64) -> Tally {
    let dice = Dice::new(seed, 67);
    let cluster = Cluster::new(seed, *dice.pick(&[Flush::Sync, Flush::Async]));
    cluster.sim.run(async {
        let shared = started(&cluster, seed).await;
        let mut producer = Producer::new(&cluster, &shared, "producer").await;
        producer.client.patience = Duration::from_secs(30);
        for _ in 0..4 {
            let open = cluster.sim.descriptors(BROKER) as u64;
            let most = (open + dice.below(4)).saturating_sub(dice.below(3));
            cluster.sim.limit_descriptors(BROKER, most as usize);
            let (sim, raised_ms) = (&cluster.sim, dice.within(300, 3_000));
            let raise = async {
                cluster.sleep_ms(raised_ms).await;
                sim.limit_descriptors(BROKER, usize::MAX);
            };
            let send = async {
                // Enough for the log's next files.
                for _ in 0..dice.within(20, 60) {
                    let (_, reply) = producer.send(dice.within(8, 9_000) as usize).await;
                    let is_late = reply.code == response::SYSTEM_BUSY;
                    assert!(reply.is_success() || is_late, "{reply:?}");
                }
            };
            futures_util::future::join(raise, send).await;
            cluster.sleep_ms(2_000).await;
            let mut another = Producer::new(&cluster, &shared, "another").await;
            another.send_well(5).await;
        }
        cluster.cut_power();
        let now_ns = cluster.sim.mono_ns();
        shared.oracle.borrow_mut().power_was_cut(now_ns);
        cluster.start().await;
        recovered::read_all(&cluster, &shared).await;
    });
    cluster.sim.tally()
}

#[test]
fn a_process_at_its_limit_accepts_again_when_there_are_descriptors() {
    let cluster = Cluster::new(1, Flush::Sync);
    cluster.sim.run(async {
        let shared = started(&cluster, 1).await;
        let mut producer = Producer::new(&cluster, &shared, "producer").await;
        producer.send_well(5).await;
        let open = cluster.sim.descriptors(BROKER);
        cluster.sim.limit_descriptors(BROKER, open);
        let mut waiting = Producer::new(&cluster, &shared, "waiting").await;
        let raise = async {
            cluster.sleep_ms(1_000).await;
            cluster.sim.limit_descriptors(BROKER, open + 10);
        };
        let (_, ()) = futures_util::future::join(waiting.send_well(1), raise).await;
        producer.send_well(5).await;
    });
}

#[test]
fn what_is_closed_or_removed_gives_its_descriptors_back() {
    for seed in 0..2 {
        closed(seed);
    }
}

/// Topics come and go, and so does the broker.
pub fn closed(seed: u64) -> Tally {
    let dice = Dice::new(seed, 68);
    let cluster = Cluster::new(seed, Flush::Async);
    cluster.sim.run(async {
        cluster.start().await;
        for life in 0..3 {
            let mut counts = Vec::new();
            for round in 0..6 {
                topics_come_and_go(&cluster, &dice, &format!("{life}-{round}")).await;
                cluster.sleep_ms(3_000).await;
                let log = cluster.broker().list(Path::new("/store/commitlog")).await;
                // Each file of the log stays open.
                counts.push(cluster.sim.open_files(BROKER) - log.unwrap().len());
            }
            // One may be opened just now.
            let most = counts[0] + 2;
            assert!(counts.iter().all(|count| *count <= most), "{counts:?}");
            // That nothing is open then it checks itself.
            cluster.stop().await;
            cluster.start().await;
        }
    });
    cluster.sim.tally()
}

async fn topics_come_and_go(cluster: &Cluster, dice: &Dice, name: &str) {
    let mut admin = cluster.client("admin").await;
    let topics = ["a", "b", "c"].map(|topic| format!("{topic}-{name}"));
    for topic in &topics {
        requests::make_topic(&mut admin, topic).await;
        for _ in 0..10 {
            let body = vec![7; dice.within(4_000, 9_000) as usize];
            let fields = requests::send_to(topic, "");
            let code = request::SEND_MESSAGE_V2;
            let reply = admin.call(code, &fields.ext(), &body).await.unwrap();
            assert!(reply.is_success(), "{reply:?}");
        }
    }
    // Queue files are written when a file of the log is complete.
    cluster.sleep_ms(3_000).await;
    for topic in &topics {
        let queue = Queue {
            topic: topic.clone(),
            id: 0,
        };
        let pull = Pull::of_all("readers", &queue, 0);
        requests::pull(&mut admin, &pull).await.unwrap();
        let fields = [("topic", Value::Str(topic))];
        let deleted = admin.call(request::DELETE_TOPIC_IN_BROKER, &fields, &[]);
        assert!(deleted.await.unwrap().is_success());
    }
}
