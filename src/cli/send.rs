//! `ringmq send`

use std::fs::File;
use std::io::{self, BufRead, BufReader, IsTerminal, Read, Write};
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};

use super::args::SendArgs;
use super::json_lines::{self, Line, decorated, delayed};
use crate::client::{
    Client, ClientConfig, ClientError, Message, Producer, ProducerConfig, SendResult,
};

const STDIN: &str = "-";

pub fn run(args: SendArgs) -> Result<()> {
    let client = Client::start(ClientConfig::new(args.cluster.namesrv.0.join(";")))?;
    let producer = client.producer(ProducerConfig {
        send_timeout: args.timeout,
        ..ProducerConfig::new(&args.group)
    })?;
    let mut sending = Sending::new(producer, &args);
    let ended = match &args.json_lines {
        Some(path) => sending.lines(path),
        None => sending.one(),
    };
    let ended = ended.and_then(|()| sending.drain());
    let summary = sending.summary();
    client.shutdown().wait()?;
    ended?;
    summary
}

/// Sends under way and their ends.
struct Sending<'a> {
    args: &'a SendArgs,
    producer: Producer,
    to_ends: Sender<Result<SendResult, ClientError>>,
    ends: Receiver<Result<SendResult, ClientError>>,
    in_flight: u32,
    begun: u64,
    sent: u64,
    failed: u64,
    first_failure: Option<ClientError>,
    started: Instant,
    bar: ProgressBar,
}

impl<'a> Sending<'a> {
    fn new(producer: Producer, args: &'a SendArgs) -> Self {
        let (to_ends, ends) = channel();
        Self {
            args,
            producer,
            to_ends,
            ends,
            in_flight: 0,
            begun: 0,
            sent: 0,
            failed: 0,
            first_failure: None,
            started: Instant::now(),
            bar: bar(args),
        }
    }

    fn one(&mut self) -> Result<()> {
        let body = match self.args.body.as_deref() {
            None | Some(STDIN) => from_stdin()?,
            Some(text) => text.as_bytes().to_vec(),
        };
        let topic = self.args.topic.as_deref().unwrap_or_default();
        let message = self.with_flags(Message::new(topic, body))?;
        for _ in 0..self.args.count {
            self.send(message.clone(), self.args.order_by.clone())?;
        }
        Ok(())
    }

    fn lines(&mut self, path: &Path) -> Result<()> {
        let input: Box<dyn BufRead> = match path.to_str() {
            Some(STDIN) => Box::new(io::stdin().lock()),
            _ => Box::new(BufReader::new(
                File::open(path).with_context(|| format!("cannot read {}", path.display()))?,
            )),
        };
        for (line, number) in input.lines().zip(1..) {
            let line = line.with_context(|| format!("cannot read {}", path.display()))?;
            if !line.trim().is_empty() {
                self.line(&line)
                    .with_context(|| format!("line {number} of {}", path.display()))?;
            }
        }
        Ok(())
    }

    fn line(&mut self, text: &str) -> Result<()> {
        let line = Line::parse(text)?;
        let Some(topic) = self.args.topic.clone().or_else(|| line.topic.clone()) else {
            bail!("it has no topic, and there is no --topic");
        };
        let order_by = line.order_by.clone().or_else(|| self.args.order_by.clone());
        let message = self.with_flags(line.message(topic)?)?;
        self.send(message, order_by)
    }

    fn with_flags(&self, message: Message) -> Result<Message> {
        let has_delay = ["DELAY", "TIMER_DELAY_MS"]
            .iter()
            .any(|name| message.find(name).is_some());
        let message = match self.args.delay {
            Some(delay) if !has_delay => delayed(message, delay),
            _ => message,
        };
        let properties = self.args.properties.iter();
        decorated(
            message,
            self.args.tag.as_deref(),
            &self.args.keys,
            properties.map(|(name, value)| (name, value)),
        )
    }

    fn send(&mut self, message: Message, order_by: Option<String>) -> Result<()> {
        self.keep_pace();
        self.begun += 1;
        if self.args.oneway {
            match self.producer.send_one_way(message).wait() {
                Ok(()) => self.count_sent(),
                Err(error) => self.failed(error),
            }
            return Ok(());
        }
        if let Some(key) = order_by {
            // The next only when this one is there, or their order would be left to chance.
            self.drain()?;
            let end = self.producer.send_ordered(message, key).wait();
            return self.ended(end);
        }
        let to_ends = self.to_ends.clone();
        self.producer.send_then(message, move |end| {
            // The receiver lives as long as anything is in flight.
            let _ = to_ends.send(end);
        });
        self.in_flight += 1;
        while let Ok(end) = self.ends.try_recv() {
            self.in_flight -= 1;
            self.ended(end)?;
        }
        while self.in_flight >= self.args.in_flight {
            self.wait_for_one()?;
        }
        Ok(())
    }

    fn drain(&mut self) -> Result<()> {
        while self.in_flight > 0 {
            self.wait_for_one()?;
        }
        Ok(())
    }

    fn wait_for_one(&mut self) -> Result<()> {
        let end = self.ends.recv()?;
        self.in_flight -= 1;
        self.ended(end)
    }

    fn ended(&mut self, end: Result<SendResult, ClientError>) -> Result<()> {
        match end {
            Ok(sent) => {
                self.count_sent();
                self.show(&sent)
            }
            Err(error) => {
                self.failed(error);
                Ok(())
            }
        }
    }

    fn show(&self, sent: &SendResult) -> Result<()> {
        let text = if self.args.json {
            json_lines::sent(sent)
        } else if self.args.count == 1 && self.args.json_lines.is_none() {
            format!(
                "{} is at offset {} of queue {} of {}",
                sent.message_id, sent.queue_offset, sent.queue.queue_id, sent.queue.broker_name
            )
        } else {
            return Ok(());
        };
        writeln!(io::stdout(), "{text}").context("cannot write to stdout")
    }

    fn count_sent(&mut self) {
        self.sent += 1;
        self.bar.inc(1);
    }

    fn failed(&mut self, error: ClientError) {
        self.failed += 1;
        self.first_failure.get_or_insert(error);
    }

    fn keep_pace(&self) {
        if let Some(rate) = self.args.rate {
            let due = Duration::from_secs_f64(self.begun as f64 / f64::from(rate));
            thread::sleep(due.saturating_sub(self.started.elapsed()));
        }
    }

    fn summary(self) -> Result<()> {
        self.bar.finish_and_clear();
        let seconds = self.started.elapsed().as_secs_f64();
        if self.begun > 1 {
            let rate = self.sent as f64 / seconds.max(1e-3);
            eprintln!("{} sent in {seconds:.1} s, {rate:.0} a second", self.sent);
        }
        match self.first_failure {
            None => Ok(()),
            Some(error) if self.begun == 1 => Err(error.into()),
            Some(error) => bail!(
                "{} of {} were not sent, first: {error}",
                self.failed,
                self.begun
            ),
        }
    }
}

fn from_stdin() -> Result<Vec<u8>> {
    if io::stdin().is_terminal() {
        bail!("no BODY: give one, or pipe it into stdin");
    }
    let mut body = Vec::new();
    io::stdin()
        .read_to_end(&mut body)
        .context("cannot read stdin")?;
    Ok(body)
}

/// On stderr, if that is a terminal and there is something to wait for.
fn bar(args: &SendArgs) -> ProgressBar {
    if args.json_lines.is_some() {
        let style = ProgressStyle::with_template("{spinner} {pos} sent, {per_sec}");
        let bar = ProgressBar::new_spinner();
        return bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
    }
    if args.count == 1 {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:32} {pos}/{len}  {per_sec}  {eta} left");
    ProgressBar::new(args.count).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}
