//! The settings of a running broker, from the command line and the environment of its process.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use clap::Parser;

use crate::cli::{Cli, Command, mq};
use crate::config::{Config, Surroundings};

/// As broker.conf would have them all; `None`: it is no ringmq, or may not be looked at.
pub fn settings(pid: u32) -> Option<String> {
    let strings = |name: &str| {
        let bytes = std::fs::read(format!("/proc/{pid}/{name}")).ok()?;
        let strings = bytes.split(|byte| *byte == 0).map(<[u8]>::to_vec);
        let strings = strings.map(OsString::from_vec);
        let strings = strings.filter(|string| !string.is_empty());
        Some(strings.collect::<Vec<_>>())
    };
    let environment = strings("environ").unwrap_or_default();
    let variable = |name: &str| {
        let pairs = environment.iter().map(|pair| pair.as_bytes());
        let mut values =
            pairs.filter_map(|pair| pair.strip_prefix(name.as_bytes())?.strip_prefix(b"="));
        let value = values.next().filter(|value| !value.is_empty())?;
        Some(OsString::from_vec(value.to_vec()))
    };
    let words = mq::words(strings("cmdline")?, |name| {
        variable(name)?.into_string().ok()
    })
    .ok()?;
    let cli = Cli::try_parse_from(words).ok()?;
    let Command::Broker(mut args) = cli.command else {
        return None;
    };
    let dir = std::fs::read_link(format!("/proc/{pid}/cwd")).ok()?;
    args.config = args.config.map(|file| dir.join(file));
    let surroundings = Surroundings::of(&pid.to_string(), variable);
    let (mut config, _) = Config::load(&args.into(), &surroundings).ok()?;
    config.store_dir = dir.join(config.store_dir);
    config.commit_log_dir = config.commit_log_dir.map(|log| dir.join(log));
    Some(config.properties_text())
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command, Stdio};

    use super::*;

    /// A process that has the words of a broker, and waits for its stdin: `-c FILE` of a broker is a command to a shell.
    fn waiting(dir: &std::path::Path, more: &[&str]) -> Child {
        use std::os::unix::process::CommandExt;
        let mut command = Command::new("/bin/sh");
        command
            .arg0("mqbroker")
            .args(["-c", "read line"])
            .args(more);
        command.current_dir(dir).stdin(Stdio::piped());
        command.env("HOME", "/home/of-it").env("RINGMQ_CORES", "1");
        command.spawn().unwrap()
    }

    fn settings_of(mut process: Child) -> String {
        // It is a copy of this process until it has become the other one.
        let tries = std::iter::repeat_with(|| {
            std::thread::sleep(std::time::Duration::from_millis(10));
            settings(process.id())
        });
        let text = tries.take(500).flatten().next();
        process.kill().unwrap();
        process.wait().unwrap();
        text.unwrap()
    }

    #[test]
    fn a_running_brokers_surroundings_are_its_own() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("read line"), "brokerName=of-file\n").unwrap();
        let text = settings_of(waiting(dir.path(), &[]));
        assert!(text.contains("brokerName=of-file\n"), "{text}");
        assert!(
            text.contains("storePathRootDir=/home/of-it/store\n"),
            "{text}"
        );
        let cores = text.lines().find_map(|line| line.strip_prefix("cores="));
        assert!(cores.unwrap().parse::<usize>().is_ok(), "one: {cores:?}");
        let text = settings_of(waiting(dir.path(), &["--store", "mine"]));
        let store = dir.path().canonicalize().unwrap().join("mine");
        let expected = format!("storePathRootDir={}\n", store.display());
        assert!(text.contains(&expected), "{text}");
    }
}
