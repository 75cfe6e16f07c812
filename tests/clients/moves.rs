//! Protects the promise: a store moves between RocketMQ and ringmq in both directions by pointing at its directory. RocketMQ
//! 5.5.0 itself and ringmq take turns on one store, killed and stopped, and write more each time; after every change everything that
//! either has promised so far is compared: each message by place, id, checksum and properties, offsets, topics, groups, and
//! what is pending comes once and not before its time (`tests/clients/moves`).
//!
//! Without a JDK or Maven a test says what to install and passes; with `RINGMQ_REQUIRE_CLIENTS` set it fails.

use std::fmt::Write;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::common::scripts::{Script, missing};
use crate::common::{Broker, Options, Process, free_ports};

/// Files so small that a log of some megabytes has several, the last of them half full.
const RINGMQ: &str = "brokerName=broker-a
mappedFileSizeCommitLog=16777216
logBufferBytes=16777216
consumeQueueMemoryBytes=16777216
transactionCheckInterval=1000
transactionTimeOut=2000
transactionCheckMax=1000
transactionOpBatchInterval=200
recallMessageEnable=true
";

const ROCKETMQ: &str = "mappedFileSizeCommitLog=16777216
flushConsumerOffsetInterval=1000
flushDelayOffsetInterval=1000
transactionCheckInterval=1000
transactionTimeOut=2000
transactionCheckMax=1000
transactionOpBatchInterval=200
recallMessageEnable=true
traceTopicEnable=false
";

/// Between two notes of what either broker notes only now and then: the interval, and the time that a busy machine needs to write it. So
/// much a kill may take.
const BETWEEN_NOTES_MS: u64 = 1_000 + 4_000;

/// From what a note says to the moment at which it is in its file, and RocketMQ's precision of timers.
const SLACK_MS: u64 = 1_000;

/// Ordinary messages that each owner of the store adds.
const MESSAGES: &str = "600";

#[test]
fn a_store_moves_from_rocketmq_to_ringmq_and_back() {
    let Some(mut store) = Moving::new() else {
        return;
    };
    let rocketmq = store.rocketmq();
    store.is_refused_to_ringmq();
    let fill = ["fill", "a", MESSAGES, "killed"];
    store.run_until_killed(&fill, || rocketmq.kill(), Moving::noted_by_rocketmq);
    println!("RocketMQ killed, then ringmq");
    let ringmq = store.ringmq();
    let fill = ["check", "fill", "b", MESSAGES, "killed"];
    store.run_until_killed(&fill, || ringmq.kill(), |_| BETWEEN_NOTES_MS);
    println!("ringmq killed, then RocketMQ");
    let rocketmq = store.rocketmq();
    store.run(&["check", "fill", "c", MESSAGES]);
    rocketmq.stop();
    store.ended("stopped", 0, 0);
    println!("RocketMQ stopped, then ringmq");
    let ringmq = store.ringmq();
    store.run(&["check", "fill", "d", MESSAGES]);
    assert!(ringmq.terminate().success());
    store.ended("stopped", 0, 0);
    println!("ringmq stopped, then RocketMQ");
    let _rocketmq = store.rocketmq();
    store.run(&["check"]);
}

/// A store that RocketMQ and ringmq own in turn, at the same ports, and the ledgers of what they have promised.
struct Moving {
    folder: tempfile::TempDir,
    ports: (u16, u16),
    ends: String,
    _turn: MutexGuard<'static, ()>,
}

impl Moving {
    fn new() -> Option<Self> {
        if missing(&["java", "javac", "mvn"]) {
            return None;
        }
        let turn = one_at_a_time();
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(folder.path().join("ledgers")).expect("a folder for the ledgers");
        Some(Self {
            folder,
            ports: free_ports(),
            ends: String::new(),
            _turn: turn,
        })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn rocketmq(&self) -> RocketMq {
        let config = self.path("rocketmq.conf");
        std::fs::write(&config, ROCKETMQ).expect("the folder is writable");
        let rocketmq = RocketMq(self.folder.path().to_owned());
        let (port, namesrv) = (self.ports.0.to_string(), self.ports.1.to_string());
        let config = config.to_str().expect("a plain name").to_owned();
        rocketmq.run("start", &[&namesrv, &port, &config]);
        rocketmq
    }

    fn ringmq(&self) -> Broker {
        let options = Options {
            config: RINGMQ,
            ports: Some(self.ports),
            ..Options::default()
        };
        Broker::start(&self.path("store"), &options)
    }

    /// A store has one owner.
    fn is_refused_to_ringmq(&self) {
        let options = Options {
            config: RINGMQ,
            ..Options::default()
        };
        match Broker::try_start(&self.path("store"), &options) {
            Ok(_) => panic!("two brokers own one store"),
            Err(ended) => assert!(
                ended.err.contains("is in use by a broker, process"),
                "{ended:#?}"
            ),
        }
    }

    fn words(&self, words: &[&str]) -> Vec<String> {
        let (port, namesrv) = self.ports;
        let ledgers = self.path("ledgers").display().to_string();
        let own = [
            format!("127.0.0.1:{namesrv}"),
            format!("127.0.0.1:{port}"),
            ledgers,
        ];
        let words = words.iter().map(|word| (*word).to_owned());
        own.into_iter().chain(words).collect()
    }

    /// Compares everything with all ledgers, and adds to everything what a new ledger says.
    fn run(&self, words: &[&str]) {
        Script::new("moves/run.sh", &self.words(words)).run();
    }

    /// The broker is killed while messages are being sent.
    fn run_until_killed(
        &mut self,
        words: &[&str],
        kill: impl FnOnce(),
        noted_ms: impl FnOnce(&Self) -> u64,
    ) {
        let mut command = Script::new("moves/run.sh", &self.words(words)).command();
        let mut filling = Process::spawn(&mut command);
        let filled =
            filling.until_line(Duration::from_secs(230), |line| line.starts_with("filled"));
        if let Err(printed) = filled {
            panic!("{words:?}: {printed}");
        }
        // Longer than `BETWEEN_NOTES_MS`: what was filled is saved by now. The sends continue.
        std::thread::sleep(Duration::from_millis(BETWEEN_NOTES_MS + 1_000));
        kill();
        self.ended("killed", noted_ms(self), self.timers_noted());
        let ended = filling.until_end();
        assert!(ended.status.success(), "{ended:#?}");
    }

    /// `timers_ms` of its end a kill may have taken of timers that RocketMQ knows of, `noted_ms` of the rest.
    fn ended(&mut self, how: &str, noted_ms: u64, timers_ms: u64) {
        let now_ms = now_ms();
        writeln!(self.ends, "{how} {now_ms} {noted_ms} {timers_ms}").expect("a string takes all");
        std::fs::write(self.path("ledgers/ends.txt"), &self.ends).expect("the folder is writable");
    }

    /// How long ago the killed RocketMQ has noted offsets: it writes these files again and again, whatever has changed.
    fn noted_by_rocketmq(&self) -> u64 {
        let written_ms = ["consumerOffset.json", "delayOffset.json"].map(|name| {
            let written_ms = |name: String| {
                let path = self.path("store/config").join(name);
                let written = std::fs::metadata(path).and_then(|file| file.modified());
                written.ok().map(unix_ms)
            };
            // It removes the file before it renames the new one. A kill in between leaves the backup, with what was noted the time before.
            let backup_ms = || Some(written_ms(format!("{name}.bak"))? - BETWEEN_NOTES_MS);
            let noted_ms = written_ms(name.to_owned()).or_else(backup_ms);
            noted_ms.expect("RocketMQ has written it")
        });
        now_ms() - written_ms.into_iter().min().unwrap_or(0) + SLACK_MS
    }

    /// How long ago RocketMQ has noted how far it is with timers: it begins there, too, when ringmq was killed behind it.
    fn timers_noted(&self) -> u64 {
        let noted = std::fs::read(self.path("store/config/timercheck"));
        let noted = noted.expect("RocketMQ has written it");
        let read_ms = noted.first_chunk().map(|ms| u64::from_be_bytes(*ms));
        now_ms() - read_ms.expect("8 bytes of time") + SLACK_MS
    }
}

fn now_ms() -> u64 {
    unix_ms(SystemTime::now())
}

fn unix_ms(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH);
    since.expect("after 1970").as_millis() as u64
}

/// RocketMQ's name server and broker; killed when dropped.
struct RocketMq(PathBuf);

impl RocketMq {
    fn run(&self, word: &str, more: &[&str]) {
        let folder = self.0.to_str().expect("a plain name");
        let words = [&[word, folder], more].concat();
        Script::new("real-broker/real-broker.sh", &words).run();
    }

    fn stop(self) {
        self.run("stop", &[]);
    }

    fn kill(self) {
        self.run("kill", &[]);
    }
}

impl Drop for RocketMq {
    fn drop(&mut self) {
        let mut command = Script::new("real-broker/real-broker.sh", &["kill"]).command();
        let _ = command.arg(&self.0).status();
    }
}

/// Java virtual machines side by side starve each other on a small machine.
fn one_at_a_time() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}
