use super::*;
use crate::message::properties;
use proptest::prelude::*;

prop_compose! {
    fn fields()(
        numbers in any::<(u32, i32, u64, u64, i32)>(),
        times in any::<(i64, i64, i32, u64)>(),
        hosts in any::<(SocketAddr, SocketAddr)>(),
        body in prop::collection::vec(any::<u8>(), 0..300),
        topic in prop_oneof!["[a-zA-Z0-9_%-]{1,127}", "%RETRY%[a-z]{121,248}"],
        properties in "([A-Z]{1,5}\u{1}[a-z]{1,5}\u{2}){0,5}([A-Z]{1,3}\u{1}[a-z]{1,3})?",
    ) -> (RecordFields<'static>, Vec<u8>, String, String) {
        let fields = RecordFields {
            queue_id: numbers.0,
            flag: numbers.1,
            queue_offset: numbers.2,
            physical_offset: numbers.3,
            sys_flag: numbers.4,
            born_timestamp_ms: times.0,
            born_host: SocketAddr::new(hosts.0.ip(), hosts.0.port()),
            store_timestamp_ms: times.1,
            store_host: SocketAddr::new(hosts.1.ip(), hosts.1.port()),
            reconsume_times: times.2,
            prepared_transaction_offset: times.3,
            body: &[],
            topic: "",
            properties: Properties::default(),
        };
        (fields, body, topic, properties)
    }
}

fn encoded(fields: &RecordFields<'_>) -> Vec<u8> {
    let mut bytes = vec![0; fields.encoded_len()];
    fields.encode(&mut bytes);
    bytes
}

proptest! {
    #[test]
    fn decode_undoes_encode((fields, body, topic, text) in fields(), behind in prop::collection::vec(any::<u8>(), 0..20)) {
        let fields = RecordFields { body: &body, topic: &topic, properties: Properties::new(&text), ..fields };
        let mut bytes = encoded(&fields);
        let len = bytes.len();
        bytes.extend(behind);
        let record = Record::decode(&bytes, Check::Crc).unwrap();
        prop_assert_eq!(record.total_size as usize, len);
        prop_assert_eq!(record.body, &body[..]);
        prop_assert_eq!(record.topic, &*topic);
        prop_assert_eq!((record.queue_id, record.flag, record.queue_offset), (fields.queue_id, fields.flag, fields.queue_offset));
        prop_assert_eq!((record.physical_offset, record.sys_flag), (fields.physical_offset, fields.sys_flag()));
        prop_assert_eq!((record.born_host, record.store_host), (fields.born_host, fields.store_host));
        prop_assert_eq!((record.born_timestamp_ms, record.store_timestamp_ms), (fields.born_timestamp_ms, fields.store_timestamp_ms));
        prop_assert_eq!((record.reconsume_times, record.prepared_transaction_offset), (fields.reconsume_times, fields.prepared_transaction_offset));
        prop_assert!(record.has_crc());
        let stored: Vec<_> = properties::iter(record.properties_without_crc()).collect();
        let sent: Vec<_> = properties::iter(&text).collect();
        prop_assert_eq!(stored, sent);
    }

    #[test]
    fn one_wrong_bit_is_found((fields, body, topic, text) in fields(), at: prop::sample::Index, bit in 0..8) {
        let fields = RecordFields { body: &body, topic: &topic, properties: Properties::new(&text), ..fields };
        let mut bytes = encoded(&fields);
        let at = at.index(bytes.len());
        bytes[at] ^= 1_u8 << bit;
        prop_assert!(Record::decode(&bytes, Check::Crc).is_err());
    }

    #[test]
    fn a_record_without_its_end_is_found((fields, body, topic, text) in fields(), missing: prop::sample::Index) {
        let fields = RecordFields { body: &body, topic: &topic, properties: Properties::new(&text), ..fields };
        let mut bytes = encoded(&fields);
        let len = bytes.len();
        let missing = 1 + missing.index(len - 1);
        bytes[len - missing..].fill(0);
        prop_assert!(Record::decode(&bytes, Check::Crc).is_err());
    }

    #[test]
    fn any_bytes_are_read_without_harm(mut bytes in prop::collection::vec(any::<u8>(), 8..300), v2: bool) {
        let len = bytes.len() as u32;
        bytes[..4].copy_from_slice(&len.to_be_bytes());
        bytes[4..8].copy_from_slice(&if v2 { MAGIC_V2 } else { MAGIC_V1 }.to_be_bytes());
        let _ = Record::decode(&bytes, Check::Crc);
    }
}

#[test]
fn drawn_offsets() {
    let host = "1.2.3.4:5".parse().unwrap();
    let fields = RecordFields {
        queue_id: 7,
        flag: 9,
        queue_offset: 0x11,
        physical_offset: 0x22,
        sys_flag: 0,
        born_timestamp_ms: 0x33,
        born_host: host,
        store_timestamp_ms: 0x44,
        store_host: host,
        reconsume_times: 3,
        prepared_transaction_offset: 0x55,
        body: b"body",
        topic: "T",
        properties: Properties::new("K\u{1}v"),
    };
    let bytes = encoded(&fields);
    assert_eq!(bytes.len(), 91 + 4 + 1 + 4 + CRC_PROPERTY_BYTES);
    assert_eq!(bytes[4..8], MAGIC_V1.to_be_bytes());
    assert_eq!(bytes[20..28], 0x11_u64.to_be_bytes());
    assert_eq!(bytes[PHYSICAL_OFFSET_AT..36], 0x22_u64.to_be_bytes());
    assert_eq!(bytes[48..56], [1, 2, 3, 4, 0, 0, 0, 5]);
    assert_eq!(bytes[56..64], 0x44_u64.to_be_bytes());
    assert_eq!(bytes[88..92], *b"body");
    assert_eq!(bytes[92..96], [1, b'T', 0, 24]);
    assert_eq!(bytes[96..108], *b"K\x01v\x02__CRC32#");
}

fn with_properties(properties: &str) -> RecordFields<'_> {
    let host: SocketAddr = "1.2.3.4:5".parse().unwrap();
    RecordFields {
        queue_id: 0,
        flag: 0,
        queue_offset: 0,
        physical_offset: 0,
        sys_flag: 0,
        born_timestamp_ms: 0,
        born_host: host,
        store_timestamp_ms: 0,
        store_host: host,
        reconsume_times: 0,
        prepared_transaction_offset: 0,
        body: b"body",
        topic: "T",
        properties: Properties::new(properties),
    }
}

/// As RocketMQ's limit, which counts no CRC and no last separator.
#[test]
fn the_longest_properties_of_a_client_are_stored_without_a_crc() {
    for (own, stored, has_crc) in [
        (32_747, 32_767, true),
        (32_748, 32_747, false),
        (32_767, 32_766, false),
        (32_768, 32_767, false),
    ] {
        let value = "v".repeat(own - 3);
        let properties = format!("K\u{1}{value}\u{2}");
        let fields = with_properties(&properties);
        assert_eq!(fields.properties_len(), stored, "{own}");
        let bytes = encoded(&fields);
        let record = Record::decode(&bytes, Check::Crc).unwrap();
        assert_eq!(record.properties.len(), stored);
        assert_eq!(record.has_crc(), has_crc, "{own}");
        assert!(has_crc || record.may_lack_crc());
        let found = crate::message::properties::find(record.properties, "K");
        assert_eq!(found, Some(&*value), "{own}");
    }
    let usual = encoded(&with_properties("K\u{1}v"));
    assert!(!Record::decode(&usual, Check::Crc).unwrap().may_lack_crc());
}

#[test]
fn blank_is_told_from_broken() {
    let blank = blank_record(100);
    assert_eq!(
        Record::decode(&blank, Check::Crc),
        Err(RecordError::Blank { remaining: 100 })
    );
    assert_eq!(
        Record::decode(&[0; 64], Check::Crc),
        Err(RecordError::Magic { got: 0 })
    );
}
