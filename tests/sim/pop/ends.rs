//! Protects what POP promises over an end of the broker and on a full disk.

use super::*;

#[test]
fn what_is_in_flight_survives_a_kill_and_comes_back() {
    let cluster = Cluster::new(1, Flush::Async);
    cluster.sim.run(async {
        let mut popper = started(&cluster).await;
        popper.send(0..8).await;
        let messages = popper
            .pop(&Pop {
                invisible_ms: 20_000,
                ..ALL
            })
            .await;
        popper.ack_all(&messages[..3]).await;
        // No offset has been saved, but the check points are in the log.
        cluster.kill();
        cluster.start().await;
        let mut popper = Popper::new(&cluster, "client").await;
        assert_eq!(popper.pop_numbers(&ALL).await, NONE, "still hidden");
        popper.ack_all(&messages[3..5]).await;
        cluster.stop().await;
        cluster.start().await;
        let mut popper = Popper::new(&cluster, "client").await;
        assert_eq!(popper.pop_numbers(&ALL).await, NONE, "still hidden");
        cluster.sleep_ms(20_000).await;
        let back = popper.pop(&ALL).await;
        assert_eq!(numbers(&back), numbers(&messages[5..]));
        popper.ack_all(&back).await;
        cluster.kill();
        cluster.start().await;
        let mut popper = Popper::new(&cluster, "client").await;
        cluster.sleep_ms(5_000).await;
        assert_eq!(popper.pop_numbers(&ALL).await, NONE);
    });
}

#[test]
fn what_a_full_disk_refuses_has_not_happened() {
    for is_killed in [false, true] {
        let cluster = Cluster::new(1, Flush::Sync);
        cluster.sim.run(refused_by_the_disk(&cluster, is_killed));
    }
}

async fn refused_by_the_disk(cluster: &Cluster, is_killed: bool) {
    let mut popper = started(cluster).await;
    popper.send(0..8).await;
    let messages = popper
        .pop(&Pop {
            invisible_ms: 10_000,
            ..ALL
        })
        .await;
    let (acked, changed) = messages.split_at(4);
    let io = cluster.broker();
    io.occupy(io.space(Path::new("/")).await.unwrap().available_bytes);
    cluster.sleep_ms(1_200).await;
    for message in acked {
        let reply = popper.ack(message).await.unwrap();
        assert_eq!(reply.code, response::SERVICE_NOT_AVAILABLE, "{reply:?}");
    }
    for message in changed {
        let (reply, _) = popper.change(message, 500).await.unwrap();
        assert_eq!(reply.code, response::SERVICE_NOT_AVAILABLE, "{reply:?}");
    }
    io.occupy(0);
    cluster.sleep_ms(2_500).await;
    popper.ack_all(&acked[..2]).await;
    let (reply, sooner) = popper.change(&changed[0], 500).await.unwrap();
    assert!(reply.is_success(), "{reply:?}");
    popper.ack_all(&[sooner]).await;
    // Long enough for what is noted of the revive log to be saved.
    cluster.sleep_ms(3_000).await;
    assert_eq!(popper.pop_numbers(&ALL).await, NONE, "still hidden");
    if is_killed {
        cluster.kill();
        cluster.start().await;
        popper = Popper::new(cluster, "client").await;
    }
    cluster.sleep_ms(5_000).await;
    let back = popper.pop(&ALL).await;
    let mut left = numbers(&acked[2..]);
    left.extend(numbers(&changed[1..]));
    assert_eq!(numbers(&back), sorted(left), "killed: {is_killed}");
    popper.ack_all(&back).await;
    cluster.sleep_ms(5_000).await;
    assert_eq!(popper.pop_numbers(&ALL).await, NONE);
}

#[test]
fn a_group_that_was_sent_back_stays_there_after_a_kill() {
    let cluster = Cluster::new(1, Flush::Async);
    cluster.sim.run(async {
        let mut popper = started(&cluster).await;
        popper.send(0..8).await;
        let messages = popper
            .pop(&Pop {
                invisible_ms: 60_000,
                ..ALL
            })
            .await;
        popper.ack_all(&messages).await;
        cluster.sleep_ms(3_000).await;
        for id in 0..QUEUES {
            let queue = Queue {
                topic: TOPIC.into(),
                id,
            };
            requests::commit_offset(&mut popper.client, GROUP, &queue, 0);
            popper.client.flush().await.unwrap();
            assert!(popper.client.reply().await.unwrap().is_success());
        }
        // Long enough to be saved; the check points of before are still in the log.
        cluster.sleep_ms(3_000).await;
        cluster.kill();
        cluster.start().await;
        let mut popper = Popper::new(&cluster, "client").await;
        assert_eq!(popper.pop_numbers(&ALL).await, (0..8).collect::<Vec<_>>());
    });
}
