//! The bytes of one file: what a reader sees now, and what the device would still hold after a power cut.
//!
//! ```text
//! now         [ s0 | s1 | s2 | s3 ]      every write that was carried out
//! unflushed          s1: durable, version 7, version 9      s1 was written by the 7th and the 9th operation
//! ```
//!
//! A sector that is not in `unflushed` is on the device as it is seen now. A flush submitted as the 8th operation makes
//! version 7 durable and leaves version 9. A power cut draws for each unflushed sector one of its versions, or the
//! start of one and the end of another. The file's length has versions in the same way.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::PathBuf;

use super::pieces::{locate, pieces};
use super::rng::Rng;
use super::tally::Tally;
use super::versions::{Seq, Versions};

/// The unit in which a device loses or keeps what was written to it.
pub const SECTOR_BYTES: usize = 512;

const PAGE_BYTES: usize = 4096;
const _: () = assert!(PAGE_BYTES.is_multiple_of(SECTOR_BYTES));
const SECTORS_OF_PAGE: u64 = (PAGE_BYTES / SECTOR_BYTES) as u64;

type Sector = [u8; SECTOR_BYTES];

#[derive(Clone)]
pub(super) struct Inode {
    /// The name it was last given, by which fault rules know it.
    pub name: PathBuf,
    len: u64,
    lens: Versions<u64>,
    /// So much of it has its place on the device, written or not.
    allocated: u64,
    /// Pages that are not all zero.
    pages: BTreeMap<u64, Box<[u8; PAGE_BYTES]>>,
    unflushed: BTreeMap<u64, Versions<Box<Sector>>>,
    /// Sectors that give an error until they are written again.
    unreadable: BTreeSet<u64>,
    /// Of the next power cut: one in so many torn sectors.
    pub unreadable_one_in: u64,
}

impl Inode {
    pub fn new(name: PathBuf) -> Self {
        Self {
            name,
            len: 0,
            lens: Versions::new(0),
            allocated: 0,
            pages: BTreeMap::new(),
            unflushed: BTreeMap::new(),
            unreadable: BTreeSet::new(),
            unreadable_one_in: 0,
        }
    }

    /// Whether a read of these bytes, which is one of whole pages, gets all of them.
    pub fn is_readable(&self, range: Range<u64>) -> bool {
        let page_bytes = PAGE_BYTES as u64;
        let first = range.start / page_bytes * SECTORS_OF_PAGE;
        let end = range.end.div_ceil(page_bytes) * SECTORS_OF_PAGE;
        first >= end || self.unreadable.range(first..end).next().is_none()
    }

    pub fn lose_sector(&mut self, offset: u64) {
        self.unreadable.insert(offset / SECTOR_BYTES as u64);
    }

    pub fn len(&self) -> u64 {
        self.len
    }

    /// What it takes of the device: a hole takes nothing.
    pub fn taken_bytes(&self) -> u64 {
        self.allocated + self.written_pages(self.allocated..self.len)
    }

    /// What a write there would take in addition.
    pub fn growth_of(&self, range: Range<u64>) -> u64 {
        let from = range.start.max(self.allocated);
        let first = from / PAGE_BYTES as u64;
        let pages = range.end.div_ceil(PAGE_BYTES as u64).saturating_sub(first);
        (pages * PAGE_BYTES as u64).saturating_sub(self.written_pages(from..range.end))
    }

    fn written_pages(&self, range: Range<u64>) -> u64 {
        let (from, to) = (
            range.start / PAGE_BYTES as u64,
            range.end.div_ceil(PAGE_BYTES as u64),
        );
        if from >= to {
            return 0;
        }
        self.pages.range(from..to).count() as u64 * PAGE_BYTES as u64
    }

    /// Makes the file `len` bytes long, with a place on the device for all of them.
    pub fn allocate(&mut self, len: u64, seq: Seq) {
        self.resize(len.max(self.len), seq);
        self.allocated = self.allocated.max(len.next_multiple_of(PAGE_BYTES as u64));
    }

    #[cfg(test)]
    pub fn is_flushed(&self) -> bool {
        self.unflushed.is_empty() && self.lens.later.is_empty()
    }

    /// Copies what is there from `offset` on; the length of it is less than `into`'s only at the end of the file.
    pub fn read(&self, offset: u64, into: &mut [u8]) -> usize {
        let available = self.len.saturating_sub(offset).min(into.len() as u64) as usize;
        for piece in pieces(offset, available, PAGE_BYTES) {
            let target = &mut into[piece.source];
            match self.pages.get(&piece.unit) {
                Some(page) => target.copy_from_slice(&page[piece.within]),
                None => target.fill(0),
            }
        }
        available
    }

    /// Writes those sectors of `bytes` that `reaches` picks; with `None` as `seq` they are durable at once.
    pub fn write(
        &mut self,
        offset: u64,
        bytes: &[u8],
        seq: Option<Seq>,
        mut reaches: impl FnMut() -> bool,
    ) {
        let mut end = 0;
        for piece in pieces(offset, bytes.len(), SECTOR_BYTES) {
            if reaches() {
                end = offset + piece.source.end as u64;
                self.put(piece.unit, piece.within, &bytes[piece.source], seq);
            }
        }
        if end > self.len {
            self.len = end;
            self.lens.later.extend(seq.map(|seq| (seq, end)));
        }
        if seq.is_none() && end > self.lens.durable {
            self.lens = Versions::new(self.len);
        }
    }

    pub fn resize(&mut self, len: u64, seq: Seq) {
        for sector in self.sectors_from(len) {
            let start = sector * SECTOR_BYTES as u64;
            let from = len.saturating_sub(start) as usize;
            self.put(
                sector,
                from..SECTOR_BYTES,
                &[0; SECTOR_BYTES][from..],
                Some(seq),
            );
        }
        if len != self.len {
            self.len = len;
            self.lens.later.push((seq, len));
        }
        self.allocated = self.allocated.min(len.next_multiple_of(PAGE_BYTES as u64));
    }

    /// Everything that was carried out before operation `submitted` is durable.
    pub fn flush(&mut self, submitted: Seq) {
        self.lens.flush(submitted);
        self.unflushed.retain(|_, versions| {
            versions.flush(submitted);
            !versions.later.is_empty()
        });
    }

    /// A flush failed: some of the dirty state is dropped, so that a later flush will not see it. Readers may see it for as
    /// long as a cache has it, or see what the device has. A file's length is not affected: it is in the file system's
    /// journal, and a file system that cannot write its journal cannot be written.
    pub fn forget_dirty(&mut self, rng: &mut Rng, tally: &mut Tally) {
        let mut let_go = Vec::new();
        for (sector, versions) in &mut self.unflushed {
            let forgotten = versions.forget(rng);
            tally.fault("dirty sectors forgotten", forgotten);
            if versions.is_forgotten() && rng.coin() {
                let_go.push((*sector, *versions.durable));
            }
        }
        for (sector, durable) in let_go {
            self.unflushed.remove(&sector);
            self.store(sector, 0..SECTOR_BYTES, &durable);
        }
    }

    /// Decides what the device holds after a power cut.
    pub fn lose_power(&mut self, rng: &mut Rng, tally: &mut Tally) {
        let blank = self.pages_blank_on_device();
        for (sector, versions) in std::mem::take(&mut self.unflushed) {
            let (survivor, is_torn) = draw_sector(&versions, rng, tally);
            self.store(sector, 0..SECTOR_BYTES, &survivor);
            let may_be_unreadable = is_torn && blank.contains(&(sector / SECTORS_OF_PAGE));
            if may_be_unreadable && rng.one_in(self.unreadable_one_in) {
                self.unreadable.insert(sector);
                tally.fault("torn sectors that cannot be read", 1);
            }
        }
        let len = self.len;
        self.len = *self.lens.draw(rng);
        tally.fault("lengths lost", u64::from(self.len != len));
        self.allocated = self
            .allocated
            .min(self.len.next_multiple_of(PAGE_BYTES as u64));
        self.lens = Versions::new(self.len);
        for sector in self.sectors_from(self.len) {
            let start = sector * SECTOR_BYTES as u64;
            let from = self.len.saturating_sub(start) as usize;
            self.store(sector, from..SECTOR_BYTES, &[0; SECTOR_BYTES][from..]);
        }
    }

    /// Those of the unflushed pages of which the device holds nothing: an unreadable sector costs nothing that was durable.
    fn pages_blank_on_device(&self) -> BTreeSet<u64> {
        let mut pages = BTreeSet::new();
        if self.unreadable_one_in == 0 {
            return pages;
        }
        pages.extend(self.unflushed.keys().map(|sector| sector / SECTORS_OF_PAGE));
        pages.retain(|page| {
            (page * SECTORS_OF_PAGE..(page + 1) * SECTORS_OF_PAGE).all(|sector| {
                let durable = match self.unflushed.get(&sector) {
                    Some(versions) => *versions.durable,
                    None => self.sector(sector),
                };
                durable == [0; SECTOR_BYTES]
            })
        });
        pages
    }

    /// Flips one bit on the device itself.
    pub fn flip_bit(&mut self, offset: u64, bit: u32) {
        let flip = |byte: &mut u8| *byte ^= 1 << (bit % 8);
        let (sector, at) = locate(offset, SECTOR_BYTES);
        if let Some(versions) = self.unflushed.get_mut(&sector) {
            flip(&mut versions.durable[at]);
            for (_, version) in &mut versions.later {
                flip(&mut version[at]);
            }
        }
        let (page, at) = locate(offset, PAGE_BYTES);
        let page = self.pages.entry(page);
        flip(&mut page.or_insert_with(|| Box::new([0; PAGE_BYTES]))[at]);
    }

    /// One sector (or, in a buffered file, a part of one) is written.
    fn put(&mut self, sector: u64, within: Range<usize>, bytes: &[u8], seq: Option<Seq>) {
        let old = self.sector(sector);
        self.unreadable.remove(&sector);
        self.store(sector, within, bytes);
        let Some(seq) = seq else {
            self.unflushed.remove(&sector);
            return;
        };
        let new = self.sector(sector);
        match self.unflushed.get_mut(&sector) {
            Some(versions) => versions.later.push((seq, Box::new(new))),
            None if new == old => {}
            None => {
                let mut versions = Versions::new(Box::new(old));
                versions.later.push((seq, Box::new(new)));
                self.unflushed.insert(sector, versions);
            }
        }
    }

    fn store(&mut self, sector: u64, within: Range<usize>, bytes: &[u8]) {
        let (page, at) = locate(sector * SECTOR_BYTES as u64, PAGE_BYTES);
        if !self.pages.contains_key(&page) && bytes.iter().all(|&byte| byte == 0) {
            return;
        }
        let page = self.pages.entry(page);
        let page = page.or_insert_with(|| Box::new([0; PAGE_BYTES]));
        page[at..at + SECTOR_BYTES][within].copy_from_slice(bytes);
    }

    fn sector(&self, sector: u64) -> Sector {
        let (page, at) = locate(sector * SECTOR_BYTES as u64, PAGE_BYTES);
        let mut bytes = [0; SECTOR_BYTES];
        if let Some(page) = self.pages.get(&page) {
            bytes.copy_from_slice(&page[at..at + SECTOR_BYTES]);
        }
        bytes
    }

    /// The sectors at and behind `offset` that may hold something.
    fn sectors_from(&self, offset: u64) -> Vec<u64> {
        let first = offset / SECTOR_BYTES as u64;
        let per_page = (PAGE_BYTES / SECTOR_BYTES) as u64;
        self.pages
            .range(first / per_page..)
            .flat_map(|(page, _)| page * per_page..(page + 1) * per_page)
            .filter(|&sector| sector >= first)
            .collect()
    }
}

/// What is left of a sector, and whether it is torn.
fn draw_sector(
    versions: &Versions<Box<Sector>>,
    rng: &mut Rng,
    tally: &mut Tally,
) -> (Sector, bool) {
    let mut survivor = **versions.draw(rng);
    let whole = survivor;
    if rng.one_in(4) {
        let torn_at = rng.within(&(1..=SECTOR_BYTES as u64 - 1)) as usize;
        survivor[torn_at..].copy_from_slice(&versions.draw(rng)[torn_at..]);
    }
    let newest = versions.later.last().map(|(_, newest)| **newest);
    let is_torn = survivor != whole;
    tally.fault("sectors torn", u64::from(is_torn));
    let is_lost = !is_torn && newest.is_some_and(|newest| newest != survivor);
    tally.fault("sectors lost", u64::from(is_lost));
    (survivor, is_torn)
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: usize = SECTOR_BYTES;

    fn inode() -> Inode {
        Inode::new(PathBuf::from("/f"))
    }

    fn content(inode: &Inode) -> Vec<u8> {
        let mut bytes = vec![0xEE; inode.len() as usize];
        assert_eq!(inode.read(0, &mut bytes), bytes.len());
        bytes
    }

    fn after_power_cut(inode: &Inode, seed: u64) -> Inode {
        let mut survivor = inode.clone();
        survivor.lose_power(&mut Rng::new(seed), &mut Tally::default());
        assert!(survivor.is_flushed());
        survivor
    }

    #[test]
    fn reads_what_was_written_across_pages() {
        let mut inode = inode();
        let bytes: Vec<u8> = (0..10_000).map(|i| (i % 251) as u8 + 1).collect();
        inode.write(3000, &bytes, Some(1), || true);
        assert_eq!(inode.len(), 13_000);
        let read = content(&inode);
        assert!(read[..3000].iter().all(|&b| b == 0));
        assert_eq!(read[3000..], bytes);
        assert_eq!(inode.read(13_000, &mut [0; 10]), 0);
    }

    #[test]
    fn flushed_bytes_survive_every_power_cut() {
        let mut inode = inode();
        inode.write(0, &[1; 4 * S], Some(1), || true);
        inode.flush(2);
        assert!(inode.is_flushed());
        inode.write(S as u64, &[2; S], Some(3), || true);
        for seed in 0..200 {
            let bytes = content(&after_power_cut(&inode, seed));
            assert_eq!(bytes.len(), 4 * S);
            assert_eq!(bytes[..S], [1; S]);
            assert_eq!(bytes[2 * S..], [1; 2 * S]);
        }
    }

    #[test]
    fn unflushed_sectors_are_old_new_or_torn_each_for_itself() {
        let mut inode = inode();
        inode.write(0, &[1; 2 * S], None, || true);
        inode.write(0, &[2; 2 * S], Some(1), || true);
        let kind = |sector: &[u8]| {
            let new = sector.iter().filter(|&&b| b == 2).count();
            match new {
                0 => "old",
                S => "new",
                _ => "torn",
            }
        };
        let seen: std::collections::BTreeSet<_> = (0..500)
            .map(|seed| {
                let bytes = content(&after_power_cut(&inode, seed));
                (kind(&bytes[..S]), kind(&bytes[S..]))
            })
            .collect();
        assert_eq!(seen.len(), 9, "every combination: {seen:?}");
    }

    #[test]
    fn a_flush_covers_only_what_was_written_before_it_was_submitted() {
        let mut inode = inode();
        inode.write(0, &[1; S], Some(1), || true);
        inode.write(0, &[2; S], Some(3), || true);
        inode.flush(2);
        let seen: std::collections::BTreeSet<u8> = (0..100)
            .map(|seed| content(&after_power_cut(&inode, seed))[0])
            .collect();
        assert_eq!(seen, [1, 2].into());
    }

    #[test]
    fn a_durable_write_says_nothing_of_earlier_ones() {
        let mut inode = inode();
        inode.resize(2 * S as u64, 1);
        inode.flush(1);
        inode.write(0, &[1; S], Some(2), || true);
        inode.write(S as u64, &[2; S], None, || true);
        let seen: std::collections::BTreeSet<u8> = (0..100)
            .map(|seed| {
                let bytes = content(&after_power_cut(&inode, seed));
                assert_eq!(bytes[S..], [2; S]);
                bytes[0]
            })
            .collect();
        assert_eq!(seen, [0, 1].into());
    }

    #[test]
    fn a_flush_after_a_failed_one_does_not_make_up_for_it() {
        let mut inode = inode();
        inode.write(0, &[1; 64 * S], Some(1), || true);
        inode.forget_dirty(&mut Rng::new(1), &mut Tally::default());
        inode.flush(2);
        assert!(!inode.is_flushed());
        let kept = content(&after_power_cut(&inode, 1));
        assert!(kept.chunks(S).any(|sector| sector == [0; S]));
        inode.write(0, &[1; 64 * S], Some(3), || true);
        inode.resize(64 * S as u64 + 1, 3);
        inode.flush(4);
        assert!(inode.is_flushed(), "written again, it is dirty again");
    }

    #[test]
    fn what_a_cache_has_lost_readers_may_not_see_any_more() {
        let mut inode = inode();
        inode.write(0, &[1; 64 * S], None, || true);
        inode.write(0, &[2; 64 * S], Some(1), || true);
        inode.forget_dirty(&mut Rng::new(1), &mut Tally::default());
        let bytes = content(&inode);
        let old = bytes.chunks(S).filter(|sector| *sector == [1; S]).count();
        let new = bytes.chunks(S).filter(|sector| *sector == [2; S]).count();
        assert!(old > 0 && new > 0 && old + new == 64, "{old} + {new}");
    }

    #[test]
    fn a_cut_off_end_reads_as_zero_when_the_file_grows_again() {
        let mut inode = inode();
        inode.write(0, &[1; 3 * S], None, || true);
        inode.resize(S as u64 + 10, 1);
        inode.resize(3 * S as u64, 2);
        let bytes = content(&inode);
        assert_eq!(bytes[..S + 10], [1; S + 10]);
        assert_eq!(bytes[S + 10..], [0; 2 * S - 10]);
    }

    #[test]
    fn a_torn_sector_of_a_blank_page_may_be_unreadable_until_it_is_written() {
        let mut seen = BTreeSet::new();
        for seed in 0..50 {
            let mut inode = inode();
            inode.write(0, &[1; PAGE_BYTES], None, || true);
            inode.write(S as u64, &[2; PAGE_BYTES], Some(1), || true);
            inode.unreadable_one_in = 1;
            let mut inode = after_power_cut(&inode, seed);
            assert!(inode.is_readable(0..PAGE_BYTES as u64), "it held something");
            let second = PAGE_BYTES as u64..2 * PAGE_BYTES as u64;
            seen.insert(inode.is_readable(second.clone()));
            inode.write(second.start, &[3; PAGE_BYTES], None, || true);
            assert!(inode.is_readable(second));
        }
        assert_eq!(seen.len(), 2);
    }

    #[test]
    fn rot_outlives_everything_but_a_write() {
        let mut inode = inode();
        inode.write(0, &[0; S], None, || true);
        inode.flip_bit(5, 0);
        inode.flush(1);
        assert_eq!(content(&after_power_cut(&inode, 1))[5], 1);
        inode.write(0, &[0; S], None, || true);
        assert_eq!(content(&inode)[5], 0);
    }
}
