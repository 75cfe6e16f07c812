//! The log buffer in the ring's table of buffers.

use super::capabilities::LogRegistration;
use super::core::Core;
use super::queues::REGISTERED_BUFFERS;
use crate::mem::LogBuffer;

impl Core {
    pub(super) fn register(&self, buffer: &LogBuffer) -> LogRegistration {
        let capacity_bytes = buffer.capacity_bytes();
        let whole = buffer.slice(0, capacity_bytes);
        let mut registered = self.registered.borrow_mut();
        if whole.registered().is_some() {
            let ours = registered.iter().any(|one| one.as_ptr() == whole.as_ptr());
            return match ours {
                true => LogRegistration::Registered { capacity_bytes },
                false => LogRegistration::Refused("it belongs to another ring".into()),
            };
        }
        let index = registered.len() as u32;
        if index >= REGISTERED_BUFFERS {
            return LogRegistration::Refused(format!("{index} buffers are registered already"));
        }
        let memory = libc::iovec {
            iov_base: whole.as_ptr().cast_mut().cast(),
            iov_len: capacity_bytes,
        };
        let queues = self.queues.borrow();
        let submitter = queues.uring().submitter();
        // SAFETY: `registered` keeps the memory mapped for as long as the ring lives.
        match unsafe { submitter.register_buffers_update(index, &[memory], None) } {
            Ok(()) => {
                whole.mark_registered(Some(index as u16));
                registered.push(whole);
                LogRegistration::Registered { capacity_bytes }
            }
            Err(error) => LogRegistration::Refused(error.to_string()),
        }
    }
}
