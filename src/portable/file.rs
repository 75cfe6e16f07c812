//! Open files: every call is made by a thread of the pool, and so is closing.

use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;

use rustix::fs::{FallocateFlags, fallocate, fdatasync, fstat, ftruncate};
use rustix::io::{Errno, retry_on_intr};

use super::core::Core;
use super::pool::Lane;
use super::work::Work;
use crate::io::{Durability, File};
use crate::mem::{AlignedBuf, Buf, IoBuf, ThreadBuf};
use crate::ring::linux::Direct;

#[derive(Clone)]
pub struct PortableFile {
    open: Rc<OpenFile>,
}

struct OpenFile {
    core: Rc<Core>,
    fd: Arc<OwnedFd>,
    direct: Direct,
}

impl Drop for OpenFile {
    fn drop(&mut self) {
        self.core.close(self.fd.clone());
    }
}

impl File for PortableFile {
    async fn len_bytes(&self) -> io::Result<u64> {
        let status = self.call(|fd| fstat(fd)).await?;
        Ok(status.st_size as u64)
    }

    async fn read_at(
        &self,
        buf: AlignedBuf,
        len: usize,
        offset: u64,
    ) -> (io::Result<usize>, AlignedBuf) {
        assert!(len <= buf.len(), "{len} bytes into {}", buf.len());
        let OpenFile { core, fd, direct } = &*self.open;
        if let Err(error) = direct.check(offset, len) {
            return (Err(error), buf);
        }
        let work = Work::Read {
            file: fd.clone(),
            buf,
            len,
            offset,
        };
        let ended = core.submit(Lane::Data, work, None).await;
        (ended.result, own(ended.buf))
    }

    async fn write_at<B: IoBuf>(
        &self,
        buf: B,
        offset: u64,
        durability: Durability,
    ) -> (io::Result<()>, B) {
        let OpenFile { core, fd, direct } = &*self.open;
        let buf: Buf = buf.into();
        if let Err(error) = direct.check(offset, buf.len()) {
            return (Err(error), own(buf));
        }
        let (buf, kept) = buf.lend();
        let lane = match buf {
            ThreadBuf::Log(_) => Lane::Log,
            _ => Lane::Data,
        };
        let work = Work::Write {
            file: fd.clone(),
            buf,
            offset,
            durability: direct.durability(durability),
        };
        let ended = core.submit(lane, work, kept).await;
        (ended.result.map(drop), own(ended.buf))
    }

    async fn sync_data(&self) -> io::Result<()> {
        self.call(|fd| fdatasync(fd)).await
    }

    async fn allocate(&self, len_bytes: u64) -> io::Result<()> {
        let none = FallocateFlags::empty();
        let allocate = move |fd: &OwnedFd| match fallocate(fd, none, 0, len_bytes) {
            // The file system cannot reserve: writes that find no room fail, as they do anyway where it can.
            Err(Errno::OPNOTSUPP) if (fstat(fd)?.st_size as u64) < len_bytes => {
                ftruncate(fd, len_bytes)
            }
            Err(Errno::OPNOTSUPP) => Ok(()),
            done => done,
        };
        self.call(allocate).await
    }

    async fn resize(&self, len_bytes: u64) -> io::Result<()> {
        self.call(move |fd| ftruncate(fd, len_bytes)).await
    }
}

impl PortableFile {
    pub(super) fn new(core: &Rc<Core>, fd: OwnedFd, direct: Direct) -> PortableFile {
        let open = OpenFile {
            core: core.clone(),
            fd: Arc::new(fd),
            direct,
        };
        PortableFile {
            open: Rc::new(open),
        }
    }

    async fn call<T: Send + 'static>(
        &self,
        call: impl Fn(&OwnedFd) -> Result<T, Errno> + Send + 'static,
    ) -> io::Result<T> {
        let fd = self.open.fd.clone();
        let call = move || Ok(retry_on_intr(|| call(&fd))?);
        self.open.core.call(call).await
    }
}

fn own<B: IoBuf>(buf: Buf) -> B {
    B::try_from(buf).unwrap_or_else(|wrong| unreachable!("a call gave back {:?}", wrong.0))
}
