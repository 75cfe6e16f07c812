//! Protects what a receipt is good for: acknowledgements, changed times, peeks, and pops in order.

use super::*;

#[test]
fn a_changed_time_voids_the_old_receipt() {
    let cluster = Cluster::new(1, Flush::Async);
    cluster.sim.run(async {
        let mut popper = started(&cluster).await;
        popper.send(0..2).await;
        let messages = popper.pop(&ALL).await;
        let (reply, longer) = popper.change(&messages[0], 10_000).await.unwrap();
        assert!(reply.is_success(), "{reply:?}");
        let (reply, sooner) = popper.change(&messages[1], 500).await.unwrap();
        assert!(reply.is_success(), "{reply:?}");
        let (reply, _) = popper.change(&messages[0], 500).await.unwrap();
        assert_eq!(reply.code, response::NO_MESSAGE, "void");
        popper.ack_all(&messages).await;
        cluster.sleep_ms(700).await;
        let back = popper.pop(&ALL).await;
        assert_eq!(numbers(&back), [sooner.number]);
        popper.ack_all(&back).await;
        cluster.sleep_ms(8_000).await;
        assert_eq!(popper.pop_numbers(&ALL).await, NONE);
        popper.ack_all(&[longer]).await;
        cluster.sleep_ms(5_000).await;
        assert_eq!(popper.pop_numbers(&ALL).await, NONE);
    });
}

#[test]
fn a_batch_acknowledges_by_bits() {
    let cluster = Cluster::new(1, Flush::Async);
    cluster.sim.run(async {
        let mut popper = started(&cluster).await;
        popper.send(0..20).await;
        let messages = popper.pop(&Pop { queue_id: 1, ..ALL }).await;
        assert_eq!(numbers(&messages), [1, 5, 9, 13, 17]);
        let receipt = Receipt::parse(&messages[0].receipt).unwrap();
        let ack = BatchAck {
            consumer_group: GROUP.into(),
            topic: TOPIC.into(),
            retry_flag: "0".into(),
            start_offset: receipt.start_offset as i64,
            queue_id: 1,
            revive_queue: receipt.revive_queue,
            pop_time_ms: receipt.pop_time_ms as i64,
            invisible_ms: receipt.invisible_ms as i64,
            bits: Bits(vec![0b0001_0110]),
        };
        let wrong = BatchAck {
            queue_id: -1,
            ..ack.clone()
        };
        let batch = BatchAckRequest {
            broker_name: "broker-a".into(),
            acks: vec![wrong, ack],
        };
        let body = ringmq::wire::loose_json::to_vec(&batch);
        let reply = popper
            .client
            .call(request::BATCH_ACK_MESSAGE, &[], &body)
            .await
            .unwrap();
        assert!(reply.is_success(), "{reply:?}");
        let reply = popper
            .client
            .call(request::BATCH_ACK_MESSAGE, &[], b"{}")
            .await
            .unwrap();
        assert_eq!(reply.code, response::NO_MESSAGE);
        cluster.sleep_ms(2_200).await;
        assert_eq!(
            popper.pop_numbers(&Pop { queue_id: 1, ..ALL }).await,
            [1, 13]
        );
    });
}

#[test]
fn a_peek_takes_nothing_and_a_notification_says_whether_there_is_something() {
    let cluster = Cluster::new(1, Flush::Async);
    cluster.sim.run(async {
        let mut popper = started(&cluster).await;
        let mut other = Popper::new(&cluster, "other").await;
        let peek = PeekRequest {
            consumer_group: GROUP,
            topic: TOPIC,
            queue_id: -1,
            max_msg_nums: 32,
        };
        let reply = popper
            .client
            .call(request::PEEK_MESSAGE, &peek.ext(), &[])
            .await
            .unwrap();
        assert_eq!(reply.code, response::PULL_NOT_FOUND);
        let notification = |now_ms: u64, poll_ms| NotificationRequest {
            consumer_group: GROUP,
            topic: TOPIC,
            queue_id: -1,
            poll_ms,
            born_ms: now_ms as i64,
            order: false,
            attempt_id: None,
        };
        let ask = notification(popper.now_ms(), 0);
        let reply = popper
            .client
            .call(request::NOTIFICATION, &ask.ext(), &[])
            .await
            .unwrap();
        assert_eq!(reply.text("hasMsg"), "false");
        let ask = notification(popper.now_ms(), 2_000);
        popper.client.ask(request::NOTIFICATION, &ask.ext(), &[]);
        popper.client.flush().await.unwrap();
        cluster.sleep_ms(100).await;
        other.send(0..3).await;
        let reply = popper.client.reply().await.unwrap();
        assert_eq!(reply.text("hasMsg"), "true");
        for _ in 0..2 {
            let reply = popper
                .client
                .call(request::PEEK_MESSAGE, &peek.ext(), &[])
                .await
                .unwrap();
            assert_eq!(
                (reply.code, requests::records(&reply.body).len()),
                (response::SUCCESS, 3)
            );
            assert_eq!(reply.number("restNum"), 3);
        }
        assert_eq!(popper.pop_numbers(&ALL).await, [0, 1, 2]);
    });
}

#[test]
fn popped_in_order_a_queue_is_blocked() {
    let cluster = Cluster::new(1, Flush::Async);
    cluster.sim.run(async {
        let mut popper = started(&cluster).await;
        popper.send(0..20).await;
        let order = Pop {
            order: true,
            queue_id: 0,
            max: 2,
            ..ALL
        };
        let first = popper
            .pop(&Pop {
                attempt_id: Some("a"),
                ..order
            })
            .await;
        assert_eq!(numbers(&first), [0, 4]);
        assert_eq!(
            popper
                .pop_numbers(&Pop {
                    attempt_id: Some("b"),
                    ..order
                })
                .await,
            NONE
        );
        let again = popper
            .pop_numbers(&Pop {
                attempt_id: Some("a"),
                ..order
            })
            .await;
        assert_eq!(again, [0, 4], "the same attempt");
        // All of it done, the next may come; a pop that waits is woken by that.
        let again = popper
            .pop(&Pop {
                attempt_id: Some("a"),
                ..order
            })
            .await;
        let mut other = Popper::new(&cluster, "other").await;
        other.ask_pop(&Pop {
            poll_ms: 10_000,
            ..order
        });
        other.client.flush().await.unwrap();
        cluster.sleep_ms(100).await;
        popper.ack_all(&again).await;
        let next = popped(&other.client.reply().await.unwrap());
        assert_eq!(numbers(&next), [8, 12]);
        // Half of it done: the rest comes again when its time is over, and says how often it came.
        popper.ack_all(&next[..1]).await;
        let asked_ms = popper.now_ms();
        let reply = popper
            .try_pop(&Pop {
                poll_ms: 10_000,
                ..order
            })
            .await
            .unwrap();
        assert!((1_700..2_100).contains(&(popper.now_ms() - asked_ms)));
        let counts = reply.text("orderCountInfo").to_owned();
        let rest = popped(&reply);
        assert_eq!(numbers(&rest), [12, 16]);
        assert_eq!(counts, format!("0 qo0%{} 1;0 0 0", rest[0].offset));
        let (reply, rest_later) = popper.change(&rest[0], 500).await.unwrap();
        assert!(reply.is_success());
        popper.ack_all(&rest[1..]).await;
        cluster.sleep_ms(600).await;
        assert_eq!(popper.pop_numbers(&order).await, [12, 16]);
        popper.ack_all(&[rest_later]).await;
    });
}
