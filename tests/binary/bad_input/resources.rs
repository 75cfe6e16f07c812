//! Memory and descriptors that a client uses up: unread answers, parked pulls, idle connections.

use super::*;

/// Hundreds of pulls at once and then a pause: all of them are answered, as soon as they are read.
#[test]
fn a_client_may_be_slow() {
    let mut victim = Victim::start(&Options::small());
    let pull = fill_queue(&mut victim, "Slow");
    let mut slow = victim.client();
    let opaques: Vec<_> = (0..200)
        .map(|_| slow.post(request::PULL_MESSAGE, &pull.ext(), &[]))
        .collect();
    victim.must_serve();
    for opaque in opaques {
        let reply = slow.receive().expect("an answer").ok();
        assert_eq!((reply.opaque, reply.messages().len()), (opaque, 32));
    }
    victim.must_be_well();
}

#[test]
fn who_does_not_read_takes_no_more_memory_than_its_share() {
    let mut victim = Victim::start(&Options::small());
    let pull = fill_queue(&mut victim, "Deaf");
    ask_without_reading(&mut victim, &pull);
    victim.must_be_well();
}

/// The same with messages that have to be read from the disk first.
#[test]
fn who_does_not_read_from_disk_takes_no_more_memory_than_its_share() {
    let mut victim = Victim::start(&Options::small());
    let pull = fill_queue(&mut victim, "DeafToDisk");
    for _ in 0..6 {
        victim
            .bystander
            .send(&send_to("Others", 0), &vec![1; 4 << 20])
            .ok();
    }
    ask_without_reading(&mut victim, &pull);
    victim.must_be_well();
}

/// Pulls that wait are many, and their client goes away.
#[test]
fn parked_pulls_of_a_lost_client_are_forgotten() {
    let mut victim = Victim::start(&Options::small());
    victim.must_serve();
    let before = victim.broker.peak_rss_bytes();
    for _ in 0..5 {
        let mut client = victim.client();
        let wait = waiting(pull_from("Bystander", 1, 0), 1_000_000_000);
        for _ in 0..2000 {
            client.post(request::PULL_MESSAGE, &wait.ext(), &[]);
        }
        drop(client);
        victim.must_serve();
    }
    victim
        .bystander
        .send(&send_to("Bystander", 1), b"for nobody")
        .ok();
    let grown = victim.broker.peak_rss_bytes().saturating_sub(before);
    assert!(grown < 32 * MIB, "grown by {grown} bytes");
    victim.must_be_well();
}

#[test]
fn thousands_of_idle_connections_cost_little() {
    let mut victim = Victim::start(&Options::small());
    victim.must_serve();
    let count = (open_files_limit() - 200).min(10_000);
    let before = victim.broker.peak_rss_bytes();
    // The second time shows that the first left nothing behind.
    for _ in 0..2 {
        let mut idle: Vec<TcpStream> = (0..count)
            .map(|at| {
                TcpStream::connect(victim.broker.addr())
                    .unwrap_or_else(|error| panic!("connection {at}: {error}"))
            })
            .collect();
        victim.must_serve();
        // Some stop in the middle of a frame.
        for stream in idle.iter_mut().step_by(10) {
            stream
                .write_all(&raw_frame(1000, 100, b"{\"code\""))
                .expect("it is open");
        }
        // The last is served as well as the first.
        let mut last = Client::connect(victim.broker.addr());
        last.ask(request::GET_ALL_TOPIC_CONFIG, &[], &[]).ok();
        victim.must_serve();
    }
    let grown = victim.broker.peak_rss_bytes().saturating_sub(before);
    let share = grown / count as u64;
    assert!(
        share < 8 << 10,
        "each of {count} connections costs {share} bytes"
    );
    victim.must_be_well();
}

/// A pull whose reply is some 256 KiB, again and again, unread.
fn ask_without_reading(victim: &mut Victim, pull: &PullRequest<'_>) {
    victim.must_serve();
    let before = victim.broker.peak_rss_bytes();
    let mut deaf = victim.client();
    deaf.wire
        .0
        .set_write_timeout(Some(Duration::from_secs(1)))
        .expect("a timeout can be set");
    for _ in 0..4000 {
        let frame = deaf.encode(request::PULL_MESSAGE, 0, &pull.ext(), &[]);
        match deaf.wire.0.write_all(&frame) {
            Ok(()) => {}
            // The broker does not read on, or has given this client up.
            Err(error)
                if [
                    ErrorKind::WouldBlock,
                    ErrorKind::ConnectionReset,
                    ErrorKind::BrokenPipe,
                ]
                .contains(&error.kind()) =>
            {
                break;
            }
            Err(error) => panic!("{error}"),
        }
    }
    for _ in 0..100 {
        victim.must_serve();
    }
    let grown = victim.broker.peak_rss_bytes().saturating_sub(before);
    assert!(
        grown < 160 * MIB,
        "a client that does not read costs {} MiB",
        grown / MIB
    );
}

/// A topic with one pull's worth of messages, and that pull.
fn fill_queue<'a>(victim: &mut Victim, topic: &'a str) -> PullRequest<'a> {
    for _ in 0..32 {
        victim.bystander.send(&send_to(topic, 0), &[9; 7500]).ok();
    }
    pull_from(topic, 0, 0)
}

fn open_files_limit() -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").expect("it is there");
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))
        .expect("the line is there");
    let soft = line
        .split_ascii_whitespace()
        .next()
        .expect("the soft limit");
    soft.parse().unwrap_or(usize::MAX)
}
