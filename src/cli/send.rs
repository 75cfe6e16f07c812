//! `ringmq send`

use std::fs::File;
use std::io::{self, BufRead, BufReader, IsTerminal, Read, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Error, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};

use super::args::SendArgs;
use super::json_lines::{self, Line, decorated, delayed};
use super::{explained, signals};
use crate::client::{
    Client, ClientConfig, ClientError, Message, Producer, ProducerConfig, SendResult,
};

const STDIN: &str = "-";

pub fn run(args: SendArgs) -> Result<ExitCode> {
    let client = Client::start(ClientConfig {
        credentials: args.cluster.credentials.credentials()?,
        tls: args.cluster.tls.connector()?,
        ..ClientConfig::new(args.cluster.namesrv.0.join(";"))
    })?;
    let producer = client.producer(ProducerConfig {
        send_timeout: args.timeout,
        awaits_route: true,
        ..ProducerConfig::new(&args.group)
    })?;
    let mut sending = Sending::new(producer, &args);
    sending.watch_signals()?;
    let ended = match &args.json_lines {
        Some(path) => sending.lines(path),
        None => sending.one(),
    };
    // Whatever went wrong, what is in flight is sent, and is reported.
    sending.drain();
    let stopped = sending.stopped;
    let ended = ended.and(sending.summary());
    client.shutdown().wait()?;
    ended?;
    Ok(stopped.map_or(ExitCode::SUCCESS, |signal| {
        ExitCode::from(signals::exit_code(signal))
    }))
}

enum Event {
    /// A line of the input.
    Line(io::Result<String>),
    InputEnd,
    /// The end of a send.
    Ended(Result<SendResult, ClientError>),
    /// A signal that stops the process.
    Stop(i32),
}

/// Sends in flight and their ends.
struct Sending<'a> {
    args: &'a SendArgs,
    producer: Producer,
    to_main: Sender<Event>,
    events: Receiver<Event>,
    /// Lines that were read and not sent yet, and the end of the input.
    input: Vec<Option<io::Result<String>>>,
    in_flight: u32,
    begun: u64,
    sent: u64,
    failed: u64,
    first_failure: Option<ClientError>,
    unwritable: Option<io::Error>,
    stopped: Option<i32>,
    started: Instant,
    bar: ProgressBar,
}

impl<'a> Sending<'a> {
    fn new(producer: Producer, args: &'a SendArgs) -> Self {
        let (to_main, events) = channel();
        Self {
            args,
            producer,
            to_main,
            events,
            input: Vec::new(),
            in_flight: 0,
            begun: 0,
            sent: 0,
            failed: 0,
            first_failure: None,
            unwritable: None,
            stopped: None,
            started: Instant::now(),
            bar: bar(args),
        }
    }

    /// The first signal ends the sending, a second one the process.
    fn watch_signals(&self) -> Result<()> {
        let to_main = self.to_main.clone();
        let mut is_second = false;
        signals::on_stop(move |signal| {
            if std::mem::replace(&mut is_second, true) || to_main.send(Event::Stop(signal)).is_err()
            {
                std::process::exit(signals::exit_code(signal).into());
            }
        })
    }

    fn one(&mut self) -> Result<()> {
        let body = match self.args.body.as_deref() {
            None | Some(STDIN) => match self.stdin()? {
                Some(body) => body,
                None => return Ok(()),
            },
            Some(text) => text.as_bytes().to_vec(),
        };
        let topic = self.args.topic.as_deref().unwrap_or_default();
        let message = self.with_flags(Message::new(topic, body))?;
        for _ in 0..self.args.count {
            if self.has_ended() {
                break;
            }
            self.send(message.clone(), self.args.order_by.clone());
        }
        Ok(())
    }

    /// All of stdin; `None` if a signal came first.
    fn stdin(&mut self) -> Result<Option<Vec<u8>>> {
        if io::stdin().is_terminal() {
            bail!("no BODY: give one, or pipe it into stdin");
        }
        let to_main = self.to_main.clone();
        let reader = thread::spawn(move || {
            let mut body = Vec::new();
            let read = io::stdin().read_to_end(&mut body);
            let _ = to_main.send(Event::InputEnd);
            read.map(|_| body)
        });
        while self.input.is_empty() && self.stopped.is_none() {
            self.next_event()?;
        }
        if self.stopped.is_some() {
            return Ok(None);
        }
        let read = reader
            .join()
            .map_err(|_| Error::msg("the reader panicked"))?;
        read.map(Some).context("cannot read stdin")
    }

    fn lines(&mut self, path: &Path) -> Result<()> {
        let input = open(path).with_context(|| format!("cannot read {}", path.display()))?;
        let reader = LineReader::spawn(input, self.to_main.clone())?;
        let mut number = 0_u64;
        while let Some(line) = self.next_line(&reader)? {
            number += 1;
            let line = line.with_context(|| format!("cannot read {}", path.display()))?;
            if !line.trim().is_empty() {
                self.line(&line)
                    .with_context(|| format!("line {number} of {}", path.display()))?;
            }
        }
        Ok(())
    }

    /// `None` at the end of the input, after a signal, and when stdout is closed.
    fn next_line(&mut self, reader: &LineReader) -> Result<Option<io::Result<String>>> {
        reader.ask();
        while self.input.is_empty() && !self.has_ended() {
            self.next_event()?;
        }
        Ok(self.input.pop().flatten().filter(|_| !self.has_ended()))
    }

    fn has_ended(&self) -> bool {
        self.stopped.is_some() || self.unwritable.is_some()
    }

    fn line(&mut self, text: &str) -> Result<()> {
        let line = Line::parse(text)?;
        let Some(topic) = self.args.topic.clone().or_else(|| line.topic.clone()) else {
            bail!("it has no topic, and there is no --topic");
        };
        let order_by = line.order_by.clone().or_else(|| self.args.order_by.clone());
        let message = self.with_flags(line.message(topic)?)?;
        self.send(message, order_by);
        Ok(())
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

    fn send(&mut self, message: Message, order_by: Option<String>) {
        self.keep_pace();
        if self.has_ended() {
            return;
        }
        self.begun += 1;
        if self.args.oneway {
            match self.producer.send_one_way(message).wait() {
                Ok(()) => self.count_sent(),
                Err(error) => self.failed(error),
            }
            return;
        }
        if let Some(key) = order_by {
            // Each only after the one before it: otherwise their order is left to chance.
            self.drain();
            let end = self.producer.send_ordered(message, key).wait();
            return self.ended(end);
        }
        let to_main = self.to_main.clone();
        self.producer.send_then(message, move |end| {
            // The receiver exists as long as a message is in flight.
            let _ = to_main.send(Event::Ended(end));
        });
        self.in_flight += 1;
        while let Ok(event) = self.events.try_recv() {
            self.take(event);
        }
        while self.in_flight >= self.args.in_flight {
            if self.next_event().is_err() {
                return;
            }
        }
    }

    /// Waits for the ends of all sends; each has a timeout.
    fn drain(&mut self) {
        while self.in_flight > 0 && self.next_event().is_ok() {}
    }

    fn next_event(&mut self) -> Result<()> {
        let event = self.events.recv()?;
        self.take(event);
        Ok(())
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Line(line) => self.input.push(Some(line)),
            Event::InputEnd => self.input.push(None),
            Event::Ended(end) => {
                self.in_flight -= 1;
                self.ended(end);
            }
            Event::Stop(signal) => self.stopped = Some(signal),
        }
    }

    fn ended(&mut self, end: Result<SendResult, ClientError>) {
        match end {
            Ok(sent) => {
                self.count_sent();
                if self.unwritable.is_none()
                    && let Err(error) = self.show(&sent)
                {
                    self.unwritable = Some(error);
                }
            }
            Err(error) => self.failed(error),
        }
    }

    fn show(&self, sent: &SendResult) -> io::Result<()> {
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
        writeln!(io::stdout(), "{text}")
    }

    fn count_sent(&mut self) {
        self.sent += 1;
        self.bar.inc(1);
    }

    fn failed(&mut self, error: ClientError) {
        self.failed += 1;
        self.first_failure.get_or_insert(error);
    }

    /// Waits until the next message is due by `--rate`.
    fn keep_pace(&mut self) {
        let Some(rate) = self.args.rate else { return };
        let due = Duration::from_secs_f64(self.begun as f64 / f64::from(rate));
        while let Some(left) = due.checked_sub(self.started.elapsed())
            && !self.has_ended()
        {
            match self.events.recv_timeout(left) {
                Ok(event) => self.take(event),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Prints what was sent, and returns the first error.
    fn summary(self) -> Result<()> {
        self.bar.finish_and_clear();
        let seconds = self.started.elapsed().as_secs_f64();
        if self.begun != 1 || self.args.json_lines.is_some() || self.has_ended() {
            let interrupted = match self.stopped {
                Some(_) => "interrupted: ",
                None => "",
            };
            let rate = self.sent as f64 / seconds.max(1e-3);
            eprintln!(
                "{interrupted}{} sent in {seconds:.1} s, {rate:.0} per second",
                self.sent
            );
        }
        if let Some(error) = self.unwritable {
            return Err(error).context("cannot write to stdout");
        }
        match self.first_failure {
            None => Ok(()),
            Some(error) if self.begun == 1 => Err(explained(error)),
            Some(error) => bail!(
                "{} of {} were not sent, first: {:#}",
                self.failed,
                self.begun,
                explained(error)
            ),
        }
    }
}

fn open(path: &Path) -> io::Result<Box<dyn BufRead + Send>> {
    Ok(match path.to_str() {
        Some(STDIN) => Box::new(BufReader::new(io::stdin())),
        _ => Box::new(BufReader::new(File::open(path)?)),
    })
}

/// Reads one line per request, on a separate thread: a slow input does not delay the reports of sends.
struct LineReader {
    to_reader: Sender<()>,
}

impl LineReader {
    fn spawn(input: Box<dyn BufRead + Send>, to_main: Sender<Event>) -> Result<Self> {
        let (to_reader, asked) = channel();
        thread::Builder::new().name("input".into()).spawn(move || {
            let mut lines = input.lines();
            while asked.recv().is_ok() {
                let event = lines.next().map_or(Event::InputEnd, Event::Line);
                if to_main.send(event).is_err() {
                    return;
                }
            }
        })?;
        Ok(Self { to_reader })
    }

    fn ask(&self) {
        // The reader ends only with this handle.
        let _ = self.to_reader.send(());
    }
}

/// On stderr, if that is a terminal and there is something to wait for.
fn bar(args: &SendArgs) -> ProgressBar {
    if args.json_lines.is_some() {
        let style = ProgressStyle::with_template("{spinner} {pos} sent, {per_sec:1}");
        let bar = ProgressBar::new_spinner();
        return bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
    }
    if args.count == 1 {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:32} {pos}/{len}  {per_sec:1}  {eta} left");
    ProgressBar::new(args.count).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}
