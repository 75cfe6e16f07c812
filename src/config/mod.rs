//! broker.conf, flags and the environment, merged into one validated [`Config`].
//!
//! The file is Java properties text with RocketMQ's names, so an existing broker.conf can be used as it is. Flags win over the
//! file, the file over the environment and the defaults. A bad value is an error with its place and the allowed values. An unknown name is a warning; names
//! of RocketMQ without an effect here are listed once. `settings.md` lists all settings.

mod access;
mod access_fit;
mod change;
mod controller_metrics;
mod defaults;
mod environment;
pub mod explain;
mod io_choice;
mod known;
mod memory;
mod metrics;
pub mod properties;
mod push;
mod push_settings;
mod role;
mod rule;
mod surroundings;
#[cfg(test)]
mod table;
mod tls;
mod tls_fit;
mod without_effect;

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

pub use access::NamesrvAuth;
pub use change::{ChangeError, Changed};
pub use controller_metrics::ControllerMetrics;
pub use defaults::Config;
pub use io_choice::{IoChoice, IoName};
pub use known::asks_for_controller;
pub use metrics::MetricsExporter;
pub use push::{Push, PushedTo};
pub use rule::{Addresses, BrokerRole, Cores, Flush, Reachable, Rule};
pub use surroundings::Surroundings;
pub use tls::{TlsClientAuth, TlsMode};

use defaults::{HEADROOM_BYTES, PROPERTIES, Property};
use rule::Name;

/// Values of the command line. A missing one is taken from the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flags {
    pub config_file: Option<PathBuf>,
    pub store_dir: Option<PathBuf>,
    pub flush: Option<Flush>,
    pub cores: Option<Vec<usize>>,
    pub listen_port: Option<u16>,
    pub advertise: Option<IpAddr>,
    pub namesrv_port: Option<u16>,
    pub namesrv: Option<Vec<String>>,
    pub skip_damaged: Option<bool>,
    pub health_port: Option<u16>,
    pub io: Option<IoChoice>,
}

/// A message for the operator that does not prevent the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    pub level: Level,
    pub text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    Info,
    Warning,
}

#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("{}: cannot be read: {source}", path.display())]
    Unreadable {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("{place}{property}={value}: allowed is {allowed}")]
    Value {
        place: Place,
        property: &'static str,
        value: String,
        allowed: String,
    },
}

/// Where a value was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    Line { file: PathBuf, line: usize },
    Flag(&'static str),
    Environment,
    Default,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line { file, line } => write!(f, "{}:{line}: ", file.display()),
            Self::Flag(flag) => write!(f, "{flag}: "),
            Self::Environment => write!(f, "environment: "),
            Self::Default => Ok(()),
        }
    }
}

impl Config {
    /// Reads the file that `flags` names, if any, and merges it with them. Notes come in the order of the file.
    pub fn load(
        flags: &Flags,
        surroundings: &Surroundings,
    ) -> Result<(Self, Vec<Note>), ConfigError> {
        let text = match &flags.config_file {
            Some(path) => {
                properties::read_file(path).map_err(|source| ConfigError::Unreadable {
                    path: path.clone(),
                    source,
                })?
            }
            None => String::new(),
        };
        Self::merge(&text, flags, surroundings)
    }

    /// The defaults of these surroundings, then the environment, then the file's text, then the flags.
    pub fn merge(
        text: &str,
        flags: &Flags,
        surroundings: &Surroundings,
    ) -> Result<(Self, Vec<Note>), ConfigError> {
        let mut config = Self {
            advertise: surroundings.address,
            store_dir: surroundings.home.join("store"),
            cores: surroundings.cores.clone(),
            ..Self::default()
        };
        if let Ok(host_name) = Name.read(&surroundings.host_name) {
            config.broker_name = host_name;
        }
        config.follow_environment(surroundings)?;
        let mut places = Places::new();
        let file = flags
            .config_file
            .as_deref()
            .unwrap_or(Path::new("broker.conf"));
        let mut notes = config.follow_file(file, text, &mut places)?;
        notes.extend(config.follow_tls_file(surroundings, &mut places)?);
        config.follow_flags(flags, &mut places);
        if let Some(limit) = surroundings.memory_limit_bytes {
            notes.extend(memory::fit(&mut config, limit, |name| {
                places.contains_key(name)
            }));
        }
        config.settle(&surroundings.cores, &places)?;
        Ok((config, notes))
    }

    /// The current values as broker.conf would give them: the body of GET_BROKER_CONFIG.
    pub fn properties_text(&self) -> String {
        let ours = PROPERTIES
            .iter()
            .map(|property| (property.name, (property.show)(self)));
        let fixed = known::UNSUPPORTED
            .iter()
            .map(|unsupported| (unsupported.name, unsupported.accepted.to_owned()));
        let mut all: Vec<(&str, String)> = ours.chain(fixed).collect();
        all.sort_unstable();
        let mut text = String::new();
        for (name, value) in all {
            properties::write(&mut text, name, &value);
        }
        text
    }

    /// One shard, and so one broker in the route, for each core.
    pub fn shards(&self) -> usize {
        self.cores.len()
    }

    /// The shard's port: 10 apart, which leaves room for the VIP port (2 below) and the replication port (1 above).
    pub fn shard_port(&self, shard: usize) -> u16 {
        assert!(shard < self.shards(), "shard {shard} of {}", self.shards());
        let port = port_of(self.listen_port, shard);
        u16::try_from(port).expect("ports were settled at start")
    }

    /// The shard's brokerName. A single one carries the plain name, as RocketMQ's broker does.
    pub fn shard_name(&self, shard: usize) -> String {
        assert!(shard < self.shards(), "shard {shard} of {}", self.shards());
        if self.shards() == 1 {
            self.broker_name.clone()
        } else {
            format!("{}-{shard}", self.broker_name)
        }
    }

    pub fn has_builtin_namesrv(&self) -> bool {
        self.namesrv.is_empty()
    }

    fn follow_file(
        &mut self,
        file: &Path,
        text: &str,
        places: &mut Places,
    ) -> Result<Vec<Note>, ConfigError> {
        let mut notes = Vec::new();
        let mut without_effect = Vec::new();
        // What is wrong with that property its reader says.
        let has_controller = known::asks_for_controller(text).unwrap_or(true);
        for properties::Entry { line, key, value } in properties::parse(text) {
            let place = Place::Line {
                file: file.to_owned(),
                line,
            };
            match self.follow(&key, &value) {
                Ok(Followed::Taken(name)) => {
                    places.insert(name, place);
                }
                Ok(Followed::Fixed) => {}
                Ok(Followed::OfController) if has_controller => {}
                Ok(Followed::OfController | Followed::WithoutEffect) => without_effect.push(key),
                Ok(Followed::Unknown) => notes.push(unknown(&place, &key)),
                Err((property, allowed)) => {
                    return Err(ConfigError::Value {
                        place,
                        property,
                        value,
                        allowed,
                    });
                }
            }
        }
        if !without_effect.is_empty() {
            let text = format!(
                "{}: RocketMQ's, without effect here: {}",
                file.display(),
                without_effect.join(", ")
            );
            notes.push(Note {
                level: Level::Info,
                text,
            });
        }
        Ok(notes)
    }

    /// One line of broker.conf. An error has the name and what is allowed.
    fn follow(&mut self, key: &str, value: &str) -> Result<Followed, (&'static str, String)> {
        if let Some(property) = Property::find(key) {
            let taken = (property.read)(self, value);
            return taken
                .map(|()| Followed::Taken(property.name))
                .map_err(|allowed| (property.name, allowed));
        }
        if let Some(unsupported) = known::unsupported(key) {
            return match unsupported.accepts(value) {
                true => Ok(Followed::Fixed),
                false => Err((unsupported.name, unsupported.allowed())),
            };
        }
        if let Some(classes) = known::classes(key) {
            return match classes.accepts(value) {
                true => Ok(Followed::Fixed),
                false => Err((classes.name, classes.allowed())),
            };
        }
        if known::is_of_controller(key) {
            return Ok(Followed::OfController);
        }
        Ok(match known::is_known(key) {
            true => Followed::WithoutEffect,
            false => Followed::Unknown,
        })
    }

    fn follow_flags(&mut self, flags: &Flags, places: &mut Places) {
        macro_rules! follow {
            ($($flag:ident => $field:ident, $name:literal, $property:literal;)*) => {$(
                if let Some(value) = &flags.$flag {
                    self.$field = value.clone();
                    places.insert($property, Place::Flag($name));
                }
            )*};
        }
        follow! {
            store_dir => store_dir, "--store", "storePathRootDir";
            flush => flush, "--flush", "flushDiskType";
            cores => cores, "--cores", "cores";
            listen_port => listen_port, "--port", "listenPort";
            advertise => advertise, "--advertise", "brokerIP1";
            namesrv_port => namesrv_port, "--namesrv-port", "namesrvPort";
            skip_damaged => skip_damaged, "--skip-damaged", "skipDamagedLog";
            health_port => health_port, "--health-port", "healthPort";
            io => io, "--io", "ioBackend";
        }
        match (&flags.namesrv, flags.namesrv_port) {
            (Some(namesrv), _) => self.namesrv = namesrv.clone(),
            // A port for the built-in name server selects it, whatever the file says.
            (None, Some(_)) => self.namesrv.clear(),
            (None, None) => {}
        }
    }

    /// The rules between several values, and between them and the machine.
    fn settle(&mut self, available: &[usize], places: &Places) -> Result<(), ConfigError> {
        let refuse = |property: &'static str, value: String, allowed: String| {
            let place = places.get(property).cloned().unwrap_or(Place::Default);
            Err(ConfigError::Value {
                place,
                property,
                value,
                allowed,
            })
        };
        if self.cores.is_empty() || self.cores.iter().any(|core| !available.contains(core)) {
            let allowed = format!(
                "some of the cores that this process may run on: {}",
                Cores.show(&available.to_vec())
            );
            return refuse("cores", Cores.show(&self.cores), allowed);
        }
        if let Err((property, value, allowed)) = self.check_role() {
            return refuse(property, value, allowed);
        }
        if let Some((property, value, allowed)) = self.vain_wish() {
            return refuse(property, value, allowed.into());
        }
        let misfit = self.misfit_of_access();
        let misfit = misfit.or_else(|| self.misfit_of_push());
        if let Some((property, value, allowed)) = misfit.or_else(|| self.misfit_of_tls()) {
            return refuse(property, value, allowed);
        }
        if self.controller_mode {
            self.all_ack_in_set.get_or_insert(true);
        }
        let highest = port_of(self.listen_port, self.shards() - 1);
        if highest > usize::from(u16::MAX) {
            let allowed = format!(
                "a port that leaves room for {} brokers, 10 apart, below 65536",
                self.shards()
            );
            return refuse("listenPort", self.listen_port.to_string(), allowed);
        }
        let taken = (0..self.shards())
            .map(|shard| self.shard_port(shard))
            .any(|port| {
                self.has_builtin_namesrv()
                    && (port == self.namesrv_port || port - 2 == self.namesrv_port)
            });
        if taken {
            let allowed = format!(
                "a port that none of the brokers from port {} on uses",
                self.listen_port
            );
            return refuse("namesrvPort", self.namesrv_port.to_string(), allowed);
        }
        match self.misfit() {
            Some((property, value, allowed)) => refuse(property, value, allowed),
            None => Ok(()),
        }
    }

    /// The rules between values of which one is hot: the name and value that do not fit, and what would.
    fn misfit(&self) -> Option<(&'static str, String, String)> {
        let record_bytes = self.max_message_bytes + HEADROOM_BYTES;
        if self.segment_bytes < record_bytes {
            let allowed =
                format!("at least {record_bytes}, as one message of maxMessageSize has to fit in");
            let value = self.segment_bytes.to_string();
            return Some(("mappedFileSizeCommitLog", value, allowed));
        }
        if self.max_message_bytes > 4 << 20
            && self.max_message_bytes > 2 * self.consume_queue_memory_bytes
        {
            let allowed = format!(
                "at least {}, half of maxMessageSize",
                self.max_message_bytes / 2
            );
            let value = self.consume_queue_memory_bytes.to_string();
            return Some(("consumeQueueMemoryBytes", value, allowed));
        }
        if self.log_buffer_bytes < 2 * record_bytes {
            let allowed = format!("at least {}, twice the largest message", 2 * record_bytes);
            let value = self.log_buffer_bytes.to_string();
            return Some(("logBufferBytes", value, allowed));
        }
        None
    }

    /// What `maxMessageSize` can be raised to while the broker runs: files and memory are as large as they are.
    pub fn largest_message_bytes(&self) -> u64 {
        let room = self.segment_bytes.min(self.log_buffer_bytes / 2);
        let room = room.min(16 << 20).saturating_sub(HEADROOM_BYTES);
        // The entries of a batch of the smallest messages.
        room.min(2 * self.consume_queue_memory_bytes)
            .max(self.max_message_bytes)
    }

    /// As of one shard's broker: with its own name and port.
    pub fn of_shard(&self, shard: usize) -> Self {
        Self {
            broker_name: self.shard_name(shard),
            listen_port: self.shard_port(shard),
            master_address: self.master_address.map(|first| {
                let step = self.shard_port(shard) - self.listen_port;
                SocketAddr::new(first.ip(), first.port().saturating_add(step))
            }),
            ..self.clone()
        }
    }
}

/// What a line of broker.conf was.
enum Followed {
    Taken(&'static str),
    /// A property that has only one value here, with that value.
    Fixed,
    /// Of a controller in the same process.
    OfController,
    /// RocketMQ's, without effect here.
    WithoutEffect,
    Unknown,
}

fn unknown(place: &Place, key: &str) -> Note {
    let meant = meant(key).map(|name| format!("; did you mean {name}?"));
    Note {
        level: Level::Warning,
        text: format!(
            "{place}unknown property {key} is ignored{}",
            meant.unwrap_or_default()
        ),
    }
}

/// The name that a misspelt one was meant to be.
fn meant(key: &str) -> Option<&'static str> {
    known::nearest(key, PROPERTIES.iter().map(|property| property.name))
}

/// Where each property was given, to point there when it turns out not to fit the others.
type Places = BTreeMap<&'static str, Place>;

fn port_of(first: u16, shard: usize) -> usize {
    usize::from(first) + 10 * shard
}

#[cfg(test)]
mod tests;
