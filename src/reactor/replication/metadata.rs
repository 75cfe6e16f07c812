//! What a slave takes over besides the log: topics, groups, offsets, modes, and which timed messages are delivered. It asks the master
//! every second.

use std::rc::Rc;

use tracing::{info, warn};

use super::hand_over::hand_over;
use super::state::Replication;
use crate::broker::ConfigFile;
use crate::broker::files::{MasterDelays, Page, Pages, follow_whole};
use crate::broker::requests::LOG_END;
use crate::broker::step::Work;
use crate::broker::timer::{MasterTimers, MasterWaiting, MetricsReader};
use crate::io::Io;
use crate::reactor::core::Core;
use crate::reactor::decisions::Decisions;
use crate::reactor::remoting_client::{AskError, RemotingClient};
use crate::reactor::rounds::SLICE_UNITS;
use crate::wire::codes::request;

/// RocketMQ's slaves ask for their offsets every 10 s or 60 s.
const INTERVAL_NS: u64 = 1_000_000_000;

/// A slave that does not follow its master yet looks again after this time, so that it has the tables soon after the first messages.
const SOON_NS: u64 = 50_000_000;

/// The figures of timers have a row for each topic, and are for administrators only.
const FIGURES_EVERY: u64 = 10;

const PATIENCE_NS: u64 = 3_000_000_000;

/// In this order: a group's offsets are of no use without its topics.
const FILES: [(i32, ConfigFile); 5] = [
    (request::GET_ALL_TOPIC_CONFIG, ConfigFile::Topics),
    (
        request::GET_ALL_SUBSCRIPTIONGROUP_CONFIG,
        ConfigFile::SubscriptionGroups,
    ),
    (
        request::GET_ALL_CONSUMER_OFFSET,
        ConfigFile::ConsumerOffsets,
    ),
    (request::GET_ALL_DELAY_OFFSET, ConfigFile::DelayOffsets),
    (
        request::GET_ALL_MESSAGE_REQUEST_MODE,
        ConfigFile::RequestModes,
    ),
];

/// So long after the answers the log is looked at again: it comes over another connection.
const LOG_PATIENCE_NS: u64 = 200_000_000;

/// A connection to the master, which ends with the master's process at the latest.
struct Link<I: Io> {
    client: RemotingClient<I>,
    /// The answer to 43.
    offsets: Held<Vec<u8>>,
    delays: Held<MasterDelays>,
    timers: Held<MasterTimers>,
}

/// What a master says that it has delivered counts here once these deliveries are in this log. If the slave became master without them, they
/// would never be made.
struct Held<T> {
    /// With the end of the log that it refers to.
    said: Option<(u64, T)>,
}

impl<T> Default for Held<T> {
    fn default() -> Self {
        Self { said: None }
    }
}

impl<T> Held<T> {
    /// The master has said something about its log up to `log_end`; this log was the same up to `followed_to` when it was asked.
    /// Returns what counts from now on. What is held stays until it counts, so that a slave that is always behind goes on, too.
    fn next(&mut self, log_end: u64, said: T, followed_to: u64) -> Option<T> {
        if log_end <= followed_to {
            self.said = None;
            return Some(said);
        }
        let counting = self.counting(followed_to);
        self.said.get_or_insert((log_end, said));
        counting
    }

    /// What was held, if it counts now.
    fn counting(&mut self, followed_to: u64) -> Option<T> {
        let counting = self.said.take_if(|(end, _)| *end <= followed_to);
        counting.map(|(_, said)| said)
    }
}

/// Asks until the shard stops.
pub(super) async fn follow<I: Io>(core: Rc<Core<I>>) {
    let Some(replication) = &core.replication else {
        return;
    };
    core.broker.borrow_mut().keep_commits();
    let mut link: Option<Link<I>> = None;
    let mut is_known = false;
    let mut round = 0;
    while !core.is_stopping() {
        let followed = ask_all(&core, replication, &mut link, round).await;
        let has_nobody_to_ask = matches!(followed, Ok(false));
        match followed {
            Ok(true) if !is_known => {
                info!("topics, groups and offsets are those of the master");
                is_known = true;
            }
            Ok(_) => {}
            Err(error) => {
                if is_known {
                    warn!(%error, "topics, groups and offsets do not follow the master; trying again every second");
                }
                (link, is_known) = (None, false);
            }
        }
        round += 1;
        let asked_ns = core.io.now().mono_ns;
        if has_nobody_to_ask {
            core.io.sleep_until(asked_ns + SOON_NS).await;
            continue;
        }
        core.io.sleep_until(asked_ns + LOG_PATIENCE_NS).await;
        if let Some(link) = &mut link {
            let counting = link.offsets.counting(followed_to(&core));
            take_offsets(&core, counting).await;
        }
        core.io.sleep_until(asked_ns + INTERVAL_NS).await;
    }
}

/// Whether there is a master to ask.
async fn ask_all<I: Io>(
    core: &Rc<Core<I>>,
    replication: &Replication<I>,
    link: &mut Option<Link<I>>,
    round: u64,
) -> Result<bool, AskError> {
    // One that is about to become the master still has a slave's tables: what it lacks of them would be removed here.
    let is_following = replication.slave_state().is_following();
    let Some(addr) = replication
        .master
        .borrow()
        .remoting
        .filter(|_| is_following)
    else {
        *link = None;
        return Ok(false);
    };
    let link = match link {
        Some(link) => link,
        None => {
            let client =
                RemotingClient::connect(&core.io, addr, core.credentials(), PATIENCE_NS).await?;
            link.insert(Link {
                client,
                offsets: Held::default(),
                delays: Held::default(),
                timers: Held::default(),
            })
        }
    };
    hand_over(core, &mut link.client, PATIENCE_NS).await?;
    for (code, file) in FILES {
        let asked = match Pages::of(file) {
            Some(pages) => ask_pages(core, &mut link.client, code, pages).await,
            None if file == ConfigFile::DelayOffsets => ask_delays(core, link, code).await,
            None if file == ConfigFile::ConsumerOffsets => ask_offsets(core, link, code).await,
            None => ask_whole(core, &mut link.client, code, file).await,
        };
        match asked {
            // An older master does not know every one of them.
            Ok(()) | Err(AskError::Refused { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    hear_timers(core, link, round.is_multiple_of(FIGURES_EVERY)).await?;
    Ok(true)
}

/// Which timed messages the master has delivered. An older master does not say, and neither does one without timers.
async fn hear_timers<I: Io>(
    core: &Core<I>,
    link: &mut Link<I>,
    asks_figures: bool,
) -> Result<(), AskError> {
    let (log_position, followed_to) = (core.store.committed(), followed_to(core));
    let client = &mut link.client;
    let asked = client.ask(request::GET_TIMER_CHECK_POINT, &[], &[], PATIENCE_NS);
    let said = match asked.await {
        Ok(answer) => MasterTimers::of_check_point(&answer.body, log_position),
        Err(AskError::Refused { .. }) => None,
        Err(error) => return Err(error),
    };
    let Some(mut said) = said else { return Ok(()) };
    if asks_figures {
        let asked = client.ask(request::GET_TIMER_METRICS, &[], &[], PATIENCE_NS);
        said.waiting = match asked.await {
            Ok(answer) => read_metrics(core, answer.body).await,
            Err(AskError::Refused { .. }) => None,
            Err(error) => return Err(error),
        };
    }
    if let Some(said) = link.timers.next(said.log_end, said, followed_to) {
        core.timers.hear_master(said);
    }
    Ok(())
}

/// Up to here the log is known to be the master's.
fn followed_to<I: Io>(core: &Core<I>) -> u64 {
    let replication = core.replication.as_ref();
    match replication.is_some_and(|replication| replication.slave_state().is_following()) {
        true => core.store.committed(),
        false => 0,
    }
}

/// Which delayed messages the master has delivered.
async fn ask_delays<I: Io>(core: &Core<I>, link: &mut Link<I>, code: i32) -> Result<(), AskError> {
    let (log_position, followed_to) = (core.store.committed(), followed_to(core));
    let answer = link.client.ask(code, &[], &[], PATIENCE_NS).await?;
    match MasterDelays::read(&answer.body, log_position) {
        Ok(said) => {
            if let Some(said) = link.delays.next(said.log_end(), said, followed_to) {
                core.broker.borrow_mut().follow_delays(said);
            }
        }
        Err(error) => warn!(code, %error, "the master's answer cannot be read"),
    }
    Ok(())
}

/// The offsets of consumers.
async fn ask_offsets<I: Io>(
    core: &Rc<Core<I>>,
    link: &mut Link<I>,
    code: i32,
) -> Result<(), AskError> {
    let answer = link.client.ask(code, &[], &[], PATIENCE_NS).await?;
    let log_end = answer.field(LOG_END).and_then(|end| end.parse().ok());
    // RocketMQ's master does not say it.
    let log_end = log_end.unwrap_or(0);
    let counting = link.offsets.next(log_end, answer.body, followed_to(core));
    take_offsets(core, counting).await;
    Ok(())
}

async fn take_offsets<I: Io>(core: &Rc<Core<I>>, answer: Option<Vec<u8>>) {
    let file = ConfigFile::ConsumerOffsets;
    if let Some(work) = answer.and_then(|body| follow_whole(file, body)) {
        take_over(core, request::GET_ALL_CONSUMER_OFFSET, work).await;
    }
}

/// `None`: it cannot be read.
async fn read_metrics<I: Io>(core: &Core<I>, body: Vec<u8>) -> Option<MasterWaiting> {
    let mut reader = MetricsReader::new(body);
    loop {
        core.rounds.take(SLICE_UNITS).await;
        if let Some(waiting) = reader.turn().ok()? {
            return Some(waiting);
        }
    }
}

async fn ask_whole<I: Io>(
    core: &Rc<Core<I>>,
    link: &mut RemotingClient<I>,
    code: i32,
    file: ConfigFile,
) -> Result<(), AskError> {
    let answer = link.ask(code, &[], &[], PATIENCE_NS).await?;
    if let Some(work) = follow_whole(file, answer.body) {
        take_over(core, code, work).await;
    }
    Ok(())
}

async fn take_over<I: Io>(core: &Rc<Core<I>>, code: i32, work: Box<dyn Work>) {
    if let Err(refusal) = Decisions::new(core.clone()).carry_out(work).await {
        warn!(code, remark = %refusal.remark, "the master's table cannot be taken over");
    }
}

/// Asks for a table page by page, and takes it over when it is complete.
async fn ask_pages<I: Io>(
    core: &Rc<Core<I>>,
    link: &mut RemotingClient<I>,
    code: i32,
    mut pages: Pages,
) -> Result<(), AskError> {
    loop {
        let version = pages.version(&core.broker.borrow());
        let answer = link
            .ask(code, &pages.fields(&version), &[], PATIENCE_NS)
            .await?;
        let total = answer.field(pages.total_field());
        let total = total.and_then(|total| total.parse().ok());
        let taken = pages.take(&answer.body, total, &core.broker.borrow());
        match taken {
            Ok((Page::More, Some(begun))) => pages = begun,
            Ok((Page::Last(work), _)) => {
                take_over(core, code, work).await;
                return Ok(());
            }
            Ok(_) => return Ok(()),
            Err(error) => {
                warn!(code, %error, "the master's answer cannot be read");
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_counts_when_the_log_is_here() {
        let mut held = Held::default();
        assert_eq!(held.next(100, 1, 100), Some(1));
        assert_eq!(held.next(200, 2, 150), None);
        // The log grows faster than it comes here.
        assert_eq!(held.next(300, 3, 199), None);
        assert_eq!(held.next(400, 4, 250), Some(2));
        assert_eq!(held.next(500, 5, 350), None);
        assert_eq!(held.next(600, 6, 450), Some(4));
        assert_eq!(held.next(600, 7, 600), Some(7));
        assert_eq!(held.counting(600), None);
        assert_eq!(held.next(700, 9, 600), None);
        assert_eq!((held.counting(699), held.counting(700)), (None, Some(9)));
        assert_eq!(held.said, None);
        // A master that does not say where its log ends.
        assert_eq!(held.next(0, 8, 0), Some(8));
    }
}
