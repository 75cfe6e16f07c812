//! `ringmq store verify` and `ringmq store inspect`: a store that no broker has open, looked at without changing anything.

use std::fs::File;
use std::io::IsTerminal;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use serde_json::{Value, json};

use super::group_of_store;
use super::store_reading::{Inspecting, Reading, Verifying, read};
use crate::config::{Config, Flags, Surroundings};
use crate::message::{Check, Record};
use crate::ring::linux::is_locked;
use crate::store::IndexShape;
use crate::store::verify::{Finding, Listener, Report, Subject};
use crate::wire::loose_json;

/// Look at a store that no broker has open, ringmq's or RocketMQ's.
#[derive(Subcommand, Clone, Debug)]
pub enum StoreCommand {
    Verify(VerifyArgs),
    Inspect(InspectArgs),
}

/// Read all of a store and report what is damaged.
///
/// Changes nothing, and works on a read-only mount. The exit code is 0 if the store is whole, 1 if something is damaged, and 3 if it
/// cannot be read.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  ringmq store verify ~/store
  ringmq store verify --json --max 10 /data/store")]
pub struct VerifyArgs {
    #[command(flatten)]
    pub place: PlaceArgs,

    /// Number of damages to print; all are counted
    #[arg(long, value_name = "DAMAGES", default_value_t = 100)]
    pub max: u64,
}

/// Print what a store has: files, queues, offsets, checkpoint, messages.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  ringmq store inspect ~/store
  ringmq store inspect ~/store --record 231
  ringmq store inspect ~/store --from 0 --count 3 --json")]
pub struct InspectArgs {
    #[command(flatten)]
    pub place: PlaceArgs,

    /// Print the message at this log position, with its body
    #[arg(long, value_name = "POSITION", conflicts_with = "from")]
    pub record: Option<u64>,

    /// Print messages from this log position on
    #[arg(long, value_name = "POSITION")]
    pub from: Option<u64>,

    /// Number of messages to print
    #[arg(long, value_name = "MESSAGES", default_value_t = 10, requires = "from")]
    pub count: u64,
}

#[derive(Args, Clone, Debug)]
pub struct PlaceArgs {
    /// Directory of the store
    pub dir: PathBuf,

    /// The broker.conf of its broker, where that says storePathCommitLog, maxHashSlotNum or maxIndexNum
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Exit code: the store is damaged.
const DAMAGED: u8 = 1;
/// Exit code: it cannot be read. 2 is wrong usage.
const UNREADABLE: u8 = 3;

pub fn run(command: StoreCommand) -> Result<ExitCode> {
    let ran = match command {
        StoreCommand::Verify(args) => run_verify(&args),
        StoreCommand::Inspect(args) => run_inspect(&args).map(|()| ExitCode::SUCCESS),
    };
    ran.or_else(|error| {
        eprintln!("ringmq: {error:#}");
        Ok(ExitCode::from(UNREADABLE))
    })
}

fn run_verify(args: &VerifyArgs) -> Result<ExitCode> {
    let mut reports = Vec::new();
    for subject in subjects(&args.place)? {
        let mut printer = Printer::new(args);
        let report = read(Verifying {
            subject: &subject,
            listener: &mut printer,
        })?;
        let mut report = report.with_context(|| subject.dir.display().to_string())?;
        check_config(&subject.dir, &mut report, &mut printer)?;
        printer.bar.finish_and_clear();
        let repair = group_of_store::repair_of(&subject.dir).filter(|_| report.damages > 0);
        if !args.place.json {
            print_report(&subject.dir, &report, repair.as_deref());
        }
        reports.push(json!({
            "dir": subject.dir, "report": report, "findings": printer.findings, "repair": repair,
        }));
    }
    let damages: u64 = reports
        .iter()
        .filter_map(|report| report["report"]["damages"].as_u64())
        .sum();
    if args.place.json {
        print_json(&json!({ "damages": damages, "stores": reports }))?;
    }
    Ok(match damages {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::from(DAMAGED),
    })
}

fn print_report(dir: &Path, report: &Report, repair: Option<&str>) {
    println!("{}", dir.display());
    let state = match report.was_closed {
        true => "was closed",
        false => "was not closed: a start recovers its end",
    };
    println!("  store     {state}");
    println!(
        "  log       {} files, {} to {}, {} messages",
        report.log_files, report.log_min, report.log_end, report.records
    );
    println!(
        "  queues    {}, {} entries",
        report.queues, report.queue_entries
    );
    println!(
        "  index     {} files, {} entries",
        report.index_files, report.index_entries
    );
    println!("  timers    {}", report.timers);
    match report.damages {
        0 => println!("  whole"),
        damages => println!("  DAMAGED   {damages} damages"),
    }
    if let Some(repair) = repair {
        println!("  repair    {repair}");
    }
}

/// Prints each finding at once, above the progress bar.
#[derive(Default)]
struct Printer {
    bar: Bar,
    max: u64,
    json: bool,
    findings: Vec<Finding>,
    found: u64,
}

struct Bar(ProgressBar);

impl Default for Bar {
    fn default() -> Self {
        Self(ProgressBar::hidden())
    }
}

impl std::ops::Deref for Bar {
    type Target = ProgressBar;
    fn deref(&self) -> &ProgressBar {
        &self.0
    }
}

impl Printer {
    fn new(args: &VerifyArgs) -> Self {
        let bar = match std::io::stderr().is_terminal() {
            true => {
                let style = ProgressStyle::with_template(
                    "{bar:32} {bytes}/{total_bytes}  {bytes_per_sec}  {eta} left",
                );
                let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
                ProgressBar::new(0).with_style(style)
            }
            false => ProgressBar::hidden(),
        };
        Self {
            bar: Bar(bar),
            max: args.max,
            json: args.place.json,
            findings: Vec::new(),
            found: 0,
        }
    }
}

impl Listener for Printer {
    fn found(&mut self, finding: Finding) {
        self.found += 1;
        if self.found > self.max {
            return;
        }
        if self.json {
            return self.findings.push(finding);
        }
        let Finding {
            file,
            offset,
            found,
            expected,
        } = finding;
        let file = file.display();
        self.bar
            .suspend(|| println!("{file} + {offset}: found {found}; expected {expected}"));
    }

    fn progress(&mut self, read: u64, of: u64) {
        self.bar.set_length(of);
        self.bar.set_position(read);
    }
}

/// RocketMQ writes numbers as keys without quotes.
fn check_config(dir: &Path, report: &mut Report, printer: &mut Printer) -> Result<()> {
    for path in json_files(dir)? {
        let bytes = std::fs::read(&path).with_context(|| path.display().to_string())?;
        if let Err(error) = loose_json::from_slice::<Value>(&bytes) {
            report.damages += 1;
            printer.found(Finding {
                file: path,
                offset: 0,
                found: error.to_string(),
                expected: "JSON".into(),
            });
        }
    }
    Ok(())
}

fn json_files(dir: &Path) -> Result<Vec<PathBuf>> {
    let dir = dir.join("config");
    if !dir.exists() {
        return Ok(Vec::new());
    }
    let mut files = Vec::new();
    for entry in std::fs::read_dir(&dir).with_context(|| dir.display().to_string())? {
        let path = entry?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "json")
        {
            files.push(path);
        }
    }
    files.sort_unstable();
    Ok(files)
}

fn run_inspect(args: &InspectArgs) -> Result<()> {
    let mut all = Vec::new();
    for subject in subjects(&args.place)? {
        let found = match args.record.or(args.from) {
            Some(position) => records(args, &subject, position)?,
            None => overview(&subject)?,
        };
        if !args.place.json {
            println!("{}", subject.dir.display());
            print_tree(&found, 1);
        }
        all.push(json!({ "dir": subject.dir, "store": found }));
    }
    if args.place.json {
        print_json(&Value::Array(all))?;
    }
    Ok(())
}

fn overview(subject: &Subject) -> Result<Value> {
    let found = read(Inspecting(subject))?.with_context(|| subject.dir.display().to_string())?;
    let mut found = serde_json::to_value(found)?;
    for (key, name) in [
        ("consumerOffsets", "consumerOffset.json"),
        ("unreadable", "unreadable.json"),
    ] {
        let path = subject.dir.join("config").join(name);
        if let Ok(bytes) = std::fs::read(&path) {
            let value: Value =
                loose_json::from_slice(&bytes).with_context(|| path.display().to_string())?;
            found[key] = match value.get("offsetTable") {
                Some(offsets) => offsets.clone(),
                None => value,
            };
        }
    }
    Ok(found)
}

fn records(args: &InspectArgs, subject: &Subject, position: u64) -> Result<Value> {
    let found = read(Reading {
        subject,
        position,
        count: args.record.map_or(args.count, |_| 1),
    })?;
    let (read, (path, offset)) = found.with_context(|| subject.dir.display().to_string())?;
    let records: Vec<_> = read
        .iter()
        .map(|bytes| Record::decode(bytes, Check::Crc))
        .collect::<Result<_, _>>()?;
    let first = records.first().map(|record| record.physical_offset);
    if first != Some(position) {
        let reason = unreadable(&path, offset);
        let text = format!("no whole message begins at {position} ({reason})");
        match first {
            Some(first) if args.from.is_some() => eprintln!("{text}; the next one is at {first}"),
            _ => bail!(text),
        }
    }
    let shown = records
        .iter()
        .map(|record| show(record, args.record.is_some()));
    Ok(shown.collect())
}

/// Why there is no message at this place of a file.
fn unreadable(path: &Path, offset: u64) -> String {
    let mut bytes = vec![0; 4];
    let read = File::open(path).and_then(|file| {
        file.read_exact_at(&mut bytes, offset)?;
        let size = u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) as usize;
        let rest = file.metadata()?.len().saturating_sub(offset);
        bytes.resize(size.clamp(4, rest.min(MAX_RECORD_BYTES) as usize), 0);
        file.read_exact_at(&mut bytes, offset)
    });
    match read.map(|()| Record::decode(&bytes, Check::Crc).err()) {
        Ok(Some(error)) => error.to_string(),
        Ok(None) => "its position is another".to_owned(),
        Err(error) => format!("{}: {error}", path.display()),
    }
}

/// More than any broker takes by default.
const MAX_RECORD_BYTES: u64 = 64 << 20;

fn show(record: &Record<'_>, with_body: bool) -> Value {
    let properties = String::from_utf8_lossy(record.properties);
    let properties: serde_json::Map<String, Value> = properties
        .split('\u{2}')
        .filter_map(|pair| pair.split_once('\u{1}'))
        .map(|(name, value)| (name.to_owned(), value.into()))
        .collect();
    let mut shown = json!({
        "position": record.physical_offset,
        "size": record.total_size,
        "topic": record.topic,
        "queueId": record.queue_id,
        "queueOffset": record.queue_offset,
        "storeTimeMs": record.store_timestamp_ms,
        "bornTimeMs": record.born_timestamp_ms,
        "bornHost": record.born_host.to_string(),
        "storeHost": record.store_host.to_string(),
        "flag": record.flag,
        "sysFlag": record.sys_flag,
        "reconsumeTimes": record.reconsume_times,
        "preparedTransactionOffset": record.prepared_transaction_offset,
        "bodyCrc": record.body_crc,
        "hasRecordCrc": record.has_crc(),
        "bodyBytes": record.body.len(),
        "properties": properties,
    });
    if with_body {
        shown["body"] = String::from_utf8_lossy(record.body).into();
    }
    shown
}

/// The JSON as indented lines: one for each leaf, and one for each item of a list.
fn print_tree(value: &Value, depth: usize) {
    let margin = "  ".repeat(depth);
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                match value {
                    Value::Object(_) | Value::Array(_) => {
                        println!("{margin}{name}");
                        print_tree(value, depth + 1);
                    }
                    leaf => println!("{margin}{name} {leaf}"),
                }
            }
        }
        Value::Array(items) => {
            for item in items {
                println!("{margin}{item}");
            }
        }
        leaf => println!("{margin}{leaf}"),
    }
}

fn print_json(value: &impl Serialize) -> Result<()> {
    println!("{}", serde_json::to_string_pretty(value)?);
    Ok(())
}

/// The store, or those of its shards.
fn subjects(place: &PlaceArgs) -> Result<Vec<Subject>> {
    let dir = &place.dir;
    if !dir.is_dir() {
        bail!("{} is no directory", dir.display());
    }
    let config = match &place.config {
        Some(file) => {
            let flags = Flags {
                config_file: Some(file.clone()),
                store_dir: Some(dir.clone()),
                ..Flags::default()
            };
            Config::load(&flags, &Surroundings::observe())?.0
        }
        None => Config::default(),
    };
    let shards: Vec<_> = (0..)
        .map(|shard| format!("shard-{shard}"))
        .take_while(|shard| dir.join(shard).is_dir())
        .collect();
    let names = match shards.is_empty() {
        true => vec![String::new()],
        false => shards,
    };
    let mut subjects = Vec::new();
    for name in names {
        let dir = dir.join(&name);
        let dir = if name.is_empty() {
            place.dir.clone()
        } else {
            dir
        };
        refuse_if_open(&dir)?;
        let log_dir = match &config.commit_log_dir {
            Some(log_dir) if name.is_empty() => log_dir.clone(),
            Some(log_dir) => log_dir.join(&name),
            None => dir.join("commitlog"),
        };
        if !log_dir.is_dir() {
            bail!(
                "{} is no store: it has no folder {} (is a disk not mounted, or storePathCommitLog set?)",
                dir.display(),
                log_dir.display()
            );
        }
        subjects.push(Subject {
            dir,
            log_dir,
            index_shape: IndexShape {
                slots: config.max_hash_slots,
                entries: config.max_index_entries,
            },
        });
    }
    Ok(subjects)
}

/// A store that changes while it is read looks damaged.
fn refuse_if_open(dir: &Path) -> Result<()> {
    if is_locked(&dir.join("lock")).unwrap_or(false) {
        bail!(
            "a broker has the store {} open: stop it first",
            dir.display()
        );
    }
    Ok(())
}
