//! What is deleted goes with all that the broker knows of it, in slices.

mod group;
mod topic;

pub(super) use group::GroupRemoval;
pub(super) use topic::{Removal, Removed};
