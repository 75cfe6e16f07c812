//! RocketMQ's names of the commands. A link `mqbroker` to the binary is `ringmq broker`, and says at the end of its start what scripts of
//! RocketMQ wait for.

use std::ffi::{OsStr, OsString};
use std::path::Path;

/// The name of the link, the subcommand that it stands for, and a flag for RocketMQ's last line of a start.
const NAMES: [(&str, &str, Option<&str>); 4] = [
    ("mqbroker", "broker", Some(BOOT_LINE)),
    ("mqnamesrv", "namesrv", Some(BOOT_LINE)),
    ("mqcontroller", "controller", None),
    ("mqshutdown", "shutdown", None),
];

const BOOT_LINE: &str = "--boot-line";

/// The words of the command line, with the link's name replaced by what it stands for.
pub fn words(words: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut words: Vec<OsString> = words.into_iter().collect();
    let name = words.first().map(Path::new).and_then(Path::file_name);
    let Some((_, command, flag)) = NAMES
        .iter()
        .find(|(link, ..)| name == Some(OsStr::new(link)))
    else {
        return words;
    };
    let instead = ["ringmq", command].into_iter().chain(*flag);
    words.splice(..1, instead.map(OsString::from));
    words
}

/// What RocketMQ's broker prints when it serves.
pub fn broker_line(broker: &str, addr: &str, namesrv: &str) -> String {
    format!(
        "The broker[{broker}, {addr}] boot success. serializeType=JSON and name server is {namesrv}"
    )
}

/// What RocketMQ's name server prints when it serves.
pub fn namesrv_line(addr: &str) -> String {
    format!("The Name Server boot success. serializeType=JSON, address {addr}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(line: &str) -> Vec<String> {
        let words = words(line.split(' ').map(OsString::from));
        words
            .into_iter()
            .map(|word| word.into_string().unwrap())
            .collect()
    }

    #[test]
    fn a_link_stands_for_a_subcommand() {
        let expected = ["ringmq", "broker", "--boot-line", "-c", "x.conf"];
        assert_eq!(of("/usr/bin/mqbroker -c x.conf"), expected);
        assert_eq!(of("mqnamesrv"), ["ringmq", "namesrv", "--boot-line"]);
        assert_eq!(of("mqshutdown broker"), ["ringmq", "shutdown", "broker"]);
        for line in ["target/release/ringmq broker -p", "my-mqbroker x", ""] {
            assert_eq!(of(line).join(" "), line);
        }
    }
}
