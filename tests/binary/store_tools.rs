//! Protects what an operator has when a disk goes bad: `ringmq store verify` finds every kind of damage that it claims to,
//! in our stores and in RocketMQ's, and changes nothing; a damaged store is not opened as if nothing were missing; a
//! consumer gets past a message that cannot be read, and no other message is skipped.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Output;

use crate::common::client::{Client, properties, pull_from, send_to};
use crate::common::{Broker, Options, ringmq};
use ringmq::wire::send::SendRequest;
use serde_json::Value;

pub const CONF: &str = "mappedFileSizeCommitLog=8388608\nlogBufferBytes=16777216\n\
                    consumeQueueMemoryBytes=16777216\nmaxHashSlotNum=1000\nmaxIndexNum=20000\n";
const LOG: &str = "commitlog/00000000000000000000";
const SECOND: &str = "commitlog/00000000000008388608";
const QUEUE: &str = "consumequeue/Shop/0/00000000000000000000";

pub fn options() -> Options<'static> {
    Options {
        config: CONF,
        ..Options::default()
    }
}

/// A stopped store with 600 messages of 20,000 bytes, more than a log file holds, and 40 small ones.
struct Shop {
    _folder: tempfile::TempDir,
    store: PathBuf,
}

impl Shop {
    fn new() -> Shop {
        let folder = tempfile::tempdir().expect("a folder");
        let store = folder.path().join("store");
        let broker = Broker::start(&store, &options());
        let mut client = Client::connect(broker.addr());
        let keyed = properties(&[("KEYS", "order-7"), ("TAGS", "paid")]);
        for n in 0..640_u32 {
            let send = SendRequest {
                properties: Some(&keyed),
                ..send_to("Shop", (n % 2) as i32)
            };
            let len = if n < 600 { 20_000 } else { 200 };
            client.send(&send, &vec![n as u8; len]).ok();
        }
        assert!(broker.terminate().success());
        Shop {
            _folder: folder,
            store,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.store.join(name)
    }

    /// Does something to a file of the store, sees what is said, and undoes it.
    fn damaged(&self, name: &str, damage: impl FnOnce(&Path), words: &[&str]) {
        let path = self.path(name);
        let before = fs::read(&path).expect("it is there");
        damage(&path);
        let (code, report) = verify(&self.store);
        assert_eq!(code, 1, "{name}: {report:#}");
        let findings = report["stores"][0]["findings"].to_string();
        for word in words {
            assert!(findings.contains(word), "{name}: no {word:?} in {findings}");
        }
        fs::write(&path, before).expect("it can be put back");
    }
}

fn tool(words: &[&str], store: &Path) -> Output {
    let mut command = ringmq(["store"]);
    command.args(words).arg(store);
    let conf = store.with_extension("conf");
    if conf.exists() {
        command.arg("--config").arg(conf);
    }
    command.output().expect("it runs")
}

pub fn verify(store: &Path) -> (i32, Value) {
    let output = tool(&["verify", "--json"], store);
    let text = String::from_utf8_lossy(&output.stdout);
    let report = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{output:?}"));
    (output.status.code().expect("not killed"), report)
}

fn flip(path: &Path, at: u64) {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .expect("it is there");
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).expect("within the file");
    file.write_all_at(&[byte[0] ^ 0x10], at)
        .expect("it can be written");
}

fn put(path: &Path, at: u64, bytes: &[u8]) {
    let file = OpenOptions::new()
        .write(true)
        .open(path)
        .expect("it is there");
    file.write_all_at(bytes, at).expect("it can be written");
}

fn cut(path: &Path, len: u64) {
    let file = OpenOptions::new()
        .write(true)
        .open(path)
        .expect("it is there");
    file.set_len(len).expect("it can be cut");
}

/// Everything below a directory.
fn image(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).expect("a folder") {
        let path = entry.expect("an entry").path();
        match path.is_dir() {
            true => files.extend(image(&path)),
            false => files.push((path.clone(), fs::read(&path).expect("readable"))),
        }
    }
    files.sort();
    files
}

fn index_file(store: &Path) -> String {
    let entry = fs::read_dir(store.join("index")).expect("an index").next();
    let name = entry.expect("a file").expect("an entry").file_name();
    format!("index/{}", name.to_str().expect("digits"))
}

/// Where the record of this queue offset begins, by its entry.
fn position(store: &Path, offset: u64) -> u64 {
    let bytes = fs::read(store.join(QUEUE)).expect("a queue");
    let at = offset as usize * 20;
    u64::from_be_bytes(bytes[at..at + 8].try_into().expect("8 bytes"))
}

#[test]
fn every_kind_of_damage_is_found() {
    let shop = Shop::new();
    let before = image(&shop.store);
    let (code, report) = verify(&shop.store);
    assert_eq!(code, 0, "{report:#}");
    let found = &report["stores"][0]["report"];
    assert_eq!(
        (&found["records"], &found["queueEntries"]),
        (&640.into(), &640.into())
    );
    assert_eq!(found["indexEntries"], 3 * 640, "unique key, key and tag");
    assert!(image(&shop.store) == before, "nothing is changed");

    // The log: a body, a property, a record's position, its size, the file's size.
    let at = position(&shop.store, 3);
    shop.damaged(
        LOG,
        |path| flip(path, at + 5_000),
        &["body CRC", "a record of position"],
    );
    shop.damaged(LOG, |path| flip(path, at + 20_140), &["record CRC"]);
    shop.damaged(LOG, |path| flip(path, at + 35), &["CRC"]);
    shop.damaged(LOG, |path| flip(path, at + 2), &["a record of position"]);
    shop.damaged(LOG, |path| cut(path, 100_000), &["100000 bytes"]);
    shop.damaged(SECOND, |path| cut(path, 0), &["0 bytes"]);
    shop.damaged(
        SECOND,
        |path| fs::remove_file(path).expect("removed"),
        &["no file", "with this queue offset"],
    );

    // The queues: place, size and tags code of an entry, one too many, one too few, a file cut.
    shop.damaged(QUEUE, |path| flip(path, 5 * 20 + 6), &["position"]);
    shop.damaged(
        QUEUE,
        |path| put(path, 5 * 20, &[0x7F]),
        &["where the entry before it ends"],
    );
    shop.damaged(QUEUE, |path| flip(path, 5 * 20 + 11), &["size"]);
    shop.damaged(QUEUE, |path| flip(path, 5 * 20 + 19), &["tags code"]);
    shop.damaged(QUEUE, |path| put(path, 319 * 20, &[0; 20]), &["no entry"]);
    let more = [
        &9_000_000_000_u64.to_be_bytes()[..],
        &[0, 0, 0, 200],
        &[0; 8],
    ]
    .concat();
    shop.damaged(
        QUEUE,
        |path| put(path, 320 * 20, &more),
        &["with this queue offset"],
    );
    shop.damaged(QUEUE, |path| cut(path, 200), &["no entry"]);

    // The index: header, slot, chain, key, size.
    let index = index_file(&shop.store);
    let entry = 40 + 4 * 1000 + 20 * 7;
    shop.damaged(&index, |path| put(path, 36, &[0xFF]), &["count"]);
    shop.damaged(&index, |path| flip(path, 31), &["end offset"]);
    shop.damaged(&index, |path| flip(path, 35), &["used slots"]);
    let keyed_slot = 40 + 4 * (java_hash("Shop#order-7").unsigned_abs() as u64 % 1000);
    shop.damaged(
        &index,
        |path| flip(path, keyed_slot + 3),
        &["slot leads to"],
    );
    shop.damaged(&index, |path| flip(path, entry + 19), &["previous entry"]);
    shop.damaged(
        &index,
        |path| put(path, entry + 4, &[0x7F]),
        &["the hash of one of its keys"],
    );
    shop.damaged(
        &index,
        |path| flip(path, entry),
        &["the hash of one of its keys"],
    );
    shop.damaged(&index, |path| cut(path, 5_000), &["maxHashSlotNum"]);

    // The rest.
    shop.damaged(
        "config/topics.json",
        |path| cut(path, 20),
        &["topics.json", "JSON"],
    );
    fs::create_dir_all(shop.path("timers")).expect("a folder");
    fs::write(shop.path("timers/00000000000000000001"), []).expect("written");
    let timer = [[0_u8; 23].as_slice(), &[9]].concat();
    shop.damaged(
        "timers/00000000000000000001",
        |path| fs::write(path, timer).expect("written"),
        &["a timer of a message"],
    );
    let seal = [[0x80, 0, 0, 0, 1, 2, 3, 4].as_slice(), &[0; 16]].concat();
    let sealed = [[0_u8; 24].as_slice(), &*seal].concat();
    shop.damaged(
        "timers/00000000000000000001",
        |path| fs::write(path, sealed).expect("written"),
        &["another checksum"],
    );
    fs::remove_dir_all(shop.path("timers")).expect("removed");

    // A checkpoint of a longer log: that of the store as it is, beside a log that was put back.
    let log = fs::read(shop.path(SECOND)).expect("there");
    let zeros = vec![0; log.len()];
    fs::write(shop.path(SECOND), zeros).expect("written");
    let (code, report) = verify(&shop.store);
    assert!(
        code == 1 && report.to_string().contains("one up to"),
        "{report}"
    );
    fs::write(shop.path(SECOND), log).expect("written");

    assert!(image(&shop.store) == before, "all was put back");
    assert_eq!(verify(&shop.store).0, 0);
}

fn java_hash(text: &str) -> i32 {
    let letters = text.encode_utf16();
    letters.fold(0, |hash: i32, letter| {
        hash.wrapping_mul(31).wrapping_add(letter.into())
    })
}

#[test]
fn what_cannot_be_read_is_code_3() {
    let folder = tempfile::tempdir().expect("a folder");
    for dir in ["nowhere", ""] {
        let output = tool(&["verify"], &folder.path().join(dir));
        assert_eq!(output.status.code(), Some(3), "{output:?}");
    }
    let store = folder.path().join("store");
    let broker = Broker::start(&store, &options());
    let output = tool(&["verify"], &store);
    assert_eq!(output.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&output.stderr).contains("stop it first"));
    assert!(broker.terminate().success());
    // As on a read-only mount, at least for others than root.
    fs::set_permissions(&store, fs::Permissions::from_mode(0o555)).expect("changed");
    assert_eq!(verify(&store).0, 0);
    fs::set_permissions(&store, fs::Permissions::from_mode(0o755)).expect("changed");
}

#[test]
fn a_damaged_replica_is_told_where_it_is_repaired_from() {
    let shop = Shop::new();
    let repair = |report: &Value| report["stores"][0]["repair"].clone();
    let at = position(&shop.store, 3);
    flip(&shop.path(LOG), at + 5_000);
    assert_eq!(repair(&verify(&shop.store).1), Value::Null, "no replica");
    let identity = shop.path("brokerIdentity");
    fs::write(identity, "DefaultCluster#broker-a#2\n").expect("written");
    let (code, report) = verify(&shop.store);
    let said = repair(&report).to_string();
    assert_eq!(code, 1);
    assert!(
        said.contains("broker-a, in which this is broker 2"),
        "{said}"
    );
    let output = tool(&["verify"], &shop.store);
    assert!(
        String::from_utf8_lossy(&output.stdout)
            .contains("getSyncStateSet -a CONTROLLER -b broker-a")
    );
    flip(&shop.path(LOG), at + 5_000);
    assert_eq!(repair(&verify(&shop.store).1), Value::Null, "it is whole");
}

/// RocketMQ's own, its files made as long as they were.
#[test]
fn rocketmqs_store_is_verified_too() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = folder.path().join("store");
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/store");
    for (path, bytes) in image(&golden) {
        let name = path.strip_prefix(&golden).expect("below it");
        if name.starts_with("index.header")
            || name.starts_with("index.entries")
            || name.starts_with("index.slots.tsv")
        {
            continue;
        }
        let to = store.join(name);
        fs::create_dir_all(to.parent().expect("a folder")).expect("made");
        fs::write(&to, bytes).expect("written");
        if name.starts_with("commitlog") {
            cut(&to, 1 << 20);
        } else if name.starts_with("consumequeue") {
            cut(&to, 6_000_000);
        }
    }
    let (code, report) = verify(&store);
    assert_eq!(code, 0, "{report:#}");
    assert!(report["stores"][0]["report"]["records"].as_u64() > Some(20));
    let queue = store.join("consumequeue/GoldenTopic/0/00000000000000000000");
    flip(&queue, 19);
    let (code, report) = verify(&store);
    assert_eq!(code, 1);
    assert!(report.to_string().contains("tags code"), "{report}");
    flip(&queue, 19);
    flip(&store.join(LOG), 100);
    assert_eq!(verify(&store).0, 1);
}

#[test]
fn a_start_does_not_end_the_log_at_damage() {
    let shop = Shop::new();
    let at = position(&shop.store, 3);
    flip(&shop.path(LOG), at + 5_000);
    // So that the log is read from its beginning.
    fs::remove_dir_all(shop.path("consumequeue/Shop")).expect("there");
    let log = fs::read(shop.path(LOG)).expect("there");
    for _ in 0..2 {
        let ended = Broker::try_start(&shop.store, &options())
            .err()
            .expect("refused");
        assert_eq!(ended.status.code(), Some(1));
        for word in [
            "damaged",
            "ringmq store verify",
            "--skip-damaged",
            &at.to_string(),
        ] {
            assert!(ended.err.contains(word), "no {word} in {}", ended.err);
        }
    }
    assert!(
        fs::read(shop.path(LOG)).expect("there") == log,
        "nothing is wiped"
    );
    let skipping = Options {
        config: &format!("{CONF}skipDamagedLog=true\n"),
        ..options()
    };
    let broker = Broker::start(&shop.store, &skipping);
    let mut client = Client::connect(broker.addr());
    assert_eq!(client.max_offset("Shop", 0), 320);
    assert_eq!(all_of(&mut client, 0).len(), 319);
    assert!(broker.terminate().success());
    assert_eq!(verify(&shop.store).0, 1, "it is still damaged");
    let broker = Broker::start(&shop.store, &options());
    assert!(broker.terminate().success());
}

/// Queue offsets of the messages that a consumer gets.
fn all_of(client: &mut Client, queue_id: i32) -> Vec<i64> {
    let (mut at, mut seen) = (0, Vec::new());
    while at < client.max_offset("Shop", queue_id) as i64 {
        let reply = client.pull(&pull_from("Shop", queue_id, at));
        let next = reply.number("nextBeginOffset");
        assert!(next > at, "{reply:?}");
        if reply.code == 0 {
            seen.extend(
                reply
                    .messages()
                    .iter()
                    .map(|message| message.queue_offset as i64),
            );
        }
        at = next;
    }
    seen
}

#[test]
fn a_consumer_gets_past_a_rotten_message() {
    let shop = Shop::new();
    let at = position(&shop.store, 3);
    flip(&shop.path(LOG), at + 5_000);
    let broker = Broker::start(&shop.store, &options());
    let mut client = Client::connect(broker.addr());
    let expected: Vec<i64> = (0..320).filter(|offset| *offset != 3).collect();
    assert_eq!(all_of(&mut client, 0), expected);
    assert_eq!(all_of(&mut client, 1).len(), 320);
    assert_eq!(all_of(&mut client, 0), expected, "the same the second time");
    let figures = String::from_utf8_lossy(&client.ask(28, &[], &[]).body).into_owned();
    assert!(
        figures.contains("\"ringmqUnreadableMessages\":\"1\""),
        "{figures}"
    );
    let passed = "cannot be read and is passed over";
    let log = broker.log_with(passed);
    let lines: Vec<_> = log.lines().filter(|line| line.contains(passed)).collect();
    assert!(lines.len() <= 2, "{lines:?}");
    assert!(
        log.contains("Shop") && log.contains(&at.to_string()),
        "{log}"
    );
    assert!(broker.terminate().success());
    let shown = tool(&["inspect", "--json"], &shop.store);
    let text = String::from_utf8_lossy(&shown.stdout);
    assert!(
        text.contains("\"queueOffset\": 3") && text.contains("unreadable"),
        "{text}"
    );
}

#[test]
fn a_store_can_be_looked_into() {
    let shop = Shop::new();
    let output = tool(&["inspect", "--json"], &shop.store);
    let shown: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let found = &shown[0]["store"];
    assert_eq!(found["wasClosed"], true);
    assert_eq!(found["checkpoint"]["position"], found["logEnd"]);
    let queues = found["queues"].as_array().expect("queues");
    assert!(
        queues
            .iter()
            .any(|queue| queue["topic"] == "Shop" && queue["max"] == 320),
        "{queues:?}"
    );
    let at = position(&shop.store, 310);
    for words in [
        ["--record", &at.to_string()],
        ["--from", &(at - 1).to_string()],
    ] {
        let output = tool(&["inspect", "--json", words[0], words[1]], &shop.store);
        let shown: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let record = &shown[0]["store"][0];
        assert_eq!(
            (&record["position"], &record["queueOffset"]),
            (&at.into(), &310.into())
        );
        assert_eq!(record["properties"]["KEYS"], "order-7");
    }
    let output = tool(&["inspect", "--record", "7"], &shop.store);
    assert_eq!(output.status.code(), Some(3));
    // In the second file.
    flip(&shop.path(SECOND), at - 8_388_608 + 100);
    for (words, code) in [
        (["--record", &at.to_string()], 3),
        (["--from", &at.to_string()], 0),
    ] {
        let output = tool(&["inspect", words[0], words[1]], &shop.store);
        assert_eq!(output.status.code(), Some(code));
        let text = String::from_utf8_lossy(&output.stderr);
        let expected = format!("no whole message begins at {at} (");
        assert!(text.contains(&expected) && text.contains("CRC"), "{text}");
    }
    for word in ["logFiles", "consumerOffsets", "queues"] {
        let output = tool(&["inspect"], &shop.store);
        assert!(
            String::from_utf8_lossy(&output.stdout).contains(word),
            "{word}"
        );
    }
}
