//! Golden signatures: of RocketMQ's own tests, and of requests as clients send them.

use super::*;
use crate::auth::signature::Check;
use crate::wire::codes::request::*;

const SECRET: &str = "12345678";

fn is_right(code: i32, version: i32, fields: &[(&str, &str)], body: &[u8]) -> bool {
    with_request(code, fields, |header| {
        let header = &Header { version, ..*header };
        let key = Key::new(SECRET);
        let mut check = Check::begin(&key, header);
        loop {
            if let Some(is_right) = check.go_on(&key, header, body) {
                return is_right;
            }
        }
    })
}

fn fits(fields: &[(&str, &str)], signature: &str, body: &[u8]) -> bool {
    let all: Vec<_> = fields
        .iter()
        .copied()
        .chain([("Signature", signature)])
        .collect();
    is_right(SEND_MESSAGE, 513, &all, body)
}

const PULL: [(&str, &str); 9] = [
    ("consumerGroup", "group"),
    ("topic", "topic"),
    ("queueId", "1"),
    ("queueOffset", "2"),
    ("maxMsgNums", "32"),
    ("sysFlag", "0"),
    ("commitOffset", "0"),
    ("suspendTimeoutMillis", "15000"),
    ("subVersion", "0"),
];

#[test]
fn vectors() {
    let pull_of = |name| [&PULL[..], &[("AccessKey", name)]].concat();
    assert!(fits(
        &pull_of("RocketMQ"),
        "LRXWMEK9Lcy+QAlAwS8qMOkpqyc=",
        b""
    ));
    assert!(fits(&pull_of("ak"), "PZrbkc6auZTq1b8vJ0hWjMCIuus=", b""));
    assert!(!fits(&pull_of("al"), "PZrbkc6auZTq1b8vJ0hWjMCIuus=", b""));
    assert!(!fits(&pull_of("ak"), "PZrbkc6auZTq1b8vJ0hWjMCIuus=", b"x"));
    assert!(fits(
        &[("AccessKey", "RocketMQ")],
        "IUc8rrO/0gDch8CjObLQsW2rsiA=",
        b""
    ));
    let heartbeat = br#"{"clientID":"c"}"#;
    assert!(fits(
        &[("AccessKey", "RocketMQ")],
        "fZbXBt3b3Z99UlS1RSrWBReZV4U=",
        heartbeat
    ));
    let cyrillic = [("AccessKey", "RocketMQ"), ("topic", "T"), ("x", "ключ")];
    assert!(fits(&cyrillic, "sCuzYejh7Ic3xI00Wn0TYXNs5Hs=", b""));
    let sent = [
        ("a", "pg"),
        ("b", "TopicTest"),
        ("c", "TBW102"),
        ("d", "4"),
        ("e", "0"),
        ("f", "0"),
        ("g", "1700000000000"),
        ("h", "0"),
        ("i", "UNIQ_KEY\u{1}0A\u{2}"),
        ("j", "0"),
        ("k", "false"),
        ("m", "false"),
        ("AccessKey", "RocketMQ"),
    ];
    assert!(fits(&sent, "RFnQRDR9rFgLPbmZiHlsP36WpZw=", b"Hello"));
    for wrong in [
        "",
        "RFnQRDR9rFgLPbmZiHlsP36WpZw",
        "!",
        "RFnQRDR9rFgLPbmZiHlsP36WpZwA",
        "AAAA",
    ] {
        assert!(!fits(&sent, wrong, b"Hello"), "{wrong}");
    }
}

#[test]
fn the_order_of_fields_and_a_field_sent_twice_do_not_matter() {
    let mut fields = [&PULL[..], &[("AccessKey", "ak")]].concat();
    fields.reverse();
    fields.insert(0, ("topic", "another"));
    assert!(fits(&fields, "PZrbkc6auZTq1b8vJ0hWjMCIuus=", b""));
}

/// Java's client adds them behind its signature.
#[test]
fn a_zone_may_be_unsigned() {
    let fields = [
        &PULL[..],
        &[
            ("AccessKey", "ak"),
            ("__ZONE_NAME", "z"),
            ("__ZONE_MODE", "m"),
        ],
    ]
    .concat();
    assert!(fits(&fields, "PZrbkc6auZTq1b8vJ0hWjMCIuus=", b""));
}

#[test]
fn an_unique_key_query_is_signed_from_4_9_4_on() {
    let signer = Signer::new(&Credentials::new("ak", SECRET));
    let query = [
        ("topic", Value::Str("t")),
        ("_UNIQUE_KEY_QUERY", Value::Str("true")),
    ];
    let (with, without) = (signer.sign(&query, b""), signer.sign(&query[..1], b""));
    let is_right = |version, signature: &str| {
        let fields = [
            ("topic", "t"),
            ("_UNIQUE_KEY_QUERY", "true"),
            ("AccessKey", "ak"),
            ("Signature", signature),
        ];
        is_right(QUERY_MESSAGE, version, &fields, b"")
    };
    assert!(is_right(409, &with) && !is_right(409, &without));
    assert!(is_right(399, &without) && !is_right(399, &with));
}

#[test]
fn a_large_body_is_hashed_in_slices() {
    let signer = Signer::new(&Credentials::new("ak", SECRET));
    for length in [0, 1, (256 << 10) - 1, 256 << 10, (256 << 10) + 1, 1 << 20] {
        let body: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
        let signature = signer.sign(&[], &body);
        let fields = [("AccessKey", "ak")];
        assert!(fits(&fields, &signature, &body), "{length}");
        if let Some((_, shorter)) = body.split_last() {
            assert!(!fits(&fields, &signature, shorter), "{length}");
        }
    }
}

#[test]
fn fields_without_end_are_refused() {
    let names: Vec<String> = (0..300).map(|number| format!("f{number:03}")).collect();
    let many: Vec<_> = names.iter().map(|name| (name.as_str(), "x")).collect();
    let signer = Signer::new(&Credentials::new("ak", SECRET));
    let check = |count: usize| {
        let values: Vec<_> = many[..count]
            .iter()
            .map(|(key, text)| (*key, Value::Str(text)))
            .collect();
        let signature = signer.sign(&values, b"");
        let fields = [&many[..count], &[("AccessKey", "ak")]].concat();
        fits(&fields, &signature, b"")
    };
    assert!(check(30) && check(33) && check(200));
    assert!(!check(300));
}
