//! A load that could stall the core, and a bystander that shows whether it does; `scale.sh` runs it:
//!
//! ```text
//! scale CASE BROKER NAMESRV     ->  a row of the table
//! scale bystander BROKER        (a process of its own, started by the first)
//! scale load CASE BROKER NAMESRV  (another one, niced)
//! ```
//! The bystander sends a message every 2 ms for the whole run. Its latencies are reported twice: without the load, and from the
//! load's beginning to its end. The load prepares its topics and clients before the first of the two.

mod bystander;
#[path = "../caller.rs"]
mod caller;
mod cases;
mod connection;
mod dashboard;
mod fleet;
#[path = "../message.rs"]
mod message;
mod names;
mod removable;
mod settings;
mod stalls;
mod strangers;

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitCode, Stdio};
use std::thread;

use caller::Result;
use cases::Case;
use settings::Settings;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("scale: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["bystander", broker] => bystander::run(broker.parse()?),
        ["load", case, broker, namesrv] => load(case.parse()?, broker.parse()?, namesrv.parse()?),
        [case, broker, namesrv] => measure(case.parse()?, broker, namesrv),
        _ => Err("CASE BROKER NAMESRV".into()),
    }
}

/// The load's process: prepares, prints a line when it is ready, waits for a line, and then applies the load.
fn load(case: Case, broker: SocketAddr, namesrv: SocketAddr) -> Result<()> {
    let prepared = case.prepare(broker, namesrv, &Settings::from_env()?)?;
    println!("prepared");
    std::io::stdin().read_line(&mut String::new())?;
    println!("{}", prepared.run()?);
    Ok(())
}

fn measure(case: Case, broker: &str, namesrv: &str) -> Result<()> {
    let quiet = Settings::from_env()?.quiet;
    let exe = std::env::current_exe()?;
    let mut load = Command::new("nice");
    load.args(["-n", "19"]).arg(&exe);
    let mut load = Partner::start(load.args(["load", case.name(), broker, namesrv]))?;
    load.expect("prepared")?;
    let mut bystander = Partner::start(Command::new(&exe).args(["bystander", broker]))?;
    bystander.expect("sending")?;
    thread::sleep(quiet);
    let without = bystander.ask("report")?;
    let before = stalls::of(broker.parse()?)?;
    let done = load.ask("go")?;
    let with = bystander.ask("report")?;
    let after = stalls::of(broker.parse()?)?;
    println!(
        "{:<10}{without}{with}{:>36}  {done}",
        case.name(),
        stalls::difference(before, after)
    );
    Ok(())
}

/// A process of this program that answers lines with lines. Killed when dropped.
struct Partner {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Partner {
    fn start(command: &mut Command) -> Result<Partner> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let stdin = child.stdin.take().ok_or("no stdin")?;
        let stdout = child.stdout.take().ok_or("no stdout")?;
        Ok(Partner {
            child,
            stdin,
            stdout: BufReader::new(stdout),
        })
    }

    fn ask(&mut self, line: &str) -> Result<String> {
        writeln!(self.stdin, "{line}")?;
        self.line()
    }

    fn expect(&mut self, expected: &str) -> Result<()> {
        let line = self.line()?;
        match line == expected {
            true => Ok(()),
            false => Err(format!("{line:?} in place of {expected:?}").into()),
        }
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        if self.stdout.read_line(&mut line)? == 0 {
            return Err("a process of the run has ended; its error is above".into());
        }
        Ok(line.trim_end_matches('\n').to_owned())
    }
}

impl Drop for Partner {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
