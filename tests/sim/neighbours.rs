//! Two shards of one process, with their stores on one device. It reports the loss of its cache to one of them only.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;

use ringmq::io::Spawn;
use ringmq::reactor::{self, Neighbours, ShardSetup};
use ringmq::sim::{Fault, Op, Rule};
use ringmq::store::Flush;
use ringmq::wire::Codec;
use ringmq::wire::codes::response;

use crate::client::{Client, Reply};
use crate::cluster::{self, BROKER, BROKER_PORT, Cluster, FLUSH_INTERVAL_MS};
use crate::oracle::Queue;
use crate::{alarm, requests, saves};

const TOPIC: &str = "topic";

fn port(shard: u16) -> u16 {
    BROKER_PORT + 10 * shard
}

fn setup(cluster: &Cluster, shard: u16) -> ShardSetup {
    let mut setup = cluster.setup();
    cluster::use_ports_of(&mut setup, shard);
    setup.store.dir = format!("/store/shard-{shard}").into();
    setup.broker.broker_name = format!("broker-{shard}");
    if shard > 0 {
        setup.builtin_namesrv = None;
    }
    setup
}

/// Both serve when it returns.
async fn start(cluster: &Cluster, are_linked: bool) {
    let neighbours = match are_linked {
        true => alarm::linked(),
        false => [Neighbours::none(), Neighbours::none()],
    };
    let serving = Rc::new(Cell::new(0));
    for (shard, neighbours) in (0..).zip(neighbours) {
        let (io, setup) = (cluster.broker(), setup(cluster, shard));
        let serving = serving.clone();
        io.clone().spawn("broker", async move {
            let ready = |_| serving.set(serving.get() + 1);
            let (stop, bound, watch) = (std::future::pending(), async || {}, |_| {});
            let served = reactor::run_watched(io, setup, stop, bound, ready, watch, neighbours);
            served.await.expect("a shard ends");
        });
    }
    for _ in 0..30_000 {
        if serving.get() == 2 {
            return;
        }
        cluster.sleep_ms(1).await;
    }
    panic!("{} of 2 shards serve", serving.get());
}

async fn client(cluster: &Cluster, shard: u16) -> Client {
    let addr = SocketAddr::new(cluster.broker().ip(), port(shard));
    let io = cluster.sim.host("client");
    Client::connect(&io, addr, Codec::Rocketmq).await.unwrap()
}

async fn send(client: &mut Client) -> Reply {
    saves::send(client, TOPIC).await
}

#[test]
fn an_error_of_the_device_fences_every_store_that_is_on_it() {
    for seed in 0..8 {
        let cluster = Cluster::new(seed, Flush::Async);
        cluster.sim.run(async {
            start(&cluster, true).await;
            let (mut one, mut other) = (client(&cluster, 0).await, client(&cluster, 1).await);
            let durable = 20;
            for _ in 0..durable {
                assert!(send(&mut other).await.is_success());
            }
            cluster.sleep_ms(3 * FLUSH_INTERVAL_MS).await;
            // A flush of the first store fails once, and the device forgets what neither has flushed.
            let rule = Rule::new(Fault::Io).of(Op::Sync).on("shard-0/commitlog");
            cluster.broker().inject(rule.times(1));
            assert!(send(&mut one).await.is_success());
            while send(&mut one).await.is_success() {
                send(&mut other).await;
                cluster.sleep_ms(10).await;
            }
            let refused = send(&mut other).await;
            assert_eq!(refused.code, response::SERVICE_NOT_AVAILABLE, "{refused:?}");
            let remark = refused.remark.unwrap_or_default();
            assert!(remark.contains("another store on the device"), "{remark}");
            assert!(remark.contains("shard-0/commitlog"), "{remark}");
            cluster.sleep_ms(3 * FLUSH_INTERVAL_MS).await;
            cluster.sim.power_cut(BROKER);

            // Nothing of the second store claims that what the device forgot was durable.
            start(&cluster, true).await;
            let mut other = client(&cluster, 1).await;
            let queue = Queue {
                topic: TOPIC.into(),
                id: 0,
            };
            let max = requests::max_offset(&mut other, &queue).await.unwrap();
            assert!(max.number("offset") >= durable, "{max:?}");
            assert!(send(&mut other).await.is_success());
        });
    }
}

#[test]
fn an_error_of_another_device_fences_nobody_else() {
    let cluster = Cluster::new(1, Flush::Async);
    cluster.sim.run(async {
        start(&cluster, false).await;
        let (mut one, mut other) = (client(&cluster, 0).await, client(&cluster, 1).await);
        let rule = Rule::new(Fault::Io).of(Op::Write).on("shard-0/commitlog");
        cluster.broker().inject(rule);
        assert!(!send(&mut one).await.is_success());
        cluster.sleep_ms(3 * FLUSH_INTERVAL_MS).await;
        assert!(send(&mut other).await.is_success());
    });
}
