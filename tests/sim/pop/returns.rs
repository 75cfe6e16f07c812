//! Protects when a message is given out, and when it comes back.

use super::*;

#[test]
fn what_is_not_acknowledged_comes_back_at_its_time_and_once() {
    let cluster = Cluster::new(1, Flush::Async);
    cluster.sim.run(async {
        let mut popper = started(&cluster).await;
        popper.send(0..12).await;
        let first = popper.pop(&ALL).await;
        assert_eq!(numbers(&first), (0..12).collect::<Vec<_>>());
        assert_eq!(popper.pop_numbers(&ALL).await, NONE);
        let (done, left) = first.split_at(5);
        popper.ack_all(done).await;
        cluster.sleep_ms(1_800).await;
        assert_eq!(popper.pop_numbers(&ALL).await, NONE, "its time is not over");
        cluster.sleep_ms(300).await;
        let again = popper.pop(&ALL).await;
        assert_eq!(numbers(&again), numbers(left));
        assert!(
            again
                .iter()
                .all(|message| message.reconsume_times == 1 && message.topic != TOPIC)
        );
        // The old receipts are void, the new ones are not.
        popper.ack_all(left).await;
        cluster.sleep_ms(2_300).await;
        let third = popper.pop(&ALL).await;
        assert_eq!(numbers(&third), numbers(left));
        assert!(third.iter().all(|message| message.reconsume_times == 2));
        popper.ack_all(&third).await;
        cluster.sleep_ms(5_000).await;
        assert_eq!(popper.pop_numbers(&ALL).await, NONE);
    });
}

#[test]
fn one_queue_a_limit_and_a_filter() {
    let cluster = Cluster::new(1, Flush::Async);
    cluster.sim.run(async {
        let mut popper = started(&cluster).await;
        popper.send(0..24).await;
        let red = popper
            .pop(&Pop {
                expression: "red",
                max: 3,
                queue_id: 0,
                ..ALL
            })
            .await;
        assert_eq!(numbers(&red), [0, 12], "red ones of the first queue");
        let rest = popper
            .pop(&Pop {
                expression: "blue || green",
                ..ALL
            })
            .await;
        assert!(
            rest.iter()
                .all(|message| message.tag != "red" && message.queue_id != 0)
        );
        assert_eq!(
            rest.len(),
            12,
            "what the first pop passed over stays behind"
        );
        let reply = popper.try_pop(&Pop { max: 33, ..ALL }).await.unwrap();
        assert_eq!(reply.code, response::INVALID_PARAMETER);
        let reply = popper.try_pop(&Pop { queue_id: 4, ..ALL }).await.unwrap();
        assert_eq!(reply.code, response::INVALID_PARAMETER);
        let reply = popper
            .try_pop(&Pop {
                expression: "||",
                ..ALL
            })
            .await
            .unwrap();
        assert_eq!(reply.code, response::SUBSCRIPTION_PARSE_FAILED);
    });
}

#[test]
fn an_expression_chooses_and_chooses_again_what_comes_back() {
    let cluster = Cluster::new(1, Flush::Async);
    cluster.sim.run(async {
        let mut popper = started(&cluster).await;
        popper.send(0..24).await;
        let chosen = Pop {
            expression: "TAGS = 'red' AND (KEYS ENDSWITH '2' OR KEYS ENDSWITH '1')",
            expression_type: "SQL92",
            ..ALL
        };
        let first = popper.pop(&chosen).await;
        assert_eq!(sorted(numbers(&first)), [12, 21]);
        cluster.sleep_ms(2_300).await;
        let again = popper.pop(&chosen).await;
        assert_eq!(
            sorted(numbers(&again)),
            [12, 21],
            "nobody has acknowledged them"
        );
        assert!(again.iter().all(|message| message.reconsume_times == 1));
        popper.ack_all(&again).await;
        let wrong = Pop {
            expression: "TAGS = ",
            ..chosen
        };
        let reply = popper.try_pop(&wrong).await.unwrap();
        assert_eq!(reply.code, response::SUBSCRIPTION_PARSE_FAILED);
    });
}

#[test]
fn a_pop_waits_for_a_message_and_for_what_comes_back() {
    let cluster = Cluster::new(1, Flush::Async);
    cluster.sim.run(async {
        let mut popper = started(&cluster).await;
        let mut other = Popper::new(&cluster, "other").await;
        let waits = Pop {
            poll_ms: 5_000,
            invisible_ms: 1_000,
            ..ALL
        };
        let asked_ms = popper.now_ms();
        let reply = popper.try_pop(&waits).await.unwrap();
        assert_eq!(reply.code, response::POLLING_TIMEOUT);
        let waited_ms = popper.now_ms() - asked_ms;
        assert!(
            (5_000..5_000 + SLACK_MS).contains(&waited_ms),
            "{waited_ms} ms"
        );

        popper.ask_pop(&waits);
        popper.client.flush().await.unwrap();
        cluster.sleep_ms(100).await;
        let line = PollingInfoRequest {
            consumer_group: GROUP,
            topic: TOPIC,
            queue_id: -1,
        };
        let waiting = other
            .client
            .call(request::POLLING_INFO, &line.ext(), &[])
            .await
            .unwrap();
        assert_eq!(waiting.number("pollingNum"), 1);
        other.send(0..1).await;
        let sent_ms = popper.now_ms();
        let found = popped(&popper.client.reply().await.unwrap());
        assert_eq!(numbers(&found), [0]);
        assert!(popper.now_ms() - sent_ms < 50, "at once");

        // There was no retry topic when it began to wait.
        let back = popper.pop(&waits).await;
        assert_eq!((numbers(&back), back[0].reconsume_times), (vec![0], 1));
        let due_ms = found[0].hidden_until_ms;
        let late_ms = popper.now_ms().checked_sub(due_ms);
        assert!(
            late_ms.is_some_and(|late_ms| late_ms < 100),
            "as soon as it is back, not {late_ms:?} ms after"
        );
        popper.ack_all(&back).await;
    });
}

#[test]
fn one_message_wakes_one_of_many() {
    let cluster = Cluster::new(1, Flush::Async);
    cluster.sim.run(async {
        let mut sender = started(&cluster).await;
        let mut poppers = Vec::new();
        for number in 0..6 {
            let mut popper = Popper::new(&cluster, &format!("popper-{number}")).await;
            popper.ask_pop(&Pop {
                poll_ms: 3_000,
                max: 1,
                invisible_ms: 60_000,
                ..ALL
            });
            popper.client.flush().await.unwrap();
            poppers.push(popper);
        }
        cluster.sleep_ms(100).await;
        sender.send(0..4).await;
        let mut found = Vec::new();
        for popper in &mut poppers {
            popper.client.patience = Duration::from_secs(4);
            found.extend(popped(&popper.client.reply().await.unwrap()));
        }
        assert_eq!(
            numbers(&found),
            [0, 1, 2, 3],
            "each to one, and the others hear that there was nothing"
        );
    });
}

#[test]
fn who_has_gone_gets_nothing() {
    let cluster = Cluster::new(1, Flush::Async);
    cluster.sim.run(async {
        let mut sender = started(&cluster).await;
        let waits = Pop {
            poll_ms: 10_000,
            ..ALL
        };
        let mut gone = Popper::new(&cluster, "gone").await;
        gone.ask_pop(&waits);
        gone.client.flush().await.unwrap();
        cluster.sleep_ms(10).await;
        let mut popper = Popper::new(&cluster, "popper").await;
        popper.ask_pop(&waits);
        popper.client.flush().await.unwrap();
        cluster.sleep_ms(10).await;
        drop(gone);
        cluster.sleep_ms(10).await;
        sender.send(0..1).await;
        let found = popped(&popper.client.reply().await.unwrap());
        assert_eq!((numbers(&found), found[0].reconsume_times), (vec![0], 0));
    });
}

/// A reply has the first message whatever its size, and others as long as they fit.
#[test]
fn a_message_that_does_not_fit_is_left_for_the_next_pop() {
    let cluster = Cluster::new(1, Flush::Async);
    cluster
        .settings
        .set(|broker| broker.max_pull_bytes = 24 << 10);
    cluster.sim.run(async {
        let mut popper = started(&cluster).await;
        for number in 0..3 {
            let large = Sent {
                body_bytes: 20 << 10,
                ..sent(number)
            };
            requests::send(&mut popper.client, &large, number as i32);
            popper.client.flush().await.unwrap();
            assert!(popper.client.reply().await.unwrap().is_success());
        }
        let mut brought = Vec::new();
        for _ in 0..3 {
            let reply = popper.try_pop(&ALL).await.unwrap();
            assert!(reply.body.len() < 24 << 10, "{}", reply.body.len());
            brought.extend(requests::records(&reply.body).iter().map(number_of));
        }
        brought.sort_unstable();
        assert_eq!(brought, [0, 1, 2]);
    });
}
