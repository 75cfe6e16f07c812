//! Open files: every call is an operation of the ring, and so is closing.

use std::fs;
use std::io;
use std::mem::offset_of;
use std::rc::Rc;

use io_uring::{opcode, squeue, types};

use super::core::Core;
use super::descriptor::{Descriptor, entry};
use super::off_thread::off_thread;
use super::op::Request;
use crate::io::{Durability, File};
use crate::mem::{AlignedBuf, BLOCK_BYTES, Buf, IoBuf};
use crate::ring::linux::Direct;

/// Of one operation; the kernel's limit is 2 GiB - 4096. A multiple of a block, so that the rest stays aligned.
const MAX_TRANSFER_BYTES: usize = 1 << 30;

const STATX_SIZE_OFFSET: usize = offset_of!(libc::statx, stx_size);
const _: () = assert!(size_of::<libc::statx>() <= BLOCK_BYTES);

#[derive(Clone)]
pub struct RingFile {
    pub(super) core: Rc<Core>,
    pub(super) descriptor: Rc<Descriptor>,
    pub(super) direct: Direct,
}

impl File for RingFile {
    async fn len_bytes(&self) -> io::Result<u64> {
        self.status_len_bytes().await
    }

    async fn read_at(
        &self,
        mut buf: AlignedBuf,
        len: usize,
        offset: u64,
    ) -> (io::Result<usize>, AlignedBuf) {
        assert!(len <= buf.len(), "{len} bytes into {}", buf.len());
        if let Err(error) = self.direct.check(offset, len) {
            return (Err(error), buf);
        }
        let mut done = 0;
        while done < len {
            let part = (len - done).min(MAX_TRANSFER_BYTES) as u32;
            let at = buf[done..].as_mut_ptr();
            let entry = entry!(self.descriptor, |fd| opcode::Read::new(fd, at, part)
                .offset(offset + done as u64)
                .build());
            let (result, back) = self.transfer(entry, buf).await;
            buf = back;
            match result {
                Ok(0) => break,
                Ok(read) => done += read as usize,
                Err(error) => return (Err(error), buf),
            }
            if !done.is_multiple_of(BLOCK_BYTES) {
                // A short read that ends within a block is the end of the file. O_DIRECT cannot continue from here.
                break;
            }
        }
        (Ok(done), buf)
    }

    async fn write_at<B: IoBuf>(
        &self,
        buf: B,
        offset: u64,
        durability: Durability,
    ) -> (io::Result<()>, B) {
        let mut buf: Buf = buf.into();
        if let Err(error) = self.direct.check(offset, buf.len()) {
            return (Err(error), own(buf));
        }
        let flags = match self.direct.durability(durability) {
            Durability::Written => 0,
            Durability::Synced => libc::RWF_DSYNC,
        };
        let mut done = 0;
        let result = loop {
            if done == buf.len() {
                break Ok(());
            }
            let entry = self.write_entry(&buf, done, offset, flags);
            let (result, back) = self.transfer_any(entry, buf).await;
            buf = back;
            match result {
                Ok(0) => break Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => done += written as usize,
                Err(error) => break Err(error),
            }
        };
        (result, own(buf))
    }

    async fn sync_data(&self) -> io::Result<()> {
        let flags = types::FsyncFlags::DATASYNC;
        let entry = entry!(self.descriptor, |fd| opcode::Fsync::new(fd)
            .flags(flags)
            .build());
        let (result, _) = self.transfer_any(entry, Buf::Empty).await;
        result.map(drop)
    }

    async fn allocate(&self, len_bytes: u64) -> io::Result<()> {
        let entry = entry!(self.descriptor, |fd| opcode::Fallocate::new(fd, len_bytes)
            .build());
        match self.transfer_any(entry, Buf::Empty).await.0 {
            // The file system cannot reserve: writes that find no room fail, as they do anyway where it can.
            Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => {
                match self.len_bytes().await? < len_bytes {
                    true => self.resize(len_bytes).await,
                    false => Ok(()),
                }
            }
            done => done.map(drop),
        }
    }

    async fn resize(&self, len_bytes: u64) -> io::Result<()> {
        if self.core.lacks_truncate.get() {
            return self.resize_off_thread(len_bytes).await;
        }
        let entry = entry!(self.descriptor, |fd| opcode::Ftruncate::new(fd, len_bytes)
            .build());
        match self.transfer_any(entry, Buf::Empty).await.0 {
            // Before Linux 6.9.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
                self.resize_off_thread(len_bytes).await?;
                // Both refuse an impossible length with this error; here only the ring did.
                self.core.lacks_truncate.set(true);
                Ok(())
            }
            done => done.map(drop),
        }
    }
}

impl RingFile {
    fn write_entry(&self, buf: &Buf, done: usize, offset: u64, flags: i32) -> squeue::Entry {
        let len = (buf.len() - done).min(MAX_TRANSFER_BYTES) as u32;
        let offset = offset + done as u64;
        // Within the buffer, as `done` is below its length.
        let at = buf.as_ptr().wrapping_add(done);
        let registered = match buf {
            Buf::Log(slice) => slice.registered(),
            _ => None,
        };
        match registered {
            Some(index) => entry!(self.descriptor, |fd| opcode::WriteFixed::new(
                fd, at, len, index
            )
            .offset(offset)
            .rw_flags(flags)
            .build()),
            None => entry!(self.descriptor, |fd| opcode::Write::new(fd, at, len)
                .offset(offset)
                .rw_flags(flags)
                .build()),
        }
    }

    async fn transfer<B: IoBuf>(&self, entry: squeue::Entry, buf: B) -> (io::Result<u32>, B) {
        let (result, buf) = self.transfer_any(entry, buf.into()).await;
        (result, own(buf))
    }

    async fn transfer_any(&self, entry: squeue::Entry, buf: Buf) -> (io::Result<u32>, Buf) {
        let request = Request::new(entry, &self.descriptor).with_buf(buf);
        self.core.submit(request).await
    }

    /// `statx` on the descriptor.
    async fn status_len_bytes(&self) -> io::Result<u64> {
        let mut status = AlignedBuf::zeroed(BLOCK_BYTES);
        let at = status.as_mut_ptr();
        let request = Request {
            entry: opcode::Statx::new(self.descriptor.raw(), c"".as_ptr(), at.cast())
                .flags(libc::AT_EMPTY_PATH)
                .mask(libc::STATX_SIZE)
                .build(),
            buf: status.into(),
            descriptor: Some(self.descriptor.clone()),
            opens: false,
        };
        let (result, status) = self.core.submit(request).await;
        result?;
        let status = own::<AlignedBuf>(status);
        let len = status[STATX_SIZE_OFFSET..].first_chunk().copied();
        Ok(u64::from_ne_bytes(len.unwrap_or_default()))
    }

    async fn resize_off_thread(&self, len_bytes: u64) -> io::Result<()> {
        let file = fs::File::from(self.descriptor.fd().try_clone()?);
        off_thread(&self.core, "ftruncate", move || file.set_len(len_bytes)).await
    }
}

fn own<B: IoBuf>(buf: Buf) -> B {
    B::try_from(buf).unwrap_or_else(|wrong| unreachable!("an operation gave back {:?}", wrong.0))
}
