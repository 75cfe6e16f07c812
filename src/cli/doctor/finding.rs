//! What can be found, each in one row: its name for scripts, how bad it is, what it is called, and why it matters.

use serde::Serialize;

use crate::store::Cause;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Nothing is wrong; it could be faster.
    Note,
    /// It works, and will not for long or not for all.
    Warning,
    /// Something does not work now.
    Error,
}

/// A row of the table.
pub struct Row {
    pub name: &'static str,
    pub severity: Severity,
    pub title: &'static str,
    pub why: &'static str,
}

macro_rules! faults {
    ($($fault:ident $name:literal $severity:ident, $title:expr, $why:literal;)*) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Fault { $($fault),* }

        impl Fault {
            #[cfg(test)]
            pub const ALL: &[Fault] = &[$(Fault::$fault),*];

            pub const fn row(self) -> Row {
                match self {
                    $(Fault::$fault => Row {
                        name: $name,
                        severity: Severity::$severity,
                        title: $title,
                        why: $why,
                    },)*
                }
            }
        }
    };
}

faults! {
    // The process and its kernel
    UringForbidden "io-uring-forbidden" Warning, "io_uring is forbidden to this process",
        "a broker runs without it here, and takes more CPU for each message";
    UringOff "io-uring-off" Warning, "io_uring is switched off on this host",
        "a broker runs without it here, and takes more CPU for each message";
    UringMissing "io-uring-missing" Warning, "this kernel has no io_uring that is new enough",
        "a broker runs without it here, and takes more CPU for each message";
    UringFails "io-uring-fails" Warning, "io_uring does not start",
        "a broker runs without it here, and takes more CPU for each message";
    Memlock "memlock" Warning, "the log buffer cannot be locked in memory",
        "the kernel looks up the buffer's pages again with each write of the log";
    HugePages "huge-pages" Note, "no huge pages",
        "entries of queues are in pages of 4 KiB, which costs CPU with many queues";
    Descriptors "descriptors" Warning, "few descriptors",
        "each connection takes one: further clients are refused";
    PortTaken "port-taken" Error, "a port is in use",
        "a broker with these settings does not start";
    ClockFree "clock-not-synchronised" Warning, "nothing keeps the clock right",
        "retention, delays, timers and the times of messages follow this clock";
    ClockStep "clock-step" Warning, "the clock was set while doctor looked",
        "delayed messages come early or late, and lags in time are wrong";
    // The disk
    StoreUnusable "store-unusable" Error, "the store's directory cannot be used",
        "a broker does not start on it, or cannot save";
    DeviceError "device-error" Error, "the device reports an error",
        "a broker whose write or flush fails is fenced: it takes nothing until its next start";
    DeviceStalled "device-stalled" Error, Cause::DeviceStalled.words(),
        "no send is acknowledged meanwhile; after a second sends are refused as busy";
    DeviceSlow "device-slow" Warning, Cause::DeviceSlow.words(),
        "each send of a sync broker waits that long, and a queue forms in front of it";
    DiskFull "disk-full" Error, Cause::NoSpace.words(),
        "sends are refused until there is space";
    DiskNearlyFull "disk-nearly-full" Warning, "the disk is nearly full",
        "messages are removed before fileReservedTime is over, and sends are refused above diskSpaceWarningLevelRatio";
    DiskFillsUp "disk-fills-up" Warning, "the disk fills up",
        "messages are removed before fileReservedTime is over, then sends are refused";
    NoDirectIo "no-o-direct" Warning, "the file system has no O_DIRECT",
        "each write goes through the page cache and is flushed by itself, in async mode too";
    VolatileStore "store-in-memory" Warning, "the store is in memory",
        "all messages are lost when the machine ends";
    VolatileCache "volatile-cache" Note, "the device has a volatile write cache",
        "each flush has to empty it; without FUA a flushed write is two commands";
    Scheduler "disk-scheduler" Note, "the disk's scheduler reorders requests",
        "it delays single small writes, which a log consists of";
    // A broker
    RouteToNowhere "route-to-nowhere" Error, "a route leads to a broker that does not answer",
        "clients go on sending to it and pulling from it: sends fail or are repeated elsewhere";
    Denied "denied" Warning, "it answers, and denies what doctor asks",
        "doctor could not look at it";
    NameServerAway "name-server-away" Error, "a name server does not answer",
        "clients that start now find no broker; the others keep the routes they have";
    NoMaster "no-master" Error, "a broker group has no master",
        "its queues take no messages";
    Unanswered "unanswered" Warning, "a broker answers late",
        "doctor could not look at all of it";
    Fenced "fenced" Error, Cause::Fenced.words(),
        "what the device holds is not known, so nothing is taken until the next start";
    Damaged "damaged" Warning, "messages cannot be read",
        "their consumers do not get them";
    Missing "missing-at-start" Warning, "acknowledged messages were missing at the last start",
        "their producers got an acknowledgement";
    Stalls "stalls" Warning, "tasks keep the core",
        "all clients of the broker wait meanwhile";
    BrokerClock "broker-clock" Warning, "a broker's clock is off",
        "times of messages, delays and lags differ between brokers and clients";
    // Replicas
    ReplicasAway "replicas-away" Error, Cause::ReplicasAway.words(),
        "sends are answered SLAVE_NOT_AVAILABLE, and the messages are on one disk only";
    ReplicasBehind "replicas-behind" Warning, Cause::ReplicasBehind.words(),
        "what they lack is lost if the master's disk is";
    // Groups
    Subscriptions "inconsistent-subscriptions" Error, "members of a group subscribe to different things",
        "the broker keeps the newest subscription for all, so each member misses messages";
    NoConsumers "no-consumers" Warning, "messages wait and no consumer is connected",
        "they are removed unread when retention gets there";
    QueueStands "unconsumed-queue" Warning, "a queue is not consumed",
        "its messages wait while those of the topic's other queues are consumed";
    SkewedQueue "skewed-queue" Warning, "one queue has most of the messages",
        "one consumer has the work of all: more consumers do not help";
    ConsumersBehind "consumers-behind" Warning, "consumers are behind",
        "messages are consumed late, and removed unread when retention gets there";
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub fault: Fault,
    pub severity: Severity,
    /// What has it: a directory, a broker, a group.
    pub subject: String,
    /// With the figures.
    pub seen: String,
    /// A command or a setting.
    pub todo: String,
}

impl Finding {
    pub fn new(
        fault: Fault,
        subject: impl Into<String>,
        seen: impl Into<String>,
        todo: impl Into<String>,
    ) -> Self {
        Self {
            fault,
            severity: fault.row().severity,
            subject: subject.into(),
            seen: seen.into(),
            todo: todo.into(),
        }
    }

    pub fn at(self, severity: Severity) -> Self {
        Self { severity, ..self }
    }
}

/// `12 s`, `3.5 hours`
pub fn duration(s: f64) -> String {
    match s {
        s if s < 120.0 => format!("{s:.0} s"),
        s if s < 7_200.0 => format!("{:.0} minutes", s / 60.0),
        s if s < 172_800.0 => format!("{:.1} hours", s / 3_600.0),
        s => format!("{:.1} days", s / 86_400.0),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_fault_has_a_name_of_its_own_and_says_why_it_matters() {
        let names: BTreeSet<_> = Fault::ALL.iter().map(|fault| fault.row().name).collect();
        assert_eq!(names.len(), Fault::ALL.len());
        for fault in Fault::ALL {
            let row = fault.row();
            assert!(!row.title.is_empty() && !row.why.is_empty(), "{}", row.name);
            assert!(row.name.chars().all(|c| c.is_ascii_lowercase() || c == '-'));
        }
    }

    #[test]
    fn times_are_readable() {
        let shown: Vec<_> = [30.0, 600.0, 9_000.0, 864_000.0].map(duration).into();
        assert_eq!(shown, ["30 s", "10 minutes", "2.5 hours", "10.0 days"]);
    }
}
