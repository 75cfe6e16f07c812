//! What an [`super::Io`] around another one passes on as it is.

/// `Clock` of the field `io`.
macro_rules! forward_clock {
    ($outer:ident) => {
        impl<I: Io> Clock for $outer<I> {
            fn now(&self) -> Now {
                self.io.now()
            }

            fn exact_ns(&self) -> u64 {
                self.io.exact_ns()
            }

            fn utc_offset_s(&self) -> i32 {
                self.io.utc_offset_s()
            }

            fn sleep_until(&self, mono_ns: u64) -> impl Future<Output = ()> {
                self.io.sleep_until(mono_ns)
            }
        }
    };
}

/// What `Spawn` of the field `io` says of the thread.
macro_rules! forward_thread {
    () => {
        fn watch_stalls(&self) {
            self.io.watch_stalls();
        }

        fn stalls(&self) -> Stalls {
            self.io.stalls()
        }

        fn turns(&self) -> u64 {
            self.io.turns()
        }

        fn task_times(&self) -> Vec<TaskTime> {
            self.io.task_times()
        }
    };
}

/// `Disk` of the field `io`.
macro_rules! forward_disk {
    ($outer:ident) => {
        impl<I: Io> Disk for $outer<I> {
            type File = I::File;
            type Lock = I::Lock;

            fn open(
                &self,
                path: &Path,
                options: OpenOptions,
            ) -> impl Future<Output = io::Result<Self::File>> {
                self.io.open(path, options)
            }

            fn list(&self, dir: &Path) -> impl Future<Output = io::Result<Vec<DirEntry>>> {
                self.io.list(dir)
            }

            fn create_dir(&self, dir: &Path) -> impl Future<Output = io::Result<bool>> {
                self.io.create_dir(dir)
            }

            fn rename(&self, from: &Path, to: &Path) -> impl Future<Output = io::Result<()>> {
                self.io.rename(from, to)
            }

            fn remove_file(&self, path: &Path) -> impl Future<Output = io::Result<()>> {
                self.io.remove_file(path)
            }

            fn remove_dir(&self, path: &Path) -> impl Future<Output = io::Result<()>> {
                self.io.remove_dir(path)
            }

            fn sync_dir(&self, dir: &Path) -> impl Future<Output = io::Result<()>> {
                self.io.sync_dir(dir)
            }

            fn sync_tree(&self, dir: &Path) -> impl Future<Output = io::Result<()>> {
                self.io.sync_tree(dir)
            }

            fn lock(&self, path: &Path, text: &str) -> io::Result<Self::Lock> {
                self.io.lock(path, text)
            }

            fn lock_dir(&self, dir: &Path) -> io::Result<Self::Lock> {
                self.io.lock_dir(dir)
            }

            fn space(&self, dir: &Path) -> impl Future<Output = io::Result<Space>> {
                self.io.space(dir)
            }

            fn log_buffer(&self, capacity_bytes: usize) -> io::Result<LogBuffer> {
                self.io.log_buffer(capacity_bytes)
            }
        }
    };
}

pub(crate) use {forward_clock, forward_disk, forward_thread};
