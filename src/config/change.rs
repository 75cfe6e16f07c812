//! Changes of settings in the running broker (requests 25 and 26), by the rows of broker.conf.

use super::defaults::{Config, Property};
use super::{known, meant};

/// Why a change is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    #[error("{name}={value}: allowed is {allowed}")]
    Value {
        name: String,
        value: String,
        allowed: String,
    },
    #[error("{name} is fixed when the broker starts")]
    Fixed { name: String },
    #[error("{name} is not known{}", meant.map(|name| format!("; did you mean {name}?")).unwrap_or_default())]
    Unknown {
        name: String,
        meant: Option<&'static str>,
    },
}

/// What became of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Changed {
    Taken,
    /// A name of RocketMQ that means nothing here.
    WithoutEffect,
}

impl Config {
    /// Changes one setting, or none. A value that does not fit the others is refused, too.
    pub fn change(&mut self, name: &str, value: &str) -> Result<Changed, ChangeError> {
        // As in broker.conf.
        let value = value.trim_end();
        let refused = |allowed: String| ChangeError::Value {
            name: name.into(),
            value: value.into(),
            allowed,
        };
        if let Some(property) = Property::find(name) {
            if !property.is_hot {
                return Err(ChangeError::Fixed { name: name.into() });
            }
            let mut changed = self.clone();
            (property.read)(&mut changed, value).map_err(refused)?;
            if let Some((other, its_value, allowed)) = changed.misfit() {
                let why = format!("a value with which {other}={its_value} is {allowed}");
                return Err(refused(why));
            }
            *self = changed;
            return Ok(Changed::Taken);
        }
        if known::classes(name).is_some() {
            return Err(ChangeError::Fixed { name: name.into() });
        }
        if let Some(unsupported) = known::unsupported(name) {
            return match unsupported.accepts(value) {
                true => Ok(Changed::WithoutEffect),
                false => Err(refused(unsupported.allowed())),
            };
        }
        match known::is_known(name) {
            true => Ok(Changed::WithoutEffect),
            false => Err(ChangeError::Unknown {
                name: name.into(),
                meant: meant(name),
            }),
        }
    }
}
