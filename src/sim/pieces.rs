//! Ranges of a file cut at the bounds of its pages or sectors.

use std::ops::Range;

/// A range of a file as seen by one page or sector.
pub(super) struct Piece {
    pub unit: u64,
    pub within: Range<usize>,
    /// Where these bytes are in the caller's buffer.
    pub source: Range<usize>,
}

/// The parts of a range, each within one unit.
pub(super) fn pieces(offset: u64, len: usize, unit_bytes: usize) -> impl Iterator<Item = Piece> {
    let mut done = 0;
    std::iter::from_fn(move || {
        if done == len {
            return None;
        }
        let (unit, start) = locate(offset + done as u64, unit_bytes);
        let taken = (unit_bytes - start).min(len - done);
        let source = done..done + taken;
        done += taken;
        Some(Piece {
            unit,
            within: start..start + taken,
            source,
        })
    })
}

/// The unit that holds an offset, and where in it.
pub(super) fn locate(offset: u64, unit_bytes: usize) -> (u64, usize) {
    let unit_bytes = unit_bytes as u64;
    (offset / unit_bytes, (offset % unit_bytes) as usize)
}
