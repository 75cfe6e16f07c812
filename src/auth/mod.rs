//! Who a request is from, and whether it may: RocketMQ's ACL 2.0, as its 5.5.0 decides it. Pure: no socket, no file, no clock.
//!
//! ```text
//! header + body ─► signature (whose is it?) ─► needs (what does this code touch?) ─► rights (may the user?) ─► passed, or denied with a reason
//! ```
//!
//! [`Directory`] has all users and policies of the process, and is changed by requests 3001 to 3010. Each shard has the [`Book`] that was made from it: the same
//! in the form in which it is asked. [`Guard`] is what a port asks. What it keeps for a connection, a [`Visit`], holds verdicts and no trust: the signature of every
//! request is checked. A code without a row in the table of needs is denied.

mod accounts;
mod asked;
mod audit;
mod book;
mod codes;
mod credentials;
mod directory;
mod file;
mod guard;
mod needs;
mod plain_acl;
mod policy;
mod requests;
mod resource;
mod rights;
mod secret;
mod signature;
mod source;
mod visit;

pub use accounts::{User, UserStatus, UserType};
pub use asked::{Asked, Place};
pub use audit::{Denials, note_administration};
pub use book::{Book, Edition};
pub use codes::CodeSet;
pub use credentials::Credentials;
pub use directory::Directory;
pub use guard::{Checked, Denial, Guard, Reason, Rules};
pub use needs::{administers_controller, administers_namesrv};
pub use plain_acl::PlainAcl;
pub use requests::{Administrator, answer, changes, is_of_directory};
pub use secret::{MASK, Secret};
pub use signature::{Key, SIGNATURE_BYTES, Signer, signed};
pub use source::Source;
pub use visit::Visit;

#[cfg(test)]
mod tests;
