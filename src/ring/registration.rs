//! The log buffer in the ring's table of buffers.

use super::capabilities::LogRegistration;
use super::core::Core;
use super::queues::REGISTERED_BUFFERS;
use crate::mem::{LogBuffer, LogSlice};

impl Core {
    pub(super) fn register(&self, buffer: &LogBuffer) -> LogRegistration {
        let capacity_bytes = buffer.capacity_bytes();
        let whole = buffer.slice(0, capacity_bytes);
        if whole.registered().is_some() {
            let registered = self.registered.borrow();
            let mut all = registered.iter().flatten();
            return match all.any(|one| one.as_ptr() == whole.as_ptr()) {
                true => LogRegistration::Registered { capacity_bytes },
                false => LogRegistration::Refused("it belongs to another ring".into()),
            };
        }
        self.forget_unused();
        let mut registered = self.registered.borrow_mut();
        let free = registered.iter().position(Option::is_none);
        let index = free.unwrap_or(registered.len());
        if index >= REGISTERED_BUFFERS as usize {
            return LogRegistration::Refused(format!("{index} buffers are registered already"));
        }
        let memory = libc::iovec {
            iov_base: whole.as_ptr().cast_mut().cast(),
            iov_len: capacity_bytes,
        };
        let queues = self.queues.borrow();
        let submitter = queues.uring().submitter();
        // SAFETY: `registered` keeps the memory mapped until it is no longer in the table, at most for as long as the ring lives.
        match unsafe { submitter.register_buffers_update(index as u32, &[memory], None) } {
            Ok(()) => {
                whole.mark_registered(Some(index as u16));
                match registered.get_mut(index) {
                    Some(place) => *place = Some(whole),
                    None => registered.push(Some(whole)),
                }
                LogRegistration::Registered { capacity_bytes }
            }
            Err(error) => LogRegistration::Refused(error.to_string()),
        }
    }

    /// A buffer of this size in the table that nobody else has: the store that wrote from it was closed. Its pages are in memory, and stay registered.
    pub(super) fn unused_log_buffer(&self, capacity_bytes: usize) -> Option<LogBuffer> {
        let registered = self.registered.borrow();
        let mut fitting = registered.iter().flatten();
        fitting.find_map(|whole| match whole.len() == capacity_bytes {
            true => LogBuffer::unused(whole),
            false => None,
        })
    }

    /// Gives back the buffers that only the table has: the store that wrote from them was closed.
    fn forget_unused(&self) {
        let mut registered = self.registered.borrow_mut();
        let queues = self.queues.borrow();
        let submitter = queues.uring().submitter();
        for (index, place) in registered.iter_mut().enumerate() {
            let Some(unused) = place.take_if(|buffer| LogSlice::is_alone(buffer)) else {
                continue;
            };
            let nothing = libc::iovec {
                iov_base: std::ptr::null_mut(),
                iov_len: 0,
            };
            // SAFETY: an empty range is no memory; the kernel removes the entry.
            let removed =
                unsafe { submitter.register_buffers_update(index as u32, &[nothing], None) };
            if removed.is_err() {
                // The kernel still has it: it stays mapped.
                *place = Some(unused);
            }
        }
    }
}
