//! Every way to send a message.

use super::*;

#[test]
fn every_way_to_send_is_read_back_as_it_was_sent() {
    let (_folder, broker) = start(&Options::small());
    let own = properties(&[
        ("KEYS", "k 1"),
        ("TAGS", "TagA"),
        ("UNIQ_KEY", "0A0000010001"),
        ("é", "zwölf \"Zeichen\""),
    ]);
    let body: Vec<u8> = (0..=255).collect();
    let mut offset = 0;
    for codec in CODECS {
        let mut client = Client::with_codec(broker.addr(), codec);
        let send = SendRequest {
            properties: Some(&own),
            flag: 7,
            ..send_to("Ways", 2)
        };
        for code in [request::SEND_MESSAGE, request::SEND_MESSAGE_V2] {
            let reply = match code {
                request::SEND_MESSAGE => client.ask(code, &long_names(&send), &body),
                _ => client.ask(code, &send.ext(), &body),
            };
            let reply = reply.ok();
            assert_eq!(
                (reply.number("queueId"), reply.number("queueOffset")),
                (2, offset)
            );
            assert_eq!(reply.fields["transactionId"], "0A0000010001");
            let found = one(client.pull(&pull_from("Ways", 2, offset)));
            assert_eq!(
                (found.topic.as_str(), found.queue_offset as i64, found.flag),
                ("Ways", offset, 7)
            );
            assert_eq!(found.born_timestamp_ms, send.born_timestamp_ms);
            assert_eq!(found.reconsume_times, 0);
            assert!(
                found.body == body && found.properties.starts_with(&own),
                "{found:?}"
            );
            let (host, physical_offset) =
                parse_offset_message_id(&reply.fields["msgId"]).expect("an id");
            assert_eq!(
                (host, physical_offset),
                (broker.addr(), found.physical_offset)
            );
            offset += 1;
        }

        let item = properties(&[("TAGS", "TagB"), ("UNIQ_KEY", "0A0000010002")]);
        let bodies: [&[u8]; 3] = [b"one", b"two", b"three"];
        let reply = client.send_batch(&send, &bodies, &item).ok();
        assert_eq!(
            (reply.number("queueId"), reply.number("queueOffset")),
            (2, offset)
        );
        assert_eq!(reply.fields["msgId"].split(',').count(), 3);
        let found = client.pull(&pull_from("Ways", 2, offset)).ok().messages();
        assert_eq!(
            found
                .iter()
                .map(|message| &message.body[..])
                .collect::<Vec<_>>(),
            bodies
        );
        for (message, id) in found.iter().zip(reply.fields["msgId"].split(',')) {
            assert_eq!(message.queue_offset as i64, offset);
            assert!(message.properties.starts_with(&item), "{message:?}");
            assert_eq!(
                parse_offset_message_id(id),
                Ok((broker.addr(), message.physical_offset))
            );
            offset += 1;
        }
    }
    assert_eq!(
        Client::connect(broker.addr()).read_queue("Ways", 2).len() as i64,
        offset
    );
}

#[test]
fn a_send_to_no_queue_in_particular_is_put_into_one() {
    let (_folder, broker) = start(&Options::small());
    let mut client = Client::connect(broker.addr());
    for count in 1..20 {
        let reply = client.send(&send_to("Any", -1), b"x").ok();
        assert!((0..4).contains(&reply.number("queueId")));
        let total: u64 = (0..4)
            .map(|queue_id| client.max_offset("Any", queue_id))
            .sum();
        assert_eq!(total, count);
    }
}

#[test]
fn a_one_way_send_is_stored_and_not_answered() {
    let (_folder, broker) = start(&Options::small());
    for (offset, codec) in CODECS.into_iter().enumerate() {
        let mut client = Client::with_codec(broker.addr(), codec);
        client.tell(
            request::SEND_MESSAGE_V2,
            &send_to("Quiet", 0).ext(),
            b"psst",
        );
        client.tell(
            request::SEND_MESSAGE_V2,
            &send_to("Illegal.Name", 0).ext(),
            b"refused in silence",
        );
        // `max_offset` fails on any reply that is not its own.
        wait_until("the message", || {
            client.max_offset("Quiet", 0) > offset as u64
        });
        assert_eq!(
            one(client.pull(&pull_from("Quiet", 0, offset as i64))).body,
            b"psst"
        );
    }
}

#[test]
fn a_delayed_message_comes_when_it_is_due() {
    let (_folder, broker) = start(&Options::small());
    let mut client = Client::connect(broker.addr());
    let own = properties(&[("DELAY", "1")]);
    client
        .send(
            &SendRequest {
                properties: Some(&own),
                ..send_to("Delayed", 0)
            },
            b"later",
        )
        .ok();
    assert_eq!(client.max_offset("Delayed", 0), 0);
    let found = one(client.pull(&waiting(pull_from("Delayed", 0, 0), 25_000)));
    assert_eq!(
        (&found.body[..], found.topic.as_str()),
        (&b"later"[..], "Delayed")
    );
    assert!(
        found.store_timestamp_ms - found.born_timestamp_ms >= 1000,
        "level 1 is a second: {found:?}"
    );
}

/// The largest message there is goes in and comes out, though a pull otherwise hands out less at a time.
#[test]
fn the_largest_message_passes() {
    let (_folder, broker) = start(&Options {
        flush: "sync",
        ..Options::small()
    });
    let mut client = Client::connect(broker.addr());
    let body: Vec<u8> = (0..4 << 20).map(|at: u32| (at % 251) as u8).collect();
    for offset in 0..6 {
        client.send(&send_to("Large", 0), &body).ok();
        assert!(one(client.pull(&pull_from("Large", 0, offset))).body == body);
    }
}

/// The fields of SEND_MESSAGE (10), which clients before V2 write.
fn long_names<'a>(send: &SendRequest<'a>) -> [(&'static str, Value<'a>); 12] {
    [
        ("producerGroup", Value::Str(send.producer_group)),
        ("topic", Value::Str(send.topic)),
        ("defaultTopic", Value::Str(send.default_topic)),
        (
            "defaultTopicQueueNums",
            Value::I64(send.default_topic_queue_nums.into()),
        ),
        ("queueId", Value::I64(send.queue_id.into())),
        ("sysFlag", Value::I64(send.sys_flag.into())),
        ("bornTimestamp", Value::I64(send.born_timestamp_ms)),
        ("flag", Value::I64(send.flag.into())),
        (
            "properties",
            Value::Str(send.properties.unwrap_or_default()),
        ),
        (
            "reconsumeTimes",
            Value::I64(send.reconsume_times.unwrap_or_default().into()),
        ),
        ("unitMode", Value::Bool(send.unit_mode)),
        ("batch", Value::Bool(send.batch)),
    ]
}
