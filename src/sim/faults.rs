//! What goes wrong on purpose: rules that a test gives to a host's disk.
//!
//! A rule picks operations by kind and path, lets some of them pass, and then strikes a number of times. The first rule
//! that strikes decides.

use std::io::{self, ErrorKind};
use std::path::Path;
use std::time::Duration;

use super::SimIo;
use super::rng::Rng;
use super::sectors::SECTOR_BYTES;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    Open,
    Read,
    Write,
    /// `sync_data` and `sync_dir`.
    Sync,
    /// `allocate` and `resize`.
    Length,
    /// Directory listing, creation, renames and removals.
    Names,
}

impl Op {
    /// As it is counted.
    pub(super) fn name(self) -> &'static str {
        match self {
            Op::Open => "opens",
            Op::Read => "reads",
            Op::Write => "writes",
            Op::Sync => "flushes",
            Op::Length => "changes of length",
            Op::Names => "changes of names",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// EIO. Of a write any sectors may have arrived; after a sync the device may have lost what was not flushed, of any file.
    Io,
    /// ENOSPC. Of a write a beginning may have arrived.
    NoSpace,
    /// A write of which only a beginning has arrived, and no more will.
    Short,
    /// Of an open: there is no such file for us.
    Refuse(ErrorKind),
    /// The process or the machine lacks a resource; nothing was begun.
    Shortage(Lack),
    /// A write that succeeds and lands in another block of the same file.
    Misdirected,
    /// The operation succeeds this much later.
    Stall(Duration),
}

/// What there is none of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lack {
    /// EMFILE
    DescriptorsOfProcess,
    /// ENFILE
    DescriptorsOfSystem,
    /// ENOMEM
    Memory,
}

impl Lack {
    pub(super) fn error(self) -> io::Error {
        io::Error::from_raw_os_error(match self {
            Lack::DescriptorsOfProcess => libc::EMFILE,
            Lack::DescriptorsOfSystem => libc::ENFILE,
            Lack::Memory => libc::ENOMEM,
        })
    }
}

impl Fault {
    pub(super) fn error(self) -> Option<io::Error> {
        match self {
            Fault::Io => Some(errno::io()),
            Fault::NoSpace => Some(errno::no_space()),
            Fault::Short => Some(ErrorKind::WriteZero.into()),
            Fault::Refuse(kind) => Some(kind.into()),
            Fault::Shortage(lack) => Some(lack.error()),
            Fault::Misdirected | Fault::Stall(_) => None,
        }
    }

    /// As it is counted.
    pub(super) fn name(self, op: Op) -> &'static str {
        match (self, op) {
            (Fault::Io, Op::Read) => "EIO on reads",
            (Fault::Io, Op::Write) => "EIO on writes",
            (Fault::Io, Op::Sync) => "EIO on flushes",
            (Fault::Io, Op::Open | Op::Length | Op::Names) => "EIO on names and lengths",
            (Fault::NoSpace, _) => "ENOSPC by decree",
            (Fault::Short, _) => "short writes",
            (Fault::Refuse(_), _) => "refused",
            (Fault::Shortage(_), _) => "EMFILE, ENFILE and ENOMEM",
            (Fault::Misdirected, _) => "misdirected writes",
            (Fault::Stall(stall), Op::Names) if stall.as_secs() > 0 => {
                "names that take 1 s and more"
            }
            (Fault::Stall(_), Op::Read) => "slow reads",
            (Fault::Stall(stall), _) if stall.as_secs() > 0 => "stalls of 1 s and more",
            (Fault::Stall(_), _) => "stalls below 1 s",
        }
    }
}

/// Built up by its methods: `Rule::new(Fault::Io).of(Op::Write).on("commitlog").after(3).times(1)`.
#[derive(Clone, Debug)]
pub struct Rule {
    fault: Fault,
    op: Option<Op>,
    path_part: String,
    passes: u64,
    strikes: u64,
    one_in: u64,
}

impl Rule {
    /// Strikes every operation on every path, always.
    pub fn new(fault: Fault) -> Self {
        Self {
            fault,
            op: None,
            path_part: String::new(),
            passes: 0,
            strikes: u64::MAX,
            one_in: 1,
        }
    }

    /// Only operations of this kind.
    pub fn of(self, op: Op) -> Self {
        Self {
            op: Some(op),
            ..self
        }
    }

    /// Only paths that contain this.
    pub fn on(self, path_part: &str) -> Self {
        Self {
            path_part: path_part.to_owned(),
            ..self
        }
    }

    /// Lets this many of the operations it is for pass first.
    pub fn after(self, passes: u64) -> Self {
        Self { passes, ..self }
    }

    /// Strikes only so often.
    pub fn times(self, strikes: u64) -> Self {
        Self { strikes, ..self }
    }

    /// Strikes by chance only.
    pub fn one_in(self, one_in: u64) -> Self {
        Self { one_in, ..self }
    }

    fn strikes(&mut self, op: Op, path: &Path, rng: &mut Rng) -> bool {
        let meant = self.op.is_none_or(|only| only == op)
            && path.to_string_lossy().contains(&self.path_part);
        if !meant || self.strikes == 0 {
            return false;
        }
        if self.passes > 0 {
            self.passes -= 1;
            return false;
        }
        if self.one_in > 1 && !rng.one_in(self.one_in) {
            return false;
        }
        self.strikes -= 1;
        true
    }
}

#[derive(Default)]
pub(super) struct Rules(Vec<Rule>);

impl Rules {
    pub fn add(&mut self, rule: Rule) {
        self.0.push(rule);
    }

    pub fn clear(&mut self) {
        self.0.clear();
    }

    pub fn strike(&mut self, op: Op, path: &Path, rng: &mut Rng) -> Option<Fault> {
        self.0
            .iter_mut()
            .find_map(|rule| rule.strikes(op, path, rng).then_some(rule.fault))
    }
}

/// The error numbers of Linux, so that callers see exactly what a kernel would give them.
pub(super) mod errno {
    use super::io;

    pub fn io() -> io::Error {
        io::Error::from_raw_os_error(libc::EIO)
    }

    pub fn no_space() -> io::Error {
        io::Error::from_raw_os_error(libc::ENOSPC)
    }

    pub fn invalid() -> io::Error {
        io::Error::from_raw_os_error(libc::EINVAL)
    }

    pub fn bad_descriptor() -> io::Error {
        io::Error::from_raw_os_error(libc::EBADF)
    }
}

/// A test's hand on this host's disk.
impl SimIo {
    pub fn inject(&self, rule: Rule) {
        self.disk.rules.borrow_mut().add(rule);
    }

    /// Takes all rules back.
    pub fn heal(&self) {
        self.disk.rules.borrow_mut().clear();
    }

    /// Others have so much of this disk from now on.
    pub fn occupy(&self, bytes: u64) {
        self.disk.occupied_bytes.set(bytes);
    }

    /// Bit rot: one bit of the 512-byte sector that holds `offset` flips, on the device and for readers.
    pub fn rot_sector(&self, path: &Path, offset: u64) -> io::Result<()> {
        let inode = self.disk.file(path)?;
        let mut inode = inode.borrow_mut();
        let start = offset - offset % SECTOR_BYTES as u64;
        let end = inode.len().min(start + SECTOR_BYTES as u64);
        if end <= offset {
            return Err(errno::invalid());
        }
        let at = self.world.within(&(start..=end - 1));
        let bit = self.world.below(8) as u32;
        inode.flip_bit(at, bit);
        self.world.count_fault("bits rotten", 1);
        Ok(())
    }
}

impl SimIo {
    /// The sector that holds `offset` gives an error until it is written again.
    pub fn lose_sector(&self, path: &Path, offset: u64) -> io::Result<()> {
        let inode = self.disk.file(path)?;
        inode.borrow_mut().lose_sector(offset);
        Ok(())
    }

    /// Up to `len` bytes of a file as a reader would get them at this moment. It is no operation of the process: it takes no time, and works when the
    /// process has ended. Fewer bytes only at the end of the file; `None` without the file.
    pub fn peek(&self, path: &Path, offset: u64, len: usize) -> Option<Vec<u8>> {
        let inode = self.disk.file(path).ok()?;
        let mut bytes = vec![0; len];
        let read = inode.borrow().read(offset, &mut bytes);
        bytes.truncate(read);
        Some(bytes)
    }

    /// As [`Self::rot_sector`], in the byte at `offset`.
    pub fn rot_byte(&self, path: &Path, offset: u64) -> io::Result<()> {
        let inode = self.disk.file(path)?;
        let mut inode = inode.borrow_mut();
        if inode.len() <= offset {
            return Err(errno::invalid());
        }
        inode.flip_bit(offset, self.world.below(8) as u32);
        self.world.count_fault("bits rotten", 1);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_passes_strikes_and_is_done() {
        let mut rules = Rules::default();
        rules.add(
            Rule::new(Fault::Io)
                .of(Op::Write)
                .on("log/")
                .after(1)
                .times(2),
        );
        let mut rng = Rng::new(1);
        let mut strike = |op, path| rules.strike(op, Path::new(path), &mut rng).is_some();
        assert!(!strike(Op::Read, "/log/0"));
        assert!(!strike(Op::Write, "/queue/0"));
        assert!(!strike(Op::Write, "/log/0"), "passes once");
        assert!(strike(Op::Write, "/log/0"));
        assert!(strike(Op::Write, "/log/1"));
        assert!(!strike(Op::Write, "/log/1"), "used up");
    }
}
