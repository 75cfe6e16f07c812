//! RocketMQ's names of the commands. A link `mqbroker` to the binary is `ringmq broker`, and says at the end of its start what scripts of
//! RocketMQ wait for. In an image for containers (`ringmq image`) `sh` and the entry point are links as well.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use super::shell;

/// The name of the link, the subcommand that it stands for, and a flag for RocketMQ's last line of a start.
const NAMES: [(&str, &str, Option<&str>); 4] = [
    ("mqbroker", "broker", Some(BOOT_LINE)),
    ("mqnamesrv", "namesrv", Some(BOOT_LINE)),
    ("mqcontroller", "controller", None),
    ("mqshutdown", "shutdown", None),
];

const BOOT_LINE: &str = "--boot-line";

/// RocketMQ's image calls its roles so.
const ROLES: [(&str, &str); 3] = [
    ("broker", "mqbroker"),
    ("nameserver", "mqnamesrv"),
    ("controller", "mqcontroller"),
];

/// What RocketMQ has and this binary has not, with what to do.
const ABSENT: [(&str, &str); 2] = [
    (
        "mqproxy",
        "there is no proxy for gRPC here; clients of the remoting protocol need none",
    ),
    (
        "mqadmin",
        "it is not part of this; RocketMQ's own works with it, `mqadmin ... -n HOST:9876`",
    ),
];

/// Shells and entry points around a command. A variable may name the command that it is in, without an end.
const MOST_LAYERS: usize = 16;

/// The entry point of an image, as RocketMQ's image has it.
pub const ENTRY_POINT: &str = "docker-entrypoint.sh";

/// The link in place of a shell.
pub const SHELL: &str = "sh";

/// All links that an image has beside the entry point and the shell.
pub fn links() -> impl Iterator<Item = &'static str> {
    let present = NAMES.iter().map(|(name, ..)| *name);
    present.chain(ABSENT.iter().map(|(name, _)| *name))
}

/// The words of the command line, with the link's name replaced by what it stands for; `variable` gives a variable of the environment.
///
/// # Errors
/// A sentence, if a link stands for nothing that the binary does.
pub fn words(
    words: impl IntoIterator<Item = OsString>,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<Vec<OsString>, String> {
    let mut words: Vec<OsString> = words.into_iter().collect();
    let mut layers = 0;
    while let [first, rest @ ..] = &words[..] {
        layers += 1;
        let name = name_of(first);
        if name == Some(OsStr::new(SHELL)) {
            words = shell::command(rest, &variable)?;
            check_is_here(&words)?;
        } else if name == Some(OsStr::new(ENTRY_POINT)) {
            words = entered(rest, &variable);
        } else {
            break;
        }
        if layers == MOST_LAYERS {
            return Err(format!(
                "sh: more than {MOST_LAYERS} commands within each other"
            ));
        }
    }
    let name = words.first().and_then(|first| name_of(first));
    if let Some((name, why)) = ABSENT
        .iter()
        .find(|(link, _)| name == Some(OsStr::new(link)))
    {
        return Err(format!("{name}: {why}"));
    }
    let stands_for = NAMES
        .iter()
        .find(|(link, ..)| name == Some(OsStr::new(link)));
    if let Some((_, command, flag)) = stands_for {
        let instead = ["ringmq", command].into_iter().chain(*flag);
        words.splice(..1, instead.map(OsString::from));
    }
    Ok(words)
}

fn name_of(word: &OsStr) -> Option<&OsStr> {
    Path::new(word).file_name()
}

fn is_here(word: &OsStr) -> bool {
    let name = name_of(word);
    links()
        .chain(["ringmq", SHELL])
        .any(|link| name == Some(OsStr::new(link)))
}

fn check_is_here(words: &[OsString]) -> Result<(), String> {
    match words.first() {
        Some(first) if is_here(first) => Ok(()),
        Some(first) => Err(format!("sh: {}: not here, only ringmq", first.display())),
        None => Err("sh: no command".into()),
    }
}

/// A role by its name or by the environment, a command, or else the words of a subcommand.
fn entered(words: &[OsString], variable: impl Fn(&str) -> Option<String>) -> Vec<OsString> {
    let by_environment = variable("NODE_ROLE");
    let role = ROLES.iter().find(|(role, _)| {
        words.first().is_some_and(|first| first == role) || by_environment.as_deref() == Some(role)
    });
    match (role, words) {
        (Some((_, command)), words) => {
            let rest = words.iter().skip(1).cloned();
            std::iter::once(command.into()).chain(rest).collect()
        }
        (None, [first, ..]) if is_here(first) => words.to_vec(),
        (None, words) => {
            let ringmq = std::iter::once("ringmq".into());
            ringmq.chain(words.iter().cloned()).collect()
        }
    }
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

    fn of_role(line: &str, role: Option<&str>) -> Result<String, String> {
        let line = line.split(' ').map(OsString::from);
        let variable = |name: &str| role.filter(|_| name == "NODE_ROLE").map(String::from);
        let words = words(line, variable)?;
        let texts = words.into_iter().map(|word| word.into_string().unwrap());
        Ok(texts.collect::<Vec<_>>().join(" "))
    }

    fn of(line: &str) -> String {
        of_role(line, None).unwrap()
    }

    #[test]
    fn a_link_stands_for_a_subcommand() {
        let expected = "ringmq broker --boot-line -c x.conf";
        assert_eq!(of("/usr/bin/mqbroker -c x.conf"), expected);
        assert_eq!(of("mqnamesrv"), "ringmq namesrv --boot-line");
        assert_eq!(of("mqshutdown broker"), "ringmq shutdown broker");
        for line in ["target/release/ringmq broker -p", "my-mqbroker x", ""] {
            assert_eq!(of(line), line);
        }
    }

    #[test]
    fn a_command_that_names_itself_ends() {
        let words = ["sh", "-c", "$X"].map(OsString::from);
        let variable = |name: &str| (name == "X").then(|| "sh -c $X".to_owned());
        let refused = super::words(words, variable).unwrap_err();
        assert!(refused.contains("within each other"), "{refused}");
        let deep = "sh ".repeat(MOST_LAYERS - 1) + "mqbroker";
        assert_eq!(of(&deep), "ringmq broker --boot-line");
    }

    #[test]
    fn an_image_runs_what_rocketmqs_image_runs() {
        const ENTRY: &str = "./docker-entrypoint.sh";
        let broker = "ringmq broker --boot-line -c x";
        for words in ["broker -c x", "sh mqbroker -c x", "./mqbroker -c x"] {
            assert_eq!(of(&format!("{ENTRY} {words}")), broker);
        }
        assert_eq!(of("/bin/sh ./mqbroker -c x"), broker);
        let by_environment = of_role(&format!("{ENTRY} dummy -c x"), Some("broker"));
        assert_eq!(by_environment.as_deref(), Ok(broker));
        let namesrv = of(&format!("{ENTRY} nameserver"));
        assert_eq!(namesrv, "ringmq namesrv --boot-line");
        assert_eq!(of(&format!("{ENTRY} send -h")), "ringmq send -h");
        assert_eq!(of(&format!("{ENTRY} ringmq send -h")), "ringmq send -h");
        for words in ["sh ls", "sh mqproxy -pc x", "mqadmin", "sh"] {
            assert!(
                of_role(&format!("{ENTRY} {words}"), None).is_err(),
                "{words}"
            );
        }
    }
}
