//! What a controller counts, and how a scrape of it is written, in RocketMQ's names (`ControllerMetricsManager`).

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::controller::{Applied, Command, MAX_GROUPS};
use crate::metrics::families::*;
use crate::metrics::text::{histogram, sample, text_of};
use crate::metrics::{Family, Histogram, NodeLabels, Section};
use crate::wire::codes::{request, response};

/// The only operation on the log of the controllers that is counted.
const APPEND: (&str, &str) = ("dledger_operation", "append");

/// How something that was asked for ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ending {
    Success,
    Failed,
    Timeout,
}

impl Ending {
    /// Of a request with this answer.
    pub fn of(code: i32) -> Self {
        match code == response::SUCCESS {
            true => Self::Success,
            false => Self::Failed,
        }
    }

    fn text(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Failed => "failed",
            Self::Timeout => "timeout",
        }
    }
}

/// Counted since the start. What clients name is counted by name only if it is known, so that they cannot make it grow.
pub struct Counts {
    counted: Mutex<Counted>,
}

struct Counted {
    requests: BTreeMap<(&'static str, Ending), u64>,
    request_us: BTreeMap<&'static str, Histogram>,
    appends: BTreeMap<Ending, u64>,
    append_us: Histogram,
    /// By cluster, group and outcome.
    elections: BTreeMap<(String, String, &'static str), u64>,
}

impl Default for Counts {
    fn default() -> Self {
        let counted = Counted {
            requests: BTreeMap::new(),
            request_us: BTreeMap::new(),
            appends: BTreeMap::new(),
            append_us: Histogram::of(&CONTROLLER_APPEND_TIME),
            elections: BTreeMap::new(),
        };
        Self {
            counted: Mutex::new(counted),
        }
    }
}

impl Counts {
    pub fn answered(&self, code: i32, ending: Ending, took: Duration) {
        let name = request::name(code).unwrap_or("UNKNOWN");
        let mut counted = self.counted();
        *counted.requests.entry((name, ending)).or_default() += 1;
        let times = counted.request_us.entry(name);
        let times = times.or_insert_with(|| Histogram::of(&CONTROLLER_REQUEST_TIME));
        times.record(took.as_micros() as u64);
    }

    pub fn appended(&self, ending: Ending, took: Duration) {
        let mut counted = self.counted();
        *counted.appends.entry(ending).or_default() += 1;
        counted.append_us.record(took.as_micros() as u64);
    }

    /// A command was agreed on: if it is an election, its outcome counts.
    pub fn applied(&self, command: &Command, applied: &Applied) {
        let (Command::Elect { name, .. }, Some(group)) = (command, &applied.group) else {
            return;
        };
        let outcome = match (applied.is_elected, group.master) {
            (true, Some(_)) => "new_master_elected",
            (false, Some(_)) => "keep_current_master",
            (_, None) => "no_master_elected",
        };
        let key = (group.cluster.clone(), name.clone(), outcome);
        let mut counted = self.counted();
        // Groups that were removed stay counted.
        if counted.elections.len() < 3 * MAX_GROUPS || counted.elections.contains_key(&key) {
            *counted.elections.entry(key).or_default() += 1;
        }
    }

    fn counted(&self) -> MutexGuard<'_, Counted> {
        self.counted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn write(&self, page: &mut Page<'_>) {
        let counted = self.counted();
        for ((name, ending), count) in &counted.requests {
            let labels = [
                ("request_type", *name),
                ("request_handle_status", ending.text()),
            ];
            page.sample(&CONTROLLER_REQUESTS, &labels, *count);
        }
        for (name, took) in &counted.request_us {
            page.histogram(&CONTROLLER_REQUEST_TIME, &[("request_type", *name)], took);
        }
        for (ending, count) in &counted.appends {
            let labels = [APPEND, ("dLedger_operation_status", ending.text())];
            page.sample(&CONTROLLER_APPENDS, &labels, *count);
        }
        page.histogram(&CONTROLLER_APPEND_TIME, &[APPEND], &counted.append_us);
        for ((cluster, name, outcome), count) in &counted.elections {
            let labels = [
                ("cluster", &**cluster),
                ("broker_set", &**name),
                ("election_result", *outcome),
            ];
            page.sample(&CONTROLLER_ELECTIONS, &labels, *count);
        }
    }
}

/// The samples of one scrape.
pub struct Page<'a> {
    node: &'a NodeLabels,
    texts: Vec<(&'static Family, String)>,
}

impl<'a> Page<'a> {
    pub fn new(node: &'a NodeLabels) -> Self {
        let families = Section::Controller.families();
        Self {
            node,
            texts: families.map(|family| (family, String::new())).collect(),
        }
    }

    pub fn into_texts(self) -> Vec<(&'static Family, String)> {
        self.texts
    }

    pub fn gauge(&mut self, family: &Family, value: u64) {
        self.sample(family, &[], value);
    }

    pub fn sample(&mut self, family: &Family, labels: &[(&str, &str)], value: u64) {
        sample(
            family,
            self.node,
            labels,
            value,
            text_of(&mut self.texts, family),
        );
    }

    fn histogram(&mut self, family: &Family, labels: &[(&str, &str)], values: &Histogram) {
        let text = text_of(&mut self.texts, family);
        histogram(family, self.node, labels, values, text);
    }
}
