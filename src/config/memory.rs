//! The memory limit of the control group, read at the start: the kernel kills a broker that exceeds it without notice.
//!
//! Sizes that were not given are made smaller to fit, down to what a broker with the default limits of a message works with. Those that were given are
//! promises and stay as they are: `logBufferBytes` bounds the largest message, `consumeQueueMemoryBytes` the queues that can be written,
//! `connectionMemoryBytes` the connections that are served.

use std::fs;
use std::path::Path;

use super::defaults::{Config, HEADROOM_BYTES};
use super::{Level, Note};

/// Code, stacks, index entries and the rest of a process, beside the configured buffers.
const BASE_BYTES: u64 = 64 << 20;

/// What any number of queues needs.
const LEAST_QUEUES_BYTES: u64 = 16 << 20;

/// What `connectionMemoryBytes` allows at least.
const LEAST_CONNECTIONS_BYTES: u64 = 64 << 20;

/// One of the three sizes, of each shard.
struct Size {
    name: &'static str,
    of: fn(&mut Config) -> &mut u64,
    least_bytes: u64,
}

fn sizes(config: &Config) -> [Size; 3] {
    let message_bytes = config.max_message_bytes;
    let record_bytes = message_bytes + HEADROOM_BYTES;
    [
        Size {
            name: "logBufferBytes",
            of: |config| &mut config.log_buffer_bytes,
            least_bytes: (2 * record_bytes).next_multiple_of(1 << 20),
        },
        Size {
            name: "consumeQueueMemoryBytes",
            of: |config| &mut config.consume_queue_memory_bytes,
            least_bytes: LEAST_QUEUES_BYTES.max(message_bytes.next_multiple_of(1 << 20)),
        },
        Size {
            name: "connectionMemoryBytes",
            of: |config| &mut config.connection_memory_bytes,
            least_bytes: LEAST_CONNECTIONS_BYTES,
        },
    ]
}

/// Makes the sizes fit that were not given. What was done, or what does not fit.
pub fn fit(config: &mut Config, limit_bytes: u64, is_given: impl Fn(&str) -> bool) -> Option<Note> {
    let shards = config.shards() as u64;
    let room_bytes = limit_bytes.saturating_sub(BASE_BYTES) / shards;
    if needed_bytes(config) <= room_bytes {
        return None;
    }
    let (mut given_bytes, mut free_bytes) = (0, 0);
    for size in sizes(config) {
        match is_given(size.name) {
            true => given_bytes += *(size.of)(config),
            false => free_bytes += *(size.of)(config),
        }
    }
    let left_bytes = room_bytes.saturating_sub(given_bytes);
    for size in sizes(config) {
        if !is_given(size.name) {
            let usual = *(size.of)(config);
            let share =
                (u128::from(usual) * u128::from(left_bytes) / u128::from(free_bytes)) as u64;
            // Whole MiB, as a log buffer is of whole blocks.
            *(size.of)(config) = (share >> 20 << 20).max(size.least_bytes).min(usual);
        }
    }
    let what_to_do = match given_bytes {
        _ if needed_bytes(config) <= room_bytes => None,
        0 => Some("raise the limit"),
        _ => Some("raise the limit, or lower what broker.conf sets"),
    };
    Some(note(config, limit_bytes, what_to_do))
}

fn needed_bytes(config: &Config) -> u64 {
    config.log_buffer_bytes + config.consume_queue_memory_bytes + config.connection_memory_bytes
}

fn note(config: &mut Config, limit_bytes: u64, what_to_do: Option<&str>) -> Note {
    let mut shown = Vec::new();
    for size in sizes(config) {
        shown.push(format!("{} {} MiB", size.name, *(size.of)(config) >> 20));
    }
    let (limit, shards, shown) = (limit_bytes >> 20, config.shards(), shown.join(", "));
    let text = format!(
        "the memory limit of this control group is {limit} MiB: on each of {shards} core(s) {shown}"
    );
    let Some(what_to_do) = what_to_do else {
        return Note {
            level: Level::Info,
            text,
        };
    };
    let base = BASE_BYTES >> 20;
    let danger = "may exceed it under load, and the kernel kills a process that does";
    Note {
        level: Level::Warning,
        text: format!("{text}; with {base} MiB for the rest that {danger}: {what_to_do}"),
    }
}

/// The limit of the groups that this file of `/proc` has.
pub fn limit_bytes(groups: &str) -> Option<u64> {
    let groups = fs::read_to_string(groups).ok()?;
    limit(&groups, |path| fs::read_to_string(path).ok())
}

/// The lowest limit of the group and its ancestors, of either version of control groups (cgroups(7)).
fn limit(groups: &str, read: impl Fn(&Path) -> Option<String>) -> Option<u64> {
    let mut lowest = None::<u64>;
    for line in groups.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(group)) = (fields.next(), fields.next()) else {
            continue;
        };
        let (mount, file) = if controllers.is_empty() {
            ("/sys/fs/cgroup", "memory.max")
        } else if controllers.split(',').any(|name| name == "memory") {
            ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
        } else {
            continue;
        };
        for ancestor in Path::new(group.trim_start_matches('/')).ancestors() {
            let path = Path::new(mount).join(ancestor).join(file);
            // "max" is no number.
            let found = read(&path).and_then(|text| text.trim().parse().ok());
            lowest = lowest.into_iter().chain(found).min();
        }
    }
    lowest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_limit_of_all_ancestors_counts() {
        let read = |path: &Path| match path.to_str().unwrap() {
            "/sys/fs/cgroup/a/b/memory.max" => Some("max\n".to_owned()),
            "/sys/fs/cgroup/a/memory.max" => Some("134217728\n".to_owned()),
            "/sys/fs/cgroup/memory.max" => Some("268435456\n".to_owned()),
            "/sys/fs/cgroup/memory/x/memory.limit_in_bytes" => Some("67108864".to_owned()),
            _ => None,
        };
        assert_eq!(limit("0::/a/b\n", read), Some(128 << 20));
        assert_eq!(limit("0::/other\n", read), Some(256 << 20));
        assert_eq!(
            limit("4:cpu:/a\n3:hugetlb,memory:/x\n", read),
            Some(64 << 20)
        );
        assert_eq!(limit("4:cpu:/a\n", read), None);
        assert_eq!(limit("nonsense", read), None);
    }

    #[test]
    fn sizes_that_were_not_given_fit_the_limit() {
        let usual = Config::default();
        assert_eq!(fit(&mut usual.clone(), 4 << 30, |_| false), None);
        let mut config = usual.clone();
        let note = fit(&mut config, 384 << 20, |_| false).unwrap();
        assert_eq!(note.level, Level::Info, "{}", note.text);
        assert!(BASE_BYTES + needed_bytes(&config) <= 384 << 20);
        assert!(
            needed_bytes(&config) > 300 << 20,
            "it is used: {}",
            note.text
        );
        // What was given stays, at the cost of the others.
        let mut config = usual.clone();
        fit(&mut config, 384 << 20, |name| name == "logBufferBytes").unwrap();
        assert_eq!(config.log_buffer_bytes, usual.log_buffer_bytes);
        assert!(config.consume_queue_memory_bytes < 160 << 20);
    }

    #[test]
    fn below_what_a_broker_needs_there_is_a_warning() {
        let mut config = Config::default();
        let note = fit(&mut config, 128 << 20, |_| false).unwrap();
        assert_eq!(note.level, Level::Warning);
        assert!(note.text.contains("is 128 MiB"), "{}", note.text);
        assert!(config.log_buffer_bytes >= 2 * (config.max_message_bytes + HEADROOM_BYTES));
        assert!(config.log_buffer_bytes < 16 << 20);
        let mut config = Config::default();
        let note = fit(&mut config, 128 << 20, |_| true).unwrap();
        assert_eq!(note.level, Level::Warning);
        assert_eq!(config, Config::default());
    }
}
