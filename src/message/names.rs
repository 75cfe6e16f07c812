//! Which names topics and groups may have, and the names made from them (RocketMQ: `TopicValidator`, `MixAll`).

pub const RETRY_PREFIX: &str = "%RETRY%";
pub const DLQ_PREFIX: &str = "%DLQ%";
pub const SYSTEM_PREFIX: &str = "rmq_sys_";

const MAX_TOPIC_CHARS: usize = 127;
const MAX_RETRY_TOPIC_CHARS: usize = 255;
/// So that `%RETRY%group` stays a short topic.
const MAX_GROUP_CHARS: usize = 120;

/// Why a topic name is refused, in RocketMQ's words.
pub fn check_topic(topic: &str) -> Result<(), String> {
    check_chars("topic", topic)?;
    let is_derived = is_retry_or_dlq(topic);
    if is_derived && topic.len() > MAX_RETRY_TOPIC_CHARS {
        return Err(format!(
            "The specified topic is DLQ or Retry topic: {topic}, and it's longer than topic max length: {MAX_RETRY_TOPIC_CHARS}"
        ));
    }
    if !is_derived && topic.len() > MAX_TOPIC_CHARS {
        return Err(format!(
            "The specified topic: {topic}, is longer than topic max length: {MAX_TOPIC_CHARS}"
        ));
    }
    Ok(())
}

/// Why a group name is refused, in RocketMQ's words.
pub fn check_group(group: &str) -> Result<(), String> {
    check_chars("group", group)?;
    if group.len() > MAX_GROUP_CHARS {
        return Err(format!(
            "The specified group: {group}, is longer than group max length: {MAX_GROUP_CHARS}"
        ));
    }
    Ok(())
}

pub fn retry_topic(group: &str) -> String {
    format!("{RETRY_PREFIX}{group}")
}

pub fn dlq_topic(group: &str) -> String {
    format!("{DLQ_PREFIX}{group}")
}

/// Whether it is a group's own topic, in which messages come back or end.
pub fn is_retry_or_dlq(topic: &str) -> bool {
    topic.starts_with(RETRY_PREFIX) || topic.starts_with(DLQ_PREFIX)
}

/// The group a retry topic belongs to.
pub fn retry_group(topic: &str) -> Option<&str> {
    topic.strip_prefix(RETRY_PREFIX)
}

fn check_chars(what: &str, name: &str) -> Result<(), String> {
    if name.trim().is_empty() {
        return Err(format!("The specified {what} is blank."));
    }
    let is_legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '%' | '|' | '_' | '-');
    match name.chars().find(|c| !is_legal(*c)) {
        None => Ok(()),
        Some(illegal) => Err(format!(
            "The specified {what}: {name}, contains illegal characters, allowing only ^[%|a-zA-Z0-9_-]+$ (got {illegal:?})"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn legal_names() {
        for topic in ["a", "T-1_x|y%", &"t".repeat(127)] {
            assert_eq!(check_topic(topic), Ok(()));
        }
        assert_eq!(check_topic(&retry_topic(&"g".repeat(248))), Ok(()));
        assert_eq!(check_group(&"g".repeat(120)), Ok(()));
    }

    #[test]
    fn illegal_names_say_why() {
        for (topic, why) in [
            ("", "blank"),
            (" \t", "blank"),
            ("a b", "' '"),
            ("a.b", "'.'"),
            ("../x", "'.'"),
            ("t\u{fc}", "'\u{fc}'"),
            (&"t".repeat(128), "127"),
            (&retry_topic(&"g".repeat(249)), "255"),
        ] {
            let remark = check_topic(topic).unwrap_err();
            assert!(remark.contains(why), "{remark}");
        }
        assert!(check_group(&"g".repeat(121)).unwrap_err().contains("120"));
        assert!(check_group("a/b").is_err());
    }

    #[test]
    fn derived_names() {
        assert_eq!(retry_group(&retry_topic("g")), Some("g"));
        assert_eq!(retry_group(&dlq_topic("g")), None);
    }
}
