//! What authentication and authorization add to a send: the check of its signature, and of its user's rights, as a shard makes it for each request.
//! Unit: time per request. Off costs one branch, and has no row.

mod common;

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use criterion::{Criterion, criterion_group, criterion_main};
use ringmq::auth::{
    Administrator, Asked, Book, Checked, CodeSet, Credentials, Directory, Guard, Place, Rules,
    Secret, Signer, User, UserStatus, UserType, Visit, answer,
};
use ringmq::wire::codes::request::{AUTH_CREATE_ACL, SEND_MESSAGE_V2};
use ringmq::wire::{Codec, Head, Scratch, Value, frame, header};

const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

fn request(code: i32, ext: &[(&str, Value<'_>)], body: &[u8]) -> Vec<u8> {
    let head = Head::request(Codec::Json, code, 1);
    let mut bytes = Vec::new();
    frame::write(&mut bytes, &head, ext, body);
    bytes
}

/// A 310 as Java's client sends it.
fn send(name: &str, body: &[u8]) -> Vec<u8> {
    let properties = "UNIQ_KEY\u{1}7F0000010DAC2A139A1C8B6F2B5E0000\u{2}WAIT\u{1}true\u{2}";
    let fields = [
        ("a", Value::Str("ProducerGroup")),
        ("b", Value::Str("TopicTest")),
        ("c", Value::Str("TBW102")),
        ("d", Value::I64(4)),
        ("e", Value::I64(3)),
        ("f", Value::I64(0)),
        ("g", Value::I64(1_700_000_000_000)),
        ("h", Value::I64(0)),
        ("i", Value::Str(properties)),
        ("j", Value::I64(0)),
        ("k", Value::Bool(false)),
        ("m", Value::Bool(false)),
        ("n", Value::Str("broker-a")),
    ];
    let signer = Signer::new(&Credentials::new(name, "12345678"));
    let mut signature = String::new();
    let signed = signer.signed(&fields, body, &mut signature);
    request(SEND_MESSAGE_V2, &signed, body)
}

/// `root`, and `user` that may publish to the topic.
fn book() -> Arc<Book> {
    let mut directory = Directory::default();
    for (name, kind) in [("root", UserType::Super), ("user", UserType::Normal)] {
        let user = User {
            secret: Secret::new("12345678"),
            kind,
            status: UserStatus::Enable,
        };
        directory.create_user(name, user).expect("it is new");
    }
    let acl = br#"{"policies":[{"entries":[{"resource":"Topic:Topic*","actions":["Pub"],"decision":"Allow"}]}]}"#;
    let subject = [("subject", Value::Str("User:user"))];
    let bytes = request(AUTH_CREATE_ACL, &subject, acl);
    let frame = frame::split(&bytes).expect("a frame").expect("a whole one");
    let mut scratch = Scratch::default();
    let header = header::decode(&frame, &mut scratch).expect("a header");
    let by = Administrator {
        is_super: true,
        is_local: true,
    };
    let reply = answer(&mut directory, by, AUTH_CREATE_ACL, &header.ext, acl);
    assert_eq!(reply.code, 0, "{reply:?}");
    Arc::new(directory.book())
}

fn check(guard: &Guard, visit: &mut Visit, bytes: &[u8], scratch: &mut Scratch) {
    let frame = frame::split(black_box(bytes)).expect("a frame");
    let frame = frame.expect("a whole one");
    let header = header::decode(&frame, scratch).expect("a header");
    let asked = Asked {
        place: Place::Broker { cluster: "C" },
        header: &header,
        body: frame.body,
        from: LOCAL,
        administers: false,
    };
    assert_eq!(guard.check(visit, &asked), Checked::Passed);
    visit.frame_ended();
}

fn auth(c: &mut Criterion) {
    let book = book();
    let with = |unauthenticated: &str| {
        let rules = Rules {
            authenticates: true,
            authorizes: true,
            unauthenticated: CodeSet::parse(unauthenticated).expect("codes"),
            unauthorized: CodeSet::parse(unauthenticated).expect("codes"),
            ..Rules::default()
        };
        Guard::new(rules, book.clone())
    };
    let (guard, open) = (with(""), with("310"));
    let mut scratch = Scratch::default();
    let mut group = c.benchmark_group("auth");
    for (what, guard, name, bytes) in [
        ("decoded only, 1 KiB", &open, "user", 1 << 10),
        ("signature, 1 KiB", &guard, "root", 1 << 10),
        ("signature and kept verdict, 1 KiB", &guard, "user", 1 << 10),
        ("signature, 32 KiB", &guard, "root", 32 << 10),
    ] {
        let request = send(name, &vec![b'x'; bytes]);
        let mut visit = Visit::default();
        group.bench_function(what, |b| {
            b.iter(|| check(guard, &mut visit, &request, &mut scratch));
        });
    }
    group.finish();
}

criterion_group!(name = benches; config = common::criterion(); targets = auth);
criterion_main!(benches);
