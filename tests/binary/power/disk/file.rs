//! A file: what reads see, and what a power cut leaves of it.

use std::collections::BTreeMap;
use std::ffi::OsString;

use super::{PAGE_BYTES, SECTOR_BYTES};
use crate::common::random::Random;

type Page = [u8; PAGE_BYTES];

#[derive(Default)]
pub struct File {
    pub name: OsString,
    pub len: u64,
    pub pages: BTreeMap<u64, Box<Page>>,
    pub durable_len: u64,
    /// `None`: a hole.
    pub old: BTreeMap<u64, Option<Box<Page>>>,
    /// Old pages that no flush makes new: one failed.
    pub lost: BTreeMap<u64, Option<Box<Page>>>,
}

impl File {
    pub fn page(&mut self, page: u64) -> &mut Page {
        let page = self.pages.entry(page);
        page.or_insert_with(|| Box::new([0; PAGE_BYTES]))
    }

    pub fn write(&mut self, offset: u64, data: &[u8], durable: bool) {
        let mut done = 0;
        while done < data.len() {
            let at = offset + done as u64;
            let (page, within) = (at / PAGE_BYTES as u64, (at % PAGE_BYTES as u64) as usize);
            let len = (PAGE_BYTES - within).min(data.len() - done);
            let piece = &data[done..done + len];
            if durable && len == PAGE_BYTES {
                self.old.remove(&page);
                self.lost.remove(&page);
            } else {
                let before = self.pages.get(&page).cloned();
                let old = self.old.entry(page).or_insert(before);
                if durable {
                    let old = old.get_or_insert_with(|| Box::new([0; PAGE_BYTES]));
                    old[within..within + len].copy_from_slice(piece);
                }
            }
            self.page(page)[within..within + len].copy_from_slice(piece);
            done += len;
        }
        let end = offset + data.len() as u64;
        self.len = self.len.max(end);
        if durable {
            self.durable_len = self.durable_len.max(end);
        }
    }

    pub fn read(&self, offset: u64, len: usize) -> Vec<u8> {
        let len = self.len.saturating_sub(offset).min(len as u64) as usize;
        let mut bytes = vec![0; len];
        let mut done = 0;
        while done < len {
            let at = offset + done as u64;
            let (page, within) = (at / PAGE_BYTES as u64, (at % PAGE_BYTES as u64) as usize);
            let piece = (PAGE_BYTES - within).min(len - done);
            if let Some(page) = self.pages.get(&page) {
                bytes[done..done + piece].copy_from_slice(&page[within..within + piece]);
            }
            done += piece;
        }
        bytes
    }

    pub fn resize(&mut self, len: u64) {
        if len < self.len {
            let from = len / PAGE_BYTES as u64;
            let cut: Vec<u64> = self.pages.range(from..).map(|(page, _)| *page).collect();
            for page in cut {
                let before = self.pages.get(&page).cloned();
                self.old.entry(page).or_insert(before);
                let start = page * PAGE_BYTES as u64;
                if start >= len {
                    self.pages.remove(&page);
                } else {
                    self.page(page)[(len - start) as usize..].fill(0);
                }
            }
        }
        self.len = len;
    }

    pub fn flush(&mut self) {
        self.old.clear();
        self.durable_len = self.len;
    }

    pub fn forget_dirty(&mut self) {
        for (page, old) in std::mem::take(&mut self.old) {
            self.lost.entry(page).or_insert(old);
        }
    }

    pub fn lose_power(&mut self, random: &mut Random) {
        if random.below(2) == 0 {
            self.len = self.durable_len;
        }
        let mut unflushed = std::mem::take(&mut self.lost);
        for (page, old) in std::mem::take(&mut self.old) {
            unflushed.entry(page).or_insert(old);
        }
        for (page, old) in unflushed {
            let old = old.unwrap_or_else(|| Box::new([0; PAGE_BYTES]));
            let survivor = self.page(page);
            for start in (0..PAGE_BYTES).step_by(SECTOR_BYTES) {
                let sector = start..start + SECTOR_BYTES;
                if random.below(2) == 0 {
                    survivor[sector.clone()].copy_from_slice(&old[sector]);
                }
            }
        }
        let len = self.len;
        self.resize(len);
        self.pages
            .retain(|page, _| page * (PAGE_BYTES as u64) < len);
        self.old.clear();
        self.durable_len = len;
    }
}

pub fn pages_of(offset: u64, len: u64) -> std::ops::Range<u64> {
    offset / PAGE_BYTES as u64..(offset + len).div_ceil(PAGE_BYTES as u64)
}
