//! How long messages are kept: the policy decides, the cleaner carries it out.

pub mod cleaner;
pub(in crate::store) mod policy;

pub use policy::Retention;
