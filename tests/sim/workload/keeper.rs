//! An administrator with topics and groups of its own: makes, changes and deletes them, and looks whether a topic has exactly
//! what was sent to it since it was made.
//!
//! Whatever was acknowledged is there after any end of the broker; of what was under way either may be true.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::rc::Rc;
use std::time::Duration;

use ringmq::message::Record;
use ringmq::sim::SimIo;
use ringmq::wire::codes::{request, response};
use ringmq::wire::group::{DeleteGroup, SubscriptionGroupConfig, SubscriptionGroupTable};
use ringmq::wire::loose_json;
use ringmq::wire::topic::{CreateTopic, TopicConfig, TopicRequest, perm};

use super::{Connected, Shared};
use crate::client::{Client, Reply};
use crate::dice::Dice;
use crate::oracle::{Queue, Told};
use crate::requests::{self, Pull, QUEUES};
use crate::sent::{Sent, number_of};

const TOPICS: [&str; 3] = ["made-0", "made-1", "made-2"];
const GROUPS: [&str; 2] = ["made-group-0", "made-group-1"];
/// Of which offsets in these topics are committed.
const READERS: &str = "keepers";

/// A file may have to wait until there is space.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a request that was lost on its way may still do.
const LOST_MS: u64 = 3_500;

/// What its topics and groups may be.
#[derive(Default)]
pub struct Kept {
    topics: BTreeMap<&'static str, Topic>,
    /// How often a message of the group may come again; None: there is no such group.
    groups: BTreeMap<&'static str, Possible<i32>>,
}

#[derive(Default)]
struct Topic {
    shape: Possible<Shape>,
    messages: BTreeMap<(i32, u64), (Sent, Told)>,
    /// Messages that may be there.
    loose: BTreeSet<u64>,
    /// Its deletion was asked for, and not answered: its messages may be there without its settings, and then a start gives
    /// it others.
    is_going: bool,
    /// The group may have offsets in it.
    has_offsets: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Shape {
    queues: i32,
    perm: i32,
}

/// One of these is true; of what is certain there is one.
#[derive(Debug)]
struct Possible<T>(Vec<Option<T>>);

impl<T> Default for Possible<T> {
    fn default() -> Self {
        Possible(vec![None])
    }
}

impl<T: std::fmt::Debug + PartialEq> Possible<T> {
    fn certain(&self) -> Option<&Option<T>> {
        match &self.0[..] {
            [only] => Some(only),
            _ => None,
        }
    }

    fn is_found(&mut self, found: Option<T>, name: &str) {
        assert!(
            self.0.contains(&found),
            "{name} is {found:?} after a restart; possible: {self:?}"
        );
        self.0 = vec![found];
    }
}

pub async fn keep(io: SimIo, shared: Rc<Shared>, stream: u64) {
    let dice = Dice::new(shared.seed, stream);
    loop {
        let mut connected = Connected::to_broker(&io, &shared, &dice).await;
        connected.client.patience = PATIENCE;
        if let Err(error) = keep_on(&mut connected, &dice).await {
            connected.excuse(&error);
            connected.pause(LOST_MS).await;
        }
    }
}

async fn keep_on(connected: &mut Connected<'_>, dice: &Dice) -> io::Result<()> {
    loop {
        let name = *dice.pick(&TOPICS);
        forget_unsafe(connected, name);
        match dice.below(12) {
            0..=1 => make_topic(connected, dice, name).await?,
            2 => delete_topic(connected, name).await?,
            3..=6 => send(connected, dice, name).await?,
            7..=8 => read(connected, name).await?,
            9 => commit(connected, dice, name).await?,
            10 => make_group(connected, dice).await?,
            _ => delete_group(connected, dice).await?,
        }
        connected.pause(dice.below(100)).await;
    }
}

/// What a power cut may have taken back may be there, or not.
fn forget_unsafe(connected: &Connected<'_>, name: &'static str) {
    let mut kept = connected.shared.kept.borrow_mut();
    let topic = kept.topics.entry(name).or_default();
    let oracle = connected.oracle();
    let loose = &mut topic.loose;
    topic.messages.retain(|_, (sent, told)| {
        let is_safe = !oracle.may_be_taken_back(*told);
        if !is_safe {
            loose.insert(sent.number);
        }
        is_safe
    });
}

fn with<T>(connected: &Connected<'_>, name: &'static str, act: impl FnOnce(&mut Topic) -> T) -> T {
    let mut kept = connected.shared.kept.borrow_mut();
    act(kept.topics.entry(name).or_default())
}

/// The shape, if it is certain that there is such a topic.
fn shape(connected: &Connected<'_>, name: &'static str) -> Option<Shape> {
    with(connected, name, |topic| topic.shape.certain().copied()?)
}

async fn make_topic(
    connected: &mut Connected<'_>,
    dice: &Dice,
    name: &'static str,
) -> io::Result<()> {
    let new = Shape {
        queues: dice.within(1, QUEUES as u64) as i32,
        perm: *dice.pick(&[
            perm::READ | perm::WRITE,
            perm::READ | perm::WRITE,
            perm::READ,
        ]),
    };
    with(connected, name, |topic| topic.shape.0.push(Some(new)));
    let fields = CreateTopic {
        topic: name,
        default_topic: "TBW102",
        read_queue_nums: new.queues,
        write_queue_nums: new.queues,
        perm: new.perm,
        topic_filter_type: "SINGLE_TAG",
        topic_sys_flag: Some(0),
        order: false,
        attributes: None,
        force: false,
    };
    let code = request::UPDATE_AND_CREATE_TOPIC;
    let (reply, _) = connected.call(code, &fields.ext(), &[]).await?;
    if !is_kept(connected, &reply) {
        return Ok(());
    }
    with(connected, name, |topic| {
        topic.shape.0 = vec![Some(new)];
        topic.is_going = false;
    });
    Ok(())
}

async fn delete_topic(connected: &mut Connected<'_>, name: &'static str) -> io::Result<()> {
    with(connected, name, |topic| {
        topic.shape.0.push(None);
        topic.is_going = true;
        let sent = std::mem::take(&mut topic.messages).into_values();
        topic.loose.extend(sent.map(|(sent, _)| sent.number));
    });
    let code = request::DELETE_TOPIC_IN_BROKER;
    let fields = TopicRequest { topic: name };
    let (reply, _) = connected.call(code, &fields.ext(), &[]).await?;
    if !is_kept(connected, &reply) {
        return Ok(());
    }
    with(connected, name, |topic| {
        topic.shape.0 = vec![None];
        topic.has_offsets = false;
        topic.is_going = false;
        topic.loose.clear();
    });
    Ok(())
}

async fn send(connected: &mut Connected<'_>, dice: &Dice, name: &'static str) -> io::Result<()> {
    let Some(shape) = shape(connected, name).filter(|shape| shape.perm & perm::WRITE != 0) else {
        return Ok(());
    };
    for _ in 0..dice.within(1, 8) {
        let (bytes, now_ms) = (dice.within(8, 2_000) as usize, connected.now_ms());
        let sent = connected.oracle().sends_unlisted(name, bytes, 0, now_ms);
        with(connected, name, |topic| topic.loose.insert(sent.number));
        let id = dice.below(shape.queues as u64) as i32;
        requests::send(&mut connected.client, &sent, id);
        let (reply, told) = connected.answer().await?;
        if !reply.is_success() {
            assert!(connected.excuses(&reply), "{reply:?}");
            return Ok(());
        }
        let offset = reply.number("queueOffset") as u64;
        if connected.oracle().may_be_taken_back(told) {
            return Ok(());
        }
        with(connected, name, |topic| {
            topic.loose.remove(&sent.number);
            let before = topic.messages.insert((id, offset), (sent, told));
            assert!(before.is_none(), "{name} {id}: {offset} is {before:?}'s");
        });
    }
    Ok(())
}

/// The topic has all that was sent to it since it was made, and nothing from before.
async fn read(connected: &mut Connected<'_>, name: &'static str) -> io::Result<()> {
    let Some(shape) = shape(connected, name) else {
        return Ok(());
    };
    for id in 0..shape.queues {
        let queue = Queue {
            topic: name.to_owned(),
            id,
        };
        let mut offset = 0;
        loop {
            let pull = Pull::of_all(READERS, &queue, offset);
            let reply = requests::pull(&mut connected.client, &pull).await?;
            connected.client.patience = PATIENCE;
            if connected.lacks_a_descriptor(&reply) {
                return Ok(());
            }
            let next = reply.number("nextBeginOffset") as u64;
            match reply.code {
                response::SUCCESS | response::PULL_OFFSET_MOVED if next > offset => {}
                response::PULL_NOT_FOUND => break,
                // The queue is empty, or has lost its end with the power.
                response::PULL_OFFSET_MOVED => break,
                _ => panic!("a pull of {queue:?} from {offset}: {reply:?}"),
            }
            let first = match reply.code {
                response::SUCCESS => offset,
                // Older ones have gone.
                _ => next,
            };
            let kept_from_ms = connected.shared.kept_from_ms(connected.now_ms());
            with(connected, name, |topic| {
                topic.have_gone(id, offset..first, kept_from_ms);
                for record in requests::records(&reply.body) {
                    topic.holds(id, &record);
                }
            });
            offset = next;
        }
        let kept_from_ms = connected.shared.kept_from_ms(connected.now_ms());
        with(connected, name, |topic| {
            topic.have_gone(id, offset..u64::MAX, kept_from_ms);
        });
    }
    Ok(())
}

impl Topic {
    fn holds(&self, id: i32, record: &Record<'_>) {
        let number = number_of(record);
        match self.messages.get(&(id, record.queue_offset)) {
            Some((sent, _)) => sent.check(record),
            None => assert!(
                self.loose.contains(&number),
                "of a topic that was deleted, or from elsewhere: {record:?}"
            ),
        }
    }

    fn have_gone(&self, id: i32, offsets: std::ops::Range<u64>, kept_from_ms: i64) {
        let messages = self.messages.range((id, offsets.start)..(id, offsets.end));
        for (place, (sent, told)) in messages {
            assert!(
                sent.born_ms < kept_from_ms,
                "lost: {sent:?}, acknowledged {told:?} as {place:?}"
            );
        }
    }
}

async fn commit(connected: &mut Connected<'_>, dice: &Dice, name: &'static str) -> io::Result<()> {
    if shape(connected, name).is_none() {
        return Ok(());
    }
    with(connected, name, |topic| topic.has_offsets = true);
    let queue = Queue {
        topic: name.to_owned(),
        id: 0,
    };
    requests::commit_offset(&mut connected.client, READERS, &queue, dice.below(50));
    let (reply, _) = connected.answer().await?;
    // The group comes with its first pull.
    let is_unknown = reply.code == response::SUBSCRIPTION_GROUP_NOT_EXIST;
    assert!(reply.is_success() || is_unknown, "{reply:?}");
    Ok(())
}

fn with_group(connected: &Connected<'_>, name: &'static str, act: impl FnOnce(&mut Possible<i32>)) {
    let mut kept = connected.shared.kept.borrow_mut();
    act(kept.groups.entry(name).or_default());
}

async fn make_group(connected: &mut Connected<'_>, dice: &Dice) -> io::Result<()> {
    let (name, times) = (*dice.pick(&GROUPS), dice.within(1, 100) as i32);
    with_group(connected, name, |group| group.0.push(Some(times)));
    let config = SubscriptionGroupConfig {
        group_name: name.to_owned(),
        retry_max_times: times,
        ..SubscriptionGroupConfig::default()
    };
    let body = loose_json::to_vec(&config);
    let code = request::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP;
    let (reply, _) = connected.call(code, &[], &body).await?;
    if !is_kept(connected, &reply) {
        return Ok(());
    }
    with_group(connected, name, |group| group.0 = vec![Some(times)]);
    Ok(())
}

async fn delete_group(connected: &mut Connected<'_>, dice: &Dice) -> io::Result<()> {
    let name = *dice.pick(&GROUPS);
    with_group(connected, name, |group| group.0.push(None));
    let fields = DeleteGroup {
        group_name: name,
        clean_offset: true,
    };
    let code = request::DELETE_SUBSCRIPTIONGROUP;
    let (reply, _) = connected.call(code, &fields.ext(), &[]).await?;
    if !is_kept(connected, &reply) {
        return Ok(());
    }
    with_group(connected, name, |group| group.0 = vec![None]);
    Ok(())
}

/// On a full disk a change is made, and a restart may or may not know of it.
fn is_kept(connected: &Connected<'_>, reply: &Reply) -> bool {
    assert!(
        reply.is_success() || connected.is_made_but_not_saved(reply),
        "{reply:?}"
    );
    reply.is_success()
}

/// Right after a restart.
pub async fn check_kept(client: &mut Client, shared: &Shared) -> io::Result<()> {
    let groups = client.call(request::GET_ALL_SUBSCRIPTIONGROUP_CONFIG, &[], &[]);
    let groups = groups.await?;
    let groups: SubscriptionGroupTable = loose_json::from_slice(&groups.body).expect("groups");
    for (name, possible) in &mut shared.kept.borrow_mut().groups {
        let found = groups.subscription_group_table.get(*name);
        possible.is_found(found.map(|config| config.retry_max_times), name);
    }
    let names: Vec<_> = shared.kept.borrow().topics.keys().copied().collect();
    for name in names {
        let (fields, code) = (TopicRequest { topic: name }, request::GET_TOPIC_CONFIG);
        let reply = client.call(code, &fields.ext(), &[]).await?;
        let found = reply.is_success().then(|| {
            let config: TopicConfig = loose_json::from_slice(&reply.body).expect("a topic");
            Shape {
                queues: config.read_queue_nums,
                perm: config.perm,
            }
        });
        let queue = Queue {
            topic: name.to_owned(),
            id: 0,
        };
        let offset = requests::query_offset(client, READERS, &queue).await?;
        let mut kept = shared.kept.borrow_mut();
        let topic = kept.topics.entry(name).or_default();
        if topic.is_going && !topic.shape.0.contains(&found) {
            topic.shape.0.push(found);
        }
        topic.shape.is_found(found, name);
        assert!(
            topic.has_offsets || offset.is_none(),
            "{READERS} is at {offset:?} of {name}, which was deleted"
        );
    }
    Ok(())
}
