//! What an errno means, decided once for every writer.
//!
//! | errno | fault | consequence |
//! |---|---|---|
//! | ENOSPC, EDQUOT, EFBIG | `NoSpace` | a write is repeated when there is space; sends are refused until then |
//! | EMFILE, ENFILE, ENOMEM, EAGAIN | `Shortage` | a write is repeated after a pause |
//! | all others | `Device` | a write sets the fence |

use std::io;

/// What an error of the disk means for a writer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DiskFault {
    /// Nothing was lost; it works when there is space again.
    NoSpace,
    /// Nothing was lost; it works when the process or the machine has the resource again.
    Shortage,
    /// What the device holds is unknown.
    Device,
}

impl DiskFault {
    pub fn of(error: &io::Error) -> Self {
        match error.raw_os_error() {
            Some(libc::ENOSPC | libc::EDQUOT | libc::EFBIG) => Self::NoSpace,
            Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM | libc::EAGAIN)
                if !mutant!(ShortageFences) =>
            {
                Self::Shortage
            }
            Some(_) => Self::Device,
            None => match error.kind() {
                io::ErrorKind::StorageFull => Self::NoSpace,
                io::ErrorKind::WouldBlock | io::ErrorKind::OutOfMemory => Self::Shortage,
                _ => Self::Device,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_errno_has_one_meaning() {
        let of = |errno| DiskFault::of(&io::Error::from_raw_os_error(errno));
        for errno in [libc::ENOSPC, libc::EDQUOT, libc::EFBIG] {
            assert_eq!(of(errno), DiskFault::NoSpace, "{errno}");
        }
        for errno in [libc::EMFILE, libc::ENFILE, libc::ENOMEM, libc::EAGAIN] {
            assert_eq!(of(errno), DiskFault::Shortage, "{errno}");
        }
        for errno in [
            libc::EIO,
            libc::EROFS,
            libc::ENODEV,
            libc::EUCLEAN,
            libc::ESTALE,
        ] {
            assert_eq!(of(errno), DiskFault::Device, "{errno}");
        }
        let short = io::Error::from(io::ErrorKind::WriteZero);
        assert_eq!(DiskFault::of(&short), DiskFault::Device);
    }
}
