//! The lock file.

pub(crate) mod open {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

    use crate::sys::identity::Identity;

    /// What the kernel knows of the lock. These are no types of loom, because the kernel's own
    /// order of the calls is no part of the models.
    #[derive(Default)]
    pub(crate) struct Kernel {
        is_locked: AtomicBool,
        open_files: AtomicU32,
    }

    impl Kernel {
        pub(crate) fn is_locked(&self) -> bool {
            self.is_locked.load(Ordering::Relaxed)
        }

        pub(crate) fn open_files(&self) -> u32 {
            self.open_files.load(Ordering::Relaxed)
        }
    }

    /// An open lock file.
    pub(crate) struct LockFile {
        kernel: Arc<Kernel>,
        has_lock: AtomicBool,
    }

    impl LockFile {
        pub(crate) fn open(kernel: &Arc<Kernel>) -> Arc<LockFile> {
            kernel.open_files.fetch_add(1, Ordering::Relaxed);
            Arc::new(LockFile {
                kernel: kernel.clone(),
                has_lock: AtomicBool::new(false),
            })
        }

        /// Takes the kernel's lock. No other thread of the process may have it.
        pub(crate) fn lock(&self) {
            let was_locked = self.kernel.is_locked.swap(true, Ordering::Relaxed);
            assert!(!was_locked, "the kernel's lock is taken twice");
            self.has_lock.store(true, Ordering::Relaxed);
        }

        pub(crate) fn unlock(&self) {
            let had_lock = self.has_lock.swap(false, Ordering::Relaxed);
            assert!(had_lock, "a lock is given back that the file does not have");
            self.kernel.is_locked.store(false, Ordering::Relaxed);
        }

        pub(crate) fn identity(&self) -> Identity {
            Identity
        }

        pub(crate) fn is_ours(&self) -> bool {
            true
        }
    }

    impl Drop for LockFile {
        fn drop(&mut self) {
            self.kernel.open_files.fetch_sub(1, Ordering::Relaxed);
            let is_held = self.has_lock.load(Ordering::Relaxed);
            assert!(
                !is_held || std::thread::panicking(),
                "a held file is closed"
            );
        }
    }
}
