//! Many clients that pop at random, and many groups of one topic.

use super::*;

/// How long a request may take.
const UNSURE_MS: i64 = 50;

/// What a client of the histories knows of a message.
#[derive(Clone, Debug, Default)]
struct Known {
    is_acked: bool,
    may_be_acked: bool,
    /// Nobody may see it before then, as long as the broker lives.
    hidden_until_ms: u64,
    /// In which life of the broker it was hidden.
    life: u64,
    /// How often there is more than one of it.
    copies: u64,
}

/// Clients that pop, acknowledge, change and forget at random while the broker is killed or loses its power.
#[test]
fn every_message_is_acknowledged_once_or_comes_back() {
    for seed in SEEDS {
        one_history(seed);
    }
}

pub fn one_history(seed: u64) -> Tally {
    let is_power_cut = seed.is_multiple_of(2);
    // Only a flushed acknowledgement survives a power cut.
    let flush = if is_power_cut {
        Flush::Sync
    } else {
        Flush::Async
    };
    let cluster = Cluster::new(seed, flush);
    cluster.sim.run(history(&cluster, seed, is_power_cut));
    cluster.sim.tally()
}

async fn history(cluster: &Cluster, seed: u64, is_power_cut: bool) {
    const LIVES: u64 = 6;
    let dice = Dice::new(seed, 77);
    let mut popper = started(cluster).await;
    let mut messages: BTreeMap<u64, Known> = BTreeMap::new();
    for life in 0..LIVES {
        let mut held: Vec<Popped> = Vec::new();
        let from = messages.len() as u64;
        popper.send(from..from + 30).await;
        messages.extend((from..from + 30).map(|number| (number, Known::default())));
        for _ in 0..dice.within(20, 60) {
            step(&mut popper, &dice, &mut messages, &mut held, life).await;
            cluster.sleep_ms(dice.below(200)).await;
        }
        match is_power_cut {
            true => cluster.cut_power(),
            false => cluster.kill(),
        }
        cluster.start().await;
        popper = Popper::new(cluster, "client").await;
    }
    // Whatever is left comes back, and once it is acknowledged nothing does.
    for _ in 0..100 {
        let found = popper
            .pop(&Pop {
                invisible_ms: 1_000,
                ..ALL
            })
            .await;
        take(&popper, &found, &mut messages, LIVES, seed);
        for message in &found {
            assert!(popper.ack(message).await.unwrap().is_success());
            let known = messages.get_mut(&message.number).unwrap();
            known.is_acked |= known.copies == 0;
            known.may_be_acked = true;
        }
        cluster.sleep_ms(300).await;
    }
    let lost: Vec<_> = messages
        .iter()
        .filter(|(_, known)| !known.is_acked && !known.may_be_acked)
        .collect();
    assert!(lost.is_empty(), "seed {seed}: never came back: {lost:?}");
}

async fn step(
    popper: &mut Popper,
    dice: &Dice,
    messages: &mut BTreeMap<u64, Known>,
    held: &mut Vec<Popped>,
    life: u64,
) {
    let choice = dice.below(10);
    if choice < 4 || held.is_empty() {
        let pop = Pop {
            max: dice.within(1, 32) as i32,
            invisible_ms: *dice.pick(&[200, 1_000, 4_000]),
            poll_ms: *dice.pick(&[0, 300]),
            queue_id: dice.within(0, 4) as i32 - 1,
            ..ALL
        };
        let found = popper.pop(&pop).await;
        take(popper, &found, messages, life, life);
        held.extend(found);
        return;
    }
    let at = dice.below(held.len() as u64) as usize;
    let message = held.swap_remove(at);
    if choice < 8 {
        let left_ms = message.hidden_until_ms as i64 - popper.now_ms() as i64;
        assert!(popper.ack(&message).await.unwrap().is_success());
        let known = messages.get_mut(&message.number).unwrap();
        // Later than that it is on its way back, and in between nobody can tell.
        let is_in_time = left_ms > UNSURE_MS;
        // Of two the other one comes still.
        known.is_acked |= is_in_time && known.copies == 0;
        known.may_be_acked |= left_ms.abs() <= UNSURE_MS || is_in_time;
    } else if choice < 9 {
        let (reply, changed) = popper.change(&message, 1_500).await.unwrap();
        if reply.is_success() {
            let known = messages.get_mut(&message.number).unwrap();
            known.hidden_until_ms = changed.hidden_until_ms;
            held.push(changed);
        } else {
            assert_eq!(reply.code, response::NO_MESSAGE, "{reply:?}");
        }
    }
    // Else it is forgotten.
}

/// Holds what was popped against what is known.
fn take(
    popper: &Popper,
    found: &[Popped],
    messages: &mut BTreeMap<u64, Known>,
    life: u64,
    seed: u64,
) {
    let now_ms = popper.now_ms();
    for message in found {
        let known = messages.get_mut(&message.number).unwrap();
        assert!(
            !known.is_acked,
            "seed {seed}: acknowledged, and came again: {message:?}"
        );
        let is_hidden = known.life == life && now_ms < known.hidden_until_ms;
        // Each crash may find what a message was made again of, and the copy: there are two of it then.
        let is_copy = message.reconsume_times > 0 && known.copies < life;
        known.copies += u64::from(is_hidden && is_copy);
        assert!(
            !is_hidden || is_copy,
            "seed {seed}: came at {now_ms}, hidden until {}: {message:?}",
            known.hidden_until_ms
        );
        known.hidden_until_ms = message.hidden_until_ms;
        known.life = life;
    }
}

/// A pop does not slow down the others of its group, nor lose its place, while many wait.
#[test]
fn many_groups_and_clients_share_a_topic() {
    let cluster = Cluster::new(3, Flush::Async);
    cluster.sim.run(async {
        let mut sender = started(&cluster).await;
        let done = std::rc::Rc::new(std::cell::RefCell::new(Vec::new()));
        for number in 0..8 {
            let host = format!("popper-{number}");
            let mut popper = Popper::new(&cluster, &host).await;
            let done = done.clone();
            cluster.sim.host(&host).spawn("test", async move {
                loop {
                    let pop = Pop {
                        poll_ms: 5_000,
                        max: 3,
                        invisible_ms: 60_000,
                        ..ALL
                    };
                    let found = popper.pop(&pop).await;
                    if found.is_empty() {
                        return;
                    }
                    popper.ack_all(&found).await;
                    done.borrow_mut().extend(numbers(&found));
                }
            });
        }
        sender.send(0..100).await;
        cluster.sleep_ms(12_000).await;
        let mut done = done.take();
        done.sort_unstable();
        assert_eq!(done, (0..100).collect::<Vec<_>>(), "each once");
    });
}
