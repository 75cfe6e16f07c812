//! Values of arguments, and their parsers. An error names the expected form.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::config::{Addresses, Cores, Rule};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delay {
    Level(u32),
    For(Duration),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    First,
    Last,
    Time(SystemTime),
}

/// A list in one argument; a plain `Vec` would be an argument that may be repeated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CoreList(pub Vec<usize>);

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamesrvList(pub Vec<String>);

pub fn cores(text: &str) -> Result<CoreList, String> {
    Cores.read(text).map(CoreList)
}

pub fn namesrv(text: &str) -> Result<NamesrvList, String> {
    let addresses = Addresses.read(text)?;
    if addresses.is_empty() {
        Err("at least one HOST:PORT".into())
    } else {
        Ok(NamesrvList(addresses))
    }
}

pub fn property(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("NAME=VALUE is expected".to_owned()),
    }
}

/// Levels of RocketMQ's table of delays (`messageDelayLevel`).
const LEVELS: std::ops::RangeInclusive<u32> = 1..=18;

pub fn delay(text: &str) -> Result<Delay, String> {
    match text.parse() {
        Ok(level) => delay_level(level),
        Err(_) => humantime::parse_duration(text)
            .map(Delay::For)
            .map_err(|_| "a level from 1 to 18, or a time such as 30s, 5m or 2h".to_owned()),
    }
}

pub fn delay_level(level: u32) -> Result<Delay, String> {
    match LEVELS.contains(&level) {
        true => Ok(Delay::Level(level)),
        false => Err("levels go from 1 to 18; for a time give its unit, such as 30s".to_owned()),
    }
}

pub fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|_| "a time such as 500ms, 30s or 2h".to_owned())
}

pub fn from(text: &str) -> Result<From, String> {
    match text {
        "first" => Ok(From::First),
        "last" => Ok(From::Last),
        time => match time.parse() {
            Ok(ms) => UNIX_EPOCH
                .checked_add(Duration::from_millis(ms))
                .map(From::Time)
                .ok_or_else(|| "that is too far away".to_owned()),
            Err(_) => humantime::parse_rfc3339_weak(time)
                .map(From::Time)
                .map_err(|error| format!("neither first nor last, and as a time: {error}")),
        },
    }
}
