//! Protects the others from a client that sends without end, never completes its requests, or does not read.

use super::*;

/// One client sends thousands of messages without waiting for an answer; the disk is not quick. The others do not wait
/// longer than their turn takes.
#[test]
fn who_sends_without_end_starves_nobody() {
    const GREEDY: usize = 8_000;
    for seed in seeds() {
        let cluster = Cluster::new(seed, Flush::Sync);
        cluster.sim.run(async {
            let shared = started(&cluster, seed).await;
            let mut modest = Vec::new();
            for n in 0..8 {
                modest.push(Producer::new(&cluster, &shared, &format!("modest-{n}")).await);
            }
            slow_down(&cluster, Duration::from_millis(10));
            let greedy = cluster.client("greedy").await;
            let answered = flood(greedy, &shared, GREEDY);
            let mut rounds = 0;
            while answered.borrow().len() < GREEDY {
                rounds += 1;
                for producer in &mut modest {
                    let (_, reply) = producer.send(BODY_BYTES).await;
                    assert!(reply.is_success(), "round {rounds}: {reply:?}");
                    let took_ms = (producer.told.told_ns - producer.told.asked_ns) / MS;
                    assert!(took_ms < 200, "round {rounds}: waited {took_ms} ms");
                }
            }
            assert!(rounds > 2, "the flood was over too soon to tell");
            cluster.broker().heal();
            cluster.sleep_ms(20_000).await;
            assert_eq!(answered.borrow().len(), GREEDY, "each is answered");
            assert!(
                answered
                    .borrow()
                    .iter()
                    .all(|code| *code == response::SUCCESS)
            );
        });
    }
}

/// Sends all at once and reads the answers as they come; their codes.
fn flood(mut client: Client, shared: &Rc<Shared>, messages: usize) -> Rc<RefCell<Vec<i32>>> {
    let codes = Rc::new(RefCell::new(Vec::new()));
    let (io, stream) = (client.io.clone(), client.stream.clone());
    let mut bytes = Vec::new();
    for _ in 0..messages {
        let sent = shared.oracle.borrow_mut().sends(TOPIC, 1_000, 0, 0);
        requests::send(&mut client, &sent, 1);
        client.take_unsent(&mut bytes);
    }
    io.spawn("test", async move {
        let _ = stream.send(bytes).await;
    });
    client.patience = Duration::from_secs(120);
    let told = codes.clone();
    io.spawn("test", async move {
        for _ in 0..messages {
            let reply = client.reply().await.expect("the broker does not close");
            told.borrow_mut().push(reply.code);
        }
    });
    codes
}

/// Clients that begin large requests and do not end them keep the memory from others for three seconds at most.
#[test]
fn requests_that_never_come_whole_hold_up_nobody_for_long() {
    for seed in seeds() {
        let cluster = Cluster::new(seed, Flush::Async);
        cluster
            .limits
            .set(|setup| setup.connection_memory_bytes = 4 << 20);
        cluster.sim.run(async {
            let shared = started(&cluster, seed).await;
            let mut small = Producer::new(&cluster, &shared, "small").await;
            let mut large = Producer::new(&cluster, &shared, "large").await;
            large.client.patience = Duration::from_secs(10);
            let mut halves = Vec::new();
            for _ in 0..100 {
                let mut half = cluster.client("half").await;
                let sent = shared.oracle.borrow_mut().sends(TOPIC, 30_000, 0, 0);
                requests::send(&mut half, &sent, 0);
                let mut bytes = Vec::new();
                half.take_unsent(&mut bytes);
                bytes.truncate(25_000);
                half.stream.send(bytes).await.0.unwrap();
                halves.push(half);
            }
            cluster.sleep_ms(10).await;
            for _ in 0..20 {
                small.send_well(1).await;
                let took_ms = (small.told.told_ns - small.told.asked_ns) / MS;
                assert!(took_ms < 20, "a small one waited {took_ms} ms");
            }
            // One that comes in a single piece needs no memory of its own; most do not.
            for _ in 0..20 {
                let (_, reply) = large.send(30_000).await;
                assert!(reply.is_success(), "{reply:?}");
                let took_ms = (large.told.told_ns - large.told.asked_ns) / MS;
                assert!(took_ms < 4_000, "a large one waited {took_ms} ms");
                cluster.sleep_ms(100).await;
            }
            let mut closed = 0;
            for half in &mut halves {
                half.patience = Duration::from_millis(1);
                let end = half.reply().await.expect_err("its request has not come");
                closed += usize::from(end.kind() != std::io::ErrorKind::TimedOut);
            }
            assert!((60..=100).contains(&closed), "{closed} are closed");
        });
    }
}

/// So many clients do not read what they asked for that their replies fill the memory: who reads is served all the same.
#[test]
fn replies_that_nobody_reads_hold_up_nobody_for_long() {
    for seed in seeds() {
        let cluster = Cluster::new(seed, Flush::Async);
        cluster
            .limits
            .set(|setup| setup.connection_memory_bytes = 4 << 20);
        cluster.sim.run(async {
            let shared = started(&cluster, seed).await;
            let mut producer = Producer::new(&cluster, &shared, "producer").await;
            for _ in 0..40 {
                assert!(producer.send(8_000).await.1.is_success());
            }
            let queue = Queue {
                topic: TOPIC.to_owned(),
                id: 0,
            };
            let pull = |offset| Pull::of_all("readers", &queue, offset);
            let mut deaf = Vec::new();
            for _ in 0..20 {
                let mut client = cluster.client("deaf").await;
                for n in 0..20 {
                    // From memory and from the disk.
                    requests::ask_pull(&mut client, &pull(if n % 2 == 0 { 30 } else { 0 }));
                }
                client.flush().await.unwrap();
                deaf.push(client);
            }
            cluster.sleep_ms(100).await;
            let mut reader = cluster.client("reader").await;
            reader.patience = Duration::from_secs(20);
            for round in 0..20 {
                let asked_ns = cluster.sim.mono_ns();
                requests::ask_pull(&mut reader, &pull(round));
                reader.flush().await.unwrap();
                let reply = reader.reply().await.unwrap();
                assert!(reply.is_success(), "{reply:?}");
                let took_ms = (cluster.sim.mono_ns() - asked_ns) / MS;
                assert!(took_ms < 8_000, "round {round}: a pull waited {took_ms} ms");
                producer.send_well(1).await;
                let took_ms = (producer.told.told_ns - producer.told.asked_ns) / MS;
                assert!(took_ms < 100, "round {round}: a send waited {took_ms} ms");
            }
        });
    }
}
