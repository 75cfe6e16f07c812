//! The disk as the store uses it: what an errno means is decided here, once, for every writer.
//!
//! | errno | fault | consequence |
//! |---|---|---|
//! | ENOSPC, EDQUOT, EFBIG | `NoSpace` | a write is repeated when there is space; sends are refused until then |
//! | EMFILE, ENFILE, ENOMEM, EAGAIN | `Shortage` | a write is repeated after a pause |
//! | all others | `Device` | a write sets the fence |
//!
//! A *flush* that fails sets the fence whatever its errno: it is about earlier writes, possibly of other files, and the
//! kernel reports that loss only once, to whichever writer asks first. So the journal, the checkpoint, the key index and the
//! config files have the same fence as the log. (EMFILE, ENFILE and EAGAIN are the exception: they come from opening the
//! directory or starting the thread, before anything is flushed.) Reads and changes of names set no fence. Once it is set no name is made, either:
//! a later file of the log could be there after a power cut without the one before it.
//!
//! All writes below the store's directory go through the store's [`Medium`], also outside of `store/`: the change files
//! of topics and groups, the runs of timers, the files of a built-in name server.

use std::cell::RefCell;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use crate::io::{
    Clock, DirEntry, Disk, Durability, File, Io, Net, Now, OpenOptions, Space, Spawn, Stalls,
};
use crate::mem::{AlignedBuf, IoBuf, LogBuffer};

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

/// Whether a flush was not even begun.
fn is_before_flush(error: &io::Error) -> bool {
    let errno = error.raw_os_error();
    matches!(errno, Some(libc::EMFILE | libc::ENFILE | libc::EAGAIN))
        || error.kind() == io::ErrorKind::NotFound
}

/// Set once, by the first write or flush after which the content of the device is unknown. From then on nothing is
/// acknowledged and nothing is written; reads go on.
#[derive(Default)]
pub(super) struct Fence {
    reason: RefCell<Option<Arc<str>>>,
    observer: RefCell<Option<Observer>>,
    /// Called if it is set by an error of this store's own files.
    announce: RefCell<Option<Observer>>,
}

/// Called once, when the fence is set.
type Observer = Box<dyn Fn(&str)>;

/// An operation that was refused, or does not count, because the fence is set.
#[derive(Debug, thiserror::Error)]
#[error("the store is fenced: {reason}")]
pub(super) struct BehindFence {
    pub reason: Arc<str>,
}

impl Fence {
    pub fn reason(&self) -> Option<Arc<str>> {
        self.reason.borrow().clone()
    }

    fn check(&self) -> io::Result<()> {
        match self.reason() {
            Some(reason) => Err(io::Error::other(BehindFence { reason })),
            None => Ok(()),
        }
    }

    pub fn is_set(&self) -> bool {
        self.reason.borrow().is_some()
    }

    pub fn set(&self, error: impl fmt::Display) {
        if self.is_set() {
            return;
        }
        let reason = error.to_string();
        self.reason.replace(Some(reason.as_str().into()));
        if let Some(observer) = &*self.observer.borrow() {
            observer(&reason);
        }
    }

    /// By an error of a write or a flush.
    fn set_by(&self, error: impl fmt::Display) {
        if self.is_set() {
            return;
        }
        let reason = error.to_string();
        self.set(&reason);
        if let Some(announce) = &*self.announce.borrow() {
            announce(&reason);
        }
    }

    pub fn observe(&self, observer: impl Fn(&str) + 'static) {
        if let Some(reason) = self.reason() {
            observer(&reason);
        }
        self.observer.replace(Some(Box::new(observer)));
    }
}

/// An [`Io`] whose failed writes and flushes set the fence, and which writes and flushes nothing once it is set.
#[derive(Clone)]
pub struct Medium<I> {
    io: I,
    fence: Rc<Fence>,
}

/// A file of it.
#[derive(Clone)]
pub struct Guarded<F> {
    file: F,
    path: Rc<Path>,
    fence: Rc<Fence>,
}

impl<I: Io> Medium<I> {
    pub fn new(io: I) -> Self {
        Self {
            io,
            fence: Rc::default(),
        }
    }

    /// What is below the fence.
    pub fn io(&self) -> &I {
        &self.io
    }

    /// The same device, with its fence, through another handle.
    pub fn through<J: Io>(&self, io: J) -> Medium<J> {
        Medium {
            io,
            fence: self.fence.clone(),
        }
    }

    /// `announce` is called once, if an error of a write or a flush sets the fence: other stores on the device may have lost what
    /// they have not flushed, and no flush of theirs will report that.
    pub fn on_device_error(&self, announce: impl Fn(&str) + 'static) {
        self.fence.announce.replace(Some(Box::new(announce)));
    }

    /// Another store on the device has announced an error. What this one has not flushed may be lost as well.
    pub fn fence_off(&self, reason: &str) {
        self.fence
            .set(format_args!("another store on the device: {reason}"));
    }

    pub(super) fn fence(&self) -> Rc<Fence> {
        self.fence.clone()
    }

    pub(super) fn now(&self) -> Now {
        self.io.now()
    }

    pub(super) fn utc_offset_s(&self) -> i32 {
        self.io.utc_offset_s()
    }

    pub(super) async fn sleep_until(&self, mono_ns: u64) {
        self.io.sleep_until(mono_ns).await;
    }

    pub(super) fn spawn(&self, name: &'static str, task: impl Future<Output = ()> + 'static) {
        self.io.spawn(name, task);
    }

    pub(super) async fn space(&self, dir: &Path) -> io::Result<Space> {
        self.io.space(dir).await
    }
}

/// Passes the result on, having looked at what it means.
fn written<T>(fence: &Fence, verb: &str, path: &Path, result: io::Result<T>) -> io::Result<T> {
    if let Err(error) = &result
        && DiskFault::of(error) == DiskFault::Device
        && !mutant!(SwallowWriteError)
    {
        fence.set_by(format_args!("cannot {verb} {}: {error}", path.display()));
    }
    result
}

/// A flush that ends after the fence was set is none: the device may have dropped what it was to keep, and the error of the
/// other flush was the only report of that.
fn flushed(fence: &Fence, path: &Path, result: io::Result<()>) -> io::Result<()> {
    if result.is_ok() {
        return fence.check();
    }
    if let Err(error) = &result
        && !is_before_flush(error)
        && !mutant!(SwallowFlushError)
        && (!mutant!(OnlyLogFences) || path.to_string_lossy().contains("commitlog"))
    {
        fence.set_by(format_args!("cannot flush {}: {error}", path.display()));
    }
    result
}

impl<I: Io> Disk for Medium<I> {
    type File = Guarded<I::File>;
    type Lock = I::Lock;

    async fn open(&self, path: &Path, options: OpenOptions) -> io::Result<Self::File> {
        if options.create {
            self.fence.check()?;
        }
        Ok(Guarded {
            file: self.io.open(path, options).await?,
            path: path.into(),
            fence: self.fence.clone(),
        })
    }

    async fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>> {
        self.io.list(dir).await
    }

    async fn create_dir(&self, dir: &Path) -> io::Result<bool> {
        self.io.create_dir(dir).await
    }

    async fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.fence.check()?;
        self.io.rename(from, to).await
    }

    async fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.io.remove_file(path).await
    }

    async fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.io.remove_dir(path).await
    }

    async fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.fence.check()?;
        flushed(&self.fence, dir, self.io.sync_dir(dir).await)
    }

    async fn sync_tree(&self, dir: &Path) -> io::Result<()> {
        self.fence.check()?;
        flushed(&self.fence, dir, self.io.sync_tree(dir).await)
    }

    fn lock(&self, path: &Path, text: &str) -> io::Result<Self::Lock> {
        self.io.lock(path, text)
    }

    fn lock_dir(&self, dir: &Path) -> io::Result<Self::Lock> {
        self.io.lock_dir(dir)
    }

    async fn space(&self, dir: &Path) -> io::Result<Space> {
        self.io.space(dir).await
    }

    fn register(&self, buffer: &LogBuffer) -> bool {
        self.io.register(buffer)
    }
}

impl<F: File> File for Guarded<F> {
    async fn len_bytes(&self) -> io::Result<u64> {
        self.file.len_bytes().await
    }

    async fn read_at(
        &self,
        buf: AlignedBuf,
        len: usize,
        offset: u64,
    ) -> (io::Result<usize>, AlignedBuf) {
        self.file.read_at(buf, len, offset).await
    }

    async fn write_at<B: IoBuf>(
        &self,
        buf: B,
        offset: u64,
        durability: Durability,
    ) -> (io::Result<()>, B) {
        if let Err(fenced) = self.fence.check() {
            return (Err(fenced), buf);
        }
        let (result, buf) = self.file.write_at(buf, offset, durability).await;
        let result = written(&self.fence, "write", &self.path, result);
        match durability {
            // As for a flush.
            Durability::Synced => (result.and_then(|()| self.fence.check()), buf),
            Durability::Written => (result, buf),
        }
    }

    async fn sync_data(&self) -> io::Result<()> {
        self.fence.check()?;
        flushed(&self.fence, &self.path, self.file.sync_data().await)
    }

    async fn allocate(&self, len_bytes: u64) -> io::Result<()> {
        self.fence.check()?;
        let result = self.file.allocate(len_bytes).await;
        written(&self.fence, "allocate", &self.path, result)
    }

    async fn resize(&self, len_bytes: u64) -> io::Result<()> {
        self.fence.check()?;
        let result = self.file.resize(len_bytes).await;
        written(&self.fence, "resize", &self.path, result)
    }
}

impl<I: Io> Clock for Medium<I> {
    fn now(&self) -> Now {
        self.io.now()
    }

    fn utc_offset_s(&self) -> i32 {
        self.io.utc_offset_s()
    }

    async fn sleep_until(&self, mono_ns: u64) {
        self.io.sleep_until(mono_ns).await;
    }
}

impl<I: Io> Spawn for Medium<I> {
    fn spawn(&self, name: &'static str, task: impl Future<Output = ()> + 'static) {
        self.io.spawn(name, task);
    }

    fn watch_stalls(&self) {
        self.io.watch_stalls();
    }

    fn stalls(&self) -> Stalls {
        self.io.stalls()
    }
}

/// The store opens no connection; this makes it an [`Io`].
impl<I: Io> Net for Medium<I> {
    type Listener = I::Listener;
    type Stream = I::Stream;

    fn listen(&self, addr: SocketAddr) -> io::Result<Self::Listener> {
        self.io.listen(addr)
    }

    async fn connect(&self, addr: SocketAddr) -> io::Result<Self::Stream> {
        self.io.connect(addr).await
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

    fn fenced_by(errno: i32, call: fn(&Fence, io::Result<()>)) -> bool {
        let fence = Fence::default();
        call(&fence, Err(io::Error::from_raw_os_error(errno)));
        fence.is_set()
    }

    #[test]
    fn a_write_fences_for_the_device_and_a_flush_for_all_that_it_may_have_lost() {
        let write = |fence: &Fence, result| drop(written(fence, "write", Path::new("f"), result));
        let flush = |fence: &Fence, result| drop(flushed(fence, Path::new("f"), result));
        for (errno, of_write, of_flush) in [
            (libc::EIO, true, true),
            (libc::EROFS, true, true),
            (libc::ENOSPC, false, true),
            (libc::EDQUOT, false, true),
            (libc::ENOMEM, false, true),
            (libc::EMFILE, false, false),
            (libc::ENFILE, false, false),
            (libc::EAGAIN, false, false),
        ] {
            assert_eq!(fenced_by(errno, write), of_write, "write, {errno}");
            assert_eq!(fenced_by(errno, flush), of_flush, "flush, {errno}");
        }
    }

    #[test]
    fn only_an_error_of_its_own_is_announced() {
        let announced = Rc::new(RefCell::new(Vec::new()));
        let fence = || {
            let fence = Fence::default();
            let announced = announced.clone();
            let announce = move |reason: &str| announced.borrow_mut().push(reason.to_owned());
            fence.announce.replace(Some(Box::new(announce)));
            fence
        };
        let fail = |fence: &Fence| {
            let error = Err(io::Error::from_raw_os_error(libc::EIO));
            drop(flushed(fence, Path::new("f"), error));
        };
        let by_another = fence();
        by_another.set("another store");
        fail(&by_another);
        assert!(announced.borrow().is_empty());
        let by_itself = fence();
        fail(&by_itself);
        fail(&by_itself);
        assert_eq!(announced.borrow().len(), 1);
        assert!(announced.borrow()[0].starts_with("cannot flush f: "));
    }

    #[test]
    fn the_first_reason_stays_and_is_told_once() {
        let fence = Fence::default();
        let told = Rc::new(RefCell::new(Vec::new()));
        fence.observe({
            let told = told.clone();
            move |reason| told.borrow_mut().push(reason.to_owned())
        });
        fence.set("first");
        fence.set("second");
        assert_eq!(fence.reason().as_deref(), Some("first"));
        assert_eq!(*told.borrow(), ["first"]);
    }
}
