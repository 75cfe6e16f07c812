//! How much is still to be mended: these numbers only become smaller.

/// Files that are in an import circle.
pub const IN_CIRCLES: usize = 0;

/// Functions above the limit.
pub const LONG_FUNCTIONS: usize = 0;

/// Files above the limit.
pub const LONG_FILES: usize = 0;
