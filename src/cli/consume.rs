//! `ringmq consume`

use std::fs;
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use indicatif::{ProgressBar, ProgressStyle};

use super::args::ConsumeArgs;
use super::values::From;
use super::{explained, json_lines, signals};
use crate::client::{
    Client, ClientConfig, ClientError, ConsumeFrom, MessageModel, PullConfig, PushConfig, Received,
    Subscription, Verdict,
};

enum Event {
    Consumed,
    /// The last message of the requested number.
    Enough,
    /// What is printed cannot be written.
    Unwritable(io::Error),
    Signal,
}

pub fn run(args: ConsumeArgs) -> Result<()> {
    let (to_main, events) = channel();
    let at_signal = to_main.clone();
    signals::on_stop(move |_| {
        // There is no receiver any more if the consumer is stopping.
        let _ = at_signal.send(Event::Signal);
    })?;
    let client = Client::start(ClientConfig {
        instance_name: args.instance.clone(),
        credentials: args.cluster.credentials.credentials()?,
        tls: args.cluster.tls.connector()?,
        ..ClientConfig::new(args.cluster.namesrv.0.join(";"))
    })?;
    let scratch = scratch_dir(&args);
    let printer = Printer::new(&args, to_main);
    let bar = printer.bar.clone();
    let consumer = client
        .push_consumer(push_config(&args, scratch.as_ref()), move |messages| {
            printer.consume(messages)
        })
        .wait()
        .map_err(explained)?;
    if !topic_exists(&client, &args)? {
        eprintln!("ringmq: topic {} does not exist yet; waiting", args.topic);
    }
    let ended = until_end(&events, args.idle);
    bar.finish_and_clear();
    consumer.shutdown().wait()?;
    client.shutdown().wait()?;
    if let Some(dir) = scratch {
        // It was of use to this run only.
        let _ = fs::remove_dir_all(dir);
    }
    ended
}

fn topic_exists(client: &Client, args: &ConsumeArgs) -> Result<bool> {
    let config = PullConfig::new(&args.group, Subscription::all(&args.topic));
    match client.pull_consumer(config)?.queues().wait() {
        Ok(_) => Ok(true),
        Err(ClientError::NoQueue { .. }) => Ok(false),
        Err(error) => Err(explained(error)),
    }
}

fn until_end(events: &Receiver<Event>, idle: Option<Duration>) -> Result<()> {
    loop {
        let event = match idle {
            Some(idle) => events.recv_timeout(idle),
            None => events.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        match event {
            Ok(Event::Consumed) => {}
            Ok(Event::Enough | Event::Signal) | Err(RecvTimeoutError::Timeout) => return Ok(()),
            // As `| head` does it.
            Ok(Event::Unwritable(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
                return Ok(());
            }
            Ok(Event::Unwritable(error)) => return Err(error).context("cannot write to stdout"),
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
        }
    }
}

/// The listener. A message that could not be printed is not consumed.
struct Printer {
    json: bool,
    wanted: u64,
    printed: AtomicU64,
    /// Held while printing, so that lines of several threads do not mix.
    output: Mutex<()>,
    to_main: Sender<Event>,
    bar: ProgressBar,
}

impl Printer {
    fn new(args: &ConsumeArgs, to_main: Sender<Event>) -> Self {
        Self {
            json: args.json,
            wanted: args.count.unwrap_or(u64::MAX),
            printed: AtomicU64::new(0),
            output: Mutex::new(()),
            to_main,
            bar: bar(args),
        }
    }

    fn consume(&self, messages: &[Arc<Received>]) -> Verdict {
        let _output = self.output.lock().unwrap_or_else(PoisonError::into_inner);
        for message in messages {
            if self.printed.load(Ordering::Relaxed) >= self.wanted {
                return Verdict::Leave;
            }
            if let Err(error) = self.print(message) {
                self.tell(Event::Unwritable(error));
                return Verdict::Leave;
            }
            self.bar.inc(1);
            let printed = self.printed.fetch_add(1, Ordering::Relaxed) + 1;
            self.tell(match printed == self.wanted {
                true => Event::Enough,
                false => Event::Consumed,
            });
        }
        Verdict::Consumed
    }

    fn print(&self, message: &Received) -> io::Result<()> {
        let mut out = io::stdout().lock();
        if self.json {
            writeln!(out, "{}", json_lines::received(message))?;
        } else {
            out.write_all(&message.body)?;
            out.write_all(b"\n")?;
        }
        out.flush()
    }

    fn tell(&self, event: Event) {
        // There is no receiver any more if the consumer is stopping.
        let _ = self.to_main.send(event);
    }
}

fn push_config(args: &ConsumeArgs, scratch: Option<&PathBuf>) -> PushConfig {
    let subscription = match (&args.sql, &args.tag) {
        (Some(expression), _) => Subscription::sql(&args.topic, expression),
        (None, Some(tags)) => Subscription::tags(&args.topic, tags),
        (None, None) => Subscription::all(&args.topic),
    };
    let config = PushConfig::new(&args.group, vec![subscription]);
    PushConfig {
        model: match args.broadcast {
            true => MessageModel::Broadcasting,
            false => MessageModel::Clustering,
        },
        orderly: args.orderly,
        from: match args.from {
            From::First => ConsumeFrom::First,
            From::Last => ConsumeFrom::Last,
            From::Time(time) => ConsumeFrom::Time(time),
        },
        // Lines are printed one at a time anyway.
        consume_threads: 1,
        offsets_dir: scratch.unwrap_or(&config.offsets_dir).clone(),
        ..config
    }
}

/// A broadcast consumer without a name cannot find its offsets again.
fn scratch_dir(args: &ConsumeArgs) -> Option<PathBuf> {
    let name = format!("ringmq-consume-{}", std::process::id());
    (args.broadcast && args.instance.is_none()).then(|| std::env::temp_dir().join(name))
}

/// On stderr, if that is a terminal and stdout is not: messages on the terminal are progress enough.
fn bar(args: &ConsumeArgs) -> ProgressBar {
    if io::stdout().is_terminal() {
        return ProgressBar::hidden();
    }
    let (bar, template) = match args.count {
        Some(count) => (
            ProgressBar::new(count),
            "{bar:32} {pos}/{len}  {per_sec:1}  {eta} left",
        ),
        None => (
            ProgressBar::new_spinner(),
            "{spinner} {pos} consumed, {per_sec:1}",
        ),
    };
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}
