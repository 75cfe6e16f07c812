//! The disk as the store uses it. Its errors get their operation and their path here, and what one of a write or a flush means
//! ([`DiskFault`]) has its consequence here, once, for every writer.
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
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use super::StoreError;
use super::fault::DiskFault;
use crate::io::{DirEntry, Durability, File, Io, Now, OpenOptions, Space, create_dir_all};
use crate::mem::{AlignedBuf, IoBuf, LogBuffer};

/// Whether a flush was not even begun.
fn is_before_flush(error: &StoreError) -> bool {
    let StoreError::Io { source, .. } = error else {
        return false;
    };
    let errno = source.raw_os_error();
    matches!(errno, Some(libc::EMFILE | libc::ENFILE | libc::EAGAIN))
        || source.kind() == io::ErrorKind::NotFound
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

impl Fence {
    pub fn reason(&self) -> Option<Arc<str>> {
        self.reason.borrow().clone()
    }

    fn check(&self) -> Result<(), StoreError> {
        match self.reason() {
            Some(reason) => Err(StoreError::Fenced { reason }),
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

    /// Passes the result of a write on, having looked at what it means.
    fn written(&self, result: Result<(), StoreError>) -> Result<(), StoreError> {
        if let Err(error) = &result
            && error.fault() == Some(DiskFault::Device)
            && !mutant!(SwallowWriteError)
        {
            self.set_by(error);
        }
        result
    }

    /// A flush that ends after the fence was set is none: the device may have dropped what it was to keep, and the error of the
    /// other flush was the only report of that.
    fn flushed(&self, result: Result<(), StoreError>) -> Result<(), StoreError> {
        if let Err(error) = &result
            && !is_before_flush(error)
            && !mutant!(SwallowFlushError)
            && (!mutant!(OnlyLogFences) || error.to_string().contains("commitlog"))
        {
            self.set_by(error);
        }
        result.and_then(|()| self.check())
    }

    /// By an error of a write or a flush.
    fn set_by(&self, error: &StoreError) {
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

/// A disk whose failed writes and flushes set the fence, and which writes and flushes nothing once it is set.
#[derive(Clone)]
pub struct Medium<I> {
    io: I,
    fence: Rc<Fence>,
}

/// A file of it. A clone is another handle on the same descriptor.
#[derive(Clone)]
pub struct Guarded<I: Io> {
    file: I::File,
    named: Rc<Named>,
}

/// What all handles of a file have in common.
struct Named {
    /// Allocated when the file is opened, and changed by [`Medium::rename_open`].
    path: RefCell<PathBuf>,
    fence: Rc<Fence>,
}

impl Named {
    fn failed(&self, operation: &'static str) -> impl FnOnce(io::Error) -> StoreError {
        move |source| StoreError::io(operation, &self.path.borrow())(source)
    }
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

    pub(super) fn log_buffer(&self, capacity_bytes: usize) -> io::Result<LogBuffer> {
        self.io.log_buffer(capacity_bytes)
    }
}

/// As [`crate::io::Disk`] has them.
impl<I: Io> Medium<I> {
    pub async fn open(&self, path: &Path, options: OpenOptions) -> Result<Guarded<I>, StoreError> {
        self.open_as("open", path, options).await
    }

    /// A file to be written, made if it is not there.
    pub async fn create(&self, path: &Path) -> Result<Guarded<I>, StoreError> {
        let options = OpenOptions {
            write: true,
            create: true,
            direct: false,
        };
        self.open_as("create", path, options).await
    }

    async fn open_as(
        &self,
        operation: &'static str,
        path: &Path,
        options: OpenOptions,
    ) -> Result<Guarded<I>, StoreError> {
        if options.create {
            self.fence.check()?;
        }
        let opened = self.io.open(path, options).await;
        let file = opened.map_err(StoreError::io(operation, path))?;
        let named = Rc::new(Named {
            path: RefCell::new(path.to_owned()),
            fence: self.fence.clone(),
        });
        Ok(Guarded { file, named })
    }

    pub async fn list(&self, dir: &Path) -> Result<Vec<DirEntry>, StoreError> {
        let listed = self.io.list(dir).await;
        listed.map_err(StoreError::io("list", dir))
    }

    pub async fn create_dir(&self, dir: &Path) -> Result<bool, StoreError> {
        let created = self.io.create_dir(dir).await;
        created.map_err(StoreError::io("create", dir))
    }

    /// An error states the one directory that cannot be made.
    pub async fn create_dir_all(&self, dir: &Path) -> Result<(), StoreError> {
        let create = async |dir: &Path| self.create_dir(dir).await;
        let sync = async |dir: &Path| self.sync_dir(dir).await;
        create_dir_all(dir, create, sync, StoreError::kind).await
    }

    pub async fn rename(&self, from: &Path, to: &Path) -> Result<(), StoreError> {
        self.fence.check()?;
        let renamed = self.io.rename(from, to).await;
        renamed.map_err(StoreError::io("rename", from))
    }

    /// Renames a file that is open: its later errors state the new path.
    pub async fn rename_open(&self, file: &Guarded<I>, to: &Path) -> Result<(), StoreError> {
        let from = file.named.path.borrow().clone();
        self.rename(&from, to).await?;
        file.named.path.replace(to.to_owned());
        Ok(())
    }

    pub async fn remove_file(&self, path: &Path) -> Result<(), StoreError> {
        let removed = self.io.remove_file(path).await;
        removed.map_err(StoreError::io("remove", path))
    }

    pub async fn remove_dir(&self, path: &Path) -> Result<(), StoreError> {
        let removed = self.io.remove_dir(path).await;
        removed.map_err(StoreError::io("remove", path))
    }

    pub async fn sync_dir(&self, dir: &Path) -> Result<(), StoreError> {
        self.fence.check()?;
        let synced = self.io.sync_dir(dir).await;
        let synced = synced.map_err(StoreError::io("flush", dir));
        self.fence.flushed(synced)
    }

    pub async fn sync_tree(&self, dir: &Path) -> Result<(), StoreError> {
        self.fence.check()?;
        let synced = self.io.sync_tree(dir).await;
        let synced = synced.map_err(StoreError::io("flush", dir));
        self.fence.flushed(synced)
    }

    pub(super) fn lock(&self, path: &Path, text: &str) -> Result<I::Lock, StoreError> {
        let locked = self.io.lock(path, text);
        locked.map_err(StoreError::io("lock", path))
    }

    pub(super) fn lock_dir(&self, dir: &Path) -> Result<I::Lock, StoreError> {
        let locked = self.io.lock_dir(dir);
        locked.map_err(StoreError::io("lock", dir))
    }
}

/// As [`crate::io::File`] has them.
impl<I: Io> Guarded<I> {
    pub async fn len_bytes(&self) -> Result<u64, StoreError> {
        let len = self.file.len_bytes().await;
        len.map_err(self.named.failed("measure"))
    }

    pub async fn read_at(
        &self,
        buf: AlignedBuf,
        len: usize,
        offset: u64,
    ) -> (Result<usize, StoreError>, AlignedBuf) {
        let (read, buf) = self.file.read_at(buf, len, offset).await;
        (read.map_err(self.named.failed("read")), buf)
    }

    /// For a reader to whom the file's end comes too early.
    pub fn ends_early(&self) -> StoreError {
        self.named.failed("read")(io::ErrorKind::UnexpectedEof.into())
    }

    pub async fn write_at<B: IoBuf>(
        &self,
        buf: B,
        offset: u64,
        durability: Durability,
    ) -> (Result<(), StoreError>, B) {
        let fence = &self.named.fence;
        if let Err(fenced) = fence.check() {
            return (Err(fenced), buf);
        }
        let (result, buf) = self.file.write_at(buf, offset, durability).await;
        let result = fence.written(result.map_err(self.named.failed("write")));
        match durability {
            // As for a flush.
            Durability::Synced => (result.and_then(|()| fence.check()), buf),
            Durability::Written => (result, buf),
        }
    }

    pub async fn sync_data(&self) -> Result<(), StoreError> {
        let fence = &self.named.fence;
        fence.check()?;
        let synced = self.file.sync_data().await;
        fence.flushed(synced.map_err(self.named.failed("flush")))
    }

    pub async fn allocate(&self, len_bytes: u64) -> Result<(), StoreError> {
        let fence = &self.named.fence;
        fence.check()?;
        let allocated = self.file.allocate(len_bytes).await;
        fence.written(allocated.map_err(self.named.failed("allocate")))
    }

    pub async fn resize(&self, len_bytes: u64) -> Result<(), StoreError> {
        let fence = &self.named.fence;
        fence.check()?;
        let operation = if len_bytes == 0 { "empty" } else { "extend" };
        let resized = self.file.resize(len_bytes).await;
        fence.written(resized.map_err(self.named.failed(operation)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(operation: &'static str, errno: i32) -> Result<(), StoreError> {
        let error = io::Error::from_raw_os_error(errno);
        Err(StoreError::io(operation, Path::new("f"))(error))
    }

    #[test]
    fn a_write_fences_for_the_device_and_a_flush_for_all_that_it_may_have_lost() {
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
            let fence = Fence::default();
            assert!(fence.written(failed("write", errno)).is_err());
            assert_eq!(fence.is_set(), of_write, "write, {errno}");
            let fence = Fence::default();
            assert!(fence.flushed(failed("flush", errno)).is_err());
            assert_eq!(fence.is_set(), of_flush, "flush, {errno}");
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
            assert!(fence.flushed(failed("flush", libc::EIO)).is_err());
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
