//! What `ringmq store` reads of a store, on whichever implementation of [`crate::io`] this machine has.

use std::path::PathBuf;

use anyhow::Result;

use super::backend::{Backend, Program, ThreadOptions, start};
use crate::ring::linux::Machine;
use crate::store::StoreError;
use crate::store::verify::{self, Listener, LogFiles, Overview, Report, Subject};

/// Makes this thread a reactor until it is read.
pub fn read<P: Program>(program: P) -> Result<P::Output> {
    let backend = Backend::of_this_machine()?;
    Ok(start(backend, ThreadOptions::default(), program)?)
}

/// All of the store, with what is damaged.
pub struct Verifying<'a, L> {
    pub subject: &'a Subject,
    pub listener: &'a mut L,
}

impl<L: Listener> Program for Verifying<'_, L> {
    type Output = Result<Report, StoreError>;

    async fn run<M: Machine>(self, machine: M) -> Self::Output {
        verify::verify(&machine, self.subject, self.listener).await
    }
}

/// What the store has.
pub struct Inspecting<'a>(pub &'a Subject);

impl Program for Inspecting<'_> {
    type Output = Result<Overview, StoreError>;

    async fn run<M: Machine>(self, machine: M) -> Self::Output {
        verify::inspect(&machine, self.0).await
    }
}

/// So many records from a position of the log on, and in which file the position is, and where.
pub struct Reading<'a> {
    pub subject: &'a Subject,
    pub position: u64,
    pub count: u64,
}

impl Program for Reading<'_> {
    type Output = Result<(Vec<Vec<u8>>, (PathBuf, u64)), StoreError>;

    async fn run<M: Machine>(self, machine: M) -> Self::Output {
        let log = LogFiles::open(&machine, self.subject).await?;
        let (mut records, mut from) = (Vec::new(), self.position.max(log.min()));
        while (records.len() as u64) < self.count
            && let Some((found, bytes)) = log.record_from(from).await?
        {
            from = found + bytes.len() as u64;
            records.push(bytes);
        }
        Ok((records, log.path_of(self.position)))
    }
}
