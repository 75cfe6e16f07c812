//! The files of `config/`: what is answered is on the disk, what a change costs does not grow with what there is, and a disk
//! without space is answered for at once.

use std::path::Path;
use std::time::Duration;

use ringmq::io::{Clock, Disk, Durability, File, OpenOptions};
use ringmq::mem::AlignedBuf;
use ringmq::sim::{Fault, Lack, Op, Rule, SimIo};
use ringmq::store::Flush;
use ringmq::wire::codes::{request, response};
use ringmq::wire::group::DeleteGroup;
use ringmq::wire::send::SendRequest;
use ringmq::wire::topic::TopicRequest;

use crate::client::{Client, Reply};
use crate::cluster::Cluster;
use crate::oracle::Queue;
use crate::requests;

const TOPICS: &str = "/store/config/topics.json";
const CHANGES: [&str; 2] = ["/store/config/changes-0.log", "/store/config/changes-1.log"];
/// Is there from the start.
const GROUP: &str = "TOOLS_CONSUMER";

const SECOND_NS: u64 = 1_000_000_000;

/// By then what has changed is in `topics.json`.
const FOLDED_MS: u64 = 4_000;

fn on_a_cluster(seed: u64, test: impl AsyncFnOnce(&Cluster)) {
    let cluster = Cluster::new(seed, Flush::Sync);
    cluster.sim.run(test(&cluster));
}

async fn text(io: &SimIo, path: &str) -> String {
    let Ok(file) = io.open(Path::new(path), OpenOptions::default()).await else {
        return String::new();
    };
    let len = file.len_bytes().await.unwrap() as usize;
    let (read, buf) = file.read_at(AlignedBuf::with_room_for(len), len, 0).await;
    String::from_utf8_lossy(&buf[..read.unwrap()]).into_owned()
}

async fn changes(io: &SimIo) -> String {
    text(io, CHANGES[0]).await + &text(io, CHANGES[1]).await
}

async fn create(admin: &mut Client, topic: &str) -> Reply {
    requests::create_topic(admin, topic);
    admin.flush().await.unwrap();
    admin.reply().await.unwrap()
}

async fn create_well(admin: &mut Client, topic: &str) {
    let reply = create(admin, topic).await;
    assert!(reply.is_success(), "{reply:?}");
}

async fn ask(client: &mut Client, code: i32, topic: &str) -> Reply {
    let fields = TopicRequest { topic };
    client.call(code, &fields.ext(), &[]).await.unwrap()
}

async fn exists(client: &mut Client, topic: &str) -> bool {
    ask(client, request::GET_TOPIC_CONFIG, topic)
        .await
        .is_success()
}

pub async fn send(client: &mut Client, topic: &str) -> Reply {
    let fields = SendRequest {
        default_topic_queue_nums: 1,
        ..requests::send_to(topic, "")
    };
    let code = request::SEND_MESSAGE_V2;
    client.call(code, &fields.ext(), b"m").await.unwrap()
}

/// A power cut may leave zeros, or what is no text, behind the last whole change.
#[test]
fn what_stands_behind_the_last_change_costs_none_before_it() {
    for (seed, end) in [&[0; 100][..], &[0xff; 100]].into_iter().enumerate() {
        on_a_cluster(seed as u64, async |cluster| {
            cluster.start().await;
            let mut admin = cluster.client("admin").await;
            create_well(&mut admin, "stays").await;
            cluster.kill();
            let disk = cluster.broker();
            let mut appended = 0;
            for path in CHANGES {
                let options = OpenOptions {
                    write: true,
                    ..OpenOptions::default()
                };
                let Ok(file) = disk.open(Path::new(path), options).await else {
                    continue;
                };
                let len_bytes = file.len_bytes().await.unwrap();
                let written = file.write_at(end.to_vec(), len_bytes, Durability::Synced);
                written.await.0.unwrap();
                appended += 1;
            }
            assert!(appended > 0, "there is a change file");
            cluster.start().await;
            let mut admin = cluster.client("admin").await;
            assert!(exists(&mut admin, "stays").await, "{end:?}");
        });
    }
}

/// Names of the journal may take seconds. Only the deletion itself waits for them.
#[test]
fn a_new_topic_does_not_wait_for_the_deletion_of_another() {
    on_a_cluster(0, async |cluster| {
        cluster.start().await;
        let mut admin = cluster.client("admin").await;
        create_well(&mut admin, "goes").await;
        assert!(send(&mut admin, "goes").await.is_success());
        let stall = Rule::new(Fault::Stall(Duration::from_secs(20))).on("queuejournal");
        cluster.broker().inject(stall);
        let fields = TopicRequest { topic: "goes" };
        let mut deleting = cluster.client("deleting").await;
        deleting.patience = Duration::from_secs(100);
        deleting.ask(request::DELETE_TOPIC_IN_BROKER, &fields.ext(), &[]);
        deleting.flush().await.unwrap();
        cluster.sleep_ms(100).await;
        create_well(&mut admin, "comes").await;
        let deleted = deleting.reply().await.unwrap();
        assert!(deleted.is_success(), "{deleted:?}");
    });
}

#[test]
fn what_was_answered_survives_whatever_ends_the_broker() {
    for seed in 0..4 {
        on_a_cluster(seed, async |cluster| {
            cluster.start().await;
            let mut admin = cluster.client("admin").await;
            for life in 0..6 {
                let [stays, goes] = ["stays", "goes"].map(|name| format!("{name}{life}"));
                create_well(&mut admin, &stays).await;
                create_well(&mut admin, &goes).await;
                if life % 2 == 1 {
                    cluster.sleep_ms(FOLDED_MS).await;
                }
                let deleted = ask(&mut admin, request::DELETE_TOPIC_IN_BROKER, &goes).await;
                assert!(deleted.is_success(), "{deleted:?}");
                match life % 3 {
                    0 => cluster.kill(),
                    1 => cluster.cut_power(),
                    _ => cluster.stop().await,
                }
                cluster.start().await;
                admin = cluster.client("admin").await;
                for earlier in 0..=life {
                    assert!(
                        exists(&mut admin, &format!("stays{earlier}")).await,
                        "{life}"
                    );
                    assert!(
                        !exists(&mut admin, &format!("goes{earlier}")).await,
                        "{life}"
                    );
                }
            }
            cluster.stop().await;
        });
    }
}

#[test]
fn a_topic_costs_the_same_however_many_there_are() {
    on_a_cluster(1, async |cluster| {
        cluster.start().await;
        let io = cluster.broker();
        let mut admin = cluster.client("admin").await;
        let before = text(&io, TOPICS).await;
        let mut written = Vec::new();
        for number in 0..64 {
            let len_before = changes(&io).await.len();
            create_well(&mut admin, &format!("topic-{number:04}")).await;
            written.push(changes(&io).await.len() - len_before);
        }
        // The first one begins the file.
        let (least, most) = (written[1..].iter().min(), written[1..].iter().max());
        assert!(most.unwrap() - least.unwrap() < 8, "{written:?}");
        assert_eq!(text(&io, TOPICS).await, before, "not written for each");
        cluster.sleep_ms(FOLDED_MS).await;
        let folded = text(&io, TOPICS).await;
        assert!((0..64).all(|number| folded.contains(&format!("topic-{number:04}"))));
        assert!(
            !changes(&io).await.contains("topic-"),
            "folded changes stay"
        );
        create_well(&mut admin, "the-last").await;
        cluster.stop().await;
        let io = cluster.broker();
        assert!(text(&io, TOPICS).await.contains("the-last"));
        assert_eq!(
            changes(&io).await,
            "",
            "after a clean stop RocketMQ's files have everything"
        );
    });
}

#[test]
fn topics_of_another_broker_and_changes_that_it_did_not_know_are_both_kept() {
    on_a_cluster(2, async |cluster| {
        cluster.start().await;
        let mut admin = cluster.client("admin").await;
        create_well(&mut admin, "first").await;
        cluster.sleep_ms(FOLDED_MS).await;
        create_well(&mut admin, "second").await;
        cluster.kill();
        // RocketMQ makes a topic of its own.
        let io = cluster.broker();
        let theirs = text(&io, TOPICS).await;
        assert!(theirs.contains("first") && !theirs.contains("second"));
        let theirs = theirs
            .replace("\"counter\":", "\"counter\":7")
            .replace("first", "third");
        let options = OpenOptions {
            write: true,
            ..OpenOptions::default()
        };
        let file = io.open(Path::new(TOPICS), options).await.unwrap();
        let (written, _) = file
            .write_at(theirs.into_bytes(), 0, ringmq::io::Durability::Synced)
            .await;
        written.unwrap();
        drop(file);
        cluster.start().await;
        let mut admin = cluster.client("admin").await;
        for topic in ["second", "third"] {
            assert!(exists(&mut admin, topic).await, "{topic}");
        }
        cluster.stop().await;
    });
}

#[test]
fn a_failed_write_of_a_change_is_made_up_for() {
    for (seed, fault) in [(0, Fault::NoSpace), (1, Fault::Shortage(Lack::Memory))] {
        on_a_cluster(seed, async |cluster| {
            cluster.start().await;
            let mut admin = cluster.client("admin").await;
            create_well(&mut admin, "before").await;
            let rule = Rule::new(fault).of(Op::Write).on("changes-");
            cluster.broker().inject(rule.times(1));
            // Without space the answer says that a restart takes the topic back; the next change has it as well.
            create(&mut admin, "during").await;
            create_well(&mut admin, "after").await;
            cluster.cut_power();
            cluster.start().await;
            let mut admin = cluster.client("admin").await;
            for topic in ["before", "during", "after"] {
                assert!(exists(&mut admin, topic).await, "{fault:?}: {topic}");
            }
            cluster.stop().await;
        });
    }
}

#[test]
fn an_error_of_the_device_at_a_change_fences_the_store() {
    for (seed, fault, op) in [
        (0, Fault::Io, Op::Write),
        (1, Fault::Short, Op::Write),
        (2, Fault::Io, Op::Sync),
    ] {
        on_a_cluster(seed, async |cluster| {
            cluster.start().await;
            let mut admin = cluster.client("admin").await;
            create_well(&mut admin, "before").await;
            assert!(send(&mut admin, "before").await.is_success());
            let rule = Rule::new(fault).of(op).on("changes-").times(1);
            cluster.broker().inject(rule);
            let reply = create(&mut admin, "during").await;
            assert_eq!(reply.code, response::SYSTEM_ERROR, "{reply:?}");
            let remark = reply.remark.unwrap_or_default();
            assert!(remark.contains("fenced"), "{remark}");
            let reply = send(&mut admin, "before").await;
            assert_eq!(reply.code, response::SERVICE_NOT_AVAILABLE, "{reply:?}");
            let remark = reply.remark.unwrap_or_default();
            assert!(remark.contains("changes-"), "{remark}");
            let reply = create(&mut admin, "after").await;
            assert_eq!(reply.code, response::SYSTEM_ERROR, "{reply:?}");
            cluster.cut_power();
            cluster.start().await;
            let mut admin = cluster.client("admin").await;
            assert!(exists(&mut admin, "before").await);
            assert!(send(&mut admin, "before").await.is_success());
            cluster.stop().await;
        });
    }
}

#[test]
fn on_a_full_disk_everybody_is_answered_after_one_try() {
    on_a_cluster(3, async |cluster| {
        cluster.start().await;
        let io = cluster.broker();
        let mut admin = cluster.client("admin").await;
        create_well(&mut admin, "before").await;
        let mut consumer = cluster.client("consumer").await;
        let queue = Queue {
            topic: "before".into(),
            id: 0,
        };
        io.inject(Rule::new(Fault::NoSpace).of(Op::Write).on("/config/"));
        for round in 0..8 {
            // Something else that cannot be saved is always there before it.
            requests::commit_offset(&mut consumer, GROUP, &queue, round);
            consumer.flush().await.unwrap();
            assert!(consumer.reply().await.unwrap().is_success());
            cluster.sleep_ms(700).await;
            let asked_ns = io.now().mono_ns;
            let reply = create(&mut admin, &format!("new{round}")).await;
            assert_eq!(reply.code, response::SYSTEM_ERROR, "{reply:?}");
            let remark = reply.remark.unwrap_or_default();
            assert!(remark.contains("restart will take it back"), "{remark}");
            let reply = send(&mut consumer, &format!("auto{round}")).await;
            assert_eq!(reply.code, response::SERVICE_NOT_AVAILABLE, "{reply:?}");
            let took = Duration::from_nanos(io.now().mono_ns - asked_ns);
            assert!(took < Duration::from_secs(1), "{took:?}");
        }
        io.heal();
        cluster.sleep_ms(2_500).await;
        create_well(&mut admin, "behind").await;
        cluster.cut_power();
        cluster.start().await;
        let mut admin = cluster.client("admin").await;
        for topic in ["before", "new0", "auto7", "behind"] {
            assert!(exists(&mut admin, topic).await, "{topic}");
        }
        let kept = requests::query_offset(&mut admin, GROUP, &queue).await;
        assert_eq!(kept.unwrap(), Some(7));
        cluster.stop().await;
    });
}

#[test]
fn the_answer_to_a_request_of_several_turns_waits_for_every_file_that_it_changes() {
    on_a_cluster(5, async |cluster| {
        cluster.start().await;
        let mut admin = cluster.client("admin").await;
        let fields = DeleteGroup {
            group_name: GROUP,
            clean_offset: true,
        };
        // The offsets, which are removed last, can be saved.
        for file in ["changes-", "topics.json", "subscriptionGroup.json"] {
            let rule = Rule::new(Fault::NoSpace).of(Op::Write).on(file);
            cluster.broker().inject(rule);
        }
        let code = request::DELETE_SUBSCRIPTIONGROUP;
        let reply = admin.call(code, &fields.ext(), &[]).await.unwrap();
        assert_eq!(reply.code, response::SYSTEM_ERROR, "{reply:?}");
        assert!(
            requests::is_made_but_not_saved(&reply, "No space left"),
            "{reply:?}"
        );
        cluster.broker().heal();
        cluster.stop().await;
    });
}

#[test]
fn offsets_that_are_committed_again_are_not_saved_again() {
    on_a_cluster(4, async |cluster| {
        cluster.start().await;
        let mut admin = cluster.client("admin").await;
        create_well(&mut admin, "topic").await;
        let queue = Queue {
            topic: "topic".into(),
            id: 0,
        };
        let io = cluster.broker();
        let saves = async |offset| {
            // A save that came would fail, and be heard of by what it leaves undone.
            let until_ns = io.now().mono_ns + 3 * SECOND_NS;
            let mut client = cluster.client("consumer").await;
            while io.now().mono_ns < until_ns {
                requests::commit_offset(&mut client, GROUP, &queue, offset);
                client.flush().await.unwrap();
                assert!(client.reply().await.unwrap().is_success());
                cluster.sleep_ms(100).await;
            }
            text(&io, "/store/config/consumerOffset.json.bak").await
        };
        saves(5).await;
        saves(6).await;
        // The text before: it would be the same as the text if that had been written twice.
        let before = saves(6).await;
        assert!(before.contains("0:5"), "{before}");
        assert!(
            text(&io, "/store/config/consumerOffset.json")
                .await
                .contains("0:6")
        );
        cluster.stop().await;
    });
}
