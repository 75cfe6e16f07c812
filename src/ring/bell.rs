//! Waits for a [`Doorbell`].

use std::io;
use std::rc::Rc;

use io_uring::opcode;

use super::core::Core;
use super::descriptor::Descriptor;
use super::op::Request;
use crate::ring::linux::Doorbell;

/// Done when it has been rung, also if that was before. Dropping the future loses no ring.
pub(super) async fn wait_for(core: Rc<Core>, bell: Doorbell) -> io::Result<()> {
    while !bell.answer()? {
        let descriptor = Descriptor::plain(&core, bell.descriptor()?);
        let entry = opcode::PollAdd::new(descriptor.raw(), libc::POLLIN as u32).build();
        let (result, _) = core.submit(Request::new(entry, &descriptor)).await;
        result?;
    }
    Ok(())
}
