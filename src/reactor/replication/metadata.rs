//! What a slave takes over besides the log: topics, groups, offsets, modes, and which timed messages are delivered. It asks the master
//! every second.

use std::rc::Rc;

use tracing::{info, warn};

use super::state::Replication;
use crate::broker::ConfigFile;
use crate::broker::files::{Page, Pages};
use crate::broker::timer::MasterTimers;
use crate::io::Io;
use crate::reactor::core::Core;
use crate::reactor::decisions::Decisions;
use crate::reactor::effects;
use crate::reactor::remoting_client::{AskError, RemotingClient};
use crate::wire::codes::request;
use crate::wire::loose_json;

/// RocketMQ's slaves ask for their offsets every 10 s or 60 s.
const INTERVAL_NS: u64 = 1_000_000_000;

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

/// Asks until the shard stops.
pub(super) async fn follow<I: Io>(core: Rc<Core<I>>) {
    let Some(replication) = &core.replication else {
        return;
    };
    let mut link: Option<RemotingClient<I>> = None;
    let mut is_known = false;
    let mut round = 0;
    while !core.is_stopping() {
        let followed = ask_all(&core, replication, &mut link, round).await;
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
        let later = core.io.now().mono_ns + INTERVAL_NS;
        core.io.sleep_until(later).await;
    }
}

/// Whether there is a master to ask.
async fn ask_all<I: Io>(
    core: &Rc<Core<I>>,
    replication: &Replication<I>,
    link: &mut Option<RemotingClient<I>>,
    round: u64,
) -> Result<bool, AskError> {
    let Some(addr) = replication.master.borrow().remoting else {
        return Ok(false);
    };
    let link = match link {
        Some(link) => link,
        None => link.insert(RemotingClient::connect(&core.io, addr, PATIENCE_NS).await?),
    };
    for (code, file) in FILES {
        let asked = match Pages::of(file) {
            Some(pages) => ask_pages(core, link, code, pages).await,
            None => ask_whole(core, link, code, file).await,
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
    link: &mut RemotingClient<I>,
    asks_figures: bool,
) -> Result<(), AskError> {
    let log_position = core.store.committed();
    let asked = link.ask(request::GET_TIMER_CHECK_POINT, &[], &[], PATIENCE_NS);
    let said = match asked.await {
        Ok(answer) => MasterTimers::of_check_point(&answer.body, log_position),
        Err(AskError::Refused { .. }) => None,
        Err(error) => return Err(error),
    };
    let Some(mut said) = said else { return Ok(()) };
    if !asks_figures {
        core.timers.hear_master(said);
        return Ok(());
    }
    let asked = link.ask(request::GET_TIMER_METRICS, &[], &[], PATIENCE_NS);
    said.waiting = match asked.await {
        Ok(answer) => loose_json::from_slice(&answer.body).ok(),
        Err(AskError::Refused { .. }) => None,
        Err(error) => return Err(error),
    };
    core.timers.hear_master(said);
    Ok(())
}

async fn ask_whole<I: Io>(
    core: &Rc<Core<I>>,
    link: &mut RemotingClient<I>,
    code: i32,
    file: ConfigFile,
) -> Result<(), AskError> {
    let log_position = core.store.committed();
    let answer = link.ask(code, &[], &[], PATIENCE_NS).await?;
    let now_ms = core.now_ms();
    let followed = core
        .broker
        .borrow_mut()
        .follow_file(file, &answer.body, log_position, now_ms);
    if let Err(error) = followed {
        warn!(file = file.name(), %error, "the master's answer cannot be read");
    }
    effects::carry_out(core);
    Ok(())
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
                if let Err(refusal) = Decisions::new(core.clone()).carry_out(work).await {
                    warn!(code, remark = %refusal.remark, "the master's table cannot be taken over");
                }
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
